//! Sparse optimisation: trains with steps that leave exact zeros, then what is left without them.
//!
//! `proximal` trains `f(w) + λ ‖w‖₁`, or with whole units `f(w) + λ Σ √|G| ‖w_G‖₂` (`parts`). After every
//! SGD step the prunable weights are soft-thresholded (Parikh & Boyd 2014, "Proximal
//! Algorithms", section 4.2), which leaves exact zeros; a subgradient `λ sign(w)` leaves none. With
//! momentum μ a step moves a weight by `lr · g / (1 − μ)` in the long run, so the threshold is
//! `lr · λ / (1 − μ)`: a rest point then has `|g| ≤ λ` at zeros and `g = −λ sign(w)` elsewhere, as the
//! objective asks.
//!
//! With `optimizer = "adam"` a weight moves by `lr · m̂ / (√v̂ + ε)`, and its threshold is
//! `lr · λ / (√v̂ + ε)`: the proximal step in the diagonal metric of Adam's step (Yun, Lozano & Yang 2021,
//! "Adaptive Proximal Gradient Methods for Structured Neural Networks"). Since Adam averages gradients where
//! momentum sums them, there is no `1 − μ`. A group's threshold has no closed form in this metric, so Adam
//! is for single weights.
//!
//! `fista` takes the gradient at a point that is extrapolated beyond the last step (`accelerated`);
//! `half-space` takes proximal steps for half of the stage. In the other half a step goes down the
//! penalty's own gradient as well, `z = x − lr · (m + λ √|G| x_G / ‖x_G‖)`, and a group is set to zero if
//! `⟨z_G, x_G⟩ < ε ‖x_G‖²`; what is zero stays so. Of single weights that is a step of OBProx-SG (Chen et al.
//! 2020, <https://arxiv.org/abs/2004.03639>), of units one of HSPG (Chen et al. 2020,
//! <https://arxiv.org/abs/2009.12078>), which `OTO` prunes with (<https://arxiv.org/abs/2107.07467>).
//!
//! λ is given, and then what it leaves at zero is the mask; or it is found: a feedback raises it while
//! there are fewer zeros than a schedule wants and lowers it while there are more. The schedule is cubic
//! (Zhu & Gupta 2017, <https://arxiv.org/abs/1710.01878>) and reaches the target when 0.7 of the steps are
//! done. Units are few, and none of them is zero until the first is, so that λ would meanwhile grow until it
//! takes all of them: λ is at most what brings no more units than are wanted to zero in a tenth of the stage.
//! What the feedback misses at the end (measured: 1 to 3 % of the weights, 12 of 50 % of a small network's units; the metric
//! `proximal-sparsity` says what the proximal steps alone reached) is settled by magnitude: the mask
//! holds the target exactly. Where the steps left more zeros than that, the others stay free, and
//! debiasing (masked training without penalty, which undoes the shrinkage) may bring them back.
//!
//! `hard-threshold` has no λ: after every step all but the largest are zero, as many as the same schedule
//! wants; the next gradient may bring them back. Iterative hard thresholding: Blumensath & Davies 2009,
//! <https://arxiv.org/abs/0805.0510>; for networks Jin et al. 2016, <https://arxiv.org/abs/1607.05423>.

mod accelerated;
mod parts;

use graftwork::experiment::spec::{
    Adam, Loss, Optimizer as Rule, Scope, Sgd, SparseMethod, SparseOpt, SparseOptimizer,
};
use tch::Tensor;

use super::selection::{self, Target};
use super::training::{self, Companion, Plan};
use super::units::{Candidates, goals::Goals, scores::Scores};
use super::{Prunable, magnitude, units};
use crate::data::Splits;
use crate::model::{Mode, Model};
use crate::random;
use crate::stage::{Context, Ended, StageError, point};
use crate::train::loss;
use crate::train::optimizer::Optimizer;
use accelerated::Accelerated;
use parts::{Parts, Values};

/// Share of the steps after which the schedule wants the whole target.
const SETTLED: f64 = 0.7;
/// Share of the steps after which `half-space` takes no proximal steps any more.
const WARM_UP: f64 = 0.5;
/// How fast λ follows: a constant error of 1 would multiply it by e to this over the stage.
const GAIN: f64 = 60.0;
/// The share of the steps in which a steered λ may bring the next unit to zero.
const DESCENT: f64 = 0.1;
/// Training examples on which the optimality conditions are measured; fewer of large ones.
const KKT_SAMPLES: usize = 2048;

