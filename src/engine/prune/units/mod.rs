//! Whole units: hidden neurons, channels, features, heads, with all that makes, carries and reads them.
//!
//! - [`scores`]: what a criterion thinks of each unit; [`elimination`] does for `min-mse`
//! - [`goals`]: what is asked of what stays
//! - [`readers`]: layers that read units; [`correction`]: what they get for those that go
//! - [`dead`]: units that do nothing, and their removal
//!
//! Units go in one order, the least first, until every goal is met; the floors keep anything from being
//! emptied. Units that do nothing go before all others.

pub mod correction;
pub mod dead;
pub mod elimination;
pub mod goals;
pub mod readers;
pub mod scores;

#[cfg(test)]
mod tests;

use std::collections::HashSet;

use graftwork::experiment::spec::Scope;
use graftwork::network::groups::{Dependencies, Floors, Group, Part, Slice, Unit};
use graftwork::network::{ParamRole, most_exact};
use indexmap::IndexMap;
use tch::{Device, Kind, Tensor};

use super::selection::Target;
use super::{Prunable, set_mask};
use crate::model::Model;
use crate::stage::StageError;
use goals::Goals;
use scores::Scores;

/// The groups of a network whose units may go.
#[derive(Debug)]
pub struct Candidates<'a> {
    dependencies: &'a Dependencies<'a>,
    layers: &'a [Prunable],
    groups: Vec<&'a Group>,
}

impl<'a> Candidates<'a> {
    /// All groups whose weights are prunable: those of an excluded layer, or that one reads, stay whole.
    ///
    /// # Errors
    /// [`StageError::Unfit`] where there is none.
    pub fn new(
        model: &Model,
        dependencies: &'a Dependencies<'a>,
        layers: &'a [Prunable],
    ) -> Result<Self, StageError> {
        let mut is_free = vec![true; dependencies.network().nodes.len()];
        for parameter in model.params().values() {
            is_free[parameter.node] &= parameter.role != ParamRole::Weight;
        }
        for layer in layers {
            is_free[layer.node] = true;
        }
        let groups: Vec<&Group> = dependencies
            .groups()
            .iter()
            .filter(|group| group.units[0].slices().all(|slice| is_free[slice.node]))
            .collect();
        if groups.is_empty() {
            return Err(StageError::Unfit(
                "whole units go, and there is no hidden layer that `exclude` leaves free with the layers that read it"
                    .to_owned(),
            ));
        }
        Ok(Self { dependencies, layers, groups })
    }

    /// Leaves out groups that a criterion cannot look at.
    ///
    /// # Errors
    /// [`StageError::Unfit`] where none is left.
    pub fn only(
        self,
        criterion: &str,
        is_fit: impl Fn(&Group) -> bool,
    ) -> Result<Self, StageError> {
        let Self { dependencies, layers, groups } = self;
        let groups: Vec<&Group> = groups.into_iter().filter(|group| is_fit(group)).collect();
        if groups.is_empty() {
            return Err(StageError::Unfit(format!(
                "{criterion} can look at no hidden layer of this network; choose another criterion"
            )));
        }
        Ok(Self { dependencies, layers, groups })
    }

    /// The groups, in the order of their first producer.
    pub fn groups(&self) -> &[&'a Group] {
        &self.groups
    }

