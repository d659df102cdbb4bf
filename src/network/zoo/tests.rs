use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::experiment::spec::{Cnn, Lenet5, Mlp};
use crate::network::{Init, NamedParam, Op, ParamRole, Task};

fn weights(network: &Network) -> u64 {
    let weights =
        network.params().into_iter().filter(|param| param.param.role == ParamRole::Weight);
    weights.map(|weight| weight.param.len()).sum()
}

fn mlp(hidden: &[u32]) -> Model {
    Model::Mlp(Mlp { hidden: hidden.to_vec(), batch_norm: false, dropout: 0.0 })
}

#[test]
fn parameter_counts_are_those_of_the_papers() {
    let lenet300 = build(&mlp(&[300, 100]), &[1, 28, 28], 10).unwrap();
    assert_eq!((lenet300.param_count(), weights(&lenet300)), (266_610, 266_200));
    let lenet5 = build(&Model::Lenet5(Lenet5::default()), &[1, 28, 28], 10).unwrap();
    assert_eq!((lenet5.param_count(), weights(&lenet5)), (431_080, 430_500));
    let cnn = build(&Model::Cnn(Cnn::default()), &[3, 32, 32], 10).unwrap();
    assert_eq!((cnn.param_count(), weights(&cnn)), (62_006, 61_770));
}

#[test]
fn options_add_their_layers_and_change_no_other() {
    let plain = build(&Model::Lenet5(Lenet5::default()), &[1, 28, 28], 10).unwrap();
    let options = Lenet5 { batch_norm: true, dropout: 0.5 };
    let full = build(&Model::Lenet5(options), &[1, 28, 28], 10).unwrap();
    let names = |network: &Network| {
        network.nodes.iter().map(|node| node.name.clone()).collect::<Vec<String>>()
    };
    assert_eq!(names(&full)[1..5], ["conv1", "bn1", "relu1", "pool1"]);
    assert_eq!(full.param_count() - plain.param_count(), 2 * (20 + 50));
    let without: Vec<String> = names(&full)
        .into_iter()
        .filter(|name| !name.starts_with("bn") && name != "dropout")
        .collect();
    assert_eq!(without, names(&plain));
}

#[test]
fn every_architecture_takes_other_inputs_and_classes() {
    for (model, size) in [(mlp(&[]), 32)].into_iter().chain(architectures()) {
        for input in [[1, size, size], [3, 2 * size, size + 5]] {
            let network = build(&model, &input, 7).unwrap();
            assert_eq!((network.input_shape(), network.classes().unwrap()), (&input[..], 7));
        }
    }
}

#[test]
fn an_image_that_is_too_small_is_refused_by_the_layer_that_it_does_not_fit() {
    let error = build(&Model::Lenet5(Lenet5::default()), &[1, 8, 8], 10).unwrap_err();
    assert_eq!(
        error.to_string(),
        "layer `conv2` (conv2d) cannot take an input of 20×2×2: its 5×5 kernel does not fit"
    );
}

/// A model by its name in a file, with settings.
#[track_caller]
fn model(name: &str, settings: Value) -> Model {
    serde_json::from_value(Value::from_iter([(name, settings)])).unwrap()
}

/// Every architecture with its default settings, and a size of images that it takes.
fn architectures() -> Vec<(Model, u32)> {
    let schema = serde_json::to_value(schemars::schema_for!(Model)).unwrap();
    let variants = schema["oneOf"].as_array().unwrap().iter();
    let names = variants.map(|variant| {
        variant["required"][0].as_str().unwrap_or_else(|| panic!("no name: {variant}"))
    });
    // A network that is written layer by layer is none of the zoo, and some take no images.
    let others = ["layers", "text-mean", "text-cnn", "audio-cnn-1d"];
    let known = names.filter(|name| !others.contains(name)).map(|name| match name {
        "mlp" => (model(name, json!({ "hidden": [7] })), 32),
        "alexnet" => (model(name, json!({})), 63),
        _ => (model(name, json!({})), 32),
    });
    known.collect()
}

