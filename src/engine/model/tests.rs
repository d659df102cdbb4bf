//! The interpreter: operations by hand, and networks as a whole.

use graftwork::experiment::spec::{Fcn, Model as Spec};
use graftwork::network::op::{
    AdaptiveAvgPool2d, AvgPool2d, BatchNorm, ChannelShuffle, Conv2d, ConvTranspose2d, Dropout,
    Flatten, Gelu, HardSigmoid, HardSwish, Interpolation, LayerNorm, LeakyRelu, Linear, MaxPool2d,
    PadChannels, PixelShuffle, Relu, Relu6, Sigmoid, Silu, Slice, Softmax, Tanh, Upsample2d,
};
use graftwork::network::zoo;

use super::*;

fn network() -> Network {
    let mut network = Network::new("test", &[2, 7, 7]);
    network.push("conv", Conv2d { padding: 1, stride: 2, ..Conv2d::new(2, 4, 3) });
    network.push("depth", Conv2d { groups: 4, bias: false, ..Conv2d::new(4, 4, 2) });
    network.push("bn", BatchNorm::new(4));
    network.push("relu", Relu {});
    network.push("pool", MaxPool2d { kernel: 2, stride: 1, padding: 0 });
    network.push("flatten", Flatten {});
    network.push("dropout", Dropout { p: 0.5 });
    network.push("fc1", Linear { bias: false, ..Linear::new(16, 5) });
    network.push("bn1", BatchNorm::new(5));
    network.push("fc2", Linear::new(5, 3));
    network
}

fn model() -> Model {
    Model::new(network(), 5, Device::Cpu)
}

fn images(count: i64) -> Tensor {
    random::uniform(&[count, 2, 7, 7], -1.0, 1.0, &mut random::stream(0, "images", 0))
}

fn values(model: &Model, name: &str) -> Vec<f32> {
    Vec::try_from(model.params()[name].value.detach().reshape([-1])).unwrap()
}

#[track_caller]
fn set(model: &mut Model, name: &str, values: &[f32]) {
    let parameter = &mut model.params_mut()[name];
    parameter.value = Tensor::from_slice(values).reshape(parameter.value.size());
}

#[test]
fn every_operation_puts_out_the_shape_that_the_network_declares() {
    let model = model();
    let taps: Vec<usize> = (0..model.network().nodes.len()).collect();
    let shapes = model.network().shapes().unwrap();
    for mode in [Mode::Train, Mode::Eval] {
        let (output, tapped) = model.forward_with(&images(6), mode, None, &taps);
        for (tensor, shape) in tapped.iter().zip(&shapes) {
            let shape: Vec<i64> = shape.iter().map(|&extent| i64::from(extent)).collect();
            assert_eq!(tensor.size(), [&[6], shape.as_slice()].concat());
        }
        assert!(output.equal(tapped.last().unwrap()));
    }
}

#[test]
fn a_forward_pass_by_hand() {
    let mut network = Network::new("test", &[1, 3, 3]);
    network.push("conv", Conv2d::new(1, 1, 2));
    network.push("bn", BatchNorm { epsilon: 0.0, ..BatchNorm::new(1) });
    network.push("relu", Relu {});
    network.push("pool", MaxPool2d::new(2));
    network.push("flatten", Flatten {});
    network.push("fc", Linear::new(1, 2));
    let mut model = Model::new(network, 0, Device::Cpu);
    set(&mut model, "conv.weight", &[1.0, 0.0, -1.0, 2.0]);
    set(&mut model, "conv.bias", &[0.5]);
    set(&mut model, "bn.weight", &[2.0]);
    set(&mut model, "bn.bias", &[1.0]);
    set(&mut model, "bn.running_mean", &[3.0]);
    set(&mut model, "bn.running_var", &[4.0]);
    set(&mut model, "fc.weight", &[3.0, -1.0]);
    set(&mut model, "fc.bias", &[0.0, 0.25]);
    // Windows of 1…9: 1−4+2·5+.5 = 7.5, 9.5, 13.5, 15.5; (15.5 − 3)/2 · 2 + 1 = 13.5 is the largest.
    let image = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
    let output = model.forward(&image.reshape([1, 1, 3, 3]), Mode::Eval, None);
    assert_eq!(Vec::<f32>::try_from(output.reshape([-1])).unwrap(), [40.5, -13.25]);
}

