//! Numbers for people: percent, and as many digits as the spread deserves.

use super::metric::what;
use super::statistics::median;

/// How the values of one metric are written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Format {
    percent: bool,
    decimals: usize,
}

impl Format {
    /// Chooses the digits for a metric from the means and deviations that are to be shown.
    ///
    /// The typical deviation gets two significant digits. Percent have at least one decimal.
    pub(super) fn new(metric: &str, means: &[f64], deviations: &[f64]) -> Self {
        let percent = is_percent(metric);
        let scale = if percent { 100.0 } else { 1.0 };
        let spread = |value: &f64| value.is_finite() && *value > 0.0;
        let spreads = deviations.iter().copied().filter(spread).map(|value| value * scale);
        let typical = median(spreads.collect());
        let finite = means.iter().copied().filter(|value| value.is_finite());
        let decimals = match typical {
            Some(typical) if percent => digits(typical, 2).clamp(1, 3),
            Some(typical) => digits(typical, 2).clamp(0, 6),
            None if percent => 2,
            None if finite.clone().all(|value| value.fract() == 0.0) => 0,
            None => digits(finite.fold(0.0, |most, value| most.max(value.abs())), 4).clamp(0, 6),
        };
        Self { percent, decimals: decimals as usize }
    }

    /// The unit that the numbers are in, where they have one.
    pub(super) fn unit(metric: &str) -> &'static str {
        if is_percent(metric) { ", %" } else { "" }
    }

    /// A value.
    pub(super) fn value(self, value: f64) -> String {
        if !value.is_finite() {
            return value.to_string();
        }
        let value = if self.percent { value * 100.0 } else { value };
        let text = format!("{value:.*}", self.decimals);
        // `-0.0` is a rounding, not a finding.
        if text.bytes().all(|byte| matches!(byte, b'-' | b'0' | b'.')) {
            text.trim_start_matches('-').to_owned()
        } else {
            text
        }
    }

    /// A mean with its deviation.
    pub(super) fn spread(self, mean: f64, deviation: Option<f64>) -> String {
        match deviation {
            Some(deviation) if mean.is_finite() => {
                format!("{} ± {}", self.value(mean), self.value(deviation))
            }
            _ => self.value(mean),
        }
    }

    /// A difference with its deviation: always with a sign.
    pub(super) fn difference(self, mean: f64, deviation: Option<f64>) -> String {
        let text = self.spread(mean, deviation);
        if mean.is_nan() {
            text
        } else if text.starts_with('-') {
            text.replacen('-', "−", 1)
        } else {
            format!("+{text}")
        }
    }
}

/// Whether a metric's values are shown in percent.
pub(super) fn is_percent(metric: &str) -> bool {
    matches!(what(metric), "accuracy" | "mean-iou" | "sparsity")
}

/// Decimals with which a number shows this many significant digits; may be negative.
fn digits(value: f64, significant: i32) -> i32 {
    if value == 0.0 { significant } else { significant - 1 - value.abs().log10().floor() as i32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_decides_the_digits() {
        let check = |metric: &str, mean: f64, deviation: f64, expected: &str| {
            let format = Format::new(metric, &[mean], &[deviation]);
            assert_eq!(format.spread(mean, Some(deviation)), expected);
        };
        check("mnist:test/accuracy", 0.973_14, 0.004_2, "97.31 ± 0.42");
        check("mnist:test/accuracy", 0.741, 0.023, "74.1 ± 2.3");
        check("mnist:test/accuracy", 0.741, 0.23, "74.1 ± 23.0");
        check("mnist:test/accuracy", 0.741, 0.000_001, "74.100 ± 0.000");
        check("train/loss", 0.123_456, 0.012_3, "0.123 ± 0.012");
        check("params", 431_080.0, 0.0, "431080 ± 0");
        check("epoch-seconds", 12.345, 0.5, "12.35 ± 0.50");
    }

    #[test]
    fn without_spread_the_size_decides() {
        let check = |metric: &str, mean: f64, expected: &str| {
            assert_eq!(Format::new(metric, &[mean], &[]).spread(mean, None), expected);
        };
        check("mnist:test/accuracy", 0.973_14, "97.31");
        check("train/loss", 0.123_456, "0.1235");
        check("params", 431_080.0, "431080");
        check("train/loss", f64::NAN, "NaN");
    }

    #[test]
    fn differences_have_signs() {
        let format = Format::new("accuracy", &[0.5], &[0.01]);
        assert_eq!(format.difference(0.012, Some(0.02)), "+1.2 ± 2.0");
        assert_eq!(format.difference(-0.012, None), "−1.2");
        assert_eq!(format.difference(-0.000_01, None), "+0.0");
    }
}
