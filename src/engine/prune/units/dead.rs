//! Units that do nothing, and the network without them.

use graftwork::network::groups::{Dependencies, Floors, Group, Part, Slice, Unit};
use graftwork::network::{Network, Op};

use super::scores;
use crate::model::Model;

/// For each unit of each group: whether the network computes the same without it.
///
/// That is so where all that reads it is zero, or all that it has. A layer-norm takes a feature into
/// account that nothing reads; there everything has to be zero.
pub fn among(model: &Model, groups: &[&Group]) -> Vec<Vec<bool>> {
    // By place of the parameter, and axis.
    let mut live: Vec<[Option<Vec<bool>>; 2]> = vec![[None, None]; model.params().len()];
    let mut is_dead = |unit: &Unit| {
        let is_normalised = unit.slices().any(|slice| is_layer_norm(model.network(), slice.node));
        unit.slices().filter(|slice| is_normalised || slice.part == Part::Reads).all(|slice| {
            let Slice { place, axis, indices, .. } = slice;
            let live = live[place][axis].get_or_insert_with(|| live_along(model, place, axis));
            indices.iter().all(|&index| !live[index as usize])
        })
    };
    groups.iter().map(|group| group.units.iter().map(&mut is_dead).collect()).collect()
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

/// For each index along an axis whether a trained value there is not zero.
fn live_along(model: &Model, place: usize, axis: usize) -> Vec<bool> {
    let parameter = &model.params()[place];
    let value = parameter.value.detach();
    let extent = value.size()[axis];
    // Where nothing is masked, the first value of every index shows it.
    let others = (0..value.dim()).rev().filter(|&other| other != axis);
    let first = others.fold(value.shallow_clone(), |left, other| left.select(other as i64, 0));
    let is_live = parameter.role.is_trainable();
    if !is_live || first.count_nonzero(None::<i64>).int64_value(&[]) == extent {
        return vec![is_live; extent as usize];
    }
    let counts = scores::sums_along(&value.ne(0.0), axis);
    counts.into_iter().map(|count| count > 0.0).collect()
}
