//! The stages that train on labelled data, from a job to the files in the draft.

mod controls;
mod finetuning;
mod import;
mod measuring;
mod movement;
mod rewind;
mod segmentation;
mod slimming;
mod sparse_opt;
mod sparsify;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use graftwork::network::zoo;
use graftwork::protocol::{Event, Job, Point};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor, no_grad};

use super::{Context, Ended, Recorder};
use crate::checkpoint;
use crate::model::{Model, Parameter};
use crate::random;

/// A dataset, and room for the drafts of stages.
struct Lab {
    folder: tempfile::TempDir,
    /// The epochs that the next stages keep.
    keep_epochs: BTreeSet<u32>,
    /// The digests of the files beside the experiment as they were planned.
    files: BTreeMap<String, String>,
}

/// How a stage went.
struct Outcome {
    result: Result<Ended, String>,
    draft: PathBuf,
    /// All points but the epochs' seconds.
    points: Vec<Point>,
}

impl Lab {
    /// `mnist` becomes 300 training and 100 test images: noise, and a bright block at a place that
    /// is the class's.
    fn new() -> Self {
        Self::painted(|number, image| {
            let class = number % 10;
            let rows = image.narrow(0, class / 4 * 9, 8);
            let _ = rows.narrow(1, class % 4 * 7, 7).fill_(250);
            class as u8
        })
    }

    /// The same with other marks: `paint` marks the image of that number, and says its class.
    fn painted(paint: impl Fn(i64, &Tensor) -> u8) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("mnist")).unwrap();
        for (part, count) in [("train", 300), ("t10k", 100)] {
            let mut rng = random::stream(1, part, 0);
            let noise = random::uniform(&[count, 28, 28], 0.0, 80.0, &mut rng);
            let (mut labels, mut pixels) = (Vec::new(), noise.to_kind(Kind::Uint8));
            for index in 0..count {
                labels.push(paint(index, &pixels.select(0, index)));
            }
            pixels = pixels.view([-1]);
            let mut bytes = vec![0; pixels.numel()];
            pixels.copy_data_u8(&mut bytes, pixels.numel());
            let write = |name: &str, dimensions: &[u32], body: &[u8]| {
                let mut file = (0x0800 + dimensions.len() as u32).to_be_bytes().to_vec();
                file.extend(dimensions.iter().flat_map(|extent| extent.to_be_bytes()));
                file.extend(body);
                let path = folder.path().join("mnist").join(format!("{part}-{name}-ubyte"));
                std::fs::write(path, file).unwrap();
            };
            write("images-idx3", &[count as u32, 28, 28], &bytes);
            write("labels-idx1", &[count as u32], &labels);
        }
        Self { folder, keep_epochs: BTreeSet::new(), files: BTreeMap::new() }
    }

    /// Runs a stage; the draft of an earlier attempt with that name is taken up.
    fn run(&self, draft: &str, stage: &Value, inputs: &[(&str, &Path)]) -> Outcome {
        self.run_until(draft, stage, inputs, |_| false)
    }

    /// Runs a stage that is stopped after the first event for which `is_enough`.
    fn run_until(
        &self,
        draft: &str,
        stage: &Value,
        inputs: &[(&str, &Path)],
        is_enough: impl Fn(&Event) -> bool,
    ) -> Outcome {
        let draft = self.folder.path().join(draft);
        std::fs::create_dir_all(&draft).unwrap();
        let inputs = inputs.iter().map(|(role, folder)| ((*role).to_owned(), folder.to_path_buf()));
        let data =
            ["mnist", "cifar10"].map(|name| (name.to_owned(), self.folder.path().join(name)));
        let job = Job {
            key: "cd".repeat(32).parse().unwrap(),
            name: "test".to_owned(),
            stage: serde_json::from_value(stage.clone()).unwrap(),
            seed: 7,
            inputs: inputs.collect(),
            data: BTreeMap::from(data),
            draft: draft.clone(),
            folder: self.folder.path().to_owned(),
            files: self.files.clone(),
            keep_epochs: self.keep_epochs.clone(),
            threads: None,
        };
        let stop = AtomicBool::new(false);
        let mut points = Vec::new();
        let mut send = |event: Event| {
            if is_enough(&event) {
                stop.store(true, Ordering::Relaxed);
            }
            if let Event::Metrics(new) = event {
                points.extend(new);
            }
        };
        let mut recorder = Recorder::new(&draft, &mut send).unwrap();
        let mut context =
            Context { job: &job, device: Device::Cpu, recorder: &mut recorder, stop: &stop };
        let turn = random::libtorchs_turn();
        let result = super::run(&mut context).map_err(|error| error.to_string());
        drop(turn);
        points.retain(|point: &Point| point.name != "epoch-seconds");
        Outcome { result, draft, points }
    }

    /// Writes the checkpoint of a network that is as it was drawn, after a change.
    fn checkpoint(&self, model: &Value, classes: u32, change: impl FnOnce(&mut Model)) -> PathBuf {
        let network =
            zoo::build(&serde_json::from_value(model.clone()).unwrap(), &[1, 28, 28], classes);
        let mut model = Model::new(network.unwrap(), 11, Device::Cpu);
        change(&mut model);
        let folder = self.folder.path().join("start");
        std::fs::create_dir_all(&folder).unwrap();
        checkpoint::save(&folder, &model).unwrap();
        folder
    }
}

