// SPDX-License-Identifier: Apache-2.0
//! Times as the CRI log format writes them: RFC 3339 in UTC with nanoseconds.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Length of a time, as in `2026-11-24T18:35:10.000000001Z`.
pub(super) const LENGTH: usize = 30;

const SECONDS_A_DAY: u64 = 86_400;

/// Writes `time`. A time before 1970 is written as 1970, one after 9999 as the last second then.
pub(super) fn format(time: SystemTime) -> [u8; LENGTH] {
    const LAST: u64 = 253_402_300_799;
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seconds = since.as_secs().min(LAST);
    let (year, month, day) = date(seconds / SECONDS_A_DAY);
    let second = seconds % SECONDS_A_DAY;
    let mut text = *b"0000-00-00T00:00:00.000000000Z";
    digits(&mut text[0..4], year);
    digits(&mut text[5..7], month);
    digits(&mut text[8..10], day);
    digits(&mut text[11..13], second / 3600);
    digits(&mut text[14..16], second / 60 % 60);
    digits(&mut text[17..19], second % 60);
    digits(&mut text[20..29], u64::from(since.subsec_nanos()));
    text
}

fn digits(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
}

/// Year, month and day of a day counted from 1 January 1970.
///
/// Counted in years that begin on 1 March, a leap day is the last day of its year, and the months
/// from March repeat in five with 153 days.
fn date(days: u64) -> (u64, u64, u64) {
    const TO_MARCH_OF_YEAR_0: u64 = 719_468;
    const DAYS_IN_400_YEARS: u64 = 146_097;
    let days = days + TO_MARCH_OF_YEAR_0;
    let (era, day) = (days / DAYS_IN_400_YEARS, days % DAYS_IN_400_YEARS);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(seconds: u64, nanos: u32) -> String {
        let time = UNIX_EPOCH + Duration::new(seconds, nanos);
        String::from_utf8(format(time).to_vec()).unwrap()
    }

    #[test]
    fn known_times_are_written_right() {
        for (seconds, nanos, expected) in [
            (0, 0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400, 1, "2000-02-29T00:00:00.000000001Z"),
            (1_709_164_799, 999_999_999, "2024-02-28T23:59:59.999999999Z"),
            (1_709_251_200, 0, "2024-03-01T00:00:00.000000000Z"),
            (4_102_444_800, 0, "2100-01-01T00:00:00.000000000Z"),
            (4_107_542_400, 0, "2100-03-01T00:00:00.000000000Z"),
            (253_402_300_799, 0, "9999-12-31T23:59:59.000000000Z"),
            (999_999_999_999, 0, "9999-12-31T23:59:59.000000000Z"),
        ] {
            assert_eq!(text(seconds, nanos), expected);
        }
    }

    proptest! {
        #[test]
        fn text_sorts_as_time_does(a in 0..200_000_000_000u64, b in 0..200_000_000_000u64) {
            prop_assert_eq!(a.cmp(&b), text(a, 0).cmp(&text(b, 0)));
        }

        #[test]
        fn the_next_day_is_another_real_date(day in 0..2_900_000u64) {
            let (year, month, dom) = date(day);
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month { 2 => 28 + u64::from(leap), 4 | 6 | 9 | 11 => 30, _ => 31 };
            prop_assert!((1..=12).contains(&month) && (1..=length).contains(&dom));
            let expected = if dom < length { (year, month, dom + 1) }
                else if month < 12 { (year, month + 1, 1) } else { (year + 1, 1, 1) };
            prop_assert_eq!(date(day + 1), expected);
        }
    }
}
