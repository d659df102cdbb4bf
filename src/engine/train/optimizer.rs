//! Optimizers on tensors, with the updates of PyTorch's `torch.optim` and a state that can be saved.
//!
//! Works parameter by parameter with in-place operations: on small networks that is as fast as one
//! flat buffer, whose gradients must be concatenated. A parameter under a mask gets a masked
//! gradient; since it starts at zero, it and its moments stay exactly zero under every update here.

use graftwork::experiment::spec;
use graftwork::network::most_exact;
use indexmap::IndexMap;
use tch::{Kind, Tensor, no_grad};

use super::Node;
use crate::model::{Model, Parameter};

/// An optimizer with its state.
#[derive(Debug)]
pub struct Optimizer {
    rule: spec::Optimizer,
    slots: Vec<Slot>,
}

/// Prefix of the names of an auxiliary network's parameters.
pub(super) const AUXILIARY: &str = "auxiliary.";

/// A layer's factor on the learning rate.
fn factor(factors: &IndexMap<String, f64>, layer: &str) -> f64 {
    most_exact(factors, layer).copied().unwrap_or(1.0)
}

/// One trained parameter.
#[derive(Debug)]
struct Slot {
    /// Full name; that of an auxiliary network's parameter with [`AUXILIARY`] before it.
    name: String,
    auxiliary: bool,
    /// Index in its network's parameters.
    index: usize,
    /// Factor on the learning rate.
    factor: f64,
    /// Updates so far.
    steps: u64,
    /// In the order of [`moment_names`].
    moments: Vec<Tensor>,
    /// Room for one value of the update each; shared by all slots, as updates come one by one.
    scratch: [Tensor; 2],
}

/// What PyTorch calls the entries of a parameter's state.
fn moment_names(rule: &spec::Optimizer) -> &'static [&'static str] {
    match rule {
        spec::Optimizer::Sgd(sgd) if sgd.momentum == 0.0 => &[],
        spec::Optimizer::Sgd(_) => &["momentum_buffer"],
        spec::Optimizer::Adam(_) | spec::Optimizer::AdamW(_) => &["exp_avg", "exp_avg_sq"],
        spec::Optimizer::Rmsprop(rmsprop) if rmsprop.momentum == 0.0 => &["square_avg"],
        spec::Optimizer::Rmsprop(_) => &["square_avg", "momentum_buffer"],
    }
}

impl Optimizer {
    /// An optimizer for all parameters that are trained, of the network and the auxiliary one.
    ///
    /// - factors: factors on the learning rate by layer pattern; the most exact one that matches counts
    pub fn new(
        rule: &spec::Optimizer,
        factors: &IndexMap<String, f64>,
        model: &Model,
        auxiliary: Option<&Model>,
    ) -> Self {
        let networks = [(model, false)].into_iter().chain(auxiliary.map(|model| (model, true)));
        let trained: Vec<(&Model, bool, usize)> = networks
            .flat_map(|(model, auxiliary)| {
                let trained = model.params().values().enumerate();
                let trained = trained.filter(|(_, parameter)| parameter.is_trained());
                trained.map(move |(index, _)| (model, auxiliary, index))
            })
            .collect();
        let count = |(model, _, index): &(&Model, _, usize)| model.params()[*index].value.numel();
        let largest = trained.iter().map(count).max().unwrap_or(0);
        let room = [(); 2].map(|()| Tensor::zeros([largest as i64], (Kind::Float, model.device())));
        let slots = trained.into_iter().map(|(model, auxiliary, index)| {
            let (name, parameter) = model.params().get_index(index).expect("it was listed");
            let layer = &model.network().nodes[parameter.node].name;
            let value = parameter.value.detach();
            Slot {
                name: format!("{}{name}", if auxiliary { AUXILIARY } else { "" }),
                auxiliary,
                index,
                factor: if auxiliary { 1.0 } else { factor(factors, layer) },
                steps: 0,
                moments: moment_names(rule).iter().map(|_| value.zeros_like()).collect(),
                scratch: [0, 1].map(|place: usize| {
                    room[place].narrow(0, 0, value.numel() as i64).view_as(&value)
                }),
            }
        });
        let slots = slots.collect();
        Self { rule: rule.clone(), slots }
    }

