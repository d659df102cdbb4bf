//! The loop of all stages that train; optimizers, schedules, losses.
//!
//! A stage says what it optimises ([`Objective`]); the loop ([`train`]) owns the optimizer, the
//! schedule, clipping, masks, freezing, progress and the choice of the epoch that is kept. That
//! choice is made on the validation split alone; the loop never sees another split.

mod choice;
pub mod features;
pub mod layerwise;
pub mod lora;
pub mod loss;
mod measure;
pub mod optimizer;
mod progress;
mod rows;
pub mod schedule;
mod sparsify;
mod supervised;
mod tally;

pub use measure::{Measured, evaluate};
pub use progress::discard as discard_progress;
pub use supervised::{Supervised, accuracy};

use std::time::{Duration, Instant};

use graftwork::experiment::spec::{Keep, Precision, Training};
use graftwork::network::matches;
use tch::{Kind, Tensor, no_grad};

use crate::checkpoint;
use crate::model::{Model, Parameter};
use crate::random;
use crate::stage::{Context, StageError, point};
use choice::History;
use optimizer::Optimizer;
use progress::Snapshot;
use sparsify::{Plan, Sparsifier};
use tally::Tally;

/// What a stage optimises.
pub trait Objective {
    /// Number of batches in an epoch.
    fn steps_per_epoch(&self) -> u64;

    /// Freezes and thaws parameters before an epoch (1-based), as the epoch alone decides. What is frozen from
    /// the start stays so.
    fn thaw(&mut self, model: &mut Model, epoch: u32) {
        let _ = (model, epoch);
    }

    /// Prepares an epoch (1-based); its order derives from (seed, purpose, epoch) alone, so that a
    /// resumed stage sees what an uninterrupted one sees.
    fn begin_epoch(&mut self, epoch: u32);

    /// The loss of the next batch.
    fn loss(&mut self, model: &Model, step: &Step) -> Terms;

    /// Updates of a step, each by the gradients of a loss of its own: the first by that of
    /// [`Objective::loss`], the others by those of [`Objective::further`].
    fn rounds(&self) -> u32 {
        1
    }

    /// The loss of a further update of the same step, by its number from 1. What it names is recorded
    /// beside what the step's loss names.
    fn further(&mut self, model: &Model, step: &Step, round: u32) -> Terms {
        let _ = (model, step);
        unreachable!("no update {round} was announced")
    }

    /// Whether a further update leaves the parameters of a node as they are, although its loss depends on
    /// them.
    fn spares(&self, round: u32, node: Node) -> bool {
        let _ = (round, node);
        false
    }

    /// Values that are recorded at step 0, unless the stage is resumed.
    fn before(&mut self, model: &Model) -> Vec<(String, f64)> {
        let _ = model;
        Vec::new()
    }

    /// Measures the network on the validation split: `<dataset>:val/accuracy`, `<dataset>:val/loss`,
    /// …; nothing where that split is empty.
    fn validate(&mut self, model: &Model) -> Vec<(String, f64)>;

    /// Names of the validation accuracy (of masks the mean IoU) and the validation loss that the kept
    /// epoch and early stopping go by, as [`Objective::validate`] returns them.
    fn selection(&self) -> (String, String);

    /// A network besides the stage's own that is saved with the progress only: DANN's domain classifier.
    fn auxiliary(&mut self) -> Option<&mut Model> {
        None
    }

    /// Whether the same optimizer trains the auxiliary network.
    fn trains_auxiliary(&self) -> bool {
        true
    }

    /// Looks at the gradients of a batch before the optimizer's step, without gradients of its own: the scores of
    /// `movement`.
    fn before_step(&mut self, model: &Model, gradients: &[Option<Tensor>], optimizer: &Optimizer) {
        let _ = (model, gradients, optimizer);
    }

    /// Changes the network after the optimizer's step: the proximal step of `sparse-opt`.
    ///
    /// Runs without gradients. `learning_rate` is the schedule's, before the layers' factors.
    fn after_step(&mut self, model: &mut Model, learning_rate: f64, optimizer: &Optimizer) {
        let _ = (model, learning_rate, optimizer);
    }

    /// Changes the network that is kept, once training is over: the statistics of `AdaBN`.
    fn finish(&mut self, model: &mut Model) {
        let _ = model;
    }
}

/// A node of one of the networks that are trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// Of the stage's own, by its index.
    Own(usize),
    /// Of the auxiliary network, by its index.
    Auxiliary(usize),
}

