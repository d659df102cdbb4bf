//! Scores from the gradient of the loss on labelled images.
//!
//! - Taylor expansion: what a weight's removal changes the loss by, to first order. Molchanov et al.
//!   2019, "Importance Estimation for Neural Network Pruning", <https://arxiv.org/abs/1906.10771>.
//! - SNIP: the same on one batch of an untrained network. Lee et al. 2019, "SNIP: Single-shot Network
//!   Pruning based on Connection Sensitivity", <https://arxiv.org/abs/1810.02340>.
//! - `GraSP`: what a weight's removal changes the square norm of the gradient by, to first order: half of
//!   it is `−w · (H g)`. The highest go first, so `w · (H g)` is the score that is kept. Wang et al. 2020,
//!   "Picking Winning Tickets Before Training by Preserving Gradient Flow",
//!   <https://arxiv.org/abs/2002.07376>, equation 8.
//! - Optimal brain damage with its first-order term: what a weight's removal changes the loss by, to second
//!   order, `−g w + ½ w² H_qq`. LeCun, Denker & Solla 1990, "Optimal Brain Damage". In place of the Hessian's
//!   diagonal stands that of the empirical Fisher information, `mean (∂L_n/∂w)²` over examples `n`, as in Theis
//!   et al. 2018, <https://arxiv.org/abs/1801.05787>.
//!
//! The network runs as in evaluation: a score changes no statistics.

use graftwork::experiment::spec::Loss;
use tch::{Kind, Tensor, no_grad};

use crate::data::Batch;
use crate::model::{Mode, Model};
use crate::train::loss;

/// Examples that a gradient is taken over at a time.
const CHUNK: i64 = 256;

/// `|w · ∂L/∂w|` for each value of some parameters, or its square; `L` is the mean cross-entropy of the images.
pub fn taylor(model: &Model, params: &[&str], batch: &Batch, squared: bool) -> Vec<Tensor> {
    let scored = Scored::new(model, params, batch, 1.0);
    let products = times(&scored.weights(), scored.gradients()).into_iter();
    products.map(|product| if squared { product.square() } else { product.abs() }).collect()
}

/// `w · ∂F/∂w` for each value of some parameters: what F loses without it, to first order. F is the sum over
/// chunks of examples of what `objective` makes of their outputs.
pub(super) fn first_order(
    model: &Model,
    params: &[&str],
    inputs: &Tensor,
    objective: &dyn Fn(&Tensor) -> Tensor,
) -> Vec<Tensor> {
    let model = with_all_gradients(model);
    let weights: Vec<&Tensor> = params.iter().map(|param| &model.params()[*param].value).collect();
    let chunks = inputs.split(CHUNK, 0).into_iter();
    let parts = chunks.map(|chunk| objective(&model.forward(&chunk, Mode::Eval, None)));
    let gradients = summed(parts, |part| Tensor::run_backward(&[part], &weights, false, false));
    times(&weights, gradients)
}

/// `w · (H g)` for each value of some parameters, of the loss of logits divided by a temperature.
pub fn grasp(model: &Model, params: &[&str], batch: &Batch, temperature: f64) -> Vec<Tensor> {
    let scored = Scored::new(model, params, batch, temperature);
    times(&scored.weights(), scored.hessian_gradients())
}

/// Each weight times what belongs to it, in 64 bits.
fn times(weights: &[&Tensor], of_weights: Vec<Tensor>) -> Vec<Tensor> {
    let pairs = weights.iter().zip(of_weights);
    pairs.map(|(weight, of_weight)| weight.detach().to_kind(Kind::Double) * of_weight).collect()
}

/// `−g w + ½ w² H_qq` for each value of some parameters; `L` is the mean cross-entropy of the images.
///
/// H is the mean square of the gradients of single images, which takes a pass for each, or 1. `progress` is
/// told images done and images in all; it says whether to go on, and nothing comes back if not.
pub fn loss_changes(
    model: &Model,
    params: &[&str],
    batch: &Batch,
    with_fisher: bool,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Option<Vec<Tensor>> {
    let scored = Scored::new(model, params, batch, 1.0);
    let (gradients, curvatures) = if with_fisher {
        let (gradients, squares) = scored.moments(progress)?;
        (gradients, squares)
    } else {
        let gradients = scored.gradients();
        let ones = gradients.iter().map(Tensor::ones_like).collect();
        (gradients, ones)
    };
    let terms = scored.weights().into_iter().zip(gradients).zip(curvatures);
    let changes = terms.map(|((weight, gradient), curvature)| {
        let weight = weight.detach().to_kind(Kind::Double);
        weight.square() * curvature * 0.5 - weight * gradient
    });
    Some(changes.collect())
}

/// A network with the weights that are scored and the images.
struct Scored<'a> {
    model: Model,
    params: &'a [&'a str],
    batch: &'a Batch,
    temperature: f64,
}

