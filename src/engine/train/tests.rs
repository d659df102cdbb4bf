//! The loop on an objective that a test scripts: no data, one layer.

use std::cell::Cell;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use graftwork::experiment::spec::{Adam, EarlyStopping, Optimizer as Rule, Pretrain, Sgd, Stage};
use graftwork::network::Network;
use graftwork::network::op::Linear;
use graftwork::protocol::{Event, Job, Point};
use tch::Device;

use super::*;
use crate::model::Mode;
use crate::stage::Recorder;

const STEPS: u64 = 5;

/// Fits `fc` and an auxiliary layer behind it to inputs that depend on (epoch, step) alone.
struct Scripted<'a> {
    auxiliary: Model,
    epoch: u32,
    /// Validation accuracy and loss by epoch.
    validation: &'a dyn Fn(u32) -> (f64, f64),
    /// Raised in this (epoch, step of the epoch).
    stop_at: Option<(u32, u64)>,
    stop: &'a AtomicBool,
    /// The loss of this step of the stage is no number.
    bad_step: Option<u64>,
    steps: Cell<u64>,
}

impl Objective for Scripted<'_> {
    fn steps_per_epoch(&self) -> u64 {
        STEPS
    }

    fn begin_epoch(&mut self, epoch: u32) {
        self.epoch = epoch;
    }

    fn loss(&mut self, model: &Model, step: &Step) -> Terms {
        assert_eq!((step.epoch, step.total % STEPS), (self.epoch, 0));
        self.steps.set(self.steps.get() + 1);
        let in_epoch = step.index % STEPS;
        if self.stop_at == Some((step.epoch, in_epoch)) {
            self.stop.store(true, Ordering::Relaxed);
        }
        let mut rng = random::stream(9, "input", step.index);
        let input = random::uniform(&[4, 3], -1.0, 1.0, &mut rng);
        let hidden = model.forward(&input, Mode::Train, None);
        let output = self.auxiliary.forward(&hidden, Mode::Train, None);
        let total = (output - 1.0).square().mean(Kind::Float);
        let total = if self.bad_step == Some(step.index) { total.log() * f64::NAN } else { total };
        Terms { named: vec![("half", &total * 0.5)], total }
    }

    fn before(&mut self, _model: &Model) -> Vec<(String, f64)> {
        vec![("start".to_owned(), 1.0)]
    }

    fn validate(&mut self, _model: &Model) -> Vec<(String, f64)> {
        let (accuracy, loss) = (self.validation)(self.epoch);
        vec![("val/accuracy".to_owned(), accuracy), ("val/loss".to_owned(), loss)]
    }

    fn selection(&self) -> (String, String) {
        ("val/accuracy".to_owned(), "val/loss".to_owned())
    }

    fn auxiliary(&mut self) -> Option<&mut Model> {
        Some(&mut self.auxiliary)
    }
}

fn layer(inputs: u32, outputs: u32) -> Model {
    let mut network = Network::new("test", &[inputs]);
    network.push("fc", Linear::new(inputs, outputs));
    Model::new(network, 5, Device::Cpu)
}

/// A run of the loop, and what came of it.
struct Run<'a> {
    training: Training,
    validation: &'a dyn Fn(u32) -> (f64, f64),
    stop_at: Option<(u32, u64)>,
    bad_step: Option<u64>,
    options: Options,
}

struct Outcome {
    result: Result<Trained, String>,
    /// Values of `fc.weight` and of the auxiliary one.
    weights: [Vec<f32>; 2],
    /// All points but the epochs' seconds, as an uninterrupted attempt would have sent them.
    points: Vec<Point>,
    log: String,
    /// Steps that this attempt took.
    steps: u64,
}

