//! What a table shows: stages, metrics, axes, and the values that it needs.

use std::collections::{BTreeSet, HashSet};

use super::layout::{Axis, Layout, find_axis, lay_out};
use super::{Direction, Reduce, Request, Stage, State, TableError, Trial, metric};

/// What a table will show, before its values are known.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection<'a> {
    pub(super) request: &'a Request,
    pub(super) trials: Vec<&'a Trial>,
    pub(super) stages: Vec<String>,
    pub(super) metrics: Vec<String>,
    pub(super) layout: Layout,
    /// Axis and label that others are compared with.
    pub(super) baseline: Option<(Axis, String)>,
    pub(super) slots: Vec<Slot<'a>>,
    pub(super) notes: Vec<String>,
}

/// A place for a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Slot<'a> {
    pub(super) trial: &'a Trial,
    /// Index into [`Selection::stages`].
    pub(super) stage: usize,
    /// Index into [`Selection::metrics`].
    pub(super) metric: usize,
    pub(super) key: &'a str,
    /// The whole name of the metric; absent where the stage has no value of it.
    pub(super) name: Option<&'a str>,
}

impl Selection<'_> {
    /// The series that [`Selection::fill`] asks for: key of the stage's result and name of the metric.
    pub fn wanted(&self) -> BTreeSet<(&str, &str)> {
        self.slots.iter().filter_map(|slot| Some((slot.key, slot.name?))).collect()
    }

    /// The direction of a metric: what was asked for, or what its name tells.
    pub(super) fn better(&self, metric: usize) -> Option<Direction> {
        self.request.better.or_else(|| Direction::of(&self.metrics[metric]))
    }

    /// The label of a slot on an axis.
    pub(super) fn label(&self, slot: &Slot, axis: &Axis) -> String {
        match axis {
            Axis::Sweep(name) => {
                slot.trial.settings.get(name).map_or("–".to_owned(), |at| at.label.clone())
            }
            Axis::Stage => self.stages[slot.stage].clone(),
            Axis::Metric => self.metrics[slot.metric].clone(),
            Axis::Seed => slot.trial.seed.to_string(),
        }
    }
}

/// Decides what a table shows.
///
/// # Errors
/// Names that do not exist, each with the legal ones.
pub fn select<'a>(trials: &'a [Trial], request: &'a Request) -> Result<Selection<'a>, TableError> {
    let sweep = axes(trials);
    let trials = filter(trials, &sweep, &request.filters)?;
    let mut notes = Vec::new();
    let metrics = if request.metrics.is_empty() {
        vec![default_metric(&trials).to_owned()]
    } else {
        request.metrics.clone()
    };
    let stages = choose_stages(&trials, &metrics, request, &mut notes)?;
    let layout = lay_out(&trials, &stages, metrics.len(), &sweep, request)?;
    if !layout.idle.is_empty() {
        let names: Vec<_> = layout.idle.iter().map(|axis| format!("`{axis}`")).collect();
        let verb = if names.len() == 1 { "does" } else { "do" };
        notes.push(format!("{} {verb} not change what is shown here", names.join(", ")));
    }
    let mut selection = Selection {
        request,
        slots: slots(&trials, &stages, &metrics, &mut notes),
        trials,
        stages,
        metrics,
        layout,
        baseline: None,
        notes,
    };
    if request.reduce == Reduce::Best
        && let Some(index) =
            (0..selection.metrics.len()).find(|&metric| selection.better(metric).is_none())
    {
        return Err(TableError::NoDirection(selection.metrics[index].clone()));
    }
    if let Some(baseline) = &request.baseline {
        selection.baseline = Some(find_baseline(&selection, baseline, &sweep)?);
    }
    Ok(selection)
}

/// For each trial whether it has these labels on these axes.
///
/// # Errors
/// An axis or a label that no trial has, with the legal ones.
pub fn matching(trials: &[Trial], filters: &[(String, String)]) -> Result<Vec<bool>, TableError> {
    let kept = filter(trials, &axes(trials), filters)?;
    Ok(trials.iter().map(|trial| kept.iter().any(|it| std::ptr::eq(*it, trial))).collect())
}

/// The axes of the sweep, in the order of the file.
fn axes(trials: &[Trial]) -> Vec<String> {
    let axes = trials.iter().flat_map(|trial| trial.settings.keys().cloned());
    axes.collect::<indexmap::IndexSet<_>>().into_iter().collect()
}

/// What is shown where nothing was asked for: `mean-iou` where all that was measured are masks, else
/// `accuracy`.
fn default_metric(trials: &[&Trial]) -> &'static str {
    let has =
        |stage: &&Stage, what: &str| stage.metrics.iter().any(|name| metric::what(name) == what);
    let stages = trials.iter().flat_map(|trial| trial.stages.values());
    let mut measured = stages.filter(|stage| has(stage, "accuracy")).peekable();
    let is_any = measured.peek().is_some();
    if is_any && measured.all(|stage| has(&stage, "mean-iou")) { "mean-iou" } else { "accuracy" }
}