/// Where in the stage a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The epoch, 1-based.
    pub epoch: u32,
    /// The optimizer step, 0-based, counted from the start of the stage.
    pub index: u64,
    /// Optimizer steps of the whole stage.
    pub total: u64,
}

impl Step {
    /// Share of the stage that is done before this step, in 0..1.
    pub fn progress(&self) -> f64 {
        self.index as f64 / self.total as f64
    }
}

/// The loss of one batch.
#[derive(Debug)]
pub struct Terms {
    /// What is minimised; a scalar with gradient.
    pub total: Tensor,
    /// Scalars whose means over the epoch are recorded as `train/<name>`: parts of the loss, and
    /// `accuracy`. The same names in the same order in every step of an epoch.
    pub named: Vec<(&'static str, Tensor)>,
}

impl From<Tensor> for Terms {
    fn from(total: Tensor) -> Self {
        Self { total, named: Vec::new() }
    }
}

/// How training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trained {
    /// The model holds the network of this epoch; 0 when there was no epoch.
    Done {
        /// The epoch that was kept, counted as in the metrics.
        epoch: u32,
    },
    /// The stage was asked to stop; the progress up to the last whole epoch lies in the draft.
    Stopped,
}

/// What of the loop's outward behaviour a stage may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Added to every epoch number that is recorded or given to the objective, for a stage that
    /// trains several times. The schedule and [`Step`]'s index and total start anew.
    pub epochs_before: u32,
    /// Whether progress is saved into the draft and resumed from it. At most one training of a
    /// stage may be resumable.
    pub resumable: bool,
    /// Whether the epochs' metrics are recorded.
    pub record: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { epochs_before: 0, resumable: true, record: true }
    }
}

/// Trains a network.
///
/// # Errors
/// [`StageError::Diverged`] with the first bad step; [`StageError`] when progress cannot be written.
pub fn train(
    context: &mut Context<'_>,
    model: &mut Model,
    training: &Training,
    objective: &mut dyn Objective,
) -> Result<Trained, StageError> {
    train_with(context, model, training, objective, &Options::default())
}

/// Trains a network as [`train`] does, with [`Options`].
///
/// # Errors
/// As [`train`].
pub fn train_with(
    context: &mut Context<'_>,
    model: &mut Model,
    training: &Training,
    objective: &mut dyn Objective,
    options: &Options,
) -> Result<Trained, StageError> {
    layers_are_there(model, training)?;
    freeze(model, &training.freeze);
    let is_free = model.params().values().any(Parameter::is_trained);
    let is_free = is_free || (objective.trains_auxiliary() && objective.auxiliary().is_some());
    if training.epochs > 0 && !is_free {
        return Err(StageError::Unfit("nothing is left to train: no parameter is free".to_owned()));
    }
    model.apply_masks();
    set_precision(context, model, training.precision);
    let result = Loop::start(context, model, training, objective, *options).and_then(Loop::run);
    model.compute_in(Kind::Float);
    result
}

/// Whether every pattern matches something that the network has. Of all networks but programs this was
/// known when the file was read.
fn layers_are_there(model: &Model, training: &Training) -> Result<(), StageError> {
    let layers = model.network().layer_names();
    let freeze = training.freeze.iter().map(|pattern| ("freeze", pattern));
    let factors = training.learning_rate_factors.keys();
    let factors = factors.map(|pattern| ("learning-rate-factors", pattern));
    let is_there = |pattern: &str| layers.iter().any(|layer| matches(pattern, layer));
    match freeze.chain(factors).find(|(_, pattern)| !is_there(pattern)) {
        None => Ok(()),
        Some((key, pattern)) => Err(StageError::Unfit(format!(
            "`{key}`: \"{pattern}\" matches nothing of the network; there are: {}",
            layers.join(", ")
        ))),
    }
}

/// Freezes the layers that match a pattern, their batch-norm statistics included.
pub fn freeze(model: &mut Model, patterns: &[String]) {
    let layers: Vec<bool> = model
        .network()
        .nodes
        .iter()
        .map(|node| patterns.iter().any(|pattern| matches(pattern, &node.name)))
        .collect();
    for parameter in model.params_mut().values_mut() {
        parameter.frozen |= layers[parameter.node];
    }
    model.update_gradient_flags();
}

fn set_precision(context: &mut Context<'_>, model: &mut Model, precision: Precision) {
    match precision {
        Precision::Bf16 if model.program().is_some() => context.recorder.log(
            "precision = \"bf16\" is for networks whose layers are known; a program computes as it is written",
        ),
        Precision::Bf16 if context.device.is_cuda() => model.compute_in(Kind::BFloat16),
        Precision::Bf16 => context
            .recorder
            .log("precision = \"bf16\" is for a GPU; on this device the stage computes in fp32"),
        Precision::Fp32 => {}
    }
}

