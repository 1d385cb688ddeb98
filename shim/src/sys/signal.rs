// SPDX-License-Identifier: Apache-2.0
#![expect(unsafe_code, reason = "real-time signals have no safe constructor")]

use rustix::process::Signal;

/// The highest signal number on Linux.
const LAST: u32 = 64;

/// A signal by its number, real-time ones included: systemd in a container is stopped by one.
pub(crate) fn signal(number: u32) -> Option<Signal> {
    let number = i32::try_from(number).ok().filter(|n| (1..=LAST.cast_signed()).contains(n))?;
    // SAFETY: the number is a signal of the kernel. The ones a libc keeps for itself must not get
    // handlers here; they are only ever sent, to other processes.
    Some(unsafe { Signal::from_raw_unchecked(number) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_of_signals_are_signals() {
        assert_eq!(signal(9), Some(Signal::KILL));
        assert_eq!(signal(37).map(Signal::as_raw), Some(37));
        assert!(signal(0).is_none() && signal(65).is_none() && signal(u32::MAX).is_none());
    }
}
