//! What tells two plans apart.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use indexmap::IndexMap;
use serde::Serialize;
use serde_json::Value;

use super::why::changes;
use super::{Change, History, Plan, Previous};
use crate::experiment::spec::StageKind;
use crate::recipe::StageKey;

/// What tells two plans, A and B, apart.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Diff {
    /// Whether both mean the same: the same trials of stages with the same names and keys.
    pub equal: bool,
    /// Values that axes have in one plan only.
    pub axes: Vec<Gone<Value>>,
    /// Seeds that one plan has only; none or one entry.
    pub seeds: Vec<Gone<u64>>,
    /// Stage names that only A has.
    pub removed: Vec<String>,
    /// Stage names that only B has.
    pub added: Vec<String>,
    /// Stages that are the same under another name.
    pub renamed: Vec<Renamed>,
    /// Settings, and contents of files, that differ in stages that both have, in trials that both have.
    pub changes: Vec<Change>,
    /// How many distinct stages each name has in both plans and in one of them; the names of B, then those
    /// that only A has.
    pub stages: IndexMap<String, Shares>,
    /// The distinct stages that only B has.
    #[serde(skip)]
    pub new: BTreeSet<StageKey>,
    /// All distinct stages.
    pub all: Shares,
    /// The trials; one is in both if it has the same stages, under their new names, and the same seed.
    pub trials: Shares,
}

/// What came and what went.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Gone<T> {
    /// Of what: the axis, `seeds`.
    pub of: String,
    /// What only A has.
    pub removed: Vec<T>,
    /// What only B has.
    pub added: Vec<T>,
}

/// A stage that is the same under another name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Renamed {
    /// Its name in A.
    pub old: String,
    /// Its name in B.
    pub new: String,
}

/// Distinct stages by where they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Shares {
    /// The kind of stage, in B where it is there; none for what is of no single kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<StageKind>,
    /// In both plans.
    pub both: usize,
    /// In A only.
    pub only_a: usize,
    /// In B only.
    pub only_b: usize,
}

impl Diff {
    /// Compares two plans.
    pub fn new(a: &Plan, b: &Plan) -> Self {
        let (keys_a, keys_b) = (keys(a), keys(b));
        let all = |keys: &Keys| {
            keys.values().flat_map(|(_, keys)| keys).copied().collect::<BTreeSet<_>>()
        };
        let (all_a, all_b) = (all(&keys_a), all(&keys_b));
        let gone = |here: &Keys, there: &Keys| -> Vec<String> {
            let names = here.keys().filter(|name| !there.contains_key(*name));
            names.map(|name| (*name).to_owned()).collect()
        };
        let (mut removed, mut added) = (gone(&keys_a, &keys_b), gone(&keys_b, &keys_a));
        let renamed = renamed(&removed, &added, &keys_a, &keys_b);
        let (old, new): (HashSet<_>, HashSet<_>) =
            renamed.iter().map(|name| (name.old.as_str(), name.new.as_str())).unzip();
        removed.retain(|name| !old.contains(name.as_str()));
        added.retain(|name| !new.contains(name.as_str()));
        let old_name: HashMap<&str, &str> =
            renamed.iter().map(|name| (name.new.as_str(), name.old.as_str())).collect();
        let new_name = renamed.iter().map(|name| (name.old.as_str(), name.new.as_str())).collect();
        let trials = shares(&trials(a, &new_name), &trials(b, &HashMap::new()));
        Self {
            equal: renamed.is_empty() && trials.only_a == 0 && trials.only_b == 0,
            axes: axes(a, b),
            seeds: seeds(a, b),
            changes: changed(a, b, &old_name),
            stages: stages(&keys_a, &keys_b, &old_name, &removed),
            new: &all_b - &all_a,
            all: shares(&all_a, &all_b),
            trials,
            removed,
            added,
            renamed,
        }
    }
}

