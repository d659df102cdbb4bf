//! Why a stage must run, or where its result comes from.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use indexmap::IndexMap;
use petgraph::graph::NodeIndex;
use serde::Serialize;
use serde_json::Value;

use super::{Plan, PlannedTrial, Presence, Task, Todo};
use crate::recipe::{Recipe, StageKey};

/// A trial of the last run of the same experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct Previous {
    /// The values of the sweep's axes.
    pub settings: IndexMap<String, Value>,
    /// Seed of the trial.
    pub seed: u64,
    /// Its stages by name.
    pub stages: BTreeMap<String, (StageKey, Recipe)>,
}

/// Who made a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Made {
    /// The experiment whose run made it.
    pub experiment: String,
    /// When, in milliseconds since 1970.
    pub ended_ms: i64,
}

/// Why a stage must run, or that it need not.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Reason {
    /// Its checkpoint is in the store.
    Cached {
        /// Who made it; nothing if the ledger does not know.
        made: Option<Made>,
    },
    /// Nothing like it was in the last run.
    NeverRun {},
    /// It was in the last run, which did not finish it.
    Unfinished {},
    /// It is not there, and the same was done to inputs of the same content before: that result is taken.
    Adopted {
        /// The key whose checkpoint is taken.
        from: StageKey,
        /// Who made it; nothing if the ledger does not know.
        made: Option<Made>,
    },
    /// It was finished, and its checkpoint is not in the store any more.
    CheckpointMissing {},
    /// It was finished, and a file of its checkpoint has been changed or removed.
    CheckpointDamaged {},
    /// Its checkpoint was made from another content of its inputs than they have now: one was made anew and
    /// came out otherwise.
    InputsDiffer {},
    /// Its checkpoint is not in the store any more, but its results are recorded and all that read it is there.
    NotNeeded {},
    /// It is not there, and the selection leaves it out.
    LeftOut {},
    /// It is there, and is made anew because the user says so.
    Forced {},
    /// It is there, and stays if its input, which is made anew, comes out as before.
    InputRemade {
        /// The input's name.
        name: String,
    },
    /// Its settings or its seed differ from the last run's.
    SpecChanged {
        /// What differs.
        changes: Vec<Change>,
    },
    /// graftwork would do something else for the same settings than the version that made the last one.
    RevisionRaised {
        /// Revision in the last run.
        old: u32,
        /// Revision now.
        new: u32,
    },
    /// A dataset is not there, so nobody can say whether the result is.
    DataMissing {
        /// The dataset.
        name: String,
    },
    /// The content of a dataset differs.
    DataChanged {
        /// The dataset.
        name: String,
    },
    /// The content of a file beside the experiment differs.
    FileChanged {
        /// The name that the stage gives it.
        name: String,
    },
    /// A stage that it reads is another than in the last run.
    InputChanged {
        /// The key that names the input.
        role: String,
        /// The input's name.
        name: String,
    },
}

/// A value that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Change {
    /// Where: `thin.sparsity`.
    pub path: String,
    /// Before; nothing where it was the default.
    pub old: Option<Value>,
    /// Now; nothing where it is the default.
    pub new: Option<Value>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |value: &Option<Value>| match value {
            None => "default".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
        };
        write!(f, "{} {} → {}", self.path, show(&self.old), show(&self.new))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cached { made: None } => write!(f, "cached"),
            Self::Cached { made: Some(made) } => write!(f, "cached, made by {}", made.experiment),
            Self::NeverRun {} => write!(f, "never run"),
            Self::Unfinished {} => write!(f, "left over from the last run"),
            Self::Adopted { made: None, .. } => {
                write!(f, "adopted: the same was done to the same inputs")
            }
            Self::Adopted { made: Some(made), .. } => {
                write!(f, "adopted: {} did the same to the same inputs", made.experiment)
            }
            Self::CheckpointMissing {} => write!(f, "checkpoint missing"),
            Self::CheckpointDamaged {} => write!(f, "checkpoint damaged"),
            Self::InputsDiffer {} => {
                write!(f, "an input was made anew and came out otherwise than when this was made")
            }
            Self::NotNeeded {} => {
                write!(f, "not needed: its checkpoint is gone, and all that read it is cached")
            }
            Self::LeftOut {} => write!(f, "left out"),
            Self::Forced {} => write!(f, "forced"),
            Self::InputRemade { name } => {
                write!(f, "cached, and stays if {name} comes out as before")
            }
            Self::SpecChanged { changes } => {
                let shown: Vec<_> = changes.iter().map(Change::to_string).collect();
                write!(f, "spec changed: {}", shown.join(", "))
            }
            Self::RevisionRaised { old, new } => write!(f, "revision raised: {old} → {new}"),
            Self::DataMissing { name } => write!(f, "dataset {name} is missing"),
            Self::DataChanged { name } => write!(f, "content of dataset {name} changed"),
            Self::FileChanged { name } => write!(f, "content of file {name} changed"),
            Self::InputChanged { name, .. } => write!(f, "input {name} changed"),
        }
    }
}

