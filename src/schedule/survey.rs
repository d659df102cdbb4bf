//! What of a plan is in the store.

use std::collections::BTreeMap;

use petgraph::graph::NodeIndex;

use crate::experiment::spec::Stage;
use crate::plan::{Plan, Presence};
use crate::recipe::{Content, StageKey};
use crate::store::{Manifest, State, Store, StoreError};

/// Looks for every stage of a plan, by the index of its node.
///
/// Where a stage is not there and all of its inputs are, the store is asked whether the same was done to
/// the same contents before.
///
/// # Errors
/// If a checkpoint is there and cannot be read.
pub fn survey(plan: &Plan, store: &Store) -> Result<Vec<Presence>, StoreError> {
    let mut presences: Vec<Presence> = Vec::with_capacity(plan.graph.node_count());
    for node in plan.order() {
        let planned = &plan.graph[node];
        let readable = !planned.data().any(|name| plan.missing_data.contains(name));
        let presence = match store.state(&planned.key, &needed(&planned.stage))? {
            _ if !readable => Presence::Missing,
            State::Whole => Presence::Cached,
            State::Damaged => Presence::Damaged,
            State::Absent => match adoptable(plan, node, store, &presences)? {
                Some(key) => Presence::Adoptable(key),
                None => Presence::Missing,
            },
        };
        presences.push(presence);
    }
    Ok(presences)
}

/// The checkpoint that a stage would adopt if it ran now.
fn adoptable(
    plan: &Plan,
    node: NodeIndex,
    store: &Store,
    presences: &[Presence],
) -> Result<Option<StageKey>, StoreError> {
    let mut manifests = Vec::new();
    for (role, input) in plan.inputs(node) {
        let key = match &presences[input.index()] {
            Presence::Cached => plan.graph[input].key,
            Presence::Adoptable(key) => *key,
            Presence::Damaged | Presence::Missing => return Ok(None),
        };
        manifests.push((role, store.manifest(&key)?));
    }
    if manifests.is_empty() {
        // Without inputs the action says what the key says.
        return Ok(None);
    }
    let planned = &plan.graph[node];
    let action = planned.recipe.action(&contents(&manifests));
    let Some(key) = store.find_action(&action) else { return Ok(None) };
    Ok((store.state(&key, &needed(&planned.stage))? == State::Whole).then_some(key))
}

/// What a stage sees of its inputs, by role.
pub(super) fn contents(inputs: &[(&str, Manifest)]) -> BTreeMap<String, Content> {
    inputs.iter().map(|(role, manifest)| ((*role).to_owned(), manifest.content())).collect()
}

/// The files that a stage must have left for its checkpoint to be worth anything.
pub(super) fn needed(stage: &Stage) -> Vec<&str> {
    match stage {
        Stage::Pretrain(_) | Stage::Prune(_) | Stage::Finetune(_) | Stage::Adapt(_) => {
            vec!["model.safetensors"]
        }
        Stage::Evaluate(_) => Vec::new(),
    }
}
