//! Unsupervised domain adaptation: one file per method, each a pure function of two batches.
//!
//! Many methods compare what a network makes of a source batch with what it makes of a target batch
//! ([`Activations`]), and add a term to the loss of the task: a [`Transfer`]. Others take updates of their
//! own, or see one domain alone; what all have in common is a [`Learner`]. [`Adaptation`] is what an `adapt`
//! stage optimises.
//!
//! Invariant: the target enters training as [`Unlabelled`](crate::data::Unlabelled) and in no other
//! form. That type holds no labels, so no method, present or future, can read the target's labels.
//! Choices (the kept epoch, early stopping) are made on the source's validation split, or by
//! [`validators`] of the target's without its labels.

pub mod adabn;
pub mod adda;
pub mod cdan;
pub mod coral;
pub mod dann;
pub mod ddc;
mod endless;
pub mod entropy;
pub mod jan;
mod learner;
pub mod mcc;
pub mod mcd;
pub mod mean_teacher;
pub mod mmd;
mod objective;
mod pairwise;
pub mod perturb;
pub mod pseudo_labels;
mod ramp;
pub mod shot;
pub mod tent;
pub mod validators;

pub use learner::{Learner, Streams, learner};
pub use objective::{Adaptation, Domains, SOURCE, TARGET};
pub use ramp::ramp;

use graftwork::experiment::spec::{ConditionalEntropy, Coral, Ddc, Mcc, Method, Mmd};
use tch::{Device, Tensor};

use crate::model::{Model, Parameter};
use crate::stage::StageError;

/// What a network makes of one batch of one domain.
#[derive(Debug)]
pub struct Activations {
    /// Input of the last layer, `[batch, features]`.
    pub features: Tensor,
    /// Output, `[batch, classes]`.
    pub logits: Tensor,
}

/// An adaptation method at work.
#[derive(Debug)]
pub enum Transfer {
    /// See [`dann`].
    Dann(dann::Adversary),
    /// See [`coral`].
    Coral(Coral),
    /// See [`mmd`].
    Mmd(Mmd),
    /// See [`mcc`].
    Mcc(Mcc),
    /// See [`cdan`].
    Cdan(cdan::Conditional),
    /// See [`jan`].
    Jan(Mmd),
    /// See [`ddc`].
    Ddc(Ddc),
    /// See [`entropy`].
    Entropy(ConditionalEntropy),
}

/// What a method adds to the loss of a step.
#[derive(Debug)]
pub struct Term {
    /// Added to the task's loss; a scalar with gradient.
    pub weighted: Tensor,
    /// What is recorded about it: the loss before its weight, and more.
    pub named: Vec<(&'static str, Tensor)>,
}

impl Transfer {
    /// Sets a method up for a network whose last layer makes scores of that many classes from that
    /// many features; none for a method that is no such term.
    pub fn new(
        method: &Method,
        features: u32,
        classes: u32,
        seed: u64,
        device: Device,
    ) -> Option<Self> {
        match method {
            Method::SourceOnly(_)
            | Method::Adabn(_)
            | Method::Mcd(_)
            | Method::Adda(_)
            | Method::Tent(_)
            | Method::Shot(_)
            | Method::PseudoLabels(_)
            | Method::MeanTeacher(_) => None,
            Method::Dann(dann) => {
                Some(Self::Dann(dann::Adversary::new(dann, features, seed, device)))
            }
            Method::Coral(coral) => Some(Self::Coral(coral.clone())),
            Method::Mmd(mmd) => Some(Self::Mmd(mmd.clone())),
            Method::Mcc(mcc) => Some(Self::Mcc(mcc.clone())),
            Method::Cdan(cdan) => {
                let conditional = cdan::Conditional::new(cdan, features, classes, seed, device);
                Some(Self::Cdan(conditional))
            }
            Method::Jan(jan) => Some(Self::Jan(jan.clone())),
            Method::Ddc(ddc) => Some(Self::Ddc(ddc.clone())),
            Method::Entropy(entropy) => Some(Self::Entropy(entropy.clone())),
        }
    }

    /// The fewest rows of each domain that the method can compare.
    pub fn smallest_batch(&self) -> u32 {
        match self {
            Self::Dann(_) | Self::Mcc(_) | Self::Cdan(_) | Self::Ddc(_) | Self::Entropy(_) => 1,
            // A covariance and a discrepancy divide by the number of other rows.
            Self::Coral(_) | Self::Mmd(_) | Self::Jan(_) => 2,
        }
    }

