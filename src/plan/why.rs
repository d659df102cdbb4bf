//! Why a stage must run, or where its result comes from.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use indexmap::IndexMap;
use petgraph::graph::NodeIndex;
use serde::Serialize;
use serde_json::Value;

use super::{Plan, PlannedTrial, Presence, Task, Todo};
use crate::experiment::label;
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
    /// It was finished, and a file of its checkpoint has been changed.
    CheckpointDamaged {},
    /// A file of its checkpoint is gone, or is asked for only now: an epoch that another stage goes back to.
    CheckpointIncomplete {
        /// The epochs that it is to keep.
        keep_epochs: BTreeSet<u32>,
    },
    /// Its checkpoint was made from another content of its inputs than they have now: one was made anew and
    /// came out otherwise.
    InputsDiffer {},
    /// Its checkpoint is not in the store any more, or not all of it; its results are recorded, and nothing
    /// to run reads it.
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
        /// What changed at the root of it; nothing if the last run does not tell.
        cause: Option<Box<Reason>>,
    },
    /// It reads a stage in a role that it had none in.
    InputAdded {
        /// The key that names the input.
        role: String,
        /// The input's name.
        name: String,
    },
    /// It reads nothing in a role that it read a stage in.
    InputRemoved {
        /// The key that named the input.
        role: String,
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
            Some(text @ Value::String(_)) => label(text),
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
            Self::Unfinished {} => write!(f, "not finished in the last run"),
            Self::Adopted { made: None, .. } => {
                write!(f, "adopted: the same was done to the same inputs")
            }
            Self::Adopted { made: Some(made), .. } => {
                write!(f, "adopted: {} did the same to the same inputs", made.experiment)
            }
            Self::CheckpointMissing {} => write!(f, "checkpoint missing"),
            Self::CheckpointDamaged {} => write!(f, "checkpoint damaged"),
            Self::CheckpointIncomplete { keep_epochs } => {
                write!(f, "checkpoint lacks a file{}", to_keep(keep_epochs))
            }
            Self::InputsDiffer {} => {
                write!(f, "an input was made anew and came out otherwise than when this was made")
            }
            Self::NotNeeded {} => {
                write!(f, "not needed: its results are recorded, and nothing to run reads it")
            }
            Self::LeftOut {} => write!(f, "left out"),
            Self::Forced {} => write!(f, "forced"),
            Self::InputRemade { name } => {
                write!(f, "cached, and stays if {name} comes out as before")
            }
            Self::SpecChanged { changes } => write!(f, "spec changed: {}", listed(changes)),
            Self::RevisionRaised { old, new } => write!(f, "revision raised: {old} → {new}"),
            Self::DataMissing { name } => write!(f, "dataset {name} is missing"),
            Self::DataChanged { name } => write!(f, "content of dataset {name} changed"),
            Self::FileChanged { name } => write!(f, "content of file {name} changed"),
            Self::InputChanged { name, cause, .. } => match cause.as_deref() {
                None => write!(f, "input {name} changed"),
                Some(Self::SpecChanged { changes }) => {
                    write!(f, "input {name} changed ({})", listed(changes))
                }
                Some(cause) => write!(f, "input {name} changed ({cause})"),
            },
            Self::InputAdded { role, name } => write!(f, "input added: {role} {name}"),
            Self::InputRemoved { role } => write!(f, "input removed: {role}"),
        }
    }
}

/// `; it is to keep epoch 1`
fn to_keep(epochs: &BTreeSet<u32>) -> String {
    let epochs: Vec<_> = epochs.iter().map(u32::to_string).collect();
    match epochs.as_slice() {
        [] => String::new(),
        [epoch] => format!("; it is to keep epoch {epoch}"),
        epochs => format!("; it is to keep the epochs {}", epochs.join(", ")),
    }
}

fn listed(changes: &[Change]) -> String {
    changes.iter().map(Change::to_string).collect::<Vec<_>>().join(", ")
}

/// The last run of an experiment, arranged to answer why a stage must run again.
#[derive(Debug, Default)]
pub struct History {
    trials: Vec<Previous>,
    by_trial: HashMap<String, usize>,
    /// Where the recipe of each key is: the trial and the name of the stage.
    by_key: HashMap<StageKey, (usize, String)>,
}