/// Trains until weights are zero, masks them, and trains what is left. Records `kkt-residual` and λ.
///
/// # Errors
/// [`StageError::Unfit`] for a target that cannot be met; as [`training::train`].
pub fn prune(
    context: &mut Context<'_>,
    model: &mut Model,
    layers: &[Prunable],
    data: &Splits,
    settings: &SparseOpt,
    target: &Target,
) -> Result<Ended, StageError> {
    if let Some(lambda) = settings.lambda {
        let parts = Parts::weights(layers);
        let pools = vec![Pool::given(model, parts, lambda)];
        if zeroed(context, model, data, settings, pools)? == Ended::Stopped {
            return Ok(Ended::Stopped);
        }
        mask_zeros(model, layers, lambda)?;
        return debiased(context, model, data, settings);
    }
    let budget = selection::budget(model, layers, target)?;
    let pools = budget.pools.iter().map(|(members, zeros)| {
        let name = match members.as_slice() {
            [layer] => format!("layer/{}/lambda", layers[*layer].name),
            _ => "lambda".to_owned(),
        };
        let parts = Parts::weights(members.iter().map(|&layer| &layers[layer]));
        Pool::steered(model, name, parts, *zeros as i64, reach(settings, data))
    });
    let pools = pools.collect();
    if zeroed(context, model, data, settings, pools)? == Ended::Stopped {
        return Ok(Ended::Stopped);
    }
    let scores = magnitude(model, layers);
    selection::mask_lowest(model, layers, &scores, &budget)?;
    debiased(context, model, data, settings)
}

/// Masks the weights that are zero.
///
/// # Errors
/// [`StageError::Unfit`] where nothing is left of a layer that had something.
fn mask_zeros(model: &mut Model, layers: &[Prunable], lambda: f64) -> Result<(), StageError> {
    for layer in layers {
        let kept = layer.weight(model).ne(0.0);
        let is_empty = kept.any().int64_value(&[]) == 0;
        if is_empty && layer.masked(model) < layer.size(model) {
            return Err(too_heavy(lambda, "weight", &layer.name));
        }
        layer.set_mask(model, &kept);
    }
    model.apply_masks();
    Ok(())
}

fn too_heavy(lambda: f64, noun: &str, layer: &str) -> StageError {
    StageError::Unfit(format!(
        "lambda = {lambda} leaves no {noun} of layer `{layer}`; lower it, or leave the layer out with `exclude`"
    ))
}

/// The same for whole units: groups that compete share a λ.
///
/// How many units go in each class is found from their norms before the training; which, and how many to meet
/// the goals, from those after it.
///
/// # Errors
/// As [`prune`].
pub fn prune_units(
    context: &mut Context<'_>,
    model: &mut Model,
    candidates: &Candidates<'_>,
    goals: &Goals,
    data: &Splits,
    settings: &SparseOpt,
    target: &Target,
) -> Result<Ended, StageError> {
    if let Some(lambda) = settings.lambda {
        let parts = Parts::units(model, candidates.groups());
        let pools = vec![Pool::given(model, parts, lambda)];
        if zeroed(context, model, data, settings, pools)? == Ended::Stopped {
            return Ok(Ended::Stopped);
        }
        mask_zero_units(model, candidates, target, lambda)?;
        return debiased(context, model, data, settings);
    }
    let before = units::scores::magnitude(model, candidates.groups());
    let going = candidates.choose(model, &before, target, goals)?;
    let is_going = |unit: &_| going.iter().any(|going| std::ptr::eq(*going, unit));
    let nodes = model.network().nodes.clone();
    let pools = candidates.classes(target.scope).into_iter().map(|class| {
        let name = match target.scope {
            Scope::Global => "lambda".to_owned(),
            _ => format!("layer/{}/lambda", nodes[class[0].producers[0]].name),
        };
        let zeros = class.iter().flat_map(|group| &group.units).filter(|unit| is_going(unit));
        let zeros = zeros.count() as i64;
        let parts = Parts::units(model, &class);
        Pool::steered(model, name, parts, zeros, reach(settings, data))
    });
    let pools = pools.collect();
    if zeroed(context, model, data, settings, pools)? == Ended::Stopped {
        return Ok(Ended::Stopped);
    }
    let going = candidates.choose(model, &norms(model, candidates), target, goals)?;
    units::mask(model, &going);
    debiased(context, model, data, settings)
}

