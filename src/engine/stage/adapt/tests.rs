//! The adapt stage with small networks on made-up images.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use graftwork::dataset::{Images, Loaded, Part};
use graftwork::experiment::spec::{Stage, Validator};
use graftwork::network::Network;
use graftwork::network::op::{BatchNorm, Conv2d, Flatten, Linear, Relu};
use graftwork::protocol::{Event, Job, Point};
use rand::RngExt;
use serde_json::json;
use tch::{Device, Kind, Tensor};

use super::super::Recorder;
use super::*;
use crate::model::Mode;
use crate::train::{Objective, Step};
use crate::{checkpoint, random};

const METHODS: [&str; 16] = [
    "source-only",
    "dann",
    "coral",
    "mmd",
    "mcc",
    "cdan",
    "jan",
    "ddc",
    "entropy",
    "adabn",
    "mcd",
    "adda",
    "tent",
    "shot",
    "pseudo-labels",
    "mean-teacher",
];

/// Images of three classes, 6×6: a bright quarter on noise. The target's are paler.
fn images(name: &str, n: usize, bright: u8) -> Images {
    let mut rng = random::stream(1, name, 0);
    let mut part = |n: usize| {
        let labels: Vec<u8> = (0..n).map(|image| (image % 3) as u8).collect();
        let mut pixels = Vec::new();
        for &label in &labels {
            for place in 0..36u8 {
                let quarter = place / 6 / 3 * 2 + place % 6 / 3;
                let light = if quarter == label { bright } else { 0 };
                pixels.push(light + rng.random_range(0..80));
            }
        }
        Part { pixels, labels }
    };
    let class_names = ["a", "b", "c"].map(str::to_owned).to_vec();
    let (train, test) = (part(n), part(30));
    Images { name: name.to_owned(), shape: [1, 6, 6], classes: 3, class_names, train, test }
}

fn model() -> Model {
    let mut network = Network::new("small", &[1, 6, 6]);
    network.push("conv1", Conv2d::new(1, 4, 3));
    network.push("bn1", BatchNorm::new(4));
    network.push("relu1", Relu {});
    network.push("flatten", Flatten {});
    network.push("fc1", Linear::new(64, 8));
    network.push("relu2", Relu {});
    network.push("fc2", Linear::new(8, 3));
    Model::new(network, 5, Device::Cpu)
}

/// A stage from MNIST to USPS, by name at least, with more settings.
fn stage(method: &str, settings: &serde_json::Value) -> Adapt {
    let data = json!({ "batch-size": 8, "val-fraction": 0.2 });
    let mut stage = json!({
        "from": "dense",
        "source": { "mnist": data },
        "target": { "usps": data },
        "method": { method: {} },
        "epochs": 2,
        "optimizer": { "sgd": { "learning-rate": 0.05 } },
    });
    let stage_map = stage.as_object_mut().unwrap();
    stage_map.extend(settings.as_object().unwrap().clone());
    serde_json::from_value(stage).unwrap()
}

fn splits(data: &Data, n: usize, bright: u8) -> Splits {
    let images = Loaded::Images(images(data.name(), n, bright));
    crate::data::prepare(images, data, &[1, 6, 6], Device::Cpu).unwrap()
}

fn source(stage: &Adapt) -> Splits {
    splits(&stage.source, 60, 170)
}

fn target(stage: &Adapt) -> Splits {
    splits(&stage.target, 40, 90)
}

/// Runs a stage in a folder of its own.
fn run_in(folder: &Path, stage: &Adapt, model: Model) -> Result<Vec<Point>, StageError> {
    let (ended, points) = run_until(folder, stage, model, u64::MAX)?;
    assert_eq!(ended, Ended::Done);
    Ok(points)
}

