//! Criteria on whole networks: exact targets, masks, removal.

use graftwork::experiment::spec::{
    Allocation, Fcn, Granularity, Hessian, MinMse, Model as Spec, Scope, Unet, UnetUpsampling,
};
use graftwork::network::groups::{Dependencies, Floors, Part, Unit, groups};
use graftwork::network::op::{Conv2d, Flatten, Linear, Relu};
use graftwork::network::{Network, ParamRole, zoo};
use indexmap::IndexMap;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor, no_grad};

use super::selection::Target;
use super::{Prunable, lamp, magnitude, max_entropy, min_mse, prunable, random, selection};
use crate::model::random_network::random_network;
use crate::model::{Mode, Model};
use crate::random::{stream, uniform};
use crate::stage::{Ended, StageError};

/// Parameters and statistics that are nowhere zero or one.
fn scrambled(network: Network, seed: u64) -> Model {
    let mut model = Model::new(network, seed, Device::Cpu);
    for (name, parameter) in model.params_mut() {
        let mut rng = stream(seed, &format!("scramble {name}"), 0);
        let low = if name.ends_with("running_var") { 0.5 } else { -1.0 };
        if parameter.role != ParamRole::Counter {
            parameter.value = uniform(&parameter.value.size(), low, 1.5, &mut rng);
        }
    }
    model.update_gradient_flags();
    model
}

fn mlp() -> Model {
    let mut network = Network::new("test", &[6]);
    network.push("fc1", Linear::new(6, 8));
    network.push("relu1", Relu {});
    network.push("fc2", Linear::new(8, 5));
    network.push("relu2", Relu {});
    network.push("fc3", Linear::new(5, 3));
    scrambled(network, 4)
}

fn images(shape: &[i64], seed: u64) -> Tensor {
    uniform(shape, -1.0, 1.0, &mut stream(seed, "images", 0))
}

fn zeros(model: &Model, layers: &[Prunable]) -> Vec<usize> {
    let zeros = |layer: &Prunable| {
        let nonzero = layer.weight(model).count_nonzero(None::<i64>).int64_value(&[]) as usize;
        layer.size(model) - nonzero
    };
    layers.iter().map(zeros).collect()
}

fn bits(model: &Model) -> Vec<Vec<u8>> {
    let bytes = |value: &Tensor| {
        let mut bytes = vec![0; value.numel() * 4];
        value.detach().contiguous().copy_data_u8(&mut bytes, value.numel());
        bytes
    };
    model.params().values().map(|parameter| bytes(&parameter.value)).collect()
}

/// Every way to prune single weights.
#[derive(Debug, Clone, Copy)]
enum Way {
    Magnitude,
    Random,
    Diag,
    Full,
    Blocked,
}

const WAYS: [Way; 5] = [Way::Magnitude, Way::Random, Way::Diag, Way::Full, Way::Blocked];

fn prune(model: &mut Model, way: Way, sparsity: f64, scope: Scope) -> Result<(), StageError> {
    prune_to(model, way, &Target::new(sparsity, scope))
}

fn prune_to(model: &mut Model, way: Way, target: &Target) -> Result<(), StageError> {
    let layers = prunable(model, &[])?;
    let budget = selection::budget(model, &layers, target)?;
    let hessian = match way {
        Way::Magnitude => {
            let scores = magnitude(model, &layers);
            return selection::mask_lowest(model, &layers, &scores, &budget);
        }
        Way::Random => {
            let scores = random(model, &layers, 3);
            return selection::mask_lowest(model, &layers, &scores, &budget);
        }
        Way::Diag => Hessian::Diag,
        Way::Full => Hessian::Full,
        Way::Blocked => Hessian::Blocked,
    };
    let settings = MinMse { hessian, ..MinMse::default() };
    let shape: Vec<i64> = model.network().input_shape().iter().map(|&n| i64::from(n)).collect();
    let images = images(&[&[300], shape.as_slice()].concat(), 1);
    let ended = min_mse::prune(model, &layers, &images, &settings, target, &mut |_, _| true)?;
    assert_eq!(ended, Ended::Done);
    Ok(())
}

