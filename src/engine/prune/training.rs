//! The training that a criterion does by itself: on the labels' loss, its learning rate falling to zero by half
//! a cosine, all epochs kept to the last. It is not resumed: a stage that was stopped begins anew.

use graftwork::experiment::spec::{
    Keep, Loss, Optimizer as Rule, Precision, Schedule, Sgd, Training, Warmup,
};
use indexmap::IndexMap;
use tch::Tensor;

use crate::data::Splits;
use crate::model::Model;
use crate::stage::{Context, Ended, StageError};
use crate::train::optimizer::Optimizer;
use crate::train::{self, Objective, Options, Step, Supervised, Terms, Trained};

/// What a criterion does beside the steps of a training. Without gradients.
pub trait Companion {
    /// Looks at the gradients of a batch, where the optimizer has not used them yet.
    fn before_step(&mut self, model: &Model, gradients: &[Option<Tensor>], optimizer: &Optimizer) {
        let _ = (model, gradients, optimizer);
    }

    /// Changes the network after the optimizer did; `learning_rate` is the schedule's.
    fn after_step(&mut self, model: &mut Model, learning_rate: f64, optimizer: &Optimizer) {
        let _ = (model, learning_rate, optimizer);
    }
}

/// A training and nothing beside it.
impl Companion for () {}

/// How much is trained, and by what.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The optimizer.
    pub optimizer: Rule,
    /// Epochs.
    pub epochs: u32,
    /// Epochs of the stage before these, after which they are counted.
    pub epochs_before: u32,
}

impl Plan {
    /// By stochastic gradient descent.
    pub fn sgd(learning_rate: f64, momentum: f64, epochs: u32) -> Self {
        let optimizer = Rule::Sgd(Sgd { learning_rate, momentum, ..Sgd::default() });
        Self { optimizer, epochs, epochs_before: 0 }
    }
}

/// Trains a network with something beside it.
///
/// # Errors
/// As [`train::train`].
pub fn train(
    context: &mut Context<'_>,
    model: &mut Model,
    data: &Splits,
    plan: &Plan,
    companion: &mut dyn Companion,
) -> Result<Ended, StageError> {
    let training = Training {
        epochs: plan.epochs,
        optimizer: plan.optimizer.clone(),
        schedule: Schedule::Cosine(Warmup::default()),
        loss: Loss::default(),
        l1: 0.0,
        sparsify: None,
        clip_norm: None,
        freeze: Vec::new(),
        learning_rate_factors: IndexMap::new(),
        early_stopping: None,
        keep: Keep::Last,
        precision: Precision::Fp32,
    };
    let labelled = Supervised::new(data, &training.loss, context.job.seed);
    let mut objective = Accompanied { labelled, companion };
    let options =
        Options { resumable: false, epochs_before: plan.epochs_before, ..Options::default() };
    match train::train_with(context, model, &training, &mut objective, &options)? {
        Trained::Stopped => Ok(Ended::Stopped),
        Trained::Done { .. } => Ok(Ended::Done),
    }
}

struct Accompanied<'a> {
    labelled: Supervised<'a>,
    companion: &'a mut dyn Companion,
}

impl Objective for Accompanied<'_> {
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

    fn before_step(&mut self, model: &Model, gradients: &[Option<Tensor>], optimizer: &Optimizer) {
        self.companion.before_step(model, gradients, optimizer);
    }

    fn after_step(&mut self, model: &mut Model, learning_rate: f64, optimizer: &Optimizer) {
        self.companion.after_step(model, learning_rate, optimizer);
    }
}