    /// Gradients of a scalar, one per parameter, without those that it does not depend on or that are frozen
    /// for now.
    ///
    /// They are those of all weights, masked or not.
    pub fn dense_gradients(
        &self,
        loss: &Tensor,
        model: &Model,
        auxiliary: Option<&Model>,
    ) -> Vec<Option<Tensor>> {
        let parameters = self.slots.iter().map(|slot| slot.parameter(model, auxiliary));
        let (free, values): (Vec<usize>, Vec<&Tensor>) = parameters
            .enumerate()
            .filter(|(_, parameter)| parameter.is_trained())
            .map(|(place, parameter)| (place, &parameter.value))
            .unzip();
        let mut gradients: Vec<Option<Tensor>> = self.slots.iter().map(|_| None).collect();
        if values.is_empty() {
            return gradients;
        }
        let found = Tensor::run_backward(&[loss], &values, false, false);
        for (place, gradient) in free.into_iter().zip(found) {
            gradients[place] = gradient.defined().then_some(gradient);
        }
        gradients
    }

    /// The same under the masks, so that what follows (their norm, the moments) never sees a masked value.
    pub fn masked(
        &self,
        gradients: Vec<Option<Tensor>>,
        model: &Model,
        auxiliary: Option<&Model>,
    ) -> Vec<Option<Tensor>> {
        let masked = gradients.into_iter().zip(&self.slots).map(|(gradient, slot)| {
            let gradient = gradient?;
            Some(match &slot.parameter(model, auxiliary).mask {
                Some(mask) => gradient * mask,
                None => gradient,
            })
        });
        masked.collect()
    }

    /// The nodes whose parameters the gradients are of, in their order.
    pub fn nodes(&self, model: &Model, auxiliary: Option<&Model>) -> Vec<Node> {
        let node = |slot: &Slot| {
            let node = slot.parameter(model, auxiliary).node;
            if slot.auxiliary { Node::Auxiliary(node) } else { Node::Own(node) }
        };
        self.slots.iter().map(node).collect()
    }

    /// Of [`Optimizer::dense_gradients`] that of a parameter of the network.
    pub fn gradient_of<'a>(
        &self,
        gradients: &'a [Option<Tensor>],
        name: &str,
    ) -> Option<&'a Tensor> {
        let is_it = |slot: &Slot| !slot.auxiliary && slot.name == name;
        gradients.get(self.slots.iter().position(is_it)?)?.as_ref()
    }

    /// What Adam divides the steps of a parameter's values by, `√v̂ + ε`; none of another optimizer, or of a
    /// parameter that was not changed yet.
    pub fn denominators(&self, name: &str) -> Option<Tensor> {
        let (spec::Optimizer::Adam(settings) | spec::Optimizer::AdamW(settings)) = &self.rule
        else {
            return None;
        };
        let slot = self.slots.iter().find(|slot| !slot.auxiliary && slot.name == name)?;
        let correction = 1.0 - settings.beta2.powf(slot.steps as f64);
        (slot.steps > 0)
            .then(|| no_grad(|| slot.moments[1].sqrt() / correction.sqrt() + settings.epsilon))
    }

    /// Sets the moments of a parameter of the network to zero wherever `kept` is zero.
    ///
    /// # Shapes
    /// - kept: that of the parameter
    pub fn forget(&mut self, name: &str, kept: &Tensor) {
        let is_it = |slot: &&mut Slot| !slot.auxiliary && slot.name == name;
        for moment in self.slots.iter_mut().filter(is_it).flat_map(|slot| &mut slot.moments) {
            let gone = kept.to_device(moment.device()).eq(0.0);
            let _ = no_grad(|| moment.masked_fill_(&gone, 0.0));
        }
    }

    /// Changes every parameter by its gradient; one without a gradient stays as it is.
    pub fn step(
        &mut self,
        gradients: &[Option<Tensor>],
        learning_rate: f64,
        model: &mut Model,
        mut auxiliary: Option<&mut Model>,
    ) {
        no_grad(|| {
            for (slot, gradient) in self.slots.iter_mut().zip(gradients) {
                let Some(gradient) = gradient else { continue };
                let owner =
                    if slot.auxiliary { auxiliary.as_deref_mut() } else { Some(&mut *model) };
                let owner = owner.expect("an auxiliary network stays");
                slot.step(
                    &self.rule,
                    &mut owner.params_mut()[slot.index].value,
                    gradient,
                    learning_rate,
                );
            }
        });
    }

    /// The state: `optimizer.<entry>.<parameter>`, entries named as PyTorch's.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let mut state = Vec::new();
        for slot in &self.slots {
            state.push((format!("optimizer.step.{}", slot.name), Tensor::from(slot.steps as i64)));
            for (entry, moment) in moment_names(&self.rule).iter().zip(&slot.moments) {
                state.push((format!("optimizer.{entry}.{}", slot.name), moment.shallow_clone()));
            }
        }
        state
    }

    /// Takes a saved state's entries out of `tensors`.
    ///
    /// # Errors
    /// The first entry that is missing or has another shape.
    pub fn restore(&mut self, tensors: &mut IndexMap<String, Tensor>) -> Result<(), String> {
        let names = moment_names(&self.rule);
        for slot in &mut self.slots {
            let mut take = |entry: &str, shape: &[i64]| {
                let name = format!("optimizer.{entry}.{}", slot.name);
                let tensor = tensors.swap_remove(&name);
                let tensor = tensor.filter(|tensor| tensor.size() == shape);
                tensor.ok_or_else(|| format!("`{name}` is missing or of another shape"))
            };
            slot.steps = take("step", &[])?.int64_value(&[]) as u64;
            for (entry, moment) in names.iter().zip(&mut slot.moments) {
                moment.copy_(&take(entry, &moment.size())?);
            }
        }
        Ok(())
    }
}

