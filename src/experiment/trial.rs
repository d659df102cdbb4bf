//! What a checked experiment gives: its trials.

use std::iter;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::Value;

use super::beside::{self, LiesThere, Mention};
use super::compose::Composed;
use super::fault::{Faults, Sources};
use super::meaning::Stages;
use super::spec::{Data, Experiment, Import, Pretrain, Stage};
use super::sweep::{Arm, Axis, Sweep};
use super::tree::Tree;
use super::write;
use crate::network::{Network, zoo};

/// An experiment without faults.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The file's content, `--set`s applied, the sweep not.
    pub experiment: Experiment,
    /// How many files the experiment's own extends; then its text does not say all.
    pub bases: usize,
    root: Tree,
    /// The axes with what each shows for its points.
    axes: Vec<(String, Vec<Value>)>,
    arms: Vec<Arm>,
    stages: Vec<Variants>,
    mentions: Vec<Mention>,
}

/// A stage with each combination of the points of the axes that set one of its keys.
#[derive(Debug, Clone)]
struct Variants {
    name: String,
    stages: Vec<Arc<Stage>>,
    /// Which of them each combination of the sweep has; empty where there is one.
    chosen: Vec<usize>,
}

/// One combination of the sweep with one seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// Each axis and its value, as the file writes them; of a named axis the label.
    pub settings: IndexMap<String, Value>,
    /// The seed of every stage that does not pin its own.
    pub seed: u64,
    /// The stages in the order of the file, with the sweep's values. A prune stage has the data that
    /// its criterion looks at, also where the file leaves it to the default, and no other. Trials share
    /// what they have in common.
    pub stages: IndexMap<String, Arc<Stage>>,
}

impl Checked {
    /// None if a stage is not readable, which is a fault that has been reported.
    pub(super) fn new(
        composed: Composed,
        experiment: Experiment,
        stages: Stages,
        sources: &Sources,
    ) -> Option<Self> {
        let mentions = beside::mentions(&stages, sources);
        let shown = |axis: &Axis| -> Option<Vec<Value>> {
            axis.points.iter().map(|point| point.shown.read().ok()).collect()
        };
        let Sweep { axes, arms } = stages.sweep;
        let axes = axes.into_iter().map(|axis| Some((axis.name.clone(), shown(&axis)?)));
        let axes = axes.collect::<Option<_>>()?;
        let stages = stages.stages.into_iter().map(|(name, stage)| {
            let variants = stage.variants.into_values().map(|variant| variant.stage.map(Arc::new));
            let stages = variants.collect::<Option<_>>()?;
            Some(Variants { name, stages, chosen: stage.chosen })
        });
        let stages = stages.collect::<Option<_>>()?;
        let Composed { root, bases, .. } = composed;
        Some(Self { experiment, bases, root, axes, arms, stages, mentions })
    }

    /// The experiment in one piece, as TOML: with what it extends, variables written out and `--set`s
    /// applied. Defaults stay unwritten.
    pub fn to_toml(&self) -> String {
        write::to_toml(&self.root)
    }

    /// Checks what the experiment says of files and folders beside it; `look` is told a path as the
    /// experiment writes it, relative to the experiment's folder, and tells what lies there.
    ///
    /// # Errors
    /// A file or folder that a stage names and that is not there; an argument of a command that is a file
    /// which the command does not declare, so that its changes would not be noticed.
    pub fn look_beside(&self, look: &dyn Fn(&str) -> LiesThere) -> Result<(), Faults> {
        beside::faults(&self.mentions, look)
    }

    /// The number of [`Self::trials`], which are not made for it.
    pub fn trial_count(&self) -> usize {
        self.arms.iter().map(|arm| arm.seeds.len()).sum()
    }

    /// Every combination of the sweep with every seed: the first axis outermost, seeds innermost, those
    /// that `include` adds last.
    pub fn trials(&self) -> Vec<Trial> {
        let mut trials = Vec::with_capacity(self.trial_count());
        for (index, arm) in self.arms.iter().enumerate() {
            let settings = self.axes.iter().zip(&arm.points);
            let settings: IndexMap<_, _> = settings
                .map(|((name, shown), &point)| (name.clone(), shown[point].clone()))
                .collect();
            // The last one takes them, so that a combination with one seed copies nothing.
            let parts = iter::repeat_n((settings, self.stages_of(index)), arm.seeds.len());
            let of_arm = arm.seeds.iter().zip(parts);
            trials.extend(of_arm.map(|(&seed, (settings, stages))| Trial {
                settings,
                seed,
                stages,
            }));
        }
        trials
    }

