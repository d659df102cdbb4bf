//! What networks put out, compared with what torchvision's put out for the same weights and images.
//!
//! Nothing but a few results is stored: weights and images are made by a formula, which stands in
//! `tests/parity/formula.py`; `make parity` compares the file with torchvision itself.

use graftwork::experiment::spec::Model as Spec;
use graftwork::network::{Network, zoo};
use graftwork_engine::model::{Mode, Model};
use indexmap::IndexMap;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor, no_grad};

/// The formula's numbers in 0..1 for a name.
fn uniform(name: &str, count: u32) -> impl Iterator<Item = f64> {
    let fnv = |state: u32, byte: u8| (state ^ u32::from(byte)).wrapping_mul(16_777_619);
    let name = name.bytes().fold(2_166_136_261, fnv);
    (0..count).map(move |index| {
        let mut bits = index.wrapping_mul(0x9E37_79B9).wrapping_add(name);
        bits = (bits ^ (bits >> 16)).wrapping_mul(0x85EB_CA6B);
        bits = (bits ^ (bits >> 13)).wrapping_mul(0xC2B2_AE35);
        f64::from(bits ^ (bits >> 16)) / 4_294_967_296.0
    })
}

/// The formula's tensor of a name.
fn tensor(name: &str, shape: &[u32]) -> Tensor {
    let extents: Vec<i64> = shape.iter().map(|&extent| i64::from(extent)).collect();
    let last = name.rsplit('.').next().unwrap();
    if last == "num_batches_tracked" {
        return Tensor::zeros(&extents, (Kind::Int64, Device::Cpu));
    }
    let (scale, shift, bound) = match (last, shape) {
        ("running_var", _) => (1.0, 0.5, 1.0),
        ("running_mean" | "bias", _) => (0.2, -0.1, 1.0),
        ("weight", [_]) => (0.5, 0.75, 1.0),
        ("weight", [_, window @ ..]) => {
            let fan_in: u32 = window.iter().product();
            (2.0, -1.0, (6.0 / f64::from(fan_in)).sqrt())
        }
        ("input", _) => (2.0, -1.0, 1.0),
        _ => panic!("there is no formula for `{name}`"),
    };
    let values = uniform(name, shape.iter().product());
    let values = values.map(|u| ((scale * u + shift) * bound) as f32);
    Tensor::from_slice(&values.collect::<Vec<f32>>()).reshape(extents)
}

/// A network with the formula's parameters.
fn model(network: Network) -> Model {
    let tensors: IndexMap<String, Tensor> = network
        .params()
        .into_iter()
        .map(|named| (named.name.clone(), tensor(&named.name, &named.param.shape)))
        .collect();
    Model::from_tensors(network, tensors, Device::Cpu).unwrap()
}

/// Compares an architecture for 1,000 classes with the network that torchvision calls `name`.
#[track_caller]
fn check(name: &str, spec: Value) {
    check_for(1000, name, spec);
}

#[track_caller]
fn check_for(classes: u32, name: &str, spec: Value) {
    let file = include_str!("../parity/torchvision.json");
    let file: Value = serde_json::from_str(file).unwrap();
    let stored = &file["networks"][name];
    let input: Vec<u32> = serde_json::from_value(stored["input"].clone()).unwrap();
    let spec: Spec = serde_json::from_value(spec).unwrap();
    let model = model(zoo::build(&spec, &input, classes).unwrap());
    let images = tensor("input", &[&[2], input.as_slice()].concat());
    let outputs = no_grad(|| model.forward(&images, Mode::Eval, None)).to_kind(Kind::Double);
    for image in 0..2 {
        let output = Vec::<f64>::try_from(outputs.get(image as i64).reshape([-1])).unwrap();
        compare(&format!("{name}, image {image}"), &output, &stored["outputs"][image]);
    }
}

/// Within 1e-4, relative to the largest value.
#[track_caller]
fn compare(what: &str, output: &[f64], stored: &Value) {
    let number = |key: &str| stored[key].as_f64().unwrap();
    let close = |ours: f64, theirs: f64, scale: f64, which: &str| {
        let difference = (ours - theirs).abs() / scale;
        assert!(difference < 1e-4, "{what}, {which}: {ours}, torchvision has {theirs}");
    };
    for (part, theirs) in stored["values"].as_array().unwrap().iter().enumerate() {
        let ours = output[output.len() * part / 8];
        close(ours, theirs.as_f64().unwrap(), number("largest"), &format!("value {part} of 8"));
    }
    let absolute: f64 = output.iter().map(|value| value.abs()).sum();
    close(output.iter().sum(), number("sum"), number("absolute-sum"), "sum");
    close(absolute, number("absolute-sum"), number("absolute-sum"), "sum of absolute values");
    let largest = output.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
    close(largest, number("largest"), number("largest"), "largest");
}

#[test]
fn alexnet_puts_out_what_torchvisions_does() {
    check("alexnet", json!({ "alexnet": {} }));
}

#[test]
fn vgg_puts_out_what_torchvisions_does() {
    check("vgg11", json!({ "vgg11": {} }));
    check("vgg11_bn", json!({ "vgg11": { "batch-norm": true } }));
    check("vgg16_bn", json!({ "vgg16": { "batch-norm": true } }));
}

#[test]
fn resnets_put_out_what_torchvisions_do() {
    for name in ["resnet18", "resnet34", "resnet50"] {
        check(name, json!({ name: {} }));
    }
}

#[test]
fn densenet_puts_out_what_torchvisions_does() {
    check("densenet121", json!({ "densenet121": {} }));
}

#[test]
fn mobilenet_puts_out_what_torchvisions_does() {
    check("mobilenet_v2", json!({ "mobilenet-v2": {} }));
}

#[test]
fn shufflenet_puts_out_what_torchvisions_does() {
    check("shufflenet_v2_x1_0", json!({ "shufflenet-v2": {} }));
    check("shufflenet_v2_x0_5", json!({ "shufflenet-v2": { "width": "x0.5" } }));
}

#[test]
fn a_dilated_resnet_puts_out_what_torchvisions_does() {
    check_for(21, "fcn_resnet50", json!({ "fcn-resnet50": {} }));
}