impl Slot {
    fn parameter<'a>(&self, model: &'a Model, auxiliary: Option<&'a Model>) -> &'a Parameter {
        let owner = if self.auxiliary { auxiliary } else { Some(model) };
        &owner.expect("an auxiliary network stays").params()[self.index]
    }

    fn step(&mut self, rule: &spec::Optimizer, value: &mut Tensor, gradient: &Tensor, rate: f64) {
        self.steps += 1;
        let rate = rate * self.factor;
        match rule {
            spec::Optimizer::Sgd(settings) => self.sgd(settings, value, gradient, rate),
            spec::Optimizer::Adam(settings) => {
                let gradient = decayed(gradient, value, settings.weight_decay, &self.scratch[0]);
                self.adam(settings, value, &gradient, rate);
            }
            spec::Optimizer::AdamW(settings) => {
                if settings.weight_decay != 0.0 {
                    let _ = value.g_mul_scalar_(1.0 - rate * settings.weight_decay);
                }
                self.adam(settings, value, gradient, rate);
            }
            spec::Optimizer::Rmsprop(settings) => self.rmsprop(settings, value, gradient, rate),
        }
    }

    fn sgd(&mut self, settings: &spec::Sgd, value: &mut Tensor, gradient: &Tensor, rate: f64) {
        let [first, second] = &mut self.scratch;
        let gradient = decayed(gradient, value, settings.weight_decay, first);
        let Some(buffer) = self.moments.first_mut() else {
            descend(value, &gradient, rate, second);
            return;
        };
        let _ = buffer.g_mul_scalar_(settings.momentum).g_add_(&gradient);
        if settings.nesterov {
            let _ = buffer.mul_scalar_out(second, settings.momentum).g_add_(&gradient);
            let _ = second.g_mul_scalar_(rate);
            let _ = value.g_sub_(second);
        } else {
            descend(value, buffer, rate, second);
        }
    }

    fn adam(&mut self, settings: &spec::Adam, value: &mut Tensor, gradient: &Tensor, rate: f64) {
        let [mean, square] = &mut self.moments[..] else { unreachable!("Adam has two moments") };
        let room = &mut self.scratch[1];
        let _ = mean.lerp_(gradient, 1.0 - settings.beta1);
        let _ = gradient.mul_out(room, gradient).g_mul_scalar_(1.0 - settings.beta2);
        let _ = square.g_mul_scalar_(settings.beta2).g_add_(room);
        let correction = |beta: f64| 1.0 - beta.powf(self.steps as f64);
        let _ = square.sqrt_out(room);
        let _ = room.g_div_scalar_(correction(settings.beta2).sqrt());
        let _ = room.g_add_scalar_(settings.epsilon);
        let _ = mean.div_out(&room.shallow_clone(), room);
        let _ = room.g_mul_scalar_(rate / correction(settings.beta1));
        let _ = value.g_sub_(room);
    }

