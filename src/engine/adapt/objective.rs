use graftwork::experiment::spec::{Adapt, Loss, Validator};
use tch::{Kind, Tensor};

use super::endless::Endless;
use super::{Activations, Transfer, validators};
use crate::data::{Batch, Batches, InputBatches, Set, TrainSet, Unlabelled, UnlabelledSet};
use crate::model::{Mode, Model};
use crate::train::{Measured, Objective, Step, Terms, accuracy, evaluate, loss};

/// Index of the source among the domains of a network with domain-specific layers.
pub const SOURCE: usize = 0;
/// Index of the target.
pub const TARGET: usize = 1;

/// The images that an adaptation sees.
#[derive(Debug, Clone, Copy)]
pub struct Domains<'a> {
    /// Names of source and target in metric names.
    pub names: &'a [String; 2],
    /// The source's training images, with labels.
    pub source: &'a TrainSet,
    /// The source's validation split, which choices are made on; may be empty.
    pub validation: &'a Set,
    /// The target's, without its labels; may be empty.
    pub target_validation: &'a UnlabelledSet,
    /// The target's training images. They have no labels.
    pub target: &'a Unlabelled,
}

/// What an `adapt` stage optimises: the task's loss on the source, and the method's term.
///
/// An epoch has as many steps as the larger domain has whole batches, also where the method does
/// not look at the target, so that methods are compared after equally many steps.
///
/// The domains go through the network one after the other, each normalised by the statistics of its
/// own batch; both update the running averages of shared batch-norm layers in turn, so these
/// describe a mixture of both domains. With `joint-batches` they go through as one batch.
pub struct Adaptation<'a> {
    domains: Domains<'a>,
    source: Endless<'a, Batches<'a>>,
    target: Endless<'a, InputBatches<'a>>,
    /// None: the target is not looked at.
    transfer: Option<Transfer>,
    task: Loss,
    joint_batches: bool,
    /// What the best epoch is chosen by.
    select: Validator,
    /// Recorded before training, with the source's validation split.
    start: Vec<(String, f64)>,
}

impl<'a> Adaptation<'a> {
    /// An adaptation as a stage asks for it.
    pub fn new(stage: &Adapt, domains: Domains<'a>, transfer: Option<Transfer>, seed: u64) -> Self {
        let Domains { source, target, .. } = domains;
        let source_size = stage.source.batching().batch_size;
        let target_size = stage.target.batching().batch_size;
        Self {
            domains,
            source: Endless::new(source.len(), source_size, move |pass| source.batches(seed, pass)),
            target: Endless::new(target.len(), target_size, move |pass| target.batches(seed, pass)),
            transfer,
            task: stage.loss.clone(),
            joint_batches: stage.joint_batches,
            select: stage.select,
            start: Vec::new(),
        }
    }

    /// Records values before training: what the network scores on the target so far.
    #[must_use]
    pub fn starting_at(self, start: Vec<(String, f64)>) -> Self {
        Self { start, ..self }
    }
}

/// What the network makes of both batches.
fn activations(
    model: &Model,
    source: &Tensor,
    target: &Tensor,
    joint: bool,
) -> (Activations, Activations) {
    if !joint {
        return (forward(model, source, SOURCE), forward(model, target, TARGET));
    }
    // No layer is specific to a domain then: the stage sees to it.
    let both = forward(model, &Tensor::cat(&[source, target], 0), SOURCE);
    let part = |start, rows| Activations {
        features: both.features.narrow(0, start, rows),
        logits: both.logits.narrow(0, start, rows),
    };
    let rows = source.size()[0];
    (part(0, rows), part(rows, target.size()[0]))
}

fn forward(model: &Model, images: &Tensor, domain: usize) -> Activations {
    let features = model.feature_node();
    let (logits, tapped) = model.forward_with(images, Mode::Train, Some(domain), &[features]);
    let [features] = &tapped[..] else { unreachable!("one node was tapped") };
    Activations {
        features: features.flatten(1, -1).to_kind(Kind::Float),
        logits: logits.to_kind(Kind::Float),
    }
}

/// The metric of a validator.
fn of_target(target: &str, validator: &str) -> String {
    format!("{target}:val/{validator}")
}

impl Objective for Adaptation<'_> {
    fn steps_per_epoch(&self) -> u64 {
        self.source.length().max(self.target.length())
    }

    fn begin_epoch(&mut self, epoch: u32) {
        self.source.begin_epoch(epoch);
        if self.transfer.is_some() {
            self.target.begin_epoch(epoch);
        }
    }

    fn loss(&mut self, model: &Model, step: &Step) -> Terms {
        let Batch { inputs, labels } = self.source.next();
        let (source, term) = match &self.transfer {
            None => (forward(model, &inputs, SOURCE), None),
            Some(transfer) => {
                let target = self.target.next();
                let (source, target) = activations(model, &inputs, &target, self.joint_batches);
                let term = transfer.term(&source, &target, step.progress());
                (source, Some(term))
            }
        };
        let task = loss::supervised(&self.task, &source.logits, &labels, None);
        let mut named =
            vec![("accuracy", accuracy(&source.logits, &labels)), ("task-loss", task.detach())];
        let Some(term) = term else { return Terms { total: task, named } };
        named.extend(term.named);
        Terms { total: task + term.weighted, named }
    }

    fn before(&mut self, model: &Model) -> Vec<(String, f64)> {
        let mut values = self.start.clone();
        values.extend(self.validate(model));
        values
    }

    fn validate(&mut self, model: &Model) -> Vec<(String, f64)> {
        let Domains { names, validation, target_validation, .. } = self.domains;
        let mut values = Vec::new();
        if !validation.is_empty() {
            values = evaluate(model, validation, Some(SOURCE)).named(&names[SOURCE], "val");
        }
        let scores = validators::scores(model, target_validation).into_iter();
        values.extend(scores.map(|(name, score)| (of_target(&names[TARGET], name), score)));
        values
    }

    fn selection(&self) -> (String, String) {
        let names = self.domains.names;
        let (accuracy, loss) = Measured::selection(self.domains.validation, &names[SOURCE]);
        match self.select {
            Validator::SourceAccuracy => (accuracy, loss),
            validator => (of_target(&names[TARGET], validator.name()), loss),
        }
    }

    fn auxiliary(&mut self) -> Option<&mut Model> {
        self.transfer.as_mut()?.auxiliary()
    }
}