impl Outcome {
    #[track_caller]
    fn value(&self, name: &str, step: u64) -> f64 {
        let point = self.points.iter().find(|point| point.name == name && point.step == step);
        point.unwrap_or_else(|| panic!("no {name} at step {step} in {:?}", self.points)).value
    }

    #[track_caller]
    fn model(&self) -> Model {
        assert_eq!(self.result, Ok(Ended::Done));
        checkpoint::load(&self.draft, Device::Cpu).unwrap()
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.draft.join("model.safetensors")).unwrap()
    }
}

fn mlp() -> Value {
    json!({"mlp": {"hidden": [16], "batch-norm": true, "dropout": 0.2}})
}

/// A pretrain stage of a few epochs, with other settings laid over.
fn pretrain(settings: &Value) -> Value {
    let mut stage = json!({
        "model": mlp(),
        "data": {"mnist": {"batch-size": 32}},
        "epochs": 4,
        "optimizer": {"sgd": {"learning-rate": 0.1}},
    });
    merge(&mut stage, settings);
    json!({"pretrain": stage})
}

/// A finetune stage of one epoch, with other settings laid over.
fn finetune(settings: &Value) -> Value {
    let mut stage = json!({
        "from": "dense",
        "data": {"mnist": {"batch-size": 64}},
        "epochs": 1,
        "optimizer": {"sgd": {"learning-rate": 0.05}},
    });
    merge(&mut stage, settings);
    json!({"finetune": stage})
}

fn merge(stage: &mut Value, settings: &Value) {
    for (key, value) in settings.as_object().unwrap() {
        stage[key] = value.clone();
    }
}

fn same(first: &Tensor, second: &Tensor) -> bool {
    first.equal(second)
}

#[test]
fn pretraining_learns_classes_that_are_easy_to_tell_apart() {
    let lab = Lab::new();
    let outcome = lab.run("dense", &pretrain(&json!({})), &[]);
    assert_eq!(outcome.result, Ok(Ended::Done));
    assert!(outcome.value("mnist:test/accuracy", 4) > 0.97);
    assert!(outcome.value("train/accuracy", 4) > 0.9);
    assert!(outcome.value("train/loss", 4) < outcome.value("train/loss", 1));
    assert!((outcome.value("learning-rate", 2) - 0.1).abs() < 1e-12);
    // 784·16 + 16 + 2·16 + 16·10 + 10.
    assert!((outcome.value("params", 4) - 12_762.0).abs() < 0.5);
    for name in ["mnist:val/accuracy", "mnist:val/loss", "mnist:test/loss", "sparsity", "macs"] {
        outcome.value(name, 4);
    }
    let mut files: Vec<_> = std::fs::read_dir(&outcome.draft)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files, ["log.txt", "metrics.jsonl", "model.safetensors"]);
    let lines = std::fs::read_to_string(outcome.draft.join("metrics.jsonl")).unwrap();
    let lines: Vec<Point> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().filter(|point| point.name != "epoch-seconds").eq(&outcome.points));
}

