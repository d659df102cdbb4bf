//! Sparse optimisation: trains `f(w) + λ ‖w‖₁` by proximal gradient steps, then what is left without
//! the penalty.
//!
//! After every SGD step the prunable weights are soft-thresholded (Parikh & Boyd 2014, "Proximal
//! Algorithms", section 4.2), which leaves exact zeros; a subgradient `λ sign(w)` leaves none. With
//! momentum μ a step moves a weight by `lr · g / (1 − μ)` in the long run, so the threshold is
//! `lr · λ / (1 − μ)`: a rest point then has `|g| ≤ λ` at zeros and `g = −λ sign(w)` elsewhere, as the
//! objective asks.
//!
//! λ is not given but found: a feedback raises it while there are fewer zeros than a schedule wants
//! and lowers it while there are more. The schedule is cubic (Zhu & Gupta 2017,
//! <https://arxiv.org/abs/1710.01878>) and reaches the target when 0.7 of the steps are done.
//! What the feedback misses at the end (measured: 1 to 3 % of the weights; the metric
//! `proximal-sparsity` says what the proximal steps alone reached) is settled by magnitude: the mask
//! holds the target exactly. Where the steps left more zeros than that, the others stay free, and
//! debiasing (masked training without penalty, which undoes the shrinkage) may bring them back.

use graftwork::experiment::spec::{
    Keep, Loss, Optimizer, Precision, Schedule, Sgd, SparseOpt, Training, Warmup,
};
use indexmap::IndexMap;
use tch::{Kind, Tensor};

use super::ista::{kkt_violation, soft_threshold};
use super::selection::{self, Target};
use super::{Prunable, magnitude};
use crate::data::Splits;
use crate::model::{Mode, Model};
use crate::random;
use crate::stage::{Context, Ended, StageError, point};
use crate::train::{self, Objective, Options, Step, Supervised, Terms, Trained, loss};

/// Share of the proximal steps after which the schedule wants the whole target.
const SETTLED: f64 = 0.7;
/// How fast λ follows: a constant error of 1 would multiply it by e to this over the stage.
const GAIN: f64 = 60.0;
/// Training examples on which the optimality conditions are measured; fewer of large ones.
const KKT_SAMPLES: usize = 2048;

/// Trains, masks, and trains what is left. Records `kkt-residual` and λ.
///
/// # Errors
/// [`StageError::Unfit`] for a target that cannot be met; as [`train::train`].
pub fn prune(
    context: &mut Context<'_>,
    model: &mut Model,
    layers: &[Prunable],
    data: &Splits,
    settings: &SparseOpt,
    target: &Target,
) -> Result<Ended, StageError> {
    let budget = selection::budget(model, layers, target)?;
    let (loss, seed) = (Loss::default(), context.job.seed);
    let mut objective = Proximal {
        labelled: Supervised::new(data, &loss, seed),
        layers,
        pools: Vec::new(),
        momentum: settings.momentum,
        step: 0,
        steps: u64::from(settings.epochs) * data.train.steps() as u64,
    };
    for (members, zeros) in budget.pools.clone() {
        let pool = Pool::new(model, layers, members, zeros, settings, objective.steps);
        objective.pools.push(pool);
    }
    let options = Options { resumable: false, ..Options::default() };
    let training = training(settings, settings.epochs);
    if train::train_with(context, model, &training, &mut objective, &options)? == Trained::Stopped {
        return Ok(Ended::Stopped);
    }
    report(context, model, &objective, data, settings);
    let scores = magnitude(model, layers);
    selection::mask_lowest(model, layers, &scores, &budget)?;

    let mut labelled = Supervised::new(data, &loss, seed);
    let training = self::training(settings, settings.debias_epochs);
    let options = Options { epochs_before: settings.epochs, ..options };
    match train::train_with(context, model, &training, &mut labelled, &options)? {
        Trained::Stopped => Ok(Ended::Stopped),
        Trained::Done { .. } => Ok(Ended::Done),
    }
}

fn training(settings: &SparseOpt, epochs: u32) -> Training {
    let optimizer = Sgd {
        learning_rate: settings.learning_rate,
        momentum: settings.momentum,
        ..Sgd::default()
    };
    Training {
        epochs,
        optimizer: Optimizer::Sgd(optimizer),
        schedule: Schedule::Cosine(Warmup::default()),
        loss: Loss::default(),
        l1: 0.0,
        clip_norm: None,
        freeze: Vec::new(),
        learning_rate_factors: IndexMap::new(),
        early_stopping: None,
        keep: Keep::Last,
        precision: Precision::Fp32,
    }
}

/// Training on labelled data with a proximal step after every step of the optimizer.
struct Proximal<'a> {
    labelled: Supervised<'a>,
    layers: &'a [Prunable],
    pools: Vec<Pool>,
    momentum: f64,
    step: u64,
    steps: u64,
}

