//! What a penalty shrinks: single weights, or units as groups.

use std::collections::HashMap;

use graftwork::network::groups::{Group, Part};
use tch::{Kind, Tensor};

use super::super::Prunable;
use super::super::ista::{kkt_violation, soft_threshold, soft_threshold_by};
use super::super::units::scores::along;
use crate::model::Model;
use crate::train::optimizer::Optimizer;

/// Values of parameters by name.
pub(super) type Values = HashMap<String, Tensor>;

/// Weights or units that share a λ.
///
/// Each has a norm, which a step shrinks by its threshold; it is part of the network while that is not zero.
#[derive(Debug)]
pub(super) enum Parts {
    /// The weights of layers, by name of the parameter; norm `|w|`.
    Weights(Vec<String>),
    /// Units; norm `‖w_G‖₂ / √|G|`.
    Units(Units),
}

/// Units as groups of a group lasso: all that makes and carries a unit. When that is zero, so is what the
/// unit puts out, and the groups do not overlap, so that the proximal step is exact. (Columns that read a
/// unit are rows of the units that the reader makes.)
///
/// Yuan & Lin 2006, "Model selection and estimation in regression with grouped variables"; groups as in Chen
/// et al. 2021, "Only Train Once", <https://arxiv.org/abs/2107.07467>.
#[derive(Debug)]
pub(super) struct Units {
    /// Parameters with the unit of each index along an axis; the number of units where it is in none.
    members: Vec<(String, usize, Tensor)>,
    /// `√|G|`, and one behind.
    roots: Tensor,
}

