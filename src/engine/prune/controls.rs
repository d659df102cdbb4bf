//! What a mask and its values are compared with: as many zeros elsewhere, other values under the same mask.
//!
//! Frankle & Carbin 2019, "The Lottery Ticket Hypothesis", <https://arxiv.org/abs/1803.03635>, section 2 and
//! appendix B: a winning ticket is worth more than its sparsity if it trains better than a network with its
//! mask and fresh values, and than one with its values and a random mask of the same counts.

use rand::RngExt;
use tch::{Kind, Tensor, no_grad};

use super::Prunable;
use crate::model::Model;
use crate::random;
use crate::stage::StageError;

/// Puts the zeros of each layer's mask at random places, and gives the network its values from before it was
/// pruned.
///
/// Each layer's draw depends on the seed and its name alone.
///
/// - before: the network that was pruned
/// - has_values: whether every weight gets a value afterwards
///
/// # Errors
/// [`StageError::Unfit`] when weights would come back that were masked before, and have no value.
pub fn shuffle(
    model: &mut Model,
    before: &Model,
    layers: &[Prunable],
    has_values: bool,
    seed: u64,
) -> Result<(), StageError> {
    if let Some(layer) = layers.iter().find(|layer| !has_values && layer.masked(before) > 0) {
        return Err(StageError::Unfit(format!(
            "`shuffle` brings weights of layer `{}` back that were masked before and have no value; state `rewind-to` or `reinitialise`, or prune a network without masks",
            layer.name
        )));
    }
    for layer in layers {
        let (size, masked) = (layer.size(model), layer.masked(model));
        let mut rng = random::stream(seed, &format!("shuffle {}", layer.param), 0);
        let order = random::permutation(size, &mut rng);
        let gone = Tensor::from_slice(&order[..masked]);
        let mask = Tensor::ones([size as i64], (Kind::Float, tch::Device::Cpu));
        layer.set_mask(model, &mask.index_fill(0, &gone, 0.0));
    }
    take_values(model, before);
    Ok(())
}

/// Gives the network fresh initial values, from another stream than [`Model::new`] with the same seed has; what
/// is masked stays zero.
pub fn reinitialise(model: &mut Model, seed: u64) {
    let other = random::stream(seed, "reinitialise", 0).random::<u64>();
    let fresh = Model::new(model.network().clone(), other, model.device());
    take_values(model, &fresh);
}

fn take_values(model: &mut Model, from: &Model) {
    no_grad(|| {
        for (name, parameter) in model.params_mut() {
            parameter.value.copy_(&from.params()[name].value);
        }
    });
    model.apply_masks();
}