/// The last run of an experiment, arranged to answer why a stage must run again.
#[derive(Debug, Default)]
pub struct History {
    trials: Vec<Previous>,
    by_trial: HashMap<String, usize>,
    keys: HashSet<StageKey>,
}

impl History {
    /// Arranges the trials of the last run.
    pub fn new(trials: Vec<Previous>) -> Self {
        let by_trial = trials.iter().enumerate();
        let by_trial =
            by_trial.map(|(index, trial)| (name(&trial.settings, trial.seed), index)).collect();
        let keys = trials.iter().flat_map(|trial| trial.stages.values().map(|(key, _)| *key));
        Self { by_trial, keys: keys.collect(), trials }
    }

    /// Why a node must run, or need not. `presences` and `made` say what the store and the ledger know,
    /// `todo` what is to be done.
    pub fn why(
        &self,
        plan: &Plan,
        node: NodeIndex,
        presences: &[Presence],
        todo: &Todo,
        made: &dyn Fn(&StageKey) -> Option<Made>,
    ) -> Reason {
        let key = &plan.graph[node].key;
        if let Some(name) = plan.graph[node].data().find(|name| plan.missing_data.contains(*name)) {
            return Reason::DataMissing { name: name.to_owned() };
        }
        match (todo.task(node), presences[node.index()]) {
            (Some(Task::Force), _) => return Reason::Forced {},
            (Some(Task::Check), _) => return input_remade(plan, node, todo),
            (None, Presence::Cached) => return Reason::Cached { made: made(key) },
            (None, _) if todo.is_wanted(node) => return Reason::NotNeeded {},
            (None, _) => return Reason::LeftOut {},
            (Some(_), Presence::Adoptable(from)) => {
                return Reason::Adopted { from, made: made(&from) };
            }
            (Some(_), Presence::Damaged | Presence::Incomplete) => {
                return Reason::CheckpointDamaged {};
            }
            (Some(_), Presence::Stale) => return Reason::InputsDiffer {},
            (Some(_), _) if made(key).is_some() => return Reason::CheckpointMissing {},
            (Some(_), _) => {}
        }
        if self.keys.contains(key) {
            return Reason::Unfinished {};
        }
        self.difference(plan, node).unwrap_or(Reason::NeverRun {})
    }

    fn difference(&self, plan: &Plan, node: NodeIndex) -> Option<Reason> {
        let now = &plan.graph[node];
        for &index in &now.trials {
            let trial = &plan.trials[index];
            let names = trial.stages.iter().filter(|(_, other)| **other == node);
            for (name, _) in names {
                if let Some((_, old)) = self.counterpart(trial, name) {
                    return difference(old, &now.recipe, name, plan, node);
                }
            }
        }
        None
    }

