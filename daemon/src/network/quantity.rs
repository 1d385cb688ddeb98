// SPDX-License-Identifier: Apache-2.0

/// Reads a Kubernetes quantity such as `10M`, `1.5Gi` or `1e6` as a whole number, rounded up.
/// `None` for anything else, also for negative amounts.
pub(super) fn whole(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, suffix) = text.split_at(end);
    if digits.is_empty() || digits == "." {
        return None;
    }
    let value: f64 = digits.parse().ok()?;
    let factor = match suffix {
        "m" => 1e-3,
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024f64.powi(2),
        "Gi" => 1024f64.powi(3),
        "Ti" => 1024f64.powi(4),
        "Pi" => 1024f64.powi(5),
        "Ei" => 1024f64.powi(6),
        exponent => 10f64.powi(exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    let amount = (value * factor).ceil();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked"
    )]
    (0.0..u64::MAX as f64).contains(&amount).then_some(amount as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        for (text, value) in [
            ("0", 0),
            ("10M", 10_000_000),
            ("1.5k", 1500),
            ("1Ki", 1024),
            ("2e3", 2000),
            ("1E3", 1000),
            ("1E", 10u64.pow(18)),
            ("1500m", 2),
        ] {
            assert_eq!(whole(text), Some(value), "{text}");
        }
        for bad in ["", "M", "-1", "1 M", "10MB", "1.2.3", "1e", "999999E", "."] {
            assert_eq!(whole(bad), None, "{bad}");
        }
    }
}