impl Parts {
    /// The weights of some layers.
    pub(super) fn weights<'l>(layers: impl IntoIterator<Item = &'l Prunable>) -> Self {
        Self::Weights(layers.into_iter().map(|layer| layer.param.clone()).collect())
    }

    /// The units of some groups.
    pub(super) fn units(model: &Model, groups: &[&Group]) -> Self {
        let total: usize = groups.iter().map(|group| group.units.len()).sum();
        let mut members: HashMap<(&str, usize), Vec<i64>> = HashMap::new();
        let mut order: Vec<(&str, usize)> = Vec::new();
        let mut sizes = vec![0.0f64; total];
        for (place, unit) in groups.iter().flat_map(|group| &group.units).enumerate() {
            for slice in unit.slices().filter(|slice| slice.part != Part::Reads) {
                let value = &model.params()[slice.place];
                if !value.role.is_trainable() {
                    continue;
                }
                let key = (slice.param, slice.axis);
                let extent = value.value.size()[slice.axis];
                let of = members.entry(key).or_insert_with(|| {
                    order.push(key);
                    vec![total as i64; extent as usize]
                });
                slice.indices.iter().for_each(|&index| of[index as usize] = place as i64);
                sizes[place] +=
                    slice.indices.len() as f64 * value.value.numel() as f64 / extent as f64;
            }
        }
        let device = model.device();
        let members = order.into_iter().map(|key| {
            let of = Tensor::from_slice(&members[&key]).to_device(device);
            (key.0.to_owned(), key.1, of)
        });
        let roots: Vec<f64> = sizes.iter().map(|size| size.max(1.0).sqrt()).chain([1.0]).collect();
        Self::Units(Units {
            members: members.collect(),
            roots: Tensor::from_slice(&roots).to_device(device),
        })
    }

    /// Whether they are whole units.
    pub(super) fn are_units(&self) -> bool {
        matches!(self, Self::Units(_))
    }

    /// The norms, `[parts]`, `f64`.
    pub(super) fn norms(&self, model: &Model) -> Tensor {
        match self {
            Self::Weights(params) => {
                let weights: Vec<Tensor> = params
                    .iter()
                    .map(|param| model.params()[param].value.detach().abs().reshape([-1]))
                    .collect();
                Tensor::cat(&weights, 0).to_kind(Kind::Double)
            }
            Self::Units(units) => {
                let squares = units.sums(|param| model.params()[param].value.detach().square());
                let norms = squares.sqrt() / &units.roots;
                norms.narrow(0, 0, units.count())
            }
        }
    }

    /// How many there are.
    pub(super) fn count(&self, model: &Model) -> i64 {
        match self {
            Self::Weights(params) => {
                params.iter().map(|param| model.params()[param].value.numel() as i64).sum()
            }
            Self::Units(units) => units.count(),
        }
    }

    /// How many are not zero.
    pub(super) fn left(&self, model: &Model) -> i64 {
        match self {
            Self::Weights(params) => {
                let zero = Tensor::zeros([], (Kind::Int64, model.device()));
                let count = |param: &String| model.params()[param].value.count_nonzero(None::<i64>);
                params.iter().fold(zero, |sum, param| sum + count(param)).int64_value(&[])
            }
            Self::Units(_) => self.norms(model).count_nonzero(None::<i64>).int64_value(&[]),
        }
    }

    /// The proximal step of `threshold · ‖·‖₁`, or of `threshold · Σ √|G| ‖w_G‖₂`: exact zeros.
    pub(super) fn shrink(&self, model: &Model, threshold: f64) {
        match self {
            Self::Weights(params) => {
                for param in params {
                    let value = model.params()[param].value.detach();
                    value.shallow_clone().copy_(&soft_threshold(&value, threshold));
                }
            }
            Self::Units(units) => {
                let norms = self.norms(model);
                // A group of zeros stays one: no division by its norm.
                let factors = (-&norms.clamp_min(f64::MIN_POSITIVE).reciprocal() * threshold + 1.0)
                    .clamp_min(0.0);
                units.scale(model, &factors);
            }
        }
    }

    /// The proximal step of `threshold · ‖·‖₁` in the metric of Adam's step: each weight by `threshold` over what
    /// its step was divided by. Weights that it did not change stay.
    pub(super) fn shrink_in_metric(&self, model: &Model, threshold: f64, optimizer: &Optimizer) {
        for (param, denominators) in self.denominators(optimizer) {
            let value = model.params()[param].value.detach();
            let shrunk = soft_threshold_by(&value, &(denominators.reciprocal() * threshold));
            value.shallow_clone().copy_(&shrunk);
        }
    }

    /// A copy of the values of everything that they have.
    pub(super) fn values(&self, model: &Model) -> Values {
        let params: Vec<&String> = match self {
            Self::Weights(params) => params.iter().collect(),
            Self::Units(units) => units.members.iter().map(|(param, ..)| param).collect(),
        };
        let copy = |param: &String| model.params()[param].value.detach().copy();
        params.into_iter().map(|param| (param.clone(), copy(param))).collect()
    }

    /// Goes on down the gradient of the penalty at `before`, to `z`, and zeroes what was zero there or has
    /// `⟨z, x⟩ < ε ‖x‖²`, with `x` the value before: a half-space step.
    pub(super) fn stay_in_half(
        &self,
        model: &Model,
        before: &Values,
        threshold: f64,
        epsilon: f64,
    ) {
        match self {
            Self::Weights(params) => {
                for param in params {
                    let (x, mut value) = (&before[param], model.params()[param].value.detach());
                    let z = &value - x.sign() * threshold;
                    let leaves = (&z * x).less_tensor(&(x.square() * epsilon));
                    value.copy_(&z.masked_fill(&leaves.logical_or(&x.eq(0.0)), 0.0));
                }
            }
            Self::Units(units) => units.stay_in_half(model, before, threshold, epsilon),
        }
    }

    /// The root of the mean square of what Adam divides by; 1 of another optimizer.
    pub(super) fn scale(&self, optimizer: &Optimizer) -> f64 {
        let (mut sum, mut count) = (0.0, 0);
        for (_, denominators) in self.denominators(optimizer) {
            sum += denominators.square().sum(Kind::Double).double_value(&[]);
            count += denominators.numel();
        }
        if count == 0 { 1.0 } else { (sum / count as f64).sqrt() }
    }

    fn denominators<'a>(
        &'a self,
        optimizer: &'a Optimizer,
    ) -> impl Iterator<Item = (&'a str, Tensor)> {
        let params = match self {
            Self::Weights(params) => params.iter(),
            Self::Units(_) => {
                unreachable!("the threshold of a group has no closed form in a metric")
            }
        };
        params.filter_map(|param| Some((param.as_str(), optimizer.denominators(param)?)))
    }

    /// Zeroes the smallest; of equals some.
    pub(super) fn cut(&self, model: &Model, zeros: i64) {
        if zeros == 0 {
            return;
        }
        let norms = self.norms(model);
        let (_, smallest) = norms.topk(zeros, 0, false, false);
        let keeps = norms.ones_like().index_fill(0, &smallest, 0.0);
        match self {
            Self::Weights(params) => {
                let sizes: Vec<i64> =
                    params.iter().map(|param| model.params()[param].value.numel() as i64).collect();
                for (param, keeps) in params.iter().zip(keeps.split_with_sizes(&sizes, 0)) {
                    let mut value = model.params()[param].value.detach();
                    let _ = value.masked_fill_(&keeps.eq(0.0).reshape(value.size()), 0.0);
                }
            }
            Self::Units(units) => units.scale(model, &keeps),
        }
    }

    /// The largest violation of the optimality conditions of `loss + λ · penalty`, for λ on the scale of a
    /// single weight.
    pub(super) fn violation(&self, model: &Model, loss: &Tensor, lambda: f64) -> f64 {
        let gradients = |params: Vec<&String>| {
            let values: Vec<&Tensor> =
                params.iter().map(|param| &model.params()[*param].value).collect();
            Tensor::run_backward(&[loss], &values, true, false)
        };
        match self {
            Self::Weights(params) => {
                let gradients = gradients(params.iter().collect());
                let of_params = params.iter().zip(&gradients).map(|(param, gradient)| {
                    let value = model.params()[param].value.detach();
                    kkt_violation(&value, gradient, lambda).max().double_value(&[])
                });
                of_params.fold(0.0, f64::max)
            }
            Self::Units(units) => units.violation(
                model,
                &gradients(units.members.iter().map(|(param, ..)| param).collect()),
                lambda,
            ),
        }
    }
}

