// SPDX-License-Identifier: Apache-2.0
//! CRI numbers its signals in alphabetical order; Linux does not.

use crisp_cri::Signal;

use super::scalars::{Invalid, unknown_number};

/// First real-time signal that programs may use; libc keeps those below for itself.
const RTMIN: i32 = 34;
/// Last real-time signal.
const RTMAX: i32 = 64;

/// Signals with a name of their own, in Linux's numbers (all architectures that crisp runs on).
/// Where two names share a number the first is the one reported.
const NAMED: [(Signal, i32); 34] = [
    (Signal::Sighup, 1),
    (Signal::Sigint, 2),
    (Signal::Sigquit, 3),
    (Signal::Sigill, 4),
    (Signal::Sigtrap, 5),
    (Signal::Sigabrt, 6),
    (Signal::Sigiot, 6),
    (Signal::Sigbus, 7),
    (Signal::Sigfpe, 8),
    (Signal::Sigkill, 9),
    (Signal::Sigusr1, 10),
    (Signal::Sigsegv, 11),
    (Signal::Sigusr2, 12),
    (Signal::Sigpipe, 13),
    (Signal::Sigalrm, 14),
    (Signal::Sigterm, 15),
    (Signal::Sigstkflt, 16),
    (Signal::Sigchld, 17),
    (Signal::Sigcld, 17),
    (Signal::Sigcont, 18),
    (Signal::Sigstop, 19),
    (Signal::Sigtstp, 20),
    (Signal::Sigttin, 21),
    (Signal::Sigttou, 22),
    (Signal::Sigurg, 23),
    (Signal::Sigxcpu, 24),
    (Signal::Sigxfsz, 25),
    (Signal::Sigvtalrm, 26),
    (Signal::Sigprof, 27),
    (Signal::Sigwinch, 28),
    (Signal::Sigio, 29),
    (Signal::Sigpoll, 29),
    (Signal::Sigpwr, 30),
    (Signal::Sigsys, 31),
];

/// A signal, from the wire, as a Linux number; `None` for the runtime's default.
pub(super) fn signal(field: &str, number: i32) -> Result<Option<i32>, Invalid> {
    let signal = Signal::try_from(number).map_err(|e| unknown_number(field, e.0))?;
    if signal == Signal::RuntimeDefault {
        return Ok(None);
    }
    let named = NAMED.iter().find(|(s, _)| *s == signal).map(|(_, linux)| *linux);
    Ok(Some(named.unwrap_or_else(|| real_time(signal))))
}

/// The real-time signals are the last of the enum, in Linux's order and without a gap.
fn real_time(signal: Signal) -> i32 {
    RTMIN + (signal as i32 - Signal::Sigrtmin as i32)
}

/// A Linux signal number, to the wire; a number that CRI has no name for is the default.
#[must_use]
pub fn signal_to_cri(linux: i32) -> Signal {
    if (RTMIN..=RTMAX).contains(&linux) {
        let number = Signal::Sigrtmin as i32 + (linux - RTMIN);
        return Signal::try_from(number).unwrap_or_default();
    }
    NAMED.iter().find(|(_, n)| *n == linux).map_or(Signal::RuntimeDefault, |(signal, _)| *signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        for (signal_, linux) in [
            (Signal::Sigterm, libc::SIGTERM),
            (Signal::Sigkill, libc::SIGKILL),
            (Signal::Sigwinch, libc::SIGWINCH),
            (Signal::Sigpoll, libc::SIGPOLL),
            (Signal::Sigsys, libc::SIGSYS),
            (Signal::Sigstkflt, libc::SIGSTKFLT),
            (Signal::Sigpwr, libc::SIGPWR),
            (Signal::Sigrtmin, libc::SIGRTMIN()),
            (Signal::Sigrtmax, libc::SIGRTMAX()),
            (Signal::Sigrtminplus3, libc::SIGRTMIN() + 3),
            (Signal::Sigrtmaxminus3, libc::SIGRTMAX() - 3),
        ] {
            assert_eq!(signal("s", signal_.into()), Ok(Some(linux)), "{signal_:?}");
        }
    }

    #[test]
    fn every_signal_of_the_api_comes_back_as_itself_or_its_other_name() {
        for number in 1..=65 {
            let given = Signal::try_from(number).unwrap();
            let linux = signal("s", number).unwrap().unwrap();
            let back = signal_to_cri(linux);
            assert_eq!(signal("s", back.into()), Ok(Some(linux)), "{given:?}");
            let alias = [Signal::Sigiot, Signal::Sigcld, Signal::Sigpoll].contains(&given);
            assert!(alias || back == given, "{given:?} came back as {back:?}");
        }
    }

    #[test]
    fn zero_is_the_default_and_what_has_no_name_is_refused() {
        assert_eq!(signal("s", 0), Ok(None));
        assert!(signal("s", 66).is_err());
        assert_eq!(signal_to_cri(99), Signal::RuntimeDefault);
    }
}
