//! Real datasets: where they are, how to get them, their content.
//!
//! A dataset is known by name ([`Entry`]) and can be found in several distributions: the owner's
//! files, a subset of them, or what a package ships. The [`Library`] finds the best one in the data
//! folders and digests it; [`load`] reads it as it is stored; [`fetch`] gets it from where it can be
//! had. What is in it is one of four kinds ([`Loaded`]); each kind narrows itself to what an
//! experiment takes of it.
//!
//! A user's own data is in [`own`].
//!
//! Nothing in a file is trusted: magic numbers, sizes, counts and value ranges are checked, and an
//! error names the file, the place, the value and what was expected. Nothing here knows LibTorch.

mod amazon_reviews;
mod bags;
mod cifar;
mod entry;
mod error;
mod fashion_mnist;
mod fetch;
mod format;
mod fsdd;
mod images;
mod library;
mod loaded;
mod mnist;
mod newsgroups;
mod optdigits;
pub mod own;
mod recordings;
mod texts;
mod usps;

use std::path::Path;

pub use bags::{Bag, Bags};
pub use entry::{Entry, catalogue, entry};
pub use error::DatasetError;
pub use fetch::{Fetched, Progress, Receipt, Via, fetch};
pub use images::{Images, Part};
pub use library::{Found, Library};
pub use loaded::{Kind, Loaded, balance};
pub use recordings::{Recording, Recordings};
pub use texts::{Text, Texts, Vocabulary};

/// Reads the best distribution of a dataset that lies in `folder`, as [`Library::find`] returned it.
///
/// # Errors
/// An unknown name, a folder without the dataset's files, or a file that is not what it should be.
pub fn load(name: &str, folder: &Path) -> Result<Loaded, DatasetError> {
    entry(name)?.load(folder)
}
