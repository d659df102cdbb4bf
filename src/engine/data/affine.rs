//! Affine maps of images: turned, stretched, sheared, shifted.

use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor};

use crate::random;

/// Of [`Tensor::grid_sampler`]: between places, values are interpolated.
const BILINEAR: i64 = 0;
/// Of the same: a place has the value of the nearest.
const NEAREST: i64 = 1;

/// What there is beyond the edge of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beyond {
    /// Zeros.
    Zero,
    /// The image goes on as its edge.
    Edge,
}

/// Maps of places, drawn: `[n, 2, 3]` from a place in the result to the one whose value it gets, in units of
/// half an image.
///
/// - size: height and width of the images
/// - deviation: standard deviation of what is added to the identity
/// - shift: the largest, pixels
pub fn maps(
    n: i64,
    [height, width]: [i64; 2],
    deviation: f64,
    shift: f64,
    rng: &mut ChaCha8Rng,
) -> Tensor {
    let linear = random::normal(&[n, 2, 2], deviation, rng);
    let identity = Tensor::eye(2, (Kind::Float, Device::Cpu));
    let shift = random::uniform(&[n, 2, 1], -shift, shift, rng);
    // The first row maps to columns.
    let pixels = Tensor::from_slice(&[2.0 / width as f32, 2.0 / height as f32]).view([1, 2, 1]);
    Tensor::cat(&[linear + identity, shift * pixels], 2)
}

/// Images with each value from where its image's map says.
///
/// # Shapes
/// - images and result: `[n, channels, height, width]`, floats
/// - maps: `[n, 2, 3]`
pub fn warp(images: &Tensor, maps: &Tensor, beyond: Beyond) -> Tensor {
    sample(images, maps, BILINEAR, beyond)
}

/// As [`warp`], with no value but those of the images, and zeros beyond the edge.
pub fn warp_to_nearest(images: &Tensor, maps: &Tensor) -> Tensor {
    sample(images, maps, NEAREST, Beyond::Zero)
}

fn sample(images: &Tensor, maps: &Tensor, between: i64, beyond: Beyond) -> Tensor {
    let beyond = match beyond {
        Beyond::Zero => 0,
        Beyond::Edge => 1,
    };
    let grid = Tensor::affine_grid_generator(maps, images.size(), false);
    images.grid_sampler(&grid, between, beyond, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(rows: &[&[f64]]) -> Tensor {
        Tensor::from_slice(&rows.concat()).view([rows.len() as i64, -1])
    }

    fn largest(difference: &Tensor) -> f64 {
        difference.abs().max().double_value(&[])
    }

    fn images() -> Tensor {
        random::uniform(&[6, 2, 5, 7], -1.0, 1.0, &mut random::stream(0, "images", 0))
    }

    /// Reference: `F.grid_sample(arange(12.).reshape(1, 1, 3, 4), F.affine_grid([[[.9, .2, .5], [-.1, 1.1,
    /// -2/3]]], (1, 1, 3, 4), align_corners=False), mode="bilinear", padding_mode="border",
    /// align_corners=False)` of PyTorch.
    #[test]
    fn values_come_from_where_the_map_says() {
        let image = Tensor::arange(12, (Kind::Double, Device::Cpu)).view([1, 1, 3, 4]);
        let map = matrix(&[&[0.9, 0.2, 0.5], &[-0.1, 1.1, -2.0 / 3.0]]).unsqueeze(0);
        let expected = matrix(&[
            &[0.883_333, 1.783_333, 2.683_333, 3.0],
            &[1.6, 2.2, 2.95, 3.0],
            &[6.266_667, 6.866_667, 7.25, 6.95],
        ]);
        assert!(largest(&(warp(&image, &map, Beyond::Edge).view([3, 4]) - expected)) < 1e-4);
    }

    #[test]
    fn a_whole_pixels_shift_moves_the_image() {
        let shift = matrix(&[&[1.0, 0.0, 2.0 / 7.0], &[0.0, 1.0, 0.0]]).to_kind(Kind::Float);
        let shift = shift.unsqueeze(0).expand([6, 2, 3], false);
        let edge = images().narrow(3, 6, 1);
        let zero = edge.zeros_like();
        for (moved, beyond) in [
            (warp(&images(), &shift, Beyond::Edge), &edge),
            (warp(&images(), &shift, Beyond::Zero), &zero),
            (warp_to_nearest(&images(), &shift), &zero),
        ] {
            let error = moved.narrow(3, 0, 6) - images().narrow(3, 1, 6);
            assert!(largest(&error) < 1e-4);
            assert!(largest(&(moved.narrow(3, 6, 1) - beyond)) < 1e-4);
        }
    }

    #[test]
    fn maps_are_drawn_as_the_settings_say() {
        let maps = maps(4000, [10, 20], 0.1, 2.0, &mut random::stream(4, "maps", 0));
        let entry = |row, column| maps.select(1, row).select(1, column);
        for (row, column, mean) in [(0, 0, 1.0), (0, 1, 0.0), (1, 0, 0.0), (1, 1, 1.0)] {
            let (entry, close) = (entry(row, column), 5.0 * 0.1 / 4000f64.sqrt());
            assert!((entry.mean(Kind::Double).double_value(&[]) - mean).abs() < close);
            assert!((entry.std(true).double_value(&[]) - 0.1).abs() < close);
        }
        // Two pixels of half an image: 2·2/20 across, 2·2/10 down.
        for (row, most) in [(0, 0.2), (1, 0.4)] {
            let largest = largest(&entry(row, 2));
            assert!(largest <= most && largest > 0.95 * most, "{largest}");
        }
    }
}
