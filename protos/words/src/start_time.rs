// SPDX-License-Identifier: Apache-2.0

/// When a process started, in clock ticks since boot, from the text of its `/proc/PID/stat`: with
/// the pid it names the process for as long as the machine runs. proc(5), field 22.
#[must_use]
pub fn start_time(stat: &str) -> Option<u64> {
    // The program's name, in parentheses, may hold anything.
    let (_, after_name) = stat.rsplit_once(") ")?;
    after_name.split(' ').nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_is_passed_over() {
        let fields: Vec<String> = (3..=24).map(|n| n.to_string()).collect();
        let stat = format!("7 (a ) b (c) {}", fields.join(" "));
        assert_eq!(start_time(&stat), Some(22));
        assert_eq!(start_time("7 (cut off) S 1"), None);
        assert_eq!(start_time(""), None);
    }
}
