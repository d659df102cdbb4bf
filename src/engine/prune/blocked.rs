//! The surgeon in a fixed order of columns: `SparseGPT`.
//!
//! A block of columns at a time: the weights of the block with the least `w² / [H⁻¹]_jj` go, `H⁻¹` of the
//! columns from `j` on, and column by column what goes is made up for by the columns behind it. All rows
//! share the order, and so the inverses, which a Cholesky factor of `H⁻¹` holds: `U_jj² = [H⁻¹]_jj` and the
//! row `U_j,j: / U_jj` is the correction. Frantar & Alistarh 2023, "`SparseGPT`",
//! <https://arxiv.org/abs/2301.00774>, algorithm 1.

use tch::{Kind, Tensor};

use super::groups;

/// What is pruned together: rows that share a Hessian.
pub struct Rows<'a> {
    /// `[rows, d]`, `f64`, on the CPU.
    pub weights: &'a Tensor,
    /// The inverse of the damped Hessian, `[d, d]`.
    pub inverse: &'a Tensor,
    /// Whether a weight is masked already, `[rows, d]`.
    pub masked: &'a Tensor,
    /// Inputs that were always zero: their weights go first.
    pub dead: &'a Tensor,
}

/// How many weights go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// As many in all, masked ones included, in proportion to what is left in the blocks.
    Zeros(usize),
    /// All but the best of every group.
    Pattern((usize, usize)),
}

/// The weights and the mask, `[rows, d]` each.
pub fn prune(rows: &Rows<'_>, take: Take, block: i64) -> (Tensor, Tensor) {
    let factor = rows.inverse.linalg_cholesky(true);
    let d = rows.weights.size()[1];
    let weights = rows.weights.copy();
    let mask = rows.masked.logical_not().to_kind(Kind::Double);
    let alive = mask.sum(Kind::Double).double_value(&[]);
    let (mut seen, mut gone) = (0.0, 0usize);
    for start in (0..d).step_by(block as usize) {
        let width = block.min(d - start);
        let end = start + width;
        let of_block = |tensor: &Tensor| tensor.narrow(1, start, width);
        let upper = factor.narrow(0, start, width);
        let scores = scores(rows, &weights, &factor, start, width);
        let kept = match take {
            Take::Zeros(zeros) => {
                // Cumulated, so that the last block makes the sum exact.
                let masked = mask.numel() as f64 - alive;
                let wanted = zeros as f64 - masked;
                seen += of_block(&mask).sum(Kind::Double).double_value(&[]);
                let until = (wanted * seen / alive.max(1.0)).round() as usize;
                let here = until - gone;
                gone = until;
                keep_all_but(&scores, here)
            }
            Take::Pattern(pattern) => {
                groups::keep_best_of_groups(&scores, pattern).reshape(scores.size())
            }
        };
        of_block(&mask).copy_(&kept);
        let errors = correct(&of_block(&weights), &kept, &of_block(&upper));
        if end < d {
            let behind = errors.matmul(&upper.narrow(1, end, d - end));
            let _ = weights.narrow(1, end, d - end).g_sub_(&behind);
        }
    }
    (&weights * &mask, mask)
}

/// `w² / [H⁻¹]_jj` in a block; below all others for dead inputs, minus infinity for masked weights.
fn scores(rows: &Rows<'_>, weights: &Tensor, factor: &Tensor, start: i64, width: i64) -> Tensor {
    let diagonal = factor.diagonal(0, 0, 1).narrow(0, start, width);
    let scores = (weights.narrow(1, start, width) / diagonal).square();
    let scores = scores.masked_fill(&rows.dead.narrow(0, start, width), -1.0);
    scores.masked_fill(&rows.masked.narrow(1, start, width), f64::NEG_INFINITY)
}

/// One for the kept: all but the masked and the `count` lowest of the others, of equals the first.
fn keep_all_but(scores: &Tensor, count: usize) -> Tensor {
    let flat = scores.reshape([-1]);
    let (_, order) = flat.sort_stable(true, 0, false);
    let masked = flat.eq(f64::NEG_INFINITY).sum(Kind::Int64).int64_value(&[]);
    let gone = order.narrow(0, 0, masked + count as i64);
    flat.ones_like().index_fill(0, &gone, 0.0).reshape(scores.size())
}