#[test]
fn a_global_target_is_met_to_the_weight() {
    for way in WAYS {
        for sparsity in [0.0, 0.1, 0.5, 0.77, 0.95] {
            let mut model = mlp();
            let layers = prunable(&model, &[]).unwrap();
            prune(&mut model, way, sparsity, Scope::Global).unwrap();
            let wanted = (sparsity * (48.0 + 40.0 + 15.0f64)).round() as usize;
            assert_eq!(zeros(&model, &layers).iter().sum::<usize>(), wanted, "{way:?} {sparsity}");
        }
    }
}

#[test]
fn a_target_by_layer_is_met_to_the_weight_in_every_layer() {
    for way in WAYS {
        let mut model = mlp();
        let layers = prunable(&model, &[]).unwrap();
        prune(&mut model, way, 0.7, Scope::Layer).unwrap();
        // 0.7 · 48 = 33.6, 0.7 · 40 = 28, 0.7 · 15 = 10.5.
        assert_eq!(zeros(&model, &layers), [34, 28, 11], "{way:?}");
    }
}

#[test]
fn no_layer_is_emptied() {
    for way in WAYS {
        let mut model = mlp();
        let layers = prunable(&model, &[]).unwrap();
        // The first layer's weights are so small, and its output, that all its weights would go.
        let _ = no_grad(|| layers[0].weight(&model).g_mul_scalar_(1e-6));
        prune(&mut model, way, 0.9, Scope::Global).unwrap();
        let zeros_left = zeros(&model, &layers);
        assert_eq!(zeros_left.iter().sum::<usize>(), 93, "{way:?}");
        assert!(zeros_left[0] < 48 && zeros_left[1] < 40 && zeros_left[2] < 15, "{zeros_left:?}");

        let mut model = mlp();
        prune(&mut model, way, 0.99, Scope::Layer).unwrap();
        assert_eq!(zeros(&model, &layers), [47, 39, 14], "{way:?}");
    }
}

#[test]
fn a_target_that_would_empty_a_layer_says_what_is_possible() {
    let error = prune(&mut mlp(), Way::Magnitude, 0.99, Scope::Global).unwrap_err().to_string();
    assert_eq!(
        error,
        "sparsity = 0.99 leaves 1 weights for 3 layers, and each keeps at least one; the largest possible is 0.970873786407767"
    );
}

#[test]
fn what_is_masked_stays_masked_and_counts() {
    for (first, second) in [(Way::Random, Way::Magnitude), (Way::Magnitude, Way::Full)] {
        for (way, scope) in
            [(second, Scope::Global), (second, Scope::Layer), (Way::Diag, Scope::Layer)]
        {
            let mut model = mlp();
            let layers = prunable(&model, &[]).unwrap();
            prune(&mut model, first, 0.4, Scope::Layer).unwrap();
            let before: Vec<Tensor> =
                layers.iter().map(|layer| layer.mask(&model).unwrap().copy()).collect();
            prune(&mut model, way, 0.7, scope).unwrap();
            assert_eq!(
                zeros(&model, &layers).iter().sum::<usize>(),
                [72, 73][usize::from(scope == Scope::Layer)]
            );
            for (layer, before) in layers.iter().zip(before) {
                let revived: Tensor = layer.mask(&model).unwrap() * (1.0 - before);
                assert_eq!(revived.count_nonzero(None::<i64>).int64_value(&[]), 0, "{way:?}");
            }
        }
    }
}

#[test]
fn a_target_below_the_mask_that_is_there_is_refused() {
    for way in WAYS {
        let mut model = mlp();
        prune(&mut model, Way::Magnitude, 0.7, Scope::Global).unwrap();
        let error = prune(&mut model, way, 0.5, Scope::Global).unwrap_err().to_string();
        assert_eq!(
            error,
            "the network already has 0.6990 of its weights masked, more than sparsity = 0.5; ask for more, or prune the network that it came from"
        );
        let error = prune(&mut model, way, 0.5, Scope::Layer).unwrap_err().to_string();
        assert!(error.starts_with("layer `fc"), "{error}");
    }
}

