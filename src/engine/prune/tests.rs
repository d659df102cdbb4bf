//! Criteria of weights on whole networks: exact targets, masks.

use graftwork::experiment::spec::{Allocation, Granularity, Hessian, MinMse, Scope};
use graftwork::network::op::{Conv2d, Flatten, Linear, Relu};
use graftwork::network::{Network, ParamRole};
use indexmap::IndexMap;
use tch::{Device, Kind, Tensor, no_grad};

use super::selection::Target;
use super::{Prunable, lamp, magnitude, min_mse, prunable, random, selection};
use crate::model::{Mode, Model};
use crate::random::{stream, uniform};
use crate::stage::{Ended, StageError};

/// Parameters and statistics that are nowhere zero or one.
pub(super) fn scrambled(network: Network, seed: u64) -> Model {
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

pub(super) fn mlp() -> Model {
    let mut network = Network::new("test", &[6]);
    network.push("fc1", Linear::new(6, 8));
    network.push("relu1", Relu {});
    network.push("fc2", Linear::new(8, 5));
    network.push("relu2", Relu {});
    network.push("fc3", Linear::new(5, 3));
    scrambled(network, 4)
}

/// One layer without a bias, whose only row has these weights.
pub(super) fn row(weights: &[f32]) -> Model {
    let mut network = Network::new("test", &[weights.len() as u32]);
    network.push("fc", Linear { bias: false, ..Linear::new(weights.len() as u32, 1) });
    let mut model = Model::new(network, 0, Device::Cpu);
    model.params_mut()["fc.weight"].value = Tensor::from_slice(weights).reshape([1, -1]);
    model.update_gradient_flags();
    model
}

pub(super) fn images(shape: &[i64], seed: u64) -> Tensor {
    uniform(shape, -1.0, 1.0, &mut stream(seed, "images", 0))
}

pub(super) fn zeros(model: &Model, layers: &[Prunable]) -> Vec<usize> {
    let zeros = |layer: &Prunable| {
        let nonzero = layer.weight(model).count_nonzero(None::<i64>).int64_value(&[]) as usize;
        layer.size(model) - nonzero
    };
    layers.iter().map(zeros).collect()
}

pub(super) fn bits(model: &Model) -> Vec<Vec<u8>> {
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
            return selection::mask_lowest(model, &layers, &scores, &budget).map(drop);
        }
        Way::Random => {
            let scores = random(model, &layers, 3);
            return selection::mask_lowest(model, &layers, &scores, &budget).map(drop);
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
