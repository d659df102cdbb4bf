//! Reports of small networks: by hand, against brute force, against a closed form.

use graftwork::experiment::spec::Scope;
use graftwork::network::Network;
use graftwork::network::op::{Conv2d, Flatten, Linear, Relu};
use tch::{Device, Kind, Tensor, no_grad};

use super::*;
use crate::prune::calibration::Collect;
use crate::prune::selection::{self, Target};
use crate::prune::{magnitude, prunable};

fn set(model: &mut Model, name: &str, values: &[f32]) {
    let value = &mut model.params_mut()[name].value;
    let values = Tensor::from_slice(values).reshape(value.size());
    no_grad(|| value.copy_(&values));
}

fn value(points: &[Point], name: &str) -> Option<f64> {
    let mut found = points.iter().filter(|point| point.name == name);
    let value = found.next().map(|point| point.value);
    assert!(found.next().is_none(), "{name} is there twice");
    value
}

#[track_caller]
fn is(points: &[Point], name: &str, expected: f64) {
    let value = value(points, name).unwrap_or_else(|| panic!("no {name} in {points:?}"));
    assert!((value - expected).abs() < 1e-12, "{name}: {value}, not {expected}");
}

/// Two linear layers, `[2] → [2] → [2]`, the first with the weights `[[1, 2], [0, 3]]` and the bias (1, 0).
fn two_layers() -> Model {
    let mut network = Network::new("test", &[2]);
    network.push("fc1", Linear::new(2, 2));
    network.push("relu", Relu {});
    network.push("fc2", Linear::new(2, 2));
    let mut model = Model::new(network, 5, Device::Cpu);
    set(&mut model, "fc1.weight", &[1.0, 2.0, 0.0, 3.0]);
    set(&mut model, "fc1.bias", &[1.0, 0.0]);
    model
}

/// For the inputs (1, 1) and (2, 0) the first layer puts out (4, 3) and (3, 0), of energy 34; without its
/// first weight it puts out 1 and 2 less, of energy 5. The second layer reads what the dense one puts out.
#[test]
fn a_layer_is_compared_on_the_dense_networks_input() {
    let dense = two_layers();
    let mut pruned = dense.duplicate();
    set(&mut pruned, "fc1.weight", &[0.0, 2.0, 0.0, 3.0]);
    let images = Tensor::from_slice(&[1.0f32, 1.0, 2.0, 0.0]).reshape([2, 2]);
    let layers = prunable(&dense, &[]).unwrap();
    let errors = reconstruction_errors(&dense, &pruned, &images, &layers);
    assert!((errors[0].unwrap() - 5.0 / 34.0).abs() < 1e-7, "{errors:?}");
    assert!(errors[1].unwrap().abs() < 1e-30, "{errors:?}");
    // A bias that makes up for the mean of what went, 1.5: the rest is 0.5² twice.
    set(&mut pruned, "fc1.bias", &[2.5, 0.0]);
    let errors = reconstruction_errors(&dense, &pruned, &images, &layers);
    assert!((errors[0].unwrap() - 0.5 / 34.0).abs() < 1e-7, "{errors:?}");
}

#[test]
fn a_layer_that_puts_out_zeros_has_no_relative_error() {
    let mut dense = two_layers();
    set(&mut dense, "fc1.weight", &[0.0; 4]);
    set(&mut dense, "fc1.bias", &[0.0; 2]);
    let layers = prunable(&dense, &[]).unwrap();
    let images = Tensor::ones([3, 2], (Kind::Float, Device::Cpu));
    let errors = reconstruction_errors(&dense, &dense.duplicate(), &images, &layers);
    assert!(errors[0].is_none() && errors[1].is_some(), "{errors:?}");
}

