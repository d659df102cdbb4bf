//! Scenes: real digits on real photographs, with an exact mask.
//!
//! A digit's grey value is how much of its pen covers a pixel, `a` in 0..=1, after it was brought to its
//! size and place by bilinear interpolation. The pixel of a scene is `(1 − a) · photograph + a · colour`,
//! rounded, and belongs to the digit where `a` is above ½. All of it is computed on the CPU, so that every
//! device gets the same bytes.

use graftwork::dataset::{Images, Part};
use graftwork::experiment::spec::DigitsOnPhotographs;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor};

use super::images::resize;
use super::whole::Whole;
use super::{DataError, labels};
use crate::random;

/// Scenes that are made together, so that the floats of all are never there at once.
const CHUNK: i64 = 500;

/// Makes the scenes of both splits.
///
/// # Errors
/// [`DataError::TooFew`] where there are fewer photographs than there are to be scenes.
pub(super) fn compose(
    digits: &Images,
    photographs: &Images,
    settings: &DigitsOnPhotographs,
) -> Result<Whole, DataError> {
    let split = |name: &str, digit: &Part, photograph: &Part, scenes: u32| {
        if photograph.len() < scenes as usize {
            return Err(DataError::TooFew {
                name: photographs.name.clone(),
                split: name.to_owned(),
                has: photograph.len(),
                wanted: scenes,
            });
        }
        let mut rng = random::stream(settings.scene_seed, &format!("scenes/{name}"), 0);
        let draws = Draws::new(scenes as usize, photographs, photograph, settings, &mut rng);
        let digit = (tensor(digits, digit), labels::of_examples(&digit.labels));
        Ok(draws.compose(&digit, &tensor(photographs, photograph), settings.size))
    };
    let (train, train_labels) = split("train", &digits.train, &photographs.train, settings.scenes)?;
    let (test, test_labels) = split("test", &digits.test, &photographs.test, settings.test_scenes)?;
    Ok(Whole { train, train_labels, test, test_labels })
}

/// `[N, C, H, W]`, bytes.
fn tensor(images: &Images, part: &Part) -> Tensor {
    let [channels, height, width] = images.shape.map(i64::from);
    Tensor::from_slice(&part.pixels).view([part.len() as i64, channels, height, width])
}

/// What is drawn for each scene; scene number `i` of `n` digits has number `i % n`.
struct Draws {
    /// Number of the photograph, each at most once; `[N]`, i64.
    photographs: Tensor,
    /// Where a pixel of a scene lies in its digit, in the coordinates of `affine_grid`; `[N, 2, 3]`.
    places: Tensor,
    /// Colours of the digits, 0..=255; `[N, 3, 1, 1]`.
    colours: Tensor,
}

impl Draws {
    fn new(
        scenes: usize,
        photographs: &Images,
        part: &Part,
        settings: &DigitsOnPhotographs,
        rng: &mut ChaCha8Rng,
    ) -> Self {
        let mut chosen = random::permutation(part.len(), rng);
        chosen.truncate(scenes);
        let mut places = Vec::with_capacity(scenes * 6);
        let mut colours = Vec::with_capacity(scenes * 3);
        for &photograph in &chosen {
            places.extend(place(settings, rng));
            colours.extend(colour(photographs, part, photograph as usize, rng));
        }
        let n = scenes as i64;
        Self {
            photographs: Tensor::from_slice(&chosen),
            places: Tensor::from_slice(&places).view([n, 2, 3]),
            colours: Tensor::from_slice(&colours).view([n, 3, 1, 1]),
        }
    }

    /// The scenes, `[N, 3, H, W]`, and their masks, `[N, H, W]`, bytes.
    fn compose(
        &self,
        (digits, classes): &(Tensor, Tensor),
        photographs: &Tensor,
        size: [u32; 2],
    ) -> (Tensor, Tensor) {
        let n = self.photographs.size()[0];
        let (mut scenes, mut masks) = (Vec::new(), Vec::new());
        for start in (0..n).step_by(CHUNK as usize) {
            let length = CHUNK.min(n - start);
            let part = |tensor: &Tensor| tensor.narrow(0, start, length);
            let photographs = photographs.index_select(0, &part(&self.photographs));
            let photographs = resize(&photographs, size).to_kind(Kind::Float);
            let digit = Tensor::arange_start(start, start + length, (Kind::Int64, Device::Cpu))
                .remainder(digits.size()[0]);
            let pen = pen(&digits.index_select(0, &digit), &part(&self.places), size); // [n, 1, H, W]
            let mut scene = &photographs + (part(&self.colours) - &photographs) * &pen;
            scenes.push(scene.round_().clamp_(0, 255).to_kind(Kind::Uint8));
            let class = classes.index_select(0, &digit).view([length, 1, 1]) + 1;
            let mask = pen.squeeze_dim(1).gt(0.5).to_kind(Kind::Uint8) * class;
            masks.push(mask.to_kind(Kind::Uint8));
        }
        (Tensor::cat(&scenes, 0), Tensor::cat(&masks, 0))
    }
}

