//! Whole units of whole networks: targets, what readers get, removal.

use graftwork::experiment::spec::{
    Budget, Criterion, Entropy, Fcn, Granularity, Magnitude, Model as Spec, Prune, Select, Unet,
    UnetUpsampling,
};
use graftwork::network::groups::groups;
use graftwork::network::op::{
    Attention, BatchNorm, ChannelShuffle, Concat, Conv2d, Flatten, LayerNorm, Linear, Mul,
    PixelShuffle, PoolSteps, Relu, Sigmoid, Slice, StepPooling,
};
use graftwork::network::{Network, zoo};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tch::no_grad;

use super::super::tests::{bits, images, mlp, scrambled, zeros};
use super::readers::Reader;
use super::*;
use crate::model::Mode;
use crate::model::random_network::random_network;
use crate::prune::{gradients, max_entropy, prunable};
use crate::random::{stream, uniform};

type Score<'a> = &'a dyn Fn(&[&Group]) -> Scores;

/// A stage that removes whole units until nothing but this is left.
fn stage(budget: Budget) -> Prune {
    Prune {
        budget: Some(budget),
        granularity: Some(Granularity::Unit),
        ..Prune::new("dense", Criterion::Magnitude(Magnitude {}))
    }
}

fn sparsity(sparsity: f64) -> Prune {
    Prune { sparsity: Some(sparsity), budget: None, ..stage(Budget::default()) }
}

fn channels(channels: f64) -> Prune {
    stage(Budget { channels: Some(channels), ..Budget::default() })
}

