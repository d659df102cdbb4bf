//! Optimal brain surgeon for one row of a weight: exact, one weight at a time.
//!
//! `L(w) = ½ (w − w⁰)ᵀ H (w − w⁰)`, and the best `w` for a set of removed weights. Hassibi & Stork 1993,
//! "Second order derivatives for network pruning: Optimal Brain Surgeon"; row by row as in Frantar &
//! Alistarh 2022, "Optimal Brain Compression", <https://arxiv.org/abs/2208.11580>, section 4.
//!
//! Two things make it quick without changing the result. The inverse Hessian is downdated by the
//! removals of a whole block at once (a matrix product); inside a block only the columns of removed
//! weights are brought up to date. And the weights are not carried along to be used: after any number
//! of removals the exact weights are the least squares on the support, which [`refit`] solves for the
//! few that are left.

use tch::{Kind, Tensor};

use crate::stage::StageError;

/// Removals between two downdates of the inverse Hessian.
const BLOCK: usize = 64;

/// The order in which a row's weights go, and what each removal costs.
#[derive(Debug, Clone, PartialEq)]
pub struct Elimination {
    /// Indices of the weights, the first to go first.
    pub order: Vec<u32>,
    /// Increase of `L` at each removal.
    pub losses: Vec<f64>,
}

/// Removes all weights of a row, one by one, each time the one whose removal costs least when the
/// others are corrected: `w_q² / (2 [H⁻¹]_qq)`. Of equals the first goes.
///
/// # Shapes
/// - inverse: `[d, d]`, `f64`, on the CPU: the inverse of a positive definite H
/// - weights: `d` values
pub fn eliminate(inverse: &Tensor, weights: &[f64]) -> Elimination {
    let groups = vec![0; weights.len()];
    eliminate_groups(inverse, weights, &groups, &mut [weights.len()])
}

/// The same where a group of weights loses as many as it can spare; the others stay and are not in the
/// order.
///
/// - groups: the group of each weight
/// - spare: for each group how many it can lose; what is left of it at the end
pub fn eliminate_groups(
    inverse: &Tensor,
    weights: &[f64],
    groups: &[usize],
    spare: &mut [usize],
) -> Elimination {
    let mut row = Row::new(inverse, weights);
    let mut elimination = Elimination { order: Vec::new(), losses: Vec::new() };
    let mut inverse = inverse.shallow_clone();
    let mut left: usize = {
        let mut sizes = vec![0; spare.len()];
        for &group in groups {
            sizes[group] += 1;
        }
        sizes.iter().zip(&*spare).map(|(&size, &spare)| spare.min(size)).sum()
    };
    while left > 0 {
        let mut factors = Factors { values: Vec::new(), width: row.alive.len() };
        for _ in 0..BLOCK.min(left) {
            let may_go = |index: u32| spare[groups[index as usize]] > 0;
            let cheapest = row.cheapest(&may_go);
            let (index, loss) = row.remove(cheapest, &inverse, &mut factors);
            spare[groups[index as usize]] -= 1;
            elimination.order.push(index);
            elimination.losses.push(loss);
            left -= 1;
        }
        if left > 0 {
            inverse = row.compact(&inverse, &factors);
        }
    }
    elimination
}

/// The weights that are left, in the columns of the current inverse.
struct Row {
    /// Their indices in the whole row.
    alive: Vec<u32>,
    weights: Vec<f64>,
    /// Diagonal of the inverse, up to date.
    diagonal: Vec<f64>,
    /// Which columns were removed since the last downdate.
    removed: Vec<bool>,
    column: Vec<f64>,
}

/// `H⁻¹_now = H⁻¹ − Σ v vᵀ` over the removals of a block: the `v`s, one after the other.
struct Factors {
    values: Vec<f64>,
    width: usize,
}

impl Row {
    fn new(inverse: &Tensor, weights: &[f64]) -> Self {
        let diagonal = Vec::try_from(inverse.diagonal(0, 0, 1)).expect("a vector of f64");
        Self {
            alive: (0..weights.len() as u32).collect(),
            weights: weights.to_vec(),
            diagonal,
            removed: vec![false; weights.len()],
            column: vec![0.0; weights.len()],
        }
    }

    fn remove(&mut self, cheapest: usize, inverse: &Tensor, factors: &mut Factors) -> (u32, f64) {
        let width = self.alive.len();
        let column = &mut self.column[..width];
        inverse.get(cheapest as i64).copy_data(column, width);
        for factor in factors.values.chunks_exact(factors.width) {
            let scale = factor[cheapest];
            for (value, factor) in column.iter_mut().zip(factor) {
                *value -= scale * factor;
            }
        }
        let pivot = column[cheapest];
        let weight = self.weights[cheapest];
        let scale = 1.0 / pivot.sqrt();
        let correction = weight * scale;
        for (place, value) in column.iter_mut().enumerate() {
            *value *= scale;
            self.weights[place] -= correction * *value;
            self.diagonal[place] -= *value * *value;
        }
        factors.values.extend_from_slice(column);
        self.removed[cheapest] = true;
        (self.alive[cheapest], 0.5 * weight * weight / pivot)
    }

