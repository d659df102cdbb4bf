//! The entropy of predictions: how far a network is from deciding.
//!
//! As a method by itself it is minimised on the target: Grandvalet & Bengio 2005, "Semi-supervised
//! Learning by Entropy Minimization", NIPS 17, section 2. [`mcc`](super::mcc) and
//! [`cdan`](super::cdan) weigh rows by it.
//!
//! Nothing is added inside the logarithm, as other libraries do (10⁻⁵): entropies come from the
//! logits by a logarithmic softmax, which is finite for every probability.

use tch::{Kind, Tensor};

/// The mean entropy of a batch of target logits, in nats.
///
/// # Shapes
/// - logits: `[n, classes]`
/// - result: a scalar in 0..=ln classes
pub fn loss(logits: &Tensor) -> Tensor {
    of_rows(logits).mean(None::<Kind>)
}

/// The entropy of every row's softmax, in nats.
///
/// # Shapes
/// - logits: `[n, classes]`
/// - result: `[n]`, in 0..=ln classes
pub fn of_rows(logits: &Tensor) -> Tensor {
    let logarithms = logits.log_softmax(-1, None::<Kind>);
    -(logarithms.exp() * logarithms).sum_dim_intlist([-1i64].as_slice(), false, None::<Kind>)
}

/// How much each row counts, `1 + e^(−H)` rescaled to a mean of one: rows that are decided count up
/// to twice as much as others. The weights have no gradient.
///
/// # Shapes
/// - logits: `[n, classes]`
/// - result: `[n]`
pub fn certainty_weights(logits: &Tensor) -> Tensor {
    let weights = (-of_rows(&logits.detach())).exp() + 1.0;
    &weights / weights.mean(None::<Kind>)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, batch, check_gradient, matrix};
    use super::*;

    #[test]
    fn two_rows_have_the_entropies_and_weights_computed_by_hand() {
        // −(¼ ln ¼ + ¾ ln ¾) = .562335 and ln 2, so 1 + e^(−H) is 1.569877 and 1.5; their mean is
        // 1.534938.
        let logits = matrix(&[&[0.25, 0.75], &[0.5, 0.5]]).log();
        let entropies = of_rows(&logits);
        assert_close(&entropies.get(0), 0.562_335, 1e-6);
        assert_close(&entropies.get(1), 2f64.ln(), 1e-12);
        let weights = certainty_weights(&logits);
        assert_close(&weights.get(0), 1.569_877 / 1.534_938_5, 1e-6);
        assert_close(&weights.get(1), 1.5 / 1.534_938_5, 1e-6);
    }

    #[test]
    fn the_mean_entropy_is_the_one_computed_by_hand() {
        // H = .500402 and .610864.
        let logits = matrix(&[&[0.8, 0.2], &[0.3, 0.7]]).log();
        assert_close(&loss(&logits), 0.555_633, 1e-6);
    }

    #[test]
    fn the_gradient_is_the_published_one() {
        // ∂H/∂z_k = −p_k (ln p_k + H), over the number of rows.
        let logits = batch(6, 4, 0.4).set_requires_grad(true);
        loss(&logits).backward();
        let p = logits.detach().softmax(-1, None::<Kind>);
        let expected = -(&p * (p.log() + of_rows(&logits.detach()).unsqueeze(1))) / 6.0;
        assert!((logits.grad() - expected).abs().max().double_value(&[]) < 1e-12);
    }

    #[test]
    fn the_entropy_is_that_of_the_probabilities_whatever_is_added_to_the_logits() {
        let logits = batch(9, 4, 0.3);
        let p = logits.softmax(-1, None::<Kind>);
        let expected = -(&p * p.log()).sum_dim_intlist([1i64].as_slice(), false, None::<Kind>);
        for shift in [0.0, -30.0, 200.0] {
            let error = of_rows(&(&logits + shift)) - &expected;
            assert!(error.abs().max().double_value(&[]) < 1e-12, "{shift}");
        }
    }

    #[test]
    fn a_decided_row_has_an_entropy_of_zero_and_a_gradient() {
        let logits = matrix(&[&[1000.0, 0.0, -1000.0]]).to_kind(Kind::Float);
        let logits = logits.set_requires_grad(true);
        let entropy = of_rows(&logits).sum(None::<Kind>);
        assert_close(&entropy, 0.0, 0.0);
        entropy.backward();
        assert!(bool::try_from(logits.grad().isfinite().all()).unwrap());
    }

    #[test]
    fn weights_have_a_mean_of_one_and_no_gradient() {
        let weights = certainty_weights(&batch(7, 5, 0.8).set_requires_grad(true));
        assert!(!weights.requires_grad());
        assert_close(&weights.mean(None::<Kind>), 1.0, 1e-12);
    }

    #[test]
    fn gradients_agree_with_differences() {
        check_gradient(&batch(5, 4, 0.2), |logits| of_rows(logits).square().sum(None::<Kind>));
    }
}