/// Masks the units that are zero.
///
/// # Errors
/// [`StageError::Unfit`] where nothing is left of a layer.
fn mask_zero_units(
    model: &mut Model,
    candidates: &Candidates<'_>,
    target: &Target,
    lambda: f64,
) -> Result<(), StageError> {
    let norms = norms(model, candidates);
    for (group, norms) in candidates.groups().iter().zip(norms.by_group()) {
        if norms.iter().all(|&norm| norm == 0.0) {
            let layer = &model.network().nodes[group.producers[0]].name;
            return Err(too_heavy(lambda, "unit", layer));
        }
    }
    let going = candidates.zeros(model, &norms, target)?;
    units::mask(model, &going);
    Ok(())
}

/// The norm of every unit.
fn norms(model: &Model, candidates: &Candidates<'_>) -> Scores {
    let norms = candidates.groups().iter().map(|group| {
        let norms = Parts::units(model, &[group]).norms(model).to_device(tch::Device::Cpu);
        Vec::<f64>::try_from(norms).expect("a vector of f64")
    });
    Scores::new(norms.collect())
}

/// Steps of the training that makes zeros.
fn steps(settings: &SparseOpt, data: &Splits) -> u64 {
    u64::from(settings.epochs) * data.train.steps() as u64
}

/// How far a gradient of 1 that stays moves a value in half of the stage: the learning rate averages one half
/// of its start under the cosine.
fn reach(settings: &SparseOpt, data: &Splits) -> f64 {
    let steps = steps(settings, data) as f64;
    let plain = settings.learning_rate / (1.0 - momentum(settings)) * steps / 4.0;
    match settings.method {
        SparseMethod::Fista => plain * accelerated::speed_up(data.train.steps() as u64),
        _ => plain,
    }
}

/// Trains with steps that leave zeros.
fn zeroed(
    context: &mut Context<'_>,
    model: &mut Model,
    data: &Splits,
    settings: &SparseOpt,
    pools: Vec<Pool>,
) -> Result<Ended, StageError> {
    let mut thresholded = Thresholded {
        pools,
        method: settings.method,
        optimizer: settings.optimizer,
        momentum: momentum(settings),
        epsilon: settings.epsilon,
        accelerated: (settings.method == SparseMethod::Fista).then(|| Accelerated::new(model)),
        step: 0,
        steps_per_epoch: data.train.steps() as u64,
        steps: steps(settings, data),
    };
    let momentum = match settings.method {
        SparseMethod::Fista => 0.0,
        _ => settings.momentum,
    };
    let plan = Plan {
        optimizer: optimizer(settings, momentum),
        epochs: settings.epochs,
        epochs_before: 0,
    };
    if training::train(context, model, data, &plan, &mut thresholded)? == Ended::Stopped {
        return Ok(Ended::Stopped);
    }
    report(context, model, &thresholded, data, settings);
    Ok(Ended::Done)
}

/// Trains what is left without a penalty, which undoes the shrinkage.
fn debiased(
    context: &mut Context<'_>,
    model: &mut Model,
    data: &Splits,
    settings: &SparseOpt,
) -> Result<Ended, StageError> {
    let plan = Plan {
        optimizer: optimizer(settings, settings.momentum),
        epochs: settings.debias_epochs,
        epochs_before: settings.epochs,
    };
    training::train(context, model, data, &plan, &mut ())
}

/// The momentum by which gradients add up; Adam averages them, and `fista` has its own.
fn momentum(settings: &SparseOpt) -> f64 {
    match (settings.method, settings.optimizer) {
        (SparseMethod::Fista, _) | (_, SparseOptimizer::Adam) => 0.0,
        (_, SparseOptimizer::Sgd) => settings.momentum,
    }
}

fn optimizer(settings: &SparseOpt, momentum: f64) -> Rule {
    let learning_rate = settings.learning_rate;
    match settings.optimizer {
        SparseOptimizer::Sgd => Rule::Sgd(Sgd { learning_rate, momentum, ..Sgd::default() }),
        SparseOptimizer::Adam => {
            Rule::Adam(Adam { learning_rate, beta1: momentum, ..Adam::default() })
        }
    }
}