/// What changed at the root, by the key of then and the stage of now.
type Causes = HashMap<(StageKey, NodeIndex), Option<Reason>>;

impl History {
    /// Arranges the trials of the last run.
    pub fn new(trials: Vec<Previous>) -> Self {
        let by_trial = trials.iter().enumerate();
        let by_trial =
            by_trial.map(|(index, trial)| (name(&trial.settings, trial.seed), index)).collect();
        let mut by_key = HashMap::new();
        for (index, trial) in trials.iter().enumerate() {
            for (name, (key, _)) in &trial.stages {
                by_key.entry(*key).or_insert_with(|| (index, name.clone()));
            }
        }
        Self { trials, by_trial, by_key }
    }

    /// Why each node must run, or need not, by its index. `presences` and `made` say what the store and
    /// the ledger know, `todo` what is to be done.
    pub fn reasons(
        &self,
        plan: &Plan,
        presences: &[Presence],
        todo: &Todo,
        made: &dyn Fn(&StageKey) -> Option<Made>,
    ) -> Vec<Reason> {
        let (places, mut causes) = (self.places(plan), Causes::new());
        let why = |node| match known(plan, node, presences[node.index()], todo, made) {
            Some(reason) => reason,
            None if self.by_key.contains_key(&plan.graph[node].key) => Reason::Unfinished {},
            None => {
                self.difference(plan, node, &places, &mut causes).unwrap_or(Reason::NeverRun {})
            }
        };
        plan.order().map(why).collect()
    }

    fn difference(
        &self,
        plan: &Plan,
        node: NodeIndex,
        places: &Places<'_>,
        causes: &mut Causes,
    ) -> Option<Reason> {
        let now = &plan.graph[node];
        for &index in &now.trials {
            let trial = &plan.trials[index];
            let Some(past) = places.alike(trial) else { continue };
            for name in &now.names {
                let is_here = trial.stages.get(name) == Some(&node);
                let Some((_, old)) = past.stages.get(name).filter(|_| is_here) else { continue };
                let mut reason = difference(old, &now.recipe, name, plan, node)?;
                if let Reason::InputChanged { role, cause, .. } = &mut reason {
                    let (then, now) = (old.inputs[role], plan.inputs(node)[role.as_str()]);
                    *cause = self.cause(plan, then, now, causes).map(Box::new);
                }
                return Some(reason);
            }
        }
        None
    }

    /// What changed between a stage of then and one of now: not that an input did, but what did there.
    fn cause(
        &self,
        plan: &Plan,
        mut then: StageKey,
        mut now: NodeIndex,
        causes: &mut Causes,
    ) -> Option<Reason> {
        let mut way = Vec::new();
        let found = loop {
            if let Some(known) = causes.get(&(then, now)) {
                break known.clone();
            }
            way.push((then, now));
            let Some(old) = self.recipe(&then) else { break None };
            let new = &plan.graph[now];
            match difference(old, &new.recipe, new.name(), plan, now) {
                Some(Reason::InputChanged { role, .. }) => {
                    (then, now) = (old.inputs[&role], plan.inputs(now)[role.as_str()]);
                }
                other => break other,
            }
        };
        causes.extend(way.into_iter().map(|step| (step, found.clone())));
        found
    }

    fn recipe(&self, key: &StageKey) -> Option<&Recipe> {
        let (trial, stage) = self.by_key.get(key)?;
        self.trials[*trial].stages.get(stage).map(|(_, recipe)| recipe)
    }

    /// Arranges the trials for those of a plan.
    pub(super) fn places(&self, plan: &Plan) -> Places<'_> {
        let (old, new) = (self.trials.first(), plan.trials.first());
        let mut places = Places { history: self, shared: None, by_shared: HashMap::new() };
        let (Some(old), Some(new)) = (old, new) else { return places };
        let shared: HashSet<String> =
            old.settings.keys().filter(|axis| new.settings.contains_key(*axis)).cloned().collect();
        if shared.len() < old.settings.len().max(new.settings.len()) {
            for (index, trial) in self.trials.iter().enumerate() {
                let name = name(&restricted(&trial.settings, &shared), trial.seed);
                places.by_shared.entry(name).or_insert(index);
            }
            places.shared = Some(shared);
        }
        places
    }
}