/// Runs a stage and asks it to stop when it has measured an epoch.
fn run_until(
    folder: &Path,
    stage: &Adapt,
    model: Model,
    epoch: u64,
) -> Result<(Ended, Vec<Point>), StageError> {
    let job = Job {
        key: "0".repeat(64).parse().unwrap(),
        name: "moved".to_owned(),
        stage: Stage::Adapt(stage.clone()),
        seed: 3,
        inputs: BTreeMap::new(),
        data: BTreeMap::new(),
        draft: folder.to_owned(),
        folder: std::path::PathBuf::new(),
        files: BTreeMap::new(),
        keep_epochs: std::collections::BTreeSet::new(),
        threads: None,
    };
    let stop = AtomicBool::new(false);
    let mut send = |event| {
        if let Event::Metrics(points) = event {
            stop.fetch_or(points.iter().any(|point| point.step == epoch), Ordering::Relaxed);
        }
    };
    let mut recorder = Recorder::new(folder, &mut send)?;
    let mut context =
        Context { job: &job, device: Device::Cpu, recorder: &mut recorder, stop: &stop };
    let target = Target::from(target(stage));
    let ended = adapt(stage, &mut context, model, &source(stage), &target)?;
    Ok((ended, context.recorder.points().to_vec()))
}

/// The bytes of the network that a stage left.
fn saved(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join("model.safetensors")).unwrap()
}

fn adapted(stage: &Adapt, model: Model) -> Model {
    let folder = tempfile::tempdir().unwrap();
    run_in(folder.path(), stage, model).unwrap();
    checkpoint::load(folder.path(), Device::Cpu).unwrap()
}

fn outputs(model: &Model, splits: &Splits, domain: usize) -> Tensor {
    let batch = splits.test.batches().next().unwrap();
    tch::no_grad(|| model.forward(&batch.inputs, Mode::Eval, Some(domain)))
}

#[test]
fn every_method_runs_and_repeats_bit_for_bit() {
    for method in METHODS {
        let stage = stage(method, &json!({}));
        let run = || {
            let folder = tempfile::tempdir().unwrap();
            let points = run_in(folder.path(), &stage, model()).unwrap();
            (points, saved(folder.path()))
        };
        let (points, bytes) = run();
        assert!(points.iter().all(|point| point.value.is_finite()), "{points:?}");
        assert!(run().1 == bytes, "{method} does not repeat");
    }
}

#[test]
fn a_stopped_adaptation_goes_on_bit_for_bit() {
    for method in METHODS {
        let stage = stage(method, &json!({ "specific": ["bn1"] }));
        let [whole, parted] = [0, 1].map(|_| tempfile::tempdir().unwrap());
        run_in(whole.path(), &stage, model()).unwrap();
        let (ended, _) = run_until(parted.path(), &stage, model(), 1).unwrap();
        assert_eq!(ended, Ended::Stopped);
        let points = run_in(parted.path(), &stage, model()).unwrap();
        let starts = points.iter().filter(|point| point.step == 0);
        assert_eq!(starts.filter(|point| point.name == "usps:test/accuracy").count(), 1);
        assert!(saved(whole.path()) == saved(parted.path()), "{method}");
    }
}

#[test]
fn an_adaptation_by_random_maps_goes_on_bit_for_bit() {
    let wide = || {
        let mut network = Network::new("wide", &[1, 6, 6]);
        network.push("flatten", Flatten {});
        network.push("fc1", Linear::new(36, 1400));
        network.push("relu1", Relu {});
        network.push("fc2", Linear::new(1400, 3));
        Model::new(network, 5, Device::Cpu)
    };
    let stage = stage("cdan", &json!({ "method": { "cdan": { "entropy": true } } }));
    let [whole, parted] = [0, 1].map(|_| tempfile::tempdir().unwrap());
    run_in(whole.path(), &stage, wide()).unwrap();
    let (ended, _) = run_until(parted.path(), &stage, wide(), 1).unwrap();
    assert_eq!(ended, Ended::Stopped);
    let progress = std::fs::read_dir(parted.path()).unwrap().count();
    assert!(progress > 0, "there is something to go on from");
    run_in(parted.path(), &stage, wide()).unwrap();
    assert!(saved(whole.path()) == saved(parted.path()));
}