/// Zeroes what goes, column by column, and corrects the columns of the block behind it. What the
/// columns behind the block must make up for comes back, `[rows, width]`.
fn correct(weights: &Tensor, kept: &Tensor, factor: &Tensor) -> Tensor {
    let width = weights.size()[1];
    let errors = weights.zeros_like();
    for column in 0..width {
        let pivot = factor.double_value(&[column, column]);
        let gone: Tensor = 1.0 - kept.select(1, column);
        let error = weights.select(1, column) * gone / pivot;
        let change = error.outer(&factor.get(column).narrow(0, column, width - column));
        let _ = weights.narrow(1, column, width - column).g_sub_(&change);
        errors.select(1, column).copy_(&error);
    }
    errors
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::prune::obs;
    use crate::random;

    fn problem(seed: u64, rows: i64, d: i64) -> (Tensor, Tensor) {
        let mut rng = random::stream(seed, "blocked", 0);
        let inputs = random::uniform(&[3 * d, d], -1.0, 1.0, &mut rng).to_kind(Kind::Double);
        let weights = random::uniform(&[rows, d], -1.0, 1.0, &mut rng).to_kind(Kind::Double);
        (inputs.tr().matmul(&inputs), weights)
    }

    fn run(hessian: &Tensor, weights: &Tensor, take: Take, block: i64) -> (Tensor, Tensor) {
        let rows = Rows {
            weights,
            inverse: &obs::inverse(hessian),
            masked: &weights.eq(f64::INFINITY),
            dead: &Tensor::zeros([weights.size()[1]], (Kind::Bool, Device::Cpu)),
        };
        prune(&rows, take, block)
    }

    #[test]
    fn a_weight_goes_in_the_order_of_columns() {
        // [H⁻¹] of the columns from j on: 1, 4/0.79, 1/4, so ½w²/[H⁻¹] is .125, .03555, .605.
        let hessian = [1.0, 0.0, 0.0, 0.0, 4.0, 3.9, 0.0, 3.9, 4.0];
        let hessian = Tensor::from_slice(&hessian).reshape([3, 3]);
        let weights = Tensor::from_slice(&[0.5, 0.6, 0.55]).reshape([1, 3]);
        let (weights, _) = run(&hessian, &weights, Take::Zeros(1), 128);
        let found = Vec::<f64>::try_from(weights.reshape([-1])).unwrap();
        for (found, expected) in found.iter().zip([0.5, 0.0, 1.135]) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
    }

    /// The definition: the inverse of the columns from `j` on is computed anew for every column.
    #[test]
    fn corrections_are_those_of_the_inverse_of_the_columns_that_are_left() {
        for seed in 0..100 {
            let d = 2 + (seed % 19) as i64;
            let (hessian, before) = problem(seed, 3, d);
            let zeros = (3 * d / 2) as usize;
            let (weights, mask) = run(&hessian, &before, Take::Zeros(zeros), 8);
            let kept = mask.sum(Kind::Double).double_value(&[]) as usize;
            assert_eq!(kept, 3 * d as usize - zeros);
            let expected = before.copy();
            for column in 0..d {
                let left = d - column;
                let rest = hessian.narrow(0, column, left).narrow(1, column, left);
                let inverse = Tensor::linalg_inv(&rest);
                let gone: Tensor = 1.0 - mask.select(1, column);
                let error = expected.select(1, column) * gone / inverse.double_value(&[0, 0]);
                let _ = expected.narrow(1, column, left).g_sub_(&error.outer(&inverse.get(0)));
            }
            let difference = (weights - expected).abs().max().double_value(&[]);
            assert!(difference < 1e-9, "seed {seed}: {difference}");
        }
    }

    #[test]
    fn every_group_has_its_pattern() {
        let (hessian, weights) = problem(3, 5, 32);
        let (_, mask) = run(&hessian, &weights, Take::Pattern((2, 4)), 16);
        let groups = mask.reshape([-1, 4]).sum_dim_intlist([1].as_slice(), false, Kind::Double);
        assert!(groups.eq(2.0).all().int64_value(&[]) == 1);
    }
}