    fn cheapest(&self, may_go: &dyn Fn(u32) -> bool) -> usize {
        let mut best = (f64::INFINITY, usize::MAX);
        for place in 0..self.alive.len() {
            let cost = self.weights[place] * self.weights[place] / self.diagonal[place];
            let is_open = !self.removed[place] && may_go(self.alive[place]);
            if is_open && (cost < best.0 || best.1 == usize::MAX) {
                best = (cost, place);
            }
        }
        best.1
    }

    /// Brings the inverse up to date and drops the removed columns.
    fn compact(&mut self, inverse: &Tensor, factors: &Factors) -> Tensor {
        let kept: Vec<usize> = (0..self.alive.len()).filter(|&i| !self.removed[i]).collect();
        let index: Vec<i64> = kept.iter().map(|&place| place as i64).collect();
        let index = Tensor::from_slice(&index);
        self.alive = kept.iter().map(|&place| self.alive[place]).collect();
        self.weights = kept.iter().map(|&place| self.weights[place]).collect();
        self.diagonal = kept.iter().map(|&place| self.diagonal[place]).collect();
        self.removed = vec![false; kept.len()];
        let factors = Tensor::from_slice(&factors.values)
            .reshape([-1, factors.width as i64])
            .index_select(1, &index);
        let mut inverse = inverse.index_select(0, &index).index_select(1, &index);
        inverse.addmm_(&factors.tr(), &(-&factors))
    }
}

/// A Hessian with a fraction of its diagonal's mean added to its diagonal.
pub fn damped(hessian: &Tensor, damping: f64) -> Tensor {
    let damped = hessian.copy();
    let mut diagonal = damped.diagonal(0, 0, 1);
    let mean = diagonal.mean(Kind::Double).double_value(&[]);
    let _ = diagonal.g_add_scalar_(damping * mean);
    damped
}

/// The Hessian of a layer with so many inputs has no inverse.
pub fn singular(layer: &str, inputs: i64, damping: f64) -> StageError {
    StageError::Unfit(format!(
        "the Hessian of layer `{layer}` has no inverse: its {inputs} inputs depend on each other on the calibration images; raise `damping` (now {damping}) or `calibration-samples`"
    ))
}

/// The inverse of a positive definite matrix.
pub fn inverse(matrix: &Tensor) -> Tensor {
    matrix.linalg_cholesky(false).cholesky_inverse(false)
}