#[test]
fn the_control_does_not_depend_on_the_targets_images() {
    let stage = stage("source-only", &json!({}));
    let [one, other] = [0, 1].map(|_| tempfile::tempdir().unwrap());
    let points = run_in(one.path(), &stage, model()).unwrap();
    let mut elsewhere = stage.clone();
    elsewhere.target = serde_json::from_value(json!({ "optdigits": { "batch-size": 8 } })).unwrap();
    run_in(other.path(), &elsewhere, model()).unwrap();
    assert!(saved(one.path()) == saved(other.path()));
    assert!(points.iter().all(|point| point.name != "train/transfer-loss"));
}

#[test]
fn the_target_is_measured_on_its_test_split_before_and_after() {
    let folder = tempfile::tempdir().unwrap();
    let points = run_in(folder.path(), &stage("dann", &json!({})), model()).unwrap();
    let steps = |name: &str| -> Vec<u64> {
        points.iter().filter(|point| point.name == name).map(|point| point.step).collect()
    };
    assert_eq!(steps("usps:test/accuracy"), [0, 2]);
    assert_eq!(steps("mnist:test/accuracy"), [2]);
    assert_eq!(steps("mnist:val/accuracy"), [0, 1, 2]);
    for name in ["train/task-loss", "train/transfer-loss", "train/domain-accuracy"] {
        assert_eq!(steps(name), [1, 2], "{name}");
    }
    for name in ["usps:val/accuracy", "usps:val/loss"] {
        assert_eq!(steps(name), [0u64; 0], "{name} is of labels");
    }
    for validator in Validator::ALL.into_iter().skip(1) {
        assert_eq!(steps(&format!("usps:val/{}", validator.name())), [0, 1, 2]);
    }
}

#[test]
fn the_epoch_is_kept_that_the_validator_takes_for_the_best() {
    let mut epochs = std::collections::BTreeSet::new();
    for validator in Validator::ALL {
        let settings = json!({ "keep": "best", "select": validator.name(), "epochs": 4 });
        let folder = tempfile::tempdir().unwrap();
        let points = run_in(folder.path(), &stage("dann", &settings), model()).unwrap();
        let series = |name: &str| -> Vec<(u64, f64)> {
            let points = points.iter().filter(|point| point.name == name && point.step > 0);
            points.map(|point| (point.step, point.value)).collect()
        };
        let name = match validator {
            Validator::SourceAccuracy => "mnist:val/accuracy".to_owned(),
            _ => format!("usps:val/{}", validator.name()),
        };
        let values = series(&name);
        assert_eq!(values.len(), 4, "{name}");
        let best = values.iter().map(|(_, value)| *value).fold(f64::NEG_INFINITY, f64::max);
        let first = values.iter().find(|(_, value)| *value >= best).unwrap().0;
        let kept = series("kept-epoch")[0].1;
        assert!((kept - first as f64).abs() < 1e-9, "{name}: {kept}, of {values:?}");
        epochs.insert(first);
    }
    assert!(epochs.len() > 1, "validators differ: {epochs:?}");
}

#[test]
fn masked_weights_stay_zero_in_every_copy() {
    let mut model = model();
    for name in ["conv1.weight", "fc1.weight"] {
        let parameter = &mut model.params_mut()[name];
        let value = &parameter.value.detach();
        parameter.mask = Some(value.gt(0.0).to_kind(Kind::Float));
    }
    model.apply_masks();
    for method in METHODS {
        let stage = stage(method, &json!({ "specific": ["fc1"] }));
        let adapted = adapted(&stage, model.duplicate());
        for name in ["conv1.weight", "private.mnist.fc1.weight", "private.usps.fc1.weight"] {
            let parameter = &adapted.params()[name];
            let masked = parameter.value.masked_select(&parameter.mask.as_ref().unwrap().eq(0));
            assert!(masked.numel() > 10, "{method}: {name}");
            assert_eq!(masked.count_nonzero(None::<i64>).int64_value(&[]), 0, "{name}");
        }
    }
}

