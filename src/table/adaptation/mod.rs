//! What adaptations gain: each beside training on the source alone and beside training on the target's labels.
//!
//! A row is one adapt stage in one combination of settings, over seeds. Its control is the `source-only` stage
//! between the same domains that reads the same data, starts from the same network and differs in the fewest
//! settings, in this order, and its bound a network trained on the
//! target's labels (the "oracle") in the same trial. No figure of a target takes part in any choice here.

mod show;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use indexmap::IndexMap;

use super::Summary;

/// The method that adapts nothing, as an experiment names it.
pub const CONTROL: &str = "source-only";

/// A bound that is less than this above the control leaves no gap to tell a share of.
const SMALLEST_GAP: f64 = 0.02;

/// A stage of a trial that adapts, or that trains on a target's labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The trial's settings by axis, as tables show them.
    pub settings: IndexMap<String, String>,
    /// The stage's name.
    pub stage: String,
    /// The trial's seed.
    pub seed: u64,
    /// The key of its result.
    pub key: String,
    /// What it does.
    pub role: Role,
    /// The domain that it adapts to, or is trained on.
    pub target: String,
    /// Accuracy on the target's test split, in 0..=1.
    pub target_accuracy: Option<f64>,
    /// Examples in that split.
    pub examples: Option<f64>,
    /// Seconds that its epochs took, all together.
    pub seconds: Option<f64>,
    /// Parameters that it trained.
    pub trained: Option<f64>,
}

/// What a stage does.
#[derive(Debug, Clone, PartialEq)]
pub enum Role {
    /// It adapts from a source.
    Adapts {
        /// The method's name, as in the experiment.
        method: String,
        /// The source's domain.
        source: String,
        /// Accuracy on the source's test split, in 0..=1.
        source_accuracy: Option<f64>,
        /// What its network was chosen by: `last epoch`, or a validator.
        chosen_by: String,
        /// The network that it starts from, in any form that tells networks apart.
        network: String,
        /// The data that it reads, in any form that tells data apart.
        data: String,
    },
    /// It is trained on the target's labels.
    Bound,
}

/// The table.
#[derive(Debug, Clone, PartialEq)]
pub struct Adaptations {
    /// Name of the experiment.
    pub experiment: String,
    /// All seeds.
    pub seeds: Vec<u64>,
    /// Axes whose settings tell the rows apart.
    pub axes: Vec<String>,
    /// Whether stages of several names adapt.
    pub several_stages: bool,
    /// In the order of the file.
    pub rows: Vec<Row>,
    /// What a reader must know besides.
    pub notes: Vec<String>,
}

/// One stage in one combination of settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Settings by axis; an axis that makes no difference to the row has none.
    pub settings: IndexMap<String, String>,
    /// The stage's name.
    pub stage: String,
    /// The method, or none for a bound.
    pub method: Option<String>,
    /// The source's domain, of a bound none.
    pub source: Option<String>,
    /// The target's domain.
    pub target: String,
    /// What the network was chosen by.
    pub chosen_by: String,
    /// Accuracy on the source's test split.
    pub source_accuracy: Option<Summary>,
    /// Accuracy on the target's test split.
    pub target_accuracy: Option<Summary>,
    /// Target accuracy minus that of the control, paired by seed; of a control none.
    pub gain: Option<Summary>,
    /// Share of the gap between control and bound that is closed; see [`Gap`].
    pub gap: Gap,
    /// Half of the 95 % interval of an accuracy measured on that many examples, for the row's mean.
    pub half_width: Option<f64>,
    /// Examples in the target's test split.
    pub examples: Option<f64>,
    /// Seconds that the epochs took, mean over the seeds.
    pub seconds: Option<f64>,
    /// Parameters that were trained.
    pub trained: Option<f64>,
    /// Seeds without a value.
    pub missing: Vec<u64>,
}

/// How much of the gap between the control and the bound is closed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Gap {
    /// This share, of the means over the seeds that all three have; may be below 0 and above 1.
    Closed(f64),
    /// The bound is less than 2 points above the control.
    TooSmall,
    /// There is no control, no bound or no value, or the row is one of them.
    Unknown,
}