#[test]
fn the_same_job_gives_the_same_bytes_and_another_seed_others() {
    let lab = Lab::new();
    let augment = json!([{"random-crop": {"padding": 1}}, {"horizontal-flip": {}}]);
    let stage = |split_seed| {
        let data = json!({"mnist": {"augment": augment, "split-seed": split_seed}});
        pretrain(&json!({"data": data, "epochs": 1}))
    };
    let first = lab.run("first", &stage(0), &[]);
    let second = lab.run("second", &stage(0), &[]);
    assert!(first.bytes() == second.bytes());
    assert_eq!(first.points, second.points);
    assert!(first.bytes() != lab.run("third", &stage(1), &[]).bytes());
}

#[test]
fn a_stage_that_was_stopped_and_resumed_gives_the_same_bytes() {
    let lab = Lab::new();
    let settings = [
        json!({"keep": "best", "optimizer": {"adam": {}}, "schedule": {"cosine": {}}}),
        json!({"optimizer": {"rmsprop": {"learning-rate": 1e-3, "momentum": 0.5}}, "l1": 1e-4}),
        json!({"early-stopping": {"patience": 3}, "clip-norm": 1.0}),
    ];
    for (index, settings) in settings.iter().enumerate() {
        let stage = pretrain(settings);
        let whole = lab.run(&format!("whole{index}"), &stage, &[]);
        let draft = format!("resumed{index}");
        let stopped = lab.run_until(
            &draft,
            &stage,
            &[],
            |event| matches!(event, Event::Metrics(points) if points[0].step == 2),
        );
        assert_eq!(stopped.result, Ok(Ended::Stopped));
        let resumed = lab.run(&draft, &stage, &[]);
        assert!(resumed.bytes() == whole.bytes(), "{settings}");
        assert_eq!(resumed.points, whole.points, "{settings}");
        let log = std::fs::read_to_string(resumed.draft.join("log.txt")).unwrap();
        assert_eq!(log, "resumes after epoch 2\n");
    }
}

#[test]
fn frozen_layers_stay_bit_identical_with_their_statistics() {
    let lab = Lab::new();
    let start = lab.checkpoint(&json!({"cnn": {"batch-norm": true}}), 10, |_| {});
    let stage = finetune(
        &json!({"freeze": ["conv1", "bn1"], "optimizer": {"adam": {"weight-decay": 0.1}}}),
    );
    let after = lab.run("tuned", &stage, &[("from", &start)]).model();
    let before = checkpoint::load(&start, Device::Cpu).unwrap();
    for (name, parameter) in before.params() {
        let frozen = name.starts_with("conv1.") || name.starts_with("bn1.");
        assert_eq!(same(&parameter.value, &after.params()[name].value), frozen, "{name}");
    }
}

#[test]
fn learning_rate_factors_hold_by_layer() {
    let lab = Lab::new();
    let start = lab.checkpoint(&json!({"mlp": {"hidden": [8]}}), 10, |_| {});
    let stage = finetune(&json!({"learning-rate-factors": {"fc1": 0.0, "*": 1.0}}));
    let after = lab.run("tuned", &stage, &[("from", &start)]).model();
    let before = checkpoint::load(&start, Device::Cpu).unwrap();
    let stays = |name: &str| same(&before.params()[name].value, &after.params()[name].value);
    assert!(stays("fc1.weight") && stays("fc1.bias"));
    assert!(!stays("fc2.weight") && !stays("fc2.bias"));
}

