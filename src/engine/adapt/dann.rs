//! Domain-adversarial training: a classifier tells the domains apart, the features deceive it.
//!
//! Ganin et al. 2016, "Domain-Adversarial Training of Neural Networks",
//! <https://arxiv.org/abs/1505.07818>, sections 4 and 5.2. λ acts on the gradient that the features
//! get, and on nothing else: the domain classifier itself learns at full weight.

use graftwork::experiment::spec::Dann;
use graftwork::network::Network;
use graftwork::network::op::{Linear, Relu};
use tch::{Device, Kind, Reduction, Tensor};

use super::{Activations, TRANSFER_LOSS, Term, ramp};
use crate::model::{Mode, Model};

/// The domain classifier and how it acts.
#[derive(Debug)]
pub struct Adversary {
    settings: Dann,
    classifier: Model,
}

impl Adversary {
    /// A new domain classifier for features of that width.
    pub fn new(settings: &Dann, features: u32, seed: u64, device: Device) -> Self {
        let classifier = domain_classifier(features, settings.hidden, seed, device);
        Self { settings: settings.clone(), classifier }
    }

    pub(super) fn classifier_mut(&mut self) -> &mut Model {
        &mut self.classifier
    }

    pub(super) fn term(&self, source: &Activations, target: &Activations, progress: f64) -> Term {
        let lambda = self.settings.lambda * ramp(progress, self.settings.gamma);
        judge(&self.classifier, &source.features, &target.features, None, lambda).into_term()
    }
}

/// Passes values on as they are, bit for bit, and their gradient times −λ.
pub fn reverse_gradient(x: &Tensor, lambda: f64) -> Tensor {
    // The bracket is zero, and a sum with zero is exact; only its gradient is seen.
    x.detach() + (x - x.detach()) * -lambda
}

/// A domain classifier: one hidden layer with ReLU, and one logit, positive for the source.
///
/// Its parameters are named `domain.…`, so that their draws and their saved values are not those of
/// the network that adapts.
pub fn domain_classifier(features: u32, hidden: u32, seed: u64, device: Device) -> Model {
    let mut network = Network::new("domain-classifier", &[features]);
    network.push("domain.fc1", Linear::new(features, hidden));
    network.push("domain.relu1", Relu {});
    network.push("domain.fc2", Linear::new(hidden, 1));
    Model::new(network, seed, device)
}

/// What a domain classifier says about two batches.
#[derive(Debug)]
pub struct Verdict {
    /// Its loss, a scalar, whose gradient into the features is reversed.
    pub loss: Tensor,
    /// Share of the rows whose domain it names, a scalar in 0..=1: 0.5 when it is deceived.
    pub accuracy: Tensor,
}

impl Verdict {
    pub(super) fn into_term(self) -> Term {
        let named = vec![(TRANSFER_LOSS, self.loss.detach()), ("domain-accuracy", self.accuracy)];
        Term { weighted: self.loss, named }
    }
}

/// Asks a domain classifier about two batches of features.
///
/// # Shapes
/// - source: `[n, features]`
/// - target: `[m, features]`
/// - weights: `[n + m]`, how much each row counts in the loss; none for one each
pub fn judge(
    classifier: &Model,
    source: &Tensor,
    target: &Tensor,
    weights: Option<&Tensor>,
    lambda: f64,
) -> Verdict {
    let features = reverse_gradient(&Tensor::cat(&[source, target], 0), lambda);
    let logits = classifier.forward(&features, Mode::Train, None).squeeze_dim(1); // [n + m]
    let like_logits = (logits.kind(), logits.device());
    let ones = Tensor::ones(source.size()[0], like_logits);
    let labels = Tensor::cat(&[ones, Tensor::zeros(target.size()[0], like_logits)], 0);
    let named = logits.gt(0.0).eq_tensor(&labels.gt(0.5));
    Verdict {
        loss: loss(&logits, &labels, weights),
        accuracy: named.to_kind(Kind::Float).mean(None::<Kind>),
    }
}

