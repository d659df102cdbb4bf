//! Where every random draw comes from.
//!
//! A draw belongs to a stream that is named by the seed, a purpose and an epoch. Streams do not
//! depend on each other or on what ran before, so a resumed stage draws what an uninterrupted one
//! draws, and two variants with one seed share their draws (paired comparisons). All draws are made
//! on the CPU, so that they are the same on every device.

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use tch::Tensor;

/// The stream of one purpose in one epoch.
pub fn stream(seed: u64, purpose: &str, epoch: u64) -> ChaCha8Rng {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes()).update(&epoch.to_le_bytes()).update(purpose.as_bytes());
    ChaCha8Rng::from_seed(*hasher.finalize().as_bytes())
}

/// Another seed, for draws that would else be named as others are.
pub fn seed_of(seed: u64, purpose: &str) -> u64 {
    stream(seed, purpose, 0).random()
}

/// The numbers `0..n` in random order.
pub fn permutation(n: usize, rng: &mut ChaCha8Rng) -> Vec<i64> {
    let mut order: Vec<i64> = (0..n as i64).collect();
    order.shuffle(rng);
    order
}

/// A CPU tensor of values uniform in `low..high`, `f32`.
pub fn uniform(shape: &[i64], low: f64, high: f64, rng: &mut ChaCha8Rng) -> Tensor {
    let count: i64 = shape.iter().product();
    let values: Vec<f32> =
        (0..count).map(|_| (low + (high - low) * rng.random::<f64>()) as f32).collect();
    Tensor::from_slice(&values).reshape(shape)
}

/// A CPU tensor of normal values with mean 0, `f32`.
pub fn normal(shape: &[i64], std: f64, rng: &mut ChaCha8Rng) -> Tensor {
    let count: i64 = shape.iter().product();
    let values: Vec<f32> =
        (0..count).map(|_| (std * rng.sample::<f64, _>(StandardNormal)) as f32).collect();
    Tensor::from_slice(&values).reshape(shape)
}

/// Seeds what LibTorch draws itself (dropout), from the same derivation.
pub fn seed_libtorch(seed: u64, purpose: &str, epoch: u64) {
    tch::manual_seed(stream(seed, purpose, epoch).random::<i64>());
}

/// Held by a test while it trains: LibTorch's generator is one for the whole process. An engine runs
/// one stage at a time, and so must tests that share a process.
#[cfg(test)]
pub(crate) fn libtorchs_turn() -> std::sync::MutexGuard<'static, ()> {
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    #[test]
    fn streams_differ_by_seed_purpose_and_epoch_and_repeat() {
        let draw = |seed, purpose, epoch| stream(seed, purpose, epoch).random::<u64>();
        assert_eq!(draw(1, "shuffle", 2), draw(1, "shuffle", 2));
        let others = [draw(2, "shuffle", 2), draw(1, "crop", 2), draw(1, "shuffle", 3)];
        assert!(!others.contains(&draw(1, "shuffle", 2)));
    }

    #[test]
    fn a_permutation_holds_each_index_once() {
        let mut order = permutation(1000, &mut stream(7, "shuffle", 0));
        assert_ne!(order, (0..1000).collect::<Vec<i64>>());
        order.sort_unstable();
        assert_eq!(order, (0..1000).collect::<Vec<i64>>());
    }

    #[test]
    fn normal_draws_have_the_moments_of_the_normal_distribution() {
        let draws = normal(&[200, 500], 0.5, &mut stream(3, "x", 0)).to_kind(Kind::Double) / 0.5;
        // Each with four standard errors of the mean of 100,000 draws.
        let moments = [(1, 0.0, 0.013), (2, 1.0, 0.018), (3, 0.0, 0.049), (4, 3.0, 0.124)];
        for (power, moment, error) in moments {
            let mean = draws.pow_tensor_scalar(power).mean(Kind::Double).double_value(&[]);
            assert!((mean - moment).abs() < error, "moment {power} is {mean}");
        }
    }
}
