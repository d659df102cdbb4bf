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