#[test]
fn masked_weights_stay_exactly_zero_through_finetuning() {
    let lab = Lab::new();
    let start = lab.checkpoint(&json!({"mlp": {"hidden": [8], "batch-norm": true}}), 10, |model| {
        for name in ["fc1.weight", "fc2.weight"] {
            let parameter = &mut model.params_mut()[name];
            let mask = no_grad(|| parameter.value.detach().gt(0.01).to_kind(Kind::Float));
            parameter.mask = Some(mask);
        }
        model.apply_masks();
    });
    let optimizers = [
        json!({"sgd": {"learning-rate": 0.1, "weight-decay": 0.1, "nesterov": true}}),
        json!({"adam": {"weight-decay": 0.1}}),
        json!({"adam-w": {"weight-decay": 0.1}}),
        json!({"rmsprop": {"momentum": 0.9, "weight-decay": 0.1}}),
    ];
    for optimizer in optimizers {
        let stage = finetune(&json!({
            "optimizer": optimizer, "l2-sp": {"alpha": 0.1}, "l1": 0.01, "clip-norm": 1.0,
        }));
        let outcome = lab.run("tuned", &stage, &[("from", &start)]);
        let model = outcome.model();
        for name in ["fc1.weight", "fc2.weight"] {
            let Parameter { value, mask, .. } = &model.params()[name];
            let pruned = mask.as_ref().unwrap().eq(0.0);
            let values: Vec<f32> = Vec::try_from(&value.detach().masked_select(&pruned)).unwrap();
            assert!(values.len() > 30 && values.iter().all(|value| value.to_bits() == 0), "{name}");
        }
        assert!(outcome.value("sparsity", 1) > 0.4);
        assert!(outcome.value("train/l2-sp", 1) > 0.0);
    }
}

#[test]
fn a_head_is_replaced_where_the_classes_differ_or_a_new_one_is_asked_for() {
    let lab = Lab::new();
    let model = json!({"mlp": {"hidden": [8]}});
    let four = lab.checkpoint(&model, 4, |_| {});
    let outcome = lab.run("other", &finetune(&json!({"epochs": 0})), &[("from", &four)]);
    let after = outcome.model();
    assert_eq!(after.network().classes().unwrap(), 10);
    let before = checkpoint::load(&four, Device::Cpu).unwrap();
    assert!(same(&before.params()["fc1.weight"].value, &after.params()["fc1.weight"].value));

    let ten = lab.checkpoint(&model, 10, |_| {});
    let before = checkpoint::load(&ten, Device::Cpu).unwrap();
    for new_head in [false, true] {
        let stage = finetune(&json!({"epochs": 0, "new-head": new_head}));
        let after = lab.run("same", &stage, &[("from", &ten)]).model();
        let (before, after) =
            (&before.params()["fc2.weight"].value, &after.params()["fc2.weight"].value);
        assert_eq!(same(before, after), !new_head);
    }
}

#[test]
fn finetuning_measures_where_it_starts_and_what_it_reached() {
    let lab = Lab::new();
    let start = lab.checkpoint(&mlp(), 10, |_| {});
    let outcome = lab.run("tuned", &finetune(&json!({"epochs": 3})), &[("from", &start)]);
    assert!(outcome.value("mnist:val/accuracy", 0) < 0.5);
    assert!(outcome.value("mnist:val/accuracy", 3) > 0.8);
    assert!(outcome.value("mnist:test/accuracy", 3) > 0.8);
}

