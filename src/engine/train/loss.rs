//! Losses on labelled data, and penalties on parameters.
//!
//! Every function returns a scalar with gradient. Logits may be of a lower precision; the losses
//! compute in 32 bits.

use graftwork::experiment::spec::{Distillation, L2Sp, Loss};
use graftwork::network::ParamRole;
use indexmap::IndexMap;
use tch::{Kind, Reduction, Tensor};

use super::rows::Rows;
use crate::model::Model;

/// The loss of a batch: a mean over its examples; of masks over all pixels that have a class.
///
/// `teacher` gives the teacher's logits; distillation must have one.
///
/// # Shapes
/// - logits, teacher: `[batch, classes]`, or `[batch, classes, height, width]` for masks
/// - labels: `[batch]` or `[batch, height, width]`, 64-bit integers
pub fn supervised(
    loss: &Loss,
    logits: &Tensor,
    labels: &Tensor,
    teacher: Option<&Tensor>,
) -> Tensor {
    let rows = Rows::new(&logits.to_kind(Kind::Float), labels);
    let Rows { logits, labels, .. } = &rows;
    match loss {
        Loss::CrossEntropy(settings) => cross_entropy(logits, labels, settings.label_smoothing),
        Loss::Mse(_) => mse(logits, labels),
        Loss::Distillation(settings) => {
            let teacher = teacher.expect("the check of a file asks distillation for a teacher");
            distillation(settings, logits, labels, &rows.of(&teacher.to_kind(Kind::Float)))
        }
    }
}

/// Mean over the rows of `−Σ_k q_k log softmax(logits)_k` with
/// `q = (1 − smoothing) · onehot + smoothing / classes`.
///
/// The mean is taken apart from the loss: LibTorch's own reduction is one block of threads on a GPU, which
/// the pixels of a batch of masks keep busy for longer than the network.
fn cross_entropy(logits: &Tensor, labels: &Tensor, smoothing: f64) -> Tensor {
    let of_rows =
        logits.cross_entropy_loss::<&Tensor>(labels, None, Reduction::None, -100, smoothing);
    of_rows.mean(Kind::Float)
}

/// Mean over rows and classes of the square error between the logits and the one-hot labels.
fn mse(logits: &Tensor, labels: &Tensor) -> Tensor {
    let one_hot = labels.one_hot(logits.size()[1]).to_kind(Kind::Float);
    logits.mse_loss(&one_hot, Reduction::Mean)
}

/// `alpha · T² · KL(softmax(teacher/T) ‖ softmax(logits/T)) + (1 − alpha) · cross-entropy`, means
/// over the rows.
fn distillation(
    settings: &Distillation,
    logits: &Tensor,
    labels: &Tensor,
    teacher: &Tensor,
) -> Tensor {
    let Distillation { temperature, alpha } = *settings;
    let student = (logits / temperature).log_softmax(-1, Kind::Float);
    let teacher = (teacher.detach() / temperature).log_softmax(-1, Kind::Float);
    // `kl_div` divides its sum by all elements when it takes the mean: the batch alone is meant.
    let divergence = student.kl_div(&teacher, Reduction::Sum, true) / logits.size()[0] as f64;
    divergence * (alpha * temperature * temperature)
        + cross_entropy(logits, labels, 0.0) * (1.0 - alpha)
}

/// `weight · Σ |w|` over the weights of convolutions and linear layers that are trained; `None`
/// when there are none.
pub fn l1(weight: f64, model: &Model) -> Option<Tensor> {
    let weights = model
        .params()
        .values()
        .filter(|parameter| parameter.is_trained() && parameter.role == ParamRole::Weight);
    let sum = weights.map(|parameter| parameter.value.abs().sum(Kind::Float)).reduce(|a, b| a + b);
    Some(sum? * weight)
}

/// The starting point of the L2-SP penalty (Li et al. 2018, <https://arxiv.org/abs/1802.01483>).
#[derive(Debug)]
pub struct StartingPoint {
    settings: L2Sp,
    /// Values at the start of the parameters that are trained; none for a new head.
    start: IndexMap<String, Option<Tensor>>,
}