    fn rmsprop(
        &mut self,
        settings: &spec::RmsProp,
        value: &mut Tensor,
        gradient: &Tensor,
        rate: f64,
    ) {
        let [first, second] = &mut self.scratch;
        let gradient = decayed(gradient, value, settings.weight_decay, first);
        let (square, buffer) = self.moments.split_first_mut().expect("RMSprop has a moment");
        let _ = gradient.mul_out(second, &gradient).g_mul_scalar_(1.0 - settings.alpha);
        let _ = square.g_mul_scalar_(settings.alpha).g_add_(second);
        let _ = square.sqrt_out(second);
        let _ = second.g_add_scalar_(settings.epsilon);
        let _ = gradient.div_out(&second.shallow_clone(), second);
        match buffer.first_mut() {
            None => {
                let _ = second.g_mul_scalar_(rate);
                let _ = value.g_sub_(second);
            }
            Some(buffer) => {
                let _ = buffer.g_mul_scalar_(settings.momentum).g_add_(second);
                descend(value, buffer, rate, second);
            }
        }
    }
}

/// `gradient + weight_decay · value`, in `room` where there is anything to add.
///
/// The gradient itself is never written to: LibTorch may have given two parameters the same one.
fn decayed(gradient: &Tensor, value: &Tensor, weight_decay: f64, room: &Tensor) -> Tensor {
    if weight_decay == 0.0 {
        return gradient.shallow_clone();
    }
    value.mul_scalar_out(room, weight_decay).g_add_(gradient)
}

/// `value −= rate · direction`.
fn descend(value: &mut Tensor, direction: &Tensor, rate: f64, room: &Tensor) {
    let scaled = direction.mul_scalar_out(room, rate);
    let _ = value.g_sub_(&scaled);
}

/// Scales gradients down so that their joint L2 norm is at most `largest`, as PyTorch's
/// `clip_grad_norm_` does; the norm stays on the device.
pub fn clip(gradients: &mut [Option<Tensor>], largest: f64) {
    no_grad(|| {
        let norms: Vec<Tensor> = gradients.iter().flatten().map(Tensor::norm).collect();
        if norms.is_empty() {
            return;
        }
        let norm = Tensor::stack(&norms, 0).norm();
        let factor = ((norm + 1e-6).reciprocal() * largest).clamp_max(1.0);
        for gradient in gradients.iter_mut().flatten() {
            *gradient = &*gradient * &factor;
        }
    });
}

#[cfg(test)]
mod tests {
    use graftwork::network::Network;
    use graftwork::network::op::Linear;
    use proptest::prelude::*;
    use tch::Device;
    use tch::nn::{self, OptimizerConfig};

    use super::*;

    /// A network whose only parameter is `fc.weight`, `[1, n]`.
    fn model(weights: &[f32]) -> Model {
        let n = weights.len() as u32;
        let mut network = Network::new("test", &[n]);
        network.push("fc", Linear { inputs: n, outputs: 1, bias: false });
        let value = Tensor::from_slice(weights).view([1, i64::from(n)]);
        let values = IndexMap::from([("fc.weight".to_owned(), value)]);
        Model::from_tensors(network, values, Device::Cpu).unwrap()
    }

    fn weights(model: &Model) -> Vec<f32> {
        Vec::try_from(&model.params()["fc.weight"].value.detach().view([-1])).unwrap()
    }

    /// `½ Σ a w²`, whose gradient is `a w`.
    fn quadratic(model: &Model, a: &Tensor) -> Tensor {
        (model.params()["fc.weight"].value.square() * a).sum(Kind::Float) * 0.5
    }

    fn optimizer(rule: &spec::Optimizer, model: &Model) -> Optimizer {
        Optimizer::new(rule, &IndexMap::new(), model, None)
    }

    fn gradients(
        optimizer: &Optimizer,
        loss: &Tensor,
        model: &Model,
        auxiliary: Option<&Model>,
    ) -> Vec<Option<Tensor>> {
        let gradients = optimizer.dense_gradients(loss, model, auxiliary);
        optimizer.masked(gradients, model, auxiliary)
    }

    fn take_step(optimizer: &mut Optimizer, model: &mut Model, a: &Tensor, clip_norm: Option<f64>) {
        let loss = quadratic(model, a);
        let mut gradients = gradients(optimizer, &loss, model, None);
        if let Some(largest) = clip_norm {
            clip(&mut gradients, largest);
        }
        let rate = optimizer.rule.learning_rate();
        optimizer.step(&gradients, rate, model, None);
    }

