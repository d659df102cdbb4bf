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
/// - `has_values`: whether every weight gets a value afterwards
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

#[cfg(test)]
mod tests {
    use graftwork::experiment::spec::Scope;
    use graftwork::network::Network;
    use graftwork::network::op::Linear;
    use indexmap::IndexMap;
    use tch::Device;

    use super::*;
    use crate::prune::selection::{self, Target};
    use crate::prune::{magnitude, prunable};

    fn lenet_300_100(seed: u64) -> Model {
        let mut network = Network::new("test", &[784]);
        network.push("fc1", Linear::new(784, 300));
        network.push("fc2", Linear::new(300, 100));
        network.push("fc3", Linear::new(100, 10));
        Model::new(network, seed, Device::Cpu)
    }

    fn masked(model: &Model, layers: &[Prunable]) -> Vec<usize> {
        layers.iter().map(|layer| layer.masked(model)).collect()
    }

    /// 18 rounds that take a fifth of the hidden layers and a tenth of the output layer: 266,200 weights
    /// become 136,511 after 3 rounds, 56,094 after 7, 35,982 after 9, 9,537 after 15 and 4,927 after 18.
    #[test]
    fn a_ladder_of_rounds_leaves_what_its_arithmetic_says() {
        let mut model = lenet_300_100(1);
        let layers = prunable(&model, &[]).unwrap();
        let rungs = [(3, 136_511), (7, 56_094), (9, 35_982), (15, 9537), (18, 4927)];
        for round in 1..=18 {
            let hidden = (265_200.0 * 0.8f64.powi(round)).round();
            let output = (1000.0 * 0.9f64.powi(round)).round();
            let target = Target {
                layer_sparsity: IndexMap::from([("fc3".to_owned(), 1.0 - output / 1000.0)]),
                ..Target::new(1.0 - (hidden + output) / 266_200.0, Scope::Layer)
            };
            let budget = selection::budget(&model, &layers, &target).unwrap();
            let scores = magnitude(&model, &layers);
            selection::mask_lowest(&mut model, &layers, &scores, &budget).unwrap();
            let masked = masked(&model, &layers);
            let left = 266_200 - masked.iter().sum::<usize>();
            assert_eq!(left, (hidden + output) as usize, "round {round}");
            assert_eq!(1000 - masked[2], output as usize, "round {round}");
            // 235,200 and 30,000 weights share what the hidden layers keep.
            let share = hidden * 235_200.0 / 265_200.0;
            assert!((235_200.0 - masked[0] as f64 - share).abs() <= 1.0, "round {round}");
            if let Some((_, expected)) = rungs.iter().find(|(rung, _)| *rung == round) {
                assert_eq!(left, *expected, "round {round}");
            }
        }
    }

    #[test]
    fn every_layer_is_shuffled_for_itself() {
        let before = lenet_300_100(2);
        let mut model = before.duplicate();
        let layers = prunable(&model, &[]).unwrap();
        let target = Target::new(0.7, Scope::Global);
        let budget = selection::budget(&model, &layers, &target).unwrap();
        let scores = magnitude(&model, &layers);
        selection::mask_lowest(&mut model, &layers, &scores, &budget).unwrap();
        let counts = masked(&model, &layers);
        let mut others: Vec<Tensor> = Vec::new();
        for seed in 0..3 {
            let mut control = model.duplicate();
            shuffle(&mut control, &before, &layers, false, seed).unwrap();
            assert_eq!(masked(&control, &layers), counts, "seed {seed}");
            let mask = layers[1].mask(&control).unwrap().shallow_clone();
            assert!(others.iter().all(|other| !other.equal(&mask)), "seed {seed}");
            for layer in &layers {
                let expected = layer.weight(&before) * layer.mask(&control).unwrap();
                assert!(layer.weight(&control).equal(&expected), "seed {seed}");
            }
            others.push(mask);
        }
    }
}
