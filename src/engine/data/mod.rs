//! Datasets on the device: splits, batches, augmentation.
//!
//! A set is one tensor (bytes of images or counts of words, samples or logarithms of sound, numbers of
//! words) and its labels, on the device as a whole; a batch is an index-select, augmentation, and
//! conversion to numbers, batched on the device. There are no loader threads.
//!
//! Invariants, kept by private fields:
//! - Training batches come from a [`TrainSet`] alone, and nothing becomes a `TrainSet` but what
//!   [`open`] leaves of the owner's training split after `val` is carved from it, or a part of that. `val`
//!   and `test` are [`Set`]s, which can only be measured. So nothing trains on test data.
//! - [`Unlabelled`] and [`UnlabelledSet`] hold no labels. Unsupervised adaptation gets its target examples
//!   through them.

pub mod affine;
mod augment;
mod batches;
mod images;
mod labels;
mod mel;
mod numbers;
mod own;
mod scenes;
mod set;
mod split;
mod whole;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use graftwork::dataset::{self, DatasetError, Images, Loaded};
use graftwork::experiment::spec::{Content, Data};
use numbers::Numbers;
use tch::{Device, Tensor};
use thiserror::Error;
use whole::Whole;

pub use batches::{Batch, Batches, EvaluationBatches, EvaluationInputs, InputBatches, Inputs};
pub use labels::IGNORED;
pub use set::{Set, TrainSet, Unlabelled, UnlabelledSet};

/// Why a dataset cannot be read.
#[derive(Debug, Error)]
pub enum DataError {
    /// The dataset's files are not what they should be.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The network takes images that these cannot be made into.
    #[error(
        "dataset `{name}` has images of {stored} channels and the network takes {wanted}; legal are equal numbers, 1 to 3 (grey to colour) and 3 to 1"
    )]
    Channels {
        /// The dataset.
        name: String,
        /// Channels of its images.
        stored: u32,
        /// Channels of the network's input.
        wanted: u32,
    },
    /// The network takes examples of another shape.
    #[error(
        "the network takes {taken}, and {what} of `{name}` are {given}; give it the data that it was trained on, read in the same way"
    )]
    Shape {
        /// The dataset.
        name: String,
        /// What its examples are.
        what: &'static str,
        /// Their shape.
        given: String,
        /// The network's input.
        taken: String,
    },
    /// The job does not say where a dataset lies.
    #[error("the job has no folder of dataset `{0}`")]
    NoFolder(&'static str),
    /// There are fewer photographs than scenes are to be made of them.
    #[error(
        "dataset `{name}` has {has} photographs in its {split} split, and {wanted} scenes are to be made, each of another; lower `{}` to {has}, or get the rest of the dataset",
        if .split == "test" { "test-scenes" } else { "scenes" }
    )]
    TooFew {
        /// The dataset.
        name: String,
        /// `train` or `test`.
        split: String,
        /// Its photographs.
        has: usize,
        /// The scenes.
        wanted: u32,
    },
    /// Nothing is left to train on.
    #[error(
        "dataset `{name}`: val-fraction = {val_fraction} leaves none of {all} {what} to train on; make it smaller"
    )]
    NothingToTrain {
        /// The dataset.
        name: String,
        /// What its examples are.
        what: &'static str,
        /// The share that became the validation split.
        val_fraction: f64,
        /// Examples of the owner's training split.
        all: usize,
    },
    /// A class has fewer training examples than are asked of each.
    #[error(
        "labels-per-class = {wanted} asks for {wanted} {what} of each class, and of class {class} (counted from 0) the training split of `{name}` has {has}; {}",
        if *.has == 0 { "leave the key out".to_owned() } else { format!("lower it to at most {has}") }
    )]
    TooFewLabels {
        /// The dataset.
        name: String,
        /// What its examples are.
        what: &'static str,
        /// The class.
        class: u32,
        /// Its examples in the training split, without those that are held out for validation.
        has: usize,
        /// What is asked for.
        wanted: u32,
    },
}

/// A dataset as a stage uses it.
#[derive(Debug)]
pub struct Splits {
    /// The domain, as in metric names; see [`Data::domain`].
    pub name: String,
    /// Number of classes; labels are below it.
    pub classes: u32,
    /// What training sees.
    pub train: TrainSet,
    /// Carved from the training split; what choices are made on. Empty when `val-fraction` is 0.
    pub val: Set,
    /// The owner's test split; measured and never used.
    pub test: Set,
}