/// The best weights on a support: the least of `(w − w⁰)ᵀ H (w − w⁰)` with all others zero.
///
/// # Shapes
/// - hessian: `[d, d]`, `f64`, on the CPU, positive definite
/// - weights: `[d]`, `f64`
/// - support: ascending indices
/// - result: one value for each index of the support
pub fn refit(hessian: &Tensor, weights: &Tensor, support: &[i64]) -> Tensor {
    let index = Tensor::from_slice(support);
    if support.is_empty() {
        return Tensor::zeros([0], (Kind::Double, hessian.device()));
    }
    let rows = hessian.index_select(0, &index);
    let right = rows.mv(weights).unsqueeze(1);
    let factor = rows.index_select(1, &index).linalg_cholesky(false);
    right.cholesky_solve(&factor, false).squeeze_dim(1)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::random;

    fn matrix(values: &[f64]) -> Tensor {
        let d = values.len().isqrt() as i64;
        Tensor::from_slice(values).reshape([d, d])
    }

    /// A random positive definite Hessian and weights.
    fn problem(seed: u64, d: i64) -> (Tensor, Vec<f64>) {
        let mut rng = random::stream(seed, "problem", 0);
        let inputs = random::uniform(&[2 * d + 2, d], -1.0, 1.0, &mut rng).to_kind(Kind::Double);
        let weights = random::uniform(&[d], -1.0, 1.0, &mut rng).to_kind(Kind::Double);
        (inputs.tr().matmul(&inputs), Vec::try_from(weights).unwrap())
    }

    fn loss(hessian: &Tensor, weights: &[f64], support: &[i64]) -> f64 {
        let before = Tensor::from_slice(weights);
        let after = before.zeros_like();
        let after =
            after.index_copy(0, &Tensor::from_slice(support), &refit(hessian, &before, support));
        let change = after - before;
        0.5 * hessian.mv(&change).dot(&change).double_value(&[])
    }

    #[track_caller]
    fn close(found: f64, expected: f64, tolerance: f64) {
        assert!(
            (found - expected).abs() <= tolerance * (1.0 + expected.abs()),
            "{found} {expected}"
        );
    }

    #[test]
    fn two_correlated_weights() {
        // Scores 0.75 and 1.08; without the first the other becomes 1.7.
        let hessian = matrix(&[2.0, 1.0, 1.0, 2.0]);
        let elimination = eliminate(&inverse(&hessian), &[1.0, 1.2]);
        assert_eq!(elimination.order, [0, 1]);
        close(elimination.losses[0], 0.75, 1e-12);
        let left = refit(&hessian, &Tensor::from_slice(&[1.0, 1.2]), &[1]);
        close(left.double_value(&[0]), 1.7, 1e-12);
    }

    #[test]
    fn the_whole_hessian_sees_what_the_diagonal_does_not() {
        // The diagonal's scores .125, .72, .605 remove the first; the whole's .125, .03555, .02987 the last.
        let hessian = matrix(&[1.0, 0.0, 0.0, 0.0, 4.0, 3.9, 0.0, 3.9, 4.0]);
        let elimination = eliminate(&inverse(&hessian), &[0.5, 0.6, 0.55]);
        assert_eq!(elimination.order[0], 2);
        close(elimination.losses[0], 0.029_871_875, 1e-9);
        let left = refit(&hessian, &Tensor::from_slice(&[0.5, 0.6, 0.55]), &[0, 1]);
        close(left.double_value(&[0]), 0.5, 1e-12);
        close(left.double_value(&[1]), 1.13625, 1e-12);
    }

    #[test]
    fn one_removal_is_the_best_that_brute_force_finds() {
        for seed in 0..120 {
            let d = 2 + (seed % 9) as i64;
            let (hessian, weights) = problem(seed, d);
            let elimination = eliminate(&inverse(&hessian), &weights);
            let without = |removed: i64| {
                let support: Vec<i64> = (0..d).filter(|&index| index != removed).collect();
                loss(&hessian, &weights, &support)
            };
            let best = (0..d).map(without).fold(f64::INFINITY, f64::min);
            close(elimination.losses[0], best, 1e-8);
            close(without(i64::from(elimination.order[0])), best, 1e-8);
        }
    }

    /// The textbook loop: every step downdates the whole inverse and corrects all weights.
    fn textbook(hessian: &Tensor, weights: &[f64], removals: usize) -> (Vec<u32>, Vec<f64>) {
        let d = weights.len();
        let mut inverse: Vec<Vec<f64>> = Vec::try_from(inverse(hessian)).unwrap();
        let mut weights = weights.to_vec();
        let mut order: Vec<u32> = Vec::new();
        for _ in 0..removals {
            let cost = |q: usize| weights[q] * weights[q] / inverse[q][q];
            let q = (0..d)
                .filter(|&q| !order.contains(&(q as u32)))
                .min_by(|&a, &b| cost(a).total_cmp(&cost(b)))
                .unwrap();
            let column: Vec<f64> = inverse.iter().map(|row| row[q]).collect();
            let step = weights[q] / column[q];
            for i in 0..d {
                weights[i] -= step * column[i];
                for j in 0..d {
                    inverse[i][j] -= column[i] * column[j] / column[q];
                }
            }
            order.push(q as u32);
            for &q in &order {
                weights[q as usize] = 0.0;
            }
        }
        (order, weights)
    }

    #[test]
    fn any_number_of_removals_is_the_least_squares_on_the_support() {
        for seed in 0..50 {
            let d = 2 + (seed % 9) as i64;
            let (hessian, weights) = problem(seed, d);
            let elimination = eliminate(&inverse(&hessian), &weights);
            for removals in 1..d as usize {
                let (order, stepped) = textbook(&hessian, &weights, removals);
                assert_eq!(order, elimination.order[..removals]);
                let mut support: Vec<i64> =
                    elimination.order[removals..].iter().map(|&q| i64::from(q)).collect();
                support.sort_unstable();
                let fitted = refit(&hessian, &Tensor::from_slice(&weights), &support);
                for (place, &index) in support.iter().enumerate() {
                    close(fitted.double_value(&[place as i64]), stepped[index as usize], 1e-8);
                }
                let total: f64 = elimination.losses[..removals].iter().sum();
                close(loss(&hessian, &weights, &support), total, 1e-8);
            }
        }
    }

    #[test]
    fn blocks_do_not_change_the_order() {
        let (hessian, weights) = problem(5, 3 * BLOCK as i64 + 7);
        let elimination = eliminate(&inverse(&hessian), &weights);
        let (order, _) = textbook(&hessian, &weights, weights.len());
        assert_eq!(elimination.order, order);
    }

    #[test]
    fn of_equals_the_first_goes() {
        let identity = Tensor::eye(4, (Kind::Double, Device::Cpu));
        assert_eq!(eliminate(&identity, &[1.0, 0.5, 0.5, 0.5]).order, [1, 2, 3, 0]);
    }
}