#[test]
fn a_teacher_teaches_and_must_fit() {
    let lab = Lab::new();
    let teacher = lab.run("teacher", &pretrain(&json!({})), &[]);
    let student = lab.checkpoint(&json!({"mlp": {"hidden": [32]}}), 10, |_| {});
    let loss = json!({"distillation": {"alpha": 1.0}});
    let stage = finetune(&json!({"teacher": "dense", "loss": loss, "epochs": 12}));
    let inputs = [("from", student.as_path()), ("teacher", teacher.draft.as_path())];
    let outcome = lab.run("tuned", &stage, &inputs);
    let [before, after] = [0, 12].map(|step| outcome.value("mnist:val/accuracy", step));
    assert!(after > before + 0.3, "{before} to {after}, from the teacher alone");

    let teacher = lab.checkpoint(&json!({"mlp": {"hidden": []}}), 4, |_| {});
    let student = outcome.draft;
    let inputs = [("from", student.as_path()), ("teacher", teacher.as_path())];
    assert_eq!(
        lab.run("unfit", &stage, &inputs).result.unwrap_err(),
        "the teacher takes 1×28×28 and knows 4 classes, the student 1×28×28 and 10; they must be the same"
    );
}

#[test]
fn a_network_of_several_domains_is_finetuned_as_the_datasets_or_the_last() {
    let lab = Lab::new();
    for (domains, picked) in [(["mnist", "usps"], 0), (["cifar10", "usps"], 1)] {
        let start =
            lab.checkpoint(&json!({"mlp": {"hidden": [8], "batch-norm": true}}), 10, |_| {});
        let model = checkpoint::load(&start, Device::Cpu).unwrap();
        let domains = domains.map(str::to_owned);
        let model = model.split_domains(&domains, &["bn1".to_owned()]);
        let name = format!("private.{}.bn1.weight", domains[picked]);
        let _ = no_grad(|| model.params()[&name].value.shallow_clone().fill_(3.0));
        std::fs::remove_dir_all(&start).unwrap();
        std::fs::create_dir(&start).unwrap();
        checkpoint::save(&start, &model).unwrap();
        let after = lab.run("tuned", &finetune(&json!({"epochs": 0})), &[("from", &start)]).model();
        assert!(after.network().domains.is_empty());
        assert!((after.params()["bn1.weight"].value.double_value(&[0]) - 3.0).abs() < 1e-9);
    }
}

#[test]
fn a_stage_that_diverges_names_the_step() {
    let stage = pretrain(&json!({
        "model": {"mlp": {"hidden": [16]}},
        "optimizer": {"sgd": {"learning-rate": 1e30}},
    }));
    let error = Lab::new().run("dense", &stage, &[]).result.unwrap_err();
    assert!(
        error.contains("became NaN at step") || error.contains("became inf at step"),
        "{error}"
    );
    assert!(
        error.ends_with("lower the learning rate or clip gradients with `clip-norm`"),
        "{error}"
    );
}

#[test]
fn the_best_epoch_cannot_be_chosen_without_a_validation_split() {
    let stage = pretrain(&json!({"data": {"mnist": {"val-fraction": 0.0}}, "keep": "best"}));
    assert_eq!(
        Lab::new().run("dense", &stage, &[]).result.unwrap_err(),
        "`keep = \"best\"` needs `mnist:val/accuracy`, and the validation split is empty; make `val-fraction` larger than 0"
    );
}

#[test]
fn evaluating_gives_what_training_measured_and_no_checkpoint() {
    let lab = Lab::new();
    let dense = lab.run("dense", &pretrain(&json!({})), &[]);
    let evaluate = |split: &str, options: Value| json!({"evaluate": {"from": "dense", "data": {"mnist": options}, "split": split}});
    let inputs = [("from", dense.draft.as_path())];
    for (split, step) in [("test", 4), ("val", 4)] {
        let outcome = lab.run("measured", &evaluate(split, json!({})), &inputs);
        assert_eq!(outcome.result, Ok(Ended::Done));
        for what in ["accuracy", "loss"] {
            let name = format!("mnist:{split}/{what}");
            let difference = outcome.value(&name, 0) - dense.value(&name, step);
            assert!(difference.abs() < 1e-12, "{name}");
        }
        assert_eq!(outcome.points.len(), 2);
        assert!(!outcome.draft.join("model.safetensors").exists());
        assert!(outcome.draft.join("metrics.jsonl").exists());
    }
    let outcome = lab.run("measured", &evaluate("train", json!({})), &inputs);
    assert!(outcome.value("mnist:train/accuracy", 0) > 0.95);
    let outcome = lab.run("empty", &evaluate("val", json!({"val-fraction": 0.0})), &inputs);
    assert_eq!(
        outcome.result.unwrap_err(),
        "split `val` of `mnist` is empty; for `val` make `val-fraction` larger than 0"
    );
}