/// What tests/parity/reference.py found in torchvision.
fn torchvision() -> Value {
    let file = include_str!("../../../tests/parity/torchvision.json");
    serde_json::from_str(file).unwrap()
}

/// torchvision's name of a network, ours, and its settings.
fn as_in_torchvision() -> Vec<(&'static str, Model)> {
    let networks = [
        ("alexnet", "alexnet", json!({})),
        ("vgg11", "vgg11", json!({})),
        ("vgg11_bn", "vgg11", json!({ "batch-norm": true })),
        ("vgg13", "vgg13", json!({})),
        ("vgg13_bn", "vgg13", json!({ "batch-norm": true })),
        ("vgg16", "vgg16", json!({})),
        ("vgg16_bn", "vgg16", json!({ "batch-norm": true })),
        ("vgg19", "vgg19", json!({})),
        ("vgg19_bn", "vgg19", json!({ "batch-norm": true })),
        ("resnet18", "resnet18", json!({})),
        ("resnet34", "resnet34", json!({})),
        ("resnet50", "resnet50", json!({})),
        ("densenet121", "densenet121", json!({})),
        ("mobilenet_v2", "mobilenet-v2", json!({})),
        ("shufflenet_v2_x0_5", "shufflenet-v2", json!({ "width": "x0.5" })),
        ("shufflenet_v2_x1_0", "shufflenet-v2", json!({})),
    ];
    networks.map(|(theirs, ours, settings)| (theirs, model(ours, settings))).into()
}

#[test]
fn parameters_have_torchvisions_names_shapes_and_order() {
    let torchvision = torchvision();
    for (name, model) in as_in_torchvision() {
        let network = build(&model, &[3, 224, 224], 1000).unwrap();
        let ours: Vec<String> = network.params().iter().map(line).collect();
        let theirs = torchvision["networks"][name]["tensors"].as_array().unwrap().iter();
        let theirs: Vec<&str> = theirs.map(|tensor| tensor.as_str().unwrap()).collect();
        assert_eq!(ours, theirs, "{name}");
    }
}

#[test]
fn a_dilated_resnet_has_torchvisions_parameters_and_an_output_of_the_images_size() {
    let stored = &torchvision()["networks"]["fcn_resnet50"];
    let network = build(&model("fcn-resnet50", json!({})), &[3, 65, 81], 21).unwrap();
    let ours: Vec<String> = network.params().iter().map(line).collect();
    let theirs: Vec<String> = serde_json::from_value(stored["tensors"].clone()).unwrap();
    assert_eq!(ours, theirs);
    assert_eq!(stored["parameters"], network.param_count());
    let shapes = network.shapes().unwrap();
    let shape =
        |name: &str| &shapes[network.nodes.iter().position(|node| node.name == name).unwrap()][..];
    // An eighth of the size from the second layer on.
    assert_eq!(shape("backbone.layer2.3.relu3"), [512, 9, 11]);
    assert_eq!(shape("backbone.layer4.2.relu3"), [2048, 9, 11]);
    assert_eq!(shape("upsample"), [21, 65, 81]);
}

