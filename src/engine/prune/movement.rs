//! Movement pruning: weights that move towards zero while they are trained go, however large they are.
//!
//! The score of a weight is `−Σ_t w_t · ∂L/∂w_t` over the steps of a training, equation 4 of Sanh, Wolf & Rush
//! 2020, "Movement Pruning: Adaptive Sparsity by Fine-Tuning", <https://arxiv.org/abs/2005.07683>, without the
//! learning rate of the scores, which does not change their order. The highest stay. The paper masks while it
//! trains and lets gradients through the mask; here the mask comes at the end, so that a score is of the whole
//! network.

use graftwork::experiment::spec::Movement;
use tch::{Kind, Tensor};

use super::training::{self, Companion, Plan};
use crate::data::Splits;
use crate::model::Model;
use crate::stage::{Context, Ended, StageError};
use crate::train::optimizer::Optimizer;

/// Trains a network, and scores each value of some parameters; nothing comes back if it was stopped.
///
/// # Errors
/// As [`training::train`].
pub fn scores(
    context: &mut Context<'_>,
    model: &mut Model,
    params: &[&str],
    data: &Splits,
    settings: &Movement,
) -> Result<Option<Vec<Tensor>>, StageError> {
    let Movement { epochs, learning_rate, momentum } = *settings;
    let mut moved = Moved::new(model, params);
    let plan = Plan::sgd(learning_rate, momentum, epochs);
    let ended = training::train(context, model, data, &plan, &mut moved)?;
    Ok((ended == Ended::Done).then_some(moved.scores))
}

/// The scores so far.
struct Moved<'a> {
    params: &'a [&'a str],
    scores: Vec<Tensor>, // f64
}

impl<'a> Moved<'a> {
    fn new(model: &Model, params: &'a [&'a str]) -> Self {
        let zeros =
            |param: &&str| model.params()[*param].value.detach().to_kind(Kind::Double).zeros_like();
        Self { params, scores: params.iter().map(zeros).collect() }
    }
}

impl Companion for Moved<'_> {
    fn before_step(&mut self, model: &Model, gradients: &[Option<Tensor>], optimizer: &Optimizer) {
        for (param, score) in self.params.iter().zip(&mut self.scores) {
            if let Some(gradient) = optimizer.gradient_of(gradients, param) {
                *score -= model.params()[*param].value.detach() * gradient;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use graftwork::experiment::spec::{Optimizer as Rule, Sgd};
    use indexmap::IndexMap;
    use tch::no_grad;

    use super::*;
    use crate::prune::tests::row;
    use crate::random;

    const PARAMS: [&str; 1] = ["fc.weight"];

    /// The scores of so many steps of plain SGD on `½ ‖w − c‖²`, and the weights.
    fn run(weights: &[f32], target: &Tensor, rate: f64, steps: usize) -> (Vec<f64>, Vec<f64>) {
        let mut model = row(weights);
        let rule = Rule::Sgd(Sgd { momentum: 0.0, ..Sgd::default() });
        let mut sgd = Optimizer::new(&rule, &IndexMap::new(), &model, None);
        let mut moved = Moved::new(&model, &PARAMS);
        for _ in 0..steps {
            let change = &model.params()["fc.weight"].value - target;
            let loss = change.square().sum(Kind::Float) * 0.5;
            let gradients = sgd.dense_gradients(&loss, &model, None);
            no_grad(|| moved.before_step(&model, &gradients, &sgd));
            sgd.step(&gradients, rate, &mut model, None);
        }
        let values = |tensor: &Tensor| {
            Vec::<f64>::try_from(tensor.detach().reshape([-1]).to_kind(Kind::Double)).unwrap()
        };
        (values(&moved.scores[0]), values(&model.params()["fc.weight"].value))
    }

    // ½ (w − c)², lr .5. From 1 to 2: gradients −1 and −.5 at 1 and 1.5 give 1 + .75. From 1 to 0: 1 and .5 at 1
    // and .5 give −1 − .25. The small weight that grows (.1 to 2: 1.9 · .1 + .95 · 1.05) is before both.
    #[test]
    fn two_steps_by_hand() {
        let target = Tensor::from_slice(&[2.0f32, 0.0, 2.0, -1.0]).reshape([1, -1]);
        let (scores, _) = run(&[1.0, 1.0, 0.1, -1.0], &target, 0.5, 2);
        for (found, expected) in scores.iter().zip([1.75, -1.25, 1.1875, 0.0]) {
            assert!((found - expected).abs() < 1e-6, "{scores:?}");
        }
    }

    /// `w²` changes by `−2 lr w g + lr² g²` in a step, so the scores are what it changes by over all, by
    /// `2 lr`, but for the last term.
    #[test]
    fn scores_say_how_far_squares_have_moved() {
        for seed in 0..20 {
            let mut rng = random::stream(seed, "weights", 0);
            let start: Vec<f32> =
                Vec::try_from(random::uniform(&[6], -1.0, 1.0, &mut rng)).unwrap();
            let target = random::uniform(&[1, 6], -1.0, 1.0, &mut rng);
            let rate = 1e-3;
            let (scores, end) = run(&start, &target, rate, 200);
            for ((score, start), end) in scores.iter().zip(&start).zip(end) {
                let moved = (end * end - f64::from(start * start)) / (2.0 * rate);
                // Σ g² lr / 2 is at most 200 · 4 · 5e-4.
                assert!((score - moved).abs() < 0.41, "seed {seed}: {score} {moved}");
                assert!(moved.abs() < 10.0 || (score / moved - 1.0).abs() < 0.05);
            }
        }
    }
}