#[test]
fn an_initial_weight_depends_on_the_seed_and_its_name_alone() {
    let one = model();
    let mut longer = network();
    longer.nodes.insert(9, longer.nodes[4].clone()); // a ReLU before the last layers
    longer.nodes[9].name = "more".to_owned();
    longer.nodes[9].inputs = vec![8];
    longer.nodes[10].inputs = vec![9];
    longer.nodes.last_mut().unwrap().inputs = vec![10];
    let mut deeper = longer.clone();
    deeper.push("fc3", Linear::new(3, 3));
    for other in [Model::new(longer, 5, Device::Cpu), Model::new(deeper, 5, Device::Cpu)] {
        for name in one.params().keys().filter(|name| !name.contains("bn")) {
            assert_eq!(values(&one, name), values(&other, name), "{name}");
        }
    }
    let other = Model::new(network(), 6, Device::Cpu);
    assert_ne!(values(&one, "fc2.weight"), values(&other, "fc2.weight"));
    let bound = 1.0 / 5.0f32.sqrt();
    assert!(values(&one, "fc2.weight").iter().all(|value| value.abs() <= bound));
}

#[test]
fn a_new_head_is_drawn_from_the_seed_and_leaves_the_other_layers() {
    let mut before = model();
    before.params_mut()["conv.weight"].mask =
        Some(Tensor::zeros([4, 2, 3, 3], (Kind::Float, Device::Cpu)));
    before.params_mut()["fc2.weight"].mask =
        Some(Tensor::zeros([3, 5], (Kind::Float, Device::Cpu)));
    let kept = values(&before, "conv.weight");
    let after = before.replace_head(7, 9);
    assert_eq!(after.network().classes().unwrap(), 7);
    assert_eq!(values(&after, "conv.weight"), kept);
    assert!(after.params()["conv.weight"].mask.is_some());
    assert!(after.params()["fc2.weight"].mask.is_none());
    let mut wider = network();
    wider = wider.with_classes(7);
    let drawn = Model::new(wider, 9, Device::Cpu);
    assert_eq!(values(&after, "fc2.weight"), values(&drawn, "fc2.weight"));
    assert_eq!(after.forward(&images(2), Mode::Eval, None).size(), [2, 7]);
}

#[test]
fn a_new_head_replaces_the_scores_of_all_resolutions() {
    let fcn = Fcn { channels: 2, hidden: 4, ..Fcn::default() };
    let fcn8s = |classes| zoo::build(&Spec::Fcn8s(fcn.clone()), &[1, 32, 32], classes).unwrap();
    let before = Model::new(fcn8s(3), 5, Device::Cpu);
    for name in ["fc7.bias", "score_pool4.weight", "upscore2.weight"] {
        let _ = no_grad(|| before.params()[name].value.detach().g_add_scalar_(1.0));
    }
    let kept = values(&before, "fc7.bias");
    let after = before.replace_head(5, 9);
    assert_eq!(after.network(), &fcn8s(5));
    assert_eq!(values(&after, "fc7.bias"), kept);
    let drawn = Model::new(fcn8s(5), 9, Device::Cpu);
    for layer in ["score_fr", "upscore2", "score_pool4", "upscore_pool4", "score_pool3"] {
        let name = format!("{layer}.weight");
        assert_eq!(values(&after, &name), values(&drawn, &name));
    }
    let images = Tensor::zeros([2, 1, 32, 32], (Kind::Float, Device::Cpu));
    assert_eq!(after.forward(&images, Mode::Eval, None).size(), [2, 5, 32, 32]);
}

#[test]
fn a_bilinear_kernel_interpolates_within_the_image() {
    for (kernel, stride) in [(4, 2), (3, 2), (8, 4)] {
        let mut network = Network::new("test", &[2, 6, 7]);
        let up = ConvTranspose2d {
            stride,
            padding: (kernel - stride).div_ceil(2),
            groups: 2,
            bias: false,
            ..ConvTranspose2d::new(2, 2, kernel)
        };
        let node = network.push("up", up);
        network.nodes[node].initial.insert("weight".to_owned(), Init::Bilinear);
        let output = network.shapes().unwrap().pop().unwrap();
        let model = Model::new(network, 0, Device::Cpu);
        if kernel == 4 {
            // Distances of ¼ and ¾ of a pixel, in both directions.
            let row = [0.0625, 0.1875, 0.1875, 0.0625];
            assert_eq!(values(&model, "up.weight")[..4], row);
            assert_eq!(values(&model, "up.weight")[4..8], row.map(|value| 3.0 * value));
        }
        let image = random::uniform(&[1, 2, 6, 7], -1.0, 1.0, &mut random::stream(0, "x", 0));
        let found = model.forward(&image, Mode::Eval, None);
        let (height, width) = (i64::from(output[1]), i64::from(output[2]));
        // Odd kernels put old pixels on new ones, and even ones between them.
        let corners = kernel % 2 == 1;
        let expected =
            image.upsample_bilinear2d([height, width], corners, None::<f64>, None::<f64>);
        let within = |tensor: &Tensor| {
            let margin = i64::from(stride);
            tensor.narrow(2, margin, height - 2 * margin).narrow(3, margin, width - 2 * margin)
        };
        let error = (within(&found) - within(&expected)).abs().max().double_value(&[]);
        assert!(error < 1e-6, "kernel {kernel}: {error}");
    }
}