/// With `G = Σ x xᵀ` and `s = Σ x` over the patches that a layer sees:
/// `‖Y − Y'‖² = tr(ΔW G ΔWᵀ)` and `‖Y‖² = tr(W G Wᵀ) + 2 bᵀ W s + n ‖b‖²`.
#[test]
fn the_error_is_that_of_the_second_moments() {
    let mut network = Network::new("test", &[4, 9, 9]);
    network.push("conv1", Conv2d { groups: 2, stride: 2, padding: 1, ..Conv2d::new(4, 6, 3) });
    network.push("relu1", Relu {});
    network.push("conv2", Conv2d { dilation: 2, ..Conv2d::new(6, 5, 2) });
    network.push("flatten", Flatten {});
    network.push("fc", Linear::new(45, 3));
    for seed in 0..5 {
        let dense = Model::new(network.clone(), seed, Device::Cpu);
        let mut pruned = dense.duplicate();
        let layers = prunable(&pruned, &[]).unwrap();
        let target = Target::new(0.6, Scope::Global);
        let budget = selection::budget(&pruned, &layers, &target).unwrap();
        let scores = magnitude(&pruned, &layers);
        selection::mask_lowest(&mut pruned, &layers, &scores, &budget).unwrap();
        let mut rng = random::stream(seed, "images", 0);
        // More than a chunk.
        let images = random::uniform(&[300, 4, 9, 9], -1.0, 1.0, &mut rng);
        let errors = reconstruction_errors(&dense, &pruned, &images, &layers);
        let inputs = calibration::inputs(&dense, &images, &layers, Collect::Grams);
        for ((layer, inputs), error) in layers.iter().zip(&inputs).zip(errors) {
            let groups = inputs.grams.len() as i64;
            let by_group = |weight: Tensor| {
                let weight = weight.to_kind(Kind::Double).flatten(1, -1);
                weight.split(weight.size()[0] / groups, 0)
            };
            let new = by_group(layer.weight(&pruned));
            let bias = &dense.params()[&layer.param.replace("weight", "bias")].value;
            let bias = bias.detach().to_kind(Kind::Double);
            let biases = bias.split(bias.size()[0] / groups, 0);
            let (mut change, mut energy) = (0.0, 0.0);
            let sum = |tensor: Tensor| tensor.sum(None::<Kind>).double_value(&[]);
            for (group, old) in by_group(layer.weight(&dense)).iter().enumerate() {
                let trace = |w: &Tensor| sum(w.matmul(&inputs.grams[group]) * w);
                change += trace(&(old - &new[group]));
                let mixed = &biases[group] * old.mv(&inputs.sums[group]);
                energy += trace(old) + 2.0 * sum(mixed);
                energy += inputs.patches * sum(biases[group].square());
            }
            let expected = change / energy;
            let error = error.unwrap();
            assert!((error / expected - 1.0).abs() < 1e-5, "{}: {error} {expected}", layer.name);
        }
    }
}

