//! Claims beside what was measured: does what the file says before the run hold?
//!
//! A claim is about the mean over seeds of a metric, or of its difference or ratio between two results of
//! the same seed. It holds where the whole 95 % confidence interval of that mean (Student's t) keeps the
//! claim's bounds, fails where all of it breaks them, and is undecided while it does neither: then more seeds
//! are needed. Of one seed there is no interval, and the value itself decides.

mod show;

use std::collections::{BTreeSet, HashMap};

use indexmap::{IndexMap, IndexSet};
use serde_json::Value;
use statrs::distribution::{ContinuousCDF as _, StudentsT};

use super::build::Summary;
use super::{Coordinate, Reduce, Stage, Trial, metric};

/// The share of such intervals that hold the true mean.
const CONFIDENCE: f64 = 0.95;

/// A claim, as its file states it.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// The claim in a sentence.
    pub says: String,
    /// Where it stands.
    pub source: Option<String>,
    /// The metric, a whole name or its end.
    pub metric: String,
    /// What it is about.
    pub of: Results,
    /// What that is compared with.
    pub than: Option<Results>,
    /// Whether the two are divided, not subtracted.
    pub is_ratio: bool,
    /// The figure of its source.
    pub reported: Option<f64>,
    /// The least and the largest mean with which it holds; may be infinite.
    pub bounds: (f64, f64),
    /// When it was first recorded, in milliseconds since 1970.
    pub since_ms: i64,
}

/// The results of a stage in one combination of the sweep.
#[derive(Debug, Clone, PartialEq)]
pub struct Results {
    /// The stage.
    pub stage: String,
    /// Axes, each with the label or the value that it has.
    pub at: IndexMap<String, Value>,
}

impl Results {
    fn has(&self, settings: &IndexMap<String, Coordinate>) -> bool {
        let is_at = |own: &Coordinate, said: &Value| {
            own.value == *said || said.as_str().is_some_and(|said| said == own.label)
        };
        self.at.iter().all(|(axis, said)| settings.get(axis).is_some_and(|own| is_at(own, said)))
    }
}

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// What was measured keeps its bounds.
    Holds,
    /// What was measured breaks them.
    Fails,
    /// The seeds so far do not tell.
    Undecided,
    /// No seed has a value.
    NotMeasured,
}

impl Verdict {
    /// The word for people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Fails => "does not hold",
            Self::Undecided => "undecided",
            Self::NotMeasured => "not measured",
        }
    }

    fn of(interval: Option<(f64, f64)>, (least, most): (f64, f64)) -> Self {
        let Some((low, high)) = interval else { return Self::NotMeasured };
        if low >= least && high <= most {
            Self::Holds
        } else if high < least || low > most {
            Self::Fails
        } else {
            Self::Undecided
        }
    }
}

/// Claims of an experiment and the results that they are about.
pub struct Selection<'a> {
    experiment: &'a str,
    claims: Vec<Chosen<'a>>,
}

struct Chosen<'a> {
    claim: &'a Claim,
    of: IndexMap<u64, Slot<'a>>,
    than: IndexMap<u64, Slot<'a>>,
}

/// The results that a value was made from: what it is about, and what that was compared with.
type Keys<'a> = (&'a str, Option<&'a str>);

/// A result, and the metric that is meant.
#[derive(Clone, Copy)]
struct Slot<'a> {
    key: &'a str,
    metric: &'a str,
}

/// Finds the results that claims are about.
pub fn select<'a>(experiment: &'a str, trials: &'a [Trial], claims: &'a [Claim]) -> Selection<'a> {
    let claims = claims.iter().map(|claim| Chosen {
        claim,
        of: slots(trials, &claim.of, &claim.metric),
        than: claim
            .than
            .as_ref()
            .map_or_else(IndexMap::new, |than| slots(trials, than, &claim.metric)),
    });
    Selection { experiment, claims: claims.collect() }
}

/// The result of each seed that has the metric.
fn slots<'a>(trials: &'a [Trial], results: &Results, metric: &str) -> IndexMap<u64, Slot<'a>> {
    let slot = |stage: &'a Stage| {
        let (metric, _) = metric::resolve(&stage.metrics, metric, stage.dataset.as_deref())?;
        Some(Slot { key: &stage.key, metric })
    };
    let trials = trials.iter().filter(|trial| results.has(&trial.settings));
    trials
        .filter_map(|trial| Some((trial.seed, slot(trial.stages.get(&results.stage)?)?)))
        .collect()
}