#[test]
fn each_domain_has_its_copy_of_the_specific_layers() {
    let shared = model();
    let split = split(model(), &["a".to_owned(), "b".to_owned()], &["fc*".to_owned()]).unwrap();
    let fully_connected = 64 * 8 + 8 + 8 * 3 + 3;
    assert_eq!(split.counts().unwrap().params, shared.counts().unwrap().params + fully_connected);
}

#[test]
fn the_loss_on_the_source_reaches_no_copy_of_the_target() {
    let stage = stage("source-only", &json!({ "specific": ["fc1", "bn1"] }));
    let (source, target) = (source(&stage), Target::from(target(&stage)));
    let names = ["mnist".to_owned(), "usps".to_owned()];
    let model = split(model(), &names, &stage.specific).unwrap();
    let domains = Domains {
        names: &names,
        source: &source.train,
        validation: &source.val,
        target: &target.train,
        target_validation: &target.val,
    };
    let learner = learner(&stage, &model, 8, 3).unwrap();
    let mut objective = Adaptation::new(&stage, domains, learner, 3);
    objective.begin_epoch(1);
    let step = Step { epoch: 1, index: 0, total: 1 };
    objective.loss(&model, &step).total.backward();
    for (name, parameter) in model.params().iter().filter(|(_, it)| it.is_trained()) {
        let of_target = name.starts_with("private.usps");
        assert_eq!(parameter.value.grad().defined(), !of_target, "{name}");
    }
}

#[test]
fn with_shared_layers_frozen_the_source_does_not_change_the_targets_outputs() {
    let settings = json!({ "specific": ["fc2"], "freeze": ["conv1", "bn1", "fc1"] });
    let stage = stage("source-only", &settings);
    let names = ["mnist".to_owned(), "usps".to_owned()];
    let before = split(model(), &names, &stage.specific).unwrap();
    let after = adapted(&stage, model());
    let (source, target) = (source(&stage), target(&stage));
    assert!(outputs(&before, &target, TARGET) == outputs(&after, &target, TARGET));
    assert!(outputs(&before, &source, SOURCE) != outputs(&after, &source, SOURCE));
}

#[test]
fn copies_of_all_layers_train_the_source_as_one_network_does() {
    let alone = adapted(&stage("source-only", &json!({})), model());
    let copies = adapted(&stage("source-only", &json!({ "specific": ["*"] })), model());
    assert_eq!(copies.network().domains, ["mnist", "usps"]);
    let copies = one_domain(copies, "mnist");
    for (name, parameter) in alone.params() {
        assert!(parameter.value == copies.params()[name].value, "{name}");
    }
    assert_eq!(alone.network(), copies.network());
}

#[test]
fn a_network_of_several_domains_gives_the_sources_or_its_last() {
    let split = || {
        let names = ["mnist".to_owned(), "usps".to_owned()];
        let model = split(model(), &names, &["fc2".to_owned()]).unwrap();
        tch::no_grad(|| {
            for (domain, value) in [("mnist", 1.0), ("usps", 2.0)] {
                let bias = &model.params()[&format!("private.{domain}.fc2.bias")].value;
                let _ = bias.shallow_clone().fill_(value);
            }
        });
        model
    };
    for (source, expected) in [("mnist", 1.0), ("usps", 2.0), ("optdigits", 2.0)] {
        let bias = &one_domain(split(), source).params()["fc2.bias"].value.copy();
        assert!(bool::try_from(bias.eq(expected).all()).unwrap(), "{source}: {bias}");
    }
}

#[test]
fn batches_of_one_image_cannot_be_compared() {
    let mut stage = stage("coral", &json!({}));
    stage.target = serde_json::from_value(json!({ "usps": { "batch-size": 1 } })).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let error = run_in(folder.path(), &stage, model()).unwrap_err().to_string();
    assert_eq!(
        error,
        "method `coral` compares batches of at least 2 images and the target `usps` gives 1; raise its batch-size"
    );
}