fn filter<'a>(
    trials: &'a [Trial],
    sweep: &[String],
    filters: &[(String, String)],
) -> Result<Vec<&'a Trial>, TableError> {
    let mut kept: Vec<&Trial> = trials.iter().collect();
    for (axis, label) in filters {
        let axis = match find_axis(axis, sweep)? {
            axis @ (Axis::Sweep(_) | Axis::Seed) => axis,
            Axis::Stage | Axis::Metric => {
                let known = sweep.iter().cloned().chain(["seed".to_owned()]).collect();
                return Err(TableError::Unknown { what: "axis", name: axis.clone(), known });
            }
        };
        let own = |trial: &Trial| match &axis {
            Axis::Sweep(name) => {
                trial.settings.get(name).map_or(String::new(), |at| at.label.clone())
            }
            _ => trial.seed.to_string(),
        };
        let mut known: Vec<String> = Vec::new();
        for value in kept.iter().map(|trial| own(trial)) {
            if !known.contains(&value) {
                known.push(value);
            }
        }
        if !known.contains(label) && !known.is_empty() {
            return Err(TableError::Unknown { what: "value", name: label.clone(), known });
        }
        kept.retain(|trial| own(trial) == *label);
    }
    if kept.is_empty() {
        return Err(TableError::Empty("these settings".to_owned()));
    }
    Ok(kept)
}

/// The stages that were asked for, or those that no other stage reads and that have the metrics.
fn choose_stages(
    trials: &[&Trial],
    metrics: &[String],
    request: &Request,
    notes: &mut Vec<String>,
) -> Result<Vec<String>, TableError> {
    let mut all: Vec<String> = Vec::new();
    let mut leaves: HashSet<&str> = HashSet::new();
    for trial in trials {
        let read: HashSet<&str> =
            trial.stages.values().flat_map(|stage| &stage.inputs).map(String::as_str).collect();
        for (name, stage) in &trial.stages {
            if !all.contains(name) {
                all.push(name.clone());
            }
            if !read.contains(stage.key.as_str()) {
                leaves.insert(name);
            }
        }
    }
    if let Some(unknown) = request.stages.iter().find(|stage| !all.contains(stage)) {
        return Err(TableError::Unknown { what: "stage", name: unknown.clone(), known: all });
    }
    let mut stages: Vec<String> = if request.stages.is_empty() {
        all.into_iter().filter(|stage| leaves.contains(stage.as_str())).collect()
    } else {
        request.stages.clone()
    };
    let of =
        |name: &str| trials.iter().filter_map(|trial| trial.stages.get(name)).collect::<Vec<_>>();
    for metric in metrics {
        let lacks = |name: &String| {
            let stages = of(name);
            stages.iter().any(|stage| stage.state == State::Measured)
                && stages.iter().all(|stage| resolve(stage, metric).is_none())
        };
        let (without, with): (Vec<String>, Vec<String>) = stages.iter().cloned().partition(lacks);
        if without.is_empty() {
            continue;
        }
        if with.is_empty() || !request.stages.is_empty() {
            let known: BTreeSet<&String> =
                without.iter().flat_map(|name| of(name)).flat_map(|stage| &stage.metrics).collect();
            return Err(TableError::NoMetric {
                metric: metric.clone(),
                known: known.into_iter().cloned().collect(),
                stages: without,
            });
        }
        let names: Vec<_> = without.iter().map(|name| format!("`{name}`")).collect();
        notes.push(format!("{} left out, without `{metric}`", names.join(", ")));
        stages = with;
    }
    Ok(stages)
}

fn resolve<'a>(stage: &'a Stage, metric: &str) -> Option<(&'a str, Vec<&'a str>)> {
    metric::resolve(&stage.metrics, metric, stage.dataset.as_deref())
}

fn slots<'a>(
    trials: &[&'a Trial],
    stages: &[String],
    metrics: &[String],
    notes: &mut Vec<String>,
) -> Vec<Slot<'a>> {
    let mut slots = Vec::new();
    for trial in trials {
        for (stage_index, name) in stages.iter().enumerate() {
            let Some(stage) = trial.stages.get(name) else { continue };
            for (metric_index, metric) in metrics.iter().enumerate() {
                let resolved = resolve(stage, metric);
                if let Some((chosen, rivals)) = &resolved
                    && !rivals.is_empty()
                {
                    let note = format!(
                        "`{name}` is shown with {chosen}; it also has {}",
                        rivals.join(", ")
                    );
                    if !notes.contains(&note) {
                        notes.push(note);
                    }
                }
                slots.push(Slot {
                    trial,
                    stage: stage_index,
                    metric: metric_index,
                    key: &stage.key,
                    name: resolved.map(|(name, _)| name),
                });
            }
        }
    }
    slots
}

/// The axis and label that a baseline means.
fn find_baseline(
    selection: &Selection,
    baseline: &str,
    sweep: &[String],
) -> Result<(Axis, String), TableError> {
    let shown = || selection.layout.rows.iter().chain(&selection.layout.cols);
    let labels = |axis: &Axis| {
        let mut labels = Vec::new();
        for slot in &selection.slots {
            let label = selection.label(slot, axis);
            if !labels.contains(&label) {
                labels.push(label);
            }
        }
        labels
    };
    let having = |label: &str| -> Vec<Axis> {
        shown().filter(|axis| labels(axis).iter().any(|own| own == label)).cloned().collect()
    };
    let mut meant = having(baseline);
    let mut label = baseline;
    if meant.is_empty()
        && let Some((name, value)) = baseline.split_once('=')
    {
        let axis = find_axis(name, sweep)?;
        label = value;
        meant = having(label).into_iter().filter(|own| *own == axis).collect();
        if meant.is_empty() && shown().any(|own| *own == axis) {
            let known = labels(&axis);
            return Err(TableError::Unknown { what: "value", name: label.to_owned(), known });
        }
    }
    match meant.as_slice() {
        [axis] => Ok((axis.clone(), label.to_owned())),
        [] => Err(TableError::Unknown {
            what: "row or column",
            name: baseline.to_owned(),
            known: shown().flat_map(labels).collect(),
        }),
        several => Err(TableError::Ambiguous {
            label: label.to_owned(),
            axes: several.iter().map(|axis| axis.name().to_owned()).collect(),
        }),
    }
}
