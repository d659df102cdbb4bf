//! Synaptic flow: scores without data that empty no layer.
//!
//! `R = 1ᵀ f(1)` of the network with the absolute values of all that it holds, and the score of a weight
//! is `|w · ∂R/∂w|`. What flows into a layer flows out of it, so small layers have large scores. Scored
//! and masked in rounds that keep the same share each. Tanaka et al. 2020, "Pruning neural networks
//! without any data by iteratively conserving synaptic flow", <https://arxiv.org/abs/2006.05467>,
//! algorithm 1. As in the paper's code biases and normalisation, its statistics too, are taken by their
//! absolute values, and the network runs as in evaluation, in 64 bits.

use graftwork::network::Op;
use tch::{Kind, Tensor};

use super::Prunable;
use super::selection::{self, Budget};
use crate::model::{Mode, Model};
use crate::stage::StageError;

/// Scores and masks in rounds.
///
/// # Errors
/// [`StageError::Unfit`] for networks that look words up or pass states on, and as
/// [`selection::mask_lowest`].
pub fn prune(
    model: &mut Model,
    layers: &[Prunable],
    budget: &Budget,
    rounds: u32,
) -> Result<(), StageError> {
    let has_no_rule =
        |op: &Op| matches!(op, Op::Embedding(_) | Op::Gru(_) | Op::Lstm(_) | Op::Attention(_));
    if let Some(node) = model.network().nodes.iter().find(|node| has_no_rule(&node.op)) {
        return Err(StageError::Unfit(format!(
            "synflow passes ones through the network and has no rule for `{}` ({}); choose another criterion",
            node.name,
            node.op.name()
        )));
    }
    for round in 1..=rounds {
        let now = Budget { pools: pools(model, layers, budget, round, rounds), ..budget.clone() };
        selection::mask_lowest(model, layers, &scores(model, layers), &now)?;
    }
    Ok(())
}

/// Zeros after a round: the density falls by the same factor in each, to that of the budget.
fn pools(
    model: &Model,
    layers: &[Prunable],
    budget: &Budget,
    round: u32,
    rounds: u32,
) -> Vec<(Vec<usize>, usize)> {
    let pools = budget.pools.iter().map(|(pool, zeros)| {
        if round == rounds {
            return (pool.clone(), *zeros);
        }
        let size: usize = pool.iter().map(|&layer| layers[layer].size(model)).sum();
        let masked: usize = pool.iter().map(|&layer| layers[layer].masked(model)).sum();
        let density = (size - zeros) as f64 / size as f64;
        let kept = size as f64 * density.powf(f64::from(round) / f64::from(rounds));
        (pool.clone(), (size - kept.round() as usize).clamp(masked, *zeros))
    });
    pools.collect()
}

/// `|w · ∂R/∂w|` for each weight, in 64 bits.
pub fn scores(model: &Model, layers: &[Prunable]) -> Vec<Tensor> {
    let mut model = model.duplicate();
    model.compute_in(Kind::Double);
    for parameter in model.params_mut().values_mut() {
        if parameter.value.is_floating_point() {
            parameter.value = parameter.value.detach().abs().to_kind(Kind::Double);
        }
        parameter.frozen = false;
    }
    model.update_gradient_flags();
    let weights: Vec<&Tensor> =
        layers.iter().map(|layer| &model.params()[&layer.param].value).collect();
    let shape = model.network().input_shape().iter().map(|&extent| i64::from(extent));
    let shape: Vec<i64> = std::iter::once(1).chain(shape).collect();
    let ones = Tensor::ones(shape, (Kind::Double, model.device()));
    let mut scores: Vec<Tensor> = weights.iter().map(|weight| weight.zeros_like()).collect();
    let domains: Vec<Option<usize>> = match model.network().domains.len() {
        0 => vec![None],
        n => (0..n).map(Some).collect(),
    };
    for domain in domains {
        let flow = model.forward(&ones, Mode::Eval, domain).sum(Kind::Double);
        let of: Vec<usize> = (0..layers.len())
            .filter(|&layer| layers[layer].domain.is_none() || layers[layer].domain == domain)
            .collect();
        let inputs: Vec<&Tensor> = of.iter().map(|&layer| weights[layer]).collect();
        let gradients = Tensor::run_backward(&[flow], &inputs, false, false);
        for (layer, gradient) in of.into_iter().zip(gradients) {
            scores[layer] += (weights[layer].detach() * gradient).abs();
        }
    }
    scores
}

#[cfg(test)]
mod tests {
    use graftwork::experiment::spec::Scope;
    use graftwork::network::Network;
    use graftwork::network::op::{BatchNorm, Conv2d, Flatten, Linear, Relu};
    use tch::Device;

    use super::*;
    use crate::prune::prunable;
    use crate::prune::selection::Target;

    fn bare(inputs: u32, outputs: u32) -> Linear {
        Linear { bias: false, ..Linear::new(inputs, outputs) }
    }

