//! Sets of examples on the device, by what may be done with them.

use graftwork::experiment::spec::{Augment, Data};
use rand_chacha::ChaCha8Rng;
use tch::Tensor;

use super::batches::{Batch, Batches, EvaluationBatches, EvaluationInputs, InputBatches};
use super::labels;
use super::numbers::Numbers;
use crate::random;

/// Values of the examples that pass through a network at once.
const VALUES_AT_ONCE: i64 = 6 << 20;

/// Examples with labels that can be measured on, and not trained on.
#[derive(Debug)]
pub struct Set {
    pub(super) stored: Tensor, // [N, …], as `numbers` takes it
    pub(super) labels: Tensor, // as in `labels`
    pub(super) numbers: Numbers,
}

impl Set {
    pub(super) fn new(stored: Tensor, labels: Tensor, numbers: Numbers) -> Self {
        Self { stored, labels, numbers }
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.labels.size()[0] as usize
    }

    /// Whether there is no example.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether labels are masks: a class of each pixel.
    pub fn has_masks(&self) -> bool {
        labels::are_masks(&self.labels)
    }

    /// How many examples may pass through a network at once: so many that the activations of a large
    /// network find room.
    pub fn at_once(&self) -> usize {
        at_once(&self.stored)
    }

    /// The examples alone; the labels are dropped.
    pub fn into_unlabelled(self) -> UnlabelledSet {
        UnlabelledSet { stored: self.stored, numbers: self.numbers }
    }

    /// `n` examples, or all where there are fewer, drawn without repetition and unchanged, as one batch.
    pub fn sample(&self, n: usize, rng: &mut ChaCha8Rng) -> Batch {
        let mut order = random::permutation(self.len(), rng);
        order.truncate(n);
        let index = Tensor::from_slice(&order).to_device(self.stored.device());
        Batch {
            inputs: self.numbers.apply(&self.stored.index_select(0, &index)),
            labels: labels::of_batch(&self.labels.index_select(0, &index)),
        }
    }

    /// All examples in their order, unchanged, in batches of up to 1,000, fewer of large ones.
    pub fn batches(&self) -> EvaluationBatches<'_> {
        EvaluationBatches::new(self)
    }
}

fn at_once(stored: &Tensor) -> usize {
    let values: i64 = stored.size()[1..].iter().product();
    (VALUES_AT_ONCE / values.max(1)).max(1) as usize
}

/// Examples to measure on whose labels are not known: there are none in here.
#[derive(Debug)]
pub struct UnlabelledSet {
    pub(super) stored: Tensor, // [N, …], as `numbers` takes it
    pub(super) numbers: Numbers,
}

impl UnlabelledSet {
    /// Number of examples.
    pub fn len(&self) -> usize {
        self.stored.size()[0] as usize
    }

    /// Whether there is no example.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As [`Set::batches`], without labels.
    pub fn batches(&self) -> EvaluationInputs<'_> {
        EvaluationInputs::new(&self.stored, &self.numbers, at_once(&self.stored))
    }
}

/// Examples with labels to train on.
#[derive(Debug)]
pub struct TrainSet {
    set: Set,
    recipe: BatchRecipe,
}

/// How training batches are made of a set.
#[derive(Debug, Clone)]
pub(super) struct BatchRecipe {
    pub batch_size: usize,
    pub augment: Vec<Augment>,
    /// Start of the names of the random streams.
    pub streams: &'static str,
}

impl TrainSet {
    pub(super) fn new(set: Set, data: &Data) -> Self {
        let augment = data.augment().to_vec();
        let batch_size = data.batching().batch_size.max(1) as usize;
        let recipe = BatchRecipe { batch_size, augment, streams: "" };
        Self { set, recipe }
    }

    /// The examples of some rising indices alone.
    pub(super) fn only(self, indices: &[i64]) -> Self {
        let Set { stored, labels, numbers } = self.set;
        let index = Tensor::from_slice(indices).to_device(stored.device());
        let set = Set::new(stored.index_select(0, &index), labels.index_select(0, &index), numbers);
        Self { set, ..self }
    }

    /// The class of each example; not of masks.
    pub(super) fn classes(&self) -> Vec<i64> {
        Vec::try_from(&self.set.labels).expect("an example without a mask has a class")
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Never: a training set has an example.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// Number of batches in an epoch.
    pub fn steps(&self) -> usize {
        self.recipe.steps(self.len())
    }

    /// All examples in random order, each randomly changed as the experiment says.
    ///
    /// Order and changes depend on the seed and the epoch alone. The last batch may be smaller; it is
    /// left out when it would be a single example, which batch normalisation cannot take.
    pub fn batches(&self, seed: u64, epoch: u64) -> Batches<'_> {
        Batches::new(&self.set, &self.recipe, seed, epoch)
    }

    /// The same examples to measure on: unchanged, in their order.
    pub fn as_set(&self) -> &Set {
        &self.set
    }

    /// The examples alone; the labels are dropped.
    pub fn into_unlabelled(self) -> Unlabelled {
        let recipe = BatchRecipe { streams: "unlabelled/", ..self.recipe };
        Unlabelled { stored: self.set.stored, numbers: self.set.numbers, recipe }
    }
}

/// Examples to train on whose labels are not known: there are none in here.
#[derive(Debug)]
pub struct Unlabelled {
    pub(super) stored: Tensor, // [N, …], as `numbers` takes it
    pub(super) numbers: Numbers,
    recipe: BatchRecipe,
}

impl Unlabelled {
    /// Number of examples.
    pub fn len(&self) -> usize {
        self.stored.size()[0] as usize
    }

    /// Never: a training set has an example.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of batches in an epoch.
    pub fn steps(&self) -> usize {
        self.recipe.steps(self.len())
    }

    /// As [`TrainSet::batches`], without labels and with draws of its own.
    pub fn batches(&self, seed: u64, epoch: u64) -> InputBatches<'_> {
        InputBatches::new(&self.stored, &self.numbers, &self.recipe, seed, epoch)
    }

    /// The same examples unchanged, in their order; as [`Set::batches`], without labels.
    pub fn in_order(&self) -> EvaluationInputs<'_> {
        EvaluationInputs::new(&self.stored, &self.numbers, at_once(&self.stored))
    }
}

impl BatchRecipe {
    /// Batches of an epoch over `n` examples: whole ones, and a last one of more than one example.
    pub(super) fn steps(&self, n: usize) -> usize {
        match (n / self.batch_size, n % self.batch_size) {
            (0, _) => 1,
            (whole, 0 | 1) => whole,
            (whole, _) => whole + 1,
        }
    }
}