#[test]
fn settings_that_exclude_each_other_are_told() {
    let joint = stage("dann", &json!({ "joint-batches": true, "specific": ["fc1"] }));
    assert!(check(&joint).unwrap_err().to_string().contains("leave out `specific`"));
    let mut same = stage("dann", &json!({}));
    same.target = same.source.clone();
    assert!(check(&same).unwrap_err().to_string().contains("are both `mnist`"));
    let error = split(model(), &["a".to_owned(), "b".to_owned()], &["fc3".to_owned()]);
    assert!(error.unwrap_err().to_string().ends_with("there are: conv1, bn1, fc1, fc2"));
}

#[test]
fn joint_batches_mix_the_statistics_of_both_domains() {
    let apart = adapted(&stage("mmd", &json!({})), model());
    let joint = adapted(&stage("mmd", &json!({ "joint-batches": true })), model());
    let batches = |model: &Model| model.params()["bn1.num_batches_tracked"].value.int64_value(&[]);
    assert_eq!(batches(&apart), 2 * batches(&joint));
}

#[test]
fn adabn_gives_each_batch_norm_what_comes_to_it_from_all_of_the_target() {
    let mut network = Network::new("normalised", &[1, 6, 6]);
    network.push("conv1", Conv2d::new(1, 4, 3));
    network.push("bn1", BatchNorm::new(4));
    network.push("relu1", Relu {});
    network.push("flatten", Flatten {});
    network.push("fc1", Linear::new(64, 8));
    network.push("bn2", BatchNorm::new(8));
    network.push("fc2", Linear::new(8, 3));
    let stage = stage("adabn", &json!({ "epochs": 0 }));
    let adapted = adapted(&stage, Model::new(network, 5, Device::Cpu));
    let inputs: Vec<Tensor> = target(&stage).train.into_unlabelled().in_order().collect();
    let inputs = Tensor::cat(&inputs, 0);
    let value = |name: &str| &adapted.params()[name].value;
    // What the layers compute, written out, with the statistics of all examples at once.
    let normalise = |x: &Tensor, dims: &[i64], name: &str| {
        let mean = x.mean_dim(dims, true, Kind::Double);
        let variance = x.var_dim(dims, false, true);
        for (entry, expected) in [("running_mean", &mean), ("running_var", &variance)] {
            let error = value(&format!("{name}.{entry}")) - expected.flatten(0, -1);
            assert!(error.abs().max().double_value(&[]) < 1e-6, "{name}.{entry}");
        }
        (x - mean) / (variance + 1e-5).sqrt()
    };
    tch::no_grad(|| {
        let bias = Some(value("conv1.bias"));
        let x = inputs.conv2d(value("conv1.weight"), bias, [1, 1], [0, 0], [1, 1], 1);
        let x = normalise(&x.to_kind(Kind::Double), &[0, 2, 3], "bn1").relu().flatten(1, -1);
        let x = x.matmul(&value("fc1.weight").to_kind(Kind::Double).tr()) + value("fc1.bias");
        let _ = normalise(&x, &[0], "bn2");
    });
}