#[test]
fn a_domain_gets_its_copy_and_gives_it_back() {
    let before = model();
    let (plain, images) = (before.forward(&images(3), Mode::Eval, None), images(3));
    let bias = values(&before, "conv.bias");
    let domains = ["mnist".to_owned(), "usps".to_owned()];
    let mut split = before.split_domains(&domains, &["conv".to_owned(), "bn*".to_owned()]);
    assert!(split.params().contains_key("private.usps.bn1.running_mean"));
    assert!(split.params().contains_key("fc1.weight"));
    for domain in [0, 1] {
        assert!(split.forward(&images, Mode::Eval, Some(domain)).equal(&plain));
    }
    no_grad(|| {
        let usps = split.params_mut()["private.usps.conv.bias"].value.shallow_clone();
        let _ = usps.detach().g_add_scalar_(1.0);
    });
    assert!(split.forward(&images, Mode::Eval, Some(0)).equal(&plain));
    let moved = split.forward(&images, Mode::Eval, Some(1));
    assert!(!moved.equal(&plain));
    assert_eq!((split.domain_for("usps"), split.domain_for("other")), (Some(1), Some(1)));
    assert_eq!(split.domain_for("mnist"), Some(0));

    let one = split.into_domain(1);
    assert_eq!(one.network(), &network());
    assert_eq!(one.domain_for("usps"), None);
    assert!(one.forward(&images, Mode::Eval, None).equal(&moved));
    let shifted: Vec<f32> = bias.iter().map(|value| value + 1.0).collect();
    assert_eq!(values(&one, "conv.bias"), shifted);
    assert!(one.params().values().all(|parameter| parameter.domain.is_none()));
}

#[test]
fn a_duplicate_shares_no_memory() {
    let model = model();
    let copy = model.duplicate();
    let before = values(&model, "fc1.weight");
    let _ = no_grad(|| copy.params()["fc1.weight"].value.detach().fill_(0.0));
    assert_eq!(values(&model, "fc1.weight"), before);
}

#[test]
fn a_mask_makes_exact_zeros_even_of_infinity() {
    let mut model = model();
    let mask = Tensor::from_slice(&[1.0f32, 0.0, 0.0, 1.0]);
    set(&mut model, "conv.bias", &[2.0, f32::INFINITY, -3.0, 4.0]);
    model.params_mut()["conv.bias"].mask = Some(mask);
    model.apply_masks();
    let bits: Vec<u32> = values(&model, "conv.bias").iter().map(|value| value.to_bits()).collect();
    assert_eq!(bits, [2.0f32.to_bits(), 0, 0, 4.0f32.to_bits()]);
    let counts = model.counts().unwrap();
    assert_eq!(counts.params - counts.nonzero_params, 2 + 9, "and the shifts of batch-norm");
    assert_eq!((counts.weights, counts.zero_weights), (72 + 16 + 80 + 15, 0));
}

#[test]
fn tensors_that_do_not_fit_the_network_are_named() {
    let tensors = || -> IndexMap<String, Tensor> {
        let copy = |(name, parameter): (&String, &Parameter)| {
            (name.clone(), parameter.value.detach().copy())
        };
        model().params().iter().map(copy).collect()
    };
    let error = |tensors| Model::from_tensors(network(), tensors, Device::Cpu).unwrap_err();
    let mut missing = tensors();
    missing.swap_remove("bn.bias");
    assert_eq!(error(missing), "parameter `bn.bias` is missing");
    let mut other = tensors();
    other["bn.bias"] = Tensor::zeros([3], (Kind::Float, Device::Cpu));
    assert_eq!(error(other), "parameter `bn.bias` is [3], the network has [4]");
    let mut more = tensors();
    more.insert("fc9.bias".to_owned(), Tensor::zeros([3], (Kind::Float, Device::Cpu)));
    assert_eq!(error(more), "`fc9.bias` is no parameter of the network");
    assert!(Model::from_tensors(network(), tensors(), Device::Cpu).is_ok());
}