/// A prune stage with a criterion.
fn prune(criterion: &Value, settings: &Value) -> Value {
    let mut stage = json!({
        "from": "dense",
        "criterion": criterion,
        "data": {"mnist": {"batch-size": 32}},
        "sparsity": 0.9,
    });
    merge(&mut stage, settings);
    json!({"prune": stage})
}

fn zero_weights(model: &Model) -> u64 {
    model.counts().unwrap().zero_weights
}

#[test]
fn every_criterion_meets_its_target_and_measures_what_is_left() {
    let lab = Lab::new();
    let dense = lab.run("dense", &pretrain(&json!({})), &[]);
    let from = [("from", dense.draft.as_path())];
    let criteria = [
        json!({"magnitude": {}}),
        json!({"random": {}}),
        json!({"max-entropy": {"calibration-samples": 100}}),
        json!({"min-mse": {"hessian": "diag", "calibration-samples": 100}}),
        json!({"min-mse": {"calibration-samples": 100}}),
        json!({"min-mse": {"target": "labels", "hessian": "diag", "calibration-samples": 100}}),
        json!({"min-mse": {"target": "labels", "hessian": "identity", "calibration-samples": 100}}),
        json!({"sparse-opt": {"epochs": 2, "debias-epochs": 1}}),
        json!({"sparse-opt": {"method": "hard-threshold", "epochs": 2, "debias-epochs": 1}}),
        json!({"sparse-opt": {
            "optimizer": "adam", "learning-rate": 0.01, "epochs": 2, "debias-epochs": 1,
        }}),
        json!({"movement": {"epochs": 2}}),
        json!({"sparse-opt": {"method": "fista", "epochs": 2, "debias-epochs": 1}}),
        json!({"sparse-opt": {"method": "half-space", "epochs": 2, "debias-epochs": 1}}),
    ];
    for criterion in criteria {
        let name = criterion.as_object().unwrap().keys().next().unwrap();
        let thin = lab.run(&format!("thin {criterion}"), &prune(&criterion, &json!({})), &from);
        let model = thin.model();
        // 784·16 + 16·10 weights.
        let (zeros, wanted) = (zero_weights(&model), (0.9f64 * 12_704.0).round() as u64);
        if name == "max-entropy" {
            assert!(zeros >= wanted && zeros < wanted + 794, "{zeros}");
        } else {
            assert_eq!(zeros, wanted, "{criterion}");
        }
        let step = if ["sparse-opt", "movement"].contains(&name.as_str()) { 3 } else { 0 };
        assert!((thin.value("sparsity", step) - zeros as f64 / 12_704.0).abs() < 1e-12);
        let layers = thin.value("layer/fc1/nonzero", step) + thin.value("layer/fc2/nonzero", step);
        assert_eq!(layers as u64, 12_704 - zeros);
        for split in ["val", "test"] {
            let accuracy = thin.value(&format!("mnist:{split}/accuracy"), step);
            assert!((0.0..=1.0).contains(&accuracy));
        }
        let again = lab.run(&format!("again {criterion}"), &prune(&criterion, &json!({})), &from);
        assert_eq!(thin.bytes(), again.bytes(), "{criterion} repeats to the bit");
        let mut seen = BTreeSet::new();
        for point in &thin.points {
            assert!(seen.insert((&point.name, point.step)), "{} is measured twice", point.name);
        }

        let tuned = lab.run(
            &format!("tuned {criterion}"),
            &finetune(&json!({})),
            &[("from", thin.draft.as_path())],
        );
        let tuned = tuned.model();
        for (name, parameter) in model.params() {
            let Some(mask) = &parameter.mask else { continue };
            let revived = tuned.params()[name].value.masked_select(&mask.eq(0.0));
            assert_eq!(revived.count_nonzero(None::<i64>).int64_value(&[]), 0, "{name}");
        }
    }
}