impl Run<'_> {
    fn new() -> Self {
        let stage: Pretrain = serde_json::from_value(serde_json::json!({
            "model": {"mlp": {"hidden": []}}, "data": {"mnist": {}}, "epochs": 4,
        }))
        .unwrap();
        Self {
            training: stage.training(),
            validation: &|epoch| (0.1 * f64::from(epoch), 1.0 / f64::from(epoch)),
            stop_at: None,
            bad_step: None,
            options: Options::default(),
        }
    }

    fn run(&self, draft: &Path) -> Outcome {
        let stage = serde_json::json!({"evaluate": {"from": "x", "data": {"mnist": {}}}});
        let job = Job {
            key: "ab".repeat(32).parse().unwrap(),
            name: "test".to_owned(),
            stage: serde_json::from_value::<Stage>(stage).unwrap(),
            seed: 3,
            inputs: [].into(),
            data: [].into(),
            draft: draft.to_owned(),
            folder: draft.to_owned(),
            files: [].into(),
            keep_epochs: [].into(),
            threads: None,
        };
        let stop = AtomicBool::new(false);
        let mut points = Vec::new();
        let mut send = |event| {
            if let Event::Metrics(new) = event {
                points.extend(new);
            }
        };
        let mut model = layer(3, 2);
        let mut objective = Scripted {
            auxiliary: layer(2, 1),
            epoch: 0,
            validation: self.validation,
            stop_at: self.stop_at,
            stop: &stop,
            bad_step: self.bad_step,
            steps: Cell::new(0),
        };
        let mut recorder = Recorder::new(draft, &mut send).unwrap();
        let mut context =
            Context { job: &job, device: Device::Cpu, recorder: &mut recorder, stop: &stop };
        let turn = random::libtorchs_turn();
        let result =
            train_with(&mut context, &mut model, &self.training, &mut objective, &self.options);
        drop(turn);
        let weights = |model: &Model| {
            Vec::try_from(&model.params()["fc.weight"].value.detach().view([-1])).unwrap()
        };
        points.retain(|point: &Point| point.name != "epoch-seconds");
        Outcome {
            result: result.map_err(|error| error.to_string()),
            weights: [weights(&model), weights(&objective.auxiliary)],
            points,
            log: std::fs::read_to_string(draft.join("log.txt")).unwrap(),
            steps: objective.steps.get(),
        }
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn every_epoch_leaves_its_metrics() {
    let outcome = Run::new().run(folder().path());
    assert_eq!(outcome.result, Ok(Trained::Done { epoch: 4 }));
    let of = |step| -> Vec<&str> {
        let points = outcome.points.iter().filter(|point| point.step == step);
        points.map(|point| point.name.as_str()).collect()
    };
    assert_eq!(of(0), ["start"]);
    let names = ["train/loss", "train/half", "learning-rate", "val/accuracy", "val/loss"];
    for step in 1..=4 {
        assert_eq!(of(step), names);
    }
    let losses = |name: &str| -> Vec<f64> {
        let points = outcome.points.iter().filter(|point| point.name == name);
        points.map(|point| point.value).collect()
    };
    assert!(losses("train/loss")[3] < losses("train/loss")[0]);
    assert!((losses("train/half")[0] - losses("train/loss")[0] / 2.0).abs() < 1e-6);
}

#[test]
fn a_stop_loses_the_epoch_that_it_interrupts_and_no_more() {
    let mut run = Run::new();
    run.training.keep = Keep::Best;
    run.training.optimizer = Rule::Adam(Adam::default());
    // The second epoch is the best: the best network must survive the interruption.
    run.validation = &|epoch| (if epoch == 2 { 0.9 } else { 0.1 }, 1.0);
    let whole = run.run(folder().path());
    assert_eq!(whole.result, Ok(Trained::Done { epoch: 2 }));
    assert_eq!(whole.steps, 20);

    for (stop_at, left) in [((1, 3), 20), ((3, 0), 10), ((3, 4), 5), ((4, 1), 5)] {
        let folder = folder();
        let stopped = Run { stop_at: Some(stop_at), training: run.training.clone(), ..run };
        assert_eq!(stopped.run(folder.path()).result, Ok(Trained::Stopped));
        let resumed = run.run(folder.path());
        assert_eq!(resumed.result, whole.result);
        assert_eq!(resumed.weights, whole.weights, "stopped at {stop_at:?}");
        assert_eq!(resumed.points, whole.points);
        assert_eq!(resumed.steps, left, "stopped at {stop_at:?}");
    }
}

/// What is done to a progress file, and what the log then says.
type Damage<'a> = (&'a dyn Fn(&Path), &'a str);

#[test]
fn progress_that_cannot_be_used_is_ignored() {
    let run = Run::new();
    let whole = run.run(folder().path());
    let stopped = Run { stop_at: Some((3, 1)), training: run.training.clone(), ..run };
    let other = Run {
        training: Training { optimizer: Rule::Adam(Adam::default()), ..run.training.clone() },
        ..run
    };

    let damages: [Damage<'_>; 3] = [
        (&|path| std::fs::write(path, "nonsense").unwrap(), "is damaged"),
        (
            &|path| {
                let bytes = std::fs::read(path).unwrap();
                std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
            },
            "is damaged",
        ),
        (
            &|path| {
                let draft = path.parent().unwrap();
                Run { stop_at: Some((3, 1)), training: other.training.clone(), ..other }.run(draft);
            },
            "`optimizer.momentum_buffer.fc.weight` is missing",
        ),
    ];
    for (damage, reason) in damages {
        let folder = folder();
        stopped.run(folder.path());
        damage(&folder.path().join("progress.safetensors"));
        let again = run.run(folder.path());
        assert!(again.log.contains("starts anew") && again.log.contains(reason), "{}", again.log);
        assert_eq!(
            (again.weights, again.points, again.steps),
            (whole.weights.clone(), whole.points.clone(), 20)
        );
    }
}

#[test]
fn the_kept_epoch_is_chosen_on_the_validation_split() {
    let mut run = Run::new();
    run.training.keep = Keep::Best;
    run.validation = &|epoch| ([0.5, 0.8, 0.8, 0.1][epoch as usize - 1], 1.0);
    let best = run.run(folder().path());
    assert_eq!(best.result, Ok(Trained::Done { epoch: 2 }), "the first of equals");
    assert_eq!(best.points.iter().filter(|point| point.name == "val/loss").count(), 4);
    let kept = |outcome: &Outcome| -> Vec<f64> {
        let points = outcome.points.iter().filter(|point| point.name == "kept-epoch");
        points.map(|point| point.value).collect()
    };
    assert_eq!(kept(&best), [2.0]);
    run.training.keep = Keep::LowestLoss;
    run.validation = &|epoch| (0.5, [0.9, 0.8, 0.3, 0.3][epoch as usize - 1]);
    let lowest = run.run(folder().path());
    assert_eq!(lowest.result, Ok(Trained::Done { epoch: 3 }), "the first of equals");
    assert_eq!(kept(&lowest), [3.0]);
    run.training.keep = Keep::Last;
    run.training.epochs = 2;
    let last = run.run(folder().path());
    assert_eq!(last.weights[0], best.weights[0]);
    assert!(kept(&last).is_empty(), "nothing was chosen");
}

#[test]
fn early_stopping_waits_for_its_patience() {
    let mut run = Run::new();
    run.training.epochs = 10;
    run.training.early_stopping = Some(EarlyStopping { patience: 2, min_delta: 0.0 });
    run.validation = &|epoch| (0.5, [1.0, 0.5, 0.6, 0.7, 0.1][epoch as usize - 1]);
    let outcome = run.run(folder().path());
    assert_eq!(outcome.result, Ok(Trained::Done { epoch: 4 }));
    assert_eq!(outcome.steps, 20);
}

#[test]
fn an_accuracy_that_is_no_number_is_never_the_best() {
    let mut run = Run::new();
    run.training.keep = Keep::Best;
    run.validation = &|_| (f64::NAN, f64::NAN);
    assert_eq!(run.run(folder().path()).result, Ok(Trained::Done { epoch: 4 }));
}

#[test]
fn a_loss_that_is_no_number_names_its_step() {
    let mut run = Run::new();
    run.bad_step = Some(12);
    let error = run.run(folder().path()).result.unwrap_err();
    assert_eq!(
        error,
        "the loss became NaN at step 12 (epoch 3); lower the learning rate or clip gradients with `clip-norm`"
    );
}

#[test]
fn parameters_that_overflow_in_the_last_step_are_told() {
    let mut run = Run::new();
    run.training.epochs = 1;
    run.training.optimizer =
        Rule::Sgd(Sgd { learning_rate: 1e30, momentum: 0.0, ..Sgd::default() });
    let error = run.run(folder().path()).result.unwrap_err();
    assert!(
        error.contains("became inf at step") || error.contains("became NaN at step"),
        "{error}"
    );
}

#[test]
fn nothing_is_trained_in_no_epochs() {
    let mut run = Run::new();
    run.training.epochs = 0;
    let outcome = run.run(folder().path());
    assert_eq!(outcome.result, Ok(Trained::Done { epoch: 0 }));
    assert_eq!(outcome.weights[0], {
        let values: Vec<f32> =
            Vec::try_from(&layer(3, 2).params()["fc.weight"].value.detach().view([-1])).unwrap();
        values
    });
}

#[test]
fn a_second_training_of_a_stage_counts_its_epochs_on() {
    let mut run = Run::new();
    run.training.epochs = 2;
    run.validation = &|_| (0.5, 0.5);
    run.options = Options { epochs_before: 3, resumable: false, record: true };
    let outcome = run.run(folder().path());
    assert_eq!(outcome.result, Ok(Trained::Done { epoch: 5 }));
    let steps = outcome.points.iter().filter(|point| point.name == "train/loss");
    assert_eq!(steps.map(|point| point.step).collect::<Vec<_>>(), [4, 5]);
}

#[test]
fn clipping_bounds_the_step_and_an_l1_penalty_is_named() {
    let mut run = Run::new();
    run.training.epochs = 1;
    run.training.l1 = 0.01;
    run.training.clip_norm = Some(1e-9);
    let outcome = run.run(folder().path());
    let start: Vec<f32> =
        Vec::try_from(&layer(3, 2).params()["fc.weight"].value.detach().view([-1])).unwrap();
    let moved = start.iter().zip(&outcome.weights[0]).map(|(a, b)| (a - b).abs());
    assert!(moved.fold(0.0, f32::max) < 1e-6);
    let penalty = outcome.points.iter().find(|point| point.name == "train/l1").unwrap().value;
    let expected = 0.01 * start.iter().map(|weight| f64::from(weight.abs())).sum::<f64>();
    assert!((penalty - expected).abs() < 1e-6, "{penalty}, expected {expected}");
}

#[test]
fn low_precision_is_for_a_gpu_and_a_log_line_elsewhere() {
    let run = Run::new();
    let mut low = Run::new();
    low.training.precision = Precision::Bf16;
    let outcome = low.run(folder().path());
    assert!(outcome.log.contains("bf16"), "{}", outcome.log);
    assert_eq!(outcome.weights, run.run(folder().path()).weights);
}

#[test]
fn low_precision_is_of_the_layers_alone() {
    let mut model = layer(300, 20);
    let input = random::uniform(&[8, 300], -1.0, 1.0, &mut random::stream(9, "input", 0));
    let exact = model.forward(&input, Mode::Train, None);
    model.compute_in(Kind::BFloat16);
    let low = model.forward(&input, Mode::Train, None);
    assert_eq!(low.kind(), Kind::Float);
    let difference = (&low - &exact).abs().max().double_value(&[]);
    assert!(difference > 0.0 && difference < 0.02, "{difference}");
    low.square().mean(Kind::Float).backward();
    let weight = &model.params()["fc.weight"].value;
    assert_eq!((weight.kind(), weight.grad().kind()), (Kind::Float, Kind::Float));
    assert!(model.forward(&input, Mode::Eval, None).equal(&exact), "measured in 32 bits");
}