impl<'a> Scored<'a> {
    fn new(model: &Model, params: &'a [&'a str], batch: &'a Batch, temperature: f64) -> Self {
        Self { model: with_all_gradients(model), params, batch, temperature }
    }

    fn weights(&self) -> Vec<&Tensor> {
        self.params.iter().map(|param| &self.model.params()[*param].value).collect()
    }

    /// The loss of every chunk, as its part of the mean over all examples.
    fn losses(&self) -> impl Iterator<Item = Tensor> {
        let total = self.batch.labels.size()[0] as f64;
        let chunks = self.batch.inputs.split(CHUNK, 0).into_iter();
        chunks.zip(self.batch.labels.split(CHUNK, 0)).map(move |(inputs, labels)| {
            let logits = self.model.forward(&inputs, Mode::Eval, None) / self.temperature;
            let loss = loss::supervised(&Loss::default(), &logits, &labels, None);
            loss * (labels.size()[0] as f64 / total)
        })
    }

    /// `g`, in 64 bits.
    fn gradients(&self) -> Vec<Tensor> {
        let weights = self.weights();
        summed(self.losses(), |loss| Tensor::run_backward(&[loss], &weights, false, false))
    }

    /// The mean of the gradients of single examples, and of their squares, in 64 bits.
    fn moments(
        &self,
        progress: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Option<(Vec<Tensor>, Vec<Tensor>)> {
        let weights = self.weights();
        let zeros = || -> Vec<Tensor> {
            let zero = |weight: &&Tensor| weight.detach().to_kind(Kind::Double).zeros_like();
            weights.iter().map(zero).collect()
        };
        let (mut means, mut squares) = (zeros(), zeros());
        let total = self.batch.labels.size()[0];
        for index in 0..total {
            let one = |tensor: &Tensor| tensor.narrow(0, index, 1);
            let logits = self.model.forward(&one(&self.batch.inputs), Mode::Eval, None);
            let labels = one(&self.batch.labels);
            let loss = loss::supervised(&Loss::default(), &logits, &labels, None);
            let gradients = Tensor::run_backward(&[loss], &weights, false, false);
            no_grad(|| {
                for ((gradient, mean), square) in gradients.iter().zip(&mut means).zip(&mut squares)
                {
                    let gradient = gradient.to_kind(Kind::Double);
                    *square += gradient.square() / total as f64;
                    *mean += gradient / total as f64;
                }
            });
            if !progress(index as u64 + 1, total as u64) {
                return None;
            }
        }
        Some((means, squares))
    }

    /// `H g`: the gradient of `g · ∂L/∂w` with the first `g` held fast.
    fn hessian_gradients(&self) -> Vec<Tensor> {
        let weights = self.weights();
        let fixed: Vec<Tensor> =
            self.gradients().iter().map(|gradient| gradient.to_kind(Kind::Float)).collect();
        summed(self.losses(), |loss| {
            let gradients = Tensor::run_backward(&[loss], &weights, true, true);
            let products =
                gradients.iter().zip(&fixed).map(|(g, fixed)| (g * fixed).sum(Kind::Float));
            let product = products.reduce(|sum, product| sum + product).expect("a layer");
            Tensor::run_backward(&[&product], &weights, false, false)
        })
    }
}

/// A copy of a network all of whose parameters have gradients: frozen weights are scored as any other.
fn with_all_gradients(model: &Model) -> Model {
    let mut model = model.duplicate();
    model.params_mut().values_mut().for_each(|parameter| parameter.frozen = false);
    model.update_gradient_flags();
    model
}

/// The sum over losses of what is made of each, in 64 bits.
fn summed(
    losses: impl Iterator<Item = Tensor>,
    of: impl Fn(&Tensor) -> Vec<Tensor>,
) -> Vec<Tensor> {
    let mut sums: Vec<Tensor> = Vec::new();
    for loss in losses {
        let parts = of(&loss);
        no_grad(|| {
            let parts: Vec<Tensor> = parts.iter().map(|part| part.to_kind(Kind::Double)).collect();
            if sums.is_empty() {
                sums = parts;
            } else {
                sums.iter_mut().zip(&parts).for_each(|(sum, part)| *sum += part);
            }
        });
    }
    sums
}

#[cfg(test)]
mod tests {
    use graftwork::network::Network;
    use graftwork::network::op::{Linear, Tanh};
    use tch::Device;

    use super::*;

    const WEIGHTS: [&str; 2] = ["fc1.weight", "fc2.weight"];