#[test]
fn segmentation_networks_have_the_counts_of_their_papers() {
    let count = |name, settings, classes| {
        build(&model(name, settings), &[3, 96, 96], classes).unwrap().param_count()
    };
    let conv = |kernel: u64, inputs: u64, outputs: u64| (kernel * kernel * inputs + 1) * outputs;
    // Ronneberger et al. 2015: 31.0 M. Levels of 64 to 512 channels, 1024 at the bottom; on the way up each
    // has a 2×2 transposed convolution and reads its skip beside it.
    let mut unet = conv(3, 3, 64) + conv(3, 64, 64);
    for channels in [128, 256, 512, 1024] {
        unet += conv(3, channels / 2, channels) + conv(3, channels, channels);
        let half = channels / 2;
        unet += conv(2, channels, half) + conv(3, channels, half) + conv(3, half, half);
    }
    unet += conv(1, 64, 2);
    assert_eq!(unet, 31_031_810);
    assert_eq!(count("unet", json!({}), 2), unet);
    // Without biases, and a scale and a shift for each of 18 convolutions' channels.
    let channels = 2 * (2 * (64 + 128 + 256 + 512) + 1024);
    assert_eq!(count("unet", json!({ "batch-norm": true }), 2), unet + channels);
    // 3×3 kernels in the place of 2×2.
    let wider = 5 * (2 * (64 * 64 + 128 * 128 + 256 * 256 + 512 * 512));
    assert_eq!(count("unet", json!({ "upsample": "bilinear" }), 2), unet + wider);

    // Long et al. 2015, table 1: 134 M. VGG-16 without its last layer (138,357,544 − 4097 · 1000 parameters)
    // and scores of 21 classes; each finer layer adds its scores and a 4×4 kernel for each class.
    let fcn32s = 138_357_544 - 4_097_000 + conv(1, 4096, 21);
    let finer = |channels| conv(1, channels, 21) + 4 * 4 * 21;
    assert_eq!(count("fcn32s", json!({}), 21), fcn32s);
    assert_eq!(count("fcn16s", json!({}), 21), fcn32s + finer(512));
    assert_eq!(count("fcn8s", json!({}), 21), fcn32s + finer(512) + finer(256));
    assert_eq!(fcn32s + finer(512) + finer(256), 134_363_423);
    // conv1_1 to conv5_3 with 8 to 64 channels, 5×5 and 1×1 with 32, and three layers of scores.
    let small = json!({ "channels": 8, "hidden": 32, "reach": 2 });
    let mut inputs = 3;
    let mut params = conv(5, 64, 32) + conv(1, 32, 32) + conv(1, 32, 5) + 2 * 4 * 4 * 5;
    for outputs in [8, 8, 16, 16, 32, 32, 32, 64, 64, 64, 64, 64, 64] {
        params += conv(3, inputs, outputs);
        inputs = outputs;
    }
    params += conv(1, 64, 5) + conv(1, 32, 5);
    assert_eq!(count("fcn8s", small, 5), params);
}

/// The architectures for segmentation, small where they can be.
fn segmentation() -> Vec<Model> {
    let fcn = json!({ "channels": 2, "hidden": 4, "batch-norm": true });
    vec![
        model("unet", json!({ "channels": 2, "depth": 3 })),
        model("unet", json!({ "channels": 2, "upsample": "bilinear", "batch-norm": true })),
        model("fcn32s", fcn.clone()),
        model("fcn16s", fcn.clone()),
        model("fcn8s", fcn),
        model("fcn-resnet50", json!({})),
    ]
}

#[test]
fn every_pixel_of_an_image_of_any_size_gets_a_score_of_each_class() {
    for model in segmentation() {
        for input in [[1, 32, 48], [3, 47, 61], [3, 65, 33]] {
            let network = build(&model, &input, 7).unwrap();
            assert_eq!(network.task(), Ok(Task::Segmentation), "{}", network.arch);
            assert_eq!(network.shapes().unwrap().last().unwrap()[..], [7, input[1], input[2]]);
            // Other classes make the network that was built for them.
            assert_eq!(network.with_classes(3), build(&model, &input, 3).unwrap());
        }
    }
}

#[test]
fn scores_start_at_zero_and_their_upsampling_as_interpolation() {
    let network = build(&model("fcn8s", json!({})), &[3, 64, 64], 5).unwrap();
    let heads: Vec<&str> =
        network.heads().iter().map(|&node| network.nodes[node].name.as_str()).collect();
    assert_eq!(heads, ["score_fr", "upscore2", "score_pool4", "upscore_pool4", "score_pool3"]);
    for named in network.params() {
        let expected = match named.name.split_once('.').unwrap() {
            ("upscore2" | "upscore_pool4", _) => Init::Bilinear,
            (layer, _) if layer.starts_with("score") => Init::Constant(0.0),
            (_, name) if name.ends_with("bias") => Init::Constant(0.0),
            _ => continue,
        };
        assert_eq!(named.param.init, expected, "{}", named.name);
    }
}

