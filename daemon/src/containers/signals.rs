// SPDX-License-Identifier: Apache-2.0
//! Names and numbers of signals. CRI's enum has numbers of its own that are not Linux's; images
//! name signals as text.

use libc::{
    SIGABRT, SIGALRM, SIGBUS, SIGCHLD, SIGCONT, SIGFPE, SIGHUP, SIGILL, SIGINT, SIGIO, SIGKILL,
    SIGPIPE, SIGPROF, SIGPWR, SIGQUIT, SIGSEGV, SIGSTKFLT, SIGSTOP, SIGSYS, SIGTERM, SIGTRAP,
    SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGUSR1, SIGUSR2, SIGVTALRM, SIGWINCH, SIGXCPU, SIGXFSZ,
};

/// First real-time signal as the C library counts them: it keeps the kernel's 32 and 33.
const RTMIN: i32 = 34;
/// Last real-time signal.
const RTMAX: i32 = 64;

/// Signals by name, without `SIG`, in the order of CRI's enum, whose value is the position plus 1.
const NAMED: [(&str, i32); 34] = [
    ("ABRT", SIGABRT),
    ("ALRM", SIGALRM),
    ("BUS", SIGBUS),
    ("CHLD", SIGCHLD),
    ("CLD", SIGCHLD),
    ("CONT", SIGCONT),
    ("FPE", SIGFPE),
    ("HUP", SIGHUP),
    ("ILL", SIGILL),
    ("INT", SIGINT),
    ("IO", SIGIO),
    ("IOT", SIGABRT),
    ("KILL", SIGKILL),
    ("PIPE", SIGPIPE),
    ("POLL", SIGIO),
    ("PROF", SIGPROF),
    ("PWR", SIGPWR),
    ("QUIT", SIGQUIT),
    ("SEGV", SIGSEGV),
    ("STKFLT", SIGSTKFLT),
    ("STOP", SIGSTOP),
    ("SYS", SIGSYS),
    ("TERM", SIGTERM),
    ("TRAP", SIGTRAP),
    ("TSTP", SIGTSTP),
    ("TTIN", SIGTTIN),
    ("TTOU", SIGTTOU),
    ("URG", SIGURG),
    ("USR1", SIGUSR1),
    ("USR2", SIGUSR2),
    ("VTALRM", SIGVTALRM),
    ("WINCH", SIGWINCH),
    ("XCPU", SIGXCPU),
    ("XFSZ", SIGXFSZ),
];

/// CRI's value for the first real-time signal; the others follow it one by one.
const CRI_RTMIN: i32 = 35;

/// Something that names no signal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a signal")]
pub struct UnknownSignal(pub String);

/// Linux number of a value of CRI's `Signal` enum; `None` for 0, the runtime's default.
///
/// # Errors
/// [`UnknownSignal`] for a value the enum does not have.
pub fn from_cri(value: i32) -> Result<Option<i32>, UnknownSignal> {
    let rtmax = CRI_RTMIN + RTMAX - RTMIN;
    match value {
        0 => Ok(None),
        1..CRI_RTMIN => Ok(usize::try_from(value - 1).ok().map(|index| NAMED[index].1)),
        _ if (CRI_RTMIN..=rtmax).contains(&value) => Ok(Some(value - CRI_RTMIN + RTMIN)),
        _ => Err(UnknownSignal(value.to_string())),
    }
}

/// Value of CRI's `Signal` enum for a Linux number; 0 for a number without one.
#[must_use]
pub fn to_cri(signal: i32) -> i32 {
    if (RTMIN..=RTMAX).contains(&signal) {
        return signal - RTMIN + CRI_RTMIN;
    }
    let position = NAMED.iter().position(|(_, number)| *number == signal);
    position.and_then(|index| i32::try_from(index + 1).ok()).unwrap_or(0)
}