impl Units {
    fn count(&self) -> i64 {
        self.roots.numel() as i64 - 1
    }

    /// For each unit the sum of values over all that it has, `[units + 1]`.
    fn sums(&self, values: impl Fn(&str) -> Tensor) -> Tensor {
        let mut sums = self.roots.zeros_like();
        for (param, axis, members) in &self.members {
            sums = sums.index_add(0, members, &along(&values(param), *axis));
        }
        sums
    }

    /// - factors: `[units]`
    fn scale(&self, model: &Model, factors: &Tensor) {
        let one = Tensor::ones([1], (Kind::Double, factors.device()));
        let factors = Tensor::cat(&[factors, &one], 0);
        for (param, axis, members) in &self.members {
            let mut value = model.params()[param].value.detach();
            let of_param = broadcast(&factors.index_select(0, members), *axis, &value);
            // Not a product with zero, which may leave -0.
            let scaled = (&value * &of_param).masked_fill(&of_param.eq(0.0), 0.0);
            value.copy_(&scaled);
        }
    }

    fn stay_in_half(&self, model: &Model, before: &Values, threshold: f64, epsilon: f64) {
        let squares = self.sums(|param| before[param].square());
        let pulls = &self.roots * threshold / squares.sqrt().clamp_min(f64::MIN_POSITIVE);
        // Of what is in no unit nothing is pulled.
        let none = Tensor::zeros([1], (Kind::Double, pulls.device()));
        let pulls = Tensor::cat(&[pulls.narrow(0, 0, self.count()), none], 0);
        for (param, axis, members) in &self.members {
            let (x, mut value) = (&before[param], model.params()[param].value.detach());
            let pull = broadcast(&pulls.index_select(0, members), *axis, &value);
            let _ = value.g_sub_(&(x * pull));
        }
        let inner = self.sums(|param| &before[param] * model.params()[param].value.detach());
        let leaves = inner.less_tensor(&(&squares * epsilon)).logical_or(&squares.eq(0.0));
        let keeps = leaves.logical_not().to_kind(Kind::Double);
        self.scale(model, &keeps.narrow(0, 0, self.count()));
    }

