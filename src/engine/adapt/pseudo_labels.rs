//! Training on perturbed target examples with labels that the network gives itself.
//!
//! Sohn et al. 2020, "`FixMatch`: Simplifying Semi-Supervised Learning with Consistency and Confidence",
//! <https://arxiv.org/abs/2001.07685>, section 2.2, with the target for the unlabelled data. An example
//! counts where the network is sure of it unperturbed; the sum is divided by all examples, so that few sure
//! ones weigh little.

use graftwork::experiment::spec;
use tch::{Kind, Reduction, Tensor, no_grad};

use super::learner::{Learner, Streams, on_source};
use super::perturb::perturb;
use super::{TARGET, TRANSFER_LOSS};
use crate::model::{Mode, Model};
use crate::random;
use crate::train::{Step, Terms};

/// The method at work.
#[derive(Debug)]
pub struct PseudoLabels {
    settings: spec::PseudoLabels,
    task: spec::Loss,
    seed: u64,
}

impl PseudoLabels {
    /// - seed: that of the perturbations
    pub fn new(settings: &spec::PseudoLabels, task: spec::Loss, seed: u64) -> Self {
        Self { settings: settings.clone(), task, seed }
    }
}

impl Learner for PseudoLabels {
    fn loss(&mut self, model: &Model, streams: &mut Streams<'_>, step: &Step) -> Terms {
        let terms = on_source(model, streams, &self.task);
        let inputs = streams.target().inputs;
        let logits = no_grad(|| model.forward(&inputs, Mode::Train, Some(TARGET)));
        let mut rng = random::stream(self.seed, "perturbation", step.index);
        let perturbed = perturb(&inputs, &self.settings.perturb, &mut rng);
        let strong = model.forward(&perturbed, Mode::Train, Some(TARGET));
        let (labels, sure) = labels(&logits, self.settings.threshold);
        let on_target = loss(&strong, &labels, &sure);
        let mut named = terms.named;
        named.push((TRANSFER_LOSS, on_target.detach()));
        named.push(("sure", sure.mean(None::<Kind>)));
        Terms { total: terms.total + on_target * self.settings.weight, named }
    }
}

/// The likeliest class of each row, and one where its probability is at least `threshold`, else zero.
///
/// # Shapes
/// - logits: `[n, classes]`
/// - result: `[n]` each, 64-bit integers and numbers
pub fn labels(logits: &Tensor, threshold: f64) -> (Tensor, Tensor) {
    let (largest, labels) = logits.softmax(-1, logits.kind()).max_dim(-1, false);
    (labels, largest.ge(threshold).to_kind(logits.kind()))
}

/// The cross-entropy of the rows that count, divided by the number of all.
///
/// # Shapes
/// - logits: `[n, classes]`
/// - labels, counts: `[n]`
/// - result: a scalar
pub fn loss(logits: &Tensor, labels: &Tensor, counts: &Tensor) -> Tensor {
    let of_rows = logits.cross_entropy_loss::<&Tensor>(labels, None, Reduction::None, -100, 0.0);
    (of_rows * counts).mean(None::<Kind>)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, batch, check_gradient, matrix};
    use super::*;

    #[test]
    fn a_row_counts_from_the_threshold_on() {
        let logits = matrix(&[&[0.96, 0.04], &[0.9, 0.1], &[0.02, 0.98]]).log();
        let (labels, sure) = labels(&logits, 0.95);
        assert_eq!(Vec::<i64>::try_from(labels).unwrap(), [0, 0, 1]);
        assert_eq!(Vec::<f64>::try_from(sure).unwrap(), [1.0, 0.0, 1.0]);
    }

    #[test]
    fn the_loss_is_divided_by_all_rows() {
        // −(ln .5 + ln .25) / 3.
        let logits = matrix(&[&[0.5, 0.5], &[0.1, 0.9], &[0.75, 0.25]]).log();
        let labels = Tensor::from_slice(&[0i64, 0, 1]);
        let counts = Tensor::from_slice(&[1.0, 0.0, 1.0]);
        assert_close(&loss(&logits, &labels, &counts), 8f64.ln() / 3.0, 1e-12);
    }

    #[test]
    fn rows_that_do_not_count_have_no_gradient() {
        let counts = Tensor::from_slice(&[1.0, 0.0, 1.0, 0.0]);
        let labels = Tensor::from_slice(&[2i64, 1, 0, 0]);
        let logits = batch(4, 3, 0.6).set_requires_grad(true);
        loss(&logits, &labels, &counts).backward();
        let sums = logits.grad().abs().sum_dim_intlist([1i64].as_slice(), false, Kind::Double);
        let sums = Vec::<f64>::try_from(sums).unwrap();
        assert!(sums[0] > 0.0 && sums[2] > 0.0, "{sums:?}");
        assert!(sums[1].abs() + sums[3].abs() <= 0.0, "{sums:?}");
        check_gradient(&batch(4, 3, 0.6), |logits| loss(logits, &labels, &counts));
    }
}