/// The kind and the keys of each stage name.
type Keys<'a> = IndexMap<&'a str, (StageKind, BTreeSet<StageKey>)>;

fn keys(plan: &Plan) -> Keys<'_> {
    let mut keys = Keys::new();
    for (name, &node) in plan.trials.iter().flat_map(|trial| &trial.stages) {
        let node = &plan.graph[node];
        let entry = keys.entry(name).or_insert_with(|| (node.recipe.kind, BTreeSet::new()));
        entry.1.insert(node.key);
    }
    keys
}

/// The names that are new for what had another name: they have a key in common.
fn renamed(removed: &[String], added: &[String], a: &Keys, b: &Keys) -> Vec<Renamed> {
    // By key, since several stages may be the same: the indices of those that have no new name yet.
    let mut old_names: HashMap<StageKey, BTreeSet<usize>> = HashMap::new();
    for (index, name) in removed.iter().enumerate() {
        for key in &a[name.as_str()].1 {
            old_names.entry(*key).or_default().insert(index);
        }
    }
    let renamed = added.iter().filter_map(|new| {
        let mut found = b[new.as_str()].1.iter().filter_map(|key| old_names.get(key)?.first());
        let index = *found.next()?;
        for key in &a[removed[index].as_str()].1 {
            old_names.entry(*key).or_default().remove(&index);
        }
        Some(Renamed { old: removed[index].clone(), new: new.clone() })
    });
    renamed.collect()
}

/// How many distinct stages each name has, and where.
fn stages(
    a: &Keys,
    b: &Keys,
    old_name: &HashMap<&str, &str>,
    removed: &[String],
) -> IndexMap<String, Shares> {
    let none = BTreeSet::new();
    let mut stages = IndexMap::new();
    for (name, (kind, keys)) in b {
        let old = a.get(old_name.get(name).unwrap_or(name)).map_or(&none, |(_, keys)| keys);
        stages.insert((*name).to_owned(), Shares { kind: Some(*kind), ..shares(old, keys) });
    }
    for name in removed {
        let (kind, keys) = &a[name.as_str()];
        stages.insert(name.clone(), Shares { kind: Some(*kind), ..shares(keys, &none) });
    }
    stages
}

fn shares<T: Ord>(a: &BTreeSet<T>, b: &BTreeSet<T>) -> Shares {
    let both = a.intersection(b).count();
    Shares { kind: None, both, only_a: a.len() - both, only_b: b.len() - both }
}

/// What the trials mean, whatever their order and however the file writes their settings.
fn trials<'a>(
    plan: &'a Plan,
    new_name: &HashMap<&'a str, &'a str>,
) -> BTreeSet<(u64, BTreeMap<&'a str, StageKey>)> {
    let trials = plan.trials.iter().map(|trial| {
        let stages = trial.stages.iter().map(|(name, &node)| {
            let name = name.as_str();
            (*new_name.get(name).unwrap_or(&name), plan.graph[node].key)
        });
        (trial.seed, stages.collect())
    });
    trials.collect()
}

fn axes(a: &Plan, b: &Plan) -> Vec<Gone<Value>> {
    let values = |plan: &Plan| {
        let mut values: IndexMap<String, IndexMap<String, Value>> = IndexMap::new();
        for (axis, value) in plan.trials.iter().flat_map(|trial| &trial.settings) {
            let known = values.entry(axis.clone()).or_default();
            known.insert(value.to_string(), value.clone());
        }
        values
    };
    let (a, b) = (values(a), values(b));
    let mut names: Vec<&String> = a.keys().collect();
    names.extend(b.keys().filter(|axis| !a.contains_key(*axis)));
    let none = IndexMap::new();
    let gone = names.into_iter().map(|axis| {
        let (a, b) = (a.get(axis).unwrap_or(&none), b.get(axis).unwrap_or(&none));
        Gone { of: axis.clone(), removed: beyond(a, b), added: beyond(b, a) }
    });
    gone.filter(|gone| !(gone.removed.is_empty() && gone.added.is_empty())).collect()
}

