//! Loss and accuracy of a network on a split.

use tch::{Device, Kind, Reduction, Tensor, no_grad};

use super::rows::Rows;
use crate::data::{Batch, Set};
use crate::model::{Mode, Model};

/// What a network scores on a split.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Mean cross-entropy over the examples, of masks over the pixels that have a class, nats.
    pub loss: f64,
    /// Fraction of the examples, of masks of the pixels, whose largest logit is their label's.
    pub accuracy: f64,
    /// Of masks: the mean over the classes, that a pixel has or was taken for, of the intersection over union.
    pub mean_iou: Option<f64>,
    /// Number of examples.
    pub n: u64,
}

const ACCURACY: &str = "accuracy";
const MEAN_IOU: &str = "mean-iou";
const LOSS: &str = "loss";

impl Measured {
    /// The values under their metric names: `<dataset>:<split>/accuracy`, `<dataset>:<split>/loss`, and of
    /// masks `<dataset>:<split>/mean-iou`.
    pub fn named(&self, dataset: &str, split: &str) -> Vec<(String, f64)> {
        let values =
            [(ACCURACY, Some(self.accuracy)), (MEAN_IOU, self.mean_iou), (LOSS, Some(self.loss))];
        let values = values.into_iter().filter_map(|(what, value)| Some((what, value?)));
        values.map(|(what, value)| (format!("{dataset}:{split}/{what}"), value)).collect()
    }

    /// Names of what an epoch is chosen by on a validation split: what is to be high, and the loss.
    pub fn selection(val: &Set, dataset: &str) -> (String, String) {
        let high = if val.has_masks() { MEAN_IOU } else { ACCURACY };
        (format!("{dataset}:val/{high}"), format!("{dataset}:val/{LOSS}"))
    }
}

/// Measures a network on a set; NaN where that is empty.
///
/// `domain` picks the copies of domain-specific layers. Sums stay on the device until the end.
pub fn evaluate(model: &Model, set: &Set, domain: Option<usize>) -> Measured {
    no_grad(|| {
        let mut sums = Sums::new(model.device());
        for Batch { inputs, labels } in set.batches() {
            let logits = model.forward(&inputs, Mode::Eval, domain).to_kind(Kind::Float);
            sums.add(&Rows::new(&logits, &labels), set.has_masks());
        }
        let confusion = sums.confusion.map(|confusion| confusion.to_device(Device::Cpu));
        Measured {
            loss: sums.loss.double_value(&[]) / sums.rows as f64,
            accuracy: sums.correct.int64_value(&[]) as f64 / sums.rows as f64,
            mean_iou: confusion.map(|confusion| mean_iou(&confusion)),
            n: set.len() as u64,
        }
    })
}

/// What the batches of a split add up to, on the device.
struct Sums {
    rows: i64,
    loss: Tensor,
    correct: Tensor,
    /// Of masks: how many pixels of a class (row) were taken for a class (column); `[classes, classes]`.
    confusion: Option<Tensor>,
}

impl Sums {
    fn new(device: Device) -> Self {
        Self {
            rows: 0,
            loss: Tensor::zeros([], (Kind::Double, device)),
            correct: Tensor::zeros([], (Kind::Int64, device)),
            confusion: None,
        }
    }

    fn add(&mut self, Rows { logits, labels, .. }: &Rows, are_masks: bool) {
        self.rows += labels.size()[0];
        let log_probs = logits.log_softmax(-1, Kind::Float);
        // As in training, the sum apart from the loss.
        let losses = log_probs.g_nll_loss::<&Tensor>(labels, None, Reduction::None, -100);
        self.loss += losses.sum(Kind::Double);
        let answers = logits.argmax(-1, false);
        self.correct += answers.eq_tensor(labels).sum(Kind::Int64);
        if are_masks {
            let classes = logits.size()[1];
            let pairs = labels * classes + answers;
            let counts = pairs.bincount::<&Tensor>(None, classes * classes);
            let counts = counts.view([classes, classes]);
            self.confusion = Some(match self.confusion.take() {
                Some(confusion) => confusion + counts,
                None => counts,
            });
        }
    }
}

/// Mean intersection over union: over the classes that a pixel has or was taken for, the mean of
/// `n_cc / (Σ_j n_cj + Σ_j n_jc − n_cc)`, where `n_ij` pixels of class `i` were taken for class `j`
/// (Long, Shelhamer and Darrell 2015, <https://arxiv.org/abs/1411.4038>, section 5).
///
/// - confusion: `[classes, classes]`, i64; NaN where it has no pixel
fn mean_iou(confusion: &Tensor) -> f64 {
    let confusion = confusion.to_kind(Kind::Double);
    let sum = |axis: i64| confusion.sum_dim_intlist(axis, false, Kind::Double);
    let both = confusion.diag(0);
    let either = sum(0) + sum(1) - &both;
    let is_there = either.gt(0.0);
    (both / either).masked_select(&is_there).mean(Kind::Double).double_value(&[])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of class 0 three pixels are right and one was taken for 1; of class 1 two are right and two were
    /// taken for 0; class 2 is neither there nor named: (3/6 + 2/5) / 2.
    #[test]
    fn mean_iou_is_that_of_the_classes_there_are() {
        let confusion = Tensor::from_slice(&[3_i64, 1, 0, 2, 2, 0, 0, 0, 0]).view([3, 3]);
        assert!((mean_iou(&confusion) - 0.45).abs() < 1e-12);
        let named = Tensor::from_slice(&[3_i64, 0, 1, 2, 2, 0, 0, 0, 0]).view([3, 3]);
        // 3/6, 2/4 and 0/1.
        assert!((mean_iou(&named) - 1.0 / 3.0).abs() < 1e-12);
    }
}