#[test]
fn whole_units_go_by_every_criterion_and_can_be_taken_out() {
    let lab = Lab::new();
    let dense = lab.run("dense", &pretrain(&json!({})), &[]);
    let from = [("from", dense.draft.as_path())];
    let entropy = |variant: Value, correction: &str| {
        json!({"max-entropy": {
            "variant": variant, "correction": correction, "calibration-samples": 100,
        }})
    };
    let mse = |select: &str, correction: &str| {
        json!({"min-mse": {
            "select": select, "correction": correction, "calibration-samples": 100,
        }})
    };
    let criteria = [
        json!({"magnitude": {}}),
        json!({"random": {}}),
        json!({"slimming": {"epochs": 0}}),
        json!({"slimming": {"epochs": 2, "lambda": 0.01}}),
        json!({"taylor": {"calibration-samples": 100}}),
        json!({"snip": {"calibration-samples": 100}}),
        json!({"grasp": {"calibration-samples": 100}}),
        entropy(json!({"joint": {}}), "least-squares"),
        entropy(json!({"activation": {"range": "channel"}}), "mean"),
        entropy(json!({"on-off": {}}), "none"),
        entropy(json!({"output": {"of": "mutual-information"}}), "none"),
        mse("elimination", "least-squares"),
        mse("thinet", "mean"),
        mse("lasso", "none"),
        json!({"sparse-opt": {"epochs": 2, "debias-epochs": 1}}),
        json!({"sparse-opt": {"method": "hard-threshold", "epochs": 2, "debias-epochs": 1}}),
        json!({"movement": {"epochs": 2}}),
        json!({"sparse-opt": {"method": "fista", "epochs": 2, "debias-epochs": 1}}),
        json!({"sparse-opt": {"method": "half-space", "epochs": 2, "debias-epochs": 1}}),
    ];
    for criterion in criteria {
        let stage = |remove: bool| {
            json!({"prune": {
                "from": "dense",
                "criterion": criterion,
                "data": {"mnist": {"batch-size": 32}},
                "granularity": "unit",
                "budget": {"channels": 0.5},
                "remove": remove,
            }})
        };
        let masked = lab.run(&format!("masked {criterion}"), &stage(false), &from);
        let small = lab.run(&format!("small {criterion}"), &stage(true), &from);
        assert_eq!(masked.result, Ok(Ended::Done), "{criterion}");
        // Of 784-16-10 eight units stay: 784·8 + 3·8 (bias and normalisation) + 8·10 + 10 parameters.
        let (params, zeros) =
            (small.model().network().param_count(), zero_weights(&masked.model()));
        if criterion.get("sparse-opt").is_some() {
            // More units may have come to be zero than had to.
            assert!(params <= 6386 && zeros >= 8 * 794, "{criterion}: {params} {zeros}");
        } else {
            assert_eq!((params, zeros), (6386, 8 * 794), "{criterion}");
        }
        for measure in ["mnist:test/accuracy", "mnist:val/accuracy"] {
            let trains =
                ["sparse-opt", "movement"].iter().any(|name| criterion.get(*name).is_some())
                    || criterion["slimming"]["epochs"] == 2;
            let step = if trains { 3 } else { 0 };
            let (masked, small) = (masked.value(measure, step), small.value(measure, step));
            assert!((masked - small).abs() < 1e-12, "{criterion}: {masked} {small}");
        }
        let again = lab.run(&format!("again {criterion}"), &stage(true), &from);
        assert_eq!(small.bytes(), again.bytes(), "{criterion} repeats to the bit");
        let inputs = [("from", small.draft.as_path())];
        let tuned = lab.run(&format!("tuned {criterion}"), &finetune(&json!({})), &inputs);
        assert_eq!(tuned.model().network().param_count(), params, "{criterion}");
    }
}