    #[test]
    fn two_small_layers_have_their_known_flow() {
        // W1 = [[1, −2], [3, 0]], W2 = [[1, 1]]: R = 6, and each layer's scores sum to it.
        let mut network = Network::new("test", &[2]);
        network.push("fc1", bare(2, 2));
        network.push("relu", Relu {});
        network.push("fc2", bare(2, 1));
        let mut model = Model::new(network, 0, Device::Cpu);
        let values = [
            Tensor::from_slice(&[1.0f32, -2.0, 3.0, 0.0]).reshape([2, 2]),
            Tensor::from_slice(&[1.0f32, 1.0]).reshape([1, 2]),
        ];
        for (parameter, value) in model.params_mut().values_mut().zip(values) {
            parameter.value = value;
        }
        let layers = prunable(&model, &[]).unwrap();
        let scores: Vec<Vec<f64>> = scores(&model, &layers)
            .iter()
            .map(|scores| Vec::try_from(scores.reshape([-1])).unwrap())
            .collect();
        let expected = [vec![1.0, 2.0, 3.0, 0.0], vec![3.0, 3.0]];
        for (found, expected) in scores.iter().flatten().zip(expected.iter().flatten()) {
            assert!((found - expected).abs() < 1e-12, "{scores:?}");
        }
    }

    #[test]
    fn what_flows_into_a_layer_flows_out_of_it() {
        for seed in 0..100 {
            let width = 2 + (seed % 7) as u32;
            let mut network = Network::new("test", &[1, 5, 5]);
            network.push("conv1", Conv2d { bias: false, ..Conv2d::new(1, width, 3) });
            network.push("relu1", Relu {});
            network.push("conv2", Conv2d { bias: false, padding: 1, ..Conv2d::new(width, 3, 3) });
            network.push("relu2", Relu {});
            network.push("flatten", Flatten {});
            network.push("fc1", bare(27, width));
            network.push("relu3", Relu {});
            network.push("fc2", bare(width, 4));
            let model = Model::new(network, seed, Device::Cpu);
            let layers = prunable(&model, &[]).unwrap();
            let sums: Vec<f64> = scores(&model, &layers)
                .iter()
                .map(|scores| scores.sum(Kind::Double).double_value(&[]))
                .collect();
            assert!(sums.iter().all(|sum| (sum / sums[0] - 1.0).abs() < 1e-9), "{sums:?}");
        }
    }

    /// Rounds end on the target, respect what is masked, and leave a path where one round leaves none.
    #[test]
    fn rounds_meet_the_target_and_keep_masks() {
        let mut network = Network::new("test", &[8]);
        for layer in 0..6 {
            network.push(&format!("fc{layer}"), bare(8, 8));
            network.push(&format!("relu{layer}"), Relu {});
        }
        network.push("head", bare(8, 2));
        let mut model = Model::new(network, 5, Device::Cpu);
        let layers = prunable(&model, &[]).unwrap();
        let budget_of = |model: &Model, sparsity| {
            selection::budget(model, &layers, &Target::new(sparsity, Scope::Global)).unwrap()
        };
        let budget = budget_of(&model, 0.5);
        prune(&mut model, &layers, &budget, 10).unwrap();
        let before: Vec<Tensor> =
            layers.iter().map(|layer| layer.mask(&model).unwrap().copy()).collect();
        let budget = budget_of(&model, 0.97);
        prune(&mut model, &layers, &budget, 100).unwrap();
        let masked: usize = layers.iter().map(|layer| layer.masked(&model)).sum();
        assert_eq!(masked, 388); // 0.97 · 400
        for (layer, before) in layers.iter().zip(&before) {
            let added = (layer.mask(&model).unwrap() - before).max().double_value(&[]);
            assert!(added <= 0.0);
        }
        let flow: f64 = scores(&model, &layers)[6].sum(Kind::Double).double_value(&[]);
        assert!(flow > 0.0, "a path leads from the input to the output");
    }

    #[test]
    fn normalisation_passes_by_its_absolute_values() {
        // One unit: R = |γ| (1·|w| − |μ|)/√(v + ε) + |β| by w, so the score is |w γ|/√(v + ε).
        let mut network = Network::new("test", &[1, 1, 1]);
        network.push("conv", Conv2d { bias: false, ..Conv2d::new(1, 1, 1) });
        let norm = BatchNorm::new(1);
        let epsilon = norm.epsilon;
        network.push("norm", norm);
        network.push("flatten", Flatten {});
        let mut model = Model::new(network, 0, Device::Cpu);
        for (name, parameter) in model.params_mut() {
            let value = match name.as_str() {
                "conv.weight" => -3.0,
                "norm.weight" => -2.0,
                "norm.running_var" => 4.0,
                _ => continue,
            };
            parameter.value = parameter.value.detach().full_like(value);
        }
        let layers = prunable(&model, &[]).unwrap();
        let score = scores(&model, &layers)[0].double_value(&[0, 0, 0, 0]);
        assert!((score - 6.0 / (4.0 + epsilon).sqrt()).abs() < 1e-9, "{score}");
    }
}