#[test]
fn a_target_that_is_met_already_changes_no_bit() {
    for way in WAYS {
        let mut model = mlp();
        prune(&mut model, Way::Magnitude, 0.6, Scope::Global).unwrap();
        let before = bits(&model);
        prune(&mut model, way, 0.6, Scope::Global).unwrap();
        assert_eq!(before, bits(&model), "{way:?}");
    }
}

#[test]
fn the_same_pruning_twice_is_the_same_to_the_bit() {
    for way in WAYS {
        let [one, other] = [(); 2].map(|()| {
            let mut model = mlp();
            prune(&mut model, way, 0.6, Scope::Global).unwrap();
            bits(&model)
        });
        assert_eq!(one, other, "{way:?}");
    }
}

#[test]
fn excluded_layers_keep_their_weights_and_do_not_count() {
    let mut model = mlp();
    let layers = prunable(&model, &["fc3".to_owned()]).unwrap();
    let scores = magnitude(&model, &layers);
    let budget = selection::budget(&model, &layers, &Target::new(0.5, Scope::Global)).unwrap();
    selection::mask_lowest(&mut model, &layers, &scores, &budget).unwrap();
    assert_eq!(zeros(&model, &layers).iter().sum::<usize>(), 44);
    assert!(model.params()["fc3.weight"].mask.is_none());

    let error = prunable(&model, &["conv".to_owned()]).unwrap_err().to_string();
    assert_eq!(error, "exclude = \"conv\" matches no layer with weights; there are: fc1, fc2, fc3");
    let error = prunable(&model, &["*".to_owned()]).unwrap_err().to_string();
    assert_eq!(error, "`exclude` leaves no layer to prune; there are: fc1, fc2, fc3");
}

#[test]
fn weights_that_are_not_finite_are_told_by_layer() {
    let mut model = mlp();
    let weight = prunable(&model, &[]).unwrap()[1].weight(&model);
    let _ = weight.get(0).fill_(f64::NAN);
    let error = prune(&mut model, Way::Magnitude, 0.5, Scope::Global).unwrap_err().to_string();
    assert_eq!(
        error,
        "a weight of layer `fc2` has no finite score; the network that is pruned holds NaN or infinity"
    );
}

/// A linear layer of one row whose Hessian over three "images" is the given one.
fn one_row(hessian: &[f64], weights: &[f64]) -> (Model, Tensor) {
    let d = weights.len() as i64;
    let mut network = Network::new("test", &[weights.len() as u32]);
    network.push("fc", Linear { bias: false, ..Linear::new(weights.len() as u32, 1) });
    let mut model = Model::new(network, 0, Device::Cpu);
    model.params_mut()["fc.weight"].value =
        Tensor::from_slice(weights).to_kind(Kind::Float).reshape([1, d]);
    model.update_gradient_flags();
    let hessian = Tensor::from_slice(hessian).reshape([d, d]);
    (model, hessian.linalg_cholesky(true).to_kind(Kind::Float))
}

#[track_caller]
fn check_row(hessian: Hessian, damping: f64, expected: [f64; 3]) {
    let (mut model, images) =
        one_row(&[1.0, 0.0, 0.0, 0.0, 4.0, 3.9, 0.0, 3.9, 4.0], &[0.5, 0.6, 0.55]);
    let layers = prunable(&model, &[]).unwrap();
    let settings = MinMse { hessian, damping, ..MinMse::default() };
    min_mse::prune(
        &mut model,
        &layers,
        &images,
        &settings,
        &Target::new(0.34, Scope::Global),
        &mut |_, _| true,
    )
    .unwrap();
    let found: Vec<f32> = Vec::try_from(layers[0].weight(&model).reshape([-1])).unwrap();
    for (found, expected) in found.iter().zip(expected) {
        assert!((f64::from(*found) - expected).abs() < 1e-5, "{found} {expected}");
    }
}