/// Lets a criterion choose, and gives what goes to `then`.
fn choose_and<T>(
    model: &Model,
    stage: &Prune,
    score: impl Fn(&[&Group]) -> Scores,
    then: impl Fn(&Candidates<'_>, &[&Unit]) -> T,
) -> Result<T, StageError> {
    let layers = prunable(model, &stage.exclude)?;
    let target = Target::of(stage, model, &layers)?;
    let dependencies = Dependencies::of(model.network()).unwrap();
    let candidates = Candidates::new(model, &dependencies, &layers)?;
    let goals = Goals::of(stage, model, &layers, &candidates)?;
    let units = candidates.choose(model, &score(candidates.groups()), &target, &goals)?;
    Ok(then(&candidates, &units))
}

fn prune(
    model: &mut Model,
    stage: &Prune,
    score: impl Fn(&[&Group]) -> Scores,
) -> Result<(), StageError> {
    let masks = choose_and(model, stage, score, |_, units| masks(model, units))?;
    for (param, mask) in &masks {
        set_mask(model, param, mask);
    }
    model.apply_masks();
    Ok(())
}

/// As the `max-entropy` criterion does.
fn prune_by_entropy(model: &mut Model, images: &Tensor, stage: &Prune) -> Result<(), StageError> {
    let score = |groups: &[&Group]| max_entropy::scores(model, groups, images, &Entropy::default());
    let masks = choose_and(model, stage, score, |_, units| masks(model, units))?;
    correction::compensate(model, images, &masks);
    for (param, mask) in &masks {
        set_mask(model, param, mask);
    }
    model.apply_masks();
    Ok(())
}

/// As the `min-mse` criterion does.
fn prune_by_reconstruction(
    model: &mut Model,
    images: &Tensor,
    stage: &Prune,
    select: Select,
    damping: f64,
) -> Result<(), StageError> {
    let layers = prunable(model, &stage.exclude)?;
    let network = model.network().clone();
    let dependencies = Dependencies::of(&network).unwrap();
    let candidates = Candidates::new(model, &dependencies, &layers)?
        .only("min-mse", |group| readers::have_patches(&network, group))?;
    let readers = Reader::of(model, images, candidates.groups());
    let scores =
        elimination::scores(candidates.groups(), &readers, select, damping, &mut |_, _| true)?;
    let goals = Goals::of(stage, model, &layers, &candidates)?;
    let target = Target::of(stage, model, &layers)?;
    let units = candidates.choose(model, &scores.unwrap(), &target, &goals)?;
    correction::refit(model, &readers, &masks(model, &units), damping)?;
    mask(model, &units);
    Ok(())
}

#[test]
fn whole_units_go_until_the_target_is_reached() {
    for scope in [Scope::Global, Scope::Layer, Scope::Isomorphic] {
        for wanted in [0.0, 0.2, 0.5, 0.8] {
            let mut model = mlp();
            let layers = prunable(&model, &[]).unwrap();
            let images = images(&[300, 6], 1);
            let stage = Prune { scope, ..sparsity(wanted) };
            prune_by_entropy(&mut model, &images, &stage).unwrap();
            let zeros: usize = zeros(&model, &layers).iter().sum();
            let wanted = (wanted * 103.0f64).round() as usize;
            // A unit of the first layer has 6 + 5 weights, one of the second 8 + 3.
            assert!(zeros >= wanted && zeros < wanted + 11, "{scope:?} {wanted}: {zeros}");
            let first = model.params()["fc1.weight"].value.abs().sum_dim_intlist(
                [1].as_slice(),
                false,
                Kind::Float,
            );
            let gone = first.eq(0.0);
            let bias = model.params()["fc1.bias"].value.eq(0.0);
            let reads = model.params()["fc2.weight"]
                .value
                .abs()
                .sum_dim_intlist([0].as_slice(), false, Kind::Float)
                .eq(0.0);
            assert!(gone.equal(&bias) && gone.equal(&reads), "rows, bias and columns go together");
        }
    }
}

#[test]
fn units_cannot_give_more_than_all_but_one_of_each_layer() {
    let images = images(&[300, 6], 1);
    let error = prune_by_entropy(&mut mlp(), &images, &sparsity(0.95)).unwrap_err();
    // 6 + 1 + 3 weights are left.
    assert_eq!(
        error.to_string(),
        "sparsity = 0.95 is more than whole units can give; with one unit left in each hidden layer it is 0.9029"
    );
    let stage = Prune { exclude: vec!["fc2".to_owned()], ..sparsity(0.5) };
    let error = prune_by_entropy(&mut mlp(), &images, &stage).unwrap_err().to_string();
    assert!(error.starts_with("whole units go, and there is no hidden layer"), "{error}");
}

#[test]
fn a_removed_unit_leaves_its_mean_in_the_bias_of_its_reader() {
    // Two units pass on the same x in {0.5, 1.5}; one is redundant and goes. The weight 2 of the
    // one that goes: mean square error 5 without compensation, 2² Var[x] = 1 with it.
    let mut network = Network::new("test", &[1]);
    network.push("fc1", Linear::new(1, 2));
    network.push("relu", Relu {});
    network.push("fc2", Linear::new(2, 1));
    let mut model = Model::new(network, 0, Device::Cpu);
    let mut set = |name: &str, values: &[f32], shape: &[i64]| {
        model.params_mut()[name].value = Tensor::from_slice(values).reshape(shape);
    };
    set("fc1.weight", &[1.0, 1.0], &[2, 1]);
    set("fc1.bias", &[0.0, 0.0], &[2]);
    set("fc2.weight", &[1.0, 2.0], &[1, 2]);
    set("fc2.bias", &[0.0], &[1]);
    model.update_gradient_flags();
    let images = Tensor::from_slice(&[0.5f32, 1.5]).reshape([2, 1]);
    let before = model.forward(&images, Mode::Eval, None);
    prune_by_entropy(&mut model, &images, &sparsity(0.5)).unwrap();
    let gone = i64::from(model.params()["fc2.weight"].value.double_value(&[0, 0]) != 0.0);
    let weight = [1.0, 2.0][gone as usize];
    assert!((model.params()["fc2.bias"].value.double_value(&[0]) - weight).abs() < 1e-12);
    let change = model.forward(&images, Mode::Eval, None) - before;
    let error = change.square().mean(Kind::Double).double_value(&[]);
    assert!((error - weight * weight * 0.25).abs() < 1e-12);
}

/// Random units of a network that may go together.
fn random_units<'a>(dependencies: &'a Dependencies<'_>, rng: &mut ChaCha8Rng) -> Vec<&'a Unit> {
    let mut floors = Floors::new(dependencies, |_| 0.0);
    let units = dependencies.groups().iter().flat_map(|group| &group.units);
    units.filter(|_| rng.random::<bool>()).filter(|unit| floors.take(unit)).collect()
}

/// Compares a network in which units are masked with one that lacks them; gives whether any were drawn.
#[track_caller]
fn masked_like_removed(network: Network, seed: u64) -> bool {
    let model = scrambled(network, seed);
    let extents = model.network().input_shape().iter().map(|&extent| i64::from(extent));
    let extents: Vec<i64> = std::iter::once(4).chain(extents).collect();
    masked_is_removed(&model, &images(&extents, seed), seed)
}

#[track_caller]
fn masked_is_removed(model: &Model, images: &Tensor, seed: u64) -> bool {
    let dependencies = Dependencies::of(model.network()).unwrap();
    let units = random_units(&dependencies, &mut stream(seed, "units", 0));
    let small = model.without(&dependencies.without(units.iter().copied()));
    let mut masked = model.duplicate();
    mask(&mut masked, &units);
    let expected = masked.forward(images, Mode::Eval, None);
    let found = small.forward(images, Mode::Eval, None);
    let scale = expected.abs().max().double_value(&[]).max(1.0);
    let error = (found - expected).abs().max().double_value(&[]) / scale;
    assert!(error < 1e-5, "seed {seed}: {error}\n{:?}", small.network());
    small.network().param_count() < model.network().param_count()
}

#[test]
fn masking_units_is_the_same_as_removing_them() {
    let removals = (0..1000).filter(|&seed| masked_like_removed(random_network(seed), seed));
    let removals = removals.count();
    assert!(removals > 700, "most networks lose something: {removals}");
}

#[test]
fn units_of_a_segmentation_network_can_be_removed_and_its_classes_stay() {
    let unet = Unet { channels: 4, depth: 2, batch_norm: true, ..Unet::default() };
    let bilinear = Unet { upsample: UnetUpsampling::Bilinear, batch_norm: false, ..unet.clone() };
    let fcn = Fcn { channels: 4, hidden: 8, reach: 1, ..Fcn::default() };
    for spec in [Spec::Unet(unet), Spec::Unet(bilinear), Spec::Fcn8s(fcn)] {
        for seed in 0..4 {
            let network = zoo::build(&spec, &[2, 37, 45], 5).unwrap();
            assert!(masked_like_removed(network, seed), "{spec:?}");
        }
    }
}

/// What makes and carries a unit can be changed at will once its readers do not listen: so every reader is
/// listed, in every branch, and nothing is listed that belongs to another unit.
#[test]
fn nothing_but_its_readers_depends_on_a_unit() {
    let mut changed = 0;
    for seed in 0..500 {
        let network = random_network(seed);
        let channels = i64::from(network.input_shape()[0]);
        let model = scrambled(network, seed);
        let mut rng = stream(seed, "units", 0);
        let groups = groups(model.network()).unwrap();
        let units: Vec<_> = groups
            .iter()
            .flat_map(|group| &group.units)
            .filter(|_| rng.random::<u32>() % 3 == 0)
            .collect();
        let fill = |model: &Model, part: &dyn Fn(Part) -> bool, value: f64| {
            let slices = units.iter().flat_map(|unit| unit.slices());
            for slice in slices.filter(|slice| part(slice.part)) {
                let parameter = &model.params()[slice.place];
                if parameter.role.is_trainable() {
                    let indices: Vec<i64> = slice.indices.iter().map(|&i| i64::from(i)).collect();
                    let axis = slice.axis as i64;
                    let index = Tensor::from_slice(&indices);
                    let _ = parameter.value.detach().index_fill_(axis, &index, value);
                }
            }
        };
        let images = images(&[3, channels, 12, 12], seed);
        let before = model.forward(&images, Mode::Eval, None);
        fill(&model, &|part| part == Part::Reads, 0.0);
        let deaf = model.forward(&images, Mode::Eval, None);
        fill(&model, &|part| part != Part::Reads, 0.7);
        let after = model.forward(&images, Mode::Eval, None);
        changed += usize::from(!deaf.equal(&before));
        let scale = deaf.abs().max().double_value(&[]).max(1.0);
        let error = (after - deaf).abs().max().double_value(&[]) / scale;
        assert!(error < 1e-5, "seed {seed}: {error}\n{:?}", model.network());
    }
    assert!(changed > 350, "most networks listen to a unit that is drawn: {changed}");
}

/// Initial weights, and normalisation that is not at its initial values.
fn settled(network: Network, seed: u64) -> Model {
    let mut model = Model::new(network, seed, Device::Cpu);
    for (name, parameter) in model.params_mut() {
        let last = name.rsplit('.').next().unwrap_or_default();
        let (low, high) = match (last, parameter.value.dim()) {
            ("running_var", _) => (0.5, 1.5),
            ("running_mean" | "bias", _) => (-0.2, 0.2),
            ("weight", 1) => (0.5, 1.5),
            _ => continue,
        };
        let mut rng = stream(seed, &format!("settle {name}"), 0);
        parameter.value = uniform(&parameter.value.size(), low, high, &mut rng);
    }
    model.update_gradient_flags();
    model
}

/// Every kind of network of the zoo, each with its own rules; those that differ in depth alone once.
#[test]
fn masking_is_removal_over_the_zoo() {
    let images = [
        json!({"mlp": {"hidden": [20, 30], "batch-norm": true}}),
        json!({"lenet5": {}}),
        json!({"cnn": {"batch-norm": true}}),
        json!({"vgg11": {"batch-norm": true}}),
        json!({"resnet18": {}}),
        json!({"resnet50": {}}),
        json!({"resnet18-cifar": {}}),
        json!({"resnet20": {"squeeze-excitation": 4}}),
        json!({"densenet121": {}}),
        json!({"densenet-bc-40-12": {}}),
        json!({"mobilenet-v2": {}}),
        json!({"shufflenet-v2": {}}),
        json!({"gru": {"layers": 2, "bidirectional": true}}),
        json!({"lstm": {"layers": 2, "bidirectional": true, "pool": "max"}}),
        json!({"transformer-encoder": {}}),
        json!({"unet": {"channels": 4, "batch-norm": true}}),
        json!({"fcn8s": {"channels": 4, "hidden": 8, "reach": 1}}),
    ];
    let cases = images.into_iter().map(|spec| (spec, vec![3, 32, 32]));
    let cases = cases.chain([
        (json!({"alexnet": {}}), vec![3, 64, 64]),
        (json!({"audio-cnn": {}}), vec![1, 40, 61]),
        (json!({"audio-cnn-1d": {}}), vec![1, 4000]),
    ]);
    for (spec, input) in cases {
        let parsed: Spec = serde_json::from_value(spec.clone()).unwrap();
        let network = zoo::build(&parsed, &input, 5).unwrap();
        let groups = groups(&network).unwrap();
        assert!(!groups.is_empty(), "{spec} has units");
        masked_is_removed(&settled(network, 1), &images_of(&input), 1);
    }
}

fn images_of(input: &[u32]) -> Tensor {
    let extents = input.iter().map(|&extent| i64::from(extent));
    images(&std::iter::once(2).chain(extents).collect::<Vec<_>>(), 1)
}

#[test]
fn masking_is_removal_in_networks_that_read_texts() {
    let specs = [
        json!({"text-mean": {}}),
        json!({"text-cnn": {}}),
        json!({"gru": {"pool": "last"}}),
        json!({"lstm": {"bidirectional": true}}),
        json!({"transformer-encoder": {}}),
    ];
    for spec in specs {
        let parsed: Spec = serde_json::from_value(spec).unwrap();
        let network = zoo::build_with(&parsed, &[12], Some(50), 5).unwrap();
        let mut rng = stream(3, "words", 0);
        let words: Vec<i64> = (0..4 * 12).map(|_| rng.random_range(0..50)).collect();
        let words = Tensor::from_slice(&words).reshape([4, 12]);
        masked_is_removed(&settled(network, 2), &words, 2);
    }
}

/// What tracing tools get wrong or refuse: channels that change their places, halves that gate each other,
/// heads of an attention, a product of two layers.
#[test]
fn channels_keep_their_identity_wherever_they_go() {
    let conv = |network: &mut Network| {
        network.push("conv1", Conv2d { padding: 1, ..Conv2d::new(2, 6, 3) });
        network.push("relu", Relu {})
    };
    let head = |network: &mut Network, channels: u32| {
        network.push("conv2", Conv2d { padding: 1, ..Conv2d::new(channels, 4, 3) });
        network.push("flatten", Flatten {});
        network.push("fc", Linear::new(4 * 25, 3));
    };
    let slice = |network: &mut Network, from: u32, to: u32, input: usize| {
        network.push_from(&format!("slice{from}"), Slice { axis: 0, from, to }, &[input])
    };
    let build = |middle: &dyn Fn(&mut Network, usize) -> u32| {
        let mut network = Network::new("test", &[2, 5, 5]);
        let last = conv(&mut network);
        let channels = middle(&mut network, last);
        head(&mut network, channels);
        network
    };
    let roll = build(&|network, last| {
        let (front, back) = (slice(network, 0, 2, last), slice(network, 2, 6, last));
        network.push_from("roll", Concat { axis: 0 }, &[back, front]);
        6
    });
    let flip = build(&|network, last| {
        let parts: Vec<usize> =
            (0..6).rev().map(|channel| slice(network, channel, channel + 1, last)).collect();
        network.push_from("flip", Concat { axis: 0 }, &parts);
        6
    });
    let shuffle = build(&|network, _| {
        network.push("shuffle", ChannelShuffle { groups: 3 });
        network.push("grouped", Conv2d { groups: 2, ..Conv2d::new(6, 4, 1) });
        4
    });
    let glu = build(&|network, last| {
        let (value, gate) = (slice(network, 0, 3, last), slice(network, 3, 6, last));
        let gate = network.push_from("sigmoid", Sigmoid {}, &[gate]);
        network.push_from("glu", Mul {}, &[value, gate]);
        3
    });
    let pixels = build(&|network, _| {
        network.push("wide", Conv2d::new(6, 16, 1));
        network.push("pixels", PixelShuffle { factor: 2 });
        network.push("small", Conv2d { stride: 2, ..Conv2d::new(4, 6, 2) });
        6
    });
    let cases =
        [("roll", roll), ("flip", flip), ("shuffle", shuffle), ("glu", glu), ("pixels", pixels)];
    for (name, network) in cases {
        let removals = (0..20).filter(|&seed| masked_like_removed(network.clone(), seed));
        assert!(removals.count() > 10, "{name}: units of it can go");
    }
    let mut attention = Network::new("test", &[7, 8]);
    attention.push("embed", Linear::new(8, 12));
    attention.push("norm", LayerNorm::new(12));
    attention.push("attention", Attention::new(12, 3));
    attention.push("pool", PoolSteps { how: StepPooling::Mean });
    attention.push("fc", Linear::new(12, 3));
    let removals = (0..20).filter(|&seed| masked_like_removed(attention.clone(), seed));
    assert!(removals.count() > 10, "heads and features can go");
}

#[test]
fn budgets_are_met_by_the_fewest_units() {
    let mut met = 0;
    for seed in 0..150 {
        let model = scrambled(random_network(seed), seed);
        let whole = model.counts().unwrap();
        let mut rng = stream(seed, "budget", 0);
        let fraction = rng.random_range(0.3..1.0);
        let count = |model: &Model, which: usize| {
            let counts = model.counts().unwrap();
            [counts.params, counts.macs.unwrap(), counts.nonzero_params][which]
        };
        for which in 0..3 {
            let mut budget = Budget::default();
            *[&mut budget.params, &mut budget.macs, &mut budget.nonzeros][which] = Some(fraction);
            let most = [whole.params, whole.macs.unwrap(), whole.nonzero_params][which];
            let most = (fraction * most as f64).round() as u64;
            let chosen = choose_and(
                &model,
                &stage(budget),
                |groups| scores::random(groups, seed),
                |candidates, units| {
                    let left = |units: &[&Unit]| {
                        let left = candidates.dependencies.without(units.iter().copied());
                        count(&model.without(&left), which)
                    };
                    assert!(left(units) <= most, "seed {seed}, {which}");
                    if let Some((_, fewer)) = units.split_last() {
                        assert!(
                            left(fewer) > most,
                            "seed {seed}, {which}: one unit less is enough"
                        );
                    }
                },
            );
            match chosen {
                Ok(()) => met += 1,
                Err(error) => assert!(
                    error.to_string().contains("with one unit left in each hidden layer")
                        || error.to_string().contains("there is no hidden layer"),
                    "{error}"
                ),
            }
        }
    }
    assert!(met > 300, "most budgets can be met: {met}");
}

#[test]
fn a_budget_may_be_a_count_and_an_impossible_one_says_what_is_left() {
    let random = |groups: &[&Group]| scores::random(groups, 0);
    // 6·8 + 8, 8·5 + 5, 5·3 + 3: 119 parameters.
    let mut model = mlp();
    let budget = Budget { params: Some(80.0), channels: Some(0.9), ..Budget::default() };
    prune(&mut model, &stage(budget), random).unwrap();
    let left = dead::removed(&model).unwrap().network().param_count();
    assert!(left <= 80 && left > 80 - 14, "{left}");
    let budget = Budget { params: Some(14.0), ..Budget::default() };
    let error = prune(&mut mlp(), &stage(budget), random).unwrap_err().to_string();
    // 6 + 1, 1 + 1, 3 + 3.
    assert_eq!(
        error,
        "budget.params = 14 allows 14 parameters; with one unit left in each hidden layer, or what `floors` keeps, there are 15"
    );
}

/// What an example takes is noise here; that it is never met, or always, is none.
#[test]
fn a_latency_is_asked_of_what_is_left() {
    let random = |groups: &[&Group]| scores::random(groups, 0);
    let mut model = mlp();
    let budget = Budget { latency_ms: Some(1e4), ..Budget::default() };
    prune(&mut model, &stage(budget), random).unwrap();
    assert!(dead::removed(&model).is_none());
    let budget = Budget { latency_ms: Some(1e-7), ..Budget::default() };
    let error = prune(&mut model, &stage(budget), random).unwrap_err().to_string();
    let expected = "budget.latency-ms = 0.0000001 is less than units can give here; with one left in each \
                    hidden layer, or what `floors` keeps, an example takes ";
    assert!(error.starts_with(expected) && error.ends_with(" ms"), "{error}");
}

fn narrow() -> Network {
    let mut network = Network::new("test", &[16]);
    for (index, (inputs, outputs)) in [(16, 32), (32, 32), (32, 32)].into_iter().enumerate() {
        network.push(&format!("fc{index}"), Linear::new(inputs, outputs));
        network.push(&format!("relu{index}"), Relu {});
    }
    network.push("fc3", Linear::new(32, 4));
    network
}

/// A weak first layer, which global ranking would empty, and scores that are all equal.
#[test]
fn a_ratio_is_met_within_one_unit_and_no_layer_is_emptied() {
    let weak = scrambled(narrow(), 0);
    let _ = no_grad(|| weak.params()["fc0.weight"].value.detach().g_mul_scalar_(1e-3));
    for ratio in [0.30, 0.34, 0.50, 0.67, 0.96] {
        // Without the relative norm the first layer's units are the smallest of all.
        let raw = |groups: &[&Group]| {
            let of_layer = |group: &&Group| vec![group.producers[0] as f64; group.units.len()];
            Scores::new(groups.iter().map(of_layer).collect())
        };
        let relative = |groups: &[&Group]| scores::magnitude(&weak, groups);
        for score in [&raw as Score<'_>, &relative] {
            let units = choose_and(&weak, &channels(1.0 - ratio), score, |_, units| {
                assert!(units.iter().all(|unit| unit.slices().any(|s| s.part == Part::Reads)));
                units.len()
            });
            assert_eq!(units.unwrap(), (ratio * 96.0f64).round() as usize, "{ratio}");
            let mut model = weak.duplicate();
            prune(&mut model, &channels(1.0 - ratio), score).unwrap();
            let left = dead::removed(&model).unwrap();
            let widths = left.network().shapes().unwrap();
            assert!(widths.iter().all(|shape| shape[0] >= 1), "{widths:?}");
        }
    }
}

#[test]
fn floors_hold_units_and_layers_lose_alike() {
    let model = scrambled(narrow(), 0);
    let floors = IndexMap::from([("fc1".to_owned(), 0.75)]);
    let kept = |stage: &Prune| {
        let mut thin = model.duplicate();
        prune(&mut thin, stage, |groups| scores::magnitude(&model, groups)).unwrap();
        let left = dead::removed(&thin).unwrap();
        let shapes = left.network().shapes().unwrap();
        [shapes[1][0], shapes[3][0], shapes[5][0]]
    };
    let found = kept(&Prune { floors, ..channels(0.4) });
    assert!(found[1] >= 24 && found.iter().sum::<u32>() == 38, "{found:?}");
    assert_eq!(kept(&Prune { scope: Scope::Layer, ..channels(0.5) }), [16, 16, 16]);
    let error = choose_and(
        &model,
        &Prune { floors: IndexMap::from([("conv".to_owned(), 0.5)]), ..channels(0.5) },
        |groups| scores::random(groups, 0),
        |_, _| (),
    );
    let error = error.unwrap_err().to_string();
    assert!(error.contains("matches no layer that is pruned; there are: fc0, fc1"), "{error}");
}

/// The two middle layers are alike (made and read by linear layers); so are all three here, but for the
/// normalisation of the first.
#[test]
fn layers_that_are_alike_compete() {
    let mut network = Network::new("test", &[16]);
    network.push("fc0", Linear::new(16, 8));
    network.push("bn0", BatchNorm::new(8));
    for index in 1..3 {
        network.push(&format!("fc{index}"), Linear::new(8, 8));
    }
    network.push("fc3", Linear::new(8, 4));
    let model = scrambled(network, 0);
    // The second layer's scores are all below the third's.
    let score = |groups: &[&Group]| {
        let of_group = |group: usize| (0..8).map(|unit| (8 * group + unit) as f64).collect();
        Scores::new((0..groups.len()).map(of_group).collect())
    };
    let kept = |scope| {
        choose_and(&model, &Prune { scope, ..channels(0.5) }, score, |candidates, units| {
            let left = candidates.dependencies.without(units.iter().copied());
            let shapes = left.network.shapes().unwrap();
            [shapes[1][0], shapes[3][0], shapes[4][0]]
        })
        .unwrap()
    };
    assert_eq!(kept(Scope::Global), [1, 3, 8], "a layer keeps a unit");
    assert_eq!(kept(Scope::Layer), [4, 4, 4]);
    assert_eq!(kept(Scope::Isomorphic), [4, 1, 7]);
}

#[test]
fn scores_of_units_are_those_of_their_parts() {
    let model = mlp();
    let value = |name: &str| model.params()[name].value.detach().to_kind(Kind::Double);
    let sum = |tensor: Tensor| tensor.square().sum(Kind::Double).double_value(&[]);
    let norm = |unit: i64| {
        let makes = sum(value("fc1.weight").get(unit)) + sum(value("fc1.bias").get(unit));
        (makes + sum(value("fc2.weight").select(1, unit))).sqrt()
    };
    let mean = (0..8).map(norm).sum::<f64>() / 8.0;
    let dependencies = Dependencies::of(model.network()).unwrap();
    let groups: Vec<&Group> = dependencies.groups().iter().collect();
    let found = scores::magnitude(&model, &groups);
    for unit in 0..8 {
        assert!((found.by_group()[0][unit as usize] - norm(unit) / mean).abs() < 1e-6);
    }
    // Taylor: everything that a unit has, its bias as well.
    let labels = Tensor::from_slice(&[0i64, 1, 2, 0]);
    let batch = crate::data::Batch { inputs: images(&[4, 6], 1), labels };
    let params = ["fc1.weight", "fc1.bias", "fc2.weight"];
    let parts = gradients::taylor(&model, &params, &batch, false);
    let of_unit = |unit: i64| {
        let total = |tensor: Tensor| tensor.sum(Kind::Double).double_value(&[]);
        total(parts[0].get(unit)) + total(parts[1].get(unit)) + total(parts[2].select(1, unit))
    };
    let by_param = params.iter().map(|name| (*name).to_owned());
    let by_param = by_param.zip(parts.iter().map(Tensor::shallow_clone)).collect();
    let found = scores::summed(&model, &by_param, &groups[..1]);
    for unit in 0..8 {
        assert!((found.by_group()[0][unit as usize] - of_unit(unit)).abs() < 1e-9);
    }
}

#[test]
fn choosing_twice_is_the_same_to_the_bit() {
    for select in [Select::Elimination, Select::Thinet, Select::Lasso] {
        let [one, other] = [(); 2].map(|()| {
            let mut model = mlp();
            let images = images(&[100, 6], 1);
            prune_by_reconstruction(&mut model, &images, &channels(0.5), select, 0.01).unwrap();
            bits(&model)
        });
        assert_eq!(one, other, "{select:?}");
    }
}

/// Three features that the second layer weighs with 1, 2 and 0.5; the first two are the same.
fn weighed() -> (Model, Tensor) {
    let mut network = Network::new("test", &[3]);
    network.push("fc1", Linear { bias: false, ..Linear::new(3, 3) });
    network.push("fc2", Linear { bias: false, ..Linear::new(3, 1) });
    let mut model = Model::new(network, 0, Device::Cpu);
    model.params_mut()["fc1.weight"].value = Tensor::eye(3, (Kind::Float, Device::Cpu));
    model.params_mut()["fc2.weight"].value =
        Tensor::from_slice(&[1.0f32, 2.0, 0.5]).reshape([1, 3]);
    model.update_gradient_flags();
    let images = [1.0f32, 1.0, 0.0, 2.0, 2.0, 1.0, 3.0, 3.0, -1.0, 0.0, 0.0, 2.0];
    (model, Tensor::from_slice(&images).reshape([4, 3]))
}

#[test]
fn with_refitting_another_unit_goes_than_without() {
    let reader = |select| {
        let (mut model, images) = weighed();
        let stage = channels(0.67);
        prune_by_reconstruction(&mut model, &images, &stage, select, 1e-9).unwrap();
        let weight: Vec<f32> =
            Vec::try_from(model.params()["fc2.weight"].value.detach().reshape([-1])).unwrap();
        let (dense, _) = weighed();
        let run = |model: &Model| model.forward(&images, Mode::Eval, None);
        let change = run(&model) - run(&dense);
        (weight, change.square().sum(Kind::Double).double_value(&[]))
    };
    // Refitted, one of the two that are the same goes at no loss: weights 3 and 0.5.
    let (weight, error) = reader(Select::Elimination);
    assert!((weight[0] + weight[1] - 3.0).abs() < 1e-3 && (weight[2] - 0.5).abs() < 1e-3);
    assert!(weight[0] == 0.0 || weight[1] == 0.0);
    assert!(error < 1e-4, "{error}");
    // Without refitting the losses are 56/4, 56 and 1.5, halves of them: the third goes. What stays is
    // refitted all the same, to a sum of squares of 1.48214.
    let (weight, error) = reader(Select::Thinet);
    assert!(weight[2] == 0.0, "{weight:?}");
    assert!((error - 1.482_14).abs() < 1e-3, "{error}");
}

#[test]
fn losses_without_refitting_are_those_by_hand() {
    let (model, images) = weighed();
    let dependencies = Dependencies::of(model.network()).unwrap();
    let groups: Vec<&Group> = dependencies.groups().iter().collect();
    let readers = Reader::of(&model, &images, &groups);
    let scores = |select| {
        let scores = elimination::scores(&groups, &readers, select, 1e-12, &mut |_, _| true);
        scores.unwrap().unwrap().by_group()[0].clone()
    };
    // The output's energy: (3, 6.5, 8.5, 1)² = 124.5. First 1.5 goes; then 14 + 2·(its product with the
    // first one's part, Σ x0·w0·x2·w2 = -0.5), and all of the energy's rest.
    let found = scores(Select::Thinet);
    for (found, expected) in found.iter().zip([14.0 - 1.0, f64::NAN, 1.5]) {
        assert!(expected.is_nan() || (found - expected / 124.5).abs() < 1e-9, "{found} {expected}");
    }
    assert!(found[1] > found[0], "the last takes the most with it");
    // A LASSO lets the second in first: its part is twice the first's, which is the same but for that.
    let found = scores(Select::Lasso);
    assert!(found[1] > found[0] && found[1] > found[2], "{found:?}");
}

/// The mean of what a layer puts out behind its normalisation does not change when units go.
#[test]
fn a_running_mean_takes_up_what_units_put_out_on_average() {
    let mut network = Network::new("test", &[6]);
    network.push("fc1", Linear::new(6, 8));
    network.push("relu", Relu {});
    network.push("fc2", Linear { bias: false, ..Linear::new(8, 5) });
    network.push("bn", BatchNorm::new(5));
    network.push("fc3", Linear::new(5, 3));
    let images = images(&[200, 6], 1);
    let mean = |model: &Model| {
        let output = model.forward(&images, Mode::Eval, None);
        output.mean_dim([0].as_slice(), false, Kind::Double)
    };
    let whole = scrambled(network, 5);
    let before = mean(&whole);
    for refit in [false, true] {
        let mut model = whole.duplicate();
        let stage = Prune { floors: IndexMap::from([("fc2".to_owned(), 1.0)]), ..channels(0.6) };
        if refit {
            let select = Select::Elimination;
            prune_by_reconstruction(&mut model, &images, &stage, select, 0.01).unwrap();
        } else {
            prune_by_entropy(&mut model, &images, &stage).unwrap();
        }
        let gone = model.params()["fc2.weight"].value.eq(0.0).any().int64_value(&[]);
        assert_eq!(gone, 1, "columns are masked");
        let change = (mean(&model) - &before).abs().max().double_value(&[]);
        assert!(change < 1e-4, "{change}");
    }
}

/// Convolutions, channel groups and windows behind a flattening: the refit leaves the least error.
#[test]
fn refitted_readers_change_less_than_compensated_ones() {
    let mut network = Network::new("test", &[2, 7, 7]);
    network.push("conv1", Conv2d { padding: 1, ..Conv2d::new(2, 8, 3) });
    network.push("relu1", Relu {});
    network.push("conv2", Conv2d { groups: 2, ..Conv2d::new(8, 6, 3) });
    network.push("relu2", Relu {});
    network.push("flatten", Flatten {});
    network.push("fc", Linear::new(6 * 25, 3));
    let whole = scrambled(network, 1);
    let images = images(&[400, 2, 7, 7], 1);
    let run = |model: &Model| model.forward(&images, Mode::Eval, None);
    let before = run(&whole);
    let error =
        |model: &Model| (run(model) - &before).square().mean(Kind::Double).double_value(&[]);
    let mut compensated = whole.duplicate();
    prune_by_entropy(&mut compensated, &images, &channels(0.5)).unwrap();
    for select in [Select::Elimination, Select::Thinet, Select::Lasso] {
        let mut refitted = whole.duplicate();
        prune_by_reconstruction(&mut refitted, &images, &channels(0.5), select, 0.01).unwrap();
        let (refitted, compensated) = (error(&refitted), error(&compensated));
        assert!(refitted < 0.7 * compensated, "{select:?}: {refitted} {compensated}");
    }
}

#[test]
fn a_layer_with_single_masked_weights_is_not_refitted() {
    let mut model = mlp();
    // Whatever goes, single ones are left.
    let mask = Tensor::eye(8, (Kind::Float, Device::Cpu)).narrow(0, 0, 5).eq(0.0);
    set_mask(&mut model, "fc2.weight", &mask);
    model.apply_masks();
    let whole = model.duplicate();
    let images = images(&[100, 6], 1);
    prune_by_reconstruction(&mut model, &images, &channels(0.6), Select::Elimination, 0.01)
        .unwrap();
    let (now, mask) = {
        let parameter = &model.params()["fc2.weight"];
        (parameter.value.detach(), parameter.mask.as_ref().unwrap().copy())
    };
    assert!(now.equal(&(whole.params()["fc2.weight"].value.detach() * &mask)));
    assert!(now.get(1).double_value(&[1]) == 0.0);
}

#[test]
fn units_that_do_nothing_are_taken_out() {
    let mut model = scrambled(narrow(), 0);
    let run = |model: &Model| model.forward(&images(&[50, 16], 1), Mode::Eval, None);
    assert!(dead::removed(&model).is_none(), "all of them do something");
    // Nothing reads unit 3 of the last hidden layer; unit 5 of the one before is read by that alone.
    let mask = Tensor::ones([4, 32], (Kind::Float, Device::Cpu));
    let _ = mask.select(1, 3).fill_(0.0);
    set_mask(&mut model, "fc3.weight", &mask);
    let mask = Tensor::ones([32, 32], (Kind::Float, Device::Cpu));
    let _ = mask.select(1, 5).fill_(0.0);
    let _ = mask.get(3).get(5).fill_(1.0);
    set_mask(&mut model, "fc2.weight", &mask);
    model.apply_masks();
    let left = dead::removed(&model).unwrap();
    let shapes = left.network().shapes().unwrap();
    assert_eq!([shapes[1][0], shapes[3][0], shapes[5][0]], [32, 31, 31]);
    let change = (run(&left) - run(&model)).abs().max().double_value(&[]);
    assert!(change < 1e-5 * run(&model).abs().max().double_value(&[]), "{change}");
    // What stays of a mask travels along.
    assert_eq!(left.params()["fc2.weight"].mask.as_ref().unwrap().size(), [31, 31]);
    assert!(dead::removed(&left).is_none());
}

/// A feature that nothing reads is still part of a layer-norm's mean.
#[test]
fn a_layer_norm_keeps_features_that_nothing_reads() {
    let mut network = Network::new("test", &[4]);
    network.push("fc1", Linear::new(4, 6));
    network.push("norm", LayerNorm::new(6));
    network.push("fc2", Linear::new(6, 3));
    let mut model = scrambled(network, 0);
    let mask = Tensor::ones([3, 6], (Kind::Float, Device::Cpu));
    let _ = mask.select(1, 2).fill_(0.0);
    set_mask(&mut model, "fc2.weight", &mask);
    model.apply_masks();
    assert!(dead::removed(&model).is_none());
}

#[test]
fn whole_units_are_taken_out_as_they_were_masked() {
    for seed in 0..100 {
        let mut model = scrambled(random_network(seed), seed);
        let chosen = prune(&mut model, &channels(0.6), |groups| scores::random(groups, seed));
        let Some(left) = chosen.ok().and_then(|()| dead::removed(&model)) else { continue };
        let channels = i64::from(model.network().input_shape()[0]);
        let images = images(&[3, channels, 12, 12], seed);
        let run = |model: &Model| model.forward(&images, Mode::Eval, None);
        let scale = run(&model).abs().max().double_value(&[]).max(1.0);
        let change = (run(&left) - run(&model)).abs().max().double_value(&[]);
        assert!(change < 1e-5 * scale, "seed {seed}: {change}");
        assert!(
            dead::removed(&left).is_none_or(|again| {
                again.network().param_count() < left.network().param_count()
            })
        );
    }
}