/// Layers that share a λ.
struct Pool {
    layers: Vec<usize>,
    size: f64,
    /// Fraction of zeros that is there at the start, and that shall be there.
    start: f64,
    target: f64,
    lambda: f64,
}

impl Pool {
    fn new(
        model: &Model,
        layers: &[Prunable],
        members: Vec<usize>,
        zeros: usize,
        settings: &SparseOpt,
        steps: u64,
    ) -> Self {
        let weights: Vec<Tensor> =
            members.iter().map(|&layer| layers[layer].weight(model).abs().reshape([-1])).collect();
        let (sorted, _) = Tensor::cat(&weights, 0).to_kind(Kind::Double).sort(0, false);
        let size = sorted.numel();
        let start = size as i64 - sorted.count_nonzero(None::<i64>).int64_value(&[]);
        // What moves the largest weight that shall go to zero in half of the stage, were there no
        // gradient: the learning rate averages one half of its start under the cosine.
        let largest = sorted.double_value(&[zeros.saturating_sub(1) as i64]);
        let path = settings.learning_rate / (1.0 - settings.momentum) * steps as f64 / 4.0;
        Self {
            layers: members,
            size: size as f64,
            start: start as f64 / size as f64,
            target: zeros as f64 / size as f64,
            lambda: (largest / path).max(f64::MIN_POSITIVE),
        }
    }

    /// Fraction of zeros that the schedule wants at a share of the stage.
    fn wanted(&self, progress: f64) -> f64 {
        let left = (1.0 - progress / SETTLED).max(0.0);
        self.target + (self.start - self.target).min(0.0) * left.powi(3)
    }
}

impl Objective for Proximal<'_> {
    fn steps_per_epoch(&self) -> u64 {
        self.labelled.steps_per_epoch()
    }

    fn begin_epoch(&mut self, epoch: u32) {
        self.labelled.begin_epoch(epoch);
    }

    fn loss(&mut self, model: &Model, step: &Step) -> Terms {
        self.labelled.loss(model, step)
    }

    fn validate(&mut self, model: &Model) -> Vec<(String, f64)> {
        self.labelled.validate(model)
    }

    fn selection(&self) -> (String, String) {
        self.labelled.selection()
    }

    fn after_step(&mut self, model: &mut Model, learning_rate: f64) {
        self.step += 1;
        let progress = self.step as f64 / self.steps as f64;
        for pool in &mut self.pools {
            let threshold = learning_rate * pool.lambda / (1.0 - self.momentum);
            let mut nonzero = Tensor::zeros([], (Kind::Int64, model.device()));
            for &layer in &pool.layers {
                let value = &model.params()[&self.layers[layer].param].value;
                value.detach().copy_(&soft_threshold(&value.detach(), threshold));
                nonzero += value.count_nonzero(None::<i64>);
            }
            let zeros = 1.0 - nonzero.int64_value(&[]) as f64 / pool.size;
            let error = pool.wanted(progress) - zeros;
            pool.lambda *= (GAIN / self.steps as f64 * error).exp();
        }
    }
}

/// Records λ and how far the proximal steps are from a minimum of the penalised loss.
fn report(
    context: &mut Context<'_>,
    model: &mut Model,
    objective: &Proximal<'_>,
    data: &Splits,
    settings: &SparseOpt,
) {
    let mut rng = random::stream(context.job.seed, "calibration", 0);
    let set = data.train.as_set();
    let batch = set.sample(KKT_SAMPLES.min(set.at_once()), &mut rng);
    let logits = model.forward(&batch.inputs, Mode::Eval, None);
    let loss = loss::supervised(&Loss::default(), &logits, &batch.labels, None);
    let step = u64::from(settings.epochs);
    let mut worst = 0.0f64;
    let mut zeros = 0.0;
    for pool in &objective.pools {
        let weights: Vec<&Tensor> = pool
            .layers
            .iter()
            .map(|&layer| &model.params()[&objective.layers[layer].param].value)
            .collect();
        let gradients = Tensor::run_backward(&[&loss], &weights, true, false);
        let violations = weights.iter().zip(&gradients).map(|(weight, gradient)| {
            kkt_violation(&weight.detach(), gradient, pool.lambda).max().double_value(&[])
        });
        worst = violations.fold(worst, f64::max);
        let name = match pool.layers.as_slice() {
            [layer] => format!("layer/{}/lambda", objective.layers[*layer].name),
            _ => "lambda".to_owned(),
        };
        context.recorder.record(vec![point(name, step, pool.lambda)]);
        let nonzero = |weight: &&Tensor| weight.count_nonzero(None::<i64>).int64_value(&[]) as f64;
        zeros += pool.size - weights.iter().map(nonzero).sum::<f64>();
    }
    let size: f64 = objective.pools.iter().map(|pool| pool.size).sum();
    context.recorder.record(vec![
        point("kkt-residual", step, worst),
        point("proximal-sparsity", step, zeros / size),
    ]);
}