    /// The stage of the last run that stands where this one stands now.
    fn counterpart(&self, trial: &PlannedTrial, stage: &str) -> Option<&(StageKey, Recipe)> {
        if let Some(&index) = self.by_trial.get(&name(&trial.settings, trial.seed)) {
            return self.trials[index].stages.get(stage);
        }
        // The axes changed: the trial with the same seed that shares the most settings.
        let axes_changed = |old: &Previous| {
            old.settings.len() != trial.settings.len()
                || old.settings.keys().any(|axis| !trial.settings.contains_key(axis))
        };
        let alike = |old: &&Previous| {
            let equal =
                |(axis, value): &(&String, &Value)| trial.settings.get(*axis) == Some(value);
            old.settings.iter().filter(equal).count()
        };
        let olds = self.trials.iter().filter(|old| old.seed == trial.seed && axes_changed(old));
        olds.rev().max_by_key(alike).and_then(|old| old.stages.get(stage))
    }
}

fn input_remade(plan: &Plan, node: NodeIndex, todo: &Todo) -> Reason {
    let inputs = plan.inputs(node);
    let remade = inputs.values().find(|input| todo.task(**input).is_some());
    let name = remade.map_or("its input", |&input| plan.graph[input].name());
    Reason::InputRemade { name: name.to_owned() }
}

fn name(settings: &IndexMap<String, Value>, seed: u64) -> String {
    let sorted: BTreeMap<&String, &Value> = settings.iter().collect();
    format!("{seed} {sorted:?}")
}

fn difference(
    old: &Recipe,
    new: &Recipe,
    stage: &str,
    plan: &Plan,
    node: NodeIndex,
) -> Option<Reason> {
    if old.kind != new.kind {
        let kind = |recipe: &Recipe| Some(Value::from(recipe.kind.as_str()));
        let change = Change { path: stage.to_owned(), old: kind(old), new: kind(new) };
        return Some(Reason::SpecChanged { changes: vec![change] });
    }
    let mut changes = Vec::new();
    compare(stage, Some(&old.spec), Some(&new.spec), &mut changes);
    if old.seed != new.seed {
        let path = format!("{stage}.seed");
        changes.push(Change {
            path,
            old: old.seed.map(Value::from),
            new: new.seed.map(Value::from),
        });
    }
    if !changes.is_empty() {
        return Some(Reason::SpecChanged { changes });
    }
    if old.revision != new.revision {
        return Some(Reason::RevisionRaised { old: old.revision, new: new.revision });
    }
    if let Some((name, _)) =
        new.data.iter().find(|(name, digest)| old.data.get(*name) != Some(digest))
    {
        return Some(Reason::DataChanged { name: name.clone() });
    }
    let files = || new.files.keys().chain(old.files.keys());
    if let Some(name) = files().find(|name| new.files.get(*name) != old.files.get(*name)) {
        return Some(Reason::FileChanged { name: name.clone() });
    }
    let inputs = plan.inputs(node);
    let (role, _) = new.inputs.iter().find(|(role, key)| old.inputs.get(*role) != Some(key))?;
    let name = inputs.get(role.as_str()).map_or(role.as_str(), |&input| plan.graph[input].name());
    Some(Reason::InputChanged { role: role.clone(), name: name.to_owned() })
}

/// The leaves in which two settings differ; enums of another variant differ as a whole.
fn compare(path: &str, old: Option<&Value>, new: Option<&Value>, changes: &mut Vec<Change>) {
    match (old, new) {
        (Some(Value::Object(old_table)), Some(Value::Object(new_table)))
            if !other_variant(old_table, new_table) =>
        {
            let keys = old_table.keys().chain(new_table.keys());
            let keys: BTreeSet<&String> = keys.collect();
            for key in keys {
                let path = format!("{path}.{key}");
                compare(&path, old_table.get(key), new_table.get(key), changes);
            }
        }
        _ if old != new => {
            changes.push(Change { path: path.to_owned(), old: old.cloned(), new: new.cloned() });
        }
        _ => {}
    }
}

/// Whether two tables look like two variants of an enum: one key each, and not the same.
fn other_variant(
    old: &serde_json::Map<String, Value>,
    new: &serde_json::Map<String, Value>,
) -> bool {
    old.len() == 1
        && new.len() == 1
        && old.keys().ne(new.keys())
        && old.values().chain(new.values()).all(Value::is_object)
}
