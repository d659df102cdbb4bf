//! Metrics by name: which one is meant, what is good, which step counts.

use std::collections::BTreeSet;

/// Which values are good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// High ones.
    Higher,
    /// Low ones.
    Lower,
}

impl Direction {
    /// Whether one value is better than another; not-a-number is never better.
    pub(super) fn is_better(self, value: f64, than: f64) -> bool {
        match self {
            Self::Higher => value > than,
            Self::Lower => value < than,
        }
    }

    /// The direction that a metric's name tells.
    pub(super) fn of(metric: &str) -> Option<Self> {
        match what(metric) {
            "accuracy"
            | "mean-iou"
            | "negative-entropy"
            | "information-maximisation"
            | "nuclear-norm"
            | "neighbourhood-density" => Some(Self::Higher),
            "loss" => Some(Self::Lower),
            _ => None,
        }
    }
}

/// Which value of a series counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reduce {
    /// That of the last step.
    #[default]
    Last,
    /// The best one, by the metric's good direction.
    Best,
    /// The smallest.
    Min,
    /// The largest.
    Max,
}

impl Reduce {
    /// The word on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Best => "best",
            Self::Min => "min",
            Self::Max => "max",
        }
    }

    /// The value that counts of a series in the order of its steps.
    pub(super) fn apply(self, series: &[(u64, f64)], better: Option<Direction>) -> Option<f64> {
        let direction = match self {
            Self::Last => return series.last().map(|(_, value)| *value),
            Self::Best => better.unwrap_or(Direction::Higher),
            Self::Min => Direction::Lower,
            Self::Max => Direction::Higher,
        };
        let values = series.iter().map(|(_, value)| *value);
        values.reduce(
            |best, value| {
                if best.is_nan() || direction.is_better(value, best) { value } else { best }
            },
        )
    }
}

/// The last part of a metric's name: `accuracy` of `mnist:test/accuracy`.
pub(super) fn what(metric: &str) -> &str {
    metric.rsplit('/').next().unwrap_or(metric)
}

/// The dataset in a metric's name: `mnist` of `mnist:test/accuracy`.
fn dataset(metric: &str) -> Option<&str> {
    metric.split_once(':').map(|(dataset, _)| dataset)
}

/// Whether a metric is meant by a name or an end of it.
fn is_meant(metric: &str, pattern: &str) -> bool {
    let Some(rest) = metric.strip_suffix(pattern) else { return false };
    rest.is_empty() || rest.ends_with('/') || rest.ends_with(':')
}

/// The metric that a pattern means, and its rivals on other datasets.
///
/// The test split comes before `val`, and that before `train`; of several datasets the stage's own is
/// meant, otherwise the first by name.
pub(super) fn resolve<'a>(
    metrics: &'a BTreeSet<String>,
    pattern: &str,
    own: Option<&str>,
) -> Option<(&'a str, Vec<&'a str>)> {
    if let Some(metric) = metrics.get(pattern) {
        return Some((metric, Vec::new()));
    }
    let split = |metric: &str| {
        let scope = metric.rsplit_once('/').map_or("", |(scope, _)| scope);
        match scope.rsplit(':').next() {
            Some("test") => 0,
            Some("val") => 1,
            _ => 2,
        }
    };
    let meant = metrics.iter().map(String::as_str).filter(|metric| is_meant(metric, pattern));
    let mut candidates: Vec<&str> = meant.collect();
    let rank = candidates.iter().map(|metric| split(metric)).min()?;
    candidates.retain(|metric| split(metric) == rank);
    let chosen =
        candidates.iter().position(|metric| own.is_some() && dataset(metric) == own).unwrap_or(0);
    let metric = candidates.remove(chosen);
    Some((metric, candidates))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_of_a_name_means_the_test_split_of_the_stages_own_dataset() {
        let metrics: BTreeSet<String> = [
            "mnist:test/accuracy",
            "mnist:val/accuracy",
            "mnist:val/loss",
            "params",
            "nonzero-params",
            "train/accuracy",
            "train/loss",
            "usps:test/accuracy",
        ]
        .map(str::to_owned)
        .into();
        let check = |pattern: &str, own: Option<&str>, expected: Option<(&str, Vec<&str>)>| {
            assert_eq!(resolve(&metrics, pattern, own), expected, "{pattern}");
        };
        let usps = Some("usps");
        check("accuracy", usps, Some(("usps:test/accuracy", vec!["mnist:test/accuracy"])));
        check("accuracy", None, Some(("mnist:test/accuracy", vec!["usps:test/accuracy"])));
        check("val/accuracy", usps, Some(("mnist:val/accuracy", vec![])));
        check("mnist:test/accuracy", usps, Some(("mnist:test/accuracy", vec![])));
        check("loss", usps, Some(("mnist:val/loss", vec![])));
        check("train/loss", usps, Some(("train/loss", vec![])));
        check("params", usps, Some(("params", vec![])));
        check("curacy", usps, None);
    }

    #[test]
    fn a_series_is_reduced_to_the_value_that_counts() {
        let series = [(1, f64::NAN), (2, 0.4), (3, 0.2), (4, 0.3)];
        let check = |reduce: Reduce, better, expected| {
            assert_eq!(reduce.apply(&series, better), Some(expected), "{reduce:?}");
        };
        check(Reduce::Last, None, 0.3);
        check(Reduce::Min, None, 0.2);
        check(Reduce::Max, None, 0.4);
        check(Reduce::Best, Some(Direction::Lower), 0.2);
        check(Reduce::Best, Some(Direction::Higher), 0.4);
        assert_eq!(Reduce::Last.apply(&[], None), None);
    }
}
