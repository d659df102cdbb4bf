//! Sparse from the start to the end: weights that are small give way to others.
//!
//! - `RigL`: Evci et al. 2020, "Rigging the Lottery: Making All Tickets Winners",
//!   <https://arxiv.org/abs/1911.11134>, algorithm 1: in place of every Δt-th step the smallest weights of a
//!   layer go and as many come back where the gradient on that step's batch is largest. The fraction falls as
//!   `α/2 (1 + cos(π t/T_end))`.
//! - SET: Mocanu et al. 2018, "Scalable training of artificial neural networks with adaptive sparse connectivity
//!   inspired by network science", <https://arxiv.org/abs/1707.04780>: those that come are random. As in Evci et
//!   al., the smallest magnitudes go whatever their sign, at `RigL`'s times.
//!
//! As in the paper, a weight that has just gone may come back at once; then it starts at zero, too.

use std::f64::consts::PI;

use graftwork::experiment::spec;
use rand::RngExt;
use tch::{Device, Kind, Tensor, no_grad};

use super::{Plan, allocation};
use crate::model::Model;
use crate::prune::selection::{self, Target};
use crate::prune::{self, Prunable};
use crate::random;
use crate::stage::StageError;

/// Which weights come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Growth {
    /// Those with the largest gradient by absolute value.
    Gradient,
    /// Random ones.
    Random,
}

/// Exchanges weights.
pub(super) struct Exchange {
    settings: spec::Exchange,
    growth: Growth,
    seed: u64,
    /// The step from which on nothing is exchanged; not always a whole number.
    end: f64,
}

impl Exchange {
    pub(super) fn start(settings: &spec::Exchange, growth: Growth, plan: Plan) -> Self {
        let end = settings.until * plan.total as f64;
        Self { settings: settings.clone(), growth, seed: plan.seed, end }
    }

    /// Masks random weights as the criterion `random` does, after those that are masked already.
    ///
    /// # Errors
    /// As [`selection::budget`].
    pub(super) fn masking(
        self,
        model: &mut Model,
        layers: &[Prunable],
    ) -> Result<Self, StageError> {
        let target = Target {
            allocation: Some(allocation(self.settings.allocation)),
            ..Target::new(self.settings.sparsity, spec::Scope::Layer)
        };
        let budget = selection::budget(model, layers, &target)?;
        let scores = prune::random(model, layers, self.seed);
        selection::mask_lowest(model, layers, &scores, &budget)?;
        Ok(self)
    }

    /// Whether weights are exchanged in place of this step, 0-based.
    pub(super) fn is_due(&self, step: u64) -> bool {
        step > 0
            && step.is_multiple_of(u64::from(self.settings.every_steps))
            && (step as f64) < self.end
    }

    /// The fraction of a layer's weights that is exchanged at a step.
    pub(super) fn fraction(&self, step: u64) -> f64 {
        self.settings.drop_fraction / 2.0 * (1.0 + (PI * step as f64 / self.end).cos())
    }

    /// Exchanges weights of a layer; one for each weight that went on, zero for all others.
    ///
    /// - gradient: of the weight, masked values too; none where the loss does not depend on it
    pub(super) fn exchange(
        &self,
        step: u64,
        model: &mut Model,
        layer: &Prunable,
        gradient: Option<&Tensor>,
    ) -> Tensor {
        let weight = layer.weight(model);
        let scores = match (self.growth, gradient) {
            (Growth::Gradient, Some(gradient)) => gradient.detach().abs(),
            (Growth::Gradient, None) => weight.zeros_like(),
            (Growth::Random, _) => self.draw(step, layer, weight.numel()),
        };
        let mask = layer.mask(model).map_or_else(|| weight.ones_like(), Tensor::shallow_clone);
        let Exchanged { kept, mask } = exchange(&weight, &mask, &scores, self.fraction(step));
        let kept = kept.reshape(weight.size());
        layer.set_mask(model, &mask);
        let gone = kept.to_device(weight.device()).eq(0.0);
        no_grad(|| {
            let _ = weight.shallow_clone().masked_fill_(&gone, 0.0);
        });
        kept
    }

    fn draw(&self, step: u64, layer: &Prunable, n: usize) -> Tensor {
        let mut rng = random::stream(self.seed, &format!("set {}", layer.param), step);
        let scores: Vec<f64> = (0..n).map(|_| rng.random::<f64>()).collect();
        Tensor::from_slice(&scores)
    }
}

/// A layer after an exchange, in a row on the CPU: one for a weight that is meant, zero for another.
pub(super) struct Exchanged {
    /// The weights that were there and stay.
    pub(super) kept: Tensor,
    /// The weights that are there afterwards.
    pub(super) mask: Tensor,
}

/// Lets a fraction of the weights that are there go, the smallest first, and as many come, those with the
/// largest scores first; of equals the first.
///
/// # Shapes
/// - weight, mask, scores: as many values each
pub(super) fn exchange(
    weight: &Tensor,
    mask: &Tensor,
    scores: &Tensor,
    fraction: f64,
) -> Exchanged {
    // Sorted on the CPU, so that ties fall alike on every device.
    let row = |tensor: &Tensor| tensor.detach().to_device(Device::Cpu).reshape([-1]);
    let there = row(mask).ne(0.0);
    let count = there.sum(Kind::Int64).int64_value(&[]);
    let exchanged = (fraction * count as f64).floor() as i64;
    let first = |order: &Tensor| order.narrow(0, 0, exchanged);

    let sizes = row(weight).abs().masked_fill(&there.logical_not(), f64::INFINITY);
    let (_, smallest) = sizes.sort_stable(true, 0, false);
    let kept = there.to_kind(Kind::Float).index_fill(0, &first(&smallest), 0.0);

    let scores = row(scores).masked_fill(&kept.ne(0.0), f64::NEG_INFINITY);
    let (_, largest) = scores.sort_stable(true, 0, true);
    let mask = kept.index_fill(0, &first(&largest), 1.0);
    Exchanged { kept, mask }
}
