//! Network slimming: units with a small scale in the batch-norm behind them go.
//!
//! Liu et al. 2017, "Learning Efficient Convolutional Networks through Network Slimming",
//! <https://arxiv.org/abs/1708.06519>. The paper adds `λ sign(γ)` to the gradient, which leaves no exact
//! zeros; here each step of SGD is followed by the proximal step of `λ ‖γ‖₁`, for the threshold see
//! [`super::sparse_opt`].

use std::collections::BTreeMap;

use graftwork::experiment::spec::Slimming;
use graftwork::network::groups::{Group, Part, Slice, Unit};
use graftwork::network::{Network, Op, ParamRole};
use tch::{Device, Kind, Tensor};

use super::ista::soft_threshold;
use super::training::{self, Companion, Plan};
use super::units::scores::Scores;
use crate::data::Splits;
use crate::model::Model;
use crate::stage::{Context, Ended, StageError, point};
use crate::train::optimizer::Optimizer;

/// Whether every unit of a group has a batch-norm behind it.
pub fn has_scales(model: &Model, group: &Group) -> bool {
    group.units.iter().all(|unit| scales(model, unit).next().is_some())
}

/// The scales of the batch-norms that carry a unit.
fn scales<'u>(model: &Model, unit: &'u Unit) -> impl Iterator<Item = Slice<'u>> {
    let is_scale = |slice: &Slice<'_>| {
        slice.part == Part::Carries
            && is_batch_norm(model.network(), slice.node)
            && model.params()[slice.param].role == ParamRole::Scale
    };
    unit.slices().filter(is_scale)
}

fn is_batch_norm(network: &Network, node: usize) -> bool {
    matches!(network.nodes[node].op, Op::BatchNorm(_))
}

/// Trains with a penalty on the scales of some groups; nothing where no epochs are asked for. Records
/// `scale-sparsity`, the fraction of these scales that are zero.
///
/// # Errors
/// As [`training::train`].
pub fn train(
    context: &mut Context<'_>,
    model: &mut Model,
    groups: &[&Group],
    data: &Splits,
    settings: &Slimming,
) -> Result<Ended, StageError> {
    let units = groups.iter().flat_map(|group| &group.units);
    let mut params: Vec<String> =
        units.flat_map(|unit| scales(model, unit)).map(|slice| slice.param.to_string()).collect();
    params.sort_unstable();
    params.dedup();
    let Slimming { epochs, lambda, learning_rate, momentum } = *settings;
    let mut penalty = Penalty { params, lambda, momentum };
    let plan = Plan::sgd(learning_rate, momentum, epochs);
    if training::train(context, model, data, &plan, &mut penalty)? == Ended::Stopped {
        return Ok(Ended::Stopped);
    }
    let sparsity = penalty.sparsity(model);
    context.recorder.record(vec![point("scale-sparsity", u64::from(epochs), sparsity)]);
    Ok(Ended::Done)
}

/// An L1 penalty on whole parameters.
struct Penalty {
    params: Vec<String>,
    lambda: f64,
    momentum: f64,
}

impl Penalty {
    fn sparsity(&self, model: &Model) -> f64 {
        let values = self.params.iter().map(|param| &model.params()[param].value);
        let (mut zeros, mut count) = (0, 0);
        for value in values {
            zeros += value.eq(0.0).sum(Kind::Int64).int64_value(&[]);
            count += value.numel();
        }
        zeros as f64 / count as f64
    }
}

impl Companion for Penalty {
    fn after_step(&mut self, model: &mut Model, learning_rate: f64, _optimizer: &Optimizer) {
        let threshold = learning_rate * self.lambda / (1.0 - self.momentum);
        for param in &self.params {
            let value = model.params()[param].value.detach();
            value.shallow_clone().copy_(&soft_threshold(&value, threshold));
        }
    }
}

