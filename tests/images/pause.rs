// SPDX-License-Identifier: Apache-2.0
//! Waits for a signal that ends it; reaps what is left to it. Good for a container that only has to exist.

const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;
const SIGCHLD: i32 = 17;
const SIG_IGN: usize = 1;

// SAFETY: these are libc's own signatures, with the handler as the number that C's function
// pointer is; the only handlers passed are `SIG_IGN` and `leave`, which may run at any time.
unsafe extern "C" {
    safe fn pause() -> i32;
    safe fn signal(number: i32, handler: usize) -> usize;
    safe fn _exit(status: i32) -> !;
}

extern "C" fn leave(_signal: i32) {
    _exit(0)
}

fn main() {
    signal(SIGCHLD, SIG_IGN);
    for number in [SIGINT, SIGTERM] {
        signal(number, leave as extern "C" fn(i32) as usize);
    }
    loop {
        pause();
    }
}
