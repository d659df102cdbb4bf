//! Images, each with a mask.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::picture::{self, Mask};
use super::{SPLITS, folder, images};
use crate::dataset::DatasetError;
use crate::experiment::spec::MaskFolder;

/// Images of one size, with a class for each pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Masked {
    /// Shape of one image, `[channels, height, width]`.
    pub shape: [u32; 3],
    /// The training split.
    pub train: MaskedPart,
    /// The test split.
    pub test: MaskedPart,
}

/// The images of one split and their masks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MaskedPart {
    /// The pixels, 0 to 255, in the order image, channel, row, column.
    pub pixels: Vec<u8>,
    /// The class of each pixel, or [`MaskFolder::IGNORED`], in the order image, row, column.
    pub masks: Vec<u8>,
}

/// Reads the images of a folder and their masks, all resized to one size.
///
/// # Errors
/// A missing folder, an image without a mask or a mask without an image, masks of another size than their
/// image, a pixel of no class, a training split without an image, a file that is no whole image.
pub fn read(root: &Path, options: &MaskFolder) -> Result<Masked, DatasetError> {
    let [train, test] = SPLITS.map(|split| {
        let split = folder(root, split, "`train` and `test`, each with `images` and `masks`")?;
        read_part(&split, options)
    });
    let (train, test) = (train?, test?);
    if train.masks.is_empty() {
        let found = "has no image".to_owned();
        let expected = "images to train on".to_owned();
        return Err(DatasetError::Folder { folder: root.join("train/images"), found, expected });
    }
    Ok(Masked { shape: options.shape(), train, test })
}

fn read_part(split: &Path, options: &MaskFolder) -> Result<MaskedPart, DatasetError> {
    let pairs = pairs(split)?;
    let area = (options.size[0] * options.size[1]) as usize;
    let values = options.shape()[0] as usize * area;
    let mut part =
        MaskedPart { pixels: vec![0; pairs.len() * values], masks: vec![0; pairs.len() * area] };
    let read: Vec<_> = part
        .pixels
        .par_chunks_exact_mut(values)
        .zip(part.masks.par_chunks_exact_mut(area))
        .zip(&pairs)
        .map(|((pixels, classes), pair)| pair.read_into(pixels, classes, options))
        .collect();
    // The first in the order of the names, whichever thread was first.
    read.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(part)
}

/// An image and its mask.
struct Pair {
    image: PathBuf,
    mask: PathBuf,
}

/// The pairs of a split, in the order of the images' names.
fn pairs(split: &Path) -> Result<Vec<Pair>, DatasetError> {
    let of = |name| folder(split, name, "`images` and `masks`, with a mask for each image");
    let (image_folder, mask_folder) = (of("images")?, of("masks")?);
    let mut pairs: Vec<Pair> = Vec::new();
    let mut left: BTreeMap<PathBuf, Option<PathBuf>> =
        images(&mask_folder)?.into_iter().map(|mask| (mask, None)).collect();
    for image in images(&image_folder)? {
        let name = image.strip_prefix(&image_folder).unwrap_or(&image);
        let mask = mask_folder.join(name).with_extension("png");
        let wrong = |found, expected: &str| DatasetError::format(&image, "mask", found, expected);
        match left.get_mut(&mask) {
            None => {
                return Err(wrong(format!("no file {}", mask.display()), "a mask for each image"));
            }
            Some(Some(other)) => {
                let found = format!("{} has the same", other.display());
                return Err(wrong(found, "a mask for each image; give one of them another name"));
            }
            Some(free) => *free = Some(image.clone()),
        }
        pairs.push(Pair { image, mask });
    }
    match left.into_iter().find(|(_, image)| image.is_none()) {
        Some((mask, _)) => {
            let found = format!("none of this name in {}", image_folder.display());
            Err(DatasetError::format(&mask, "image", found, "an image for each mask"))
        }
        None => Ok(pairs),
    }
}

