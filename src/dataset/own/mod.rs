//! A user's own data: images in folders, images with masks, tables.
//!
//! It has no entry in the catalogue: an experiment says where it lies and what is in it, and whatever is
//! not so is an error that names the file.

mod csv;
mod image_folder;
mod mask_folder;
mod picture;

use std::path::{Path, PathBuf};

pub use csv::{RowPart, Rows, read as csv};
pub use image_folder::read as image_folder;
pub use mask_folder::{Masked, MaskedPart, read as mask_folder};

use super::DatasetError;

/// The splits, as folders are called.
const SPLITS: [&str; 2] = ["train", "test"];

/// Endings of the names of images that can be read.
const IMAGES: [&str; 8] = ["bmp", "jpeg", "jpg", "pgm", "png", "pnm", "ppm", "webp"];

/// Endings of the names of images that cannot, and that nobody should think are read.
const OTHER_IMAGES: [&str; 7] = ["avif", "gif", "heic", "heif", "jxl", "tif", "tiff"];

/// A folder that must be there.
fn folder(root: &Path, name: &str, expected: &str) -> Result<PathBuf, DatasetError> {
    let path = root.join(name);
    if path.is_dir() {
        return Ok(path);
    }
    let found = format!("has no folder `{name}`{}", and_has(root)?);
    Err(DatasetError::Folder { folder: root.to_owned(), found, expected: expected.to_owned() })
}

/// Which folders there are instead, for a message.
fn and_has(root: &Path) -> Result<String, DatasetError> {
    let names = names(root)?;
    let folders: Vec<&str> = names
        .iter()
        .filter(|name| !name.starts_with('.') && root.join(name).is_dir())
        .map(String::as_str)
        .collect();
    Ok(match folders.as_slice() {
        [] => String::new(),
        [.., _] if folders.len() > 10 => {
            format!(" (it has {}, and {} more)", folders[..10].join(", "), folders.len() - 10)
        }
        _ => format!(" (it has {})", folders.join(", ")),
    })
}

fn names(folder: &Path) -> Result<Vec<String>, DatasetError> {
    let names = std::fs::read_dir(folder).and_then(|entries| {
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.collect::<std::io::Result<Vec<_>>>()
    });
    let mut names = names.map_err(cannot_read(folder))?;
    names.sort_unstable();
    Ok(names)
}

/// The images below a folder, in the order of their names. Hidden files and files that are no images are
/// passed over.
///
/// # Errors
/// A folder that cannot be read, and an image of a kind that cannot.
fn images(folder: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let is_hidden = |entry: &walkdir::DirEntry| {
        entry.depth() > 0 && entry.file_name().as_encoded_bytes().starts_with(b".")
    };
    let walk = walkdir::WalkDir::new(folder).follow_links(true).sort_by_file_name();
    let mut images = Vec::new();
    for entry in walk.into_iter().filter_entry(|entry| !is_hidden(entry)) {
        let entry = entry.map_err(|error| cannot_read(folder)(error.into()))?;
        let ending = entry.path().extension().map(|ending| ending.to_string_lossy().to_lowercase());
        let ending = ending.filter(|_| entry.file_type().is_file()).unwrap_or_default();
        if IMAGES.contains(&ending.as_str()) {
            images.push(entry.into_path());
        } else if OTHER_IMAGES.contains(&ending.as_str()) {
            let found = format!("a file of the kind `{ending}`");
            let expected = format!("one of {}: convert it", IMAGES.join(", "));
            return Err(DatasetError::format(entry.path(), "name", found, expected));
        }
    }
    Ok(images)
}

fn cannot_read(path: &Path) -> impl Fn(std::io::Error) -> DatasetError + '_ {
    |source| DatasetError::Io { doing: "read", path: path.to_owned(), source }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A message without the folder that changes from test to test.
    pub(crate) fn message(error: &DatasetError, root: &Path) -> String {
        error.to_string().replace(&format!("{}/", root.display()), "")
    }
}