#[test]
fn adabn_on_two_values_normalises_them_to_one_and_minus_one() {
    // {4, 6} has mean 5 and biased variance 1: (x − 5) / √(1 + ε).
    let mut network = Network::new("norm", &[1, 1, 2]);
    network.push("flatten", Flatten {});
    network.push("fc1", Linear::new(2, 1));
    network.push("bn1", BatchNorm::new(1));
    network.push("fc2", Linear::new(1, 2));
    let mut model = Model::new(network, 5, Device::Cpu);
    let part = || Part { pixels: vec![4, 0, 6, 0], labels: vec![0, 1] };
    let class_names = ["a", "b"].map(str::to_owned).to_vec();
    let (shape, name) = ([1, 1, 2], "usps".to_owned());
    let images = Images { name, shape, classes: 2, class_names, train: part(), test: part() };
    let data = json!({ "usps": { "batch-size": 2, "val-fraction": 0.0, "normalize": "unit" } });
    let data: Data = serde_json::from_value(data).unwrap();
    let splits =
        crate::data::prepare(Loaded::Images(images), &data, &[1, 1, 2], Device::Cpu).unwrap();
    let inputs =
        Tensor::cat(&splits.train.as_set().batches().map(|it| it.inputs).collect::<Vec<_>>(), 0);
    tch::no_grad(|| {
        // Back from what the numbers were made of: the first value of an image is its byte.
        let scale: Tensor =
            2.0 / (inputs.amax([0i64].as_slice(), false) - inputs.amin([0i64].as_slice(), false));
        let weight = Tensor::from_slice(&[scale.double_value(&[0, 0, 0]) as f32, 0.0]).view([1, 2]);
        model.params_mut()["fc1.weight"].value.copy_(&weight);
    });
    crate::adapt::adabn::adapt(&mut model, &splits.train.into_unlabelled());
    let node = model.network().nodes.iter().position(|node| node.name == "bn1").unwrap();
    let (_, tapped) = model.forward_with(&inputs, Mode::Eval, None, &[node]);
    let mut values = Vec::<f64>::try_from(tapped[0].to_kind(Kind::Double).flatten(0, -1)).unwrap();
    values.sort_by(f64::total_cmp);
    let expected = 1.0 / 1.00001f64.sqrt();
    assert!(
        (values[0] + expected).abs() < 1e-6 && (values[1] - expected).abs() < 1e-6,
        "{values:?}"
    );
}

/// What a stage leaves of parameters that it was to leave as they are, and of others.
fn changed(stage: &Adapt, is_trained: impl Fn(&str) -> bool) {
    let (before, after) = (model(), adapted(stage, model()));
    for (name, parameter) in before.params() {
        let buffers = ["running_mean", "running_var", "num_batches_tracked"];
        // A shift before batch-norm is without effect, and so without a gradient.
        if name == "conv1.bias" || buffers.iter().any(|buffer| name.ends_with(buffer)) {
            continue;
        }
        let same = parameter.value == after.params()[name].value;
        assert_eq!(same, !is_trained(name), "{name}");
    }
}

#[test]
fn tent_trains_the_scales_and_shifts_of_batch_norm_alone() {
    changed(&stage("tent", &json!({})), |name| name.starts_with("bn1."));
}

#[test]
fn shot_and_adda_leave_the_last_layer() {
    for method in ["shot", "adda"] {
        changed(&stage(method, &json!({})), |name| !name.starts_with("fc2."));
    }
}

#[test]
fn tent_and_shot_do_not_depend_on_the_sources_examples() {
    for method in ["tent", "shot"] {
        let run = |examples: usize| {
            let mut stage = stage(method, &json!({}));
            // The same batches in an epoch, of other images.
            stage.source = serde_json::from_value(
                json!({ "mnist": { "batch-size": 8, "split-seed": examples } }),
            )
            .unwrap();
            saved_by(&stage)
        };
        assert!(run(1) == run(2), "{method}");
    }
}

fn saved_by(stage: &Adapt) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    run_in(folder.path(), stage, model()).unwrap();
    saved(folder.path())
}

