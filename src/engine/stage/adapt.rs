//! The `adapt` stage: from a labelled source to an unlabelled target.
//!
//! The target's labels are read to measure the result, before the first epoch and after the last,
//! on its test split. Training and the choice of an epoch get the target's images through types without
//! labels; see [`crate::adapt`].
//!
//! Shared batch-norm layers are trained on both domains in turn, so that at the end their running
//! statistics describe both. A layer named in `specific` has its own parameters and statistics for
//! each domain; every measurement of a domain uses that domain's copies.

use graftwork::experiment::spec::{Adapt, Data, Split};

use super::{Context, Ended, StageError};
use crate::adapt::{Adaptation, Domains, SOURCE, TARGET, learner};
use crate::data::{Set, Splits, Unlabelled, UnlabelledSet};
use crate::model::Model;
use crate::train::{self, Trained};
use tch::{Kind, Tensor};

pub(super) fn run(stage: &Adapt, context: &mut Context<'_>) -> Result<Ended, StageError> {
    check(stage)?;
    let model = one_domain(context.input("from")?, &stage.source.domain());
    let source = open(&stage.source, &model, context)?;
    let target = open(&stage.target, &model, context)?;
    adapt(stage, context, model, &source, &Target::from(target))
}

fn adapt(
    stage: &Adapt,
    context: &mut Context<'_>,
    model: Model,
    source: &Splits,
    target: &Target,
) -> Result<Ended, StageError> {
    let names = [stage.source.domain(), stage.target.domain()];
    let mut model = split(model, &names, &stage.specific)?;
    let seed = context.job.seed;
    let learner = learner(stage, &model, feature_count(&model)?, seed)?;
    check_batches(stage, learner.smallest_batch(), source.train.len(), target.train.len())?;
    check_values(stage, &target.train)?;
    learner.freeze(&mut model)?;
    let domains = Domains {
        names: &names,
        source: &source.train,
        validation: &source.val,
        target_validation: &target.val,
        target: &target.train,
    };
    let start = train::evaluate(&model, &target.test, Some(TARGET));
    let start = start.named(&names[TARGET], Split::Test.as_str());
    let mut objective = Adaptation::new(stage, domains, learner, seed).starting_at(start);
    let trained = train::train(context, &mut model, &stage.training(), &mut objective)?;
    let Trained::Done { epoch } = trained else { return Ok(Ended::Stopped) };
    context.measure(&model, &source.test, &names[SOURCE], epoch);
    context.measure(&model, &target.test, &names[TARGET], epoch);
    context.finish(&model, u64::from(epoch))
}

/// What an adaptation may have of the target.
struct Target {
    train: Unlabelled,
    val: UnlabelledSet,
    /// Measured, and never used.
    test: Set,
}

impl From<Splits> for Target {
    /// Drops the labels of the training images and of the validation split.
    fn from(splits: Splits) -> Self {
        let (train, val) = (splits.train.into_unlabelled(), splits.val.into_unlabelled());
        Self { train, val, test: splits.test }
    }
}

fn check(stage: &Adapt) -> Result<(), StageError> {
    let source = stage.source.domain();
    if source == stage.target.domain() {
        return Err(StageError::Unfit(format!(
            "source and target are both `{source}`; name two datasets, or two sizes of one"
        )));
    }
    if stage.joint_batches && !stage.specific.is_empty() {
        return Err(StageError::Unfit(
            "joint-batches = true sends both domains through the same layers; leave out `specific` or `joint-batches`"
                .to_owned(),
        ));
    }
    Ok(())
}

/// The network as the source uses it, where it was adapted before.
fn one_domain(model: Model, source: &str) -> Model {
    match model.domain_for(source) {
        Some(domain) => model.into_domain(domain),
        None => model,
    }
}

fn open(data: &Data, model: &Model, context: &Context<'_>) -> Result<Splits, StageError> {
    let splits = context.open(data, model.network().input_shape())?;
    let classes = model.network().classes().map_err(unfit)?;
    if splits.classes != classes {
        return Err(StageError::Unfit(format!(
            "dataset `{}` has {} classes and the network has {classes}; finetune the network on the source first",
            splits.name, splits.classes
        )));
    }
    Ok(splits)
}

/// Gives each domain its own copy of the layers that a pattern names.
fn split(model: Model, names: &[String; 2], specific: &[String]) -> Result<Model, StageError> {
    if specific.is_empty() {
        return Ok(model);
    }
    let model = model.split_domains(names, specific);
    if model.network().nodes.iter().any(|node| node.specific) {
        return Ok(model);
    }
    Err(StageError::Unfit(format!(
        "specific = {specific:?} names no layer; there are: {}",
        model.network().layer_names().join(", ")
    )))
}

/// Number of values that the network's last layer reads.
fn feature_count(model: &Model) -> Result<u32, StageError> {
    let shapes = model.network().shapes().map_err(unfit)?;
    Ok(shapes[model.feature_node()].iter().product())
}

fn check_batches(
    stage: &Adapt,
    needed: u32,
    source: usize,
    target: usize,
) -> Result<(), StageError> {
    for (role, data, images) in
        [("source", &stage.source, source), ("target", &stage.target, target)]
    {
        let rows = (images as u64).min(u64::from(data.batching().batch_size));
        if rows < u64::from(needed) {
            return Err(StageError::Unfit(format!(
                "method `{}` compares batches of at least {needed} images and the {role} `{}` gives {rows}; raise its batch-size",
                stage.method.name(),
                data.domain()
            )));
        }
    }
    Ok(())
}

/// Numbers of words cannot be perturbed.
fn check_values(stage: &Adapt, target: &Unlabelled) -> Result<(), StageError> {
    let is_integer = |inputs: Tensor| inputs.kind() == Kind::Int64;
    if stage.method.perturbation().is_none() || !target.in_order().next().is_some_and(is_integer) {
        return Ok(());
    }
    Err(StageError::Unfit(format!(
        "method `{}` perturbs the examples of `{}`, and numbers of words cannot be; choose another method, or `bags` of words",
        stage.method.name(),
        stage.target.domain()
    )))
}

fn unfit(error: impl std::fmt::Display) -> StageError {
    StageError::Unfit(error.to_string())
}

#[cfg(test)]
mod tests {
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
    use tch::Device;

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
        elsewhere.target =
            serde_json::from_value(json!({ "optdigits": { "batch-size": 8 } })).unwrap();
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
        assert_eq!(
            split.counts().unwrap().params,
            shared.counts().unwrap().params + fully_connected
        );
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
        let batches =
            |model: &Model| model.params()["bn1.num_batches_tracked"].value.int64_value(&[]);
        assert_eq!(batches(&apart), 2 * batches(&joint));
    }
}