#[test]
fn the_full_hessian_removes_and_corrects_where_the_diagonal_only_removes() {
    check_row(Hessian::Diag, 0.0, [0.0, 0.6, 0.55]);
    check_row(Hessian::Full, 0.0, [0.5, 1.13625, 0.0]);
    check_row(Hessian::Blocked, 0.0, [0.5, 0.0, 1.135]);
    check_row(Hessian::Identity, 0.0, [0.0, 0.6, 0.55]);
}

#[test]
fn inputs_that_are_never_there_lose_their_weights_first() {
    let (mut model, _) = one_row(&[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0], &[0.1, 5.0, 0.2]);
    let images = images(&[20, 3], 2) * Tensor::from_slice(&[1.0f32, 0.0, 1.0]);
    let layers = prunable(&model, &[]).unwrap();
    let settings = MinMse { damping: 0.0, ..MinMse::default() };
    min_mse::prune(
        &mut model,
        &layers,
        &images,
        &settings,
        &Target::new(0.34, Scope::Layer),
        &mut |_, _| true,
    )
    .unwrap();
    let found: Vec<f32> = Vec::try_from(layers[0].weight(&model).reshape([-1])).unwrap();
    assert!((found[0] - 0.1).abs() < 1e-6 && found[1] == 0.0 && (found[2] - 0.2).abs() < 1e-6);
}

#[test]
fn a_hessian_without_an_inverse_asks_for_damping() {
    let (mut model, _) = one_row(&[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0], &[0.1, 5.0, 0.2]);
    let layers = prunable(&model, &[]).unwrap();
    let settings = MinMse { damping: 0.0, ..MinMse::default() };
    let error = min_mse::prune(
        &mut model,
        &layers,
        &Tensor::ones([5, 3], (Kind::Float, Device::Cpu)),
        &settings,
        &Target::new(0.5, Scope::Global),
        &mut |_, _| true,
    );
    assert_eq!(
        error.unwrap_err().to_string(),
        "the Hessian of layer `fc` has no inverse: its 3 inputs depend on each other on the calibration images; raise `damping` (now 0) or `calibration-samples`"
    );
}

#[test]
fn the_surgeon_changes_outputs_less_than_magnitude_does() {
    let conv = || {
        let mut network = Network::new("test", &[2, 9, 9]);
        network.push("conv1", Conv2d { padding: 1, ..Conv2d::new(2, 6, 3) });
        network.push("relu", Relu {});
        network.push("conv2", Conv2d { groups: 2, ..Conv2d::new(6, 8, 3) });
        network.push("flatten", Flatten {});
        network.push("fc", Linear::new(8 * 49, 3));
        scrambled(network, 2)
    };
    let images = images(&[300, 2, 9, 9], 1);
    let dense = conv().forward(&images, Mode::Eval, None);
    let error = |way| {
        let mut model = conv();
        prune(&mut model, way, 0.5, Scope::Layer).unwrap();
        let change = model.forward(&images, Mode::Eval, None) - &dense;
        change.square().mean(Kind::Double).double_value(&[])
    };
    let errors = WAYS.map(error);
    assert!(errors[3] < errors[0] && errors[3] < errors[2], "{errors:?}");
}

