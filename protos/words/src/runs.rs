// SPDX-License-Identifier: Apache-2.0

/// Whether a process runs, from the text of its `/proc/PID/stat`: one that has ended and is not yet
/// reaped does not, and neither does one without such a text. proc(5), field 3.
#[must_use]
pub fn runs(stat: &str) -> bool {
    // The program's name, in parentheses, may hold anything.
    stat.rsplit_once(") ").is_some_and(|(_, after_name)| !after_name.starts_with(['Z', 'X']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dead_do_not_run_whatever_their_name() {
        assert!(runs("7 (a) Z) S 1 7"));
        assert!(!runs("7 (a) S) Z 1 7"));
        assert!(!runs("7 (a) X 1 7"));
        assert!(!runs(""));
    }
}
