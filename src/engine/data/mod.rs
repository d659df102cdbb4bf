//! Datasets on the device: splits, batches, augmentation.
//!
//! A set is one byte tensor and its labels, on the device as a whole; a batch is an index-select,
//! augmentation, and conversion to numbers, batched on the device. There are no loader threads.
//!
//! Invariants, kept by private fields:
//! - Training batches come from a [`TrainSet`] alone, and nothing becomes a `TrainSet` but what
//!   [`open`] leaves of the owner's training split after `val` is carved from it. `val` and `test`
//!   are [`Set`]s, which can only be measured. So nothing trains on test data.
//! - [`Unlabelled`] holds no labels. Unsupervised adaptation gets its target images through it.

mod augment;
mod batches;
mod prepare;
mod set;
mod split;

use std::path::Path;

use graftwork::dataset::{self, DatasetError, Images};
use graftwork::experiment::spec::Data;
use tch::Device;
use thiserror::Error;

pub use batches::{Batch, Batches, EvaluationBatches, ImageBatches};
pub use set::{Set, TrainSet, Unlabelled};

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
    /// Nothing is left to train on.
    #[error(
        "dataset `{name}`: val-fraction = {val_fraction} leaves no image of {all} to train on; make it smaller"
    )]
    NothingToTrain {
        /// The dataset.
        name: String,
        /// The share that became the validation split.
        val_fraction: f64,
        /// Images of the owner's training split.
        all: usize,
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

/// Reads a dataset onto the device, as a network with that input takes it.
///
/// - input: the network's input, `[channels, height, width]`
///
/// # Errors
/// [`DataError`]: wrong files, or images that cannot become the network's input.
pub fn open(
    data: &Data,
    folder: &Path,
    input: [u32; 3],
    device: Device,
) -> Result<Splits, DataError> {
    prepare(&dataset::load(data.name(), folder)?, data, input, device)
}

/// Splits a dataset in memory and brings it onto the device: what [`open`] does after reading.
///
/// # Errors
/// As [`open`].
pub fn prepare(
    images: &Images,
    data: &Data,
    input: [u32; 3],
    device: Device,
) -> Result<Splits, DataError> {
    let options = data.options();
    let change = prepare::Change::new(&images.name, images.shape, options.size, input)?;
    let all = change.apply(&images.train); // [N, C, H, W]
    let split = split::carve(images.train.len(), options.val_fraction, options.split_seed);
    if split.train.is_empty() {
        return Err(DataError::NothingToTrain {
            name: images.name.clone(),
            val_fraction: options.val_fraction,
            all: images.train.len(),
        });
    }
    let labels = prepare::labels(&images.train);
    let part = |indices: &[i64]| {
        let index = tch::Tensor::from_slice(indices);
        (all.index_select(0, &index), labels.index_select(0, &index))
    };
    let (train, train_labels) = part(&split.train);
    let (val, val_labels) = part(&split.val);
    let numbers = prepare::Numbers::new(options.normalize, &train, device);
    let set = |pixels: tch::Tensor, labels: tch::Tensor| {
        Set::new(pixels.to_device(device), labels.to_device(device), numbers.shallow_clone())
    };
    Ok(Splits {
        name: data.domain(),
        classes: images.classes,
        train: TrainSet::new(set(train, train_labels), options),
        val: set(val, val_labels),
        test: set(change.apply(&images.test), prepare::labels(&images.test)),
    })
}

#[cfg(test)]
mod tests;
