//! Units and channels whose activations have the largest joint entropy stay.
//!
//! Under a Gaussian model the joint entropy of a set S of units is `½ ln det(2πe Σ_SS)`, Σ the covariance
//! of their activations. Its greedy maximisation is a pivoted Cholesky factorisation: the next unit is
//! the one with the largest variance given those chosen before. Greedy maximum-entropy sampling:
//! Shewry & Wynn 1987, "Maximum entropy sampling"; activations averaged over space as in Luo & Wu 2017,
//! <https://arxiv.org/abs/1706.05791>. Unlike entropies of single units it sees redundancy: a unit that
//! the others predict carries nothing of its own and goes first.
//!
//! Whole units go, by the network's dependency groups: the rows that make them, bias and
//! normalisation, and the columns that read them. What a removed unit put out on average is added to
//! the bias of the layer that reads it.

use graftwork::experiment::spec::Scope;
use graftwork::network::ParamRole;
use graftwork::network::groups::{self, Group, Unit};
use indexmap::IndexMap;
use tch::{Device, Kind, Tensor, no_grad};

use super::calibration::{self, Collect};
use super::selection::{self, Target};
use super::{Prunable, set_mask};
use crate::model::Model;
use crate::stage::StageError;

/// Units in the order in which they are chosen, each with its variance given those before it.
///
/// Units without any variance left come last, in their order, with zero.
///
/// # Shapes
/// - covariance: `[units, units]`, `f64`, on the CPU
pub fn greedy_order(covariance: &Tensor) -> Vec<(usize, f64)> {
    let covariance: Vec<Vec<f64>> = Vec::try_from(covariance).expect("a matrix of f64");
    let n = covariance.len();
    let mut left: Vec<f64> = (0..n).map(|unit| covariance[unit][unit]).collect();
    // What rounding leaves of a variance that is zero.
    let least = left.iter().copied().fold(0.0, f64::max) * 1e-12;
    let mut chosen = vec![false; n];
    let mut columns: Vec<Vec<f64>> = Vec::new();
    let mut order: Vec<(usize, f64)> = Vec::new();
    while order.len() < n {
        let open = (0..n).filter(|&unit| !chosen[unit]);
        let best = open.reduce(|best, unit| if left[unit] > left[best] { unit } else { best });
        let best = best.expect("a unit is open");
        if left[best] <= least {
            order.extend((0..n).filter(|&unit| !chosen[unit]).map(|unit| (unit, 0.0)));
            break;
        }
        let mut column = covariance[best].clone();
        for earlier in &columns {
            let scale = earlier[best];
            for (value, earlier) in column.iter_mut().zip(earlier) {
                *value -= scale * earlier;
            }
        }
        order.push((best, left[best]));
        let scale = 1.0 / left[best].sqrt();
        for (unit, value) in column.iter_mut().enumerate() {
            *value *= scale;
            left[unit] -= *value * *value;
        }
        chosen[best] = true;
        columns.push(column);
    }
    order
}

