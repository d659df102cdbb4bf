//! Penalties on what layers put out: DELTA and batch spectral shrinkage.

use graftwork::experiment::spec::{Bss, Delta};
use graftwork::network::matches;
use tch::{Kind, Tensor, no_grad};

use crate::model::{Mode, Model};

/// How far what the layers put out is from what they put out at the start.
///
/// Li et al. 2019, "DELTA: Deep Learning Transfer using Feature Map with Attention for Convolutional Networks",
/// <https://arxiv.org/abs/1901.09229>, with equal weights of the channels.
#[derive(Debug)]
pub struct Behaviour {
    settings: Delta,
    start: Model,
    /// Nodes whose outputs are compared, and the number of their channels.
    layers: Vec<(usize, u32)>,
    /// Names of the parameters of a new head, which are drawn to zero.
    new: Vec<String>,
}

impl Behaviour {
    /// Remembers how a network starts; `None` where no layer matches.
    ///
    /// - `new_heads`: nodes whose parameters are new, if any
    pub fn new(settings: &Delta, model: &Model, new_heads: &[usize]) -> Option<Self> {
        let (network, heads) = (model.network(), model.network().heads());
        let nodes = network.nodes.iter().enumerate();
        let layers = nodes.filter_map(|(index, node)| {
            let is_meant = settings.layers.iter().any(|pattern| matches(pattern, &node.name));
            let channels = node.op.outputs()?;
            (is_meant && !heads.contains(&index)).then_some((index, channels))
        });
        let layers: Vec<_> = layers.collect();
        let new = model
            .params()
            .iter()
            .filter(|(_, parameter)| parameter.is_trained() && new_heads.contains(&parameter.node));
        let new = new.map(|(name, _)| name.clone()).collect();
        let start = model.duplicate();
        (!layers.is_empty()).then(|| Self { settings: settings.clone(), start, layers, new })
    }

    /// Nodes whose outputs [`Behaviour::penalty`] takes, in order.
    pub fn nodes(&self) -> impl Iterator<Item = usize> {
        self.layers.iter().map(|(node, _)| *node)
    }

    /// `alpha/2 · Σ ‖F − F⁰‖² + beta/2 · ‖w_new‖²`; the square norm is a sum over channels and a mean over
    /// examples and places.
    ///
    /// - inputs: the batch
    /// - outputs: what the network's nodes put out for it
    pub fn penalty(&self, model: &Model, inputs: &Tensor, outputs: &[Tensor]) -> Tensor {
        let nodes: Vec<usize> = self.nodes().collect();
        let start = no_grad(|| self.start.forward_with(inputs, Mode::Eval, None, &nodes).1);
        let distances = self.layers.iter().zip(outputs.iter().zip(&start));
        let distances = distances.map(|((_, channels), (output, start))| {
            (output - start).square().mean(Kind::Float) * f64::from(*channels)
        });
        let distance: Tensor = distances.reduce(|a, b| a + b).expect("there is a layer");
        let new = self.new.iter().map(|name| model.params()[name].value.square().sum(Kind::Float));
        let penalty = distance * (self.settings.alpha / 2.0);
        new.fold(penalty, |penalty, square| penalty + square * (self.settings.beta / 2.0))
    }
}

/// `eta · Σ σ²` over the smallest singular values of a batch's features.
///
/// Chen et al. 2019, "Catastrophic Forgetting Meets Negative Transfer: Batch Spectral Shrinkage for Safe Transfer
/// Learning", Advances in Neural Information Processing Systems 32.
///
/// # Shapes
/// - features: `[batch, …]`
pub fn spectral_shrinkage(settings: &Bss, features: &Tensor) -> Tensor {
    let (_, singular, _) = features.to_kind(Kind::Float).flatten(1, -1).svd(true, true);
    let count = singular.size()[0];
    let smallest = count.min(i64::from(settings.k));
    singular.narrow(0, count - smallest, smallest).square().sum(Kind::Float) * settings.eta
}

#[cfg(test)]
mod tests {
    use graftwork::network::Network;
    use graftwork::network::op::{Conv2d, Flatten, Linear};
    use indexmap::IndexMap;
    use tch::Device;

    use super::*;
    use crate::random;

    #[track_caller]
    fn close(found: f64, expected: f64) {
        assert!(
            (found - expected).abs() < 1e-5 * expected.abs().max(1.0),
            "{found}, not {expected}"
        );
    }

    /// `[[3, 0], [0, 2], [0, 0]]` has the singular values 3 and 2.
    #[test]
    fn the_smallest_singular_values_are_shrunk() {
        let features = Tensor::from_slice(&[3_f32, 0.0, 0.0, 2.0, 0.0, 0.0]).view([3, 2]);
        let value = |k| spectral_shrinkage(&Bss { eta: 0.1, k }, &features).double_value(&[]);
        close(value(1), 0.4);
        close(value(2), 1.3);
        close(value(9), 1.3);
    }

