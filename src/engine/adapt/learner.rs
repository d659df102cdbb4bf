//! How a method trains: what it makes of the batches of a step.

use graftwork::experiment::spec::{Adapt, Loss, Method};
use tch::Tensor;

use super::endless::Endless;
use super::pairwise::Pairwise;
use super::{Activations, SOURCE, Transfer, adda, mcd, mean_teacher, pseudo_labels, shot, tent};
use crate::data::{Batch, Batches, InputBatches, Inputs, Unlabelled};
use crate::model::{Mode, Model};
use crate::stage::StageError;
use crate::train::{Node, Step, Terms, accuracy, loss};

/// A method at work.
pub trait Learner: std::fmt::Debug {
    /// The fewest rows of each domain that the method can compare.
    fn smallest_batch(&self) -> u32 {
        1
    }

    /// Freezes what the method leaves as it is.
    ///
    /// # Errors
    /// [`StageError::Unfit`] where nothing is left to train.
    fn freeze(&self, model: &mut Model) -> Result<(), StageError> {
        let _ = model;
        Ok(())
    }

    /// Learns that an epoch begins with the next step.
    fn begin_epoch(&mut self) {}

    /// The loss of a step's first update.
    fn loss(&mut self, model: &Model, streams: &mut Streams<'_>, step: &Step) -> Terms;

    /// As [`Objective::rounds`](crate::train::Objective::rounds).
    fn rounds(&self) -> u32 {
        1
    }

    /// As [`Objective::further`](crate::train::Objective::further).
    fn further(&mut self, model: &Model, round: u32) -> Terms {
        let _ = model;
        unreachable!("no update {round} was announced")
    }

    /// As [`Objective::spares`](crate::train::Objective::spares).
    fn spares(&self, round: u32, node: Node) -> bool {
        let _ = (round, node);
        false
    }

    /// Sees the network after a step, without gradients.
    fn after_step(&mut self, model: &Model) {
        let _ = model;
    }

    /// As [`Objective::auxiliary`](crate::train::Objective::auxiliary).
    fn auxiliary(&mut self) -> Option<&mut Model> {
        None
    }

    /// As [`Objective::trains_auxiliary`](crate::train::Objective::trains_auxiliary).
    fn trains_auxiliary(&self) -> bool {
        true
    }
}

/// Sets the method of a stage up.
///
/// - model: as it comes into the stage, with its domain-specific layers
/// - features: number of values that the last layer reads
///
/// # Errors
/// [`StageError::Unfit`]: the network is not one that the method can adapt.
pub fn learner(
    stage: &Adapt,
    model: &Model,
    features: u32,
    seed: u64,
) -> Result<Box<dyn Learner>, StageError> {
    let task = stage.loss.clone();
    let classes =
        model.network().classes().map_err(|error| StageError::Unfit(error.to_string()))?;
    Ok(match &stage.method {
        Method::Mcd(settings) => Box::new(mcd::Mcd::new(settings, task, model, classes, seed)),
        Method::Adda(settings) => Box::new(adda::Adda::new(settings, model, features, seed)),
        Method::Tent(_) => Box::new(tent::Tent),
        Method::Shot(settings) => Box::new(shot::Shot::new(settings)),
        Method::PseudoLabels(settings) => {
            Box::new(pseudo_labels::PseudoLabels::new(settings, task, seed))
        }
        Method::MeanTeacher(settings) => {
            Box::new(mean_teacher::MeanTeacher::new(settings, task, model, seed))
        }
        pairwise => {
            let transfer = Transfer::new(pairwise, features, classes, seed, model.device());
            Box::new(Pairwise::new(transfer, task, stage.joint_batches))
        }
    })
}

/// The batches of both domains, each drawn when it is asked for.
pub struct Streams<'a> {
    pub(super) source: Endless<'a, Batches<'a>>,
    pub(super) target: Endless<'a, InputBatches<'a>>,
    /// All of the target.
    pub(super) whole_target: &'a Unlabelled,
}

impl Streams<'_> {
    pub(super) fn begin_epoch(&mut self, epoch: u32) {
        self.source.begin_epoch(epoch);
        self.target.begin_epoch(epoch);
    }

    /// The next examples of the source, with their labels.
    pub fn source(&mut self) -> Batch {
        self.source.next()
    }

    /// The next examples of the target.
    pub fn target(&mut self) -> Inputs {
        self.target.next()
    }
}

/// What the network makes of a training batch of a domain, and the input of its last layer as it is.
pub(super) fn forward_tapped(
    model: &Model,
    inputs: &Tensor,
    mode: Mode,
    domain: usize,
) -> (Tensor, Tensor) {
    let (logits, mut tapped) =
        model.forward_with(inputs, mode, Some(domain), &[model.feature_node()]);
    (logits, tapped.pop().expect("one node was tapped"))
}

/// What the network makes of a training batch of a domain.
pub(super) fn forward(model: &Model, inputs: &Tensor, domain: usize) -> Activations {
    let (logits, features) = forward_tapped(model, inputs, Mode::Train, domain);
    Activations { features: features.flatten(1, -1), logits }
}

/// The loss on the source's labels, and what is recorded of it.
pub(super) fn on_labels(task: &Loss, logits: &Tensor, labels: &Tensor) -> Terms {
    let total = loss::supervised(task, logits, labels, None);
    let named = vec![("accuracy", accuracy(logits, labels)), ("task-loss", total.detach())];
    Terms { total, named }
}

/// The loss on the next batch of the source.
pub(super) fn on_source(model: &Model, streams: &mut Streams<'_>, task: &Loss) -> Terms {
    let Batch { inputs, labels } = streams.source();
    on_labels(task, &model.forward(&inputs, Mode::Train, Some(SOURCE)), &labels)
}
