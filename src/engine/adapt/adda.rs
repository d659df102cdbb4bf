//! Adversarial discriminative domain adaptation: the target's features learn to pass for the source's.
//!
//! Tzeng et al. 2017, "Adversarial Discriminative Domain Adaptation", <https://arxiv.org/abs/1702.05464>,
//! section 4. The network comes trained on the source. What the source's examples become in it is held fixed,
//! by a copy of it in evaluation; the network itself is trained on the target until a domain classifier takes
//! its features for those of the copy ("inverted labels"). Its last layer stays as it is, so that it reads them
//! as it read the source's.

use graftwork::experiment::spec;
use tch::{Kind, Tensor, no_grad};

use super::dann::{domain_classifier, judge, loss};
use super::learner::{Learner, Streams, forward, forward_tapped};
use super::{SOURCE, TARGET, TRANSFER_LOSS, freeze_head};
use crate::model::{Mode, Model};
use crate::stage::StageError;
use crate::train::{Node, Step, Terms};

/// The method at work.
#[derive(Debug)]
pub struct Adda {
    /// The network as it came.
    fixed: Model,
    classifier: Model,
    /// Of the step's target batch, `[n, features]`.
    features: Option<Tensor>,
}

impl Adda {
    /// A new domain classifier for features of that width.
    pub fn new(settings: &spec::Adda, model: &Model, features: u32, seed: u64) -> Self {
        let classifier = domain_classifier(features, settings.hidden, seed, model.device());
        Self { fixed: model.duplicate(), classifier, features: None }
    }
}

impl Learner for Adda {
    fn freeze(&self, model: &mut Model) -> Result<(), StageError> {
        freeze_head(model)
    }

    /// The domain classifier learns to tell the copy's features of the source from those of the target.
    fn loss(&mut self, model: &Model, streams: &mut Streams<'_>, _: &Step) -> Terms {
        let source = streams.source().inputs;
        let source = no_grad(|| forward_tapped(&self.fixed, &source, Mode::Eval, SOURCE).1);
        let target = forward(model, &streams.target().inputs, TARGET).features;
        let verdict = judge(&self.classifier, &source.flatten(1, -1), &target.detach(), None, 0.0);
        self.features = Some(target);
        Terms { total: verdict.loss, named: vec![("domain-accuracy", verdict.accuracy)] }
    }

    fn rounds(&self) -> u32 {
        2
    }

    /// The features learn to be taken for the source's.
    fn further(&mut self, _: &Model, _: u32) -> Terms {
        let features = self.features.take().expect("a step begins with its batches");
        let logits = self.classifier.forward(&features, Mode::Train, None).squeeze_dim(1);
        let total = loss(&logits, &Tensor::ones_like(&logits), None);
        Terms { named: vec![(TRANSFER_LOSS, total.detach())], total: total.to_kind(Kind::Float) }
    }

    fn spares(&self, _: u32, node: Node) -> bool {
        matches!(node, Node::Auxiliary(_))
    }

    fn auxiliary(&mut self) -> Option<&mut Model> {
        Some(&mut self.classifier)
    }
}