    fn stages_of(&self, arm: usize) -> IndexMap<String, Arc<Stage>> {
        let stages = self.stages.iter().map(|variants| {
            let index = variants.chosen.get(arm).copied().unwrap_or(0);
            (variants.name.clone(), variants.stages[index].clone())
        });
        let mut stages: IndexMap<_, _> = stages.collect();
        let data: Vec<_> = stages.values().map(|stage| prune_data(stage, &stages)).collect();
        for (stage, data) in stages.values_mut().zip(data) {
            if let Stage::Prune(prune) = &**stage
                && prune.data != data
                && let Stage::Prune(prune) = Arc::make_mut(stage)
            {
                prune.data = data;
            }
        }
        stages
    }
}

impl Trial {
    /// The network that leaves a stage, unpruned and without copies for domains; none for a name that
    /// no stage has.
    pub fn network(&self, stage: &str) -> Option<Network> {
        match &**self.stages.get(stage)? {
            Stage::Pretrain(Pretrain { model, data, .. }) => zoo::build_for(model, data).ok(),
            Stage::Import(Import { model, data, .. }) => {
                zoo::build_imported(model.as_ref(), data).ok()
            }
            Stage::Finetune(finetune) => {
                let network = self.network(&finetune.from)?;
                let classes = finetune.data.classes();
                let is_new = network.classes().is_ok_and(|old| old != classes);
                Some(if is_new { network.with_classes(classes) } else { network })
            }
            Stage::Prune(prune) => self.network(&prune.from),
            Stage::Adapt(adapt) => self.network(&adapt.from),
            Stage::Evaluate(evaluate) => self.network(&evaluate.from),
            Stage::Sensitivity(sensitivity) => self.network(&sensitivity.from),
            Stage::Command(_) => None,
        }
    }
}

/// The data that a prune stage looks at: its own, else what the network was trained on.
fn prune_data(stage: &Stage, stages: &IndexMap<String, Arc<Stage>>) -> Option<Data> {
    let Stage::Prune(prune) = stage else { return None };
    if !prune.criterion.needs_data() {
        return None;
    }
    let own = prune.data.clone();
    own.or_else(|| trained_on(stages.get(&prune.from)?, stages))
}

/// The data with labels that a stage's network was trained on last.
fn trained_on(stage: &Stage, stages: &IndexMap<String, Arc<Stage>>) -> Option<Data> {
    let from = match stage {
        Stage::Pretrain(pretrain) => return Some(pretrain.data.clone()),
        Stage::Finetune(finetune) => return Some(finetune.data.clone()),
        Stage::Adapt(adapt) => return Some(adapt.source.clone()),
        Stage::Import(import) => return Some(import.data.clone()),
        Stage::Prune(prune) => match &prune.data {
            Some(data) if prune.criterion.trains() => return Some(data.clone()),
            _ => &prune.from,
        },
        Stage::Evaluate(evaluate) => &evaluate.from,
        Stage::Sensitivity(sensitivity) => &sensitivity.from,
        Stage::Command(_) => return None,
    };
    trained_on(stages.get(from)?, stages)
}

/// A value of an axis as tables and progress lines show it: `magnitude` for `{ magnitude = {} }`,
/// `min-mse(hessian=diag)`, `0.5`. It stays on its line and is never empty.
pub fn label(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::String(text) => text.chars().map(in_line).collect(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(label).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(table) => {
            let alternative = (table.len() == 1).then(|| table.iter().next()).flatten();
            match alternative {
                Some((name, Value::Object(settings))) if settings.is_empty() => name.clone(),
                Some((name, Value::Object(settings))) => {
                    format!("{name}({})", label_settings(settings))
                }
                _ if table.is_empty() => "{}".to_owned(),
                _ => label_settings(table),
            }
        }
        other => other.to_string(),
    }
}

/// A character as it can stand in a line: a line break as `\n`.
fn in_line(letter: char) -> String {
    if letter.is_control() { letter.escape_default().collect() } else { letter.into() }
}

fn label_settings(settings: &serde_json::Map<String, Value>) -> String {
    let each = settings.iter().map(|(key, value)| format!("{key}={}", label(value)));
    each.collect::<Vec<_>>().join(", ")
}