#[test]
fn a_network_of_a_last_layer_alone_has_nothing_for_tent_and_shot() {
    for (method, expected) in [
        ("tent", "works by batch-norm, and the network has none"),
        ("shot", "there is no other to train"),
    ] {
        let mut network = Network::new("linear", &[1, 6, 6]);
        network.push("flatten", Flatten {});
        network.push("fc1", Linear::new(36, 3));
        let model = Model::new(network, 5, Device::Cpu);
        let folder = tempfile::tempdir().unwrap();
        let error = run_in(folder.path(), &stage(method, &json!({})), model).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn labels_that_are_never_sure_leave_training_on_the_source() {
    // Batch-norm's averages see the target, its weights do not.
    let method = json!({ "method": { "pseudo-labels": { "threshold": 1.0 } } });
    let (alone, with) = (
        adapted(&stage("source-only", &json!({})), model()),
        adapted(&stage("pseudo-labels", &method), model()),
    );
    for name in ["conv1.weight", "bn1.weight", "fc1.weight", "fc2.bias"] {
        assert!(alone.params()[name].value == with.params()[name].value, "{name}");
    }
    assert!(alone.params()["bn1.running_mean"].value != with.params()["bn1.running_mean"].value);
}

/// The three parts of a step of MCD on a network `fc2(relu(fc1(x)))`, written out with plain tensors: A
/// `−∂(CE₁ + CE₂)` for all, B `−∂(CE₁ + CE₂ − d)` for both classifiers, C `−∂d` for `fc1`, twice; SGD of rate 0.1
/// without momentum.
#[test]
fn a_step_of_mcd_is_the_three_updates_written_out() {
    let mut network = Network::new("plain", &[1, 6, 6]);
    network.push("flatten", Flatten {});
    network.push("fc1", Linear { bias: false, ..Linear::new(36, 8) });
    network.push("relu1", Relu {});
    network.push("fc2", Linear { bias: false, ..Linear::new(8, 3) });
    let settings = json!({
        "method": { "mcd": { "feature-updates": 2 } },
        "source": { "mnist": { "batch-size": 48, "val-fraction": 0.2 } },
        "target": { "usps": { "batch-size": 48, "val-fraction": 0.2 } },
        "epochs": 1,
        "optimizer": { "sgd": { "learning-rate": 0.1, "momentum": 0.0 } },
    });
    let stage = stage("mcd", &settings);
    let start = Model::new(network, 5, Device::Cpu);
    let second = start.duplicate().replace_head(3, random::seed_of(3, "second classifier"));
    let value = |model: &Model, name: &str| model.params()[name].value.detach().copy();
    let mut weights =
        [value(&start, "fc1.weight"), value(&start, "fc2.weight"), value(&second, "fc2.weight")];
    // All examples are one batch, and the order of a mean does not matter but for rounding.
    let (source, target) = (source(&stage), target(&stage));
    let source = source.train.as_set().batches().next().unwrap();
    let target = target.train.as_set().batches().next().unwrap().inputs.flatten(1, -1);
    assert_eq!((source.labels.size()[0], target.size()[0]), (48, 32));
    let mut update = |learn: [bool; 3], loss: &dyn Fn(&[Tensor; 3]) -> Tensor| {
        let leaves = [0, 1, 2].map(|i: usize| weights[i].copy().set_requires_grad(learn[i]));
        loss(&leaves).backward();
        weights = [0, 1, 2].map(|i: usize| {
            let leaf = leaves[i].detach();
            if learn[i] { leaf - leaves[i].grad() * 0.1 } else { leaf }
        });
    };
    let logits = |w: &[Tensor; 3], x: &Tensor, head: usize| {
        x.flatten(1, -1).matmul(&w[0].tr()).relu().matmul(&w[head].tr())
    };
    let task = |w: &[Tensor; 3]| {
        let loss = |head| logits(w, &source.inputs, head).cross_entropy_for_logits(&source.labels);
        loss(1) + loss(2)
    };
    let discrepancy = |w: &[Tensor; 3]| {
        let p = |head| logits(w, &target, head).softmax(-1, Kind::Float);
        (p(1) - p(2)).abs().mean(Kind::Float)
    };
    update([true; 3], &task);
    update([false, true, true], &|w| task(w) - discrepancy(w));
    update([true, false, false], &discrepancy);
    update([true, false, false], &discrepancy);
    let folder = tempfile::tempdir().unwrap();
    run_in(folder.path(), &stage, start).unwrap();
    let after = checkpoint::load(folder.path(), Device::Cpu).unwrap();
    for (name, expected) in [("fc1.weight", &weights[0]), ("fc2.weight", &weights[1])] {
        let error = (&after.params()[name].value - expected).abs().max().double_value(&[]);
        assert!(error < 1e-6, "{name}: {error}");
    }
}