    /// Zero groups: `‖g‖ ≤ λ √|G|`. Others: `g = −λ √|G| w / ‖w‖`. What is missing, by `√|G|`.
    fn violation(&self, model: &Model, gradients: &[Tensor], lambda: f64) -> f64 {
        let values = |param: &str| model.params()[param].value.detach();
        let norms = self.sums(|param| values(param).square()).sqrt();
        let by_norm = (norms.clamp_min(f64::MIN_POSITIVE).reciprocal() * &self.roots) * lambda;
        let by_norm = by_norm.where_self(&norms.ne(0.0), &norms.zeros_like());
        let mut residuals = self.roots.zeros_like();
        for ((param, axis, members), gradient) in self.members.iter().zip(gradients) {
            let value = values(param);
            let pull = broadcast(&by_norm.index_select(0, members), *axis, &value);
            let missing = gradient + value * pull;
            residuals = residuals.index_add(0, members, &along(&missing.square(), *axis));
        }
        let residuals = residuals.sqrt() / &self.roots;
        let at_zero = (&residuals - lambda).clamp_min(0.0);
        let all = residuals.where_self(&norms.ne(0.0), &at_zero);
        all.narrow(0, 0, self.count()).max().double_value(&[])
    }
}

/// A vector along an axis, in the kind of a value that it can be multiplied with.
fn broadcast(vector: &Tensor, axis: usize, value: &Tensor) -> Tensor {
    let mut shape = vec![1; value.dim()];
    shape[axis] = -1;
    vector.to_kind(value.kind()).reshape(shape)
}

#[cfg(test)]
mod tests {
    use graftwork::experiment::spec;
    use graftwork::network::Network;
    use graftwork::network::groups::Dependencies;
    use graftwork::network::op::{Linear, Relu};
    use indexmap::IndexMap;
    use tch::{Device, no_grad};

    use super::*;
    use crate::prune::ista::Lasso;
    use crate::prune::tests::row;
    use crate::random;

    /// One unit with the weights 3 and 4, one with 0.3 and 0.4.
    fn model() -> Model {
        let mut network = Network::new("test", &[2]);
        network.push("fc1", Linear { bias: false, ..Linear::new(2, 2) });
        network.push("relu", Relu {});
        network.push("fc2", Linear::new(2, 1));
        let mut model = Model::new(network, 0, Device::Cpu);
        let weight = Tensor::from_slice(&[3.0f32, 4.0, 0.3, 0.4]).reshape([2, 2]);
        model.params_mut()["fc1.weight"].value = weight;
        model.update_gradient_flags();
        model
    }

    fn units(model: &Model) -> Parts {
        let network = model.network().clone();
        let dependencies = Dependencies::of(&network).unwrap();
        Parts::units(model, &dependencies.groups().iter().collect::<Vec<_>>())
    }

    fn weights(model: &Model) -> Vec<f32> {
        Vec::try_from(model.params()["fc1.weight"].value.detach().reshape([-1])).unwrap()
    }

    #[test]
    fn a_group_shrinks_by_the_root_of_its_size() {
        let model = model();
        let parts = units(&model);
        let norms = Vec::<f64>::try_from(parts.norms(&model)).unwrap();
        assert!(
            (norms[0] - 5.0 / 2f64.sqrt()).abs() < 1e-6
                && (norms[1] - 0.5 / 2f64.sqrt()).abs() < 1e-6
        );
        // w · max(0, 1 − ηλ √2 / ‖w‖), ηλ = 1.
        parts.shrink(&model, 1.0);
        for (found, expected) in weights(&model).into_iter().zip([2.151_472, 2.868_629, 0.0, 0.0]) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
        assert_eq!(parts.left(&model), 1);
        // A group of zeros stays one, and is no −0.
        parts.shrink(&model, 1e-3);
        assert!(weights(&model)[2..].iter().all(|weight| weight.to_bits() == 0));
    }

