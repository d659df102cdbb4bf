//! Loss and accuracy of a network on a split.

use tch::{Kind, Reduction, Tensor, no_grad};

use crate::data::{Batch, Set};
use crate::model::{Mode, Model};

/// What a network scores on a split.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Mean cross-entropy over the examples, nats.
    pub loss: f64,
    /// Fraction of the examples whose largest logit is their label's.
    pub accuracy: f64,
    /// Number of examples.
    pub n: u64,
}

impl Measured {
    /// The values under their metric names: `<dataset>:<split>/accuracy`, `<dataset>:<split>/loss`.
    pub fn named(&self, dataset: &str, split: &str) -> Vec<(String, f64)> {
        vec![
            (format!("{dataset}:{split}/accuracy"), self.accuracy),
            (format!("{dataset}:{split}/loss"), self.loss),
        ]
    }
}

/// Measures a network on a set; NaN where that is empty.
///
/// `domain` picks the copies of domain-specific layers. Sums stay on the device until the end.
pub fn evaluate(model: &Model, set: &Set, domain: Option<usize>) -> Measured {
    no_grad(|| {
        let mut n = 0;
        let mut loss = Tensor::zeros([], (Kind::Double, model.device()));
        let mut correct = Tensor::zeros([], (Kind::Int64, model.device()));
        for Batch { inputs, labels } in set.batches() {
            n += labels.size()[0];
            let logits = model.forward(&inputs, Mode::Eval, domain).to_kind(Kind::Float);
            let log_probs = logits.log_softmax(-1, Kind::Float);
            loss += log_probs.g_nll_loss::<&Tensor>(&labels, None, Reduction::Sum, -100);
            correct += logits.argmax(-1, false).eq_tensor(&labels).sum(Kind::Int64);
        }
        Measured {
            loss: loss.double_value(&[]) / n as f64,
            accuracy: correct.int64_value(&[]) as f64 / n as f64,
            n: n as u64,
        }
    })
}