/// Draws size and place of a digit: the rows of the matrix that leads from scene to digit.
///
/// Both images go from −1 to 1 along each axis. With a digit of side `s` at `x0` in a scene of width `w`, all
/// in pixels, `u` of the scene is `(u + 1) w / 2` pixels from its left, so `(w/s) u + (w − 2 x0) / s − 1` of
/// the digit.
fn place(settings: &DigitsOnPhotographs, rng: &mut ChaCha8Rng) -> [f32; 6] {
    let [height, width] = settings.size.map(f64::from);
    let [smallest, largest] = settings.digit_size;
    let side = height.min(width) * (smallest + (largest - smallest) * rng.random::<f64>());
    let mut axis = |extent: f64| {
        let start = (extent - side) * rng.random::<f64>();
        [extent / side, (extent - 2.0 * start) / side - 1.0].map(|value| value as f32)
    };
    let ([x_scale, x_shift], [y_scale, y_shift]) = (axis(width), axis(height));
    [x_scale, 0.0, x_shift, 0.0, y_scale, y_shift]
}

/// Draws a colour that differs from the photograph: each channel lies in the half of its range in which
/// the photograph's mean does not.
fn colour(photographs: &Images, part: &Part, photograph: usize, rng: &mut ChaCha8Rng) -> [f32; 3] {
    let area = (photographs.shape[1] * photographs.shape[2]) as usize;
    let start = photograph * 3 * area;
    let channels = part.pixels[start..start + 3 * area].chunks_exact(area);
    let mut colour = [0.0; 3];
    for (value, pixels) in colour.iter_mut().zip(channels) {
        let is_dark = pixels.iter().map(|&pixel| u64::from(pixel)).sum::<u64>() < 128 * area as u64;
        let drawn = 127.0 * rng.random::<f64>();
        *value = if is_dark { 128.0 + drawn } else { drawn } as f32;
    }
    colour
}

