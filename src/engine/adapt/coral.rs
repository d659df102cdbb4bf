//! Deep CORAL: the covariances of both domains are made equal.
//!
//! Sun & Saenko 2016, "Deep CORAL: Correlation Alignment for Deep Domain Adaptation",
//! <https://arxiv.org/abs/1607.01719>, equations 1 to 3. This is the paper's form. Other
//! libraries leave out the ¼ and add the distance of the means.

use tch::{Kind, Tensor};

/// The CORAL loss `‖C_s − C_t‖² / (4 d²)` of two batches.
///
/// # Shapes
/// - source: `[n, d]`, n ≥ 2
/// - target: `[m, d]`, m ≥ 2
/// - result: a scalar, zero or more
pub fn loss(source: &Tensor, target: &Tensor) -> Tensor {
    let width = source.size()[1] as f64;
    let difference = covariance(source) - covariance(target);
    difference.square().sum(None::<Kind>) / (4.0 * width * width)
}

/// The sample covariance, divided by n − 1.
///
/// # Shapes
/// - batch: `[n, d]`, n ≥ 2
/// - result: `[d, d]`
pub fn covariance(batch: &Tensor) -> Tensor {
    let centred = batch - batch.mean_dim([0i64].as_slice(), true, None::<Kind>);
    centred.tr().matmul(&centred) / (batch.size()[0] - 1) as f64
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, batch, check_gradient, matrix};
    use super::*;

    #[test]
    fn two_crossed_pairs_have_the_loss_computed_by_hand() {
        // C_s = diag(2, 0), C_t = diag(0, 2): ‖difference‖² = 8, d = 2.
        let source = matrix(&[&[1.0, 0.0], &[-1.0, 0.0]]);
        let target = matrix(&[&[0.0, 1.0], &[0.0, -1.0]]);
        assert_close(&loss(&source, &target), 0.5, 1e-12);
    }

    #[test]
    fn the_covariance_is_the_sample_covariance() {
        let covariance = covariance(&matrix(&[&[1.0, 2.0], &[3.0, 2.0], &[5.0, 8.0]]));
        let expected = matrix(&[&[4.0, 6.0], &[6.0, 12.0]]);
        assert!((covariance - expected).abs().max().double_value(&[]) < 1e-12);
    }

    #[test]
    fn equal_batches_have_no_loss_and_a_shift_of_the_mean_adds_none() {
        let source = batch(7, 3, 0.2);
        assert_close(&loss(&source, &source), 0.0, 0.0);
        assert_close(&loss(&source, &(&source + 4.0)), 0.0, 1e-24);
    }

    #[test]
    fn gradients_agree_with_differences() {
        let (source, target) = (batch(6, 4, 0.2), batch(5, 4, 0.9));
        check_gradient(&source, |source| loss(source, &target));
        check_gradient(&target, |target| loss(&source, target));
    }
}