/// `conv1.weight float32 64x3x7x7`
fn line(named: &NamedParam) -> String {
    let kind = if named.param.role == ParamRole::Counter { "int64" } else { "float32" };
    let extents: Vec<String> = named.param.shape.iter().map(ToString::to_string).collect();
    format!("{} {kind} {}", named.name, extents.join("x")).trim_end().to_owned()
}

#[test]
fn counts_are_those_that_torchvision_publishes() {
    let torchvision = torchvision();
    for (name, model) in as_in_torchvision() {
        let network = build(&model, &[3, 224, 224], 1000).unwrap();
        let macs: u64 = network.layers().unwrap().iter().map(|layer| layer.macs).sum();
        let theirs = &torchvision["networks"][name];
        assert_eq!(theirs["parameters"], network.param_count(), "{name}");
        assert_eq!(theirs["macs"], macs, "{name}");
    }
    // Those of the papers and of torchvision's documentation, in case that the file is made anew.
    let networks = &torchvision["networks"];
    assert_eq!(networks["resnet18"]["parameters"], 11_689_512);
    assert_eq!(networks["resnet50"]["parameters"], 25_557_032);
    assert_eq!(networks["resnet50"]["macs"], 4_089_184_256_u64);
    assert_eq!(networks["vgg16"]["parameters"], 138_357_544);
    assert_eq!(networks["densenet121"]["parameters"], 7_978_856);
}

#[test]
fn networks_for_small_images_have_the_counts_of_the_papers() {
    // He et al. 2015, table 6, in millions: 0.27, 0.46, 0.85; their shortcuts have no parameters.
    // DenseNet-BC with 40 layers and growth 12: 0.18 M. ResNet-18 for CIFAR differs from the large one by
    // its first convolution (64·3·(49 − 9) fewer) and its 10 classes.
    let large = 11_689_512 - 64 * 3 * 40 - 513 * 990;
    let published = [
        ("resnet20", 269_722),
        ("resnet32", 464_154),
        ("resnet56", 853_018),
        ("densenet-bc-40-12", 176_122),
        ("resnet18-cifar", large),
    ];
    for (name, params) in published {
        let network = build(&model(name, json!({})), &[3, 32, 32], 10).unwrap();
        assert_eq!(network.param_count(), params, "{name}");
    }
    let resnet20 = build(&model("resnet20", json!({})), &[3, 32, 32], 10).unwrap();
    let macs: u64 = resnet20.layers().unwrap().iter().map(|layer| layer.macs).sum();
    // 3×3 convolutions of 16, 32 and 64 channels at 32², 16² and 8²; the first of each later layer reads
    // half as many channels.
    let stage = |channels: u64, extent: u64, convolutions: u64| {
        9 * channels * channels * extent * extent * convolutions
    };
    let first = 9 * 3 * 16 * 32 * 32;
    let halves = stage(32, 16, 1) / 2 + stage(64, 8, 1) / 2;
    let whole = stage(16, 32, 6) + stage(32, 16, 5) + stage(64, 8, 5);
    assert_eq!(macs, first + halves + whole + 640);
}

#[test]
fn a_gate_adds_its_two_layers_to_each_block() {
    let plain = build(&model("resnet20", json!({})), &[3, 32, 32], 10).unwrap();
    let settings = json!({ "squeeze-excitation": 16 });
    let gated = build(&model("resnet20", settings), &[3, 32, 32], 10).unwrap();
    // Three blocks each with 16, 32, 64 channels, squeezed to 1, 2, 4.
    let gate = |channels: u64, hidden: u64| 2 * channels * hidden + hidden + channels;
    let gates = 3 * (gate(16, 1) + gate(32, 2) + gate(64, 4));
    assert_eq!(gated.param_count() - plain.param_count(), gates);
    let narrow = json!({ "squeeze-excitation": 1000 });
    let narrow = build(&model("resnet20", narrow), &[3, 32, 32], 10).unwrap();
    assert_eq!(
        narrow.param_count() - plain.param_count(),
        3 * (gate(16, 1) + gate(32, 1) + gate(64, 1))
    );
}