impl StartingPoint {
    /// Remembers where a network starts.
    ///
    /// `new_heads` are the nodes whose parameters are new, if any: they are drawn to zero.
    pub fn new(settings: &L2Sp, model: &Model, new_heads: &[usize]) -> Self {
        let trained = model.params().iter().filter(|(_, parameter)| parameter.is_trained());
        let start = trained.map(|(name, parameter)| {
            let old = !new_heads.contains(&parameter.node);
            (name.clone(), old.then(|| parameter.value.detach().copy()))
        });
        Self { settings: settings.clone(), start: start.collect() }
    }

    /// `alpha/2 · ‖w − w⁰‖² + beta/2 · ‖w_new‖²`; `None` when nothing is trained.
    ///
    /// A masked weight starts at zero and stays there: it adds nothing.
    pub fn penalty(&self, model: &Model) -> Option<Tensor> {
        let terms = self.start.iter().map(|(name, start)| {
            let value = &model.params()[name].value;
            match start {
                Some(start) => {
                    (value - start).square().sum(Kind::Float) * (self.settings.alpha / 2.0)
                }
                None => value.square().sum(Kind::Float) * (self.settings.beta / 2.0),
            }
        });
        terms.reduce(|a, b| a + b)
    }
}

#[cfg(test)]
mod tests {
    use graftwork::experiment::spec::{CrossEntropy, Mse};
    use graftwork::network::Network;
    use graftwork::network::op::Linear;
    use tch::Device;

    use super::*;

    /// Two examples, two classes; softmax of the logits is (1/4, 3/4) and (1/2, 1/2).
    fn logits() -> Tensor {
        Tensor::from_slice2(&[[0.0f32, 3f32.ln()], [1.0, 1.0]])
    }

    #[track_caller]
    fn check(loss: &Loss, teacher: Option<&Tensor>, expected: f64) {
        let labels = Tensor::from_slice(&[1i64, 0]);
        let value = supervised(loss, &logits(), &labels, teacher).double_value(&[]);
        assert!((value - expected).abs() < 1e-6, "{value}, expected {expected}");
    }

    #[test]
    fn cross_entropy_is_the_mean_surprise() {
        let expected = f64::midpoint((4.0f64 / 3.0).ln(), 2f64.ln());
        check(&Loss::CrossEntropy(CrossEntropy { label_smoothing: 0.0 }), None, expected);
    }

    #[test]
    fn label_smoothing_spreads_over_all_classes() {
        // With 0.2 the label gets 0.9 and the other class 0.1.
        let first = 0.9 * (4.0f64 / 3.0).ln() + 0.1 * 4f64.ln();
        let expected = f64::midpoint(first, 2f64.ln());
        check(&Loss::CrossEntropy(CrossEntropy { label_smoothing: 0.2 }), None, expected);
    }

    /// Of four pixels of one image the second has no class: what is left are [`logits`] and another
    /// row of them.
    #[test]
    fn of_masks_every_pixel_with_a_class_is_a_row() {
        let ignored = i64::from(crate::data::IGNORED);
        let rows = Tensor::cat(&[logits(), logits()], 0); // pixels, classes
        let image = |rows: &Tensor| rows.view([1, 2, 2, 2]).permute([0, 3, 1, 2]);
        let mask = Tensor::from_slice(&[1, ignored, 0, 0]).view([1, 2, 2]);
        let chosen = Tensor::from_slice(&[0_i64, 2, 3]);
        let labels = Tensor::from_slice(&[1_i64, 0, 0]);
        let teacher = Tensor::from_slice2(&[[0.3f32, 2.0], [5.0, 1.0], [0.1, 0.2], [1.0, 4.0]]);
        for loss in [
            Loss::CrossEntropy(CrossEntropy { label_smoothing: 0.1 }),
            Loss::Mse(Mse {}),
            Loss::Distillation(Distillation { temperature: 2.0, alpha: 0.4 }),
        ] {
            let of_masks = supervised(&loss, &image(&rows), &mask, Some(&image(&teacher)));
            let (rows, teacher) = (rows.index_select(0, &chosen), teacher.index_select(0, &chosen));
            let of_rows = supervised(&loss, &rows, &labels, Some(&teacher));
            let [of_masks, of_rows] = [of_masks, of_rows].map(|loss| loss.double_value(&[]));
            assert!((of_masks - of_rows).abs() < 1e-6, "{loss:?}: {of_masks} {of_rows}");
        }
    }

