//! Claims beside what was measured: does what the file says before the run hold?
//!
//! A claim is about the mean over seeds of a metric, or of its difference or ratio between two results of
//! the same seed. It holds where the whole 95 % confidence interval of that mean (Student's t) keeps the
//! claim's bounds, fails where all of it breaks them, and is undecided while it does neither: then more seeds
//! are needed. Of one seed there is no interval, and the value itself decides.

use std::collections::{BTreeSet, HashMap};

use indexmap::{IndexMap, IndexSet};
use serde_json::{Value, json};
use statrs::distribution::{ContinuousCDF as _, StudentsT};

use super::build::Summary;
use super::data::number;
use super::markdown;
use super::number::{Format, is_percent};
use super::{Coordinate, Reduce, Stage, Style, Trial, grid, metric};

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

impl Judged {
    fn is_percent(&self) -> bool {
        is_percent(&self.metric) && !self.claim.is_ratio
    }

    fn unit(&self) -> &'static str {
        match (self.is_percent(), &self.claim.than) {
            (true, Some(_)) => " points",
            (true, None) => " %",
            (false, _) => "",
        }
    }

    /// A figure of the file: as many digits as it has.
    fn stated(&self, value: f64) -> String {
        // What 0.29 · 100 has behind its twelfth digit is not the file's.
        let value = if self.is_percent() { (value * 1e14).round() / 1e12 } else { value };
        let sign = if self.is_difference() && value > 0.0 { "+" } else { "" };
        format!("{sign}{value}{}", self.unit()).replace('-', "−")
    }

    fn is_difference(&self) -> bool {
        self.claim.than.is_some() && !self.claim.is_ratio
    }

    fn measured(&self) -> String {
        let Some(Summary { mean, deviation, n }) = self.summary else { return "–".to_owned() };
        let name = if self.claim.is_ratio { "ratio" } else { &self.metric };
        let format = Format::new(name, &[mean], deviation.as_slice());
        let text = if self.is_difference() {
            format.difference(mean, deviation)
        } else {
            format.spread(mean, deviation)
        };
        format!("{text}{} (n={n})", self.unit())
    }

    fn condition(&self) -> String {
        let (least, most) = self.claim.bounds;
        match (least.is_finite(), most.is_finite()) {
            (true, true) => format!("{} to {}", self.stated(least), self.stated(most)),
            (true, false) => format!("at least {}", self.stated(least)),
            _ => format!("at most {}", self.stated(most)),
        }
    }

    fn row(&self) -> Vec<String> {
        let reported = self.claim.reported.map_or("–".to_owned(), |value| self.stated(value));
        let mut verdict = self.verdict.as_str().to_owned();
        if self.known_before > 0 {
            verdict.push_str(", stated afterwards");
        }
        vec![self.claim.says.clone(), self.measured(), reported, self.condition(), verdict]
    }

    fn json(&self) -> Value {
        let results = |results: &Results| json!({ "stage": results.stage, "where": results.at });
        let (least, most) = self.claim.bounds;
        let finite = |value: f64| value.is_finite().then_some(value);
        let values = self
            .values
            .iter()
            .map(|(seeds, value)| json!({ "seeds": seeds, "value": number(*value) }));
        let mean = self.summary.map(|summary| summary.mean);
        json!({
            "says": self.claim.says,
            "source": self.claim.source,
            "metric": self.metric,
            "of": results(&self.claim.of),
            "than": self.claim.than.as_ref().map(results),
            "by": self.claim.than.as_ref().map(|_| if self.claim.is_ratio { "ratio" } else { "difference" }),
            "reported": self.claim.reported,
            "at-least": finite(least),
            "at-most": finite(most),
            "n": self.summary.map_or(0, |summary| summary.n),
            "mean": mean.map(number),
            "std": self.summary.and_then(|summary| summary.deviation).map(number),
            "interval": self.interval.map(|(low, high)| [number(low), number(high)]),
            "from-reported": mean.zip(self.claim.reported).map(|(mean, reported)| number(mean - reported)),
            "values": values.collect::<Vec<_>>(),
            "verdict": self.verdict.as_str(),
            "known-before": self.known_before,
        })
    }
}