    /// All of them together are the square of the Frobenius norm, whatever the matrix; an orthogonal change of the
    /// features changes none.
    #[test]
    fn all_singular_values_are_the_frobenius_norm() {
        for seed in 0..5 {
            let features = random::normal(&[6, 4], 1.0, &mut random::stream(seed, "features", 0));
            let all = spectral_shrinkage(&Bss { eta: 0.5, k: 4 }, &features).double_value(&[]);
            close(all, 0.5 * features.square().sum(Kind::Float).double_value(&[]));
            let square = random::normal(&[4, 4], 1.0, &mut random::stream(seed, "q", 0));
            let (q, _) = Tensor::linalg_qr(&square, "reduced");
            let two = |features: &Tensor| {
                spectral_shrinkage(&Bss { eta: 0.5, k: 2 }, features).double_value(&[])
            };
            close(two(&features.matmul(&q)), two(&features));
        }
    }

    #[test]
    fn the_gradient_of_the_shrinkage_is_that_of_finite_differences() {
        let settings = Bss { eta: 1.0, k: 2 };
        let features = random::normal(&[5, 4], 1.0, &mut random::stream(3, "features", 0));
        let features = features.set_requires_grad(true);
        let penalty = spectral_shrinkage(&settings, &features);
        let gradient = Tensor::run_backward(&[penalty], &[&features], false, false).remove(0);
        for place in [[0, 0], [2, 3], [4, 1]] {
            let moved = |by: f64| {
                let copy = features.detach().copy();
                let _ = copy.get(place[0]).get(place[1]).g_add_scalar_(by);
                spectral_shrinkage(&settings, &copy).double_value(&[])
            };
            let difference = (moved(1e-2) - moved(-1e-2)) / 2e-2;
            let found = gradient.double_value(&place);
            assert!((found - difference).abs() < 5e-3, "{place:?}: {found} {difference}");
        }
    }

    /// One convolution of a point and two channels, and a linear layer behind it.
    fn model() -> Model {
        let mut network = Network::new("test", &[1, 1, 2]);
        network.push("conv", Conv2d::new(1, 2, 1));
        network.push("flatten", Flatten {});
        network.push("fc", Linear::new(4, 2));
        let value = |name: &str, values: &[f32], shape: &[i64]| {
            (name.to_owned(), Tensor::from_slice(values).view(shape))
        };
        let values = IndexMap::from([
            value("conv.weight", &[1.0, -1.0], &[2, 1, 1, 1]),
            value("conv.bias", &[0.0, 0.0], &[2]),
            value("fc.weight", &[0.5; 8], &[2, 4]),
            value("fc.bias", &[0.0, 1.0], &[2]),
        ]);
        Model::from_tensors(network, values, Device::Cpu).unwrap()
    }

    /// With the second channel's weight at 2 in place of −1 it is 3 x off. Of two images (1, 2) and (0, 1) that is
    /// 9 (1 + 4 + 0 + 1) in all; its mean over two images of two places is 13.5. The new head adds
    /// 8 · 0.25 + 1 = 3.
    #[test]
    fn behaviour_is_held_to_the_start_and_a_new_head_to_zero() {
        let model = model();
        let settings = Delta { alpha: 0.2, beta: 0.1, ..Delta::default() };
        let head = model.network().head();
        let behaviour = Behaviour::new(&settings, &model, &[head]).unwrap();
        let nodes: Vec<usize> = behaviour.nodes().collect();
        assert_eq!(nodes, [1], "the head is passed over");
        let inputs = Tensor::from_slice(&[1_f32, 2.0, 0.0, 1.0]).view([2, 1, 1, 2]);
        let penalty = || {
            let (_, outputs) = model.forward_with(&inputs, Mode::Train, None, &nodes);
            behaviour.penalty(&model, &inputs, &outputs)
        };
        close(penalty().double_value(&[]), 0.15);
        let weight = &model.params()["conv.weight"].value;
        let _ = no_grad(|| weight.get(1).fill_(2.0));
        close(penalty().double_value(&[]), 0.15 + 0.1 * 13.5);
        // d/dw of 0.1 · Σ (w x − w⁰ x)² / 4 is 0.2 (w − w⁰) Σ x² / 4.
        let gradient = Tensor::run_backward(&[penalty()], &[weight], false, false).remove(0);
        close(gradient.double_value(&[1, 0, 0, 0]), 0.2 * 3.0 * 6.0 / 4.0);
        close(gradient.double_value(&[0, 0, 0, 0]), 0.0);
        let none = Delta { layers: vec!["fc".to_owned()], ..settings };
        assert!(Behaviour::new(&none, &model, &[]).is_none());
    }
}
