//! Scores that need no label of the target, high where they take the network for good.
//!
//! Each is a function of the class probabilities of some examples, `[N, K]`. What they are worth differs from
//! task to task: Musgrave et al. 2022, "Benchmarking Validation Methods for Unsupervised Domain Adaptation",
//! <https://arxiv.org/abs/2208.07360>.

use graftwork::experiment::spec::Validator;
use tch::{Kind, Tensor, no_grad};

use super::TARGET;
use crate::data::UnlabelledSet;
use crate::model::{Mode, Model};

/// Similarities are divided by this in [`neighbourhood_density`] (Saito et al. 2021, section 3.2).
const TEMPERATURE: f64 = 0.05;
/// Rows whose similarities to all others are in memory at once.
const ROWS: i64 = 512;

/// The scores of a network on the target's examples under their names, in the order of [`Validator::ALL`];
/// nothing where there is no example.
pub fn scores(model: &Model, target: &UnlabelledSet) -> Vec<(&'static str, f64)> {
    if target.is_empty() {
        return Vec::new();
    }
    let probabilities = probabilities(model, target);
    let score = |validator: Validator| {
        let score = match validator {
            Validator::SourceAccuracy => return None,
            Validator::NegativeEntropy => -mean_entropy(&probabilities),
            Validator::InformationMaximisation => information(&probabilities),
            Validator::NuclearNorm => nuclear_norm(&probabilities),
            Validator::NeighbourhoodDensity => neighbourhood_density(&probabilities),
        };
        Some((validator.name(), score))
    };
    Validator::ALL.into_iter().filter_map(score).collect()
}

fn probabilities(model: &Model, target: &UnlabelledSet) -> Tensor {
    no_grad(|| {
        let logits =
            target.batches().map(|inputs| model.forward(&inputs, Mode::Eval, Some(TARGET)));
        Tensor::cat(&logits.collect::<Vec<_>>(), 0).softmax(-1, Kind::Double)
    })
}

/// The mean over the rows of `−Σ p ln p`, in 0..=ln K.
///
/// # Shapes
/// - probabilities: `[N, K]`, f64
fn mean_entropy(probabilities: &Tensor) -> f64 {
    entropies(probabilities).mean(Kind::Double).double_value(&[])
}

/// `−Σ p ln p` of each row, where `0 ln 0` is 0; `[N]`.
fn entropies(probabilities: &Tensor) -> Tensor {
    // Of probabilities, not of logits as in training: the softmax of similarities has a row's own at zero.
    -probabilities.xlogy(probabilities).sum_dim_intlist([-1i64].as_slice(), false, Kind::Double)
}

/// The mutual information between an example and its class: the entropy of the mean probabilities minus their
/// mean entropy, in 0..=ln K (Shi & Sha 2012, "Information-Theoretical Learning of Discriminative Clusters for
/// Unsupervised Domain Adaptation", <https://arxiv.org/abs/1206.6438>).
fn information(probabilities: &Tensor) -> f64 {
    let mean = probabilities.mean_dim([0i64].as_slice(), true, Kind::Double);
    mean_entropy(&mean) - mean_entropy(probabilities)
}

/// The sum of the singular values by the number of rows: large where the predictions are sure and diverse
/// (Cui et al. 2020, "Towards Discriminability and Diversity: Batch Nuclear-norm Maximization under Label
/// Insufficient Situations", <https://arxiv.org/abs/2003.12237>).
fn nuclear_norm(probabilities: &Tensor) -> f64 {
    let (_, singular_values, _) = probabilities.svd(true, false);
    singular_values.sum(Kind::Double).double_value(&[]) / probabilities.size()[0] as f64
}

/// The mean entropy of the softmax of an example's cosine similarities to the others: large where an example
/// has many neighbours that are as near (Saito et al. 2021, "Tune it the Right Way: Unsupervised Validation of
/// Domain Adaptation via Soft Neighborhood Density", <https://arxiv.org/abs/2108.10860>). 0 of a single row.
fn neighbourhood_density(probabilities: &Tensor) -> f64 {
    let n = probabilities.size()[0];
    if n < 2 {
        return 0.0;
    }
    let norms = probabilities.norm_scalaropt_dim(2.0, [-1i64].as_slice(), true);
    let directions = probabilities / norms;
    let mut sum = 0.0;
    for start in (0..n).step_by(ROWS as usize) {
        let rows = ROWS.min(n - start);
        let similarities = directions.narrow(0, start, rows).matmul(&directions.tr()) / TEMPERATURE;
        // An example is no neighbour of its own.
        let _ = similarities.diagonal(start, 0, 1).fill_(f64::NEG_INFINITY);
        let others = similarities.softmax(-1, Kind::Double);
        sum += entropies(&others).sum(Kind::Double).double_value(&[]);
    }
    sum / n as f64
}

