use graftwork::experiment::spec::{Adapt, Method, Validator};

use super::endless::Endless;
use super::learner::{Learner, Streams};
use super::{adabn, validators};
use crate::data::{Set, TrainSet, Unlabelled, UnlabelledSet};
use crate::model::Model;
use crate::train::optimizer::Optimizer;
use crate::train::{Measured, Node, Objective, Step, Terms, evaluate};

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

/// What an `adapt` stage optimises: what its method makes of the batches of both domains.
///
/// An epoch has as many steps as the larger domain has whole batches, also where the method does
/// not look at one of them, so that methods are compared after equally many steps.
///
/// The domains go through the network one after the other, each normalised by the statistics of its
/// own batch; both update the running averages of shared batch-norm layers in turn, so these
/// describe a mixture of both domains. With `joint-batches` they go through as one batch.
pub struct Adaptation<'a> {
    domains: Domains<'a>,
    streams: Streams<'a>,
    learner: Box<dyn Learner>,
    /// Whether the network gets the target's statistics at the end, and is measured with them.
    target_statistics: bool,
    /// What the best epoch is chosen by.
    select: Validator,
    /// Recorded before training, with the source's validation split.
    start: Vec<(String, f64)>,
}

impl<'a> Adaptation<'a> {
    /// An adaptation as a stage asks for it.
    pub fn new(stage: &Adapt, domains: Domains<'a>, learner: Box<dyn Learner>, seed: u64) -> Self {
        let Domains { source, target, .. } = domains;
        let source_size = stage.source.batching().batch_size;
        let target_size = stage.target.batching().batch_size;
        let streams = Streams {
            source: Endless::new(source.len(), source_size, move |pass| source.batches(seed, pass)),
            target: Endless::new(target.len(), target_size, move |pass| target.batches(seed, pass)),
            whole_target: target,
        };
        Self {
            domains,
            streams,
            learner,
            target_statistics: matches!(stage.method, Method::Adabn(_)),
            select: stage.select,
            start: Vec::new(),
        }
    }

    /// Records values before training: what the network scores on the target so far.
    #[must_use]
    pub fn starting_at(self, start: Vec<(String, f64)>) -> Self {
        Self { start, ..self }
    }

    fn measure(&self, model: &Model) -> Vec<(String, f64)> {
        let Domains { names, validation, target_validation, .. } = self.domains;
        let mut values = Vec::new();
        if !validation.is_empty() {
            values = evaluate(model, validation, Some(SOURCE)).named(&names[SOURCE], "val");
        }
        let scores = validators::scores(model, target_validation).into_iter();
        values.extend(scores.map(|(name, score)| (of_target(&names[TARGET], name), score)));
        values
    }
}

/// The metric of a validator.
fn of_target(target: &str, validator: &str) -> String {
    format!("{target}:val/{validator}")
}

impl Objective for Adaptation<'_> {
    fn steps_per_epoch(&self) -> u64 {
        self.streams.source.length().max(self.streams.target.length())
    }

    fn begin_epoch(&mut self, epoch: u32) {
        self.streams.begin_epoch(epoch);
        self.learner.begin_epoch();
    }

    fn loss(&mut self, model: &Model, step: &Step) -> Terms {
        self.learner.loss(model, &mut self.streams, step)
    }

    fn rounds(&self) -> u32 {
        self.learner.rounds()
    }

    fn further(&mut self, model: &Model, _: &Step, round: u32) -> Terms {
        self.learner.further(model, round)
    }

    fn spares(&self, round: u32, node: Node) -> bool {
        self.learner.spares(round, node)
    }

    fn after_step(&mut self, model: &mut Model, _: f64, _: &Optimizer) {
        self.learner.after_step(model);
    }

    fn before(&mut self, model: &Model) -> Vec<(String, f64)> {
        let mut values = self.start.clone();
        values.extend(self.measure(model));
        values
    }

    /// Measures the network as it would be kept.
    fn validate(&mut self, model: &Model) -> Vec<(String, f64)> {
        if !self.target_statistics {
            return self.measure(model);
        }
        let mut adapted = model.duplicate();
        adabn::adapt(&mut adapted, self.domains.target);
        self.measure(&adapted)
    }

    fn finish(&mut self, model: &mut Model) {
        if self.target_statistics {
            adabn::adapt(model, self.domains.target);
        }
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
        self.learner.auxiliary()
    }

    fn trains_auxiliary(&self) -> bool {
        self.learner.trains_auxiliary()
    }
}
