//! A user's own data as a network takes it.

use std::path::Path;

use graftwork::dataset::own::{self, MaskedPart, RowPart};
use graftwork::experiment::spec::{Beside, Content, Csv, Data, TestDrawn, TestRows};
use tch::Tensor;

use super::whole::{Whole, fits};
use super::{DataError, labels, split};

/// Reads it, if the dataset is a user's own.
///
/// - folder: of the experiment file
/// - input: the network's input
pub(super) fn read(data: &Data, folder: &Path, input: &[u32]) -> Option<Result<Whole, DataError>> {
    let Beside { path, .. } = data.beside()?;
    let path = folder.join(path);
    match data.content() {
        Content::Folder(options) => Some(
            own::image_folder(&path, options)
                .map_err(DataError::from)
                .and_then(|images| Whole::of_images(&images, None, input)),
        ),
        Content::Masks(options) => Some(fits(data, input).and_then(|()| {
            let masked = own::mask_folder(&path, options)?;
            let read = |part: &MaskedPart| part_of_masks(part, masked.shape);
            let ((train, train_labels), (test, test_labels)) =
                (read(&masked.train), read(&masked.test));
            Ok(Whole { train, train_labels, test, test_labels })
        })),
        Content::Rows(options) => Some(fits(data, input).and_then(|()| rows(&path, options))),
        _ => None,
    }
}

/// `[N, C, H, W]` and `[N, H, W]`, bytes.
fn part_of_masks(part: &MaskedPart, shape: [u32; 3]) -> (Tensor, Tensor) {
    let [channels, height, width] = shape.map(i64::from);
    let n = part.masks.len() as i64 / (height * width);
    (
        Tensor::from_slice(&part.pixels).view([n, channels, height, width]),
        Tensor::from_slice(&part.masks).view([n, height, width]),
    )
}

/// `[N, features]`, `f32`.
fn rows(path: &Path, options: &Csv) -> Result<Whole, DataError> {
    let rows = own::csv(path, options)?;
    let read = |part: &RowPart| {
        let n = part.labels.len() as i64;
        let values = Tensor::from_slice(&part.values).view([n, rows.features as i64]);
        (values, labels::of_examples(&part.labels))
    };
    let (all, all_labels) = read(&rows.train);
    let TestRows::Drawn(TestDrawn { fraction }) = options.test else {
        let (test, test_labels) = read(&rows.test);
        return Ok(Whole { train: all, train_labels: all_labels, test, test_labels });
    };
    let split = split::hold_out_test(rows.train.labels.len(), fraction, options.split_seed);
    let part = |indices: &[i64]| {
        let index = Tensor::from_slice(indices);
        (all.index_select(0, &index), all_labels.index_select(0, &index))
    };
    let ((train, train_labels), (test, test_labels)) = (part(&split.kept), part(&split.held_out));
    Ok(Whole { train, train_labels, test, test_labels })
}
