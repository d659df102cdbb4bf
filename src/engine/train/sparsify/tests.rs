//! The rules on small networks whose gradients are known, step by step.

use graftwork::experiment::spec::{self, Adam, Densities, Optimizer as Rule, Scope, Sgd};
use graftwork::network::Network;
use graftwork::network::op::Linear;
use indexmap::IndexMap;
use rand::RngExt;
use tch::{Device, Kind, Tensor};

use super::exchange::{Exchanged, exchange};
use super::gradual::cubic;
use super::*;
use crate::random::{stream, uniform};

const PLAN: Plan = Plan { seed: 3, steps_per_epoch: 10, total: 100 };

/// Two layers of 120 and 40 weights.
fn model(seed: u64) -> Model {
    let mut network = Network::new("test", &[12]);
    network.push("fc1", Linear::new(12, 10));
    network.push("fc2", Linear::new(10, 4));
    Model::new(network, seed, Device::Cpu)
}

fn gradual(sparsity: f64) -> spec::Gradual {
    spec::Gradual {
        sparsity,
        from_epoch: 2,
        until_epoch: 7,
        every_steps: 8,
        scope: Scope::Global,
        allocation: None,
        exclude: Vec::new(),
    }
}

fn exchanging(sparsity: f64) -> spec::Exchange {
    spec::Exchange {
        sparsity,
        allocation: Densities::Erk,
        every_steps: 5,
        until: 0.75,
        drop_fraction: 0.3,
        exclude: Vec::new(),
    }
}

fn row(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.detach().to_kind(Kind::Float).reshape([-1])).unwrap()
}

/// The masks of all weights, in a row each.
fn masks(model: &Model) -> Vec<Vec<f32>> {
    let weights = model.params().iter().filter(|(name, _)| name.ends_with("weight"));
    let masks = weights.map(|(_, parameter)| match &parameter.mask {
        Some(mask) => row(mask),
        None => vec![1.0; parameter.value.numel()],
    });
    masks.collect()
}

fn zeros(mask: &[f32]) -> usize {
    mask.iter().filter(|&&kept| kept == 0.0).count()
}

/// Trains with a loss whose gradient is never zero, and calls back after every step.
fn train(
    sparsifier: &Sparsifier,
    model: &mut Model,
    optimizer: &mut Optimizer,
    mut after: impl FnMut(u64, &Model, &Optimizer),
) {
    for step in 0..PLAN.total {
        let input = uniform(&[6, 12], -1.0, 1.0, &mut stream(9, "input", step));
        let loss = (model.forward(&input, crate::model::Mode::Train, None) - 1.0)
            .square()
            .sum(Kind::Float);
        let gradients = optimizer.dense_gradients(&loss, model, None);
        if sparsifier.exchanges_at(step) {
            sparsifier.exchange(step, model, optimizer, &gradients);
        } else {
            let gradients = optimizer.masked(gradients, model, None);
            optimizer.step(&gradients, 0.01, model, None);
            sparsifier.after_steps(step + 1, model, optimizer).unwrap();
        }
        after(step, model, optimizer);
    }
}

/// Every value and every moment under a mask is zero, to the bit.
#[track_caller]
fn assert_under_masks(model: &Model, optimizer: &Optimizer) {
    for (name, parameter) in model.params() {
        let Some(mask) = &parameter.mask else { continue };
        let gone = mask.eq(0.0);
        let state = optimizer.state();
        let moments = state.iter().filter(|(entry, moment)| {
            entry.ends_with(&format!(".{name}")) && moment.size() == mask.size()
        });
        let all: Vec<&Tensor> =
            moments.map(|(_, moment)| moment).chain([&parameter.value]).collect();
        assert!(all.len() > 1, "{name} has moments");
        for tensor in all {
            let values = row(&tensor.detach().masked_select(&gone));
            assert!(values.iter().all(|value| value.to_bits() == 0), "{name}: {values:?}");
        }
    }
}

/// `s_f = 0.9, n = 10` in Zhu & Gupta's equation 1.
#[test]
fn the_cubic_has_its_known_values() {
    let expected =
        [0.0, 0.2439, 0.4392, 0.5913, 0.7056, 0.7875, 0.8424, 0.8757, 0.8928, 0.8991, 0.9];
    for (n, expected) in expected.into_iter().enumerate() {
        let found = cubic(0.0, 0.9, n as f64 / 10.0);
        assert!((found - expected).abs() < 1e-12, "{n}: {found}");
    }
    assert!((cubic(0.5, 0.9, 0.0) - 0.5).abs() < 1e-12, "from where the masks are");
}