/// A step towards zeros after every step of the optimizer.
struct Thresholded {
    pools: Vec<Pool>,
    method: SparseMethod,
    optimizer: SparseOptimizer,
    momentum: f64,
    epsilon: f64,
    accelerated: Option<Accelerated>,
    steps_per_epoch: u64,
    step: u64,
    steps: u64,
}

/// Weights or units that share a λ.
struct Pool {
    /// Of the metric that λ is recorded in.
    name: String,
    parts: Parts,
    size: f64,
    lambda: f64,
    /// What `half-space` stepped from.
    before: Option<Values>,
    /// How many zeros there shall be, where λ is not given.
    path: Option<Path>,
}

/// Fractions of zeros that are there at the start, and that shall be there.
struct Path {
    start: f64,
    target: f64,
}

impl Pool {
    fn given(model: &Model, parts: Parts, lambda: f64) -> Self {
        let size = parts.count(model) as f64;
        Self { name: "lambda".to_owned(), parts, size, lambda, before: None, path: None }
    }

    /// - reach: how far a gradient of 1 moves a value in half of the stage
    fn steered(model: &Model, name: String, parts: Parts, zeros: i64, reach: f64) -> Self {
        let (sorted, _) = parts.norms(model).sort(0, false);
        let size = parts.count(model) as f64;
        let start = 1.0 - parts.left(model) as f64 / size;
        // What moves the largest that shall go to zero in half of the stage, were there no gradient.
        let largest = sorted.double_value(&[(zeros - 1).max(0)]);
        let lambda = (largest / reach).max(f64::MIN_POSITIVE);
        let path = Path { start, target: zeros as f64 / size };
        Self { name, parts, size, lambda, before: None, path: Some(path) }
    }

    /// Makes zeros after a step of the optimizer.
    fn make_zeros(&mut self, model: &Model, step: &ZeroStep<'_>) {
        let wanted = self.path.as_ref().map(|path| path.wanted(step.progress));
        if step.method == SparseMethod::HardThreshold {
            let wanted = wanted.expect("what has no penalty has a target");
            self.parts.cut(model, (wanted * self.size).round() as i64);
            return;
        }
        let threshold = step.learning_rate * self.lambda / (1.0 - step.momentum);
        match (&self.before, step.metric) {
            (Some(before), _) => self.parts.stay_in_half(model, before, threshold, step.epsilon),
            (None, None) => self.parts.shrink(model, threshold),
            (None, Some(moments)) => self.parts.shrink_in_metric(model, threshold, moments),
        }
        let is_warm = step.method == SparseMethod::HalfSpace && step.progress >= WARM_UP;
        self.before = is_warm.then(|| self.parts.values(model));
        if let Some(path) = &self.path {
            let zeros = self.size - self.parts.left(model) as f64;
            let norms = self.parts.are_units().then(|| self.parts.norms(model).sort(0, false).0);
            self.lambda = path.steered(self.lambda, (zeros, self.size), norms.as_ref(), step);
        }
    }
}

/// What holds for all pools at a step.
struct ZeroStep<'a> {
    method: SparseMethod,
    learning_rate: f64,
    /// That of the optimizer, in whose long run a gradient moves a value by `1 / (1 − momentum)`.
    momentum: f64,
    /// Of the half-space.
    epsilon: f64,
    /// The optimizer where its step was in a metric of its own.
    metric: Option<&'a Optimizer>,
    /// Share of the stage that is done.
    progress: f64,
    /// How fast a steered λ follows.
    gain: f64,
    /// In how many steps a steered λ may bring the next unit to zero.
    descent: f64,
}

impl Path {
    /// Fraction of zeros that the schedule wants at a share of the stage.
    fn wanted(&self, progress: f64) -> f64 {
        let left = (1.0 - progress / SETTLED).max(0.0);
        self.target + (self.start - self.target).min(0.0) * left.powi(3)
    }

