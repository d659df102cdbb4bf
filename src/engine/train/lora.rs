//! Low-rank updates: what is trained is `B A` beside each weight, and not the weight.
//!
//! Hu et al. 2022, "`LoRA`: Low-Rank Adaptation of Large Language Models", <https://arxiv.org/abs/2106.09685>,
//! with the initial values of peft. The stage's network has the updated weights after every step: to all but the
//! forward pass of training it is a network like any other, and so is what the stage leaves.

use graftwork::experiment::spec;
use graftwork::network::op::Held;
use graftwork::network::{Init, Network, ParamRole, matches};
use tch::{Tensor, no_grad};

use crate::model::{Model, Update};
use crate::stage::StageError;

/// The updates of a network's weights.
#[derive(Debug)]
pub struct Lora {
    dropout: f64,
    /// `alpha / rank`.
    scale: f64,
    /// As the stage's network, and made of the same parameters; but the weights that are updated are those of the
    /// start, and the updates are beside them.
    apart: Model,
    /// A `[rank, inputs · kernel]` and B `[outputs, rank]` of each layer.
    factors: Model,
    layers: Vec<Layer>,
}

/// A layer whose weight is updated.
#[derive(Debug)]
struct Layer {
    node: usize,
    /// Full names: of the weight, of A and of B.
    weight: String,
    a: String,
    b: String,
}

impl Lora {
    /// Freezes all of a network but the layers of `new_heads`, and puts updates beside the weights of layers that
    /// were not frozen before.
    ///
    /// Each A depends on the seed and the layer's name alone.
    ///
    /// # Errors
    /// Where no layer can have an update.
    pub fn new(
        settings: &spec::Lora,
        model: &mut Model,
        new_heads: &[usize],
        seed: u64,
    ) -> Result<Self, StageError> {
        let mut network = Network::new("lora", &[1]);
        let mut layers = Vec::new();
        for (index, node) in model.network().nodes.iter().enumerate() {
            let weight = format!("{}.weight", node.name);
            let is_meant = settings.layers.iter().any(|pattern| matches(pattern, &node.name));
            let (true, Some([outputs, inputs])) = (is_meant, node.op.weight_matrix()) else {
                continue;
            };
            if new_heads.contains(&index) || model.params()[&weight].frozen {
                continue;
            }
            let mut factor = |name: &str, shape: [u32; 2], init: Init| {
                let name = format!("{}.{name}", node.name);
                let held = Held { shape: shape.to_vec(), role: ParamRole::Other };
                let index = network.push_from(&name, held, &[]);
                network.nodes[index].initial.insert(String::new(), init);
                name
            };
            // Kaiming's uniform draw with a = √5 is uniform in ±1/√inputs.
            let a = factor("lora_A", [settings.rank, inputs], Init::fan_in(u64::from(inputs)));
            let b = factor("lora_B", [outputs, settings.rank], Init::Constant(0.0));
            layers.push(Layer { node: index, weight, a, b });
        }
        if layers.is_empty() {
            return Err(StageError::Unfit(
                "`lora`: no linear layer or ungrouped convolution that is not frozen matches `layers`"
                    .to_owned(),
            ));
        }
        for parameter in model.params_mut().values_mut() {
            parameter.frozen |= !new_heads.contains(&parameter.node);
        }
        model.update_gradient_flags();
        model.apply_masks();
        let mut apart = model.share();
        for layer in &layers {
            let parameter = &mut apart.params_mut()[&layer.weight];
            parameter.value = no_grad(|| parameter.value.copy());
        }
        let factors = Model::new(network, seed, model.device());
        let scale = settings.alpha / f64::from(settings.rank);
        Ok(Self { dropout: settings.dropout, scale, apart, factors, layers })
    }

    /// The network with its updates, through which gradients reach their factors.
    ///
    /// - model: the stage's
    pub fn apart(&mut self, model: &Model) -> &Model {
        self.apart.compute_in(model.computes_in());
        for layer in &self.layers {
            let value = update(layer, &self.apart, &self.factors, self.scale);
            self.apart.update(layer.node, Update { value, dropout: self.dropout });
        }
        &self.apart
    }

    /// The factors, which are what is trained.
    pub fn factors(&mut self) -> &mut Model {
        &mut self.factors
    }

    /// Gives the stage's network the updated weights.
    pub fn merge_into(&self, model: &mut Model) {
        no_grad(|| {
            for layer in &self.layers {
                let update = update(layer, &self.apart, &self.factors, self.scale);
                let merged = &self.apart.params()[&layer.weight].value + update;
                model.params_mut()[&layer.weight].value.copy_(&merged);
            }
        });
    }

    /// Names of the layers whose weights are updated.
    pub fn layers(&self) -> Vec<&str> {
        let nodes = &self.apart.network().nodes;
        self.layers.iter().map(|layer| nodes[layer.node].name.as_str()).collect()
    }
}

