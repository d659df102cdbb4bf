//! Units and channels that carry the most entropy stay.
//!
//! - `joint`: under a Gaussian model the joint entropy of a set S of units is `½ ln det(2πe Σ_SS)`, Σ the
//!   covariance of their activations. Its greedy maximisation is a pivoted Cholesky factorisation: the next
//!   unit is the one with the largest variance given those chosen before. Greedy maximum-entropy sampling:
//!   Shewry & Wynn 1987, "Maximum entropy sampling". Unlike entropies of single units it sees redundancy: a
//!   unit that the others predict carries nothing of its own and goes first.
//! - `activation`: the entropy of a histogram of each unit's activations. Luo & Wu 2017, "An Entropy-based
//!   Pruning Method for CNN Compression", <https://arxiv.org/abs/1706.05791>, equation 3.
//! - `on-off`: the entropy of whether a unit is active.
//! - `output`: how much the entropy of the network's predictions falls without the unit. Of single weights the
//!   same to first order, `w · ∂H/∂w`, of which the absolute value counts unless the sign is asked for.
//!
//! Activations are averaged over space or steps, as in Luo & Wu. A unit of several channels (grouped
//! convolution) is their mean.

use graftwork::experiment::spec::{
    ActivationEntropy, BinRange, Entropy, OutputEntropy, PredictionEntropy,
};
use graftwork::network::groups::{Group, Unit};
use tch::{Device, Kind, Tensor, no_grad};

use super::units::scores::Scores;
use super::{calibration, gradients};
use crate::model::Model;

/// The score of each unit of each group.
///
/// - groups: with activations, but for `output`
///
/// # Shapes
/// - images: `[n, …]`, the network's input
pub fn scores(model: &Model, groups: &[&Group], images: &Tensor, entropy: &Entropy) -> Scores {
    let of_activations = |score: &dyn Fn(&Tensor) -> Vec<f64>| {
        let activations = activations(model, groups, images);
        Scores::new(activations.iter().map(score).collect())
    };
    match entropy {
        Entropy::Joint(_) => of_activations(&joint),
        Entropy::Activation(settings) => {
            of_activations(&|activations| histogram_entropies(activations, settings))
        }
        Entropy::OnOff(_) => of_activations(&on_off),
        Entropy::Output(settings) => output(model, groups, images, settings.of),
    }
}

/// The score of each value of some parameters: what the entropy of the predictions loses without it, to first
/// order, or the size of that.
pub fn weight_scores(
    model: &Model,
    params: &[&str],
    images: &Tensor,
    settings: &OutputEntropy,
) -> Vec<Tensor> {
    let predictions = predictions(model, images, settings.of);
    // Of the mean prediction the derivative is that of `Σ p̄ · slope`, the slope at the mean held fast.
    let slope = -(predictions.mean.clamp_min(f64::MIN_POSITIVE).log() + 1.0);
    let slope = slope.to_device(model.device()).unsqueeze(1);
    let objective = |logits: &Tensor| {
        let p = probabilities(logits);
        let marginal = || (&p * &slope).sum(Kind::Double);
        let conditional = || surprises(&p).sum(Kind::Double);
        let sum = match settings.of {
            PredictionEntropy::Marginal => marginal(),
            PredictionEntropy::Conditional => conditional(),
            PredictionEntropy::MutualInformation => marginal() - conditional(),
        };
        sum / predictions.rows
    };
    let scores = gradients::first_order(model, params, images, &objective);
    if settings.signed { scores } else { scores.iter().map(Tensor::abs).collect() }
}

/// Activations of the units of each group, `[n, units]`, `f64`, on the CPU.
fn activations(model: &Model, groups: &[&Group], images: &Tensor) -> Vec<Tensor> {
    let taps: Vec<(usize, usize)> = groups
        .iter()
        .filter_map(|group| group.activation)
        .map(|activation| (activation.node, activation.axis))
        .collect();
    let outputs = calibration::activations(model, images, &taps);
    groups.iter().zip(&outputs).map(|(group, output)| by_unit(output, group)).collect()
}