    #[test]
    fn the_smallest_are_cut_and_the_others_stay_as_they_are() {
        let model = model();
        units(&model).cut(&model, 1);
        assert_eq!(weights(&model), [3.0, 4.0, 0.0, 0.0]);
        let whole = self::model();
        let parts = Parts::Weights(vec!["fc1.weight".to_owned(), "fc2.weight".to_owned()]);
        assert_eq!((parts.count(&whole), parts.left(&whole)), (6, 6));
        parts.cut(&whole, 3);
        assert_eq!(parts.left(&whole), 3);
        assert_eq!(weights(&whole)[..2], [3.0, 4.0]);
    }

    /// `½ ‖w − a‖² + λ Σ √|G| ‖w_G‖` is least at the proximal step of `a`.
    #[test]
    fn the_optimality_conditions_hold_at_the_minimum_and_nowhere_else() {
        for lambda in [0.1, 0.5, 1.0, 3.0] {
            let model = model();
            let parts = units(&model);
            let start = model.params()["fc1.weight"].value.detach().copy();
            let loss = |model: &Model| {
                let change = &model.params()["fc1.weight"].value - &start;
                change.square().sum(Kind::Float) * 0.5
            };
            // The gradient is zero at the start: what is missing is λ, as the norm of a unit's weights.
            let violation = parts.violation(&model, &loss(&model), lambda);
            assert!((violation - lambda).abs() < 1e-6, "{violation} {lambda}");
            parts.shrink(&model, lambda);
            let violation = parts.violation(&model, &loss(&model), lambda);
            assert!(violation < 1e-6, "{violation}");
        }
    }

    fn set(model: &Model, values: [f32; 4]) {
        let value = model.params()["fc1.weight"].value.detach();
        value.shallow_clone().copy_(&Tensor::from_slice(&values).reshape([2, 2]));
    }

    #[test]
    fn what_leaves_its_half_space_is_zero_for_good() {
        let model = model();
        let parts = units(&model);
        // x = (1, 1): (-.5, .2) leaves, (.5, -.2) does not.
        set(&model, [1.0; 4]);
        let before = parts.values(&model);
        set(&model, [-0.5, 0.2, 0.5, -0.2]);
        parts.stay_in_half(&model, &before, 0.0, 0.0);
        assert_eq!(weights(&model), [0.0, 0.0, 0.5, -0.2]);
        // ⟨z, x⟩ = .3 is less than .2 · ‖x‖² = .4.
        set(&model, [0.5, -0.2, 3.0, 1.0]);
        parts.stay_in_half(&model, &before, 0.0, 0.2);
        assert_eq!(weights(&model), [0.0, 0.0, 3.0, 1.0]);
        // What is zero stays so, as +0, wherever a step leads.
        let before = parts.values(&model);
        set(&model, [7.0, -7.0, 3.0, 1.0]);
        parts.stay_in_half(&model, &before, 0.0, 0.0);
        assert_eq!(weights(&model), [0.0, 0.0, 3.0, 1.0]);
        assert!(weights(&model)[..2].iter().all(|weight| weight.to_bits() == 0));
        // The penalty's gradient of (3, 4) is √2 · (.6, .8).
        set(&model, [0.0, 0.0, 3.0, 4.0]);
        let before = parts.values(&model);
        parts.stay_in_half(&model, &before, 1.0, 0.0);
        let root = 2f32.sqrt();
        let expected = [3.0 - 0.6 * root, 4.0 - 0.8 * root];
        let found = weights(&model);
        assert!(found[2..].iter().zip(expected).all(|(found, it)| (found - it).abs() < 1e-6));
    }

    #[test]
    fn a_weight_that_would_change_its_sign_is_zero_for_good() {
        let model = row(&[1.0, -1.0, 0.5, 0.0, -2.0]);
        let parts = Parts::Weights(vec!["fc.weight".to_owned()]);
        let before = parts.values(&model);
        let after = Tensor::from_slice(&[-0.1f32, -0.9, 0.05, 3.0, -1.0]).reshape([1, -1]);
        no_grad(|| model.params()["fc.weight"].value.shallow_clone().copy_(&after));
        parts.stay_in_half(&model, &before, 0.1, 0.0);
        let found = Vec::<f64>::try_from(row_of(&model)).unwrap();
        for (found, expected) in found.iter().zip([0.0, -0.8, 0.0, 0.0, -0.9]) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }

    fn row_of(model: &Model) -> Tensor {
        model.params()["fc.weight"].value.detach().reshape([-1]).to_kind(Kind::Double)
    }

    /// A step of Adam on a loss, and the proximal step in its metric.
    fn adam_step(
        model: &mut Model,
        adam: &mut Optimizer,
        (rate, lambda): (f64, f64),
        loss: impl Fn(&Tensor) -> Tensor,
    ) {
        let loss = loss(&model.params()["fc.weight"].value.reshape([-1]));
        let gradients = adam.dense_gradients(&loss, model, None);
        adam.step(&gradients, rate, model, None);
        let parts = Parts::Weights(vec!["fc.weight".to_owned()]);
        no_grad(|| parts.shrink_in_metric(model, rate * lambda, adam));
    }

    fn adam(model: &Model) -> Optimizer {
        let rule = spec::Optimizer::Adam(spec::Adam::default());
        Optimizer::new(&rule, &IndexMap::new(), model, None)
    }

    // The first step by hand: the gradient is (.1, -1, 10) and so is √v̂, the step is .1 · (1, -1, 1), and
    // the thresholds are .1 · .5 / (.1, 1, 10). All three in Python, 64 bits, weight by weight:
    //   for t in 1, 2, 3:
    //       g = a * w; m = .9 * m + .1 * g; v = .999 * v + .001 * g * g
    //       d = sqrt(v / (1 - .999**t)) + 1e-8
    //       z = w - .1 * m / (1 - .9**t) / d
    //       w = copysign(max(abs(z) - .1 * .5 / d, 0), z)
    #[test]
    fn the_proximal_step_of_adam_divides_the_threshold_as_it_divides_the_step() {
        let mut model = row(&[1.0, -2.0, 0.5]);
        let mut adam = adam(&model);
        let a = Tensor::from_slice(&[0.1f32, 0.5, 20.0]);
        let steps = [
            [0.4, -1.85, 0.395],
            [0.0, -1.698_369_097_5, 0.290_739_842_5],
            [0.0, -1.545_201_757_2, 0.188_611_314_3],
        ];
        for (step, expected) in steps.iter().enumerate() {
            adam_step(&mut model, &mut adam, (0.1, 0.5), |w| {
                (w.square() * &a).sum(Kind::Float) * 0.5
            });
            let found = Vec::<f64>::try_from(row_of(&model)).unwrap();
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-6, "step {step}: {found} {expected}");
            }
        }
        assert_eq!(row_of(&model).double_value(&[0]).to_bits(), 0);
    }

    /// Where it comes to rest the optimality conditions hold for λ, and it is the lasso's solution.
    #[test]
    fn adam_comes_to_rest_at_the_minimum_for_its_lambda() {
        for seed in 0..8 {
            let mut rng = random::stream(seed, "lasso", 0);
            let design = random::uniform(&[12, 5], -1.0, 1.0, &mut rng);
            let targets = random::uniform(&[12], -1.0, 1.0, &mut rng);
            let lambda = 0.3;
            let solution = Lasso::new(&design, &targets, lambda).fista(1e-9, 50_000);
            let loss = |w: &Tensor| (design.matmul(w) - &targets).square().sum(Kind::Float) * 0.5;
            let mut model = row(&[0.3, -0.3, 0.2, -0.2, 0.1]);
            let mut adam = adam(&model);
            let steps = 2000;
            for step in 0..steps {
                let rate = 0.01 * (1.0 - f64::from(step) / f64::from(steps));
                adam_step(&mut model, &mut adam, (rate, lambda), loss);
            }
            let parts = Parts::Weights(vec!["fc.weight".to_owned()]);
            let loss = loss(&model.params()["fc.weight"].value.reshape([-1]));
            let violation = parts.violation(&model, &loss, lambda);
            assert!(violation < 2e-3, "seed {seed}: {violation}");
            let error = (row_of(&model) - &solution).abs().max().double_value(&[]);
            assert!(error < 2e-3, "seed {seed}: {error}");
            assert!(row_of(&model).ne(0.0).equal(&solution.ne(0.0)), "seed {seed}: the support");
        }
    }
}