/// An optimizer of what is trained.
fn new_optimizer(training: &Training, model: &Model, objective: &mut dyn Objective) -> Optimizer {
    let trained = objective.trains_auxiliary();
    let auxiliary = objective.auxiliary().filter(|_| trained);
    let factors = &training.learning_rate_factors;
    Optimizer::new(&training.optimizer, factors, model, auxiliary.as_deref())
}

/// The least time between two progress events.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(300);

/// A training while it runs.
struct Loop<'a, 'c> {
    context: &'a mut Context<'c>,
    model: &'a mut Model,
    training: &'a Training,
    objective: &'a mut dyn Objective,
    options: Options,
    optimizer: Optimizer,
    /// What changes the masks, if anything.
    sparsifier: Option<Sparsifier>,
    history: History,
    best: Option<Snapshot>,
    writer: progress::Writer,
    /// Whole epochs done.
    epoch: u32,
    steps_per_epoch: u64,
    shown: Instant,
    /// Mean loss of the last epoch.
    loss: Option<f64>,
}

impl<'a, 'c> Loop<'a, 'c> {
    /// Sets up, and goes back to saved progress where there is any.
    fn start(
        context: &'a mut Context<'c>,
        model: &'a mut Model,
        training: &'a Training,
        objective: &'a mut dyn Objective,
        options: Options,
    ) -> Result<Self, StageError> {
        let optimizer = new_optimizer(training, model, objective);
        let steps_per_epoch = objective.steps_per_epoch();
        let plan = Plan {
            seed: context.job.seed,
            steps_per_epoch,
            total: u64::from(training.epochs) * steps_per_epoch,
        };
        let settings = training.sparsify.as_ref();
        let sparsifier = settings.map(|settings| Sparsifier::start(settings, model, plan));
        let mut this = Self {
            writer: progress::Writer::new(&context.job.draft),
            context,
            model,
            training,
            objective,
            options,
            optimizer,
            sparsifier: sparsifier.transpose()?,
            history: History::default(),
            best: None,
            epoch: 0,
            steps_per_epoch,
            shown: Instant::now(),
            loss: None,
        };
        if !(options.resumable && this.resume()) {
            let before = this.objective.before(this.model);
            this.record(before);
            this.keep_epoch()?;
        }
        Ok(this)
    }

    /// Whether the stage goes on from saved progress.
    fn resume(&mut self) -> bool {
        let job = self.context.job;
        let auxiliary = self.objective.auxiliary();
        let with_masks = self.sparsifier.is_some();
        let resumed = progress::resume(job, self.model, with_masks, auxiliary, &mut self.optimizer);
        match resumed {
            Ok(None) => false,
            Ok(Some((header, best))) => {
                self.context.recorder.log(&format!("resumes after epoch {}", header.epoch));
                self.context.recorder.restore(header.points);
                self.epoch = header.epoch;
                self.history = header.history;
                self.best = best;
                true
            }
            Err(reason) => {
                self.context.recorder.log(&format!(
                    "starts anew: progress.safetensors of an earlier attempt cannot be used: {reason}"
                ));
                self.optimizer = new_optimizer(self.training, self.model, self.objective);
                false
            }
        }
    }

    fn run(mut self) -> Result<Trained, StageError> {
        let stopping = self.training.early_stopping.as_ref();
        while self.epoch < self.training.epochs && !self.history.is_over(stopping) {
            let started = Instant::now();
            let Some(mut values) = self.run_epoch()? else {
                if self.options.resumable {
                    self.writer.flush()?;
                }
                return Ok(Trained::Stopped);
            };
            self.epoch += 1;
            self.check_parameters()?;
            let validation = self.objective.validate(self.model);
            self.judge(&validation)?;
            values.extend(validation);
            let sparsity = self.sparsifier.as_ref().map(|it| it.sparsity(self.model));
            values.extend(sparsity.map(|sparsity| ("train/sparsity".to_owned(), sparsity)));
            values.push(("epoch-seconds".to_owned(), started.elapsed().as_secs_f64()));
            self.record(values);
            self.keep_epoch()?;
            self.keep_progress()?;
        }
        if let Some(best) = &self.best {
            best.restore(self.model);
        }
        self.objective.finish(self.model);
        self.show(0);
        let kept = self.history.kept(self.training.keep, self.epoch);
        if self.training.keep != Keep::Last {
            self.record(vec![("kept-epoch".to_owned(), f64::from(self.numbered(kept)))]);
        }
        Ok(Trained::Done { epoch: self.numbered(kept) })
    }

