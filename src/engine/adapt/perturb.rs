//! Random changes of examples that leave their class.

use graftwork::experiment::spec::Perturbation;
use rand_chacha::ChaCha8Rng;
use tch::Tensor;

use crate::data::affine::{self, Beyond};
use crate::random;

/// Examples as [`Perturbation`] changes them, each in its own way.
///
/// # Shapes
/// - inputs: `[n, …]`, floats; images are `[n, channels, height, width]`, all else gets the noise alone
/// - result: the same
pub fn perturb(inputs: &Tensor, settings: &Perturbation, rng: &mut ChaCha8Rng) -> Tensor {
    let Perturbation { deviation, shift, noise } = *settings;
    let moved = match inputs.size()[..] {
        [n, _, height, width] if deviation > 0.0 || shift > 0.0 => {
            let maps = affine::maps(n, [height, width], deviation, shift, rng);
            // What is black depends on how the values are normalised; the edge is what it mostly is.
            affine::warp(inputs, &maps.to_device(inputs.device()), Beyond::Edge)
        }
        _ => inputs.shallow_clone(),
    };
    if noise == 0.0 {
        return moved;
    }
    moved + random::normal(&inputs.size(), noise, rng).to_device(inputs.device())
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::super::testing::batch;
    use super::*;

    fn images() -> Tensor {
        batch(6 * 2, 5 * 7, 0.3).to_kind(Kind::Float).view([6, 2, 5, 7])
    }

    fn rng() -> ChaCha8Rng {
        random::stream(4, "perturbation", 0)
    }

    #[test]
    fn nothing_is_asked_for_and_nothing_changes() {
        let still = Perturbation { deviation: 0.0, shift: 0.0, noise: 0.0 };
        assert!(perturb(&images(), &still, &mut rng()) == images());
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
        let difference = (once.get(0) - once.get(1)).abs().max().double_value(&[]);
        assert!(difference > 0.01, "{difference}");
    }
}