impl Splits {
    /// Leaves as many training examples of each class as the experiment says, if it does.
    ///
    /// - seed: of the draw
    ///
    /// # Errors
    /// [`DataError::TooFewLabels`].
    pub fn with_few_labels(self, data: &Data, seed: u64) -> Result<Self, DataError> {
        let Some(wanted) = data.batching().labels_per_class else { return Ok(self) };
        let labels = self.train.classes();
        let chosen = split::few_of_each_class(&labels, self.classes, wanted as usize, seed);
        let chosen = chosen.map_err(|split::TooFew { class, has }| {
            let (name, what) = (data.name().to_owned(), data.what());
            DataError::TooFewLabels { name, what, class, has, wanted }
        });
        Ok(Self { train: self.train.only(&chosen?), ..self })
    }
}

/// Where datasets lie.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// Folders of those of the catalogue, by name.
    pub datasets: &'a BTreeMap<String, PathBuf>,
    /// The folder that a user's own lie beside: that of the experiment file.
    pub beside: &'a Path,
}

/// Reads a dataset onto the device, as a network with that input takes it.
///
/// - places: where datasets lie
/// - input: the network's input; images are made into it, other examples must have that shape
///
/// # Errors
/// [`DataError`]: wrong files, or examples that cannot become the network's input.
pub fn open(
    data: &Data,
    places: Places<'_>,
    input: &[u32],
    device: Device,
) -> Result<Splits, DataError> {
    if let Some(whole) = own::read(data, places.beside, input) {
        return divide(whole?, data, data.classes(), device);
    }
    let load = |name| -> Result<Loaded, DataError> {
        let folder = places.datasets.get(name).ok_or(DataError::NoFolder(name))?;
        Ok(dataset::load(name, folder)?)
    };
    let Content::Scenes(settings) = data.content() else {
        return prepare(load(data.name())?, data, input, device);
    };
    let [digits, photographs] = [settings.digits.as_str(), settings.photographs.as_str()];
    let [digits, photographs] = [load(digits)?, load(photographs)?].map(images);
    whole::fits(data, input)?;
    let whole = scenes::compose(&digits, &photographs, settings)?;
    divide(whole, data, data.classes(), device)
}

fn images(loaded: Loaded) -> Images {
    match loaded {
        Loaded::Images(images) => images,
        other => unreachable!("digits and photographs are images: {other:?}"),
    }
}

/// Splits a dataset in memory and brings it onto the device: what [`open`] does after reading.
///
/// # Errors
/// As [`open`].
pub fn prepare(
    loaded: Loaded,
    data: &Data,
    input: &[u32],
    device: Device,
) -> Result<Splits, DataError> {
    let classes = match &loaded {
        Loaded::Images(images) => images.classes,
        Loaded::Recordings(_) | Loaded::Bags(_) | Loaded::Texts(_) => data.classes(),
    };
    divide(Whole::new(loaded, data, input)?, data, classes, device)
}

/// Carves the validation split and brings all splits onto the device.
fn divide(whole: Whole, data: &Data, classes: u32, device: Device) -> Result<Splits, DataError> {
    let batching = data.batching();
    let count = whole.train.size()[0] as usize;
    let split = split::carve(count, batching.val_fraction, batching.split_seed);
    if split.kept.is_empty() {
        return Err(DataError::NothingToTrain {
            name: data.name().to_owned(),
            what: data.what(),
            val_fraction: batching.val_fraction,
            all: count,
        });
    }
    let part = |indices: &[i64]| {
        let index = Tensor::from_slice(indices);
        (whole.train.index_select(0, &index), whole.train_labels.index_select(0, &index))
    };
    let (train, train_labels) = part(&split.kept);
    let (val, val_labels) = part(&split.held_out);
    let numbers = Numbers::new(data.content(), &train, device);
    let set = |stored: Tensor, labels: Tensor| {
        Set::new(stored.to_device(device), labels.to_device(device), numbers.shallow_clone())
    };
    Ok(Splits {
        name: data.domain(),
        classes,
        train: TrainSet::new(set(train, train_labels), data),
        val: set(val, val_labels),
        test: set(whole.test, whole.test_labels),
    })
}

#[cfg(test)]
mod tests;
