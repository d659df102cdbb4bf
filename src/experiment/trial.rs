//! What a checked experiment gives: its trials.

use indexmap::IndexMap;
use serde_json::Value;

use super::beside::{self, Mention};
use super::fault::{Faults, Sources};
use super::meaning::Stages;
use super::spec::{Criterion, Data, Experiment, Stage};
use super::sweep::combinations;
use crate::network::{Network, zoo};

/// An experiment without faults.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The file's content, `--set`s applied, the sweep not.
    pub experiment: Experiment,
    axes: IndexMap<String, Vec<Value>>,
    stages: Vec<Variants>,
    mentions: Vec<Mention>,
}

/// A stage with each combination of the values of the axes that set one of its keys.
#[derive(Debug, Clone)]
struct Variants {
    name: String,
    /// Indices of the axes that set one of its keys.
    axes: Vec<usize>,
    /// In the order of [`combinations`] over those axes.
    stages: Vec<Stage>,
}

/// One combination of the sweep with one seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// Each axis and its value, as the file writes them.
    pub settings: IndexMap<String, Value>,
    /// The seed of every stage that does not pin its own.
    pub seed: u64,
    /// The stages in the order of the file, with the sweep's values. A prune stage has the data that
    /// its criterion looks at, also where the file leaves it to the default, and no other.
    pub stages: IndexMap<String, Stage>,
}

impl Checked {
    /// None if a stage is not readable, which is a fault that has been reported.
    pub(super) fn new(experiment: Experiment, stages: Stages, sources: &Sources) -> Option<Self> {
        let mentions = beside::mentions(&stages, sources);
        let values = |axis: &super::sweep::Axis| -> Option<Vec<Value>> {
            axis.values.iter().map(|value| value.read().ok()).collect()
        };
        let axes = stages
            .axes
            .iter()
            .map(|axis| Some((axis.name.clone(), values(axis)?)))
            .collect::<Option<_>>()?;
        let stages = stages.stages.into_iter().map(|(name, stage)| {
            let variants = stage.variants.into_iter().map(|variant| variant.stage);
            Some(Variants { name, axes: stage.axes, stages: variants.collect::<Option<_>>()? })
        });
        let stages = stages.collect::<Option<_>>()?;
        Some(Self { experiment, axes, stages, mentions })
    }

    /// Checks what the experiment says of files beside it; `is_file` is told a path as the experiment
    /// writes it, relative to the experiment's folder.
    ///
    /// # Errors
    /// A file that a stage names and that is not there; an argument of a command that is a file which
    /// the command does not declare, so that its changes would not be noticed.
    pub fn look_beside(&self, is_file: &dyn Fn(&str) -> bool) -> Result<(), Faults> {
        beside::faults(&self.mentions, is_file)
    }

    /// Every combination of the sweep with every seed: the first axis outermost, seeds innermost.
    pub fn trials(&self) -> Vec<Trial> {
        let extents: Vec<usize> = self.axes.values().map(Vec::len).collect();
        let mut trials = Vec::new();
        for choice in combinations(&extents) {
            let settings = self.axes.iter().zip(&choice);
            let settings: IndexMap<_, _> = settings
                .map(|((name, values), &index)| (name.clone(), values[index].clone()))
                .collect();
            let stages = self.stages_of(&choice, &extents);
            for &seed in &self.experiment.seeds {
                trials.push(Trial { settings: settings.clone(), seed, stages: stages.clone() });
            }
        }
        trials
    }

    fn stages_of(&self, choice: &[usize], extents: &[usize]) -> IndexMap<String, Stage> {
        let stages = self.stages.iter().map(|variants| {
            let index = variant_index(&variants.axes, choice, extents);
            (variants.name.clone(), variants.stages[index].clone())
        });
        let mut stages: IndexMap<_, _> = stages.collect();
        let data: Vec<_> = stages.values().map(|stage| prune_data(stage, &stages)).collect();
        for (stage, data) in stages.values_mut().zip(data) {
            if let Stage::Prune(prune) = stage {
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
        match self.stages.get(stage)? {
            Stage::Pretrain(pretrain) => {
                let data = &pretrain.data;
                zoo::build(&pretrain.model, &data.shape(), data.classes()).ok()
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
            Stage::Command(_) => None,
        }
    }
}

/// Which of a stage's variants a combination of all axes chooses.
pub(super) fn variant_index(axes: &[usize], choice: &[usize], extents: &[usize]) -> usize {
    axes.iter().fold(0, |index, &axis| index * extents[axis] + choice[axis])
}

/// The data that a prune stage looks at: its own, else what the network was trained on.
fn prune_data(stage: &Stage, stages: &IndexMap<String, Stage>) -> Option<Data> {
    let Stage::Prune(prune) = stage else { return None };
    if !prune.criterion.needs_data() {
        return None;
    }
    let own = prune.data.clone();
    own.or_else(|| trained_on(stages.get(&prune.from)?, stages))
}

/// The data with labels that a stage's network was trained on last.
fn trained_on(stage: &Stage, stages: &IndexMap<String, Stage>) -> Option<Data> {
    let from = match stage {
        Stage::Pretrain(pretrain) => return Some(pretrain.data.clone()),
        Stage::Finetune(finetune) => return Some(finetune.data.clone()),
        Stage::Adapt(adapt) => return Some(adapt.source.clone()),
        Stage::Prune(prune) => match (&prune.criterion, &prune.data) {
            (Criterion::SparseOpt(_), Some(data)) => return Some(data.clone()),
            _ => &prune.from,
        },
        Stage::Evaluate(evaluate) => &evaluate.from,
        Stage::Command(_) => return None,
    };
    trained_on(stages.get(from)?, stages)
}

/// A value of an axis as tables and progress lines show it: `magnitude` for `{ magnitude = {} }`,
/// `min-mse(hessian=diag)`, `0.5`.
pub fn label(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
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
                _ => label_settings(table),
            }
        }
        other => other.to_string(),
    }
}

fn label_settings(settings: &serde_json::Map<String, Value>) -> String {
    let each = settings.iter().map(|(key, value)| format!("{key}={}", label(value)));
    each.collect::<Vec<_>>().join(", ")
}
