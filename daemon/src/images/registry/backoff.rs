// SPDX-License-Identifier: Apache-2.0

use std::time::Duration;

/// Longest wait between two tries, whatever the registry asks for.
const LONGEST: Duration = Duration::from_secs(20);

/// How long to wait after the `failed`th failure (from 1): double each time, but at least what the
/// registry asked for in Retry-After (seconds; RFC 9110 10.2.3), within reason.
pub(super) fn wait(failed: u32, first: Duration, retry_after: Option<&str>) -> Duration {
    let doubled = first.saturating_mul(1 << failed.saturating_sub(1).min(16));
    let asked = retry_after
        .and_then(|text| text.trim().parse().ok())
        .map_or(Duration::ZERO, Duration::from_secs);
    doubled.max(asked).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_heed_the_registry_and_stay_bounded() {
        let first = Duration::from_millis(100);
        assert_eq!(wait(1, first, None), first);
        assert_eq!(wait(3, first, None), 4 * first);
        assert_eq!(wait(1, first, Some("2")), Duration::from_secs(2));
        assert_eq!(wait(1, first, Some("Wed, 21 Oct 2015 07:28:00 GMT")), first);
        assert_eq!(wait(4000, first, Some("999999")), LONGEST);
    }
}