/// Binary cross-entropy of domain logits; a label is 1 for the source and 0 for the target.
///
/// The sum of the weighted losses is divided by the number of rows, whatever the weights' sum.
///
/// # Shapes
/// - logits, labels, weights: `[n]`
/// - result: a scalar
pub fn loss(logits: &Tensor, labels: &Tensor, weights: Option<&Tensor>) -> Tensor {
    logits.binary_cross_entropy_with_logits(labels, weights, None::<&Tensor>, Reduction::Mean)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, batch, check_gradient};
    use super::*;

    fn classifier(features: u32) -> Model {
        domain_classifier(features, 5, 3, Device::Cpu)
    }

    fn rows(rows: i64, columns: i64, shift: f64) -> Tensor {
        batch(rows, columns, shift).to_kind(Kind::Float)
    }

    fn gradients(model: &Model) -> Vec<Tensor> {
        model.params().values().map(|parameter| parameter.value.grad().copy()).collect()
    }

    #[test]
    fn the_reversed_gradient_is_minus_lambda_times_the_gradient() {
        let x = Tensor::from_slice(&[1.0, 2.0]).set_requires_grad(true);
        (reverse_gradient(&x, 0.5) * 3.0).sum(None::<Kind>).backward();
        assert_eq!(Vec::<f64>::try_from(x.grad()).unwrap(), [-1.5, -1.5]);
    }

    #[test]
    fn reversal_leaves_every_bit_of_the_values() {
        let values = [0.1f32, -0.0, 0.0, 1e-45, -3.4e38, 1.0 / 3.0, -7.25e-12];
        for lambda in [0.0, 0.3, 1.0, 10.0] {
            let passed = reverse_gradient(&Tensor::from_slice(&values), lambda);
            let passed = Vec::<f32>::try_from(passed).unwrap();
            let bits = passed.into_iter().map(f32::to_bits);
            assert!(bits.eq(values.map(f32::to_bits)), "lambda {lambda}");
        }
    }

    #[test]
    fn the_loss_is_the_cross_entropy_computed_by_hand() {
        // −ln σ(ln 3) = −ln 3/4 for the source, −ln(1 − σ(−ln 3)) = −ln 3/4 for the target.
        let logits = Tensor::from_slice(&[3f64.ln(), -(3f64.ln())]);
        let labels = Tensor::from_slice(&[1.0, 0.0]);
        assert_close(&loss(&logits, &labels, None), -(0.75f64.ln()), 1e-12);
        assert_close(
            &loss(&Tensor::from_slice(&[0.0]), &Tensor::from_slice(&[1.0]), None),
            2f64.ln(),
            1e-12,
        );
    }

    #[test]
    fn weights_act_on_the_losses_of_their_rows() {
        // Half of ½ · −ln ¾ and of 3/2 · ln 4.
        let logits = Tensor::from_slice(&[3f64.ln(), 3f64.ln()]);
        let labels = Tensor::from_slice(&[1.0, 0.0]);
        let weights = Tensor::from_slice(&[0.5, 1.5]);
        let expected = 0.25 * -(0.75f64.ln()) + 0.75 * 4f64.ln();
        assert_close(&loss(&logits, &labels, Some(&weights)), expected, 1e-12);
    }

    #[test]
    fn the_source_is_one_and_the_target_zero() {
        let model = classifier(2);
        tch::no_grad(|| {
            for parameter in model.params().values() {
                let _ = parameter.value.shallow_clone().fill_(0.0);
            }
            let _ = model.params()["domain.fc2.bias"].value.shallow_clone().fill_(2.0);
        });
        let verdict = judge(&model, &rows(3, 2, 0.1), &rows(1, 2, 0.4), None, 1.0);
        assert_close(&verdict.accuracy, 0.75, 1e-6);
        let expected = (3.0 * (1.0 + (-2f64).exp()).ln() + (1.0 + 2f64.exp()).ln()) / 4.0;
        assert_close(&verdict.loss, expected, 1e-6);
    }

    #[test]
    fn lambda_scales_the_gradient_of_the_features_and_no_other() {
        let run = |lambda| {
            let model = classifier(4);
            let source = rows(6, 4, 0.2).set_requires_grad(true);
            judge(&model, &source, &rows(6, 4, 0.9), None, lambda).loss.backward();
            (source.grad(), gradients(&model))
        };
        let (features, classifier_whole) = run(1.0);
        let (tenth, classifier_tenth) = run(0.1);
        assert!((features * 0.1 - tenth).abs().max().double_value(&[]) < 1e-8);
        for (whole, tenth) in classifier_whole.iter().zip(&classifier_tenth) {
            assert!(whole == tenth, "the domain classifier learns at full weight");
        }
    }

    #[test]
    fn gradients_agree_with_differences() {
        let weights = batch(4, 1, 0.7);
        let labels = Tensor::from_slice(&[1.0, 1.0, 1.0, 0.0, 0.0]);
        // The reversal makes the gradient that of −λ·loss; a λ of −1 undoes it.
        check_gradient(&batch(5, 4, 0.2), |features| {
            let logits = reverse_gradient(features, -1.0).matmul(&weights).squeeze_dim(1);
            loss(&logits, &labels, None)
        });
    }
}