    /// The groups that compete with each other.
    pub fn classes(&self, scope: Scope) -> Vec<Vec<&'a Group>> {
        let classes = competing(self.dependencies, &self.groups, scope).into_iter();
        classes.map(|class| class.into_iter().map(|group| self.groups[group]).collect()).collect()
    }

    /// The least set of units, in the order of their scores, without which every goal is met.
    ///
    /// # Errors
    /// [`StageError::Unfit`] where the goals cannot be met, or a floor's pattern matches no layer.
    pub fn choose(
        &self,
        model: &Model,
        scores: &Scores,
        target: &Target,
        goals: &Goals,
    ) -> Result<Vec<&'a Unit>, StageError> {
        let (order, dead) = self.order(model, scores, target)?;
        let is_met = |count: usize| goals.first_unmet(model, self, &order[..count]).is_none();
        if let Some(unmet) = goals.first_unmet(model, self, &order) {
            return Err(StageError::Unfit(unmet));
        }
        // The least count that reaches the goals, by bisection: what is left falls with every unit.
        let (mut low, mut high) = (dead, order.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if is_met(middle) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(order[..low].to_vec())
    }

    /// The units whose norm is zero, and those that do nothing.
    ///
    /// - norms: of all that makes and carries a unit
    ///
    /// # Errors
    /// As [`Candidates::choose`].
    pub fn zeros(
        &self,
        model: &Model,
        norms: &Scores,
        target: &Target,
    ) -> Result<Vec<&'a Unit>, StageError> {
        let (order, dead) = self.order(model, norms, target)?;
        let units = self.groups.iter().flat_map(|group| &group.units);
        let norms = units.map(std::ptr::from_ref).zip(norms.by_group().iter().flatten());
        let zeros: HashSet<*const Unit> =
            norms.filter(|(_, norm)| **norm == 0.0).map(|(unit, _)| unit).collect();
        let is_zero = |unit: &&Unit| zeros.contains(&std::ptr::from_ref(*unit));
        let (dead, others) = order.split_at(dead);
        Ok(dead.iter().chain(others.iter().filter(|unit| is_zero(unit))).copied().collect())
    }

    /// The units that the floors let go, in the order in which they go, and how many are zeros already.
    fn order(
        &self,
        model: &Model,
        scores: &Scores,
        target: &Target,
    ) -> Result<(Vec<&'a Unit>, usize), StageError> {
        let mut floors = Floors::new(self.dependencies, self.floors(target)?);
        let mut dead: Vec<&Unit> = Vec::new();
        let mut ranked: Vec<(f64, &Unit)> = Vec::new();
        let is_dead = dead::among(model, &self.groups);
        let ranks = scores.ranks(self.dependencies, &self.groups, target.scope)?;
        for ((group, ranks), is_dead) in self.groups.iter().zip(ranks).zip(is_dead) {
            for ((unit, rank), is_dead) in group.units.iter().zip(ranks).zip(is_dead) {
                if is_dead {
                    dead.push(unit);
                } else {
                    ranked.push((rank, unit));
                }
            }
        }
        // Stable: of equal ranks the first unit of the first layer goes first.
        ranked.sort_by(|one, other| one.0.total_cmp(&other.0));
        dead.retain(|unit| floors.take(unit));
        let dead_units = dead.len();
        let mut order = dead;
        order.extend(ranked.into_iter().map(|(_, unit)| unit).filter(|unit| floors.take(unit)));
        Ok((order, dead_units))
    }

    /// For each node the fraction of its channels that stay.
    fn floors(&self, target: &Target) -> Result<impl Fn(usize) -> f64, StageError> {
        let nodes = &self.dependencies.network().nodes;
        super::selection::patterns_match("floors", &target.floors, self.layers, |layer| {
            nodes[layer.node].name.as_str()
        })?;
        let floors: Vec<f64> = nodes
            .iter()
            .map(|node| most_exact(&target.floors, &node.name).copied().unwrap_or(0.0))
            .collect();
        Ok(move |node: usize| floors[node])
    }
}

/// Masks units: everything that they have in trained parameters.
pub fn mask(model: &mut Model, units: &[&Unit]) {
    for (param, mask) in masks(model, units) {
        set_mask(model, &param, &mask);
    }
    model.apply_masks();
}

/// Masks of everything that units consist of, on the CPU, existing masks included.
pub fn masks(model: &Model, units: &[&Unit]) -> IndexMap<String, Tensor> {
    let mut removed: IndexMap<(&str, usize), Vec<i64>> = IndexMap::new();
    for slice in units.iter().flat_map(|unit| unit.slices()) {
        if model.params()[slice.place].role.is_trainable() {
            let indices = slice.indices.iter().map(|&index| i64::from(index));
            removed.entry((slice.param, slice.axis)).or_default().extend(indices);
        }
    }
    let mut masks: IndexMap<String, Tensor> = IndexMap::new();
    for ((param, axis), indices) in removed {
        let mask = masks.entry(param.to_owned()).or_insert_with(|| {
            let parameter = &model.params()[param];
            let ones = || Tensor::ones(parameter.value.size(), (Kind::Float, Device::Cpu));
            parameter.mask.as_ref().map_or_else(ones, |mask| mask.to_device(Device::Cpu).copy())
        });
        let _ = mask.index_fill_(axis as i64, &Tensor::from_slice(&indices), 0.0);
    }
    masks
}

/// What competes with what in `scope = "isomorphic"`: groups whose units are made, carried and read by the
/// same kinds of operations. Fang et al. 2024, "Isomorphic Pruning for Vision Models",
/// <https://arxiv.org/abs/2407.04616>.
fn structure<'g>(
    dependencies: &Dependencies<'_>,
    group: &'g Group,
) -> Vec<(&'static str, &'g str, usize, Part)> {
    let nodes = &dependencies.network().nodes;
    let of_slice = |slice: Slice<'g>| {
        let param = slice.param.rsplit('.').next().expect("a name has a last part");
        (nodes[slice.node].op.name(), param, slice.axis, slice.part)
    };
    let mut structure: Vec<_> = group.units[0].slices().map(of_slice).collect();
    structure.sort_unstable();
    structure
}

/// The classes of groups that compete with each other, as indices of groups.
fn competing(dependencies: &Dependencies<'_>, groups: &[&Group], scope: Scope) -> Vec<Vec<usize>> {
    match scope {
        Scope::Global => vec![(0..groups.len()).collect()],
        Scope::Layer => (0..groups.len()).map(|group| vec![group]).collect(),
        Scope::Isomorphic => {
            let mut classes: IndexMap<_, Vec<usize>> = IndexMap::new();
            for (index, group) in groups.iter().enumerate() {
                classes.entry(structure(dependencies, group)).or_default().push(index);
            }
            classes.into_values().collect()
        }
    }
}