    /// λ after a step, by how many of all parts are zero.
    ///
    /// - norms: of whole units the norms, ascending
    fn steered(
        &self,
        lambda: f64,
        (zeros, all): (f64, f64),
        norms: Option<&Tensor>,
        step: &ZeroStep<'_>,
    ) -> f64 {
        let wanted = self.wanted(step.progress) * all;
        let wanted = if norms.is_some() { wanted.floor() } else { wanted };
        let lambda = lambda * (step.gain * (wanted - zeros) / all).exp();
        let Some(norms) = norms.filter(|_| step.learning_rate > 0.0) else { return lambda };
        let next = wanted.max(zeros + 1.0).min(all) as i64 - 1;
        let reach = step.learning_rate / (1.0 - step.momentum) * step.descent;
        lambda.min(norms.double_value(&[next]) / reach)
    }
}

impl Companion for Thresholded {
    fn after_step(&mut self, model: &mut Model, learning_rate: f64, optimizer: &Optimizer) {
        self.step += 1;
        let has_metric =
            self.optimizer == SparseOptimizer::Adam && self.method != SparseMethod::HardThreshold;
        if has_metric && self.step == 1 {
            // What a steered λ starts from was found as if all steps were divided by 1.
            let steered = self.pools.iter_mut().filter(|pool| pool.path.is_some());
            steered.for_each(|pool| pool.lambda *= pool.parts.scale(optimizer));
        }
        let step = ZeroStep {
            method: self.method,
            learning_rate,
            momentum: self.momentum,
            epsilon: self.epsilon,
            metric: has_metric.then_some(optimizer),
            progress: self.step as f64 / self.steps as f64,
            gain: GAIN / self.steps as f64,
            descent: DESCENT * self.steps as f64,
        };
        for pool in &mut self.pools {
            pool.make_zeros(model, &step);
        }
        if let Some(accelerated) = &mut self.accelerated {
            if self.step.is_multiple_of(self.steps_per_epoch) {
                accelerated.restart(model);
            } else {
                accelerated.extrapolate(model);
            }
        }
    }
}

/// Records what the steps alone reached, and with a penalty λ and how far they are from a minimum.
fn report(
    context: &mut Context<'_>,
    model: &Model,
    thresholded: &Thresholded,
    data: &Splits,
    settings: &SparseOpt,
) {
    let step = u64::from(settings.epochs);
    let pools = thresholded.pools.iter();
    let left: i64 = pools.clone().map(|pool| pool.parts.left(model)).sum();
    let size: f64 = pools.clone().map(|pool| pool.size).sum();
    let mut points = vec![point("proximal-sparsity", step, 1.0 - left as f64 / size)];
    if settings.method != SparseMethod::HardThreshold {
        let mut rng = random::stream(context.job.seed, "calibration", 0);
        let set = data.train.as_set();
        let batch = set.sample(KKT_SAMPLES.min(set.at_once()), &mut rng);
        let logits = model.forward(&batch.inputs, Mode::Eval, None);
        let loss = loss::supervised(&Loss::default(), &logits, &batch.labels, None);
        let violations = pools.clone().map(|pool| pool.parts.violation(model, &loss, pool.lambda));
        points.push(point("kkt-residual", step, violations.fold(0.0, f64::max)));
        points.extend(pools.map(|pool| point(pool.name.clone(), step, pool.lambda)));
    }
    context.recorder.record(points);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four units with norms 1 to 4, of which two shall go and none does: λ stays within what brings the second
    /// to zero in the tenth part of the stage. Single weights have no such bound.
    #[test]
    fn the_penalty_of_units_does_not_grow_until_it_takes_all() {
        let norms = Tensor::from_slice(&[1.0f64, 2.0, 3.0, 4.0]);
        let path = Path { start: 0.0, target: 0.5 };
        let after = |are_units: bool, zeros: f64| {
            (1..=400).fold(0.01, |lambda, step| {
                let step = ZeroStep {
                    method: SparseMethod::Proximal,
                    learning_rate: 0.02,
                    momentum: 0.9,
                    epsilon: 0.0,
                    metric: None,
                    progress: f64::from(step) / 400.0,
                    gain: GAIN / 400.0,
                    descent: DESCENT * 400.0,
                };
                path.steered(lambda, (zeros, 4.0), are_units.then_some(&norms), &step)
            })
        };
        // 2 / (0.02 / 0.1 · 40 steps).
        assert!((after(true, 0.0) - 0.25).abs() < 1e-12, "{}", after(true, 0.0));
        assert!(after(false, 0.0) > 1e3, "{}", after(false, 0.0));
        // One more than wanted is zero: it falls.
        assert!(after(true, 3.0) < 1e-4, "{}", after(true, 3.0));
    }
}