/// `½ ln(variance / mean variance)`, the variance given the units that are chosen before.
fn joint(activations: &Tensor) -> Vec<f64> {
    let covariance = covariance(activations);
    let mean = covariance.diagonal(0, 0, 1).mean(Kind::Double).double_value(&[]);
    let mut scores = vec![f64::NEG_INFINITY; activations.size()[1] as usize];
    for (unit, variance) in greedy_order(&covariance) {
        // A unit that never varies has no entropy at all, and one that is not a number no score.
        if variance > 0.0 || variance.is_nan() {
            scores[unit] = 0.5 * (variance / mean).ln();
        }
    }
    scores
}

/// `−Σ p ln p` over bins of equal width between the least and the largest activation.
fn histogram_entropies(activations: &Tensor, settings: &ActivationEntropy) -> Vec<f64> {
    let columns: Vec<Vec<f64>> = columns(activations);
    let of_layer = range(columns.iter().flatten());
    let bins = settings.bins as usize;
    let entropy = |column: &Vec<f64>| {
        let (low, high) = match settings.range {
            BinRange::Layer => of_layer,
            BinRange::Channel => range(column),
        };
        if low.is_nan() || high <= low {
            // All in one bin.
            return if low.is_nan() { f64::NAN } else { 0.0 };
        }
        let mut counts = vec![0usize; bins];
        for value in column {
            let bin = ((value - low) / (high - low) * bins as f64) as usize;
            counts[bin.min(bins - 1)] += 1;
        }
        let fractions = counts.iter().map(|&count| count as f64 / column.len() as f64);
        fractions.map(surprise).sum()
    };
    columns.iter().map(entropy).collect()
}

/// Not a number where a value is none.
fn range<'a>(values: impl IntoIterator<Item = &'a f64>) -> (f64, f64) {
    values.into_iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &value| {
        if value.is_nan() { (value, value) } else { (low.min(value), high.max(value)) }
    })
}

fn on_off(activations: &Tensor) -> Vec<f64> {
    let entropy = |column: &Vec<f64>| {
        if column.iter().any(|value| value.is_nan()) {
            return f64::NAN;
        }
        let on = column.iter().filter(|&&value| value > 0.0).count() as f64;
        let on = on / column.len() as f64;
        surprise(on) + surprise(1.0 - on)
    };
    columns(activations).iter().map(entropy).collect()
}

/// `−p ln p`, zero for a p of zero.
fn surprise(p: f64) -> f64 {
    if p > 0.0 { -p * p.ln() } else { 0.0 }
}

fn columns(activations: &Tensor) -> Vec<Vec<f64>> {
    Vec::try_from(activations.tr().contiguous()).expect("a matrix of f64")
}

/// How much the entropy falls when a unit is zero: exact, a pass over the images for each unit.
fn output(model: &Model, groups: &[&Group], images: &Tensor, of: PredictionEntropy) -> Scores {
    let whole = prediction_entropy(model, images, of);
    let score = |unit: &Unit| whole - prediction_entropy(&silenced(model, unit), images, of);
    let of_group = |group: &&Group| group.units.iter().map(score).collect();
    Scores::new(groups.iter().map(of_group).collect())
}

/// The network with everything zero that a unit has.
fn silenced(model: &Model, unit: &Unit) -> Model {
    let silenced = model.duplicate();
    for slice in unit.slices() {
        let parameter = &silenced.params()[slice.place];
        if parameter.role.is_trainable() {
            let indices: Vec<i64> = slice.indices.iter().map(|&index| i64::from(index)).collect();
            let index = Tensor::from_slice(&indices).to_device(model.device());
            let _ = parameter.value.detach().index_fill_(slice.axis as i64, &index, 0.0);
        }
    }
    silenced
}

/// What a network predicts of images, each pixel of an image, and each domain's pass, by itself.
struct Predictions {
    /// The mean prediction, `[classes]`, on the CPU.
    mean: Tensor,
    /// The entropy that was asked for.
    entropy: f64,
    /// How many there are.
    rows: f64,
}

fn prediction_entropy(model: &Model, images: &Tensor, of: PredictionEntropy) -> f64 {
    predictions(model, images, of).entropy
}