#[test]
fn blocks_that_add_nothing_at_first_end_with_a_scale_of_zero() {
    let zeros = |settings: Value| {
        let network = build(&model("resnet50", settings), &[3, 64, 64], 10).unwrap();
        let params = network.params().into_iter();
        let zero = params.filter(|named| {
            named.param.role == ParamRole::Scale && named.param.init == Init::Constant(0.0)
        });
        zero.map(|named| named.name).collect::<Vec<String>>()
    };
    assert_eq!(zeros(json!({})), [""; 0]);
    let zeros = zeros(json!({ "zero-init-residual": true }));
    assert_eq!(zeros.len(), 16);
    assert_eq!(
        (zeros[0].as_str(), zeros[15].as_str()),
        ("layer1.0.bn3.weight", "layer4.2.bn3.weight")
    );
}

#[test]
fn initial_values_are_torchvisions() {
    #[track_caller]
    fn check(name: &str, expected: &[(&str, Init)]) {
        let network = build(&model(name, json!({})), &[3, 64, 64], 10).unwrap();
        for (param, init) in expected {
            let params = network.params();
            let found = params.iter().find(|named| named.name == *param).unwrap();
            assert_eq!(found.param.init, *init, "{name}: {param}");
        }
    }
    let normal = |std: f64| Init::Normal { std };
    let kaiming = |fan: f64| normal((2.0 / fan).sqrt());
    check(
        "alexnet",
        &[("features.0.weight", Init::fan_in(363)), ("classifier.6.bias", Init::fan_in(4096))],
    );
    check(
        "vgg11",
        &[
            ("features.3.weight", kaiming(128.0 * 9.0)),
            ("features.3.bias", Init::Constant(0.0)),
            ("classifier.6.weight", normal(0.01)),
            ("classifier.6.bias", Init::Constant(0.0)),
        ],
    );
    check(
        "resnet18",
        &[
            ("conv1.weight", kaiming(64.0 * 49.0)),
            ("fc.weight", Init::fan_in(512)),
            ("fc.bias", Init::fan_in(512)),
        ],
    );
    check(
        "densenet121",
        &[
            ("features.denseblock1.denselayer1.conv2.weight", kaiming(128.0 * 9.0)),
            ("classifier.weight", Init::fan_in(1024)),
            ("classifier.bias", Init::Constant(0.0)),
        ],
    );
    check(
        "mobilenet-v2",
        &[
            // A depthwise convolution of 32 channels: its fan-out counts all of them, as PyTorch's does.
            ("features.1.conv.0.0.weight", kaiming(32.0 * 9.0)),
            ("classifier.1.weight", normal(0.01)),
        ],
    );
    check(
        "shufflenet-v2",
        &[("conv1.0.weight", Init::fan_in(27)), ("fc.weight", Init::fan_in(1024))],
    );
}

#[test]
fn every_architecture_says_its_name_and_has_unique_names_of_layers() {
    for (model, size) in architectures() {
        let network = build(&model, &[3, size, size], 10).unwrap();
        let tag = serde_json::to_value(&model).unwrap();
        assert_eq!(tag.as_object().unwrap().keys().next(), Some(&network.arch));
        let names: BTreeSet<&str> = network.nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names.len(), network.nodes.len(), "{}", network.arch);
    }
}

#[test]
fn dropout_of_zero_leaves_its_layer_out() {
    for name in ["alexnet", "vgg16", "densenet121", "mobilenet-v2", "fcn8s", "fcn-resnet50"] {
        let drops = |p: f64| {
            let network = build(&model(name, json!({ "dropout": p })), &[3, 64, 64], 10).unwrap();
            network.nodes.iter().filter(|node| matches!(node.op, Op::Dropout(_))).count()
        };
        assert_eq!(drops(0.0), 0, "{name}");
        assert_ne!(drops(0.3), 0, "{name}");
    }
}

