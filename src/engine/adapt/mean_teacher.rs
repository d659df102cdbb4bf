//! Self-ensembling: predictions agree with those of a mean of the networks so far.
//!
//! French et al. 2018, "Self-ensembling for visual domain adaptation", <https://arxiv.org/abs/1706.05208>,
//! after Tarvainen & Valpola 2017. The teacher's parameters are an exponential mean of the network's; both see
//! the target's batch, each perturbed in its own way and normalised by that batch. An example counts where the
//! teacher is sure. What remains is the network, not the teacher.

use graftwork::experiment::spec;
use tch::{Kind, Tensor, no_grad};

use super::learner::{Learner, Streams, on_source};
use super::perturb::perturb;
use super::{TARGET, TRANSFER_LOSS};
use crate::model::{Mode, Model};
use crate::random;
use crate::train::{Step, Terms};

/// The method at work.
#[derive(Debug)]
pub struct MeanTeacher {
    settings: spec::MeanTeacher,
    task: spec::Loss,
    seed: u64,
    teacher: Model,
}

impl MeanTeacher {
    /// The teacher starts as the network.
    ///
    /// - seed: that of the perturbations
    pub fn new(settings: &spec::MeanTeacher, task: spec::Loss, model: &Model, seed: u64) -> Self {
        Self { settings: settings.clone(), task, seed, teacher: model.duplicate() }
    }

    fn perturbed(&self, inputs: &Tensor, whose: &str, step: &Step) -> Tensor {
        let purpose = format!("perturbation/{whose}");
        let mut rng = random::stream(self.seed, &purpose, step.index);
        perturb(inputs, &self.settings.perturb, &mut rng)
    }
}

impl Learner for MeanTeacher {
    fn loss(&mut self, model: &Model, streams: &mut Streams<'_>, step: &Step) -> Terms {
        let terms = on_source(model, streams, &self.task);
        let inputs = streams.target().inputs;
        let [for_network, for_teacher] =
            ["network", "teacher"].map(|whose| self.perturbed(&inputs, whose, step));
        let predict = |model: &Model, inputs: &Tensor| {
            model.forward(inputs, Mode::Train, Some(TARGET)).softmax(-1, Kind::Float)
        };
        let expected = no_grad(|| predict(&self.teacher, &for_teacher));
        let predicted = predict(model, &for_network);
        let sure = expected.amax([-1i64].as_slice(), false).ge(self.settings.threshold);
        let sure = sure.to_kind(Kind::Float);
        let consistency = inconsistency(&predicted, &expected, &sure);
        let share = sure.mean(None::<Kind>);
        let imbalance = imbalance(&predicted) * &share;
        let mut named = terms.named;
        named.push((TRANSFER_LOSS, consistency.detach()));
        named.push(("sure", share));
        let on_target = consistency + imbalance * self.settings.balance;
        Terms { total: terms.total + on_target * self.settings.weight, named }
    }

    /// The statistics of the teacher's batch-norm are of its own batches; only parameters are means.
    fn after_step(&mut self, model: &Model) {
        let decay = self.settings.decay;
        for (name, parameter) in self.teacher.params_mut() {
            if parameter.role.is_trainable() {
                let mut value = parameter.value.detach();
                let _ = value.lerp_(&model.params()[name].value.detach(), 1.0 - decay);
            }
        }
    }

    fn auxiliary(&mut self) -> Option<&mut Model> {
        Some(&mut self.teacher)
    }

    fn trains_auxiliary(&self) -> bool {
        false
    }
}

/// The mean over all rows of the mean square difference between the probabilities, of rows that count.
///
/// # Shapes
/// - predicted, expected: `[n, classes]`
/// - counts: `[n]`
/// - result: a scalar
pub fn inconsistency(predicted: &Tensor, expected: &Tensor, counts: &Tensor) -> Tensor {
    let of_rows = (predicted - expected).square().mean_dim([-1i64].as_slice(), false, None::<Kind>);
    (of_rows * counts).mean(None::<Kind>)
}