/// A tensor of ones, given extents without the batch.
fn ones(shape: &[u32]) -> Tensor {
    let shape: Vec<i64> = std::iter::once(1).chain(shape.iter().map(|&n| i64::from(n))).collect();
    Tensor::ones(shape, (Kind::Float, Device::Cpu))
}

/// Multiply-accumulates, counted by the layer itself: with weights and inputs of ones, and ones for
/// padding, each adds 1 to the sum of the outputs.
fn counted_macs(op: &Op, input: &[u32]) -> u64 {
    let mut network = Network::new("one", input);
    network.push("layer", op.clone());
    if let Op::Conv2d(conv) = &mut network.nodes[1].op {
        let padding = 2 * std::mem::take(&mut conv.padding);
        network.nodes[0].op = graftwork::network::op::Input {
            tokens: None,
            shape: vec![input[0], input[1] + padding, input[2] + padding],
        }
        .into();
    }
    if let Op::ConvTranspose2d(conv) = &mut network.nodes[1].op {
        conv.padding = 0; // what is cut off is computed first
    }
    let input = ones(network.input_shape());
    let mut model = Model::new(network, 0, Device::Cpu);
    for (name, parameter) in model.params_mut() {
        let value = if name.ends_with("weight") { 1.0 } else { 0.0 };
        let _ = no_grad(|| parameter.value.detach().fill_(value));
    }
    model.forward(&input, Mode::Eval, None).sum(Kind::Double).double_value(&[]) as u64
}

#[test]
fn shapes_and_counts_of_random_networks_are_those_that_libtorch_makes() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..1000 {
        let network = random_network::random_network(seed);
        let (shapes, layers) = (network.shapes().unwrap(), network.layers().unwrap());
        let model = Model::new(network, seed, Device::Cpu);
        let network = model.network();
        let taps: Vec<usize> = (0..network.nodes.len()).collect();
        let (_, outputs) =
            model.forward_with(&ones(network.input_shape()), Mode::Eval, None, &taps);
        for (index, (node, output)) in network.nodes.iter().zip(&outputs).enumerate() {
            let extents: Vec<i64> = shapes[index].iter().map(|&n| i64::from(n)).collect();
            assert_eq!(output.size()[1..], extents, "seed {seed}: {}", node.name);
            let numel: usize = model
                .params()
                .values()
                .filter(|parameter| parameter.node == index && parameter.role.is_trainable())
                .map(|parameter| parameter.value.numel())
                .sum();
            assert_eq!(layers[index].params, numel as u64, "seed {seed}: {}", node.name);
            if layers[index].macs > 0 {
                let counted = counted_macs(&node.op, &shapes[node.inputs[0]]);
                assert_eq!(layers[index].macs, counted, "seed {seed}: {:?}", node.op);
            }
            seen.insert(node.op.name());
        }
    }
    assert_eq!(seen.len(), 29, "every operation occurs: {seen:?}");
}