fn of(model: Value, data: Value) -> Result<Network, BuildError> {
    let model = serde_json::from_value(model).unwrap();
    build_for(&model, &serde_json::from_value(data).unwrap())
}

#[test]
fn texts_and_sound_have_their_architectures() {
    let texts = json!({ "newsgroups": { "vocabulary": 98, "length": 20 } });
    let sound = json!({ "fsdd": {} });
    let raw = json!({ "fsdd": { "features": { "raw": {} } } });
    let count = |model, data: &Value| of(model, data.clone()).unwrap().param_count();
    let mean = json!({ "text-mean": { "embedding": 8 } });
    assert_eq!(count(mean, &texts), 100 * 8 + (8 + 1) * 20);
    let cnn = json!({ "text-cnn": { "embedding": 8, "kernels": [2, 3], "filters": 5 } });
    assert_eq!(count(cnn, &texts), 100 * 8 + (5 * 2 * 8 + 5) + (5 * 3 * 8 + 5) + (10 + 1) * 20);
    let gru = json!({ "gru": { "hidden": 6, "bidirectional": true } });
    assert_eq!(count(gru, &sound), 2 * 18 * (40 + 6 + 2) + (12 + 1) * 10);
    let lstm = json!({ "lstm": { "hidden": 6, "embedding": 8, "layers": 2 } });
    let lstm_count = 100 * 8 + 24 * (8 + 6 + 2) + 24 * (6 + 6 + 2) + (6 + 1) * 20;
    assert_eq!(count(lstm, &texts), lstm_count);
    let audio = json!({ "audio-cnn": { "channels": [4, 8] } });
    assert_eq!(count(audio, &sound), 9 * 4 + 8 + 9 * 4 * 8 + 16 + (8 * 10 + 1) * 10);
    let audio = json!({ "audio-cnn-1d": { "channels": [4, 8] } });
    assert_eq!(count(audio, &raw), 80 * 4 + 8 + 3 * 4 * 8 + 16 + (8 + 1) * 10);
    let transformer = json!({
        "transformer-encoder": { "features": 8, "heads": 2, "layers": 3, "feed-forward": 16 }
    });
    let layer = 4 * 8 * 9 + 2 * 16 + 16 * 9 + 8 * 17;
    let rest = 16 + (8 + 1) * 10;
    assert_eq!(count(transformer, &sound), (40 + 1) * 8 + 101 * 8 + 3 * layer + rest);
}

#[test]
fn examples_of_another_kind_are_refused() {
    let bags = json!({ "amazon-reviews": { "category": "books" } });
    let refused = |model: &str, data| of(json!({ model: {} }), data).unwrap_err().to_string();
    assert_eq!(
        refused("lenet5", bags.clone()),
        "layer `conv1` (conv2d) cannot take an input of 5000: it takes channels, height and width"
    );
    for (model, first) in
        [("unet", "down1.conv1"), ("fcn8s", "features.0"), ("fcn-resnet50", "backbone.conv1")]
    {
        let expected = format!(
            "layer `{first}` (conv2d) cannot take an input of 5000: it takes channels, height and width"
        );
        assert_eq!(refused(model, bags.clone()), expected);
    }
    assert_eq!(
        refused("text-mean", bags.clone()),
        "layer `embedding` (embedding) cannot take an input of 5000: it takes the numbers of words in a row"
    );
    assert_eq!(
        refused("gru", bags),
        "layer `columns` (columns) cannot take an input of 5000: it takes channels, height and width"
    );
    let mlp = of(json!({ "mlp": { "hidden": [9] } }), json!({ "newsgroups": {} }));
    assert_eq!(
        mlp.unwrap_err().to_string(),
        "layer `flatten` (flatten) cannot take an input of 256: numbers of words need an embedding first"
    );
}