    /// Trains an epoch; what is measured in it, or `None` when the stage shall stop.
    fn run_epoch(&mut self) -> Result<Option<Vec<(String, f64)>>, StageError> {
        let epoch = self.numbered(self.epoch + 1);
        random::seed_libtorch(self.context.job.seed, "dropout", u64::from(epoch));
        self.objective.thaw(self.model, epoch);
        self.objective.begin_epoch(epoch);
        let before = u64::from(self.epoch) * self.steps_per_epoch;
        let mut tally = Tally::new(epoch, before);
        let mut learning_rate = 0.0;
        for done in 0..self.steps_per_epoch {
            if self.context.should_stop() {
                return Ok(None);
            }
            let step = Step { epoch, index: before + done, total: self.total() };
            learning_rate = self.learning_rate(step.index);
            tally.add(self.step(&step, learning_rate)?);
            if self.shown.elapsed() >= PROGRESS_INTERVAL {
                tally.read()?;
                self.loss = self.loss.or(tally.loss());
                self.show(done + 1);
            }
        }
        let mut values = tally.means()?;
        self.loss = values.first().map(|(_, loss)| *loss);
        values.push(("learning-rate".to_owned(), learning_rate));
        self.model.apply_masks();
        Ok(Some(values))
    }

    /// One optimizer step, or the exchange of weights that takes its place; the batch's loss.
    fn step(&mut self, step: &Step, learning_rate: f64) -> Result<Terms, StageError> {
        let mut terms = self.objective.loss(self.model, step);
        if self.training.l1 > 0.0
            && let Some(penalty) = loss::l1(self.training.l1, self.model)
        {
            terms.total = &terms.total + &penalty;
            terms.named.push(("l1", penalty));
        }
        let auxiliary = self.objective.auxiliary();
        let gradients =
            self.optimizer.dense_gradients(&terms.total, self.model, auxiliary.as_deref());
        if let Some(sparsifier) = self.sparsifier.as_ref().filter(|it| it.exchanges_at(step.index))
        {
            sparsifier.exchange(step.index, self.model, &mut self.optimizer, &gradients);
            return Ok(terms);
        }
        let gradients = self.bounded(gradients);
        no_grad(|| self.objective.before_step(self.model, &gradients, &self.optimizer));
        self.optimizer.step(&gradients, learning_rate, self.model, self.objective.auxiliary());
        for round in 1..self.objective.rounds() {
            terms.named.extend(self.further(step, round, learning_rate));
        }
        no_grad(|| self.objective.after_step(self.model, learning_rate, &self.optimizer));
        if let Some(sparsifier) = &self.sparsifier {
            sparsifier.after_steps(step.index + 1, self.model, &mut self.optimizer)?;
        }
        Ok(terms)
    }

    /// Gradients under the masks, no longer together than they may be.
    fn bounded(&mut self, gradients: Vec<Option<Tensor>>) -> Vec<Option<Tensor>> {
        let auxiliary = self.objective.auxiliary();
        let mut gradients = self.optimizer.masked(gradients, self.model, auxiliary.as_deref());
        if let Some(largest) = self.training.clip_norm {
            optimizer::clip(&mut gradients, largest);
        }
        gradients
    }

    /// A further update of a step; what its loss names.
    fn further(
        &mut self,
        step: &Step,
        round: u32,
        learning_rate: f64,
    ) -> Vec<(&'static str, Tensor)> {
        let terms = self.objective.further(self.model, step, round);
        let auxiliary = self.objective.auxiliary();
        let mut gradients =
            self.optimizer.dense_gradients(&terms.total, self.model, auxiliary.as_deref());
        let nodes = self.optimizer.nodes(self.model, auxiliary.as_deref());
        for (gradient, node) in gradients.iter_mut().zip(nodes) {
            if self.objective.spares(round, node) {
                *gradient = None;
            }
        }
        let gradients = self.bounded(gradients);
        self.optimizer.step(&gradients, learning_rate, self.model, self.objective.auxiliary());
        terms.named
    }