/// The last run's trials beside those of a plan.
pub(super) struct Places<'a> {
    history: &'a History,
    /// The axes that both have, where they have not all in common.
    shared: Option<HashSet<String>>,
    /// The first trial with some values of those axes and some seed.
    by_shared: HashMap<String, usize>,
}

impl<'a> Places<'a> {
    /// The trial of the last run that stands where this one stands now. Where the axes changed, it is one
    /// with the same seed and the same values of those axes that are there still.
    pub(super) fn alike(&self, trial: &PlannedTrial) -> Option<&'a Previous> {
        let index = match &self.shared {
            None => self.history.by_trial.get(&name(&trial.settings, trial.seed)),
            Some(axes) => self.by_shared.get(&name(&restricted(&trial.settings, axes), trial.seed)),
        };
        Some(&self.history.trials[*index?])
    }
}

fn restricted(
    settings: &IndexMap<String, Value>,
    axes: &HashSet<String>,
) -> IndexMap<String, Value> {
    let shared = settings.iter().filter(|(axis, _)| axes.contains(*axis));
    shared.map(|(axis, value)| (axis.clone(), value.clone())).collect()
}

/// What the store and the selection say of a node; nothing if it must run for another reason.
fn known(
    plan: &Plan,
    node: NodeIndex,
    presence: Presence,
    todo: &Todo,
    made: &dyn Fn(&StageKey) -> Option<Made>,
) -> Option<Reason> {
    let key = &plan.graph[node].key;
    if let Some(name) = plan.graph[node].data().find(|name| plan.missing_data.contains(*name)) {
        return Some(Reason::DataMissing { name: name.to_owned() });
    }
    Some(match (todo.task(node), presence) {
        (Some(Task::Force), _) => Reason::Forced {},
        (Some(Task::Check), _) => input_remade(plan, node, todo),
        (None, Presence::Cached) => Reason::Cached { made: made(key) },
        (None, _) if todo.is_wanted(node) => Reason::NotNeeded {},
        (None, _) => Reason::LeftOut {},
        (Some(_), Presence::Adoptable(from)) => Reason::Adopted { from, made: made(&from) },
        (Some(_), Presence::Damaged) => Reason::CheckpointDamaged {},
        (Some(_), Presence::Incomplete) => {
            let keep_epochs = plan.graph[node].keep_epochs.clone();
            Reason::CheckpointIncomplete { keep_epochs }
        }
        (Some(_), Presence::Stale) => Reason::InputsDiffer {},
        (Some(_), _) if made(key).is_some() => Reason::CheckpointMissing {},
        (Some(_), _) => return None,
    })
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
    let changes = changes(old, new, stage);
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
    let name =
        |role: &str| inputs.get(role).map_or(role, |&input| plan.graph[input].name()).to_owned();
    for (role, key) in &new.inputs {
        let (role, name) = (role.clone(), name(role));
        match old.inputs.get(&role) {
            None => return Some(Reason::InputAdded { role, name }),
            Some(old) if old != key => {
                return Some(Reason::InputChanged { role, name, cause: None });
            }
            Some(_) => {}
        }
    }
    let removed = old.inputs.keys().find(|role| !new.inputs.contains_key(*role));
    removed.map(|role| Reason::InputRemoved { role: role.clone() })
}

/// In which settings two recipes differ, the seed among them.
pub(super) fn changes(old: &Recipe, new: &Recipe, stage: &str) -> Vec<Change> {
    if old.kind != new.kind {
        let kind = |recipe: &Recipe| Some(Value::from(recipe.kind.as_str()));
        return vec![Change { path: stage.to_owned(), old: kind(old), new: kind(new) }];
    }
    let mut changes = Vec::new();
    compare(stage, Some(&old.spec), Some(&new.spec), &mut changes);
    if old.seed != new.seed {
        let path = format!("{stage}.seed");
        let (old, new) = (old.seed.map(Value::from), new.seed.map(Value::from));
        changes.push(Change { path, old, new });
    }
    changes
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