/// Masks units until the target is met to within one unit: the first count of units that reaches it.
///
/// With `scope = "global"` the units of all layers are ranked by their conditional entropy,
/// `½ ln(variance / mean variance of the layer)`; with `"layer"` every hidden layer loses the same
/// fraction. Each layer keeps a unit. Layers of units that an excluded layer makes or reads stay whole.
///
/// # Shapes
/// - images: `[n, …]`, the network's input
///
/// # Errors
/// [`StageError::Unfit`] where the network has no unit that may go, or too few.
pub fn prune(
    model: &mut Model,
    layers: &[Prunable],
    images: &Tensor,
    sparsity: f64,
    scope: Scope,
) -> Result<(), StageError> {
    let budgets = selection::budget(model, layers, &Target::new(sparsity, Scope::Global))?;
    let wanted = budgets.pools[0].1;
    let groups = removable(model, layers)?;
    let order = removal_order(model, &groups, images, scope);
    let units: Vec<&Unit> = order.iter().map(|&(group, unit)| &groups[group].units[unit]).collect();
    let zeros = |count: usize| {
        let masks = masks(model, &units[..count]);
        layers.iter().map(|layer| masked(model, layer, masks.get(&layer.param))).sum::<usize>()
    };
    let most = zeros(units.len());
    if most < wanted {
        let size: usize = layers.iter().map(|layer| layer.size(model)).sum();
        return Err(StageError::Unfit(format!(
            "sparsity = {sparsity} is more than whole units can give; with one unit left in each hidden layer it is {:.4}",
            most as f64 / size as f64
        )));
    }
    // The least count that reaches the target, by bisection: zeros grow with every unit.
    let (mut low, mut high) = (0, units.len());
    while low < high {
        let middle = usize::midpoint(low, high);
        if zeros(middle) >= wanted {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    let masks = masks(model, &units[..low]);
    compensate(model, images, &masks);
    for (param, mask) in &masks {
        set_mask(model, param, mask);
    }
    model.apply_masks();
    Ok(())
}

/// The groups whose units may go: all whose weights are prunable.
fn removable(model: &Model, layers: &[Prunable]) -> Result<Vec<Group>, StageError> {
    let network = model.network();
    let groups = groups::groups(network).map_err(|error| StageError::Unfit(error.to_string()))?;
    let weighs = |node: usize| {
        model
            .params()
            .values()
            .any(|parameter| parameter.node == node && parameter.role == ParamRole::Weight)
    };
    let free = |node: usize| !weighs(node) || layers.iter().any(|layer| layer.node == node);
    let groups: Vec<Group> = groups
        .into_iter()
        .filter(|group| group.units[0].slices.iter().all(|slice| free(slice.node)))
        // Heads of an attention have no activations of their own to look at.
        .filter(|group| group.activation.is_some())
        .collect();
    if groups.is_empty() {
        return Err(StageError::Unfit(
            "max-entropy removes hidden units, and there is no hidden layer that `exclude` leaves free with the layers that read it"
                .to_owned(),
        ));
    }
    Ok(groups)
}

/// (group, unit) in the order in which they go; one unit of each group is never in it.
fn removal_order(
    model: &Model,
    groups: &[Group],
    images: &Tensor,
    scope: Scope,
) -> Vec<(usize, usize)> {
    let taps: Vec<(usize, usize)> = groups
        .iter()
        .filter_map(|group| group.activation)
        .map(|activation| (activation.node, activation.axis))
        .collect();
    let outputs = calibration::activations(model, images, &taps);
    let mut ranked: Vec<(f64, usize, usize)> = Vec::new();
    for (index, (group, output)) in groups.iter().zip(&outputs).enumerate() {
        let covariance = covariance(&by_unit(output, group));
        let mean = covariance.diagonal(0, 0, 1).mean(Kind::Double).double_value(&[]);
        let order = greedy_order(&covariance);
        let n = order.len() as f64;
        for (place, &(unit, variance)) in order.iter().rev().take(order.len() - 1).enumerate() {
            let rank = match scope {
                // A layer whose units never vary has no entropy at all.
                Scope::Global if variance > 0.0 => 0.5 * (variance / mean).ln(),
                Scope::Global => f64::NEG_INFINITY,
                Scope::Layer => (place as f64 + 0.5) / n,
            };
            ranked.push((rank, index, unit));
        }
    }
    // Stable: equal ranks fall in the order of layers, and in a layer in the reverse greedy order.
    ranked.sort_by(|one, other| one.0.total_cmp(&other.0));
    ranked.into_iter().map(|(_, group, unit)| (group, unit)).collect()
}

/// One column a unit; a unit of several channels (grouped convolution) is their mean.
fn by_unit(output: &Tensor, group: &Group) -> Tensor {
    let columns = group.units.iter().map(|unit| {
        let channels: Vec<i64> = unit.channels.iter().map(|&channel| i64::from(channel)).collect();
        output.index_select(1, &Tensor::from_slice(&channels)).mean_dim(
            [1].as_slice(),
            false,
            Kind::Double,
        )
    });
    Tensor::stack(&columns.collect::<Vec<_>>(), 1)
}

/// Sample covariance of the columns.
fn covariance(values: &Tensor) -> Tensor {
    let centred = values - values.mean_dim([0].as_slice(), true, Kind::Double);
    centred.tr().matmul(&centred) / (values.size()[0] - 1).max(1) as f64
}

/// Masks of everything that units consist of, existing masks included.
fn masks(model: &Model, units: &[&Unit]) -> IndexMap<String, Tensor> {
    let mut removed: IndexMap<(&str, usize), Vec<i64>> = IndexMap::new();
    for slice in units.iter().flat_map(|unit| &unit.slices) {
        if model.params()[&*slice.param].role.is_trainable() {
            let indices = slice.indices.iter().map(|&index| i64::from(index));
            removed.entry((&*slice.param, slice.axis)).or_default().extend(indices);
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

fn masked(model: &Model, layer: &Prunable, mask: Option<&Tensor>) -> usize {
    mask.map_or_else(
        || layer.masked(model),
        |mask| mask.numel() - mask.count_nonzero(None::<i64>).int64_value(&[]) as usize,
    )
}

/// Adds what removed units put out on average to the biases of the layers that read them.
///
/// The mean square error of the reader's output falls from `w² E[x²]` to `w² Var[x]`; no label is
/// used. A reader without a bias gets nothing, nor does a transposed convolution, to whose outputs a unit
/// adds different amounts by place.
fn compensate(model: &mut Model, images: &Tensor, masks: &IndexMap<String, Tensor>) {
    let readers: Vec<Prunable> = super::prunable(model, &[])
        .expect("without exclusion every layer is prunable")
        .into_iter()
        .filter(|layer| masks.contains_key(&layer.param) && bias_of(model, layer).is_some())
        .filter(|layer| calibration::has_patches(&model.network().nodes[layer.node].op))
        .collect();
    let inputs = calibration::inputs(model, images, &readers, Collect::Sums);
    no_grad(|| {
        for (layer, inputs) in readers.iter().zip(&inputs) {
            let weight = layer.weight(model).to_device(Device::Cpu).to_kind(Kind::Double);
            let gone = masks[&layer.param].eq(0.0).to_kind(Kind::Double);
            let lost = (weight * gone).flatten(1, -1); // [outputs, d], the rows of removed units too
            let rows = lost.size()[0] / inputs.sums.len() as i64;
            let shift: Vec<Tensor> = lost
                .split(rows, 0)
                .iter()
                .zip(&inputs.sums)
                .map(|(lost, sum)| lost.mv(&(sum / inputs.patches)))
                .collect();
            let bias = bias_of(model, layer).expect("readers have a bias");
            let bias = &model.params()[&bias].value;
            let shift = Tensor::cat(&shift, 0).to_device(bias.device()).to_kind(bias.kind());
            let _ = bias.detach().g_add_(&shift);
        }
    });
}

fn bias_of(model: &Model, layer: &Prunable) -> Option<String> {
    let bias = format!("{}.bias", layer.name);
    model.params().contains_key(&bias).then_some(bias)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(values: &[f64]) -> Tensor {
        let n = values.len().isqrt() as i64;
        Tensor::from_slice(values).reshape([n, n])
    }

    #[test]
    fn a_unit_that_others_predict_is_chosen_late() {
        // Single entropies keep {0, 1}; given 0 the variance of 1 is 4 − 3.9²/4 = 0.1975 < 1.
        let order = greedy_order(&matrix(&[4.0, 3.9, 0.0, 3.9, 4.0, 0.0, 0.0, 0.0, 1.0]));
        let units: Vec<usize> = order.iter().map(|(unit, _)| *unit).collect();
        assert_eq!(units, [0, 2, 1]);
        for ((_, variance), expected) in order.iter().zip([4.0, 1.0, 0.1975]) {
            assert!((variance - expected).abs() < 1e-12, "{variance} {expected}");
        }
    }

    #[test]
    fn pivots_are_conditional_variances() {
        for seed in 0..200 {
            let n = 1 + (seed % 8) as i64;
            let mut rng = crate::random::stream(seed, "covariance", 0);
            let values = crate::random::uniform(&[3 * n + 2, n], -1.0, 1.0, &mut rng);
            let covariance = covariance(&values.to_kind(Kind::Double));
            let order = greedy_order(&covariance);
            for (place, &(unit, variance)) in order.iter().enumerate() {
                // var(unit | S) = det Σ of S and unit / det Σ of S.
                let determinant = |units: &[i64]| {
                    let index = Tensor::from_slice(units);
                    let part = covariance.index_select(0, &index).index_select(1, &index);
                    if units.is_empty() { 1.0 } else { part.det().double_value(&[]) }
                };
                let given: Vec<i64> = order[..place].iter().map(|(unit, _)| *unit as i64).collect();
                let conditional = |unit: usize| {
                    determinant(&[given.as_slice(), &[unit as i64]].concat()) / determinant(&given)
                };
                let largest = order[place..].iter().map(|(unit, _)| conditional(*unit));
                let largest = largest.fold(0.0, f64::max);
                assert!((conditional(unit) / variance - 1.0).abs() < 1e-8, "seed {seed}");
                assert!((largest / variance - 1.0).abs() < 1e-8, "seed {seed}");
            }
        }
    }

    #[test]
    fn units_that_never_vary_and_copies_come_last() {
        // Unit 1 never varies, unit 2 is a copy of unit 0.
        let order = greedy_order(&matrix(&[2.0, 0.0, 2.0, 0.0, 0.0, 0.0, 2.0, 0.0, 2.0]));
        assert_eq!(order, [(0, 2.0), (1, 0.0), (2, 0.0)]);
    }
}
