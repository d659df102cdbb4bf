//! Training on labelled data: the objective of `pretrain` and `finetune`.

use graftwork::experiment::spec::{Bss, Loss};
use tch::{Kind, Tensor, no_grad};

use super::features::{self, Behaviour};
use super::layerwise::Unfreezing;
use super::lora::Lora;
use super::loss::{self, StartingPoint};
use super::optimizer::Optimizer;
use super::rows::Rows;
use super::{Measured, Objective, Step, Terms, evaluate};
use crate::data::{Batch, Batches, Splits};
use crate::model::{Mode, Model};

/// Minimises a loss on the training split of a dataset.
pub struct Supervised<'a> {
    splits: &'a Splits,
    seed: u64,
    loss: &'a Loss,
    teacher: Option<Teacher>,
    starting_point: Option<StartingPoint>,
    behaviour: Option<Behaviour>,
    bss: Option<Bss>,
    lora: Option<Lora>,
    unfreezing: Option<Unfreezing>,
    measures_start: bool,
    batches: Option<Batches<'a>>,
}

/// A network that is imitated.
struct Teacher {
    model: Model,
    /// The domain whose copies of domain-specific layers it uses.
    domain: Option<usize>,
}

impl<'a> Supervised<'a> {
    /// - seed: that of the order of the batches and of augmentation
    pub fn new(splits: &'a Splits, loss: &'a Loss, seed: u64) -> Self {
        Self {
            splits,
            seed,
            loss,
            teacher: None,
            starting_point: None,
            behaviour: None,
            bss: None,
            lora: None,
            unfreezing: None,
            measures_start: false,
            batches: None,
        }
    }

    /// Measures the validation split before the first epoch, too.
    #[must_use]
    pub fn measuring_start(self) -> Self {
        Self { measures_start: true, ..self }
    }

    /// Adds the teacher of a distillation.
    #[must_use]
    pub fn with_teacher(self, model: Model) -> Self {
        let domain = model.domain_for(&self.splits.name);
        Self { teacher: Some(Teacher { model, domain }), ..self }
    }

    /// Adds the penalty on the distance to where the network starts.
    #[must_use]
    pub fn with_starting_point(self, starting_point: StartingPoint) -> Self {
        Self { starting_point: Some(starting_point), ..self }
    }

    /// Adds the penalty on the distance to what layers put out at the start.
    #[must_use]
    pub fn with_behaviour(self, behaviour: Behaviour) -> Self {
        Self { behaviour: Some(behaviour), ..self }
    }

    /// Adds the penalty on the smallest singular values of the features.
    #[must_use]
    pub fn with_bss(self, bss: Bss) -> Self {
        Self { bss: Some(bss), ..self }
    }

    /// Trains updates of the weights in their place.
    #[must_use]
    pub fn with_lora(self, lora: Lora) -> Self {
        Self { lora: Some(lora), ..self }
    }

    /// Trains layers from an epoch of their own on.
    #[must_use]
    pub fn with_unfreezing(self, unfreezing: Unfreezing) -> Self {
        Self { unfreezing: Some(unfreezing), ..self }
    }
}

impl Objective for Supervised<'_> {
    fn steps_per_epoch(&self) -> u64 {
        self.splits.train.steps() as u64
    }

    fn thaw(&mut self, model: &mut Model, epoch: u32) {
        if let Some(unfreezing) = &self.unfreezing {
            unfreezing.apply(model, epoch);
        }
    }

    fn begin_epoch(&mut self, epoch: u32) {
        self.batches = Some(self.splits.train.batches(self.seed, u64::from(epoch)));
    }

    fn loss(&mut self, model: &Model, _step: &Step) -> Terms {
        let batches = self.batches.as_mut().expect("the loop begins epochs");
        let Batch { inputs, labels } = batches.next().expect("an epoch has its steps");
        let model = match &mut self.lora {
            Some(lora) => lora.apart(model),
            None => model,
        };
        let compared = self.behaviour.iter().flat_map(Behaviour::nodes);
        let features = self.bss.iter().map(|_| model.feature_node());
        let taps: Vec<usize> = compared.chain(features).collect();
        let (logits, outputs) = model.forward_with(&inputs, Mode::Train, None, &taps);
        let teacher = self.teacher.as_ref();
        let teacher = teacher
            .map(|teacher| no_grad(|| teacher.model.forward(&inputs, Mode::Eval, teacher.domain)));
        let mut total = loss::supervised(self.loss, &logits, &labels, teacher.as_ref());
        let mut named = vec![("accuracy", accuracy(&logits, &labels))];
        let l2_sp = self.starting_point.as_ref().and_then(|start| start.penalty(model));
        let delta = self.behaviour.as_ref().map(|it| it.penalty(model, &inputs, &outputs));
        let features = outputs.last();
        let bss = self.bss.as_ref().zip(features);
        let bss = bss.map(|(bss, features)| features::spectral_shrinkage(bss, features));
        for (name, penalty) in [("l2-sp", l2_sp), ("delta", delta), ("bss", bss)] {
            if let Some(penalty) = penalty {
                total = &total + &penalty;
                named.push((name, penalty));
            }
        }
        Terms { total, named }
    }

    fn auxiliary(&mut self) -> Option<&mut Model> {
        self.lora.as_mut().map(Lora::factors)
    }

    fn after_step(&mut self, model: &mut Model, _learning_rate: f64, _optimizer: &Optimizer) {
        if let Some(lora) = &self.lora {
            lora.merge_into(model);
        }
    }

    fn before(&mut self, model: &Model) -> Vec<(String, f64)> {
        if self.measures_start { self.validate(model) } else { Vec::new() }
    }

    fn validate(&mut self, model: &Model) -> Vec<(String, f64)> {
        if self.splits.val.is_empty() {
            return Vec::new();
        }
        evaluate(model, &self.splits.val, None).named(&self.splits.name, "val")
    }

    fn selection(&self) -> (String, String) {
        Measured::selection(&self.splits.val, &self.splits.name)
    }
}

/// Fraction of a batch whose largest logit is its label's, of masks that of the pixels; a scalar on the
/// device.
pub fn accuracy(logits: &Tensor, labels: &Tensor) -> Tensor {
    no_grad(|| {
        let Rows { logits, labels, .. } = Rows::new(logits, labels);
        logits.argmax(-1, false).eq_tensor(&labels).to_kind(Kind::Float).mean(Kind::Float)
    })
}
