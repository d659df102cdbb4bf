//! Images in folders, one for each class.

use std::path::Path;

use rayon::prelude::*;

use super::{SPLITS, folder, images, picture};
use crate::dataset::{DatasetError, Images, Part};
use crate::experiment::spec::ImageFolder;

/// Reads the images of a folder, all resized to one size.
///
/// # Errors
/// A split or a class without a folder, a training split without an image, a file that is no whole image.
pub fn read(root: &Path, options: &ImageFolder) -> Result<Images, DatasetError> {
    let [train, test] = SPLITS.map(|split| {
        let expected = "`train` and `test`, each with a folder for each class";
        let part = read_part(&folder(root, split, expected)?, options)?;
        if part.is_empty() && split == "train" {
            let found = "has no image in a folder of a class".to_owned();
            let expected = "images to train on".to_owned();
            return Err(DatasetError::Folder { folder: root.join(split), found, expected });
        }
        Ok(part)
    });
    Ok(Images {
        name: "image-folder".to_owned(),
        shape: options.shape(),
        classes: options.classes.len() as u32,
        class_names: options.classes.clone(),
        train: train?,
        test: test?,
    })
}

fn read_part(split: &Path, options: &ImageFolder) -> Result<Part, DatasetError> {
    let (mut files, mut labels) = (Vec::new(), Vec::new());
    for (class, label) in options.classes.iter().zip(0..=u8::MAX) {
        let expected = "a folder for each of `classes`, which may be empty";
        let found = images(&folder(split, class, expected)?)?;
        labels.resize(labels.len() + found.len(), label);
        files.extend(found);
    }
    let area = options.shape().iter().product::<u32>() as usize;
    let mut pixels = vec![0; files.len() * area];
    let read: Vec<_> = pixels
        .par_chunks_exact_mut(area)
        .zip(&files)
        .map(|(pixels, file)| picture::read_into(pixels, file, options.size, options.colour))
        .collect();
    // The first in the order of the names, whichever thread was first.
    read.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(Part { pixels, labels })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use image::{GrayImage, Luma};

    use super::super::tests::message;
    use super::*;

    /// One grey pixel.
    fn image(root: &Path, name: &str, value: u8) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        GrayImage::from_pixel(1, 1, Luma([value])).save(path).unwrap();
    }

    fn options() -> ImageFolder {
        serde_json::from_value(serde_json::json!({
            "path": "x", "classes": ["dog", "cat"], "size": [1, 1], "colour": "grey"
        }))
        .unwrap()
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, value) in [
            ("train/cat/b.png", 2),
            ("train/cat/a.png", 1),
            ("train/dog/nested/x.PNG", 4),
            ("train/dog/c.bmp", 3),
            ("train/dog/.hidden.png", 9),
            ("train/horse/h.png", 8),
            ("test/cat/t.png", 5),
        ] {
            image(folder.path(), name, value);
        }
        fs::write(folder.path().join("train/dog/notes.txt"), "no image").unwrap();
        fs::create_dir_all(folder.path().join("test/dog")).unwrap();
        folder
    }

    #[test]
    fn the_listed_classes_are_read_in_their_order() {
        let folder = folder();
        let images = read(folder.path(), &options()).unwrap();
        assert_eq!((images.shape, images.classes), ([1, 1, 1], 2));
        assert_eq!(images.train, Part { pixels: vec![3, 4, 1, 2], labels: vec![0, 0, 1, 1] });
        assert_eq!(images.test, Part { pixels: vec![5], labels: vec![1] });
    }

    #[test]
    fn what_is_missing_is_named_with_what_is_there() {
        let folder = folder();
        let root = folder.path();
        let refuses = |expected: &str| {
            let error = read(root, &options()).unwrap_err();
            assert_eq!(message(&error, root), expected);
        };
        image(root, "train/cat/z.tiff.png", 1);
        fs::rename(root.join("train/cat/z.tiff.png"), root.join("train/cat/z.tiff")).unwrap();
        refuses(
            "train/cat/z.tiff, name: a file of the kind `tiff`; expected one of bmp, jpeg, jpg, pgm, png, pnm, \
             ppm, webp: convert it",
        );
        fs::remove_file(root.join("train/cat/z.tiff")).unwrap();
        fs::rename(root.join("train/dog"), root.join("train/dogs")).unwrap();
        refuses(
            "train has no folder `dog` (it has cat, dogs, horse); expected a folder for each of `classes`, which \
             may be empty",
        );
        fs::create_dir(root.join("train/dog")).unwrap();
        fs::remove_dir_all(root.join("train/cat")).unwrap();
        fs::create_dir(root.join("train/cat")).unwrap();
        refuses("train has no image in a folder of a class; expected images to train on");
        fs::remove_dir_all(root.join("test")).unwrap();
        image(root, "train/cat/a.png", 1);
        let error = read(root, &options()).unwrap_err().to_string();
        let end = "has no folder `test` (it has train); expected `train` and `test`, each with a folder for each \
                   class";
        assert!(error.ends_with(end), "{error}");
    }
}