impl Selection<'_> {
    /// The series that [`Selection::judge`] asks for: key of the stage's result and name of the metric.
    pub fn wanted(&self) -> BTreeSet<(&str, &str)> {
        let slots =
            self.claims.iter().flat_map(|chosen| chosen.of.values().chain(chosen.than.values()));
        slots.map(|slot| (slot.key, slot.metric)).collect()
    }

    /// Judges the claims by the series of [`Selection::wanted`]; `made_ms` says when a result was made.
    pub fn judge(
        &self,
        series: &HashMap<(String, String), Vec<(u64, f64)>>,
        made_ms: &dyn Fn(&str) -> Option<i64>,
    ) -> Claims {
        let value = |slot: &Slot| {
            let series = series.get(&(slot.key.to_owned(), slot.metric.to_owned()))?;
            Reduce::Last.apply(series, None)
        };
        let judged = self.claims.iter().map(|chosen| chosen.judge(&value, made_ms));
        Claims { experiment: self.experiment.to_owned(), claims: judged.collect() }
    }
}

impl Chosen<'_> {
    fn judge(
        &self,
        value: &dyn Fn(&Slot) -> Option<f64>,
        made_ms: &dyn Fn(&str) -> Option<i64>,
    ) -> Judged {
        // Seeds that share their results are one value.
        let mut values: IndexMap<Keys<'_>, (Vec<u64>, f64)> = IndexMap::new();
        for (seed, of) in &self.of {
            let than = self.than.get(seed);
            if self.claim.than.is_some() && than.is_none() {
                continue;
            }
            let Some(mut found) = value(of) else { continue };
            if let Some(than) = than {
                let Some(base) = value(than) else { continue };
                found = if self.claim.is_ratio { found / base } else { found - base };
            }
            let key = (of.key, than.map(|than| than.key));
            values.entry(key).or_insert((Vec::new(), found)).0.push(*seed);
        }
        let results: Vec<f64> = values.values().map(|(_, value)| *value).collect();
        let summary = Summary::of(&results);
        let interval = summary.map(interval);
        let was_there = |key: &str| made_ms(key).is_some_and(|made| made < self.claim.since_ms);
        let keys: IndexSet<&str> = values.keys().map(|(of, _)| *of).collect();
        Judged {
            claim: self.claim.clone(),
            metric: self
                .of
                .values()
                .next()
                .map_or(&*self.claim.metric, |slot| slot.metric)
                .to_owned(),
            values: values.into_values().collect(),
            summary,
            interval,
            verdict: Verdict::of(interval, self.claim.bounds),
            known_before: keys.into_iter().filter(|key| was_there(key)).count(),
        }
    }
}

/// The confidence interval of a mean; of one value the value.
fn interval(summary: Summary) -> (f64, f64) {
    let deviation = summary.deviation.filter(|_| summary.n > 1).unwrap_or(0.0);
    let half = if deviation == 0.0 {
        deviation
    } else {
        let t =
            StudentsT::new(0.0, 1.0, (summary.n - 1) as f64).expect("a positive number of degrees");
        t.inverse_cdf(0.5 + CONFIDENCE / 2.0) * deviation / (summary.n as f64).sqrt()
    };
    (summary.mean - half, summary.mean + half)
}

/// The claims of an experiment with their verdicts.
#[derive(Debug, Clone, PartialEq)]
pub struct Claims {
    /// Name of the experiment.
    pub experiment: String,
    /// In the order of the file.
    pub claims: Vec<Judged>,
}

/// A claim and what was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// The claim.
    pub claim: Claim,
    /// Whole name of the metric; as it was asked for where nothing is measured.
    pub metric: String,
    /// The seeds that share a value, and the value.
    pub values: Vec<(Vec<u64>, f64)>,
    /// Mean and spread of the values.
    pub summary: Option<Summary>,
    /// The confidence interval of the mean.
    pub interval: Option<(f64, f64)>,
    /// What became of it.
    pub verdict: Verdict,
    /// How many of the results that it is about had been made before it was first recorded.
    pub known_before: usize,
}