/// How unequal the classes of a batch are: the sum over the classes of the binary cross-entropy between the
/// mean probability and one in the number of classes.
///
/// # Shapes
/// - predicted: `[n, classes]`
/// - result: a scalar, least where the mean probabilities are equal
pub fn imbalance(predicted: &Tensor) -> Tensor {
    /// Keeps the logarithm of a class that is never predicted finite.
    const SMALLEST: f64 = 1e-6;
    let equal = 1.0 / predicted.size()[1] as f64;
    let mean = predicted.mean_dim([0i64].as_slice(), false, None::<Kind>);
    let mean = mean.clamp(SMALLEST, 1.0 - SMALLEST);
    let others: Tensor = 1.0 - &mean;
    let binary = mean.log() * equal + others.log() * (1.0 - equal);
    -binary.sum(None::<Kind>)
}

#[cfg(test)]
mod tests {
    use graftwork::network::Network;
    use graftwork::network::op::Linear;
    use tch::Device;

    use super::super::testing::{assert_close, batch, check_gradient, matrix};
    use super::*;

    #[test]
    fn the_inconsistency_is_the_one_computed_by_hand() {
        // Row by row (.1² + .1²)/2 = .01 and (.3² + .3²)/2 = .09; of the second row alone .09/2.
        let predicted = matrix(&[&[0.8, 0.2], &[0.3, 0.7]]);
        let expected = matrix(&[&[0.9, 0.1], &[0.6, 0.4]]);
        let all = Tensor::from_slice(&[1.0, 1.0]);
        assert_close(&inconsistency(&predicted, &expected, &all), 0.05, 1e-12);
        let second = Tensor::from_slice(&[0.0, 1.0]);
        assert_close(&inconsistency(&predicted, &expected, &second), 0.045, 1e-12);
    }

    #[test]
    fn the_imbalance_is_the_one_computed_by_hand() {
        // Mean (½, ½): 2 ln 2. Mean (.8, .2): −(½ ln .8 + ½ ln .2) twice, −ln .16.
        let equal = matrix(&[&[1.0, 0.0], &[0.0, 1.0]]);
        assert_close(&imbalance(&equal), 2.0 * 2f64.ln(), 1e-12);
        assert_close(&imbalance(&matrix(&[&[0.8, 0.2]])), -(0.16f64.ln()), 1e-12);
    }

    #[test]
    fn equal_classes_are_least_unequal() {
        let equal = imbalance(&matrix(&[&[0.25, 0.25, 0.25, 0.25]])).double_value(&[]);
        for shift in [0.1, 0.5, 1.2, 2.3] {
            let other = imbalance(&batch(6, 4, shift).softmax(-1, Kind::Double));
            assert!(other.double_value(&[]) > equal, "{shift}");
        }
    }

    #[test]
    fn gradients_agree_with_differences() {
        let expected = batch(5, 4, 0.8).softmax(-1, Kind::Double);
        let counts = Tensor::from_slice(&[1.0, 0.0, 1.0, 1.0, 0.0]);
        check_gradient(&batch(5, 4, 0.2), |logits| {
            let predicted = logits.softmax(-1, Kind::Double);
            inconsistency(&predicted, &expected, &counts) + imbalance(&predicted)
        });
    }

    #[test]
    fn the_teacher_is_an_exponential_mean() {
        let network = || {
            let mut network = Network::new("linear", &[2]);
            network.push("fc1", Linear::new(2, 2));
            Model::new(network, 5, Device::Cpu)
        };
        let fill = |model: &Model, value: f64| {
            no_grad(|| {
                for parameter in model.params().values() {
                    let _ = parameter.value.shallow_clone().fill_(value);
                }
            });
        };
        let model = network();
        fill(&model, 1.0);
        let settings = spec::MeanTeacher { decay: 0.75, ..spec::MeanTeacher::default() };
        let mut method = MeanTeacher::new(&settings, spec::Loss::default(), &model, 0);
        fill(&model, 5.0);
        // 1, then 1 + ¼·4 = 2, then 2 + ¼·3 = 2.75.
        for expected in [2.0, 2.75] {
            no_grad(|| method.after_step(&model));
            for parameter in method.teacher.params().values() {
                let error = (&parameter.value - expected).abs().max().double_value(&[]);
                assert!(error < 1e-6, "{error}");
            }
        }
    }
}