#[test]
fn operations_by_hand() {
    #[track_caller]
    fn check(op: impl Into<Op>, input: &[f32], shape: [u32; 3], expected: &[f32]) {
        let mut network = Network::new("one", &shape);
        network.push("layer", op);
        let model = Model::new(network, 0, Device::Cpu);
        let batch: Vec<i64> = std::iter::once(1).chain(shape.map(i64::from)).collect();
        let output = model.forward(&Tensor::from_slice(input).reshape(batch), Mode::Eval, None);
        let output: Vec<f32> = output.reshape([-1]).try_into().unwrap();
        assert_eq!(output.len(), expected.len());
        for (output, expected) in output.iter().zip(expected) {
            assert!((output - expected).abs() < 1e-6, "{output} {expected}");
        }
    }
    let four = [-8.0, -1.0, 1.0, 8.0];
    check(Relu6 {}, &four, [4, 1, 1], &[0.0, 0.0, 1.0, 6.0]);
    check(LeakyRelu { slope: 0.5 }, &four, [4, 1, 1], &[-4.0, -0.5, 1.0, 8.0]);
    check(HardSigmoid {}, &four, [4, 1, 1], &[0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0]);
    check(HardSwish {}, &four, [4, 1, 1], &[0.0, -1.0 / 3.0, 2.0 / 3.0, 8.0]);
    // Φ(1) = 0.841344746; sigmoid(1) = 0.731058579; tanh(1) = 0.761594156.
    check(Gelu {}, &[-1.0, 1.0], [2, 1, 1], &[-0.158_655_26, 0.841_344_8]);
    check(Sigmoid {}, &[-1.0, 1.0], [2, 1, 1], &[0.268_941_43, 0.731_058_6]);
    check(Silu {}, &[-1.0, 1.0], [2, 1, 1], &[-0.268_941_43, 0.731_058_6]);
    check(Tanh {}, &[-1.0, 1.0], [2, 1, 1], &[-0.761_594_2, 0.761_594_2]);
    check(Softmax { axis: 0 }, &[0.0, 3.0f32.ln()], [2, 1, 1], &[0.25, 0.75]);
    check(AvgPool2d { kernel: 2, stride: 1, padding: 1 }, &[4.0], [1, 1, 1], &[1.0; 4]);
    let six = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    check(AdaptiveAvgPool2d { height: 1, width: 2 }, &six[..3], [1, 1, 3], &[1.5, 2.5]);
    check(ChannelShuffle { groups: 2 }, &six, [6, 1, 1], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    let eight = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
    check(PixelShuffle { factor: 2 }, &eight, [8, 1, 1], &eight);
    // torch.nn.PixelShuffle(2)(torch.arange(1., 9).reshape(1, 4, 1, 2)).flatten()
    let dealt = [1.0, 3.0, 2.0, 4.0, 5.0, 7.0, 6.0, 8.0];
    check(PixelShuffle { factor: 2 }, &eight, [4, 1, 2], &dealt);
    check(Slice { axis: 0, from: 1, to: 3 }, &six, [6, 1, 1], &[2.0, 3.0]);
    check(
        PadChannels { before: 1, after: 2 },
        &six[..2],
        [1, 1, 2],
        &[0.0, 0.0, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0],
    );
    let nearest = Upsample2d { height: 1, width: 4, mode: Interpolation::Nearest };
    check(nearest, &[1.0, 2.0], [1, 1, 2], &[1.0, 1.0, 2.0, 2.0]);
    // Centres of four new pixels lie at −¼, ¼, ¾, 1¼ of the old ones; the ends are held.
    let bilinear = Upsample2d { height: 1, width: 4, mode: Interpolation::Bilinear };
    check(bilinear, &[1.0, 2.0], [1, 1, 2], &[1.0, 1.25, 1.75, 2.0]);
    // (1, 2, 3): mean 2, variance 2/3.
    let deviation = 1.5f32.sqrt();
    let norm = LayerNorm { epsilon: 0.0, ..LayerNorm::new(3) };
    check(norm, &six[..3], [1, 1, 3], &[-deviation, 0.0, deviation]);
}

#[test]
fn a_transposed_convolution_is_the_gradient_of_a_convolution() {
    for (kernel, stride, padding, groups) in
        [(2, 2, 0, 1), (3, 1, 1, 2), (4, 2, 1, 1), (3, 2, 1, 2)]
    {
        let conv = Conv2d { stride, padding, groups, bias: false, ..Conv2d::new(4, 6, kernel) };
        let mut forward = Network::new("forward", &[4, 9, 9]);
        forward.push("layer", conv);
        let small = forward.shapes().unwrap()[1].clone();
        let reach = (small[1] - 1) * stride + kernel - 2 * padding;
        let back = ConvTranspose2d {
            stride,
            padding,
            groups,
            output_padding: 9 - reach,
            bias: false,
            ..ConvTranspose2d::new(6, 4, kernel)
        };
        let mut backward = Network::new("backward", &small);
        backward.push("layer", back);
        let forward = Model::new(forward, 1, Device::Cpu);
        let mut backward = Model::new(backward, 1, Device::Cpu);
        let weight = forward.params()["layer.weight"].value.detach();
        backward.params_mut()["layer.weight"].value = weight;
        let image = random::uniform(&[2, 4, 9, 9], -1.0, 1.0, &mut random::stream(0, "x", 0));
        let image = image.set_requires_grad(true);
        let output = forward.forward(&image, Mode::Eval, None);
        let direction = random::uniform(&output.size(), -1.0, 1.0, &mut random::stream(0, "y", 0));
        let gradient = Tensor::run_backward(
            &[(output * &direction).sum(Kind::Float)],
            &[&image],
            false,
            false,
        );
        let found = backward.forward(&direction, Mode::Eval, None);
        let error = (found - &gradient[0]).abs().max().double_value(&[]);
        assert!(error < 1e-5, "kernel {kernel}, stride {stride}: {error}");
    }
}

#[test]
fn a_network_goes_on_from_what_a_node_puts_out() {
    let (model, images) = (model(), images(4));
    let features = model.feature_node();
    let (output, tapped) = model.forward_with(&images, Mode::Eval, None, &[features]);
    assert!(model.forward_from(features, &tapped[0], Mode::Eval, None) == output);
}