    /// Four steps of this program, with the given optimizer:
    ///
    /// ```python
    /// a = torch.tensor([1.0, 0.5, 2.0])
    /// w = torch.tensor([1.0, -2.0, 0.5], requires_grad=True)
    /// for _ in range(4):
    ///     optimizer.zero_grad(); (0.5 * a * w**2).sum().backward(); optimizer.step()
    /// ```
    ///
    /// The expected values were computed in 64 bits by the formulas of PyTorch's documentation; that
    /// LibTorch's own optimizers agree is the next test.
    #[track_caller]
    fn check(rule: &spec::Optimizer, expected: [f32; 3]) {
        let mut model = model(&[1.0, -2.0, 0.5]);
        let a = Tensor::from_slice(&[1.0f32, 0.5, 2.0]);
        let mut optimizer = optimizer(rule, &model);
        for _ in 0..4 {
            take_step(&mut optimizer, &mut model, &a, None);
        }
        let weights = weights(&model);
        let close =
            weights.iter().zip(expected).all(|(value, expected)| (value - expected).abs() < 1e-6);
        assert!(close, "{weights:?}, expected {expected:?}");
    }

    #[test]
    fn sgd_is_pytorchs() {
        // torch.optim.SGD([w], lr=0.1)
        let rule = spec::Sgd { learning_rate: 0.1, momentum: 0.0, ..spec::Sgd::default() };
        check(&spec::Optimizer::Sgd(rule.clone()), [0.6561, -1.629_012_5, 0.2048]);
        // torch.optim.SGD([w], lr=0.1, momentum=0.9, weight_decay=0.1)
        let rule = spec::Sgd { momentum: 0.9, weight_decay: 0.1, ..rule };
        check(&spec::Optimizer::Sgd(rule.clone()), [0.163_181_7, -1.010_827_5, -0.175_245_4]);
        // torch.optim.SGD([w], lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True)
        let rule = spec::Sgd { nesterov: true, ..rule };
        check(&spec::Optimizer::Sgd(rule), [0.033_139_4, -0.774_51, -0.173_357_9]);
    }

    #[test]
    fn adam_is_pytorchs() {
        // torch.optim.Adam([w], lr=0.1, weight_decay=0.1)
        let rule = spec::Adam { learning_rate: 0.1, weight_decay: 0.1, ..spec::Adam::default() };
        check(&spec::Optimizer::Adam(rule.clone()), [0.603_939_1, -1.601_504_9, 0.112_915_4]);
        // torch.optim.AdamW([w], lr=0.1, betas=(0.8, 0.9), weight_decay=0.1)
        let rule = spec::Adam { beta1: 0.8, beta2: 0.9, ..rule };
        check(&spec::Optimizer::AdamW(rule), [0.571_422, -1.529_202_7, 0.101_42]);
    }

    #[test]
    fn rmsprop_is_pytorchs() {
        // torch.optim.RMSprop([w], lr=0.05, weight_decay=0.1)
        let rule =
            spec::RmsProp { learning_rate: 0.05, weight_decay: 0.1, ..spec::RmsProp::default() };
        check(&spec::Optimizer::Rmsprop(rule), [0.087_314_2, -0.812_789, 0.0]);
        // torch.optim.RMSprop([w], lr=0.05, alpha=0.9, momentum=0.5)
        let rule = spec::RmsProp {
            learning_rate: 0.05,
            alpha: 0.9,
            momentum: 0.5,
            ..spec::RmsProp::default()
        };
        check(&spec::Optimizer::Rmsprop(rule), [0.350_369_6, -1.307_801_9, -0.038_834_4]);
    }

    /// LibTorch's optimizer for a rule.
    fn libtorchs(rule: &spec::Optimizer, store: &nn::VarStore) -> nn::Optimizer {
        let rate = rule.learning_rate();
        let built = match rule {
            spec::Optimizer::Sgd(sgd) => {
                nn::sgd(sgd.momentum, 0.0, sgd.weight_decay, sgd.nesterov).build(store, rate)
            }
            spec::Optimizer::Adam(adam) => nn::adam(adam.beta1, adam.beta2, adam.weight_decay)
                .eps(adam.epsilon)
                .build(store, rate),
            spec::Optimizer::AdamW(adam) => nn::adamw(adam.beta1, adam.beta2, adam.weight_decay)
                .eps(adam.epsilon)
                .build(store, rate),
            spec::Optimizer::Rmsprop(rms) => {
                nn::rms_prop(rms.alpha, rms.epsilon, rms.weight_decay, rms.momentum, false)
                    .build(store, rate)
            }
        };
        built.unwrap()
    }