/// Makes the table of runs in the order of the file.
pub fn compare(experiment: &str, runs: &[Run]) -> Adaptations {
    let (rows, axes) = group(runs);
    let seeds: BTreeSet<u64> = runs.iter().map(|run| run.seed).collect();
    let adapting = runs.iter().filter(|run| run.role != Role::Bound);
    let stages: BTreeSet<&str> = adapting.map(|run| run.stage.as_str()).collect();
    let mut notes = Vec::new();
    let made: Vec<Row> = rows.iter().map(|row| make(row, runs, &axes)).collect();
    let adapts = |row: &&Row| {
        row.target_accuracy.is_some()
            && row.method.as_deref().is_some_and(|method| method != CONTROL)
    };
    if made.iter().filter(adapts).any(|row| row.gain.is_none()) {
        notes.push(format!(
            "a gain is over a `{CONTROL}` stage between the same domains; add one where it is missing"
        ));
    }
    // Without a control there is no gap, whatever the bound.
    if made.iter().filter(adapts).any(|row| row.gain.is_some() && row.gap == Gap::Unknown) {
        notes.push(
            "a gap is closed towards a stage trained on the target's labels in the same trial; add one where it is missing"
                .to_owned(),
        );
    }
    let missing: usize = made.iter().map(|row| row.missing.len()).sum();
    if missing > 0 {
        let values = if missing == 1 { "value is" } else { "values are" };
        notes.push(format!("{missing} {values} not measured yet"));
    }
    Adaptations {
        experiment: experiment.to_owned(),
        seeds: seeds.into_iter().collect(),
        axes,
        several_stages: stages.len() > 1,
        rows: made,
        notes,
    }
}

/// The runs of each row, and the axes that tell rows apart.
///
/// Runs of several settings that share all their results are one row.
fn group(runs: &[Run]) -> (Vec<Vec<&Run>>, Vec<String>) {
    let place = |run: &Run| -> (String, Vec<(String, String)>) {
        let settings = run.settings.iter().map(|(axis, label)| (axis.clone(), label.clone()));
        (run.stage.clone(), settings.collect())
    };
    let mut by_settings: IndexMap<_, Vec<&Run>> = IndexMap::new();
    for run in runs {
        by_settings.entry(place(run)).or_default().push(run);
    }
    let mut rows: IndexMap<BTreeSet<(u64, &str)>, Vec<&Run>> = IndexMap::new();
    for group in by_settings.into_values() {
        let results = group.iter().map(|run| (run.seed, run.key.as_str())).collect();
        rows.entry(results).or_default().extend(group);
    }
    let rows: Vec<Vec<&Run>> = rows.into_values().collect();
    let names: indexmap::IndexSet<&String> =
        runs.iter().flat_map(|run| run.settings.keys()).collect();
    let differs = |axis: &&String| {
        let labels: BTreeSet<_> = runs.iter().map(|run| run.settings.get(*axis)).collect();
        labels.len() > 1
    };
    (rows, names.into_iter().filter(differs).cloned().collect())
}

fn make(row: &[&Run], all: &[Run], axes: &[String]) -> Row {
    let first = row[0];
    let own = by_seed(row.iter().copied(), |run| run.target_accuracy);
    let (method, source, chosen_by) = match &first.role {
        Role::Adapts { method, source, chosen_by, .. } => {
            (Some(method.clone()), Some(source.clone()), chosen_by.clone())
        }
        Role::Bound => (None, None, "target labels".to_owned()),
    };
    let target_accuracy = summary(&own);
    let adapts = method.as_deref().is_some_and(|method| method != CONTROL);
    let control = if adapts { beside(row, all, control) } else { BTreeMap::new() };
    let bound = if adapts { beside(row, all, bound) } else { BTreeMap::new() };
    // A bound does not count the examples; what adapts to its target does.
    let mut of_target = all.iter().filter(|run| run.target == first.target);
    let examples = first.examples.or_else(|| of_target.find_map(|run| run.examples));
    let half_width = target_accuracy.zip(examples).map(|(accuracy, examples)| {
        let p = accuracy.mean;
        1.96 * (p * (1.0 - p) / examples).sqrt()
    });
    let settings = axes.iter().filter_map(|axis| {
        let labels: BTreeSet<_> = row.iter().filter_map(|run| run.settings.get(axis)).collect();
        let only = labels.first().filter(|_| labels.len() == 1)?;
        Some((axis.clone(), (*only).clone()))
    });
    let missing = row.iter().filter(|run| run.target_accuracy.is_none()).map(|run| run.seed);
    Row {
        settings: settings.collect(),
        stage: first.stage.clone(),
        source_accuracy: summary(&by_seed(row.iter().copied(), source_accuracy)),
        gain: summary(&differences(&own, &control)),
        gap: closed(&own, &control, &bound),
        method,
        source,
        target: first.target.clone(),
        chosen_by,
        target_accuracy,
        half_width,
        examples,
        seconds: summary(&by_seed(row.iter().copied(), |run| run.seconds)).map(|it| it.mean),
        trained: first.trained,
        missing: missing.collect::<BTreeSet<_>>().into_iter().collect(),
    }
}