/// Where nothing is padded, the multiplications by a weight that is not zero are the sum of what the layer
/// puts out for an input of ones when such weights are ones, too.
#[test]
fn the_macs_of_weights_that_are_not_zero_are_those_of_brute_force() {
    let mut network = Network::new("test", &[4, 9, 9]);
    network.push("conv1", Conv2d { groups: 2, stride: 2, ..Conv2d::new(4, 6, 3) });
    network.push("relu1", Relu {});
    network.push("conv2", Conv2d::new(6, 5, 2));
    network.push("flatten", Flatten {});
    network.push("fc", Linear::new(45, 3));
    let mut model = Model::new(network, 3, Device::Cpu);
    let layers = prunable(&model, &[]).unwrap();
    let budget = selection::budget(&model, &layers, &Target::new(0.7, Scope::Global)).unwrap();
    let scores = magnitude(&model, &layers);
    selection::mask_lowest(&mut model, &layers, &scores, &budget).unwrap();
    let points = Report::default().points(&model, &layers, 0).unwrap();
    let (mut all, mut nonzero) = (0.0, 0.0);
    for layer in &layers {
        let input = model.network().nodes[layer.node].inputs[0];
        let shape = &model.network().shapes().unwrap()[input];
        let shape: Vec<i64> = shape.iter().map(|&extent| extent.into()).collect();
        let ones = Tensor::ones([&[1], shape.as_slice()].concat(), (Kind::Float, Device::Cpu));
        let count = |indicator: &dyn Fn(&Tensor) -> Tensor| {
            let mut counting = model.duplicate();
            let params = counting.params_mut();
            params[&layer.param].value = indicator(&params[&layer.param].value);
            let bias = &mut params[&layer.param.replace("weight", "bias")].value;
            *bias = bias.zeros_like();
            counting.output_of(layer.node, &[&ones], None).sum(Kind::Double).double_value(&[])
        };
        let of_layer = count(&|weight| weight.ones_like());
        let left = count(&|weight| weight.ne(0.0).to_kind(Kind::Float));
        assert!(left < of_layer);
        is(&points, &format!("layer/{}/macs", layer.name), of_layer);
        is(&points, &format!("layer/{}/nonzero-macs", layer.name), left);
        (all, nonzero) = (all + of_layer, nonzero + left);
    }
    is(&points, "nonzero-macs", nonzero);
    let macs = model.counts().unwrap().macs.unwrap() as f64;
    assert!((all - macs).abs() < 1e-9);
}

/// In Python: `m = scipy.sparse.csr_matrix(numpy.float32([[0, 1, 0, 2], [0, 0, 0, 0], [3, 4, 5, 0]]))`,
/// then `m.data.nbytes + m.indices.nbytes + m.indptr.nbytes` is 20 + 20 + 16.
#[test]
fn sizes_are_those_of_the_formats() {
    let mut network = Network::new("test", &[4]);
    network.push("fc1", Linear::new(4, 3));
    network.push("fc2", Linear::new(3, 2));
    let mut model = Model::new(network, 5, Device::Cpu);
    set(&mut model, "fc1.weight", &[0., 1., 0., 2., 0., 0., 0., 0., 3., 4., 5., 0.]);
    let layers = prunable(&model, &["fc2".to_owned()]).unwrap();
    // A bias of 3; 3 × 2 weights and a bias of 2 that stay as they are.
    let rest = 4 * (3 + 6 + 2);
    let expected = Bytes { dense: 48 + rest, csr: 56 + rest, bitmask: 2 + 20 + rest };
    assert_eq!(Bytes::of(&model, &layers), expected);
}

#[test]
fn the_cut_off_is_the_largest_score_among_the_weights_that_go_now() {
    let mut model = two_layers();
    set(&mut model, "fc1.weight", &[9.0, 2.0, 0.5, 3.0]);
    set(&mut model, "fc2.weight", &[7.0, 8.0, 9.0, 10.0]);
    let layers = prunable(&model, &[]).unwrap();
    // The 9 has been masked before; its score is not that of a weight that goes.
    layers[0].set_mask(&mut model, &Tensor::from_slice(&[0.0f32, 1.0, 1.0, 1.0]));
    let scores = vec![Tensor::from_slice(&[9.0, 2.0, 0.5, 3.0]), layers[1].weight(&model)];
    let budget = selection::budget(&model, &layers, &Target::new(3.0 / 8.0, Scope::Global));
    let cut_offs = selection::mask_lowest(&mut model, &layers, &scores, &budget.unwrap()).unwrap();
    assert_eq!(cut_offs, [Some(2.0), None]);
    let report = Report { cut_offs, ..Report::default() };
    let points = report.points(&model, &layers, 0).unwrap();
    is(&points, "layer/fc1/cut-off", 2.0);
    assert_eq!(value(&points, "layer/fc2/cut-off"), None);
    is(&points, "layer/fc1/params", 4.0);
    is(&points, "layer/fc1/nonzero", 1.0);
    is(&points, "layer/fc1/sparsity", 0.75);
}