impl Pair {
    fn read_into(
        &self,
        pixels: &mut [u8],
        classes: &mut [u8],
        options: &MaskFolder,
    ) -> Result<(), DatasetError> {
        let [height, width] =
            picture::read_into(pixels, &self.image, options.size, options.colour)?;
        let mask = Mask::read(&self.mask)?;
        if [mask.height, mask.width] != [height as usize, width as usize] {
            let found = format!("{}×{}", mask.height, mask.width);
            let expected = format!("{height}×{width} like {}", self.image.display());
            return Err(DatasetError::format(&self.mask, "size", found, expected));
        }
        let known = options.classes.len();
        if let Some((row, column, value)) = mask.stray(known, MaskFolder::IGNORED) {
            let place = format!("row {}, column {}", row + 1, column + 1);
            let expected = format!(
                "a class from 0 to {}, as `classes` has them, or {} for none",
                known - 1,
                MaskFolder::IGNORED
            );
            return Err(DatasetError::format(&self.mask, place, value.to_string(), expected));
        }
        mask.resize_into(classes, options.size);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use image::GrayImage;

    use super::super::tests::message;
    use super::*;

    fn image(root: &Path, name: &str, [height, width]: [u32; 2], values: &[u8]) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        GrayImage::from_raw(width, height, values.to_vec()).unwrap().save(path).unwrap();
    }

    fn options() -> MaskFolder {
        serde_json::from_value(serde_json::json!({
            "path": "x", "classes": ["road", "car"], "size": [1, 2], "colour": "grey"
        }))
        .unwrap()
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for (name, value, class) in [("b", 20, 1), ("in/a", 30, 255)] {
            image(root, &format!("train/images/{name}.png"), [1, 2], &[10, value]);
            image(root, &format!("train/masks/{name}.png"), [1, 2], &[0, class]);
        }
        image(root, "test/images/t.png", [2, 4], &[7; 8]);
        image(root, "test/masks/t.png", [2, 4], &[0, 0, 1, 1, 1, 1, 0, 0]);
        folder
    }

    #[test]
    fn images_and_masks_are_read_in_the_order_of_their_names() {
        let folder = folder();
        let masked = read(folder.path(), &options()).unwrap();
        assert_eq!(masked.shape, [1, 1, 2]);
        let train = MaskedPart { pixels: vec![10, 20, 10, 30], masks: vec![0, 1, 0, 255] };
        assert_eq!(masked.train, train);
        // The middle of a pixel of one row and two columns falls on the second row, columns 1 and 3.
        assert_eq!(masked.test, MaskedPart { pixels: vec![7, 7], masks: vec![1, 0] });
    }

    #[test]
    fn pairs_that_are_none_are_named() {
        let folder = folder();
        let root = folder.path();
        let refuses = |expected: &str| {
            let error = read(root, &options()).unwrap_err();
            assert_eq!(message(&error, root), expected);
        };
        image(root, "train/masks/b.png", [1, 2], &[0, 2]);
        refuses(
            "train/masks/b.png, row 1, column 2: 2; expected a class from 0 to 1, as `classes` has them, or 255 \
             for none",
        );
        image(root, "train/masks/b.png", [2, 1], &[0, 1]);
        refuses("train/masks/b.png, size: 2×1; expected 1×2 like train/images/b.png");
        fs::remove_file(root.join("train/masks/b.png")).unwrap();
        refuses(
            "train/images/b.png, mask: no file train/masks/b.png; expected a mask for each image",
        );
        fs::remove_file(root.join("train/images/b.png")).unwrap();
        image(root, "train/masks/c.png", [1, 2], &[0, 1]);
        refuses(
            "train/masks/c.png, image: none of this name in train/images; expected an image for each mask",
        );
        for name in ["c.png", "c.bmp"] {
            image(root, &format!("train/images/{name}"), [1, 2], &[1, 2]);
        }
        refuses(
            "train/images/c.png, mask: train/images/c.bmp has the same; expected a mask for each image; give one \
             of them another name",
        );
        fs::remove_dir_all(root.join("test/masks")).unwrap();
        fs::remove_file(root.join("train/images/c.bmp")).unwrap();
        refuses(
            "test has no folder `masks` (it has images); expected `images` and `masks`, with a mask for each image",
        );
    }
}