fn predictions(model: &Model, images: &Tensor, of: PredictionEntropy) -> Predictions {
    let output = model.network().nodes.len() - 1;
    let (mut sum, mut conditional, mut rows) = (None::<Tensor>, 0.0, 0.0);
    calibration::each_chunk(model, images, &[output], &mut |_, tapped| {
        let p = probabilities(&tapped[0]);
        conditional += surprises(&p).sum(Kind::Double).double_value(&[]);
        rows += p.size()[1] as f64;
        let part = p.sum_dim_intlist([1].as_slice(), false, Kind::Double);
        sum = Some(sum.take().map_or_else(|| part.shallow_clone(), |sum| sum + &part));
    });
    let mean = no_grad(|| (sum.expect("there is an image") / rows).to_device(Device::Cpu));
    let each: Vec<f64> = Vec::try_from(&mean).expect("a vector of f64");
    let marginal: f64 = each.into_iter().map(|p| if p.is_nan() { p } else { surprise(p) }).sum();
    let entropy = match of {
        PredictionEntropy::Marginal => marginal,
        PredictionEntropy::Conditional => conditional / rows,
        PredictionEntropy::MutualInformation => marginal - conditional / rows,
    };
    Predictions { mean, entropy, rows }
}

/// `[classes, predictions]` in 64 bits, of logits `[n, classes, …]`.
fn probabilities(logits: &Tensor) -> Tensor {
    let classes = logits.size()[1];
    let logits = logits.to_kind(Kind::Double).transpose(0, 1).reshape([classes, -1]);
    logits.softmax(0, None::<Kind>)
}

/// `−p ln p` of each.
fn surprises(p: &Tensor) -> Tensor {
    -(p * p.clamp_min(f64::MIN_POSITIVE).log())
}

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

#[cfg(test)]
mod tests {
    use graftwork::network::Network;
    use graftwork::network::groups::Dependencies;
    use graftwork::network::op::{Linear, Tanh};

    use super::*;
    use crate::prune::prunable;
    use crate::prune::units::Candidates;

    fn matrix(values: &[f64]) -> Tensor {
        let n = values.len().isqrt() as i64;
        Tensor::from_slice(values).reshape([n, n])
    }

