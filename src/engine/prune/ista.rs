//! Sparse least squares by proximal gradient steps: the solver behind `sparse-opt`, on problems whose
//! answer is known.
//!
//! ISTA and FISTA as in Beck & Teboulle 2009, "A Fast Iterative Shrinkage-Thresholding Algorithm for
//! Linear Inverse Problems", <https://doi.org/10.1137/080716542>, sections 1 and 4.

use tch::{Kind, Tensor};

/// `sign(z) · max(|z| − threshold, 0)`, the proximal step of `threshold · ‖·‖₁`; exact zeros.
pub fn soft_threshold(values: &Tensor, threshold: f64) -> Tensor {
    // The difference is +0 within the threshold; a product with the sign would leave -0.
    values - values.clamp(-threshold, threshold)
}

/// The same with a threshold for each value.
pub fn soft_threshold_by(values: &Tensor, thresholds: &Tensor) -> Tensor {
    values - values.clamp_tensor(Some(-thresholds), Some(thresholds.shallow_clone()))
}

/// How far `weights` is from a minimum of `f(w) + lambda · ‖w‖₁`, value by value: zero at a minimum.
///
/// `|∇f| − λ` where it is positive for a zero weight, `|∇f + λ · sign(w)|` for another.
pub fn kkt_violation(weights: &Tensor, gradient: &Tensor, lambda: f64) -> Tensor {
    let at_zero = (gradient.abs() - lambda).clamp_min(0.0);
    let elsewhere = (gradient + weights.sign() * lambda).abs();
    at_zero.where_self(&weights.eq(0.0), &elsewhere)
}

/// `½ ‖y − X w‖² + lambda · ‖w‖₁`.
pub struct Lasso {
    gram: Tensor,        // XᵀX, [d, d], f64
    correlation: Tensor, // Xᵀy, [d], f64
    lambda: f64,
    /// The largest eigenvalue of the Gram matrix, the inverse of the largest safe step.
    lipschitz: f64,
}

impl Lasso {
    /// The problem of a design matrix `[n, d]` and targets `[n]`.
    pub fn new(design: &Tensor, targets: &Tensor, lambda: f64) -> Self {
        let design = design.to_kind(Kind::Double);
        let gram = design.tr().matmul(&design);
        let correlation = design.tr().mv(&targets.to_kind(Kind::Double));
        let lipschitz = gram.linalg_eigvalsh("L").max().double_value(&[]);
        Self { gram, correlation, lambda, lipschitz }
    }

    /// The gradient of the smooth part, `XᵀX w − Xᵀy`.
    pub fn gradient(&self, weights: &Tensor) -> Tensor {
        self.gram.mv(weights) - &self.correlation
    }

    /// One proximal gradient step from a point, with the step 1/L.
    pub fn step(&self, point: &Tensor) -> Tensor {
        let step = 1.0 / self.lipschitz;
        soft_threshold(&(point - self.gradient(point) * step), step * self.lambda)
    }

    /// The largest violation of the optimality conditions.
    pub fn residual(&self, weights: &Tensor) -> f64 {
        kkt_violation(weights, &self.gradient(weights), self.lambda).max().double_value(&[])
    }

    /// Proximal gradient descent from zero until the residual is at most `tolerance`.
    pub fn ista(&self, tolerance: f64, steps: usize) -> Tensor {
        let mut weights = self.correlation.zeros_like();
        for _ in 0..steps {
            if self.residual(&weights) <= tolerance {
                break;
            }
            weights = self.step(&weights);
        }
        weights
    }

    /// The same with Nesterov's momentum.
    pub fn fista(&self, tolerance: f64, steps: usize) -> Tensor {
        let mut weights = self.correlation.zeros_like();
        let mut point = weights.copy();
        let mut momentum = 1.0f64;
        for _ in 0..steps {
            if self.residual(&weights) <= tolerance {
                break;
            }
            let next = self.step(&point);
            let next_momentum = f64::midpoint(1.0, (1.0 + 4.0 * momentum * momentum).sqrt());
            point = &next + (&next - &weights) * ((momentum - 1.0) / next_momentum);
            (weights, momentum) = (next, next_momentum);
        }
        weights
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    fn vector(values: &[f64]) -> Tensor {
        Tensor::from_slice(values)
    }

    #[track_caller]
    fn check(found: &Tensor, expected: &[f64], tolerance: f64) {
        let found = Vec::<f64>::try_from(found).unwrap();
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() <= tolerance, "{found} is not {expected}");
        }
    }

    #[test]
    fn an_orthonormal_design_is_thresholded_in_one_step() {
        // XᵀX = I, Xᵀy = (3, −0.4, 1, −2.5), λ = 1.
        let targets = vector(&[3.0, -0.4, 1.0, -2.5]);
        let lasso = Lasso::new(&Tensor::eye(4, (Kind::Double, tch::Device::Cpu)), &targets, 1.0);
        check(&lasso.ista(1e-12, 2), &[2.0, 0.0, 0.0, -1.5], 1e-12);
        assert!(lasso.residual(&vector(&[2.0, 0.0, 0.0, -1.5])).abs() < 1e-15);
    }

    #[test]
    fn a_small_problem_has_its_known_path() {
        // X = [[1,1],[0,1]], y = (2,1): XᵀX = [[1,1],[1,2]], Xᵀy = (2,3), L = 2.618034.
        let design = vector(&[1.0, 1.0, 0.0, 1.0]).reshape([2, 2]);
        let targets = vector(&[2.0, 1.0]);
        let lasso = Lasso::new(&design, &targets, 0.5);
        assert!((lasso.lipschitz - 2.618_034).abs() < 1e-6);
        check(&lasso.step(&vector(&[0.0, 0.0])), &[0.572_949, 0.954_915], 1e-6);
        for solution in [lasso.ista(1e-9, 10_000), lasso.fista(1e-9, 10_000)] {
            check(&solution, &[0.5, 1.0], 1e-6);
            check(&lasso.gradient(&solution), &[-0.5, -0.5], 1e-6);
        }
        check(&Lasso::new(&design, &targets, 2.2).ista(1e-9, 10_000), &[0.0, 0.4], 1e-6);
        check(&Lasso::new(&design, &targets, 3.0).ista(1e-9, 10_000), &[0.0, 0.0], 0.0);
    }

    #[test]
    fn both_solvers_meet_the_optimality_conditions_on_random_problems() {
        for seed in 0..200 {
            let mut rng = random::stream(seed, "lasso", 0);
            let d = 1 + (seed % 10) as i64;
            let design = random::uniform(&[12, d], -1.0, 1.0, &mut rng);
            let targets = random::uniform(&[12], -1.0, 1.0, &mut rng);
            let lasso = Lasso::new(&design, &targets, 0.05 + 0.01 * (seed % 30) as f64);
            for solution in [lasso.ista(1e-8, 50_000), lasso.fista(1e-8, 50_000)] {
                assert!(lasso.residual(&solution) <= 1e-6, "seed {seed}");
            }
        }
    }

    #[test]
    fn values_within_the_threshold_become_positive_zero() {
        let thresholded = soft_threshold(&vector(&[-0.5, 0.5, -2.0]), 1.0);
        let values = Vec::<f64>::try_from(thresholded).unwrap();
        assert_eq!(
            values.iter().map(|v| v.to_bits()).collect::<Vec<_>>(),
            [0, 0, (-1.0f64).to_bits()]
        );
    }
}