fn beyond(here: &IndexMap<String, Value>, there: &IndexMap<String, Value>) -> Vec<Value> {
    let values = here.iter().filter(|(text, _)| !there.contains_key(*text));
    values.map(|(_, value)| value.clone()).collect()
}

fn seeds(a: &Plan, b: &Plan) -> Vec<Gone<u64>> {
    let seeds = |plan: &Plan| plan.trials.iter().map(|trial| trial.seed).collect::<BTreeSet<_>>();
    let (a, b) = (seeds(a), seeds(b));
    if a == b {
        return Vec::new();
    }
    let beyond = |here: &BTreeSet<u64>, there| here.difference(there).copied().collect();
    vec![Gone { of: "seeds".to_owned(), removed: beyond(&a, &b), added: beyond(&b, &a) }]
}

/// What differs in the stages of trials that stand in the same place, with the names of B.
fn changed(a: &Plan, b: &Plan, old_name: &HashMap<&str, &str>) -> Vec<Change> {
    let history = History::new(a.trials.iter().map(|trial| previous(a, trial)).collect());
    let places = history.places(b);
    let mut seen = HashSet::new();
    let mut found: IndexMap<String, Change> = IndexMap::new();
    for trial in &b.trials {
        let Some(past) = places.alike(trial) else { continue };
        for (name, &node) in &trial.stages {
            let old_name = |name: &'_ str| old_name.get(name).copied().unwrap_or(name).to_owned();
            let Some((key, old)) = past.stages.get(&old_name(name)) else { continue };
            let new = &b.graph[node];
            if *key == new.key || !seen.insert((*key, node)) {
                continue;
            }
            let mut all = changes(old, &new.recipe, name);
            all.extend(contents(&old.files, &new.recipe.files, name));
            for (role, input) in b.stated_inputs(node, name) {
                let is_known = past.stages.contains_key(&old_name(input));
                let same = past.stages.get(&old_name(input)).map(|(key, _)| key);
                let then = old.inputs.get(role);
                if old.kind == new.recipe.kind && (!is_known || then != same) {
                    let then = then.and_then(|key| stage_of(past, key));
                    let path = format!("{name}.{role}");
                    all.push(Change { path, old: then, new: Some(Value::from(input)) });
                }
            }
            for (role, key) in &old.inputs {
                let is_there = new.recipe.inputs.contains_key(role);
                if old.kind == new.recipe.kind && !is_there {
                    let (path, old) = (format!("{name}.{role}"), stage_of(past, key));
                    all.push(Change { path, old, new: None });
                }
            }
            found.extend(all.into_iter().map(|change| (change.to_string(), change)));
        }
    }
    found.into_values().collect()
}

/// The files whose content differs, by the names that a stage gives them.
fn contents(
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
    stage: &str,
) -> Vec<Change> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differing = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
    let short = |digest: Option<&String>| {
        Some(Value::from(format!("content {}", digest?.get(..8).unwrap_or_default())))
    };
    let change = |name: &String| Change {
        path: format!("{stage}.files.{name}"),
        old: short(old.get(name)),
        new: short(new.get(name)),
    };
    differing.map(change).collect()
}

fn previous(plan: &Plan, trial: &super::PlannedTrial) -> Previous {
    let stages = trial.stages.iter().map(|(name, &node)| {
        let node = &plan.graph[node];
        (name.clone(), (node.key, node.recipe.clone()))
    });
    Previous { settings: trial.settings.clone(), seed: trial.seed, stages: stages.collect() }
}

/// The name that a stage had.
fn stage_of(past: &Previous, key: &StageKey) -> Option<Value> {
    let name = past.stages.iter().find(|(_, (other, _))| other == key);
    name.map(|(name, _)| Value::from(name.as_str()))
}