    #[track_caller]
    fn close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }

    #[test]
    fn entropies_of_histograms_by_hand() {
        // One sample a row. ln 2; −¼ ln ¼ − ¾ ln ¾; all in one bin.
        let values = [0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0];
        let activations = Tensor::from_slice(&values).reshape([4, 3]).to_kind(Kind::Double);
        let expected = [2f64.ln(), 0.562_335_1, 0.0];
        for range in [BinRange::Layer, BinRange::Channel] {
            close(
                &histogram_entropies(&activations, &ActivationEntropy { bins: 2, range }),
                &expected,
            );
        }
        close(&on_off(&activations), &expected);
        // What only scale tells apart: noise a hundredth as large fills its own range as well.
        let values = [0.0, 0.0, 1.0, 0.01, 0.0, 0.0, 1.0, 0.01];
        let activations = Tensor::from_slice(&values).reshape([4, 2]).to_kind(Kind::Double);
        let entropies =
            |range| histogram_entropies(&activations, &ActivationEntropy { bins: 2, range });
        close(&entropies(BinRange::Layer), &[2f64.ln(), 0.0]);
        close(&entropies(BinRange::Channel), &[2f64.ln(), 2f64.ln()]);
    }

    /// Two classes whose logits are `ln 3 · (h₁ + h₂)` and 0, and samples (1, 1) and (−1, 1): the first class
    /// has 0.9 and 0.5.
    fn two_units() -> (Model, Tensor) {
        let mut network = Network::new("test", &[2]);
        network.push("fc1", Linear::new(2, 2));
        network.push("fc2", Linear::new(2, 2));
        let mut model = Model::new(network, 0, Device::Cpu);
        let ln3 = 3f32.ln();
        let values = [[1.0, 0.0, 0.0, 1.0].as_slice(), &[0.0; 2], &[ln3, ln3, 0.0, 0.0], &[0.0; 2]];
        for (parameter, values) in model.params_mut().values_mut().zip(values) {
            parameter.value = Tensor::from_slice(values).reshape(parameter.value.size());
        }
        (model, Tensor::from_slice(&[1.0f32, 1.0, -1.0, 1.0]).reshape([2, 2]))
    }

    #[test]
    fn entropies_of_predictions_by_hand() {
        let (model, images) = two_units();
        let network = model.network().clone();
        let dependencies = Dependencies::of(&network).unwrap();
        let layers = prunable(&model, &[]).unwrap();
        let candidates = Candidates::new(&model, &dependencies, &layers).unwrap();
        let check = |of, expected: &[f64]| {
            close(&output(&model, candidates.groups(), &images, of).by_group().concat(), expected);
        };
        // Of all: H(p̄) = H(0.7) = 0.610864, mean H(p) = 0.509115. Without h₁ both predictions are 0.75: 0.562335
        // both. Without h₂ they are 0.75 and 0.25: ln 2 and 0.562335.
        check(PredictionEntropy::Marginal, &[0.048_529_2, -0.082_282_9]);
        check(PredictionEntropy::Conditional, &[-0.053_220_1, -0.053_220_1]);
        check(PredictionEntropy::MutualInformation, &[0.101_749_3, -0.029_062_8]);
    }

    #[test]
    fn first_order_entropies_of_weights_by_hand() {
        let (model, images) = two_units();
        let check = |of, signed, [first, second]: [f64; 2]| {
            let settings = OutputEntropy { of, signed };
            let scores = weight_scores(&model, &["fc2.weight"], &images, &settings);
            let scores: Vec<f64> = Vec::try_from(scores[0].flatten(0, -1)).unwrap();
            close(&scores, &[first, second, 0.0, 0.0]);
        };
        // dH(p̄)/dp̄ = ln(0.3 / 0.7); dp̄/dw₁ = (0.09 − 0.25) / 2, dp̄/dw₂ = (0.09 + 0.25) / 2; w = ln 3.
        check(PredictionEntropy::Marginal, true, [0.074_468_2, -0.158_244_9]);
        check(PredictionEntropy::Marginal, false, [0.074_468_2, 0.158_244_9]);
        // dH(p)/dz = p (1 − p) ln((1 − p) / p): 0.09 ln(1 / 9) and 0.
        check(PredictionEntropy::Conditional, true, [-0.108_625_6, -0.108_625_6]);
        check(PredictionEntropy::MutualInformation, true, [0.183_093_8, -0.049_619_3]);
    }

    /// Reference: central differences of the entropy itself.
    #[test]
    fn first_order_entropies_are_derivatives() {
        let mut network = Network::new("test", &[3]);
        network.push("fc1", Linear::new(3, 5));
        network.push("tanh", Tanh {});
        network.push("fc2", Linear::new(5, 4));
        let model = Model::new(network, 3, Device::Cpu);
        let mut rng = crate::random::stream(0, "images", 0);
        let images = crate::random::uniform(&[600, 3], -2.0, 2.0, &mut rng);
        for of in [
            PredictionEntropy::Marginal,
            PredictionEntropy::Conditional,
            PredictionEntropy::MutualInformation,
        ] {
            let settings = OutputEntropy { of, signed: true };
            let scores = weight_scores(&model, &["fc1.weight"], &images, &settings);
            for place in 0..15 {
                let (row, column) = (place / 3, place % 3);
                let moved = |by: f64| {
                    let moved = model.duplicate();
                    let mut weight =
                        moved.params()["fc1.weight"].value.detach().get(row).get(column);
                    let _ = weight.g_add_scalar_(by);
                    prediction_entropy(&moved, &images, of)
                };
                let step = 1e-2;
                let slope = (moved(step) - moved(-step)) / (2.0 * step);
                let weight = model.params()["fc1.weight"].value.double_value(&[row, column]);
                let found = scores[0].double_value(&[row, column]);
                assert!((found - weight * slope).abs() < 1e-5, "{of:?} {found} {}", weight * slope);
            }
        }
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
