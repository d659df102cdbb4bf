//! Maximum classifier discrepancy: two classifiers disagree where target features are unlike source features.
//!
//! Saito et al. 2018, "Maximum Classifier Discrepancy for Unsupervised Domain Adaptation",
//! <https://arxiv.org/abs/1712.02560>, section 3. Each step has three parts: all learn the source (A); the
//! classifiers learn the source and to disagree on the target, the features being given (B); the features
//! learn, some times over, to make them agree, the classifiers being given (C). All see the same two batches.
//!
//! The first classifier is the network's last layer and is what remains; the second has its shape and other
//! initial weights.

use graftwork::experiment::spec;
use tch::{Kind, Tensor, no_grad};

use super::learner::{Learner, Streams, forward_tapped, on_labels};
use super::{SOURCE, TARGET, TRANSFER_LOSS};
use crate::data::Batch;
use crate::model::{Mode, Model};
use crate::random;
use crate::train::{Node, Step, Terms, loss};

/// The update of a step in which the classifiers learn to disagree.
const DISAGREE: u32 = 1;

/// The method at work.
#[derive(Debug)]
pub struct Mcd {
    feature_updates: u32,
    task: spec::Loss,
    /// The network with another last layer; what comes before that is not used.
    second: Model,
    /// The last layer's input.
    features: usize,
    /// Of the step: source, its labels, target.
    batches: Option<(Batch, Tensor)>,
}

impl Mcd {
    /// A second classifier for a network of that many classes.
    pub fn new(
        settings: &spec::Mcd,
        task: spec::Loss,
        model: &Model,
        classes: u32,
        seed: u64,
    ) -> Self {
        let features = model.feature_node();
        // The draws of a layer depend on seed and name, and the first classifier may be fresh from them.
        let other_seed = random::seed_of(seed, "second classifier");
        let mut second = model.duplicate().replace_head(classes, other_seed);
        for parameter in second.params_mut().values_mut() {
            parameter.frozen |= parameter.node <= features;
        }
        second.update_gradient_flags();
        Self { feature_updates: settings.feature_updates, task, second, features, batches: None }
    }

    fn logits(&self, model: &Model, features: &Tensor, domain: usize) -> [Tensor; 2] {
        [model, &self.second]
            .map(|model| model.forward_from(self.features, features, Mode::Train, Some(domain)))
    }

    /// Both classifiers' loss on the source, of given features.
    fn task_loss(&self, logits: &[Tensor; 2], labels: &Tensor) -> Tensor {
        let [first, second] = logits;
        loss::supervised(&self.task, first, labels, None)
            + loss::supervised(&self.task, second, labels, None)
    }
}

impl Learner for Mcd {
    fn loss(&mut self, model: &Model, streams: &mut Streams<'_>, _: &Step) -> Terms {
        let (source, target) = (streams.source(), streams.target().inputs);
        let (_, features) = forward_tapped(model, &source.inputs, Mode::Train, SOURCE);
        let logits = self.logits(model, &features, SOURCE);
        let named = on_labels(&self.task, &logits[0], &source.labels).named;
        let total = self.task_loss(&logits, &source.labels);
        self.batches = Some((source, target));
        Terms { total, named }
    }

    fn rounds(&self) -> u32 {
        1 + DISAGREE + self.feature_updates
    }

    fn further(&mut self, model: &Model, round: u32) -> Terms {
        let (source, target) = self.batches.as_ref().expect("a step begins with its batches");
        if round > DISAGREE {
            let (_, features) = forward_tapped(model, target, Mode::Train, TARGET);
            let disagreement = discrepancy(&self.logits(model, &features, TARGET));
            let is_last = round + 1 == self.rounds();
            let named = is_last.then(|| (TRANSFER_LOSS, disagreement.detach()));
            return Terms { total: disagreement, named: named.into_iter().collect() };
        }
        let features = |inputs: &Tensor, domain| {
            no_grad(|| forward_tapped(model, inputs, Mode::Train, domain).1)
        };
        let of_source = self.logits(model, &features(&source.inputs, SOURCE), SOURCE);
        let of_target = self.logits(model, &features(target, TARGET), TARGET);
        Terms::from(self.task_loss(&of_source, &source.labels) - discrepancy(&of_target))
    }

    fn spares(&self, round: u32, node: Node) -> bool {
        // Where the classifiers learn, the features come without a gradient.
        round > DISAGREE
            && match node {
                Node::Own(node) => node > self.features,
                Node::Auxiliary(_) => true,
            }
    }

    fn auxiliary(&mut self) -> Option<&mut Model> {
        Some(&mut self.second)
    }
}

/// How far two classifiers disagree: the mean over rows and classes of `|p₁ − p₂|`.
///
/// # Shapes
/// - logits: `[n, classes]` each
/// - result: a scalar in 0..=2/classes
pub fn discrepancy(logits: &[Tensor; 2]) -> Tensor {
    let [first, second] = logits;
    let kind = first.kind();
    (first.softmax(-1, kind) - second.softmax(-1, kind)).abs().mean(None::<Kind>)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, batch, check_gradient, matrix};
    use super::*;

    #[test]
    fn two_classifiers_disagree_as_computed_by_hand() {
        // (|.7 − .4| + |.3 − .6|) / 2.
        let logits = [&[0.7, 0.3], &[0.4, 0.6]].map(|p: &[f64; 2]| matrix(&[p]).log());
        assert_close(&discrepancy(&logits), 0.3, 1e-12);
    }

    #[test]
    fn equal_classifiers_agree_and_opposite_ones_disagree_most() {
        let logits = batch(6, 4, 0.3);
        assert_close(&discrepancy(&[logits.copy(), logits]), 0.0, 0.0);
        let opposite = [matrix(&[&[900.0, 0.0]]), matrix(&[&[0.0, 900.0]])];
        assert_close(&discrepancy(&opposite), 1.0, 1e-12);
    }

    #[test]
    fn gradients_agree_with_differences() {
        let other = batch(5, 4, 0.9);
        check_gradient(&batch(5, 4, 0.2), |logits| {
            discrepancy(&[logits.shallow_clone(), other.shallow_clone()])
        });
    }
}