/// Values by seed, each with the key of its result, so that one that seeds share counts once.
type Values<'a> = BTreeMap<u64, (&'a str, f64)>;

fn by_seed<'a>(
    runs: impl Iterator<Item = &'a Run>,
    value: impl Fn(&Run) -> Option<f64>,
) -> Values<'a> {
    runs.filter_map(|run| Some((run.seed, (run.key.as_str(), value(run)?)))).collect()
}

fn source_accuracy(run: &Run) -> Option<f64> {
    match &run.role {
        Role::Adapts { source_accuracy, .. } => *source_accuracy,
        Role::Bound => None,
    }
}

/// What stands beside the runs of a row, by their seeds.
fn beside<'a>(
    row: &[&Run],
    all: &'a [Run],
    find: impl Fn(&Run, &'a [Run]) -> Option<&'a Run>,
) -> Values<'a> {
    let found = row.iter().filter_map(|run| {
        let other = find(run, all)?;
        Some((run.seed, (other.key.as_str(), other.target_accuracy?)))
    });
    found.collect()
}

/// The control of a run: between the same domains; on the same data, from the same network, with the fewest
/// other settings, in this order.
fn control<'a>(run: &Run, all: &'a [Run]) -> Option<&'a Run> {
    let Role::Adapts { source: own_source, network: own_network, data: own_data, .. } = &run.role
    else {
        return None;
    };
    let controls =
        all.iter().filter(|other| (&other.target, other.seed) == (&run.target, run.seed));
    let controls = controls.filter_map(|other| match &other.role {
        Role::Adapts { method, source, network, data, .. }
            if method == CONTROL && source == own_source =>
        {
            let elsewhere = (data != own_data, network != own_network);
            let distance = (elsewhere, differing(run, other), other.stage != run.stage);
            Some((distance, other))
        }
        _ => None,
    });
    controls.min_by_key(|(distance, _)| *distance).map(|(_, other)| other)
}

/// The bound of a run: in the same trial, trained on the same target. Of several the one whose name says so, else
/// the last in the file.
fn bound<'a>(run: &Run, all: &'a [Run]) -> Option<&'a Run> {
    let is_bound = |other: &&Run| {
        other.role == Role::Bound
            && other.target == run.target
            && (other.seed, &other.settings) == (run.seed, &run.settings)
    };
    all.iter().filter(is_bound).max_by_key(|other| other.stage.contains("oracle"))
}

fn differing(one: &Run, other: &Run) -> usize {
    one.settings.iter().filter(|(axis, label)| other.settings.get(*axis) != Some(label)).count()
}

/// Differences of equal seeds; a pair of results that seeds share counts once.
fn differences<'a>(own: &Values<'a>, other: &Values<'a>) -> Values<'a> {
    let pairs = own.iter().filter_map(|(seed, (key, value))| {
        let (other_key, other) = other.get(seed)?;
        Some(((key, other_key), (*seed, (*key, value - other))))
    });
    let pairs: HashMap<_, _> = pairs.collect();
    pairs.into_values().collect()
}

fn summary(values: &Values<'_>) -> Option<Summary> {
    let distinct: IndexMap<&str, f64> = values.values().copied().collect();
    Summary::of(&distinct.into_values().collect::<Vec<_>>())
}

fn closed(own: &Values<'_>, control: &Values<'_>, bound: &Values<'_>) -> Gap {
    let seeds: Vec<&u64> =
        own.keys().filter(|seed| control.contains_key(seed) && bound.contains_key(seed)).collect();
    if seeds.is_empty() {
        return Gap::Unknown;
    }
    let mean = |values: &Values<'_>| -> f64 {
        seeds.iter().map(|seed| values[seed].1).sum::<f64>() / seeds.len() as f64
    };
    let (own, control, bound) = (mean(own), mean(control), mean(bound));
    if bound - control < SMALLEST_GAP {
        return Gap::TooSmall;
    }
    Gap::Closed((own - control) / (bound - control))
}

#[cfg(test)]
mod tests;