    fn any_rule() -> impl Strategy<Value = spec::Optimizer> {
        let fraction = || prop_oneof![Just(0.0), 0.0..0.99];
        let settings =
            (1e-3..0.1, fraction(), fraction(), prop_oneof![Just(0.0), 0.0..0.5], any::<bool>());
        (0..4, settings).prop_map(|(kind, (learning_rate, first, second, weight_decay, flag))| {
            let adam = spec::Adam {
                learning_rate,
                beta1: first,
                beta2: second,
                epsilon: 1e-6,
                weight_decay,
            };
            match kind {
                0 => spec::Optimizer::Sgd(spec::Sgd {
                    learning_rate,
                    momentum: first,
                    weight_decay,
                    nesterov: flag && first > 0.0,
                }),
                1 => spec::Optimizer::Adam(adam),
                2 => spec::Optimizer::AdamW(adam),
                _ => spec::Optimizer::Rmsprop(spec::RmsProp {
                    learning_rate,
                    alpha: first,
                    momentum: second,
                    epsilon: 1e-6,
                    weight_decay,
                }),
            }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn updates_agree_with_libtorchs_own_optimizers(
            rule in any_rule(),
            start in prop::collection::vec(-2.0f32..2.0, 5),
            clip_norm in prop::option::of(0.1..2.0),
        ) {
            let a = Tensor::from_slice(&[1.0f32, 0.5, 2.0, 0.0, 0.1]);
            let mut ours = model(&start);
            let mut optimizer = optimizer(&rule, &ours);
            let store = nn::VarStore::new(Device::Cpu);
            let value = store.root().var_copy("w", &Tensor::from_slice(&start));
            let mut theirs = libtorchs(&rule, &store);
            for step in 0..6 {
                // Each step starts from the same weights: where a gradient is near zero, Adam and
                // RMSprop divide by almost nothing, and rounding of earlier steps would grow.
                let before: Vec<f32> = Vec::try_from(&value.detach()).unwrap();
                let same = Tensor::from_slice(&before);
                no_grad(|| ours.params_mut()["fc.weight"].value.copy_(&same.view([1, -1])));
                take_step(&mut optimizer, &mut ours, &a, clip_norm);
                let loss = (value.square() * &a).sum(Kind::Float) * 0.5;
                match clip_norm {
                    Some(largest) => theirs.backward_step_clip_norm(&loss, largest),
                    None => theirs.backward_step(&loss),
                }
                let expected: Vec<f32> = Vec::try_from(&value.detach()).unwrap();
                for ((ours, expected), before) in weights(&ours).iter().zip(&expected).zip(&before) {
                    prop_assert!(
                        (ours - expected).abs() < 5e-6 * (1.0 + before.abs() + expected.abs()),
                        "step {step}: {before} to {ours}, expected {expected}"
                    );
                }
            }
        }

        #[test]
        fn what_is_under_a_mask_is_exactly_zero(
            rule in any_rule(),
            start in prop::collection::vec(-2.0f32..2.0, 6),
            mask in prop::collection::vec(any::<bool>(), 6),
            clip_norm in prop::option::of(0.1..2.0),
        ) {
            let mut model = model(&start);
            let keep = Tensor::from_slice(&mask).to_kind(Kind::Float).view([1, 6]);
            model.params_mut()["fc.weight"].mask = Some(keep);
            model.apply_masks();
            // A loss that pulls every weight away from zero.
            let target = Tensor::from_slice(&[1.0f32, -1.0, 2.0, -2.0, 3.0, -3.0]);
            let mut optimizer = optimizer(&rule, &model);
            for _ in 0..5 {
                let loss = (&model.params()["fc.weight"].value - &target).square().sum(Kind::Float);
                let mut gradients = gradients(&optimizer, &loss, &model, None);
                if let Some(largest) = clip_norm {
                    clip(&mut gradients, largest);
                }
                optimizer.step(&gradients, rule.learning_rate(), &mut model, None);
                let state = optimizer.state().into_iter().map(|(_, tensor)| tensor);
                let of_weights = state.filter(|tensor| tensor.numel() == 6);
                let value = model.params()["fc.weight"].value.detach();
                for tensor in of_weights.chain([value]) {
                    let values: Vec<f32> = Vec::try_from(&tensor.view([-1])).unwrap();
                    for (value, &kept) in values.iter().zip(&mask) {
                        prop_assert!(kept || value.to_bits() == 0, "{value} under the mask");
                    }
                }
            }
        }
    }

    #[test]
    fn a_restored_optimizer_goes_on_bit_for_bit() {
        let rules = [
            spec::Optimizer::Sgd(spec::Sgd::default()),
            spec::Optimizer::AdamW(spec::Adam::default()),
            spec::Optimizer::Rmsprop(spec::RmsProp { momentum: 0.9, ..spec::RmsProp::default() }),
        ];
        let a = Tensor::from_slice(&[1.0f32, 0.5]);
        for rule in rules {
            let mut first = model(&[1.0, -2.0]);
            let mut whole = optimizer(&rule, &first);
            (0..3).for_each(|_| take_step(&mut whole, &mut first, &a, None));

            let mut second = model(&weights(&first));
            let mut saved: IndexMap<String, Tensor> =
                whole.state().into_iter().map(|(name, tensor)| (name, tensor.copy())).collect();
            let mut resumed = optimizer(&rule, &second);
            resumed.restore(&mut saved).unwrap();
            assert!(saved.is_empty());
            for (optimizer, model) in [(&mut whole, &mut first), (&mut resumed, &mut second)] {
                (0..3).for_each(|_| take_step(optimizer, model, &a, None));
            }
            assert_eq!(weights(&first), weights(&second), "{rule:?}");
        }
        let rule = spec::Optimizer::Adam(spec::Adam::default());
        let error = optimizer(&rule, &model(&[1.0])).restore(&mut IndexMap::new()).unwrap_err();
        assert_eq!(error, "`optimizer.step.fc.weight` is missing or of another shape");
    }

    #[test]
    fn the_factor_of_the_most_exact_pattern_scales_the_learning_rate() {
        let rule = spec::Sgd { learning_rate: 0.1, momentum: 0.0, ..spec::Sgd::default() };
        let rule = spec::Optimizer::Sgd(rule);
        let check = |factors: &[(&str, f64)], expected: f32| {
            let mut model = model(&[1.0]);
            let factors = factors.iter().map(|&(pattern, factor)| (pattern.to_owned(), factor));
            let mut optimizer = Optimizer::new(&rule, &factors.collect(), &model, None);
            take_step(&mut optimizer, &mut model, &Tensor::from_slice(&[1.0f32]), None);
            assert!((weights(&model)[0] - expected).abs() < 1e-7, "{:?}", weights(&model));
        };
        check(&[("conv*", 3.0)], 0.9);
        check(&[("*", 3.0), ("fc", 0.0), ("f*", 0.5)], 1.0);
        check(&[("f*", 0.5), ("*c", 2.0), ("conv1", 3.0)], 0.8);
        check(&[("*c", 2.0), ("f*", 0.5)], 0.8);
    }

    #[test]
    fn a_parameter_without_a_gradient_stays_as_it_is() {
        let rule = spec::Optimizer::Sgd(spec::Sgd { weight_decay: 0.1, ..spec::Sgd::default() });
        let (mut first, mut second) = (model(&[1.0]), model(&[2.0]));
        let mut optimizer = Optimizer::new(&rule, &IndexMap::new(), &first, Some(&second));
        let loss = quadratic(&second, &Tensor::from_slice(&[1.0f32]));
        let gradients = gradients(&optimizer, &loss, &first, Some(&second));
        optimizer.step(&gradients, 0.5, &mut first, Some(&mut second));
        assert_eq!(weights(&first), [1.0]);
        assert!((weights(&second)[0] - 0.9).abs() < 1e-6, "2 - 0.5 (2 + 0.1 · 2)");
        let names = optimizer.state().into_iter().map(|(name, _)| name);
        assert!(
            names.into_iter().any(|name| name == "optimizer.momentum_buffer.auxiliary.fc.weight")
        );
    }
}
