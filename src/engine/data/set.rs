//! Sets of images on the device, by what may be done with them.

use graftwork::experiment::spec::{Augment, Dataset};
use rand_chacha::ChaCha8Rng;
use tch::Tensor;

use super::batches::{Batch, Batches, EvaluationBatches, ImageBatches};
use super::prepare::Numbers;
use crate::random;

/// Images with labels that can be measured on, and not trained on.
#[derive(Debug)]
pub struct Set {
    pub(super) pixels: Tensor, // [N, C, H, W], bytes
    pub(super) labels: Tensor, // [N], i64
    pub(super) numbers: Numbers,
}

impl Set {
    pub(super) fn new(pixels: Tensor, labels: Tensor, numbers: Numbers) -> Self {
        Self { pixels, labels, numbers }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.size()[0] as usize
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `n` images, or all where there are fewer, drawn without repetition and unchanged, as one batch.
    pub fn sample(&self, n: usize, rng: &mut ChaCha8Rng) -> Batch {
        let mut order = random::permutation(self.len(), rng);
        order.truncate(n);
        let index = Tensor::from_slice(&order).to_device(self.pixels.device());
        Batch {
            images: self.numbers.apply(&self.pixels.index_select(0, &index)),
            labels: self.labels.index_select(0, &index),
        }
    }

    /// All images in their order, unchanged, in batches of up to 1,000.
    pub fn batches(&self) -> EvaluationBatches<'_> {
        EvaluationBatches::new(self)
    }
}

/// Images with labels to train on.
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
    pub(super) fn new(set: Set, options: &Dataset) -> Self {
        let recipe = BatchRecipe {
            batch_size: options.batch_size.max(1) as usize,
            augment: options.augment.clone(),
            streams: "",
        };
        Self { set, recipe }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Never: a training set has an image.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// Number of batches in an epoch.
    pub fn steps(&self) -> usize {
        self.recipe.steps(self.len())
    }

    /// All images in random order, each randomly changed as the experiment says.
    ///
    /// Order and changes depend on the seed and the epoch alone. The last batch may be smaller; it is
    /// left out when it would be a single image, which batch normalisation cannot take.
    pub fn batches(&self, seed: u64, epoch: u64) -> Batches<'_> {
        Batches::new(&self.set, &self.recipe, seed, epoch)
    }

    /// The same images to measure on: unchanged, in their order.
    pub fn as_set(&self) -> &Set {
        &self.set
    }

    /// The images alone; the labels are dropped.
    pub fn into_unlabelled(self) -> Unlabelled {
        let recipe = BatchRecipe { streams: "unlabelled/", ..self.recipe };
        Unlabelled { pixels: self.set.pixels, numbers: self.set.numbers, recipe }
    }
}

/// Images to train on whose labels are not known: there are none in here.
#[derive(Debug)]
pub struct Unlabelled {
    pub(super) pixels: Tensor, // [N, C, H, W], bytes
    pub(super) numbers: Numbers,
    recipe: BatchRecipe,
}

impl Unlabelled {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.pixels.size()[0] as usize
    }

    /// Never: a training set has an image.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of batches in an epoch.
    pub fn steps(&self) -> usize {
        self.recipe.steps(self.len())
    }

    /// As [`TrainSet::batches`], without labels and with draws of its own.
    pub fn batches(&self, seed: u64, epoch: u64) -> ImageBatches<'_> {
        ImageBatches::new(&self.pixels, &self.numbers, &self.recipe, seed, epoch)
    }
}

impl BatchRecipe {
    /// Batches of an epoch over `n` images: whole ones, and a last one of more than one image.
    pub(super) fn steps(&self, n: usize) -> usize {
        match (n / self.batch_size, n % self.batch_size) {
            (0, _) => 1,
            (whole, 0 | 1) => whole,
            (whole, _) => whole + 1,
        }
    }
}
