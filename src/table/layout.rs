//! Which axes are rows and which are columns.

use std::collections::{BTreeSet, HashMap};

use super::{Request, TableError, Trial};

/// An axis of a table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Axis {
    /// An axis of the sweep, by its name.
    Sweep(String),
    /// The stage.
    Stage,
    /// The metric.
    Metric,
    /// The seed: nothing is averaged.
    Seed,
}

impl Axis {
    /// The name as the command line takes it.
    pub fn name(&self) -> &str {
        match self {
            Self::Sweep(name) => name,
            Self::Stage => "stage",
            Self::Metric => "metric",
            Self::Seed => "seed",
        }
    }

    /// The last part of the name, as tables show it.
    pub fn short(&self) -> &str {
        self.name().rsplit('.').next().unwrap_or(self.name())
    }
}

/// The axes of rows and columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) rows: Vec<Axis>,
    pub(super) cols: Vec<Axis>,
    /// Axes of the sweep that have one value only and are not shown.
    pub(super) fixed: Vec<String>,
    /// Axes of the sweep that none of the stages depends on.
    pub(super) idle: Vec<String>,
}

/// The axis that a name on the command line means: a whole name or its last part.
pub(super) fn find_axis(name: &str, sweep: &[String]) -> Result<Axis, TableError> {
    match name {
        "stage" => return Ok(Axis::Stage),
        "metric" => return Ok(Axis::Metric),
        "seed" => return Ok(Axis::Seed),
        _ => {}
    }
    let ends = |axis: &&String| axis.as_str() == name || axis.ends_with(&format!(".{name}"));
    let exact = sweep.iter().find(|axis| *axis == name);
    let meant: Vec<&String> =
        exact.map_or_else(|| sweep.iter().filter(ends).collect(), |axis| vec![axis]);
    match meant.as_slice() {
        [axis] => Ok(Axis::Sweep((*axis).clone())),
        [] => Err(TableError::Unknown {
            what: "axis",
            name: name.to_owned(),
            known: sweep
                .iter()
                .cloned()
                .chain(["stage", "metric", "seed"].map(str::to_owned))
                .collect(),
        }),
        several => Err(TableError::Unknown {
            what: "single axis",
            name: name.to_owned(),
            known: several.iter().map(|axis| (*axis).clone()).collect(),
        }),
    }
}

/// Lays a table out: as asked, and whatever is not named so that nothing is averaged but seeds.
pub(super) fn lay_out(
    trials: &[&Trial],
    stages: &[String],
    metrics: usize,
    sweep: &[String],
    request: &Request,
) -> Result<Layout, TableError> {
    let named = |names: &[String]| -> Result<Vec<Axis>, TableError> {
        names.iter().map(|name| find_axis(name, sweep)).collect()
    };
    let (mut rows, mut cols) = (named(&request.rows)?, named(&request.cols)?);
    let mut seen = BTreeSet::new();
    if let Some(axis) = rows.iter().chain(&cols).find(|axis| !seen.insert(axis.name())) {
        return Err(TableError::Twice(axis.name().to_owned()));
    }
    let free = |axis: &Axis| !rows.contains(axis) && !cols.contains(axis);
    let (mut open, mut fixed, mut idle) = (Vec::new(), Vec::new(), Vec::new());
    for name in sweep {
        let axis = Axis::Sweep(name.clone());
        if !free(&axis) {
            continue;
        }
        if has_one_value(trials, name) {
            fixed.push(name.clone());
        } else if is_idle(trials, stages, name) {
            idle.push(name.clone());
        } else {
            open.push(axis);
        }
    }
    let several = [(Axis::Stage, stages.len() > 1), (Axis::Metric, metrics > 1)];
    let several: Vec<Axis> = several
        .into_iter()
        .filter(|(axis, wanted)| *wanted && free(axis))
        .map(|(axis, _)| axis)
        .collect();
    if several.is_empty() && cols.is_empty() && open.len() + rows.len() >= 2 {
        cols.extend(open.pop());
    }
    rows.extend(open);
    if rows.is_empty() && several.contains(&Axis::Stage) {
        rows.push(Axis::Stage);
    }
    cols.extend(several.into_iter().filter(|axis| !rows.contains(axis)));
    if rows.is_empty() && !cols.contains(&Axis::Stage) {
        rows.push(Axis::Stage);
    }
    Ok(Layout { rows, cols, fixed, idle })
}

fn has_one_value(trials: &[&Trial], axis: &str) -> bool {
    let mut labels = trials.iter().filter_map(|trial| trial.settings.get(axis)).map(|at| &at.label);
    let first = labels.next();
    labels.all(|label| Some(label) == first)
}

/// Whether none of the stages depends on an axis: trials that differ in it alone share their keys.
fn is_idle(trials: &[&Trial], stages: &[String], axis: &str) -> bool {
    let mut keys: HashMap<(Vec<&str>, u64), Vec<Option<&str>>> = HashMap::new();
    trials.iter().all(|trial| {
        let others = trial.settings.iter().filter(|(name, _)| *name != axis);
        let others = others.map(|(_, at)| at.label.as_str()).collect();
        let own: Vec<Option<&str>> = stages
            .iter()
            .map(|stage| trial.stages.get(stage).map(|stage| stage.key.as_str()))
            .collect();
        *keys.entry((others, trial.seed)).or_insert_with(|| own.clone()) == own
    })
}
