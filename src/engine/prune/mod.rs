//! Criteria and masks: which weights of a network go.
//!
//! - [`selection`]: from scores to masks, exact to one weight; [`allocation`]: how layers share a
//!   number of weights out; [`groups`]: what goes as a whole
//! - [`gradients`]: scores from the gradient on labelled images; [`synflow`]: without data
//! - [`calibration`]: what layers see when training images pass through the network
//! - [`min_mse`]: least change of every layer's output, by [`obs`] (optimal brain surgeon) or [`blocked`] (`SparseGPT`)
//! - [`units`]: whole units, chosen by scores, corrected for, masked and taken out
//! - [`max_entropy`]: the units that carry the most entropy stay
//! - [`connected`]: which weights still are on a path from the input to the output
//! - [`controls`]: random masks with the same counts, fresh values under the same mask
//! - [`sparse_opt`]: proximal L1 training; [`ista`] is its solver on small problems
//! - [`slimming`]: units by the scale of the batch-norm behind them
//! - [`movement`]: what moves towards zero while it is trained goes
//! - [`training`]: the training that criteria do by themselves
//! - [`report`]: what a pruning did, in numbers
//!
//! A criterion sets masks (and may change weights, as its paper says); masks that are there already
//! stay. What is masked is exactly zero, here and in every later stage.

pub mod allocation;
pub mod blocked;
pub mod calibration;
pub mod connected;
pub mod controls;
pub mod gradients;
pub mod groups;
pub mod ista;
pub mod max_entropy;
pub mod min_mse;
pub mod movement;
pub mod obs;
pub mod report;
pub mod selection;
pub mod slimming;
pub mod sparse_opt;
pub mod synflow;
pub mod training;
pub mod units;

#[cfg(test)]
mod tests;

use graftwork::network::{self, ParamRole};
use rand::RngExt;
use tch::{Device, Kind, Tensor, no_grad};

use crate::model::Model;
use crate::random;
use crate::stage::StageError;

/// A weight that may be pruned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prunable {
    /// The layer's name, with the domain's prefix where a domain has its own copy.
    pub name: String,
    /// Full name of the weight.
    pub param: String,
    /// Index of its node.
    pub node: usize,
    /// The domain whose copy it is.
    pub domain: Option<usize>,
}

impl Prunable {
    /// The weight, detached.
    pub fn weight(&self, model: &Model) -> Tensor {
        model.params()[&self.param].value.detach()
    }

    /// The mask, where there is one.
    pub fn mask<'a>(&self, model: &'a Model) -> Option<&'a Tensor> {
        model.params()[&self.param].mask.as_ref()
    }

    /// Number of weights.
    pub fn size(&self, model: &Model) -> usize {
        model.params()[&self.param].value.numel()
    }

    /// Number of masked weights.
    pub fn masked(&self, model: &Model) -> usize {
        let kept =
            self.mask(model).map(|mask| mask.count_nonzero(None::<i64>).int64_value(&[]) as usize);
        kept.map_or(0, |kept| self.size(model) - kept)
    }

    /// Sets the mask, given in any shape; [`Model::apply_masks`] zeroes what it masks.
    pub fn set_mask(&self, model: &mut Model, mask: &Tensor) {
        set_mask(model, &self.param, mask);
    }
}

fn set_mask(model: &mut Model, param: &str, mask: &Tensor) {
    let device = model.device();
    let parameter = model.params_mut().get_mut(param).expect("a parameter of the network");
    let mask = mask.to_device(device).to_kind(Kind::Float).reshape(parameter.value.size()).copy();
    parameter.mask = Some(mask);
}

/// The weights that may be pruned: all but those of excluded layers.
///
/// # Errors
/// [`StageError::Unfit`] when a pattern matches no layer, or nothing is left.
pub fn prunable(model: &Model, exclude: &[String]) -> Result<Vec<Prunable>, StageError> {
    let layers: Vec<Prunable> = model
        .params()
        .iter()
        .filter(|(_, parameter)| parameter.role == ParamRole::Weight)
        .map(|(param, parameter)| Prunable {
            name: param.strip_suffix(".weight").unwrap_or(param).to_owned(),
            param: param.clone(),
            node: parameter.node,
            domain: parameter.domain,
        })
        .collect();
    let node_name = |layer: &Prunable| model.network().nodes[layer.node].name.as_str();
    let there = || layers.iter().map(node_name).collect::<Vec<_>>().join(", ");
    for pattern in exclude {
        if !layers.iter().any(|layer| network::matches(pattern, node_name(layer))) {
            return Err(StageError::Unfit(format!(
                "exclude = \"{pattern}\" matches no layer with weights; there are: {}",
                there()
            )));
        }
    }
    let excluded = |layer: &Prunable| {
        exclude.iter().any(|pattern| network::matches(pattern, node_name(layer)))
    };
    let kept: Vec<Prunable> = layers.iter().filter(|layer| !excluded(layer)).cloned().collect();
    if kept.is_empty() {
        return Err(StageError::Unfit(format!(
            "`exclude` leaves no layer to prune; there are: {}",
            there()
        )));
    }
    Ok(kept)
}

/// Scores by absolute value: small weights go first.
///
/// Han et al. 2015, "Learning both Weights and Connections", <https://arxiv.org/abs/1506.02626>.
pub fn magnitude(model: &Model, layers: &[Prunable]) -> Vec<Tensor> {
    layers.iter().map(|layer| no_grad(|| layer.weight(model).abs())).collect()
}

/// A weight's square as a share of the squares of its layer that are not smaller; of equals the later
/// counts as the larger. The largest of a layer has 1, so that layers can be compared.
///
/// Lee et al. 2021, "Layer-adaptive Sparsity for the Magnitude-based Pruning",
/// <https://arxiv.org/abs/2010.07611>, equation 3.
pub fn lamp(model: &Model, layers: &[Prunable]) -> Vec<Tensor> {
    let scores = layers.iter().map(|layer| {
        let weight = layer.weight(model).to_device(Device::Cpu).to_kind(Kind::Double);
        lamp_scores(&weight.reshape([-1]).square())
    });
    scores.collect()
}

fn lamp_scores(squares: &Tensor) -> Tensor {
    let (sorted, order) = squares.sort_stable(true, 0, false);
    let not_smaller = sorted.flip([0]).cumsum(0, Kind::Double).flip([0]);
    // A layer of zeros: 0/0 is no score.
    let scores = &sorted / not_smaller.clamp_min(f64::MIN_POSITIVE);
    squares.zeros_like().index_copy(0, &order, &scores)
}

/// Uniform scores from the seed: the control.
pub fn random(model: &Model, layers: &[Prunable], seed: u64) -> Vec<Tensor> {
    let mut rng = random::stream(seed, "prune", 0);
    let scores = layers.iter().map(|layer| {
        let scores: Vec<f64> = (0..layer.size(model)).map(|_| rng.random::<f64>()).collect();
        Tensor::from_slice(&scores).to_device(Device::Cpu)
    });
    scores.collect()
}