#[test]
fn zeros_rise_along_the_cubic_and_masks_only_grow() {
    for (allocation, optimizer) in [
        (None, Rule::Adam(Adam::default())),
        (Some(Densities::Erk), Rule::Sgd(Sgd { weight_decay: 0.1, ..Sgd::default() })),
    ] {
        let settings = spec::Gradual { allocation, ..gradual(0.9) };
        let mut model = model(1);
        let mut optimizer = Optimizer::new(&optimizer, &IndexMap::new(), &model, None);
        let sparsifier =
            Sparsifier::start(&spec::Sparsify::Gradual(settings), &mut model, PLAN).unwrap();
        let mut before = masks(&model);
        train(&sparsifier, &mut model, &mut optimizer, |step, model, optimizer| {
            let now = masks(model);
            for (before, now) in before.iter().flatten().zip(now.iter().flatten()) {
                assert!(now <= before, "step {step}");
            }
            // Steps 20 to 70, every 8 of them and the last.
            let done = (step + 1).clamp(20, 70);
            let due = if done == 70 { 70 } else { done - (done - 20) % 8 };
            let share = (due - 20) as f64 / 50.0;
            let wanted = 0.9 * 160.0 * (1.0 - (1.0 - share).powi(3));
            let found = now.iter().map(|mask| zeros(mask)).sum::<usize>() as f64;
            // Two layers are rounded each for themselves.
            let tolerance = if allocation.is_some() { 1.0 } else { 0.5 };
            assert!((found - wanted).abs() <= tolerance, "step {step}: {found}, not {wanted}");
            assert!((sparsifier.sparsity(model) - found / 160.0).abs() < 1e-12);
            assert_eq!(sparsifier.is_sparse_after(step + 1), step + 1 >= 70);
            assert_under_masks(model, optimizer);
            before = now;
        });
        assert_eq!(before.iter().map(|mask| zeros(mask)).sum::<usize>(), 144);
    }
}

#[test]
fn the_smallest_weights_go_and_those_that_are_masked_count() {
    let mut model = model(2);
    let size = row(&model.params()["fc1.weight"].value);
    let mask: Vec<f32> = size.iter().map(|weight| f32::from(weight.abs() > 0.1)).collect();
    let there = zeros(&mask);
    let mask = Tensor::from_slice(&mask).reshape([10, 12]);
    model.params_mut()["fc1.weight"].mask = Some(mask);
    model.apply_masks();
    let settings = gradual(0.75);
    let rule = spec::Sparsify::Gradual(settings);
    let sparsifier = Sparsifier::start(&rule, &mut model, PLAN).unwrap();
    let mut optimizer = Optimizer::new(&Rule::default(), &IndexMap::new(), &model, None);
    sparsifier.after_steps(20, &mut model, &mut optimizer).unwrap();
    let masked = || masks(&model).iter().map(|mask| zeros(mask)).sum::<usize>();
    assert_eq!(masked(), there, "the first change is none");
    let weights =
        [row(&model.params()["fc1.weight"].value), row(&model.params()["fc2.weight"].value)];
    sparsifier.after_steps(70, &mut model, &mut optimizer).unwrap();
    assert_eq!(masks(&model).iter().map(|mask| zeros(mask)).sum::<usize>(), 120);
    let of = |wanted: f32| -> Vec<f32> {
        let all =
            weights.iter().flatten().zip(masks(&model).into_iter().flatten().collect::<Vec<_>>());
        all.filter(|(_, mask)| (*mask - wanted).abs() < 0.5)
            .map(|(weight, _)| weight.abs())
            .collect()
    };
    let largest_gone = of(0.0).into_iter().fold(0.0, f32::max);
    let smallest_left = of(1.0).into_iter().fold(f32::INFINITY, f32::min);
    assert!(largest_gone <= smallest_left, "{largest_gone} {smallest_left}");
}

