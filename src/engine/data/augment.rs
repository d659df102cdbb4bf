//! Random changes of training images, batched on the device.

use graftwork::experiment::spec::{Augment, RandomAffine};
use rand::RngExt;
use tch::{Device, Kind, Tensor};

use super::affine::{self, Beyond};
use super::labels::IGNORED;
use super::set::BatchRecipe;
use crate::random;

/// The changes of all images of one epoch, drawn ahead in the order of the epoch.
#[derive(Debug)]
pub(super) struct Changes(Vec<Change>);

#[derive(Debug)]
enum Change {
    /// Cut out at `rows`, `columns` (each `[N]`, in 0..=2·padding) of the padded image.
    Crop { padding: i64, rows: Tensor, columns: Tensor },
    /// Mirror where true; `[N]`.
    Flip(Tensor),
    /// Warp by these maps, `[N, 2, 3]`.
    Affine(Tensor),
}

impl Changes {
    /// Each change has its own random stream, so that adding one leaves the others' draws.
    ///
    /// - shape: that of the examples, those of images `[channels, height, width]`
    pub(super) fn draw(
        recipe: &BatchRecipe,
        n: usize,
        shape: &[i64],
        seed: u64,
        epoch: u64,
        device: Device,
    ) -> Self {
        let draw = |(place, augment): (usize, &Augment)| {
            let stream =
                |what| random::stream(seed, &format!("{}{what}/{place}", recipe.streams), epoch);
            match augment {
                Augment::RandomCrop(crop) => {
                    let padding = i64::from(crop.padding);
                    let mut rng = stream("random-crop");
                    let (rows, columns): (Vec<i64>, Vec<i64>) = (0..n)
                        .map(|_| {
                            let row = rng.random_range(0..=2 * padding);
                            (row, rng.random_range(0..=2 * padding))
                        })
                        .unzip();
                    let tensor = |values: &[i64]| Tensor::from_slice(values).to_device(device);
                    Change::Crop { padding, rows: tensor(&rows), columns: tensor(&columns) }
                }
                Augment::HorizontalFlip(flip) => {
                    let mut rng = stream("horizontal-flip");
                    let flips: Vec<bool> =
                        (0..n).map(|_| rng.random::<f64>() < flip.probability).collect();
                    Change::Flip(Tensor::from_slice(&flips).to_device(device))
                }
                Augment::RandomAffine(RandomAffine { deviation, shift }) => {
                    let &[_, height, width] = shape else { unreachable!("images are augmented") };
                    let mut rng = stream("random-affine");
                    let size = [height, width];
                    let maps = affine::maps(n as i64, size, *deviation, *shift, &mut rng);
                    Change::Affine(maps.to_device(device))
                }
            }
        };
        Self(recipe.augment.iter().enumerate().map(draw).collect())
    }

    /// Changes a batch whose first image is number `start` of the epoch. What is padded is black.
    ///
    /// # Shapes
    /// - pixels and result: `[B, C, H, W]`, bytes
    pub(super) fn apply(&self, pixels: Tensor, start: i64) -> Tensor {
        self.change(pixels, 0, start)
    }

    /// Changes the masks of a batch as [`Changes::apply`] changes its images. What is padded has no
    /// class.
    ///
    /// # Shapes
    /// - masks and result: `[B, H, W]`, bytes
    pub(super) fn apply_to_masks(&self, masks: &Tensor, start: i64) -> Tensor {
        self.change(masks.unsqueeze(1), IGNORED, start).squeeze_dim(1)
    }

    fn change(&self, pixels: Tensor, padding_value: u8, start: i64) -> Tensor {
        let length = pixels.size()[0];
        let of_batch = |draws: &Tensor| draws.narrow(0, start, length);
        self.0.iter().fold(pixels, |pixels, change| match change {
            Change::Crop { padding, rows, columns } => {
                let padded = pad(&pixels, *padding, padding_value);
                crop(&padded, *padding, &of_batch(rows), &of_batch(columns))
            }
            Change::Flip(flips) => flip(&pixels, &of_batch(flips)),
            Change::Affine(maps) => warp(&pixels, padding_value, &of_batch(maps)),
        })
    }
}

/// Warps bytes. Those of images are interpolated; those of masks, whose padding is not black, are classes.
fn warp(pixels: &Tensor, padding_value: u8, maps: &Tensor) -> Tensor {
    let values = pixels.to_kind(Kind::Float);
    let mut warped = if padding_value == 0 {
        affine::warp(&values, maps, Beyond::Zero).round_()
    } else {
        let padding = f64::from(padding_value);
        affine::warp_to_nearest(&(values - padding), maps) + padding
    };
    warped.clamp_(0, 255).to_kind(Kind::Uint8)
}

fn pad(pixels: &Tensor, padding: i64, value: u8) -> Tensor {
    pixels.pad([padding, padding, padding, padding], "constant", Some(f64::from(value)))
}

/// Cuts each padded image out at its own place: one gather for the batch.
fn crop(padded: &Tensor, padding: i64, rows: &Tensor, columns: &Tensor) -> Tensor {
    let (batch, channels, padded_height, padded_width) =
        padded.size4().expect("images have four dimensions");
    let device = padded.device();
    let (height, width) = (padded_height - 2 * padding, padded_width - 2 * padding);
    let row = rows.view([batch, 1, 1])
        + Tensor::arange(height, (Kind::Int64, device)).view([1, height, 1]);
    let column = columns.view([batch, 1, 1]) + Tensor::arange(width, (Kind::Int64, device));
    let index = (row * padded_width + column) // [B, H, W]
        .view([batch, 1, height * width])
        .expand([batch, channels, height * width], false);
    let padded = padded.view([batch, channels, padded_height * padded_width]);
    padded.gather(2, &index, false).view([batch, channels, height, width])
}

/// Mirrors the images where `flips` is true, by a gather: half the time of `flip` and `where`.
fn flip(pixels: &Tensor, flips: &Tensor) -> Tensor {
    let (batch, channels, height, width) = pixels.size4().expect("images have four dimensions");
    let column = Tensor::arange(width, (Kind::Int64, pixels.device()));
    let index = column
        .flip([0])
        .where_self(&flips.view([batch, 1, 1, 1]), &column)
        .expand([batch, channels, height, width], false); // from [B, 1, 1, W]
    pixels.gather(3, &index, false)
}