/// Linux number of a signal named as images name them: `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`,
/// `RTMAX-2`, in any case.
///
/// # Errors
/// [`UnknownSignal`] when the text names none.
pub fn parse(text: &str) -> Result<i32, UnknownSignal> {
    let upper = text.trim().to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    by_number(name)
        .or_else(|| NAMED.iter().find(|(known, _)| *known == name).map(|(_, number)| *number))
        .or_else(|| real_time(name))
        .ok_or_else(|| UnknownSignal(text.to_owned()))
}

/// The signal that asks a container to stop: `requested`, else the image's, else SIGTERM.
///
/// # Errors
/// [`UnknownSignal`] when the image's is no signal and is needed.
pub fn effective_stop(requested: Option<i32>, image: &str) -> Result<i32, UnknownSignal> {
    match requested {
        Some(signal) => Ok(signal),
        None if image.is_empty() => Ok(SIGTERM),
        None => parse(image),
    }
}

fn by_number(name: &str) -> Option<i32> {
    let digits = name.bytes().all(|c| c.is_ascii_digit());
    name.parse().ok().filter(|number| digits && (1..=RTMAX).contains(number))
}

fn real_time(name: &str) -> Option<i32> {
    let number = if let Some(offset) = name.strip_prefix("RTMIN") {
        RTMIN.checked_add(offset_after('+', offset)?)?
    } else {
        RTMAX.checked_sub(offset_after('-', name.strip_prefix("RTMAX")?)?)?
    };
    Some(number).filter(|number| (RTMIN..=RTMAX).contains(number))
}

fn offset_after(sign: char, text: &str) -> Option<i32> {
    if text.is_empty() {
        return Some(0);
    }
    let digits = text.strip_prefix(sign)?;
    digits.bytes().all(|c| c.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_name_signals_in_many_ways() {
        for (text, number) in [
            ("SIGTERM", 15),
            ("term", 15),
            ("9", 9),
            ("SIGRTMIN", 34),
            ("RTMIN+3", 37),
            ("SIGRTMAX-2", 62),
            ("SIGPOLL", 29),
            (" SIGINT ", 2),
        ] {
            assert_eq!(parse(text), Ok(number), "{text}");
        }
        for bad in ["", "0", "65", "+9", "-1", "SIG", "RTMIN+31", "RTMIN-1", "RTMAX-31", "RTMIN+x"]
        {
            assert!(parse(bad).is_err(), "{bad:?} was taken for a signal");
        }
    }

    #[test]
    fn cris_numbers_are_translated_both_ways() {
        assert_eq!(from_cri(0), Ok(None));
        assert_eq!(from_cri(23), Ok(Some(SIGTERM)));
        assert_eq!(from_cri(13), Ok(Some(SIGKILL)));
        assert_eq!(from_cri(35), Ok(Some(34)));
        assert_eq!(from_cri(65), Ok(Some(64)));
        assert!(from_cri(66).is_err() && from_cri(-1).is_err());
        for value in 1..=65 {
            let signal = from_cri(value).unwrap().unwrap();
            assert_eq!(from_cri(to_cri(signal)).unwrap(), Some(signal), "CRI value {value}");
        }
    }

    #[test]
    fn cris_enum_has_the_names_of_the_table() {
        use crisp_cri::Signal;
        for (index, (name, number)) in NAMED.iter().enumerate() {
            let value = i32::try_from(index + 1).unwrap();
            let cri = Signal::try_from(value).unwrap().as_str_name();
            assert_eq!(cri.strip_prefix("SIGNAL_SIG").unwrap(), *name);
            assert_eq!(from_cri(value).unwrap(), Some(*number));
        }
        assert_eq!(Signal::try_from(CRI_RTMIN).unwrap().as_str_name(), "SIGNAL_SIGRTMIN");
    }

    #[test]
    fn the_request_wins_over_the_image_and_the_image_over_the_default() {
        assert_eq!(effective_stop(Some(2), "SIGQUIT"), Ok(2));
        assert_eq!(effective_stop(None, "SIGQUIT"), Ok(3));
        assert_eq!(effective_stop(None, ""), Ok(15));
        assert!(effective_stop(None, "SIGNONSENSE").is_err());
    }
}