#[test]
fn whole_units_go_until_the_target_is_reached() {
    for scope in [Scope::Global, Scope::Layer] {
        for sparsity in [0.0, 0.2, 0.5, 0.8] {
            let mut model = mlp();
            let layers = prunable(&model, &[]).unwrap();
            let images = images(&[300, 6], 1);
            max_entropy::prune(&mut model, &layers, &images, sparsity, scope).unwrap();
            let zeros: usize = zeros(&model, &layers).iter().sum();
            let wanted = (sparsity * 103.0f64).round() as usize;
            // A unit of the first layer has 6 + 5 weights, one of the second 8 + 3.
            assert!(zeros >= wanted && zeros < wanted + 11, "{scope:?} {sparsity}: {zeros}");
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
    let mut model = mlp();
    let layers = prunable(&model, &[]).unwrap();
    let images = images(&[300, 6], 1);
    let error = max_entropy::prune(&mut model, &layers, &images, 0.95, Scope::Global).unwrap_err();
    // 6 + 1 + 3 weights are left.
    assert_eq!(
        error.to_string(),
        "sparsity = 0.95 is more than whole units can give; with one unit left in each hidden layer it is 0.9029"
    );
    let layers = prunable(&model, &["fc2".to_owned()]).unwrap();
    let error = max_entropy::prune(&mut model, &layers, &images, 0.5, Scope::Global).unwrap_err();
    assert!(error.to_string().starts_with("max-entropy removes hidden units"), "{error}");
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
    let layers = prunable(&model, &[]).unwrap();
    max_entropy::prune(&mut model, &layers, &images, 0.5, Scope::Global).unwrap();
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
    let dependencies = Dependencies::of(model.network()).unwrap();
    let units = random_units(&dependencies, &mut stream(seed, "units", 0));
    let small = model.without(&dependencies.without(units.iter().copied()));
    let mut masked = model.duplicate();
    for slice in units.iter().flat_map(|unit| &unit.slices) {
        let indices: Vec<i64> = slice.indices.iter().map(|&index| i64::from(index)).collect();
        let parameter = &masked.params_mut()[&*slice.param];
        if parameter.role.is_trainable() {
            let index = Tensor::from_slice(&indices);
            let _ = parameter.value.detach().index_fill_(slice.axis as i64, &index, 0.0);
        }
    }
    let images = images(&extents, seed);
    let expected = masked.forward(&images, Mode::Eval, None);
    let found = small.forward(&images, Mode::Eval, None);
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
            let slices = units.iter().flat_map(|unit| &unit.slices);
            for slice in slices.filter(|slice| part(slice.part)) {
                let parameter = &model.params()[&*slice.param];
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

/// What is left of each layer.
fn kept(model: &Model, layers: &[Prunable]) -> Vec<usize> {
    let zeros = zeros(model, layers);
    layers.iter().zip(zeros).map(|(layer, zeros)| layer.size(model) - zeros).collect()
}

#[test]
fn every_allocation_meets_the_total_to_the_weight() {
    for way in WAYS {
        for allocation in
            [Allocation::Uniform, Allocation::Erk, Allocation::Lamp, Allocation::LossOptimal]
        {
            for sparsity in [0.0, 0.13, 0.5, 0.88, 0.97] {
                let mut model = mlp();
                let layers = prunable(&model, &[]).unwrap();
                let target =
                    Target { allocation: Some(allocation), ..Target::new(sparsity, Scope::Global) };
                prune_to(&mut model, way, &target).unwrap();
                let kept = kept(&model, &layers);
                let wanted = 103 - (sparsity * 103.0f64).round() as usize;
                assert_eq!(kept.iter().sum::<usize>(), wanted, "{way:?} {allocation:?}");
                assert!(!kept.contains(&0), "{way:?} {allocation:?} {kept:?}");
            }
        }
    }
}

#[test]
fn densities_of_layers_are_those_of_the_allocation() {
    // Weights of 6·8, 8·5, 5·3; the kernel's shares are 14, 13 and 8 of 35.
    for (allocation, expected) in
        [(Allocation::Erk, [14, 13, 8]), (Allocation::Uniform, [16, 14, 5])]
    {
        let mut model = mlp();
        let layers = prunable(&model, &[]).unwrap();
        let target = Target {
            allocation: Some(allocation),
            ..Target::new(1.0 - 35.0 / 103.0, Scope::Global)
        };
        prune_to(&mut model, Way::Full, &target).unwrap();
        assert_eq!(kept(&model, &layers), expected);
    }
}

#[test]
fn the_densities_of_lamp_are_those_of_ranking_by_it() {
    let mut ranked = mlp();
    let layers = prunable(&ranked, &[]).unwrap();
    let target = Target::new(0.7, Scope::Global);
    let budget = selection::budget(&ranked, &layers, &target).unwrap();
    let scores = lamp(&ranked, &layers);
    selection::mask_lowest(&mut ranked, &layers, &scores, &budget).unwrap();
    let mut model = mlp();
    let target = Target { allocation: Some(Allocation::Lamp), ..target };
    prune_to(&mut model, Way::Full, &target).unwrap();
    assert_eq!(kept(&model, &layers), kept(&ranked, &layers));
    // In a layer lamp ranks as magnitude does.
    let mut model = mlp();
    prune_to(&mut model, Way::Magnitude, &target).unwrap();
    assert_eq!(bits(&model), bits(&ranked));
}

#[test]
fn the_least_total_loss_is_that_of_brute_force() {
    let model = mlp();
    let layers = prunable(&model, &[]).unwrap();
    let target =
        Target { allocation: Some(Allocation::LossOptimal), ..Target::new(0.6, Scope::Global) };
    let mut pruned = mlp();
    prune_to(&mut pruned, Way::Magnitude, &target).unwrap();
    // The loss of a layer that loses its k smallest weights, as a share of losing all.
    let curves: Vec<Vec<f64>> = magnitude(&model, &layers)
        .iter()
        .map(|scores| {
            let scores = scores.to_kind(Kind::Double).reshape([-1]);
            let mut scores = Vec::<f64>::try_from(scores).unwrap();
            scores.sort_by(f64::total_cmp);
            let sum: f64 = scores.iter().sum();
            let sums = scores.iter().scan(0.0, |total, score| {
                *total += score / sum;
                Some(*total)
            });
            std::iter::once(0.0).chain(sums).collect()
        })
        .collect();
    let mut best = f64::INFINITY;
    for first in 0..48 {
        for second in 0..40 {
            for third in (0..15).filter(|third| first + second + third == 62) {
                best = best.min(curves[0][first] + curves[1][second] + curves[2][third]);
            }
        }
    }
    let found: f64 =
        zeros(&pruned, &layers).iter().zip(&curves).map(|(&zeros, curve)| curve[zeros]).sum();
    assert!((found - best).abs() < 1e-12, "{found} {best}");
}

#[test]
fn floors_hold_and_layers_have_their_own_sparsity() {
    for way in WAYS {
        for allocation in [None, Some(Allocation::Erk), Some(Allocation::LossOptimal)] {
            let mut model = mlp();
            let layers = prunable(&model, &[]).unwrap();
            let target = Target {
                allocation,
                floors: IndexMap::from([("*".to_owned(), 0.0), ("fc3".to_owned(), 0.8)]),
                layer_sparsity: IndexMap::from([("fc2".to_owned(), 0.5)]),
                ..Target::new(0.6, Scope::Global)
            };
            prune_to(&mut model, way, &target).unwrap();
            let zeros = zeros(&model, &layers);
            assert_eq!(zeros.iter().sum::<usize>(), 62, "{way:?} {allocation:?}");
            assert_eq!(zeros[1], 20, "{way:?} {allocation:?}");
            assert!(zeros[2] <= 3, "{way:?} {allocation:?} {zeros:?}");
        }
    }
}

#[test]
fn rules_that_the_target_contradicts_say_what_is_possible() {
    let check = |floors: &[(&str, f64)], own: &[(&str, f64)], sparsity, message: &str| {
        let rules = |rules: &[(&str, f64)]| {
            rules.iter().map(|&(pattern, value)| (pattern.to_owned(), value)).collect()
        };
        let target = Target {
            floors: rules(floors),
            layer_sparsity: rules(own),
            ..Target::new(sparsity, Scope::Global)
        };
        let error = prune_to(&mut mlp(), Way::Magnitude, &target).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    };
    // fc1 keeps 24 and the others one each: 24 + 39 + 14 of 103 go.
    check(&[("fc1", 0.5)], &[], 0.9, "the largest possible is 0.7475");
    check(&[], &[("fc1", 0.25)], 0.9, "the largest possible is 0.6310");
    check(&[], &[("fc1", 0.75)], 0.2, "the smallest possible is 0.3495");
    check(&[("fc1", 0.5)], &[("fc1", 0.75)], 0.5, "keeps 24 of its 48 weights");
    check(&[("fc9", 0.5)], &[], 0.5, "matches no layer that is pruned; there are: fc1, fc2, fc3");
}

#[test]
fn lamp_is_the_share_of_the_squares_that_are_not_smaller() {
    let mut network = Network::new("test", &[3]);
    network.push("fc", Linear { bias: false, ..Linear::new(3, 1) });
    let mut model = Model::new(network, 0, Device::Cpu);
    model.params_mut()[0].value = Tensor::from_slice(&[-2.0f32, 1.0, 3.0]).reshape([1, 3]);
    let scores = lamp(&model, &prunable(&model, &[]).unwrap());
    let scores = Vec::<f64>::try_from(&scores[0]).unwrap();
    for (found, expected) in scores.iter().zip([4.0 / 13.0, 1.0 / 14.0, 1.0]) {
        assert!((found - expected).abs() < 1e-12, "{scores:?}");
    }
}

#[test]
fn of_every_group_the_pattern_stays() {
    for way in WAYS {
        for granularity in
            [Granularity::OneOfFour, Granularity::TwoOfFour, Granularity::FourOfEight]
        {
            let (kept, of) = granularity.pattern().unwrap();
            let mut model = mlp();
            let layers = prunable(&model, &[]).unwrap();
            let target = Target { granularity, ..Target::new(0.5, Scope::Global) };
            prune_to(&mut model, way, &target).unwrap();
            for layer in &layers {
                let weight = layer.weight(&model);
                for row in 0..weight.size()[0] {
                    let row: Vec<f32> = Vec::try_from(weight.get(row)).unwrap();
                    for group in row.chunks(of) {
                        let nonzero = group.iter().filter(|&&weight| weight != 0.0).count();
                        assert_eq!(nonzero, kept.min(group.len()), "{way:?} {granularity:?}");
                    }
                }
            }
        }
    }
}

/// With a pattern, too, the weights are the least squares on what stays: better than masking alone.
#[test]
fn the_surgeon_corrects_for_a_pattern() {
    let images = images(&[300, 6], 1);
    let before = mlp().forward(&images, Mode::Eval, None);
    let change = |update| {
        let mut model = mlp();
        let layers = prunable(&model, &["fc2".to_owned(), "fc3".to_owned()]).unwrap();
        let settings = MinMse { update, ..MinMse::default() };
        let granularity = Granularity::TwoOfFour;
        let target = Target { granularity, ..Target::new(0.5, Scope::Global) };
        min_mse::prune(&mut model, &layers, &images, &settings, &target, &mut |_, _| true).unwrap();
        let layers_change = model.forward(&images, Mode::Eval, None) - &before;
        (layers_change.square().mean(Kind::Double).double_value(&[]), model)
    };
    let ((corrected, one), (masked, other)) = (change(None), change(Some(false)));
    assert!(corrected < masked, "{corrected} {masked}");
    let layers = prunable(&one, &[]).unwrap();
    let kept = |model: &Model| layers[0].mask(model).unwrap().copy();
    assert!(kept(&one).equal(&kept(&other)));
    // What is not corrected is the weight as it was.
    let left = mlp().params()["fc1.weight"].value.detach() * kept(&other);
    assert!(layers[0].weight(&other).equal(&left));
}

#[test]
fn whole_rows_go_until_the_target_is_reached() {
    for way in WAYS {
        let mut model = mlp();
        let layers = prunable(&model, &[]).unwrap();
        let target = Target { granularity: Granularity::Row, ..Target::new(0.5, Scope::Global) };
        prune_to(&mut model, way, &target).unwrap();
        let total: usize = zeros(&model, &layers).iter().sum();
        assert!((52..52 + 8).contains(&total), "{way:?} {total}");
        for layer in &layers {
            let mask = layer.mask(&model).unwrap();
            for row in 0..mask.size()[0] {
                let row = mask.get(row);
                assert!(row.min().equal(&row.max()), "{way:?}: a row goes whole");
            }
            assert!(layer.masked(&model) < layer.size(&model));
        }
        let target = Target { granularity: Granularity::Row, ..Target::new(0.95, Scope::Global) };
        let error = prune_to(&mut mlp(), way, &target).unwrap_err().to_string();
        assert!(error.contains("the largest possible sparsity is"), "{error}");
    }
}