    #[test]
    fn mse_is_taken_on_the_one_hot_labels() {
        let expected = ((3f64.ln() - 1.0).powi(2) + 1.0) / 4.0;
        check(&Loss::Mse(Mse {}), None, expected);
    }

    #[test]
    fn distillation_weighs_the_teacher_and_the_labels() {
        // With T = 1 and a teacher of (1/2, 1/2) twice, the KL is ½ ln(½/¼) + ½ ln(½/¾) and 0.
        let teacher = Tensor::zeros([2, 2], (Kind::Float, Device::Cpu));
        let divergence = 0.5 * (0.5 * 2f64.ln() + 0.5 * (2.0f64 / 3.0).ln());
        let cross_entropy = f64::midpoint((4.0f64 / 3.0).ln(), 2f64.ln());
        let loss = |temperature, alpha| Loss::Distillation(Distillation { temperature, alpha });
        check(&loss(1.0, 0.25), Some(&teacher), 0.25 * divergence + 0.75 * cross_entropy);
        // With T = 2 the first student's odds are √3 : 1, q = (1, √3) / (1 + √3).
        let root = 3f64.sqrt();
        let terms = [0.5 * (1.0 + root), 0.5 * (1.0 + root) / root];
        let divergence = 0.5 * 0.5 * (terms[0].ln() + terms[1].ln());
        check(&loss(2.0, 1.0), Some(&teacher), 4.0 * divergence);
    }

    /// Layers `a` and `b` of one weight and one bias each.
    fn model() -> Model {
        let mut network = Network::new("test", &[1]);
        network.push("a", Linear::new(1, 1));
        network.push("b", Linear::new(1, 1));
        let value = |name: &str, value: f32, shape: &[i64]| {
            (name.to_owned(), Tensor::from_slice(&[value]).view(shape))
        };
        let values = [
            value("a.weight", 2.0, &[1, 1]),
            value("a.bias", -1.0, &[1]),
            value("b.weight", -3.0, &[1, 1]),
            value("b.bias", 0.5, &[1]),
        ];
        Model::from_tensors(network, values.into(), Device::Cpu).unwrap()
    }

    #[test]
    fn l1_counts_trained_weights_alone() {
        let mut model = model();
        let value = |model: &Model| l1(0.1, model).map(|penalty| penalty.double_value(&[]));
        assert!((value(&model).unwrap() - 0.5).abs() < 1e-6, "0.1 (2 + 3)");
        super::super::freeze(&mut model, &["b".to_owned()]);
        assert!((value(&model).unwrap() - 0.2).abs() < 1e-6);
        super::super::freeze(&mut model, &["*".to_owned()]);
        assert!(value(&model).is_none());
    }

    #[test]
    fn l2_sp_pulls_to_the_start_and_a_new_head_to_zero() {
        let model = model();
        let settings = L2Sp { alpha: 0.2, beta: 0.4 };
        let start = StartingPoint::new(&settings, &model, &[model.network().head()]);
        // At the start only the head counts: 0.4/2 (9 + 0.25).
        let penalty = |model: &Model| start.penalty(model).unwrap();
        assert!((penalty(&model).double_value(&[]) - 1.85).abs() < 1e-6);
        // With `a.weight` at 5: 0.2/2 · 9 more, and a gradient of 0.2 · 3.
        let _ = tch::no_grad(|| model.params()["a.weight"].value.shallow_clone().fill_(5.0));
        assert!((penalty(&model).double_value(&[]) - 2.75).abs() < 1e-6);
        let value = &model.params()["a.weight"].value;
        let gradients = Tensor::run_backward(&[penalty(&model)], &[value], false, false);
        assert!((gradients[0].double_value(&[0, 0]) - 0.6).abs() < 1e-6);
    }
}