const HEADER: [&str; 5] = ["claim", "measured", "reported", "holds if", "verdict"];

impl Claims {
    /// `7 claims: 4 hold, 2 do not hold, 1 undecided`; none where there are no claims.
    pub fn counts(&self) -> Option<String> {
        let count =
            |verdict: Verdict| self.claims.iter().filter(|claim| claim.verdict == verdict).count();
        let all = [Verdict::Holds, Verdict::Fails, Verdict::Undecided, Verdict::NotMeasured];
        let counts =
            all.into_iter().map(|verdict| (count(verdict), verdict)).filter(|(n, _)| *n > 0);
        let counts: Vec<String> = counts
            .map(|(n, verdict)| match (verdict, n) {
                (Verdict::Holds, 2..) => format!("{n} hold"),
                (Verdict::Fails, 2..) => format!("{n} do not hold"),
                _ => format!("{n} {}", verdict.as_str()),
            })
            .collect();
        let word = if self.claims.len() == 1 { "claim" } else { "claims" };
        (!counts.is_empty()).then(|| format!("{} {word}: {}", self.claims.len(), counts.join(", ")))
    }

    fn caption(&self) -> [String; 2] {
        let counts = self.counts().unwrap_or_default();
        let spread = "mean ± standard deviation over seeds; undecided: a bound lies within the 95 % confidence interval of the mean";
        [format!("{}: {counts}", self.experiment), spread.to_owned()]
    }

    /// The claims as text.
    pub fn to_text(&self, style: Style) -> String {
        let rows: Vec<_> = self.claims.iter().map(Judged::row).collect();
        format!("{}\n\n{}", self.caption().join("\n"), grid(&HEADER, &rows, style))
    }

    /// The claims as Markdown, each with its source.
    pub fn to_markdown(&self) -> String {
        let rows = self.claims.iter().map(|claim| {
            let mut row = claim.row();
            if let Some(source) = &claim.claim.source {
                row[0] = format!("{} ({source})", row[0]);
            }
            row
        });
        let table = markdown::table(
            HEADER.map(str::to_owned).to_vec(),
            &["---", "---:", "---:", "---", "---"],
            rows,
        );
        format!("{}\n\n{table}", self.caption().join("  \n"))
    }

    /// One line per claim; accuracies are fractions.
    pub fn to_csv(&self) -> String {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let header = [
            "claim",
            "source",
            "metric",
            "n",
            "mean",
            "std",
            "low",
            "high",
            "reported",
            "at_least",
            "at_most",
            "verdict",
            "known_before",
        ];
        let text = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
        let rows = self.claims.iter().map(|judged| {
            let (claim, summary) = (&judged.claim, judged.summary);
            let finite = |value: f64| text(Some(value).filter(|value| value.is_finite()));
            vec![
                claim.says.clone(),
                claim.source.clone().unwrap_or_default(),
                judged.metric.clone(),
                summary.map_or(0, |summary| summary.n).to_string(),
                text(summary.map(|summary| summary.mean)),
                text(summary.and_then(|summary| summary.deviation)),
                text(judged.interval.map(|(low, _)| low)),
                text(judged.interval.map(|(_, high)| high)),
                text(claim.reported),
                finite(claim.bounds.0),
                finite(claim.bounds.1),
                judged.verdict.as_str().to_owned(),
                judged.known_before.to_string(),
            ]
        });
        for line in std::iter::once(header.map(str::to_owned).to_vec()).chain(rows) {
            writer
                .write_record(line)
                .expect("memory takes any line, and all lines are equally long");
        }
        let bytes = writer.into_inner().expect("memory takes any line");
        String::from_utf8(bytes).expect("the cells are text")
    }

    /// The claims as one JSON object.
    pub fn to_json(&self) -> Value {
        let claims: Vec<_> = self.claims.iter().map(Judged::json).collect();
        json!({ "experiment": self.experiment, "confidence": CONFIDENCE, "claims": claims })
    }
}