    /// `((i·a + b) mod 11 − 5) / 10`, row by row.
    fn filled(shape: &[i64], a: i64, b: i64) -> Tensor {
        let count: i64 = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|i| ((i * a + b) % 11 - 5) as f32 / 10.0).collect();
        Tensor::from_slice(&values).reshape(shape)
    }

    fn problem() -> (Model, Batch) {
        let mut network = Network::new("test", &[3]);
        network.push("fc1", Linear::new(3, 4));
        network.push("tanh", Tanh {});
        network.push("fc2", Linear::new(4, 2));
        let mut model = Model::new(network, 0, Device::Cpu);
        let values = [(&[4, 3][..], 7, 0), (&[4], 3, 1), (&[2, 4], 5, 2), (&[2], 2, 3)];
        for (parameter, (shape, a, b)) in model.params_mut().values_mut().zip(values) {
            parameter.value = filled(shape, a, b);
        }
        model.update_gradient_flags();
        let labels = Tensor::from_slice(&[0i64, 1, 1, 0, 1]);
        (model, Batch { inputs: filled(&[5, 3], 4, 6) * 4.0, labels })
    }

    #[track_caller]
    fn check(scores: &[Tensor], expected: [&[f64]; 2], scale: f64, tolerance: f64) {
        for (scores, expected) in scores.iter().zip(expected) {
            let scores = Vec::<f64>::try_from((scores * scale).reshape([-1])).unwrap();
            assert_eq!(scores.len(), expected.len());
            for (found, expected) in scores.iter().zip(expected) {
                assert!((found - expected).abs() <= tolerance, "{found} is not {expected}");
            }
        }
    }

    // In PyTorch 2.11, 64 bits, with W1, b1, W2, b2, x filled as above and y = [0, 1, 1, 0, 1]:
    //   loss = lambda T: cross_entropy((tanh(x @ W1.T + b1) @ W2.T + b2) / T, y)
    //   g = torch.autograd.grad(loss(1.), [W1, W2]); taylor = [(w * g).abs() for w, g in zip([W1, W2], g)]
    //   g = torch.autograd.grad(loss(200.), [W1, W2], create_graph=True)
    //   h = torch.autograd.grad(sum((a * a.detach()).sum() for a in g), [W1, W2])
    //   grasp = [1e6 * w * h for w, h in zip([W1, W2], h)]
    #[test]
    fn scores_are_those_of_pytorch() {
        let (model, batch) = problem();
        let first = [
            0.003_216_913,
            0.012_042_630,
            0.003_502_692,
            0.000_903_227,
            0.006_421_955,
            0.002_742_132,
            0.001_240_669,
            0.0,
            0.017_207_946,
            0.000_182_894,
            0.003_553_185,
            0.005_021_710,
        ];
        let second = [
            0.014_742_609,
            0.009_451_674,
            0.013_452_182,
            0.002_968_933,
            0.024_571_015,
            0.0,
            0.016_815_227,
            0.002_968_933,
        ];
        check(&taylor(&model, &WEIGHTS, &batch, false), [&first, &second], 1.0, 1e-7);
        let squares = |values: &[f64]| values.iter().map(|value| value * value).collect::<Vec<_>>();
        let expected = (squares(&first), squares(&second));
        check(&taylor(&model, &WEIGHTS, &batch, true), [&expected.0, &expected.1], 1.0, 1e-8);
        let first = [
            0.032_530_4,
            0.477_346_4,
            0.117_151_6,
            -0.009_330_4,
            -0.030_363_0,
            -0.024_351_7,
            -0.994_750_0,
            0.0,
            -0.454_401_7,
            0.089_769_7,
            0.094_079_3,
            -0.132_098_6,
        ];
        let second = [
            -0.134_533_4,
            0.229_411_0,
            1.195_717_9,
            0.033_370_2,
            0.224_222_3,
            0.0,
            1.494_647_4,
            0.033_370_2,
        ];
        check(&grasp(&model, &WEIGHTS, &batch, 200.0), [&first, &second], 1e6, 5e-5);
    }

    // One layer of two weights w = (ln 3, 0) on one input, two examples: x = 1 of class 0 and x = 2 of class 1.
    // p = (.75, .25) and (.9, .1), so ∂L/∂w₁ = −.25 and 2 · .9 = 1.8: g = .775, H = (.0625 + 3.24) / 2 = 1.65125.
    // −g w + ½ w² H = −.775 · 1.098612 + .5 · 1.206949 · 1.65125 = .145063; with H = 1 it is −.247950.
    #[test]
    fn the_change_of_the_loss_to_second_order_by_hand() {
        let mut network = Network::new("test", &[1]);
        network.push("fc", Linear { bias: false, ..Linear::new(1, 2) });
        let mut model = Model::new(network, 0, Device::Cpu);
        let weights = Tensor::from_slice(&[3f32.ln(), 0.0]).reshape([2, 1]);
        model.params_mut()["fc.weight"].value = weights;
        model.update_gradient_flags();
        let inputs = Tensor::from_slice(&[1.0f32, 2.0]).reshape([2, 1]);
        let batch = Batch { inputs, labels: Tensor::from_slice(&[0i64, 1]) };
        for (with_fisher, expected) in [(true, 0.145_063), (false, -0.247_950)] {
            let mut seen = 0;
            let changes =
                loss_changes(&model, &["fc.weight"], &batch, with_fisher, &mut |done, of| {
                    seen = done;
                    of == 2
                });
            let changes = Vec::<f64>::try_from(changes.unwrap()[0].reshape([-1])).unwrap();
            assert!((changes[0] - expected).abs() < 1e-5, "{changes:?} {expected}");
            assert!(changes[1].abs() < 1e-12, "a weight of zero changes nothing");
            assert_eq!(seen, if with_fisher { 2 } else { 0 });
        }
        let stopped = loss_changes(&model, &["fc.weight"], &batch, true, &mut |_, _| false);
        assert!(stopped.is_none());
    }

    /// The terms are slopes of the loss: of the mean along `−w`, and of single examples squared.
    #[test]
    fn the_change_of_the_loss_agrees_with_finite_differences() {
        let (model, batch) = problem();
        let changes = |with_fisher| {
            loss_changes(&model, &WEIGHTS, &batch, with_fisher, &mut |_, _| true).unwrap()
        };
        let (first, second) = (changes(false), changes(true));
        let losses = || {
            let logits = model.forward(&batch.inputs, Mode::Eval, None).to_kind(Kind::Double);
            let own =
                logits.log_softmax(1, Kind::Double).gather(1, &batch.labels.unsqueeze(1), false);
            Vec::<f64>::try_from(-own.reshape([-1])).unwrap()
        };
        for (layer, index) in [(0, [1i64, 0]), (0, [2, 2]), (1, [0, 2]), (1, [1, 0])] {
            let share = 0.01;
            let weight = model.params()[WEIGHTS[layer]].value.detach().get(index[0]).get(index[1]);
            let old = weight.copy();
            let w = old.double_value(&[]);
            let at = |factor: f64| {
                no_grad(|| weight.shallow_clone().copy_(&(&old * factor)));
                no_grad(losses)
            };
            let (above, below) = (at(1.0 + share), at(1.0 - share));
            at(1.0);
            let slopes =
                above.iter().zip(&below).map(|(above, below)| (above - below) / (2.0 * share));
            let slopes: Vec<f64> = slopes.collect();
            let n = slopes.len() as f64;
            let mean = slopes.iter().sum::<f64>() / n;
            let square = slopes.iter().map(|slope| slope * slope).sum::<f64>() / n;
            for (found, expected) in [
                (first[layer].double_value(&index), 0.5 * w * w - mean),
                (second[layer].double_value(&index), 0.5 * square - mean),
            ] {
                assert!((found - expected).abs() < 2e-5, "{found} {expected}");
            }
        }
    }

    /// More examples than pass at once, and the same twice over: the mean does not change.
    #[test]
    fn chunks_make_one_mean() {
        let (model, batch) = problem();
        let many =
            Batch { inputs: batch.inputs.repeat([120, 1]), labels: batch.labels.repeat([120]) };
        let pairs = [
            (taylor(&model, &WEIGHTS, &batch, false), taylor(&model, &WEIGHTS, &many, false)),
            (grasp(&model, &WEIGHTS, &batch, 1.0), grasp(&model, &WEIGHTS, &many, 1.0)),
        ];
        for (one, other) in pairs {
            for (one, other) in one.iter().zip(&other) {
                let largest = one.abs().max().double_value(&[]);
                assert!((one - other).abs().max().double_value(&[]) < 1e-5 * largest);
            }
        }
    }

    /// `w · (H g)` is half of the slope of `|g|²` along the weight alone.
    #[test]
    fn the_gradients_norm_falls_as_grasp_says() {
        let (model, batch) = problem();
        let scores = grasp(&model, &WEIGHTS, &batch, 1.0);
        let norm = |model: &Model| {
            let gradients = Scored::new(model, &WEIGHTS, &batch, 1.0).gradients();
            gradients.iter().map(|g| g.square().sum(Kind::Double).double_value(&[])).sum::<f64>()
        };
        for (layer, index) in [(0, [1i64, 0]), (0, [2, 2]), (1, [0, 2]), (1, [1, 0])] {
            let share = 0.02;
            let weight = model.params()[WEIGHTS[layer]].value.detach().get(index[0]).get(index[1]);
            let old = weight.copy();
            let at = |factor: f64| {
                no_grad(|| weight.shallow_clone().copy_(&(&old * factor)));
                norm(&model)
            };
            let found = (at(1.0 + share) - at(1.0 - share)) / (4.0 * share);
            at(1.0);
            let expected = scores[layer].double_value(&index);
            assert!((found - expected).abs() < 1e-3 * expected.abs() + 1e-5, "{found} {expected}");
        }
    }
}
