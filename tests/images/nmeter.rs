// SPDX-License-Identifier: Apache-2.0
//! nmeter -d0 '%3t': the time of day in UTC with milliseconds. Debian's busybox leaves this applet
//! out, and the node suite stamps what its containers write with it.

use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, millis) = (since.as_secs(), since.subsec_millis());
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    println!("{hours:02}:{minutes:02}:{:02}.{millis:03}", seconds % 60);
}