    /// Chooses by the validation values, among the epochs at whose end the network is as sparse as it shall
    /// be.
    fn judge(&mut self, validation: &[(String, f64)]) -> Result<(), StageError> {
        let done = u64::from(self.epoch) * self.steps_per_epoch;
        if self.sparsifier.as_ref().is_some_and(|it| !it.is_sparse_after(done)) {
            return Ok(());
        }
        let (accuracy, loss) = self.objective.selection();
        let find = |name: &str, key: &str| {
            let value = validation.iter().find(|(measured, _)| measured == name);
            value.map(|(_, value)| *value).ok_or_else(|| {
                StageError::Unfit(format!(
                    "`{key}` needs `{name}`, and the validation split is empty; make `val-fraction` larger than 0"
                ))
            })
        };
        let value = match self.training.keep {
            Keep::Last => None,
            Keep::Best => Some(find(&accuracy, "keep = \"best\"")?),
            Keep::LowestLoss => Some(-find(&loss, "keep = \"lowest-loss\"")?),
        };
        if value.is_some_and(|value| self.history.is_best(self.epoch, value)) {
            self.best = Some(Snapshot::of(self.model, self.sparsifier.is_some()));
        }
        if let Some(stopping) = &self.training.early_stopping {
            self.history.wait(stopping, find(&loss, "early-stopping")?);
        }
        Ok(())
    }

    /// Keeps the network of this epoch for a stage that goes back to it. Before the progress, so that no
    /// attempt goes on from a later epoch without it.
    fn keep_epoch(&self) -> Result<(), StageError> {
        let job = self.context.job;
        if self.options.resumable && job.keep_epochs.contains(&self.epoch) {
            checkpoint::save_epoch(&job.draft, self.epoch, self.model)?;
        }
        Ok(())
    }

    fn keep_progress(&mut self) -> Result<(), StageError> {
        if !self.options.resumable {
            return Ok(());
        }
        let header = progress::Header {
            key: self.context.job.key,
            epoch: self.epoch,
            history: self.history.clone(),
            points: self.context.recorder.points().to_vec(),
        };
        let auxiliary = self.objective.auxiliary();
        let state = progress::State {
            model: self.model,
            with_masks: self.sparsifier.is_some(),
            auxiliary: auxiliary.as_deref(),
            optimizer: &self.optimizer,
            best: self.best.as_ref(),
        };
        Ok(self.writer.keep(&state, &header)?)
    }

    /// A step can leave parameters that are no numbers although its loss was one.
    fn check_parameters(&mut self) -> Result<(), StageError> {
        let networks = [Some(&*self.model), self.objective.auxiliary().map(|network| &*network)];
        let params = networks.into_iter().flatten().flat_map(Model::params);
        let trained = params.filter(|(_, parameter)| parameter.is_trained());
        let (names, sums): (Vec<_>, Vec<_>) = trained
            .map(|(name, parameter)| (name, parameter.value.detach().sum(Kind::Double)))
            .unzip();
        if sums.is_empty() {
            return Ok(());
        }
        let sums = tally::read(&sums);
        match names.iter().zip(sums).find(|(_, sum)| !sum.is_finite()) {
            None => Ok(()),
            Some((name, value)) => Err(StageError::Diverged {
                what: format!("parameter `{name}`"),
                value,
                step: u64::from(self.epoch) * self.steps_per_epoch - 1,
                epoch: self.numbered(self.epoch),
            }),
        }
    }

    /// Records values of the epoch that has just ended.
    fn record(&mut self, values: Vec<(String, f64)>) {
        if !self.options.record || values.is_empty() {
            return;
        }
        let step = u64::from(self.numbered(self.epoch));
        let points = values.into_iter().map(|(name, value)| point(name, step, value));
        self.context.recorder.record(points.collect());
    }

    /// Sends a progress event.
    fn show(&mut self, steps: u64) {
        self.shown = Instant::now();
        let running = self.epoch + u32::from(steps > 0);
        let loss = self.loss.map(|loss| format!(", loss {loss:.3}")).unwrap_or_default();
        let note = format!("epoch {running}/{}{loss}", self.training.epochs);
        let done = u64::from(self.epoch) * self.steps_per_epoch + steps;
        let total = if steps == 0 { done } else { self.total() };
        self.context.recorder.progress(done, total, note);
    }

    fn total(&self) -> u64 {
        u64::from(self.training.epochs) * self.steps_per_epoch
    }

    fn learning_rate(&self, step: u64) -> f64 {
        schedule::learning_rate(
            step,
            self.steps_per_epoch,
            self.total(),
            &self.training.schedule,
            self.training.optimizer.learning_rate(),
        )
    }

    /// An epoch as the metrics count it.
    fn numbered(&self, epoch: u32) -> u32 {
        self.options.epochs_before + epoch
    }
}

#[cfg(test)]
mod tests;