/// `scale · B A` under the weight's mask, in its shape.
fn update(layer: &Layer, apart: &Model, factors: &Model, scale: f64) -> Tensor {
    let weight = &apart.params()[&layer.weight];
    let factor = |name: &str| &factors.params()[name].value;
    let update = (factor(&layer.b).matmul(factor(&layer.a)) * scale).view_as(&weight.value);
    match &weight.mask {
        Some(mask) => update * mask,
        None => update,
    }
}

#[cfg(test)]
mod tests {
    use graftwork::network::op::{BatchNorm, Conv2d, Flatten, Linear, Relu};
    use tch::{Device, Kind};

    use super::*;
    use crate::model::Mode;
    use crate::random;

    /// Two convolutions, of which the second is grouped, and two linear layers.
    fn model() -> Model {
        let mut network = Network::new("test", &[2, 5, 5]);
        network.push("conv1", Conv2d::new(2, 4, 3));
        network.push("bn1", BatchNorm::new(4));
        network.push("relu1", Relu {});
        network.push("conv2", Conv2d { groups: 2, ..Conv2d::new(4, 4, 3) });
        network.push("flatten", Flatten {});
        network.push("fc1", Linear::new(4, 6));
        network.push("fc2", Linear::new(6, 3));
        Model::new(network, 1, Device::Cpu)
    }

    fn settings(rank: u32, dropout: f64) -> spec::Lora {
        spec::Lora { rank, alpha: 3.0, dropout, ..spec::Lora::default() }
    }

    fn input() -> Tensor {
        random::uniform(&[7, 2, 5, 5], -1.0, 1.0, &mut random::stream(1, "input", 0))
    }

    /// Gives all factors values.
    fn fill(lora: &Lora) {
        for (name, parameter) in lora.factors.params() {
            let shape = parameter.value.size();
            let draw = random::normal(&shape, 1.0, &mut random::stream(2, name, 0));
            no_grad(|| parameter.value.shallow_clone().copy_(&draw));
        }
    }

    fn largest(tensor: &Tensor) -> f64 {
        tensor.abs().max().double_value(&[])
    }

    #[test]
    fn at_the_start_nothing_is_another_to_the_bit_and_the_factors_are_all_that_trains() {
        let mut model = model();
        let before = model.duplicate();
        let mut lora = Lora::new(&settings(2, 0.0), &mut model, &[], 1).unwrap();
        assert_eq!(lora.layers(), ["conv1", "fc1", "fc2"]);
        // The batch-norm of the network is frozen, and so is as in evaluation.
        let outputs = |model: &Model, mode| model.forward(&input(), mode, None).detach();
        let expected = outputs(&before, Mode::Eval);
        for mode in [Mode::Train, Mode::Eval] {
            assert!(outputs(lora.apart(&model), mode).equal(&expected));
        }
        lora.merge_into(&mut model);
        assert!(outputs(&model, Mode::Eval).equal(&expected));
        assert_eq!(super::super::layerwise::trained_params(&model), 0);
        // rank · (inputs · kernel + outputs): 2 (18 + 4), 2 (4 + 6), 2 (6 + 3).
        assert_eq!(super::super::layerwise::trained_params(lora.factors()), 44 + 20 + 18);
    }

    #[test]
    fn a_new_head_trains_as_a_whole() {
        let mut model = model();
        let head = model.network().head();
        let mut lora = Lora::new(&settings(2, 0.0), &mut model, &[head], 1).unwrap();
        assert_eq!(lora.layers(), ["conv1", "fc1"]);
        assert_eq!(super::super::layerwise::trained_params(&model), 6 * 3 + 3);
        let logits = lora.apart(&model).forward(&input(), Mode::Train, None);
        let head = &model.params()["fc2.weight"].value;
        let loss = logits.square().sum(Kind::Float);
        let gradient = Tensor::run_backward(&[loss], &[head], false, false);
        assert!(largest(&gradient[0]) > 0.0, "the stage's own parameter is what trains");
    }

    #[test]
    fn merged_weights_are_the_start_and_an_update_of_the_rank() {
        let mut model = model();
        let before = model.duplicate();
        let mut lora = Lora::new(&settings(2, 0.0), &mut model, &[], 1).unwrap();
        fill(&lora);
        let apart = lora.apart(&model).forward(&input(), Mode::Eval, None);
        lora.merge_into(&mut model);
        let merged = model.forward(&input(), Mode::Eval, None);
        assert!(largest(&(&apart - &merged)) < 1e-5);
        assert!(largest(&(before.forward(&input(), Mode::Eval, None) - merged)) > 0.1);
        for (layer, rows) in [("conv1", 4), ("fc1", 6), ("fc2", 3)] {
            let name = format!("{layer}.weight");
            let update = &model.params()[&name].value - &before.params()[&name].value;
            let update = update.view([rows, -1]).to_kind(Kind::Double);
            let (_, singular, _) = update.svd(true, true);
            assert!(singular.double_value(&[1]) > 1e-2, "of no lower rank");
            let rest = singular.narrow(0, 2, singular.size()[0] - 2);
            assert!(largest(&rest) < 1e-5, "{rest:?}");
        }
        // The definition, by hand: W⁰ + 3/2 · B A at one place.
        let value = |model: &Model, name: &str, place: [i64; 2]| {
            model.params()[name].value.double_value(&place)
        };
        let terms = (0..2).map(|k| {
            value(&lora.factors, "fc1.lora_B", [4, k]) * value(&lora.factors, "fc1.lora_A", [k, 1])
        });
        let expected = value(&before, "fc1.weight", [4, 1]) + 1.5 * terms.sum::<f64>();
        assert!((value(&model, "fc1.weight", [4, 1]) - expected).abs() < 1e-5);
        for name in ["conv2.weight", "fc1.bias", "bn1.running_mean"] {
            assert!(model.params()[name].value.equal(&before.params()[name].value), "{name}");
        }
    }

