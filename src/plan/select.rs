//! What a run is to do: which stages, and each in which way.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::Direction;
use petgraph::graph::NodeIndex;
use serde::Serialize;
use serde_json::Value;

use super::{Plan, Presence};
use crate::experiment::{label, matches};
use crate::recipe::StageKey;

/// Which part of a plan the user asks for; everything by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Names of stages: these, and all that they need.
    pub until: Vec<String>,
    /// Patterns: nothing but what they match. A pattern is a stage's name with `*` for any characters, or
    /// `axis=value`, or `seed=number`. Of several for one thing any must match, of different things all.
    pub only: Vec<String>,
    /// Names of stages that are made anew even where they are there.
    pub force: Vec<String>,
}

/// What is to be done for a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// It is not there: adopt it or compute it.
    Make,
    /// What is there is damaged, incomplete or stale: adopt it or compute it, in its place.
    Restore,
    /// Compute it whatever is there.
    Force,
    /// It is there, but an input of it is made anew: if that comes out otherwise, make it anew too.
    Check,
}

/// What is to be done, by stage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Todo {
    tasks: BTreeMap<NodeIndex, Task>,
    wanted: BTreeSet<NodeIndex>,
}

impl Todo {
    /// The stages with their tasks, each after its inputs.
    pub fn tasks(&self) -> impl Iterator<Item = (NodeIndex, Task)> + '_ {
        self.tasks.iter().map(|(node, task)| (*node, *task))
    }

    /// What is to be done for a stage, if anything.
    pub fn task(&self, node: NodeIndex) -> Option<Task> {
        self.tasks.get(&node).copied()
    }

    /// The stages that are not there as they should be, each after its inputs; those that are only
    /// checked are left out.
    pub fn to_make(&self) -> Vec<NodeIndex> {
        self.tasks().filter(|(_, task)| *task != Task::Check).map(|(node, _)| node).collect()
    }

    /// Whether the selection has the stage in it.
    pub fn is_wanted(&self, node: NodeIndex) -> bool {
        self.wanted.contains(&node)
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }
}

/// Why a selection cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// A name that is no stage's.
    #[error("{option} {name}: there is no such stage; there are: {}", stages.join(", "))]
    NoStage {
        /// The option: `--until`.
        option: &'static str,
        /// The name.
        name: String,
        /// The experiment's stages.
        stages: Vec<String>,
    },
    /// A pattern that matches nothing.
    #[error(
        "--only {pattern} matches no stage; a pattern is a stage's name ({}), with `*` for any characters, {}",
        stages.join(", "),
        settings
    )]
    NoMatch {
        /// The pattern.
        pattern: String,
        /// The experiment's stages.
        stages: Vec<String>,
        /// What else there is to match.
        settings: String,
    },
    /// A stage needs one that is not there and not selected.
    #[error("{stage} needs {input}, which is not there and which --only leaves out; name both, or use --until {}", stage.split(' ').next().unwrap_or_default())]
    Lacking {
        /// The stage, as its title says.
        stage: String,
        /// What it needs, as its title says.
        input: String,
    },
}

/// Decides what is to be done.
///
/// `known` says whether the results of a key are recorded. A stage whose checkpoint is gone, whose results
/// are recorded and whose readers are all there is not made again: nobody needs it. Below a stage that is
/// forced or stale it is, since what the readers were made from may come out otherwise now.
///
/// # Errors
/// If a name or pattern matches nothing, or `only` leaves out what is needed.
pub fn select(
    plan: &Plan,
    presences: &[Presence],
    known: &dyn Fn(&StageKey) -> bool,
    selection: &Selection,
) -> Result<Todo, SelectError> {
    let wanted = wanted(plan, selection)?;
    let forced = named(plan, "--force", &selection.force)?;
    if forced.is_empty() && presences.iter().all(|presence| *presence == Presence::Cached) {
        return Ok(Todo { tasks: BTreeMap::new(), wanted });
    }
    let is_renewed =
        |node: &&NodeIndex| forced.contains(*node) || presences[node.index()] == Presence::Stale;
    let renewed = with_readers(plan, wanted.iter().filter(is_renewed).copied().collect());
    let mut todo = Todo { tasks: BTreeMap::new(), wanted: wanted.clone() };
    loop {
        let before = todo.tasks.len();
        for node in plan.order().rev().filter(|node| wanted.contains(node)) {
            let presence = presences[node.index()];
            let Some(task) = task(presence, forced.contains(&node)) else { continue };
            let is_spare = !renewed.contains(&node)
                && presence.is_gone()
                && has_idle_readers(plan, node, &todo)
                && known(&plan.graph[node].key);
            if !is_spare {
                todo.tasks.insert(node, task);
            }
        }
        // Whatever reads something that is made anew has to be looked at again.
        for node in plan.order().filter(|node| wanted.contains(node)) {
            let is_stale = plan.inputs(node).values().any(|&input| todo.task(input).is_some());
            if presences[node.index()] == Presence::Cached && is_stale {
                todo.tasks.entry(node).or_insert(Task::Check);
            }
        }
        // A stage to be looked at needs inputs that seemed spare.
        if todo.tasks.len() == before {
            break;
        }
    }
    lacks_nothing(plan, presences, &todo)?;
    Ok(todo)
}