/// How much of each pixel of a scene the pen covers, `[n, 1, H, W]` in 0..=1.
///
/// - digits: `[n, 1, h, w]`, bytes
/// - places: `[n, 2, 3]`
fn pen(digits: &Tensor, places: &Tensor, [height, width]: [u32; 2]) -> Tensor {
    let size = [digits.size()[0], 1, i64::from(height), i64::from(width)];
    let grid = Tensor::affine_grid_generator(places, size, false);
    let (bilinear, zeros) = (0, 0);
    (digits.to_kind(Kind::Float) / 255.0).grid_sampler(&grid, bilinear, zeros, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// - pixels: of the training images, one after the other; the test split has the same
    fn images(name: &str, shape: [u32; 3], pixels: Vec<u8>) -> Images {
        let area = shape.iter().product::<u32>() as usize;
        let labels = (0..pixels.len() / area).map(|image| (image % 10) as u8).collect();
        let part = Part { pixels, labels };
        let (train, test) = (part.clone(), part);
        let class_names = (0..10).map(|class: u8| class.to_string()).collect();
        Images { name: name.to_owned(), shape, classes: 10, class_names, train, test }
    }

    fn settings(scenes: u32, size: [u32; 2], digit_size: [f64; 2]) -> DigitsOnPhotographs {
        let test_scenes = scenes;
        DigitsOnPhotographs { scenes, test_scenes, size, digit_size, ..Default::default() }
    }

    fn bytes(tensor: &Tensor) -> Vec<u8> {
        tensor.contiguous().view([-1]).try_into().unwrap()
    }

    /// A digit of 4×4 that is all pen, as large as the scene of 8×8: inside, where bilinear
    /// interpolation sees the digit alone, a pixel has the digit's colour; at the border ¾ of it, in a
    /// corner 9/16, and all of the scene is the digit, of class 0 + 1.
    #[test]
    fn a_digit_of_pen_alone_covers_the_scene() {
        let digits = images("mnist", [1, 4, 4], vec![255; 16]);
        let photographs = images("cifar10", [3, 2, 2], vec![0; 12]);
        let whole = compose(&digits, &photographs, &settings(1, [8, 8], [1.0, 1.0])).unwrap();
        assert_eq!(bytes(&whole.train_labels), [1; 64]);
        let scene = bytes(&whole.train);
        for channel in scene.chunks_exact(64) {
            let colour = f64::from(channel[3 * 8 + 3]);
            assert!(colour >= 128.0, "bright on black");
            let share = |row: usize, column: usize| f64::from(channel[row * 8 + column]) / colour;
            for (row, column, expected) in [
                (1, 1, 1.0),
                (6, 4, 1.0),
                (0, 3, 0.75),
                (5, 7, 0.75),
                (0, 0, 0.5625),
                (7, 7, 0.5625),
            ] {
                let share = share(row, column);
                assert!((share - expected).abs() < 0.01, "{row} {column}: {share}");
            }
        }
    }

    /// Random digits on random photographs.
    fn random_scenes(seed: u64) -> (Images, Images, DigitsOnPhotographs, Whole) {
        let mut rng = random::stream(3, "test", 0);
        let mut draw = |count: usize| (0..count).map(|_| rng.random::<u8>()).collect::<Vec<u8>>();
        let photographs = images("cifar10", [3, 5, 5], draw(30 * 75));
        let pixels = draw(20 * 36).into_iter().map(|pixel| if pixel < 100 { 0 } else { pixel });
        let digits = images("mnist", [1, 6, 6], pixels.collect());
        let mut settings = settings(20, [12, 16], [0.4, 0.9]);
        settings.scene_seed = seed;
        let whole = compose(&digits, &photographs, &settings).unwrap();
        (digits, photographs, settings, whole)
    }

    #[test]
    fn what_no_digit_covers_is_the_photograph_and_each_is_used_once() {
        let (_, photographs, settings, whole) = random_scenes(0);
        assert_eq!(whole.train.size(), [20, 3, 12, 16]);
        assert_eq!(whole.train_labels.size(), [20, 12, 16]);
        let resized = resize(&tensor(&photographs, &photographs.train), settings.size);
        let mut used = Vec::new();
        for scene in 0..20 {
            let mask = whole.train_labels.get(scene);
            let class = scene % 10 + 1;
            assert!(bytes(&mask).iter().all(|&pixel| pixel == 0 || i64::from(pixel) == class));
            assert!(mask.count_nonzero(None::<i64>).int64_value(&[]) > 0);
            // A corner of the scene that the digit does not reach tells the photograph.
            let pixels = whole.train.get(scene);
            let alike = |photograph: &i64| {
                let same = resized.get(*photograph).eq_tensor(&pixels).all_dim(0, false);
                let uncovered = same.sum(Kind::Int64).int64_value(&[]);
                let marked = same.logical_and(&mask.gt(0)).sum(Kind::Int64).int64_value(&[]);
                uncovered > 12 * 16 / 10 && marked == 0
            };
            let photograph: Vec<i64> = (0..30).filter(alike).collect();
            assert_eq!(photograph.len(), 1, "scene {scene}");
            used.extend(photograph);
        }
        used.sort_unstable();
        used.dedup();
        assert_eq!(used.len(), 20);
    }

    #[test]
    fn a_seed_gives_the_same_scenes_and_another_seed_others() {
        let [first, again, other] = [0, 0, 1].map(|seed| random_scenes(seed).3);
        assert_eq!(bytes(&first.train), bytes(&again.train));
        assert_eq!(bytes(&first.test_labels), bytes(&again.test_labels));
        assert_ne!(bytes(&first.train), bytes(&other.train));
        assert_ne!(bytes(&first.train), bytes(&first.test), "each split draws for itself");
    }

    #[test]
    fn too_few_photographs_are_refused() {
        let digits = images("mnist", [1, 4, 4], vec![255; 48]);
        let photographs = images("cifar10", [3, 2, 2], vec![0; 12]);
        let error = compose(&digits, &photographs, &settings(3, [8, 8], [1.0, 1.0])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "dataset `cifar10` has 1 photographs in its train split, and 3 scenes are to be made, each of \
             another; lower `scenes` to 1, or get the rest of the dataset"
        );
    }

    /// Of two digits the one is all pen and the other has none: every second scene is covered, by class 1.
    #[test]
    fn fewer_digits_than_scenes_are_used_in_turn() {
        let digits = images("mnist", [1, 4, 4], [[255; 16], [0; 16]].concat());
        let photographs = images("cifar10", [3, 2, 2], vec![7; 5 * 12]);
        let whole = compose(&digits, &photographs, &settings(5, [8, 8], [1.0, 1.0])).unwrap();
        let classes = whole.train_labels.view([5, 64]);
        for (scene, class) in [1_u8, 0, 1, 0, 1].into_iter().enumerate() {
            assert_eq!(bytes(&classes.get(scene as i64)), [class; 64], "{scene}");
        }
    }
}
