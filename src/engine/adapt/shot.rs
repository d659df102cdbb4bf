//! Source hypothesis transfer: the features are fitted to the fixed last layer, on the target alone.
//!
//! Liang et al. 2020, "Do We Really Need to Access the Source Data? Source Hypothesis Transfer for Unsupervised
//! Domain Adaptation", <https://arxiv.org/abs/2002.08546>, section 3. Predictions are to be sure and diverse
//! ([`information_loss`]), and to agree with pseudo-labels that are made before every epoch of the whole
//! training set: the class of the nearest centre ([`pseudo_labels`]).

use graftwork::experiment::spec;
use tch::{Kind, Reduction, Tensor, no_grad};

use super::learner::{Learner, Streams, forward_tapped};
use super::{TARGET, TRANSFER_LOSS, entropy, freeze_head};
use crate::data::{Inputs, Unlabelled};
use crate::model::{Mode, Model};
use crate::stage::StageError;
use crate::train::{Step, Terms};

/// The method at work.
#[derive(Debug)]
pub struct Shot {
    /// Weight of the cross-entropy with the pseudo-labels.
    weight: f64,
    /// Of all examples in their order, `[N]`; none at the start of an epoch.
    labels: Option<Tensor>,
}

impl Shot {
    /// The method before its first epoch.
    pub fn new(settings: &spec::Shot) -> Self {
        Self { weight: settings.pseudo_labels, labels: None }
    }
}

impl Learner for Shot {
    fn freeze(&self, model: &mut Model) -> Result<(), StageError> {
        freeze_head(model)
    }

    fn begin_epoch(&mut self) {
        self.labels = None;
    }

    fn loss(&mut self, model: &Model, streams: &mut Streams<'_>, _: &Step) -> Terms {
        let whole = streams.whole_target;
        let labels = self.labels.get_or_insert_with(|| label(model, whole));
        let Inputs { inputs, index } = streams.target();
        let logits = model.forward(&inputs, Mode::Train, Some(TARGET));
        let labels = labels.index_select(0, &index);
        let by_labels =
            logits.cross_entropy_loss::<&Tensor>(&labels, None, Reduction::Mean, -100, 0.0);
        let information = information_loss(&logits);
        let named =
            vec![(TRANSFER_LOSS, information.detach()), ("pseudo-label-loss", by_labels.detach())];
        Terms { total: information + by_labels * self.weight, named }
    }
}

/// Labels a whole training set.
fn label(model: &Model, target: &Unlabelled) -> Tensor {
    no_grad(|| {
        let (logits, features): (Vec<Tensor>, Vec<Tensor>) = target
            .in_order()
            .map(|inputs| forward_tapped(model, &inputs, Mode::Eval, TARGET))
            .unzip();
        let (logits, features) = (Tensor::cat(&logits, 0), Tensor::cat(&features, 0));
        pseudo_labels(&features.flatten(1, -1), &logits.softmax(-1, Kind::Float))
    })
}

/// Minus the mutual information of examples and classes: the mean entropy of the predictions minus the entropy
/// of their mean.
///
/// # Shapes
/// - logits: `[n, classes]`
/// - result: a scalar in −ln classes ..= 0
pub fn information_loss(logits: &Tensor) -> Tensor {
    let mean = logits.softmax(-1, logits.kind()).mean_dim([0i64].as_slice(), false, None::<Kind>);
    entropy::loss(logits) + mean.xlogy(&mean).sum(None::<Kind>)
}

/// The class of the nearest centre by cosine, of features to which a one is appended. Centres are first means
/// weighted by the probabilities, and then means by the classes that those give.
///
/// # Shapes
/// - features: `[N, F]`
/// - probabilities: `[N, classes]`
/// - result: `[N]`, 64-bit integers
pub fn pseudo_labels(features: &Tensor, probabilities: &Tensor) -> Tensor {
    let rows = features.size()[0];
    let ones = Tensor::ones([rows, 1], (features.kind(), features.device()));
    let directions = unit(&Tensor::cat(&[features, &ones], 1));
    // The length of a centre does not change its direction: sums do for means.
    let nearest = |weights: &Tensor| {
        let centres = weights.tr().matmul(&directions); // [classes, F + 1]
        let likeness = directions.matmul(&unit(&centres).tr());
        // A class that nothing has has no centre.
        let is_empty = weights.sum_dim_intlist([0i64].as_slice(), false, None::<Kind>).le(0.0);
        likeness.masked_fill(&is_empty, f64::NEG_INFINITY).argmax(1, false)
    };
    let first = nearest(probabilities);
    let classes = probabilities.size()[1];
    nearest(&first.one_hot(classes).to_kind(features.kind()))
}

/// Rows of length one; a row of zeros stays.
fn unit(rows: &Tensor) -> Tensor {
    rows / rows.norm_scalaropt_dim(2.0, [1i64].as_slice(), true).clamp_min(1e-12)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, batch, check_gradient, matrix};
    use super::*;

    #[test]
    fn the_information_is_the_one_computed_by_hand() {
        // Sure and diverse: 0 − ln 2. Else (.500402 + .610864) / 2 − H(.55, .45) = .555633 − .688139.
        let sure = matrix(&[&[900.0, 0.0], &[0.0, 900.0]]);
        assert_close(&information_loss(&sure), -(2f64.ln()), 1e-12);
        let logits = matrix(&[&[0.8, 0.2], &[0.3, 0.7]]).log();
        assert_close(&information_loss(&logits), -0.132_505, 1e-6);
    }

    #[test]
    fn predictions_that_are_all_the_same_tell_nothing() {
        let row = batch(1, 5, 0.4);
        assert_close(&information_loss(&row.expand([7, 5], false)), 0.0, 1e-12);
    }

    #[test]
    fn the_information_has_the_gradient_of_differences() {
        check_gradient(&batch(6, 4, 0.2), information_loss);
    }

    /// Reference, the authors' labelling in Python on the same numbers:
    /// `fea = cat(f, 1) / norm; c = P.T @ fea / P.sum(0); l = argmin cosine distance; a = eye(K)[l];
    /// c = a.T @ fea / a.sum(0); l = argmin cosine distance`. The first pass gives 1 0 0 2 2 1 0 0 2 2 1 0.
    #[test]
    fn labels_are_those_of_the_nearest_centre_after_one_more_pass() {
        let probabilities = (batch(12, 3, 0.9) * 2.0).softmax(-1, Kind::Double);
        let labels = Vec::<i64>::try_from(pseudo_labels(&batch(12, 3, 0.4), &probabilities));
        assert_eq!(labels.unwrap(), [1, 1, 0, 2, 2, 1, 1, 0, 2, 2, 1, 1]);
    }

    #[test]
    fn a_class_that_nothing_is_near_has_no_centre() {
        let features = matrix(&[&[1.0, 0.0], &[2.0, 0.1], &[0.0, 1.0]]);
        let probabilities = matrix(&[&[0.9, 0.1, 0.0], &[0.8, 0.2, 0.0], &[0.1, 0.9, 0.0]]);
        let labels = Vec::<i64>::try_from(pseudo_labels(&features, &probabilities)).unwrap();
        assert_eq!(labels, [0, 0, 1]);
    }
}
