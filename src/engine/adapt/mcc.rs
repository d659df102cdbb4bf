//! Minimum class confusion: no class of the target is predicted together with another.
//!
//! Jin et al. 2020, "Minimum Class Confusion for Versatile Domain Adaptation",
//! <https://arxiv.org/abs/1912.03699>, section 3. Only the target's logits are looked at. The paper
//! weighs each row by its certainty and does not say whether the weight is differentiated; the
//! weights are constants here, as in the authors' library.

use tch::{Kind, Tensor};

use super::entropy;

/// Classes that no row is given to have no confusion: their mass is not taken smaller than this.
/// Without it a class that all rows rule out is 0/0.
const SMALLEST_MASS: f64 = 1e-12;

/// The class confusion of a batch of target logits at a temperature.
///
/// # Shapes
/// - logits: `[n, classes]`
/// - result: a scalar in 0..1, up to rounding; 1 − 1/classes where nothing is decided
pub fn loss(logits: &Tensor, temperature: f64) -> Tensor {
    let scaled = logits / temperature;
    let weights = entropy::certainty_weights(&scaled);
    class_confusion(&scaled.softmax(-1, None::<Kind>), &weights)
}

/// Mean over the classes of the share that is predicted as another class.
///
/// The confusion of two classes is the weighted sum of the products of their probabilities; each
/// row of that matrix is divided by its sum.
///
/// # Shapes
/// - probabilities: `[n, classes]`
/// - weights: `[n]`
/// - result: a scalar
pub fn class_confusion(probabilities: &Tensor, weights: &Tensor) -> Tensor {
    let confusion = (probabilities * weights.unsqueeze(1)).tr().matmul(probabilities);
    let mass = confusion.sum_dim_intlist([1i64].as_slice(), true, None::<Kind>);
    let shares = confusion / mass.clamp_min(SMALLEST_MASS); // [classes, classes]
    (shares.sum(None::<Kind>) - shares.trace()) / probabilities.size()[1] as f64
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, batch, check_gradient, matrix};
    use super::*;

    #[test]
    fn two_rows_have_the_confusion_computed_by_hand() {
        // H = .500402, .610864; 1 + e^(−H) = 1.606287, 1.542882; w = 1.020134, .979866.
        // C₁₁ = .64w₁ + .09w₂ = .741074, C₁₂ = .16w₁ + .21w₂ = .368993,
        // C₂₂ = .04w₁ + .49w₂ = .520940; L = (C₁₂/(C₁₁ + C₁₂) + C₁₂/(C₁₂ + C₂₂)) / 2.
        let logits = matrix(&[&[0.8, 0.2], &[0.3, 0.7]]).log();
        assert_close(&loss(&logits, 1.0), 0.373_518, 1e-6);
    }

    #[test]
    fn a_temperature_divides_the_logits() {
        let logits = matrix(&[&[0.8, 0.2], &[0.3, 0.7]]).log() * 2.5;
        assert_close(&loss(&logits, 2.5), 0.373_518, 1e-6);
    }

    #[test]
    fn decided_rows_have_no_confusion_also_where_a_class_is_never_predicted() {
        let logits = matrix(&[&[1.0, 0.0, 0.0], &[0.0, 1.0, 0.0], &[1.0, 0.0, 0.0]]) * 1000.0;
        let logits = logits.to_kind(Kind::Float).set_requires_grad(true);
        let loss = loss(&logits, 2.5);
        assert_close(&loss, 0.0, 0.0);
        loss.backward();
        assert!(bool::try_from(logits.grad().isfinite().all()).unwrap());
    }

    #[test]
    fn undecided_rows_confuse_all_classes_alike() {
        for classes in [2, 5, 10] {
            let logits = Tensor::ones([6, classes], (Kind::Double, tch::Device::Cpu));
            assert_close(&loss(&logits, 2.5), 1.0 - 1.0 / classes as f64, 1e-12);
        }
    }

    #[test]
    fn the_confusion_of_random_rows_is_the_sum_over_pairs_of_classes() {
        let (n, classes) = (7, 4);
        for shift in [0.1, 0.6, 1.7] {
            let logits = batch(n, classes, shift);
            let q = (&logits / 2.5).softmax(-1, None::<Kind>);
            let q = |row: i64, class: i64| q.double_value(&[row, class]);
            let certainty = |row: i64| {
                let entropy: f64 =
                    (0..classes).map(|class| -q(row, class) * q(row, class).ln()).sum();
                1.0 + (-entropy).exp()
            };
            let pair = |j: i64, k: i64| -> f64 {
                (0..n).map(|row| certainty(row) * q(row, j) * q(row, k)).sum()
            };
            let all = |j: i64| -> f64 { (0..classes).map(|k| pair(j, k)).sum() };
            let kept: f64 = (0..classes).map(|j| pair(j, j) / all(j)).sum();
            assert_close(&loss(&logits, 2.5), 1.0 - kept / classes as f64, 1e-12);
        }
    }

    #[test]
    fn gradients_agree_with_differences_at_constant_weights() {
        let logits = batch(6, 4, 0.4);
        let weights = entropy::certainty_weights(&(&logits / 2.5));
        let at_weights =
            |logits: &Tensor| class_confusion(&(logits / 2.5).softmax(-1, None::<Kind>), &weights);
        check_gradient(&logits, at_weights);
        let gradient = |f: &dyn Fn(&Tensor) -> Tensor| {
            let logits = logits.copy().set_requires_grad(true);
            f(&logits).backward();
            logits.grad()
        };
        let error = gradient(&|logits| loss(logits, 2.5)) - gradient(&at_weights);
        assert!(error.abs().max().double_value(&[]) < 1e-14, "the weights have no gradient");
    }
}