#[test]
fn a_budget_of_nonzeros_is_met_to_the_weight() {
    let lab = Lab::new();
    let dense = lab.checkpoint(&mlp(), 10, |_| {});
    let from = [("from", dense.as_path())];
    let stage = |nonzeros: f64| {
        json!({"prune": {
            "from": "dense", "criterion": {"magnitude": {}}, "budget": {"nonzeros": nonzeros},
        }})
    };
    let nonzeros = |model: &Model| model.counts().unwrap().nonzero_params;
    let dense = lab.run("as it was", &stage(1.0), &from).model();
    for (stated, expected) in
        [(0.25, (0.25 * nonzeros(&dense) as f64).round() as u64), (500.0, 500)]
    {
        let thin = lab.run(&format!("thin {stated}"), &stage(stated), &from);
        assert_eq!(nonzeros(&thin.model()), expected);
    }
    let error = lab.run("none", &stage(5.0), &from).result.unwrap_err();
    assert!(
        error.starts_with("budget.nonzeros = 5 allows 5 parameters that are not zero"),
        "{error}"
    );
}

#[test]
fn pruning_without_data_measures_no_accuracy_and_criteria_that_need_it_ask() {
    let lab = Lab::new();
    let dense = lab.checkpoint(&mlp(), 10, |_| {});
    let from = [("from", dense.as_path())];
    let without = |criterion: &Value| {
        let mut stage = prune(criterion, &json!({}));
        stage["prune"].as_object_mut().unwrap().remove("data");
        stage
    };
    let thin = lab.run("thin", &without(&json!({"magnitude": {}})), &from);
    assert_eq!(zero_weights(&thin.model()), 11_434);
    assert!(!thin.points.iter().any(|point| point.name.contains("accuracy")));
    let thin = lab.run("none", &without(&json!({"min-mse": {}})), &from);
    assert_eq!(thin.result, Err("the criterion `min-mse` looks at data; state `data`".to_owned()));
}

#[test]
fn other_classes_are_no_reason_not_to_prune_but_no_labels_to_train_on() {
    let lab = Lab::new();
    let dense = lab.checkpoint(&mlp(), 7, |_| {});
    let from = [("from", dense.as_path())];
    let thin = lab.run("thin", &prune(&json!({"max-entropy": {}}), &json!({})), &from);
    assert_eq!(thin.result, Ok(Ended::Done));
    assert!(!thin.points.iter().any(|point| point.name.contains("accuracy")));
    let thin = lab.run("opt", &prune(&json!({"sparse-opt": {}}), &json!({})), &from);
    assert_eq!(
        thin.result,
        Err("sparse-opt learns from the labels of `mnist`, which has 10 classes, and the network has 7; state `data` that it was trained on"
            .to_owned())
    );
}

#[test]
fn pruning_stops_when_it_is_asked_to() {
    let lab = Lab::new();
    let dense = lab.checkpoint(&mlp(), 10, |_| {});
    let from = [("from", dense.as_path())];
    let movement = json!({"movement": {"epochs": 1000}});
    let labels = json!({"min-mse": {"target": "labels", "hessian": "diag"}});
    for criterion in [json!({"min-mse": {}}), labels, movement, json!({"sparse-opt": {}})] {
        let stage = prune(&criterion, &json!({}));
        let stopped = lab.run_until(&format!("stopped {criterion}"), &stage, &from, |event| {
            matches!(event, Event::Progress(_))
        });
        assert_eq!(stopped.result, Ok(Ended::Stopped), "{criterion}");
        assert!(!stopped.draft.join("model.safetensors").exists());
    }
}
