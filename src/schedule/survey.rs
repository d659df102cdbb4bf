//! What of a plan is in the store.

use std::collections::BTreeMap;
use std::time::SystemTime;

use petgraph::Direction;
use petgraph::graph::NodeIndex;

use crate::experiment::spec::Stage;
use crate::plan::{Plan, Presence};
use crate::recipe::{ActionKey, StageKey};
use crate::store::{Files, State, Store, StoreError};

/// Looks for every stage of a plan, by the index of its node.
///
/// Where a stage is not there and all of its inputs are, the store is asked whether the same was done to
/// the same contents before. Where a stage is there and older than an input, which has been made or
/// confirmed since, its action is compared with what the inputs are now.
///
/// # Errors
/// If a checkpoint is there and cannot be read.
pub fn survey(plan: &Plan, store: &Store) -> Result<Vec<Presence>, StoreError> {
    let nodes = plan.graph.node_count();
    let (presences, times) = (Vec::with_capacity(nodes), Vec::with_capacity(nodes));
    let mut surveyor = Surveyor { plan, store, presences, times };
    for node in plan.order() {
        let (presence, time) = surveyor.look(node)?;
        surveyor.presences.push(presence);
        surveyor.times.push(time);
    }
    Ok(surveyor.presences)
}

struct Surveyor<'a> {
    plan: &'a Plan,
    store: &'a Store,
    presences: Vec<Presence>,
    /// When the checkpoints that are there were committed or confirmed last.
    times: Vec<Option<SystemTime>>,
}

impl Surveyor<'_> {
    fn look(&self, node: NodeIndex) -> Result<(Presence, Option<SystemTime>), StoreError> {
        let planned = &self.plan.graph[node];
        if planned.data().any(|name| self.plan.missing_data.contains(name)) {
            return Ok((Presence::Missing, None));
        }
        Ok(match self.store.state(&planned.key, &files(&planned.stage))? {
            State::Damaged => (Presence::Damaged, None),
            State::Incomplete => (Presence::Incomplete, None),
            State::Absent => (self.adoptable(node)?, None),
            State::Whole(time) if self.is_older_than_an_input(node, time) => {
                if self.is_stale(node)? {
                    (Presence::Stale, None)
                } else {
                    (Presence::Cached, Some(self.store.confirm(&planned.key)))
                }
            }
            State::Whole(time) => (Presence::Cached, Some(time)),
        })
    }

    fn is_older_than_an_input(&self, node: NodeIndex, time: SystemTime) -> bool {
        let mut inputs = self.plan.graph.neighbors_directed(node, Direction::Incoming);
        inputs.any(|input| self.times[input.index()].is_some_and(|input| input > time))
    }

    /// Whether a checkpoint was made from other contents than its inputs have now. One that does not say
    /// what it was made from is believed.
    fn is_stale(&self, node: NodeIndex) -> Result<bool, StoreError> {
        let Some(now) = self.action(node)? else { return Ok(false) };
        let made = self.store.manifest(&self.plan.graph[node].key)?.made;
        Ok(made.action.is_some_and(|then| then != now))
    }

    /// What the store has under another key for a stage that is not there.
    fn adoptable(&self, node: NodeIndex) -> Result<Presence, StoreError> {
        let Some(action) = self.action(node)? else { return Ok(Presence::Missing) };
        let Some(key) = self.store.find_action(&action) else { return Ok(Presence::Missing) };
        let state = self.store.state(&key, &files(&self.plan.graph[node].stage))?;
        Ok(if state.is_whole() { Presence::Adoptable(key) } else { Presence::Missing })
    }

    /// What a stage does to the contents that its inputs have or will have; nothing where one is not
    /// known, or there is none.
    fn action(&self, node: NodeIndex) -> Result<Option<ActionKey>, StoreError> {
        let key = |input: NodeIndex| match self.presences[input.index()] {
            Presence::Cached => Some(self.plan.graph[input].key),
            Presence::Adoptable(key) => Some(key),
            Presence::Damaged | Presence::Incomplete | Presence::Stale | Presence::Missing => None,
        };
        action(self.plan, node, self.store, key)
    }
}

/// What a stage does to the contents of its inputs; nothing for a stage without inputs, whose key says as
/// much, and where `key` does not know the key of an input.
pub(super) fn action(
    plan: &Plan,
    node: NodeIndex,
    store: &Store,
    key: impl Fn(NodeIndex) -> Option<StageKey>,
) -> Result<Option<ActionKey>, StoreError> {
    let mut contents = BTreeMap::new();
    let is_program = matches!(*plan.graph[node].stage, Stage::Command(_));
    for (role, input) in plan.inputs(node) {
        let Some(key) = key(input) else { return Ok(None) };
        let manifest = store.manifest(&key)?;
        let content = if is_program { manifest.content_with_metrics() } else { manifest.content() };
        contents.insert(role.to_owned(), content);
    }
    Ok((!contents.is_empty()).then(|| plan.graph[node].recipe.action(&contents)))
}

/// The files that a stage leaves for its readers.
pub(super) fn files(stage: &Stage) -> Files<'_> {
    match stage {
        Stage::Pretrain(_) | Stage::Prune(_) | Stage::Finetune(_) | Stage::Adapt(_) => {
            Files { needed: vec!["model.safetensors"], optional: vec!["masks.safetensors"] }
        }
        Stage::Evaluate(_) => Files::default(),
        Stage::Command(command) => Files {
            needed: command.outputs.iter().map(String::as_str).collect(),
            optional: Vec::new(),
        },
    }
}
