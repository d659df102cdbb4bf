//! Nesterov's extrapolation between proximal steps.
//!
//! `x_{k+1} = prox(y_k − lr ∇f(y_k))`, `y_{k+1} = x_{k+1} + (t_k − 1) / t_{k+1} · (x_{k+1} − x_k)` with
//! `t_{k+1} = (1 + √(1 + 4 t_k²)) / 2`: FISTA, Beck & Teboulle 2009, "A Fast Iterative
//! Shrinkage-Thresholding Algorithm for Linear Inverse Problems", <https://doi.org/10.1137/080716542>,
//! section 4.
//!
//! Between steps the network holds `y`. At the end of each epoch it holds `x`, with its exact zeros, which
//! is what is measured and kept, and `t` is 1 again (O'Donoghue & Candès 2015, "Adaptive Restart for
//! Accelerated Gradient Schemes", <https://arxiv.org/abs/1204.3982>, at a fixed interval). Their other
//! restart, by the sign of `⟨∇, x_{k+1} − x_k⟩`, sees with gradients of batches mostly the square of the
//! noise, and restarts late; an interval bounds what the extrapolation makes of the noise.

use tch::Tensor;

use crate::model::Model;

/// The last `x` of everything that is trained, and `t`.
#[derive(Debug)]
pub(super) struct Accelerated {
    last: Vec<(String, Tensor)>,
    t: f64,
}

/// How much further a gradient that stays moves a value in so many steps from rest than it would without
/// extrapolation: `lr · steps² / 8` in place of `lr · steps` (Su, Boyd & Candès 2014,
/// <https://arxiv.org/abs/1503.01243>, section 3: `x″ + 3/t x′ = −∇`).
pub(super) fn speed_up(steps: u64) -> f64 {
    (steps as f64 / 8.0).max(1.0)
}

impl Accelerated {
    pub(super) fn new(model: &Model) -> Self {
        let trained = model.params().iter().filter(|(_, parameter)| parameter.is_trained());
        let last = trained.map(|(name, parameter)| (name.clone(), parameter.value.detach().copy()));
        Self { last: last.collect(), t: 1.0 }
    }

    /// From the `x` that a step came to on to `y`.
    pub(super) fn extrapolate(&mut self, model: &Model) {
        let t = f64::midpoint(1.0, (1.0 + 4.0 * self.t * self.t).sqrt());
        let beta = (self.t - 1.0) / t;
        self.t = t;
        for (name, last) in &mut self.last {
            let mut value = model.params()[name.as_str()].value.detach();
            let x = value.copy();
            let _ = value.g_add_(&((&x - &*last) * beta));
            *last = x;
        }
    }

    /// Stays at `x` and comes to rest.
    pub(super) fn restart(&mut self, model: &Model) {
        self.t = 1.0;
        for (name, last) in &mut self.last {
            *last = model.params()[name.as_str()].value.detach().copy();
        }
    }
}

#[cfg(test)]
mod tests {
    use graftwork::experiment::spec;
    use indexmap::IndexMap;
    use tch::{Kind, no_grad};

    use super::*;
    use crate::prune::ista::Lasso;
    use crate::prune::sparse_opt::parts::Parts;
    use crate::prune::tests::row;
    use crate::random;
    use crate::train::optimizer::Optimizer;

    /// So many steps of `½ ‖y − X w‖² + λ ‖w‖₁` from zero; begun anew after every `interval`.
    fn steps(
        design: &Tensor,
        targets: &Tensor,
        (rate, lambda): (f64, f64),
        count: usize,
        interval: usize,
    ) -> Tensor {
        let mut model = row(&vec![0.0; design.size()[1] as usize]);
        let rule = spec::Sgd { momentum: 0.0, ..spec::Sgd::default() };
        let rule = spec::Optimizer::Sgd(rule);
        let mut sgd = Optimizer::new(&rule, &IndexMap::new(), &model, None);
        let parts = Parts::Weights(vec!["fc.weight".to_owned()]);
        let mut accelerated = Accelerated::new(&model);
        for step in 1..=count {
            let weights = model.params()["fc.weight"].value.reshape([-1]);
            let loss = (design.matmul(&weights) - targets).square().sum(Kind::Float) * 0.5;
            let gradients = sgd.dense_gradients(&loss, &model, None);
            sgd.step(&gradients, rate, &mut model, None);
            no_grad(|| {
                parts.shrink(&model, rate * lambda);
                if step % interval == 0 || step == count {
                    accelerated.restart(&model);
                } else {
                    accelerated.extrapolate(&model);
                }
            });
        }
        model.params()["fc.weight"].value.detach().reshape([-1]).to_kind(Kind::Double)
    }

    fn largest_eigenvalue(design: &Tensor) -> f64 {
        let design = design.to_kind(Kind::Double);
        design.tr().matmul(&design).linalg_eigvalsh("L").max().double_value(&[])
    }

    // X = [[1,1],[0,1]], y = (2,1), λ = .5, lr = 1/L = .381966: x₁ = (.572949, .954915); β₁ = 0, so y₁ = x₁.
    // x₂ = prox(x₁ − lr (XᵀX x₁ − Xᵀy)); t₂ = 1.618034, t₃ = 2.193527, β₂ = .281754.
    #[test]
    fn steps_are_those_of_the_solver() {
        let design = Tensor::from_slice(&[1.0f32, 1.0, 0.0, 1.0]).reshape([2, 2]);
        let targets = Tensor::from_slice(&[2.0f32, 1.0]);
        let rate = 1.0 / largest_eigenvalue(&design);
        let lasso = Lasso::new(&design, &targets, 0.5);
        for count in 1..12 {
            let found = steps(&design, &targets, (rate, 0.5), count, usize::MAX);
            let expected = lasso.fista(-1.0, count);
            let error = (found - expected).abs().max().double_value(&[]);
            assert!(error < 1e-6, "after {count} steps: {error}");
        }
        let first = steps(&design, &targets, (rate, 0.5), 1, usize::MAX);
        assert!((first.double_value(&[0]) - 0.572_949).abs() < 1e-6);
        assert!((first.double_value(&[1]) - 0.954_915).abs() < 1e-6);
    }

    /// On badly scaled problems the conditions of optimality are nearer than without extrapolation, also where
    /// it begins anew again and again, and zeros are exact.
    #[test]
    fn extrapolation_comes_nearer_to_the_minimum_in_as_many_steps() {
        for seed in 0..20 {
            let mut rng = random::stream(seed, "lasso", 0);
            let scales = Tensor::from_slice(&[1.0f32, 0.7, 0.4, 0.2, 0.1, 0.07]);
            let design = random::uniform(&[20, 6], -1.0, 1.0, &mut rng) * scales;
            let targets = random::uniform(&[20], -1.0, 1.0, &mut rng);
            let lambda = 0.02;
            let rate = 1.0 / largest_eigenvalue(&design);
            let lasso = Lasso::new(&design, &targets, lambda);
            let residual = |interval| {
                let found = steps(&design, &targets, (rate, lambda), 120, interval);
                lasso.residual(&found)
            };
            let (plain, restarted) = (residual(1), residual(40));
            assert!(restarted < 0.5 * plain, "seed {seed}: {restarted} {plain}");
        }
    }
}