/// `|γ|` of every unit; the mean over the batch-norms of one that has several, so that units of layers that
/// are tied together compare with others.
pub fn scores(model: &Model, groups: &[&Group]) -> Scores {
    let mut magnitudes: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut of_slice = |slice: &Slice<'_>| -> (f64, usize) {
        let magnitudes = magnitudes.entry(slice.param.to_string()).or_insert_with(|| {
            let scale: Tensor = model.params()[slice.param].value.detach().abs();
            let scale = scale.to_device(Device::Cpu).to_kind(Kind::Double);
            Vec::try_from(scale).expect("a vector of f64")
        });
        let sum = slice.indices.iter().map(|&index| magnitudes[index as usize]).sum();
        (sum, slice.indices.len())
    };
    let mut of_unit = |unit: &Unit| {
        let (sum, count) = scales(model, unit).fold((0.0, 0), |(sum, count), slice| {
            let (more, indices) = of_slice(&slice);
            (sum + more, count + indices)
        });
        sum / count as f64
    };
    Scores::new(groups.iter().map(|group| group.units.iter().map(&mut of_unit).collect()).collect())
}

#[cfg(test)]
mod tests {
    use graftwork::experiment::spec;
    use graftwork::network::groups::Dependencies;
    use graftwork::network::op::{
        AdaptiveAvgPool2d, Add, BatchNorm, Conv2d, Flatten, Linear, Relu,
    };
    use indexmap::IndexMap;
    use tch::no_grad;

    use super::*;

    /// Two convolutions that a sum ties together, each with a batch-norm, and one without.
    fn model() -> Model {
        let mut network = Network::new("test", &[1, 4, 4]);
        let conv = |inputs| Conv2d { padding: 1, bias: false, ..Conv2d::new(inputs, 3, 3) };
        network.push("conv1", conv(1));
        let first = network.push("bn1", BatchNorm::new(3));
        network.push("conv2", conv(3));
        let second = network.push("bn2", BatchNorm::new(3));
        network.push_from("add", Add {}, &[first, second]);
        network.push("relu1", Relu {});
        network.push("bare", conv(3));
        network.push("relu2", Relu {});
        network.push("pool", AdaptiveAvgPool2d { height: 1, width: 1 });
        network.push("flatten", Flatten {});
        network.push("fc", Linear::new(3, 2));
        let mut model = Model::new(network, 0, Device::Cpu);
        for (param, values) in [("bn1", [1.0f32, -2.0, 0.0]), ("bn2", [3.0, 0.0, -0.5])] {
            model.params_mut()[&format!("{param}.weight")].value = Tensor::from_slice(&values);
        }
        model.update_gradient_flags();
        model
    }

    #[test]
    fn units_that_are_tied_have_the_mean_of_their_scales_and_bare_ones_none() {
        let model = model();
        let network = model.network().clone();
        let dependencies = Dependencies::of(&network).unwrap();
        let fit: Vec<&Group> =
            dependencies.groups().iter().filter(|group| has_scales(&model, group)).collect();
        assert_eq!((dependencies.groups().len(), fit.len()), (2, 1));
        assert_eq!(scores(&model, &fit).by_group(), [[2.0, 1.0, 0.25]]);
    }

    #[test]
    fn the_penalty_shrinks_scales_to_exact_zeros_and_nothing_else() {
        let mut model = model();
        let weight = model.params()["conv1.weight"].value.detach().copy();
        let rule = spec::Optimizer::Sgd(spec::Sgd::default());
        let optimizer = Optimizer::new(&rule, &IndexMap::new(), &model, None);
        let params = vec!["bn1.weight".to_owned(), "bn2.weight".to_owned()];
        let mut penalty = Penalty { params, lambda: 0.3, momentum: 0.5 };
        // The threshold is 1 · .3 / (1 − .5) = .6.
        no_grad(|| penalty.after_step(&mut model, 1.0, &optimizer));
        for (param, expected) in [("bn1", [0.4f32, -1.4, 0.0]), ("bn2", [2.4, 0.0, 0.0])] {
            let scale = &model.params()[&format!("{param}.weight")].value;
            let found = Vec::<f32>::try_from(scale.detach()).unwrap();
            assert!(found.iter().zip(expected).all(|(found, it)| (found - it).abs() < 1e-6));
        }
        assert!((penalty.sparsity(&model) - 0.5).abs() < 1e-12);
        assert!(model.params()["conv1.weight"].value.equal(&weight));
    }
}
