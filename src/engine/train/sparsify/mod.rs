//! Sparse training: masks that change while a network trains.
//!
//! - [`gradual`]: the smallest weights go, along a cubic; masks only grow
//! - [`exchange`]: as many weights as go come back elsewhere (`RigL`, SET)
//!
//! What changes depends on the network, the step and the seed alone, so that a resumed stage does what an
//! uninterrupted one does. A weight that goes takes its moments with it, and one that comes starts at zero
//! with moments of zero.

mod exchange;
mod gradual;
#[cfg(test)]
mod tests;

use graftwork::experiment::spec::{self, Allocation, Densities};
use tch::Tensor;

use super::optimizer::Optimizer;
use crate::model::Model;
use crate::prune::{self, Prunable};
use crate::stage::StageError;
use exchange::Exchange;
use gradual::Gradual;

/// The masks of a training while they change.
pub(super) struct Sparsifier {
    layers: Vec<Prunable>,
    rule: Rule,
}

enum Rule {
    Gradual(Gradual),
    Exchange(Exchange),
}

/// What of a training the masks go by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// Seed of all draws.
    pub seed: u64,
    /// Optimizer steps of an epoch.
    pub steps_per_epoch: u64,
    /// Optimizer steps of the whole stage.
    pub total: u64,
}

impl Sparsifier {
    /// Sets up, and masks what is masked before the first step.
    ///
    /// # Errors
    /// [`StageError::Unfit`] when nothing that is trained may be masked, and as
    /// [`prune::selection::budget`].
    pub(super) fn start(
        settings: &spec::Sparsify,
        model: &mut Model,
        plan: Plan,
    ) -> Result<Self, StageError> {
        let mut layers = prune::prunable(model, settings.exclude())?;
        // What is frozen stays as it is.
        layers.retain(|layer| model.params()[&layer.param].is_trained());
        if layers.is_empty() {
            return Err(StageError::Unfit(format!(
                "`sparsify.{}` has nothing to mask: all layers with weights are frozen or excluded",
                settings.name()
            )));
        }
        let rule = match settings {
            spec::Sparsify::Gradual(settings) => {
                Rule::Gradual(Gradual::start(settings, model, &layers, plan)?)
            }
            spec::Sparsify::Rigl(settings) => {
                let rule = Exchange::start(settings, exchange::Growth::Gradient, plan);
                Rule::Exchange(rule.masking(model, &layers)?)
            }
            spec::Sparsify::Set(settings) => {
                let rule = Exchange::start(settings, exchange::Growth::Random, plan);
                Rule::Exchange(rule.masking(model, &layers)?)
            }
        };
        Ok(Self { layers, rule })
    }

    /// Whether weights are exchanged in place of this optimizer step, 0-based.
    pub(super) fn exchanges_at(&self, step: u64) -> bool {
        match &self.rule {
            Rule::Gradual(_) => false,
            Rule::Exchange(rule) => rule.is_due(step),
        }
    }

    /// Exchanges weights in place of an optimizer step.
    ///
    /// - gradients: [`Optimizer::dense_gradients`] of that step
    pub(super) fn exchange(
        &self,
        step: u64,
        model: &mut Model,
        optimizer: &mut Optimizer,
        gradients: &[Option<Tensor>],
    ) {
        let Rule::Exchange(rule) = &self.rule else { return };
        for layer in &self.layers {
            let gradient = optimizer.gradient_of(gradients, &layer.param);
            let kept = rule.exchange(step, model, layer, gradient);
            optimizer.forget(&layer.param, &kept);
        }
    }

    /// Masks what is due after as many optimizer steps.
    ///
    /// # Errors
    /// As [`prune::selection::mask_lowest`].
    pub(super) fn after_steps(
        &self,
        done: u64,
        model: &mut Model,
        optimizer: &mut Optimizer,
    ) -> Result<(), StageError> {
        let Rule::Gradual(rule) = &self.rule else { return Ok(()) };
        if !rule.is_due(done) {
            return Ok(());
        }
        rule.mask(done, model, &self.layers)?;
        for layer in &self.layers {
            if let Some(mask) = layer.mask(model) {
                optimizer.forget(&layer.param, mask);
            }
        }
        Ok(())
    }

    /// Whether the network has its final sparsity after as many optimizer steps.
    pub(super) fn is_sparse_after(&self, done: u64) -> bool {
        match &self.rule {
            Rule::Gradual(rule) => done >= rule.end,
            Rule::Exchange(_) => true,
        }
    }

    /// The fraction of the weights that may be masked which is masked.
    pub(super) fn sparsity(&self, model: &Model) -> f64 {
        let sum = |of: &dyn Fn(&Prunable) -> usize| self.layers.iter().map(of).sum::<usize>();
        let (masked, all) = (sum(&|layer| layer.masked(model)), sum(&|layer| layer.size(model)));
        masked as f64 / all as f64
    }
}

/// The same densities as `prune` calls them.
fn allocation(densities: Densities) -> Allocation {
    match densities {
        Densities::Uniform => Allocation::Uniform,
        Densities::Erk => Allocation::Erk,
    }
}
