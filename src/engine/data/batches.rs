//! Batches: an index-select, random changes, numbers.

use tch::Tensor;

use super::augment::Changes;
use super::labels;
use super::numbers::Numbers;
use super::set::{BatchRecipe, Set};
use crate::random;

/// Examples and their labels.
#[derive(Debug)]
pub struct Batch {
    /// What a network gets, `[B, …]`: `f32`, normalised; numbers of words `i64`.
    pub inputs: Tensor,
    /// `[B]`, `i64`; of masks `[B, H, W]`, where a pixel without a class is [`labels::IGNORED`].
    pub labels: Tensor,
}

/// Examples without labels.
#[derive(Debug)]
pub struct Inputs {
    /// As [`Batch::inputs`].
    pub inputs: Tensor,
    /// Which they are in their set, `[B]`, `i64`.
    pub index: Tensor,
}

/// Training batches of one epoch; see [`super::TrainSet::batches`].
#[derive(Debug)]
pub struct Batches<'a> {
    inputs: InputBatches<'a>,
    labels: &'a Tensor,
}

impl<'a> Batches<'a> {
    pub(super) fn new(set: &'a Set, recipe: &BatchRecipe, seed: u64, epoch: u64) -> Self {
        let inputs = InputBatches::new(&set.stored, &set.numbers, recipe, seed, epoch);
        Self { inputs, labels: &set.labels }
    }
}

impl Iterator for Batches<'_> {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let Drawn { inputs, index, start } = self.inputs.advance()?;
        let mut labels = self.labels.index_select(0, &index);
        if labels::are_masks(&labels) {
            labels = self.inputs.changes.apply_to_masks(&labels, start);
        }
        Some(Batch { inputs, labels: labels::of_batch(&labels) })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inputs.size_hint()
    }
}

impl ExactSizeIterator for Batches<'_> {}

/// Training batches of one epoch without labels; see [`super::Unlabelled::batches`].
#[derive(Debug)]
pub struct InputBatches<'a> {
    stored: &'a Tensor,
    numbers: &'a Numbers,
    order: Tensor, // [N], i64
    changes: Changes,
    batch_size: usize,
    step: usize,
    steps: usize,
}

/// The next examples of an epoch.
struct Drawn {
    inputs: Tensor,
    /// Which they are in their set.
    index: Tensor,
    /// Number of the first in the epoch.
    start: i64,
}

impl<'a> InputBatches<'a> {
    /// All draws of the epoch are made here, and brought to the device once. They are made in the
    /// order of the epoch, whatever the batch size.
    pub(super) fn new(
        stored: &'a Tensor,
        numbers: &'a Numbers,
        recipe: &BatchRecipe,
        seed: u64,
        epoch: u64,
    ) -> Self {
        let n = stored.size()[0] as usize;
        let mut rng = random::stream(seed, &format!("{}shuffle", recipe.streams), epoch);
        let order =
            Tensor::from_slice(&random::permutation(n, &mut rng)).to_device(stored.device());
        Self {
            stored,
            numbers,
            order,
            changes: Changes::draw(recipe, n, &stored.size()[1..], seed, epoch, stored.device()),
            batch_size: recipe.batch_size,
            step: 0,
            steps: recipe.steps(n),
        }
    }

    fn advance(&mut self) -> Option<Drawn> {
        if self.step == self.steps {
            return None;
        }
        let n = self.order.size()[0] as usize;
        let start = self.step * self.batch_size;
        let length = self.batch_size.min(n - start);
        self.step += 1;
        let index = self.order.narrow(0, start as i64, length as i64);
        let stored = self.stored.index_select(0, &index);
        let stored = self.changes.apply(stored, start as i64);
        Some(Drawn { inputs: self.numbers.apply(&stored), index, start: start as i64 })
    }
}

impl Iterator for InputBatches<'_> {
    type Item = Inputs;

    fn next(&mut self) -> Option<Inputs> {
        let Drawn { inputs, index, .. } = self.advance()?;
        Some(Inputs { inputs, index })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.steps - self.step;
        (left, Some(left))
    }
}

impl ExactSizeIterator for InputBatches<'_> {}

/// Batches to measure on; see [`Set::batches`].
#[derive(Debug)]
pub struct EvaluationBatches<'a> {
    inputs: EvaluationInputs<'a>,
    labels: &'a Tensor,
}

impl<'a> EvaluationBatches<'a> {
    pub(super) fn new(set: &'a Set) -> Self {
        let inputs = EvaluationInputs::new(&set.stored, &set.numbers, set.at_once());
        Self { inputs, labels: &set.labels }
    }
}

impl Iterator for EvaluationBatches<'_> {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let start = self.inputs.start;
        let inputs = self.inputs.next()?;
        let labels = labels::of_batch(&self.labels.narrow(0, start, inputs.size()[0]));
        Some(Batch { inputs, labels })
    }
}

/// Batches without labels to measure on; see [`super::UnlabelledSet::batches`].
#[derive(Debug)]
pub struct EvaluationInputs<'a> {
    stored: &'a Tensor,
    numbers: &'a Numbers,
    start: i64,
    batch_size: i64,
}

/// Large enough to keep a device busy.
const EVALUATION_BATCH: usize = 1000;

impl<'a> EvaluationInputs<'a> {
    /// - `at_once`: how many may pass through a network at once
    pub(super) fn new(stored: &'a Tensor, numbers: &'a Numbers, at_once: usize) -> Self {
        Self { stored, numbers, start: 0, batch_size: EVALUATION_BATCH.min(at_once) as i64 }
    }
}

impl Iterator for EvaluationInputs<'_> {
    type Item = Tensor;

    fn next(&mut self) -> Option<Tensor> {
        let length = self.batch_size.min(self.stored.size()[0] - self.start);
        if length <= 0 {
            return None;
        }
        let inputs = self.numbers.apply(&self.stored.narrow(0, self.start, length));
        self.start += length;
        Some(inputs)
    }
}