#[cfg(test)]
mod tests {
    use super::super::testing::{batch, matrix};
    use super::*;

    #[track_caller]
    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found}, expected {expected}");
    }

    fn random(rows: i64) -> Tensor {
        (batch(rows, 4, 0.3) * 3.0).softmax(-1, Kind::Double)
    }

    #[test]
    fn sure_and_diverse_predictions_have_the_scores_computed_by_hand() {
        let sure = matrix(&[&[1.0, 0.0], &[0.0, 1.0]]);
        close(mean_entropy(&sure), 0.0);
        close(information(&sure), 2f64.ln());
        close(nuclear_norm(&sure), 1.0);
    }

    #[test]
    fn unsure_predictions_have_the_scores_computed_by_hand() {
        let unsure = matrix(&[&[0.5, 0.5], &[0.5, 0.5]]);
        close(mean_entropy(&unsure), 2f64.ln());
        close(information(&unsure), 0.0);
        // One singular value: the norm of the matrix, 1.
        close(nuclear_norm(&unsure), 0.5);
    }

    /// `H(.55, .45) − (H(.8, .2) + H(.3, .7)) / 2`.
    #[test]
    fn the_information_is_the_one_computed_by_hand() {
        let information = information(&matrix(&[&[0.8, 0.2], &[0.3, 0.7]]));
        assert!((information - 0.132_505).abs() < 1e-6, "{information}");
    }

    #[test]
    fn equal_predictions_are_all_neighbours() {
        close(neighbourhood_density(&matrix(&[&[0.2, 0.8], &[0.2, 0.8], &[0.2, 0.8]])), 2f64.ln());
        close(neighbourhood_density(&matrix(&[&[0.2, 0.8]])), 0.0);
    }

    /// Two equal rows and one at a right angle: each of the two has weights `e²⁰ : 1`, the third `1 : 1`.
    #[test]
    fn a_lonely_prediction_counts_as_computed_by_hand() {
        let density = neighbourhood_density(&matrix(&[&[1.0, 0.0], &[1.0, 0.0], &[0.0, 1.0]]));
        let share = 1.0 / (1.0 + (-20f64).exp());
        let near = -share * share.ln() - (1.0 - share) * (1.0 - share).ln();
        close(density, (2.0 * near + 2f64.ln()) / 3.0);
    }

    /// In PyTorch: `P = P / P.norm(dim=1, keepdim=True); S = P @ P.T / 0.05; S.fill_diagonal_(-inf);`
    /// `Q = S.softmax(1); -(torch.xlogy(Q, Q)).sum(1).mean()`, here by loops.
    #[test]
    fn the_density_of_more_rows_than_fit_at_once_is_the_same() {
        let rows = ROWS + 30;
        let probabilities = random(rows);
        let values: Vec<Vec<f64>> = Vec::try_from(&probabilities).unwrap();
        let cosine = |a: &[f64], b: &[f64]| {
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
        };
        let entropy = |row: usize| {
            let others = (0..values.len()).filter(|&other| other != row);
            let weights: Vec<f64> =
                others.map(|other| (cosine(&values[row], &values[other]) / 0.05).exp()).collect();
            let all: f64 = weights.iter().sum();
            -weights.iter().map(|weight| weight / all * (weight / all).ln()).sum::<f64>()
        };
        let expected = (0..values.len()).map(entropy).sum::<f64>() / values.len() as f64;
        close(neighbourhood_density(&probabilities), expected);
    }

    /// `1/√N ≤ ‖P‖_* / N`, and the square of the largest singular value is at most `‖P‖²_F ≤ N`.
    #[test]
    fn scores_stay_within_their_bounds() {
        for rows in [2, 7, 40] {
            let probabilities = random(rows);
            let (n, most) = (rows as f64, 4f64.ln());
            let within = |value: f64, low: f64, high: f64| {
                assert!(low - 1e-12 <= value && value <= high + 1e-12, "{low} {value} {high}");
            };
            within(mean_entropy(&probabilities), 0.0, most);
            within(information(&probabilities), 0.0, most);
            within(nuclear_norm(&probabilities), 0.5 / n.sqrt(), (4.0 / n).sqrt());
            within(neighbourhood_density(&probabilities), 0.0, (n - 1.0).ln());
        }
    }
}