/// What is to be done for a stage as it is, if anything.
fn task(presence: Presence, is_forced: bool) -> Option<Task> {
    Some(match presence {
        _ if is_forced => Task::Force,
        Presence::Cached => return None,
        Presence::Damaged | Presence::Incomplete | Presence::Stale => Task::Restore,
        Presence::Adoptable(_) | Presence::Missing => Task::Make,
    })
}

/// Whether the selection has stages that read this one, and nothing is to be done for any of them.
fn has_idle_readers(plan: &Plan, node: NodeIndex, todo: &Todo) -> bool {
    let readers = plan.graph.neighbors_directed(node, Direction::Outgoing);
    let mut readers = readers.filter(|reader| todo.is_wanted(*reader)).peekable();
    readers.peek().is_some() && readers.all(|reader| todo.task(reader).is_none())
}

/// Some stages, all that read them, and all that read those.
fn with_readers(plan: &Plan, mut some: BTreeSet<NodeIndex>) -> BTreeSet<NodeIndex> {
    if some.is_empty() {
        return some;
    }
    for node in plan.order() {
        if plan.inputs(node).values().any(|input| some.contains(input)) {
            some.insert(node);
        }
    }
    some
}

fn wanted(plan: &Plan, selection: &Selection) -> Result<BTreeSet<NodeIndex>, SelectError> {
    let mut wanted: BTreeSet<NodeIndex> = plan.order().collect();
    if !selection.until.is_empty() {
        let mut needed = named(plan, "--until", &selection.until)?;
        for node in plan.order().rev() {
            if needed.contains(&node) {
                needed.extend(plan.inputs(node).into_values());
            }
        }
        wanted = &wanted & &needed;
    }
    if !selection.only.is_empty() {
        wanted = &wanted & &only(plan, &selection.only)?;
    }
    Ok(wanted)
}

/// The stages of these names.
fn named(
    plan: &Plan,
    option: &'static str,
    names: &[String],
) -> Result<BTreeSet<NodeIndex>, SelectError> {
    let mut found = BTreeSet::new();
    for name in names {
        let before = found.len();
        found.extend(plan.order().filter(|&node| plan.graph[node].names.contains(name)));
        if found.len() == before && !plan.stage_names().contains(&name.as_str()) {
            let name = name.clone();
            return Err(SelectError::NoStage { option, name, stages: stage_names(plan) });
        }
    }
    Ok(found)
}

fn only(plan: &Plan, patterns: &[String]) -> Result<BTreeSet<NodeIndex>, SelectError> {
    let mut by_thing: BTreeMap<&str, BTreeSet<NodeIndex>> = BTreeMap::new();
    for pattern in patterns {
        let (thing, matched) = match pattern.split_once('=') {
            None => ("", stages_like(plan, pattern)),
            Some((axis, value)) => (axis, stages_with(plan, axis, value)),
        };
        if matched.is_empty() {
            return Err(SelectError::NoMatch {
                pattern: pattern.clone(),
                stages: stage_names(plan),
                settings: settings(plan),
            });
        }
        by_thing.entry(thing).or_default().extend(matched);
    }
    let all = plan.order().collect();
    Ok(by_thing.into_values().fold(all, |all, some| &all & &some))
}

fn stages_like(plan: &Plan, pattern: &str) -> BTreeSet<NodeIndex> {
    let alike =
        |&node: &NodeIndex| plan.graph[node].names.iter().any(|name| matches(pattern, name));
    plan.order().filter(alike).collect()
}

/// The stages of the trials with this setting, what they share with other trials included.
fn stages_with(plan: &Plan, axis: &str, value: &str) -> BTreeSet<NodeIndex> {
    let is_meant = |name: &str| name == axis || name.rsplit('.').next() == Some(axis);
    let says = |setting: &Value| [label(setting), setting.to_string()].iter().any(|it| it == value);
    let trials = plan.trials.iter().filter(|trial| {
        (axis == "seed" && trial.seed.to_string() == value)
            || trial.settings.iter().any(|(name, setting)| is_meant(name) && says(setting))
    });
    trials.flat_map(|trial| trial.stages.values().copied()).collect()
}

fn stage_names(plan: &Plan) -> Vec<String> {
    plan.stage_names().into_iter().map(str::to_owned).collect()
}

/// `seed=0`, and each axis with one of its values.
fn settings(plan: &Plan) -> String {
    let first = plan.trials.first();
    let axes = first.into_iter().flat_map(|trial| &trial.settings);
    let axes = axes.map(|(axis, value)| format!("{axis}={}", label(value)));
    let seed = first.map(|trial| format!("seed={}", trial.seed));
    let all: Vec<String> = axes.chain(seed).collect();
    format!("or a setting, as in {}", all.join(", "))
}

fn lacks_nothing(plan: &Plan, presences: &[Presence], todo: &Todo) -> Result<(), SelectError> {
    for (node, _) in todo.tasks() {
        for input in plan.inputs(node).into_values() {
            let is_there = presences[input.index()] == Presence::Cached;
            if !is_there && todo.task(input).is_none() {
                let title = |node| plan.title(node, &label);
                return Err(SelectError::Lacking { stage: title(node), input: title(input) });
            }
        }
    }
    Ok(())
}
