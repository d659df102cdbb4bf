//! What of a plan is in the store.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::iter;
use std::time::SystemTime;

use petgraph::Direction;
use petgraph::graph::NodeIndex;

use crate::experiment::spec::Stage;
use crate::plan::{Node, Plan, Presence};
use crate::protocol::{PROGRAM_FILE, epoch_file, epoch_of_file};
use crate::recipe::{ActionKey, StageKey};
use crate::store::{Files, METRICS, State, Store, StoreError};

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
        Ok(match self.store.state(&planned.key, &files(planned))? {
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
        let state = self.store.state(&key, &files(&self.plan.graph[node]))?;
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
    for (role, input) in plan.inputs(node) {
        let Some(key) = key(input) else { return Ok(None) };
        let seen = Seen::new(&plan.graph[node].stage, role, &plan.graph[input].stage);
        let content = store.manifest(&key)?.content(|name| seen.has(name));
        contents.insert(role.to_owned(), content);
    }
    Ok((!contents.is_empty()).then(|| plan.graph[node].recipe.action(&contents)))
}

/// What a stage looks at in the checkpoint of an input.
enum Seen {
    /// The network after an epoch of its training.
    Epoch(u32),
    /// What it came to. A program has the folder, so what was measured is content to it.
    End { is_program: bool, trains: bool },
}

impl Seen {
    fn new(stage: &Stage, role: &str, input: &Stage) -> Self {
        match stage.epoch_of(role) {
            Some(epoch) => Self::Epoch(epoch),
            None => Self::End {
                is_program: matches!(stage, Stage::Command(_)),
                trains: input.epochs().is_some(),
            },
        }
    }

    fn has(&self, name: &str) -> bool {
        let of_epoch = epoch_of_file(name);
        match *self {
            Self::Epoch(epoch) => of_epoch == Some(epoch),
            // Which epochs are kept changes nothing of what a training came to.
            Self::End { trains: true, .. } if of_epoch.is_some() => false,
            Self::End { is_program, .. } => is_program || name != METRICS,
        }
    }
}

/// The files that a stage leaves for its readers.
pub(super) fn files(planned: &Node) -> Files<'_> {
    let kept = planned.keep_epochs.iter().map(|&epoch| Cow::Owned(epoch_file(epoch)));
    let program = planned.has_program.then_some(Cow::Borrowed(PROGRAM_FILE));
    match &*planned.stage {
        Stage::Pretrain(_)
        | Stage::Prune(_)
        | Stage::Finetune(_)
        | Stage::Adapt(_)
        | Stage::Import(_) => Files {
            needed: iter::once(Cow::Borrowed("model.safetensors"))
                .chain(program)
                .chain(kept)
                .collect(),
            optional: vec!["masks.safetensors"],
        },
        Stage::Evaluate(_) | Stage::Sensitivity(_) => Files::default(),
        Stage::Command(command) => Files {
            needed: command.outputs.iter().map(|name| Cow::Borrowed(name.as_str())).collect(),
            optional: Vec::new(),
        },
    }
}
