//! Joint adaptation: features and predictions are compared together, not one after the other.
//!
//! Long et al. 2017, "Deep Transfer Learning with Joint Adaptation Networks",
//! <https://arxiv.org/abs/1605.06636>, section 4: the joint maximum mean discrepancy (JMMD), whose
//! kernel is the product of the layers' kernels. That of the features is the mean kernel of [`mmd`]
//! with the bandwidth of the batch; that of the class probabilities is one Gaussian with a fixed
//! σ of 0.92, as in the authors' library.

use graftwork::experiment::spec::Mmd;
use tch::{Kind, Tensor};

use super::{Activations, mmd};

/// σ of the kernel of the class probabilities.
const PROBABILITY_SIGMA: f64 = 0.92;

/// The joint discrepancy of features and class probabilities.
///
/// The batches have two rows or more each; only the biased estimate is never negative.
pub fn loss(source: &Activations, target: &Activations, jan: &Mmd) -> Tensor {
    let features = Tensor::cat(&[&source.features, &target.features], 0);
    let logits = Tensor::cat(&[&source.logits, &target.logits], 0);
    let distances = mmd::squared_distances(&features);
    let variance = mmd::bandwidth(&distances, jan.bandwidth);
    let kernel = mmd::kernel(&distances, &variance, &jan.multipliers)
        * probability_kernel(&logits.softmax(-1, None::<Kind>));
    mmd::discrepancy(&kernel, source.features.size()[0], jan.estimator)
}

/// The Gaussian kernel of all pairs of rows.
///
/// # Shapes
/// - probabilities: `[n, classes]`
/// - result: `[n, n]`, in 0..=1
pub fn probability_kernel(probabilities: &Tensor) -> Tensor {
    let distances = mmd::squared_distances(probabilities);
    (distances / (-2.0 * PROBABILITY_SIGMA * PROBABILITY_SIGMA)).exp()
}

#[cfg(test)]
mod tests {
    use graftwork::experiment::spec::Estimator;

    use super::super::testing::{assert_close, batch, check_gradient, matrix};
    use super::*;

    const ESTIMATORS: [Estimator; 3] = [Estimator::Biased, Estimator::Unbiased, Estimator::Linear];

    fn rows(rows: i64, shift: f64) -> Activations {
        Activations { features: batch(rows, 5, shift), logits: batch(rows, 3, shift + 0.7) }
    }

    #[test]
    fn four_points_have_the_discrepancies_computed_by_hand() {
        // Features 0, 2 | 1, 3 with classes a, b | a, b. Their mean squared distance is 2.5, and a
        // multiplier of 1/2.5 makes σ² one. With e(d) = exp(−d²/2) and, for different classes,
        // c = exp(−2/(2·.92²)) = .306826, the kernel is c·e(2) within both domains, and e(1), c·e(3),
        // c·e(1), e(1) across: V = (1 + c·e(2)) − S/2, U = 2c·e(2) − S/2 for the sum S of these
        // four, and L = 2c·e(2) − c·e(3) − c·e(1).
        let ab = || matrix(&[&[1000.0, 0.0], &[0.0, 1000.0]]);
        let source = Activations { features: matrix(&[&[0.0], &[2.0]]), logits: ab() };
        let target = Activations { features: matrix(&[&[1.0], &[3.0]]), logits: ab() };
        let expected = [0.340_240, -0.618_236, -0.106_459];
        for (estimator, expected) in ESTIMATORS.into_iter().zip(expected) {
            let jan = Mmd { estimator, multipliers: vec![0.4], ..Mmd::default() };
            assert_close(&loss(&source, &target, &jan), expected, 1e-6);
        }
    }

    #[test]
    fn with_equal_predictions_it_is_the_discrepancy_of_the_features() {
        for (estimator, shift) in ESTIMATORS.into_iter().zip([0.1, 0.6, 1.7]) {
            let (mut source, mut target) = (rows(6, shift), rows(4, shift + 0.4));
            source.logits = matrix(&[&[0.3, -1.0, 2.0]]).repeat([6, 1]);
            target.logits = matrix(&[&[1.3, 0.0, 3.0]]).repeat([4, 1]);
            let mmd = Mmd { estimator, ..Mmd::default() };
            let expected = mmd::loss(&source.features, &target.features, &mmd);
            let jan = Mmd { estimator, ..Mmd::default() };
            assert_close(&loss(&source, &target, &jan), expected.double_value(&[]), 1e-12);
        }
    }

    #[test]
    fn the_biased_discrepancy_is_zero_between_equal_batches_and_never_negative() {
        let jan = Mmd { estimator: Estimator::Biased, ..Mmd::default() };
        assert_close(&loss(&rows(7, 0.3), &rows(7, 0.3), &jan), 0.0, 1e-15);
        for shift in [0.1, 0.5, 1.1, 2.9] {
            assert!(loss(&rows(7, 0.3), &rows(5, shift), &jan).double_value(&[]) > 1e-4);
        }
    }

    #[test]
    fn predictions_alone_make_a_discrepancy_where_the_features_are_equal() {
        let (source, mut target) = (rows(6, 0.3), rows(6, 0.3));
        target.logits = batch(6, 3, 1.9);
        let jan = Mmd { estimator: Estimator::Biased, ..Mmd::default() };
        assert!(loss(&source, &target, &jan).double_value(&[]) > 1e-4);
    }

    #[test]
    fn gradients_agree_with_differences_at_a_constant_bandwidth() {
        let (features, logits) = (batch(10, 5, 0.2), batch(10, 3, 0.9));
        for estimator in ESTIMATORS {
            let of = |features: &Tensor, logits: &Tensor| {
                let distances = mmd::squared_distances(features);
                let kernel = mmd::kernel(&distances, &Tensor::from(2.0), &[0.5, 1.0])
                    * probability_kernel(&logits.softmax(-1, None::<Kind>));
                mmd::discrepancy(&kernel, 6, estimator)
            };
            check_gradient(&features, |features| of(features, &logits));
            check_gradient(&logits, |logits| of(&features, logits));
        }
    }

    #[test]
    fn both_layers_of_both_domains_have_a_gradient() {
        let with_gradient = |of: Activations| Activations {
            features: of.features.set_requires_grad(true),
            logits: of.logits.set_requires_grad(true),
        };
        let (source, target) = (with_gradient(rows(6, 0.2)), with_gradient(rows(4, 0.9)));
        loss(&source, &target, &Mmd::default()).backward();
        for tensor in [source.features, source.logits, target.features, target.logits] {
            assert!(tensor.grad().abs().max().double_value(&[]) > 0.0);
        }
    }
}