/// `|w| = .5, .1, .3, .2` are there and two of four go: `.1` and `.2`. Among all that are not there then,
/// gradients are largest for the third masked one (5) and the weight that has just gone (4).
#[test]
fn a_small_layer_exchanges_its_known_weights() {
    let weight = Tensor::from_slice(&[0.5f32, -0.1, 0.0, 0.3, 0.0, -0.2, 0.0, 0.0]);
    let mask = Tensor::from_slice(&[1.0f32, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0]);
    let gradient = Tensor::from_slice(&[9.0f32, 4.0, 1.0, 9.0, 5.0, 3.0, 2.0, 0.0]);
    let Exchanged { kept, mask } = exchange(&weight, &mask, &gradient, 0.5);
    assert_eq!(row(&kept), [1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(row(&mask), [1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
}

#[test]
fn of_equals_the_first_go_and_come() {
    let weight = Tensor::from_slice(&[0.2f32, 0.2, 0.2, 0.0, 0.0, 0.0]);
    let mask = Tensor::from_slice(&[1.0f32, 1.0, 1.0, 0.0, 0.0, 0.0]);
    let Exchanged { kept, mask } = exchange(&weight, &mask, &mask.zeros_like(), 0.34);
    assert_eq!(row(&kept), [0.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
    assert_eq!(row(&mask), [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
}

/// Against the definition: who is smaller than all that stay goes, who has more gradient than all that stay
/// away comes.
#[test]
fn every_exchange_is_by_rank_and_keeps_the_count() {
    for seed in 0..1000 {
        let mut rng = stream(seed, "exchange", 0);
        let n = rng.random_range(1..60);
        let there: Vec<bool> = (0..n).map(|_| rng.random::<f64>() < 0.4).collect();
        let mut draw = |there: bool| if there { rng.random_range(-1.0..1.0) } else { 0.0 };
        let weights: Vec<f64> = there.iter().map(|&there| draw(there)).collect();
        let scores: Vec<f64> = (0..n).map(|_| draw(true).abs()).collect();
        let fraction = rng.random::<f64>();
        let flags: Vec<f64> = there.iter().map(|&there| f64::from(u8::from(there))).collect();
        let Exchanged { kept, mask } = exchange(
            &Tensor::from_slice(&weights),
            &Tensor::from_slice(&flags),
            &Tensor::from_slice(&scores),
            fraction,
        );
        let flag =
            |tensor: &Tensor| -> Vec<bool> { row(tensor).iter().map(|&it| it > 0.5).collect() };
        let (kept, mask) = (flag(&kept), flag(&mask));
        let count = |flags: &[bool]| flags.iter().filter(|&&flag| flag).count();
        let gone = (fraction * count(&there) as f64) as usize;
        assert_eq!(count(&mask), count(&there), "seed {seed}");
        assert_eq!(count(&kept), count(&there) - gone, "seed {seed}");
        for one in 0..n {
            assert!(!kept[one] || there[one] && mask[one], "seed {seed}");
            for other in 0..n {
                if there[one] && !kept[one] && kept[other] {
                    assert!(weights[one].abs() <= weights[other].abs(), "seed {seed}");
                }
                if !kept[one] && mask[one] && !mask[other] {
                    assert!(scores[one] >= scores[other], "seed {seed}");
                }
            }
        }
    }
}

/// `α/2 (1 + cos(π t/T))` with α = 0.3 and T = 75, at t = 0, T/3, T/2 and T.
#[test]
fn the_fraction_falls_along_half_a_cosine() {
    let rule = Exchange::start(&exchanging(0.9), exchange::Growth::Gradient, PLAN);
    for (step, expected) in [(0, 0.3), (25, 0.225), (75, 0.0)] {
        assert!((rule.fraction(step) - expected).abs() < 1e-12, "{step}");
    }
    let due: Vec<u64> = (0..100).filter(|&step| rule.is_due(step)).collect();
    assert_eq!(due, (1..15).map(|n| 5 * n).collect::<Vec<_>>(), "0, 75 and what comes after not");
}

#[test]
fn each_layer_keeps_its_count_to_one_weight_and_what_comes_starts_at_zero() {
    let rules: [fn(spec::Exchange) -> spec::Sparsify; 2] =
        [spec::Sparsify::Rigl, spec::Sparsify::Set];
    for rule in rules {
        let mut model = model(4);
        let mut optimizer =
            Optimizer::new(&Rule::Adam(Adam::default()), &IndexMap::new(), &model, None);
        let sparsifier = Sparsifier::start(&rule(exchanging(0.6)), &mut model, PLAN).unwrap();
        let start = masks(&model);
        // 64 weights stay. (12 + 10) : (10 + 4) = 22 : 14 is 39.1 and 24.9.
        assert_eq!(start.iter().map(|mask| zeros(mask)).collect::<Vec<_>>(), [81, 15]);
        let (mut before, mut came) = (start.clone(), 0);
        train(&sparsifier, &mut model, &mut optimizer, |step, model, optimizer| {
            let now = masks(model);
            assert_eq!(now.iter().map(|mask| zeros(mask)).collect::<Vec<_>>(), [81, 15]);
            assert_under_masks(model, optimizer);
            let is_exchange = sparsifier.exchanges_at(step);
            assert!(is_exchange || now == before, "masks change in place of a step alone");
            for (layer, (before, now)) in before.iter().zip(&now).enumerate() {
                let weights = row(&model.params()[&format!("fc{}.weight", layer + 1)].value);
                for ((before, now), weight) in before.iter().zip(now).zip(weights) {
                    if now > before {
                        came += 1;
                        assert_eq!(weight.to_bits(), 0, "step {step}");
                    }
                }
            }
            before = now;
        });
        assert!(came > 10, "{came}");
        assert_ne!(before, start);
    }
}

/// A weight that goes and comes back at once loses its value and its moments.
#[test]
fn what_comes_back_at_once_starts_at_zero_too() {
    let mut model = model(5);
    let mut optimizer =
        Optimizer::new(&Rule::Adam(Adam::default()), &IndexMap::new(), &model, None);
    let settings = spec::Exchange { sparsity: 0.0, drop_fraction: 0.5, ..exchanging(0.0) };
    let sparsifier = Sparsifier::start(&spec::Sparsify::Rigl(settings), &mut model, PLAN).unwrap();
    train(&sparsifier, &mut model, &mut optimizer, |step, model, optimizer| {
        if step != 5 {
            return;
        }
        // α/2 (1 + cos(π/15)) = 0.4945 of 120 weights is 59.
        let weights = row(&model.params()["fc1.weight"].value);
        assert_eq!(zeros(&weights), 59);
        let state = optimizer.state();
        for entry in ["exp_avg", "exp_avg_sq"] {
            let name = format!("optimizer.{entry}.fc1.weight");
            let (_, moment) = state.iter().find(|(found, _)| *found == name).unwrap();
            let moments = row(moment);
            for (weight, moment) in weights.iter().zip(moments) {
                assert_eq!(*weight == 0.0, moment == 0.0, "{entry}");
            }
        }
        assert!(masks(model).iter().all(|mask| zeros(mask) == 0));
    });
}

#[test]
fn masks_that_are_there_are_where_an_exchange_starts() {
    let mut model = model(6);
    let mask = Tensor::from_slice(&[1.0f32, 0.0, 0.0, 0.0]).repeat([30]).reshape([10, 12]);
    model.params_mut()["fc1.weight"].mask = Some(mask.copy());
    model.apply_masks();
    // 90 of 160 are masked: that is all that is asked for.
    let rule = spec::Sparsify::Set(exchanging(0.5625));
    Sparsifier::start(&rule, &mut model, PLAN).unwrap();
    assert!(model.params()["fc1.weight"].mask.as_ref().unwrap().equal(&mask));
    assert_eq!(masks(&model).iter().map(|mask| zeros(mask)).collect::<Vec<_>>(), [90, 0]);
    let rule = spec::Sparsify::Set(exchanging(0.5));
    let error = Sparsifier::start(&rule, &mut model, PLAN).err().unwrap().to_string();
    assert!(error.contains("already has 0.5625 of its weights masked"), "{error}");
}

#[test]
fn frozen_and_excluded_layers_keep_their_weights() {
    let mut model = model(7);
    model.params_mut()["fc1.weight"].frozen = true;
    let rule = |exclude: &[&str]| {
        let exclude = exclude.iter().map(|&name| name.to_owned()).collect();
        spec::Sparsify::Rigl(spec::Exchange { exclude, ..exchanging(0.5) })
    };
    Sparsifier::start(&rule(&[]), &mut model, PLAN).unwrap();
    assert_eq!(masks(&model).iter().map(|mask| zeros(mask)).collect::<Vec<_>>(), [0, 20]);
    let error = Sparsifier::start(&rule(&["fc2"]), &mut model, PLAN).err().unwrap().to_string();
    assert_eq!(
        error,
        "`sparsify.rigl` has nothing to mask: all layers with weights are frozen or excluded"
    );
}
