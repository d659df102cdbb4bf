//! Methods that add to the loss on the source a term of what the network makes of a batch of each domain.

use graftwork::experiment::spec::Loss;
use tch::Tensor;

use super::learner::{Learner, Streams, forward, on_labels, on_source};
use super::{Activations, SOURCE, TARGET, Transfer};
use crate::data::Batch;
use crate::model::Model;
use crate::train::{Step, Terms};

/// A method of the kind, or none: then the target is not looked at.
#[derive(Debug)]
pub(super) struct Pairwise {
    transfer: Option<Transfer>,
    task: Loss,
    joint_batches: bool,
}

impl Pairwise {
    /// - `joint_batches`: whether both domains go through the network as one batch
    pub(super) fn new(transfer: Option<Transfer>, task: Loss, joint_batches: bool) -> Self {
        Self { transfer, task, joint_batches }
    }
}

impl Learner for Pairwise {
    fn smallest_batch(&self) -> u32 {
        self.transfer.as_ref().map_or(1, Transfer::smallest_batch)
    }

    fn loss(&mut self, model: &Model, streams: &mut Streams<'_>, step: &Step) -> Terms {
        let Some(transfer) = &self.transfer else { return on_source(model, streams, &self.task) };
        let Batch { inputs, labels } = streams.source();
        let target = streams.target().inputs;
        let (source, target) = activations(model, &inputs, &target, self.joint_batches);
        let mut terms = on_labels(&self.task, &source.logits, &labels);
        let term = transfer.term(&source, &target, step.progress());
        terms.named.extend(term.named);
        Terms { total: terms.total + term.weighted, named: terms.named }
    }

    fn auxiliary(&mut self) -> Option<&mut Model> {
        self.transfer.as_mut()?.auxiliary()
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
