//! Random changes of examples that leave their class.

use graftwork::experiment::spec::Perturbation;
use rand_chacha::ChaCha8Rng;
use tch::{Kind, Tensor};

use crate::random;

/// Of [`Tensor::grid_sampler`]: between places, values are interpolated.
const BILINEAR: i64 = 0;
/// Of the same: beyond the edge, an image goes on as its edge.
const BORDER: i64 = 1;

/// Examples as [`Perturbation`] changes them, each in its own way.
///
/// # Shapes
/// - inputs: `[n, …]`, floats; images are `[n, channels, height, width]`, all else gets the noise alone
/// - result: the same
pub fn perturb(inputs: &Tensor, settings: &Perturbation, rng: &mut ChaCha8Rng) -> Tensor {
    let moved = match inputs.size()[..] {
        [n, _, height, width] if settings.affine > 0.0 || settings.shift > 0.0 => {
            let maps = maps(n, [height, width], settings, rng).to_device(inputs.device());
            warp(inputs, &maps)
        }
        _ => inputs.shallow_clone(),
    };
    if settings.noise == 0.0 {
        return moved;
    }
    moved + random::normal(&inputs.size(), settings.noise, rng).to_device(inputs.device())
}

/// Maps of places, drawn: `[n, 2, 3]` from a place in the result to the one whose value it gets, in units of
/// half an image.
fn maps(n: i64, size: [i64; 2], settings: &Perturbation, rng: &mut ChaCha8Rng) -> Tensor {
    let linear = random::normal(&[n, 2, 2], settings.affine, rng);
    let identity = Tensor::eye(2, (Kind::Float, tch::Device::Cpu));
    let shift = random::uniform(&[n, 2, 1], -settings.shift, settings.shift, rng);
    let [height, width] = size;
    // The first row maps to columns.
    let pixels = Tensor::from_slice(&[2.0 / width as f32, 2.0 / height as f32]).view([1, 2, 1]);
    Tensor::cat(&[linear + identity, shift * pixels], 2)
}

/// Images with each value from where its image's map says.
fn warp(images: &Tensor, maps: &Tensor) -> Tensor {
    let grid = Tensor::affine_grid_generator(maps, images.size(), false);
    images.grid_sampler(&grid, BILINEAR, BORDER, false)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{batch, matrix};
    use super::*;

    fn images() -> Tensor {
        batch(6 * 2, 5 * 7, 0.3).to_kind(Kind::Float).view([6, 2, 5, 7])
    }

    fn rng() -> ChaCha8Rng {
        random::stream(4, "perturbation", 0)
    }

    fn largest(difference: &Tensor) -> f64 {
        difference.abs().max().double_value(&[])
    }

    /// Reference: `F.grid_sample(arange(12.).reshape(1, 1, 3, 4), F.affine_grid([[[.9, .2, .5], [-.1, 1.1,
    /// -2/3]]], (1, 1, 3, 4), align_corners=False), mode="bilinear", padding_mode="border",
    /// align_corners=False)` of PyTorch.
    #[test]
    fn values_come_from_where_the_map_says() {
        let image = Tensor::arange(12, (Kind::Double, tch::Device::Cpu)).view([1, 1, 3, 4]);
        let map = matrix(&[&[0.9, 0.2, 0.5], &[-0.1, 1.1, -2.0 / 3.0]]).unsqueeze(0);
        let expected = matrix(&[
            &[0.883_333, 1.783_333, 2.683_333, 3.0],
            &[1.6, 2.2, 2.95, 3.0],
            &[6.266_667, 6.866_667, 7.25, 6.95],
        ]);
        assert!(largest(&(warp(&image, &map).view([3, 4]) - expected)) < 1e-4);
    }

    #[test]
    fn nothing_is_asked_for_and_nothing_changes() {
        let still = Perturbation { affine: 0.0, shift: 0.0, noise: 0.0 };
        assert!(perturb(&images(), &still, &mut rng()) == images());
    }

    #[test]
    fn a_whole_pixels_shift_moves_the_image() {
        let shift = matrix(&[&[1.0, 0.0, 2.0 / 7.0], &[0.0, 1.0, 0.0]]).to_kind(Kind::Float);
        let moved = warp(&images(), &shift.unsqueeze(0).expand([6, 2, 3], false));
        let error = moved.narrow(3, 0, 6) - images().narrow(3, 1, 6);
        assert!(largest(&error) < 1e-4);
        let edge = moved.narrow(3, 6, 1) - images().narrow(3, 6, 1);
        assert!(largest(&edge) < 1e-4, "beyond the edge the edge goes on");
    }

    #[test]
    fn maps_are_drawn_as_the_settings_say() {
        let settings = Perturbation { affine: 0.1, shift: 2.0, noise: 0.0 };
        let maps = maps(4000, [10, 20], &settings, &mut rng());
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

    #[test]
    fn what_is_no_image_gets_the_noise_alone() {
        let rows = batch(4000, 3, 0.3).to_kind(Kind::Float);
        let settings = Perturbation { noise: 0.25, ..Perturbation::default() };
        let noise = perturb(&rows, &settings, &mut rng()) - &rows;
        assert!((noise.std(true).double_value(&[]) - 0.25).abs() < 0.01);
        assert!(noise.mean(Kind::Double).double_value(&[]).abs() < 0.01);
    }

    #[test]
    fn draws_repeat_and_differ_from_image_to_image() {
        let image = images().narrow(0, 0, 1).expand([6, 2, 5, 7], false);
        let once = perturb(&image, &Perturbation::default(), &mut rng());
        assert!(once == perturb(&image, &Perturbation::default(), &mut rng()));
        assert!(largest(&(once.get(0) - once.get(1))) > 0.01);
    }
}