    #[test]
    fn masked_weights_are_exactly_zero_after_every_merge() {
        let mut model = model();
        for name in ["conv1.weight", "fc1.weight"] {
            let parameter = &mut model.params_mut()[name];
            parameter.mask = Some(no_grad(|| parameter.value.gt(0.0).to_kind(Kind::Float)));
        }
        let mut lora = Lora::new(&settings(2, 0.0), &mut model, &[], 1).unwrap();
        fill(&lora);
        let apart = lora.apart(&model).forward(&input(), Mode::Eval, None);
        lora.merge_into(&mut model);
        for name in ["conv1.weight", "fc1.weight"] {
            let parameter = &model.params()[name];
            let mask = parameter.mask.as_ref().unwrap();
            let outside = parameter.value.masked_select(&mask.eq(0.0));
            assert!(
                outside.numel() > 0 && outside.count_nonzero(None::<i64>).int64_value(&[]) == 0
            );
        }
        assert!(largest(&(apart - model.forward(&input(), Mode::Eval, None))) < 1e-5);
    }

    /// As peft's layer: `W⁰ x + b + alpha / rank · B A dropout(x)`. Of half of all inputs, each doubled, the mean
    /// over many draws is what all of them give.
    #[test]
    fn dropout_is_before_the_update_alone() {
        let mut network = Network::new("test", &[3]);
        network.push("fc", Linear::new(3, 2));
        let mut model = Model::new(network, 1, Device::Cpu);
        let mut lora = Lora::new(&settings(1, 0.5), &mut model, &[], 1).unwrap();
        fill(&lora);
        let turn = random::libtorchs_turn();
        random::seed_libtorch(1, "dropout", 0);
        let rows = Tensor::from_slice(&[1_f32, -2.0, 0.5]).repeat([20_000, 1]);
        let dropped = lora.apart(&model).forward(&rows, Mode::Train, None);
        drop(turn);
        let whole = lora.apart(&model).forward(&rows, Mode::Eval, None);
        let start = model.forward(&rows, Mode::Eval, None);
        // Every output is the start's, and an update for one of the eight ways to drop.
        let update = (&dropped - &start).narrow(1, 0, 1);
        let (ways, _, _) = (&update * 1e3).round().unique_dim(0, true, false, false);
        assert_eq!(ways.size()[0], 8);
        let mean = |values: &Tensor| values.mean_dim([0_i64].as_slice(), false, Kind::Float);
        let spread = (&dropped - &start).std(true).double_value(&[]);
        assert!(largest(&(mean(&dropped) - mean(&whole))) < 5.0 * spread / 20_000_f64.sqrt());
    }

    #[test]
    fn gradients_of_the_factors_are_those_of_the_chain_rule() {
        let mut model = model();
        let mut lora = Lora::new(&settings(2, 0.0), &mut model, &[], 1).unwrap();
        fill(&lora);
        let mut merged = model.duplicate();
        lora.merge_into(&mut merged);
        merged.params_mut()["fc1.weight"].frozen = false;
        merged.update_gradient_flags();
        let loss =
            |model: &Model| model.forward(&input(), Mode::Eval, None).square().sum(Kind::Float);
        let weight = &merged.params()["fc1.weight"].value;
        let gradient = Tensor::run_backward(&[loss(&merged)], &[weight], false, false).remove(0);
        let loss = loss(lora.apart(&model));
        let [a, b] = ["fc1.lora_A", "fc1.lora_B"].map(|name| &lora.factors.params()[name].value);
        let found = Tensor::run_backward(&[loss], &[a, b], false, false);
        // W = W⁰ + s B A: dA = s Bᵀ dW, dB = s dW Aᵀ.
        let expected = [b.tr().matmul(&gradient) * 1.5, gradient.matmul(&a.tr()) * 1.5];
        for (found, expected) in found.iter().zip(expected) {
            assert!(largest(&(found - &expected)) < 1e-4 * largest(&expected));
        }
    }

    #[test]
    fn what_has_no_matrix_or_is_frozen_cannot_be_updated() {
        let mut model = model();
        super::super::freeze(&mut model, &["fc*".to_owned()]);
        let settings =
            spec::Lora { layers: vec!["conv2".to_owned(), "fc1".to_owned()], ..settings(1, 0.0) };
        let error = Lora::new(&settings, &mut model, &[], 1).unwrap_err();
        assert!(error.to_string().starts_with("`lora`: no linear layer"), "{error}");
    }
}
