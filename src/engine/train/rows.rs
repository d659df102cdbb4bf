//! What is told apart, in rows: examples, or the pixels of masks.

use tch::Tensor;

use crate::data::IGNORED;

/// Logits and labels of all that has a class, a row each: of examples as they are; of masks every pixel
/// whose label is not [`IGNORED`].
pub(super) struct Rows {
    /// `[M, classes]`
    pub logits: Tensor,
    /// `[M]`, i64
    pub labels: Tensor,
    /// Which pixels of the batch they are; none where all.
    chosen: Option<Tensor>,
}

impl Rows {
    /// # Shapes
    /// - logits: `[batch, classes]` or `[batch, classes, height, width]`
    /// - labels: `[batch]` or `[batch, height, width]`, i64
    pub(super) fn new(logits: &Tensor, labels: &Tensor) -> Self {
        if labels.dim() == 1 {
            let (logits, labels) = (logits.shallow_clone(), labels.shallow_clone());
            return Self { logits, labels, chosen: None };
        }
        let labels = labels.reshape([-1]);
        let chosen = labels.ne(i64::from(IGNORED)).nonzero().squeeze_dim(1);
        Self {
            logits: pixels(logits).index_select(0, &chosen),
            labels: labels.index_select(0, &chosen),
            chosen: Some(chosen),
        }
    }

    /// The same rows of another network's logits.
    pub(super) fn of(&self, logits: &Tensor) -> Tensor {
        match &self.chosen {
            None => logits.shallow_clone(),
            Some(chosen) => pixels(logits).index_select(0, chosen),
        }
    }
}

/// `[batch · height · width, classes]`
fn pixels(logits: &Tensor) -> Tensor {
    logits.permute([0, 2, 3, 1]).reshape([-1, logits.size()[1]])
}
