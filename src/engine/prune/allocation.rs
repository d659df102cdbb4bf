//! How layers share a number of weights out: densities that add up to one weight.
//!
//! - uniform: all layers the same density
//! - Erdős–Rényi kernel: densities in proportion to the sum of a weight's extents over their product
//!   (Mocanu et al. 2018, Evci et al. 2020, "Rigging the Lottery", <https://arxiv.org/abs/1911.11134>,
//!   section 3); layers that would be denser than whole stay whole and the others are scaled up
//!
//! A layer's floor and its masks bound its count from below and above, which is the same rule with
//! other bounds than nothing and whole.

/// Bounds of a layer's number of kept weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The fewest.
    pub least: usize,
    /// The most.
    pub most: usize,
}

/// What Erdős–Rényi densities of a weight of this shape are in proportion to.
pub fn erk(shape: &[i64]) -> f64 {
    shape.iter().sum::<i64>() as f64 / shape.iter().product::<i64>() as f64
}

/// Splits `kept` weights over layers in proportion to `shares`, each within its bounds.
///
/// The common factor is found by bisection; the fractions of weights that are left go one each to the
/// layers with the largest, of equals to the first. The sum is exact where the bounds allow it:
/// `Σ least ≤ kept ≤ Σ most`.
pub fn split(kept: usize, shares: &[f64], bounds: &[Bounds]) -> Vec<usize> {
    let at = |factor: f64| -> Vec<f64> {
        let layers = shares.iter().zip(bounds);
        layers.map(|(share, b)| (factor * share).clamp(b.least as f64, b.most as f64)).collect()
    };
    let (mut low, mut high) = (0.0f64, 1.0f64);
    let reaches = |factor: f64| at(factor).iter().sum::<f64>() >= kept as f64;
    while !reaches(high) && high < 1e300 {
        high *= 2.0;
    }
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if reaches(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    rounded(kept, &at(high), bounds)
}

fn rounded(kept: usize, exact: &[f64], bounds: &[Bounds]) -> Vec<usize> {
    // Bisection ends a rounding error above the exact factor.
    let whole = |value: &f64| (value + 1e-7).floor() as usize;
    let mut counts: Vec<usize> = exact.iter().map(whole).collect();
    let mut order: Vec<usize> = (0..exact.len()).collect();
    let fraction = |layer: usize| exact[layer] - whole(&exact[layer]) as f64;
    order.sort_by(|&one, &other| fraction(other).total_cmp(&fraction(one)));
    let mut left = kept as i64 - counts.iter().sum::<usize>() as i64;
    for &layer in &order {
        if left > 0 && counts[layer] < bounds[layer].most {
            counts[layer] += 1;
            left -= 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::random::stream;

    fn free(size: usize) -> Bounds {
        Bounds { least: 1, most: size }
    }

    fn erdos_renyi(kept: usize, shapes: &[&[i64]]) -> Vec<usize> {
        let sizes: Vec<usize> =
            shapes.iter().map(|shape| shape.iter().product::<i64>() as usize).collect();
        let shares: Vec<f64> =
            shapes.iter().zip(&sizes).map(|(shape, &size)| erk(shape) * size as f64).collect();
        split(kept, &shares, &sizes.iter().map(|&size| free(size)).collect::<Vec<_>>())
    }

    #[test]
    fn erdos_renyi_of_lenet_300_100() {
        // Densities 0.01539, 0.04453, 0.36740 at 2 % of 266,200.
        let shapes: [&[i64]; 3] = [&[300, 784], &[100, 300], &[10, 100]];
        assert_eq!(erdos_renyi(5324, &shapes), [3621, 1336, 367]);
        // At 10 % the last would have a density of 1.837: it stays whole, and the others have the rest
        // in proportion to 1084 and 400: 25,620 · 1084/1484 = 18,714.2 and 6,905.8.
        assert_eq!(erdos_renyi(26_620, &shapes), [18_714, 6906, 1000]);
    }

    #[test]
    fn a_kernel_counts_with_its_extents() {
        // (16 + 8 + 3 + 3) / (16 · 8 · 9), as in RigL's `get_mask_random`.
        assert!((erk(&[16, 8, 3, 3]) - 30.0 / 1152.0).abs() < 1e-15);
    }

    #[test]
    fn every_split_is_exact_within_bounds_and_in_proportion_between_them() {
        for seed in 0..1000 {
            let mut rng = stream(seed, "split", 0);
            let layers = rng.random_range(1..7);
            let (mut shares, mut bounds) = (Vec::new(), Vec::new());
            for _ in 0..layers {
                let most = rng.random_range(1..500);
                let least = rng.random_range(0..=most.min(40));
                shares.push(rng.random_range(0.01..100.0));
                bounds.push(Bounds { least, most });
            }
            let least: usize = bounds.iter().map(|b| b.least).sum();
            let most: usize = bounds.iter().map(|b| b.most).sum();
            let kept = rng.random_range(least..=most);
            let counts = split(kept, &shares, &bounds);
            assert_eq!(counts.iter().sum::<usize>(), kept, "seed {seed}");
            for (one, &count) in counts.iter().enumerate() {
                assert!((bounds[one].least..=bounds[one].most).contains(&count), "seed {seed}");
                // A layer above its floor has no larger factor than one below its ceiling, but for
                // the weight that rounding moves.
                for (other, &more) in counts.iter().enumerate() {
                    if count > bounds[one].least + 1 && more + 1 < bounds[other].most {
                        let (one, other) = (shares[one], shares[other]);
                        assert!((count as f64 - 1.0) / one <= (more as f64 + 1.0) / other + 1e-6);
                    }
                }
            }
        }
    }
}