    /// What the method adds to the loss; `progress` is the share of the stage that is done.
    pub fn term(&self, source: &Activations, target: &Activations, progress: f64) -> Term {
        match self {
            Self::Dann(adversary) => adversary.term(source, target, progress),
            Self::Coral(coral) => {
                let loss = coral::loss(&source.logits, &target.logits);
                weighted(&loss, coral.weight * ramp(progress, coral.gamma))
            }
            Self::Mmd(mmd) => {
                let loss = mmd::transfer_loss(source, target, mmd);
                weighted(&loss, mmd.weight * ramp(progress, mmd.gamma))
            }
            Self::Mcc(mcc) => {
                let loss = mcc::loss(&target.logits, mcc.temperature);
                weighted(&loss, mcc.weight * ramp(progress, mcc.gamma))
            }
            Self::Cdan(conditional) => conditional.term(source, target, progress),
            Self::Jan(jan) => {
                let loss = jan::loss(source, target, jan);
                weighted(&loss, jan.weight * ramp(progress, jan.gamma))
            }
            Self::Ddc(ddc) => {
                let loss = ddc::loss(&source.features, &target.features);
                weighted(&loss, ddc.weight * ramp(progress, ddc.gamma))
            }
            Self::Entropy(entropy) => {
                let loss = entropy::loss(&target.logits);
                weighted(&loss, entropy.weight * ramp(progress, entropy.gamma))
            }
        }
    }

    /// The network that the method trains besides: the domain classifier of DANN and CDAN.
    pub fn auxiliary(&mut self) -> Option<&mut Model> {
        match self {
            Self::Dann(adversary) => Some(adversary.classifier_mut()),
            Self::Cdan(conditional) => Some(conditional.classifier_mut()),
            Self::Coral(_)
            | Self::Mmd(_)
            | Self::Mcc(_)
            | Self::Jan(_)
            | Self::Ddc(_)
            | Self::Entropy(_) => None,
        }
    }
}

fn weighted(loss: &Tensor, weight: f64) -> Term {
    Term { weighted: loss * weight, named: vec![(TRANSFER_LOSS, loss.detach())] }
}

/// Freezes the last layer.
fn freeze_head(model: &mut Model) -> Result<(), StageError> {
    let features = model.feature_node();
    for parameter in model.params_mut().values_mut() {
        parameter.frozen |= parameter.node > features;
    }
    model.update_gradient_flags();
    if model.params().values().any(Parameter::is_trained) {
        return Ok(());
    }
    Err(StageError::Unfit(
        "the method leaves the last layer as it is, and there is no other to train".to_owned(),
    ))
}

/// Recorded as `train/transfer-loss`: what the method measures, before its weight.
const TRANSFER_LOSS: &str = "transfer-loss";

#[cfg(test)]
mod testing {
    use tch::{Kind, Tensor};

    /// A matrix of doubles.
    pub(super) fn matrix(rows: &[&[f64]]) -> Tensor {
        Tensor::from_slice(&rows.concat()).reshape([rows.len() as i64, -1])
    }

    #[track_caller]
    pub(super) fn assert_close(actual: &Tensor, expected: f64, tolerance: f64) {
        let actual = actual.double_value(&[]);
        assert!((actual - expected).abs() <= tolerance, "{actual} is not {expected}");
    }

    /// Compares the gradient of a scalar function with central differences, value by value, relative
    /// to the largest gradient.
    #[track_caller]
    pub(super) fn check_gradient(at: &Tensor, f: impl Fn(&Tensor) -> Tensor) {
        const STEP: f64 = 1e-5;
        let x = at.detach().copy().set_requires_grad(true);
        f(&x).backward();
        let gradient = Vec::<f64>::try_from(x.grad().flatten(0, -1)).unwrap();
        let values = Vec::<f64>::try_from(at.flatten(0, -1)).unwrap();
        let value_at = |index: usize, offset: f64| {
            let mut moved = values.clone();
            moved[index] += offset;
            f(&Tensor::from_slice(&moved).reshape(at.size())).double_value(&[])
        };
        let scale = gradient.iter().fold(1e-3, |most: f64, value| most.max(value.abs()));
        for (index, gradient) in gradient.iter().enumerate() {
            let slope = (value_at(index, STEP) - value_at(index, -STEP)) / (2.0 * STEP);
            assert!(
                (gradient - slope).abs() <= 1e-4 * scale,
                "value {index}: the gradient is {gradient}, differences say {slope}"
            );
        }
    }

    /// A batch of doubles without a pattern, the same at every call.
    pub(super) fn batch(rows: i64, columns: i64, shift: f64) -> Tensor {
        let index = Tensor::arange(rows * columns, (Kind::Double, tch::Device::Cpu));
        ((index * 12.9898 + shift).sin() * 1.5 + shift).reshape([rows, columns])
    }
}
