//! Gradual pruning: small weights go bit by bit, many at first and few at the end.
//!
//! Zhu & Gupta 2017, "To prune, or not to prune: exploring the efficacy of pruning for model compression",
//! <https://arxiv.org/abs/1710.01878>, section 3: `s_t = s_f + (s_i − s_f) (1 − (t − t₀)/(nΔt))³`. Where the
//! masks start is `s_i`, each set of layers whose weights compete for itself.

use graftwork::experiment::spec;

use super::{Plan, allocation};
use crate::model::Model;
use crate::prune::selection::{self, Budget, Target};
use crate::prune::{self, Prunable};
use crate::stage::StageError;

/// Masks along the cubic.
pub(super) struct Gradual {
    /// The first step count, that at which the sparsity is reached, and the steps between two changes.
    start: u64,
    pub(super) end: u64,
    every: u64,
    /// What is asked for in the end.
    budget: Budget,
    /// Zeros of each pool of the budget at the start.
    before: Vec<usize>,
}

impl Gradual {
    /// Reads where the masks are, and checks that the end can be reached from there.
    ///
    /// # Errors
    /// As [`selection::budget`].
    pub(super) fn start(
        settings: &spec::Gradual,
        model: &Model,
        layers: &[Prunable],
        plan: Plan,
    ) -> Result<Self, StageError> {
        let target = Target {
            allocation: settings.allocation.map(allocation),
            ..Target::new(settings.sparsity, settings.scope)
        };
        let budget = selection::budget(model, layers, &target)?;
        let masked = |pool: &[usize]| pool.iter().map(|&layer| layers[layer].masked(model)).sum();
        let before = budget.pools.iter().map(|(pool, _)| masked(pool)).collect();
        Ok(Self {
            start: u64::from(settings.from_epoch) * plan.steps_per_epoch,
            end: u64::from(settings.until_epoch) * plan.steps_per_epoch,
            every: u64::from(settings.every_steps),
            budget,
            before,
        })
    }

    /// Whether masks change after as many steps. They always do at the end.
    pub(super) fn is_due(&self, done: u64) -> bool {
        let is_within = (self.start..=self.end).contains(&done);
        is_within && ((done - self.start).is_multiple_of(self.every) || done == self.end)
    }

    /// Masks the smallest weights, as many as are due after so many steps.
    ///
    /// # Errors
    /// As [`selection::mask_lowest`].
    pub(super) fn mask(
        &self,
        done: u64,
        model: &mut Model,
        layers: &[Prunable],
    ) -> Result<(), StageError> {
        let progress = (done - self.start) as f64 / (self.end - self.start) as f64;
        let pools = self.budget.pools.iter().zip(&self.before);
        let pools = pools.map(|((pool, zeros), &before)| {
            (pool.clone(), cubic(before as f64, *zeros as f64, progress).round() as usize)
        });
        let budget = Budget { pools: pools.collect(), ..self.budget.clone() };
        selection::mask_lowest(model, layers, &prune::magnitude(model, layers), &budget)?;
        Ok(())
    }
}

/// The value at a share of the way, in 0..=1, from `first` to `last`: fast at first, at rest in the end.
pub(super) fn cubic(first: f64, last: f64, progress: f64) -> f64 {
    last + (first - last) * (1.0 - progress).powi(3)
}
