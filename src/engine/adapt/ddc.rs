//! Deep domain confusion: the means of the features are made equal.
//!
//! Tzeng et al. 2014, "Deep Domain Confusion: Maximizing for Domain Invariance",
//! <https://arxiv.org/abs/1412.3474>, section 3: the maximum mean discrepancy of a linear kernel. The
//! paper's adaptation layer is a layer of the network here: that which makes the input of the last
//! one. The distance itself is weighed; the paper writes its objective with the square.

use tch::{Kind, Tensor};

/// The distance `‖mean f(s) − mean f(t)‖` of two batches.
///
/// # Shapes
/// - source: `[n, d]`
/// - target: `[m, d]`
/// - result: a scalar, zero or more
pub fn loss(source: &Tensor, target: &Tensor) -> Tensor {
    let mean = |batch: &Tensor| batch.mean_dim([0i64].as_slice(), false, None::<Kind>);
    // The norm has a corner at zero, where LibTorch takes zero for its gradient; the square root of
    // a sum of squares would give NaN.
    (mean(source) - mean(target)).norm()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, batch, check_gradient, matrix};
    use super::*;

    #[test]
    fn two_batches_have_the_distance_computed_by_hand() {
        // The means are (1, 2) and (4, 6): √(3² + 4²).
        let source = matrix(&[&[0.0, 0.0], &[2.0, 4.0]]);
        let target = matrix(&[&[4.0, 2.0], &[3.0, 7.0], &[5.0, 9.0]]);
        assert_close(&loss(&source, &target), 5.0, 1e-12);
    }

    #[test]
    fn a_shift_of_all_rows_is_the_distance() {
        for shift in [0.2, 0.9, 2.4] {
            let source = batch(7, 4, shift);
            let moved = &source + Tensor::from_slice(&[1.0, -2.0, 0.0, 2.0]);
            assert_close(&loss(&source, &moved), 3.0, 1e-12);
            assert_close(&loss(&moved, &source), 3.0, 1e-12);
        }
    }

    #[test]
    fn equal_means_have_a_loss_and_a_gradient_of_zero() {
        let source = batch(6, 3, 0.4).to_kind(Kind::Float).set_requires_grad(true);
        let loss = loss(&source, &source.detach());
        loss.backward();
        assert_close(&loss, 0.0, 0.0);
        assert_close(&source.grad().abs().max(), 0.0, 0.0);
    }

    #[test]
    fn gradients_agree_with_differences() {
        let (source, target) = (batch(6, 4, 0.2), batch(5, 4, 0.9));
        check_gradient(&source, |source| loss(source, &target));
        check_gradient(&target, |target| loss(&source, target));
    }
}
