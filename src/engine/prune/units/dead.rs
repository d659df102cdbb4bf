//! Units that do nothing, and the network without them.

use std::collections::HashMap;

use graftwork::network::groups::{Dependencies, Floors, Group, Part, Unit};
use graftwork::network::{Network, Op};

use super::scores;
use crate::model::Model;

/// For each unit of each group: whether the network computes the same without it.
///
/// That is so where all that reads it is zero, or all that it has. A layer-norm takes a feature into
/// account that nothing reads; there everything has to be zero.
pub fn among(model: &Model, groups: &[&Group]) -> Vec<Vec<bool>> {
    let mut has_zeros: HashMap<&str, bool> = HashMap::new();
    let mut live: HashMap<(&str, usize), Vec<bool>> = HashMap::new();
    for slice in groups.iter().flat_map(|group| &group.units).flat_map(|unit| &unit.slices) {
        let (param, axis) = (&*slice.param, slice.axis);
        let has_zeros = *has_zeros.entry(param).or_insert_with(|| has_zeros_in(model, param));
        live.entry((param, axis)).or_insert_with(|| live_along(model, param, axis, has_zeros));
    }
    let is_dead = |unit: &Unit| {
        let is_normalised =
            unit.slices.iter().any(|slice| is_layer_norm(model.network(), slice.node));
        unit.slices.iter().filter(|slice| is_normalised || slice.part == Part::Reads).all(|slice| {
            let live = &live[&(&*slice.param, slice.axis)];
            slice.indices.iter().all(|&index| !live[index as usize])
        })
    };
    groups.iter().map(|group| group.units.iter().map(is_dead).collect()).collect()
}

/// The network without its dead units, again and again until there is none; whether there was one.
///
/// What is emptied keeps a unit, dead or not.
pub fn removed(model: &Model) -> Option<Model> {
    let mut left: Option<Model> = None;
    loop {
        let model = left.as_ref().unwrap_or(model);
        let network = model.network().clone();
        let dependencies = Dependencies::of(&network).expect("the network is there");
        let groups: Vec<&Group> = dependencies.groups().iter().collect();
        let mut floors = Floors::new(&dependencies, |_| 0.0);
        let dead = among(model, &groups);
        let units: Vec<&Unit> = groups
            .iter()
            .zip(dead)
            .flat_map(|(group, dead)| group.units.iter().zip(dead))
            .filter_map(|(unit, is_dead)| is_dead.then_some(unit))
            .filter(|unit| floors.take(unit))
            .collect();
        if units.is_empty() {
            return left;
        }
        let smaller = model.without(&dependencies.without(units.iter().copied()));
        left = Some(smaller);
    }
}

fn is_layer_norm(network: &Network, node: usize) -> bool {
    matches!(network.nodes[node].op, Op::LayerNorm(_))
}

fn has_zeros_in(model: &Model, param: &str) -> bool {
    let parameter = &model.params()[param];
    let nonzero = || parameter.value.count_nonzero(None::<i64>).int64_value(&[]) as usize;
    parameter.role.is_trainable() && nonzero() < parameter.value.numel()
}

/// For each index along an axis whether a trained value there is not zero.
fn live_along(model: &Model, param: &str, axis: usize, has_zeros: bool) -> Vec<bool> {
    let parameter = &model.params()[param];
    if !has_zeros {
        let is_live = parameter.role.is_trainable();
        return vec![is_live; parameter.value.size()[axis] as usize];
    }
    let counts = scores::sums_along(&parameter.value.detach().ne(0.0), axis);
    counts.into_iter().map(|count| count > 0.0).collect()
}
