//! Finetuning with few labels and layer by layer, from a job to the files in the draft.

use serde_json::json;
use tch::Device;

use super::*;

/// Names of the parameters and statistics that differ.
fn changed(before: &Model, after: &Model) -> Vec<String> {
    let params = before.params().iter();
    let changed = params.filter(|(name, old)| !same(&old.value, &after.params()[*name].value));
    changed.map(|(name, _)| name.clone()).collect()
}

fn log(outcome: &Outcome) -> String {
    std::fs::read_to_string(outcome.draft.join("log.txt")).unwrap()
}

/// What a stage leaves when it is stopped after each of some epochs is what it leaves when it is not.
#[track_caller]
fn check_resumes(lab: &Lab, stage: &Value, inputs: &[(&str, &Path)], epochs: &[u64]) {
    let whole = lab.run("whole", stage, inputs);
    assert_eq!(whole.result, Ok(Ended::Done));
    for &epoch in epochs {
        let is_epoch =
            |event: &Event| matches!(event, Event::Metrics(points) if points[0].step == epoch);
        let stopped = lab.run_until("stopped", stage, inputs, is_epoch);
        assert_eq!(stopped.result, Ok(Ended::Stopped));
        let resumed = lab.run("stopped", stage, inputs);
        assert!(log(&resumed).contains(&format!("resumes after epoch {epoch}\n")));
        assert!(resumed.bytes() == whole.bytes(), "{stage}, stopped after {epoch}");
        assert_eq!(resumed.points, whole.points, "{stage}, stopped after {epoch}");
        std::fs::remove_dir_all(&stopped.draft).unwrap();
    }
    std::fs::remove_dir_all(&whole.draft).unwrap();
}

#[test]
fn few_labels_teach_less_than_all_and_no_class_may_lack_them() {
    let lab = Lab::new();
    let stage = |few: Value| {
        let mut mnist = json!({"batch-size": 8});
        merge(&mut mnist, &few);
        pretrain(&json!({"data": {"mnist": mnist}, "epochs": 3}))
    };
    let few = lab.run("few", &stage(json!({"labels-per-class": 1})), &[]);
    let all = lab.run("all", &stage(json!({})), &[]);
    let accuracy = |outcome: &Outcome| outcome.value("mnist:test/accuracy", 3);
    assert!(accuracy(&few) < accuracy(&all), "{} {}", accuracy(&few), accuracy(&all));
    let error = lab.run("none", &stage(json!({"labels-per-class": 31})), &[]).result.unwrap_err();
    assert!(
        error.starts_with("labels-per-class = 31 asks for 31 images of each class, and of class 0"),
        "{error}"
    );
}

#[test]
fn a_linear_probe_trains_the_head_alone() {
    let lab = Lab::new();
    let start = lab.checkpoint(&mlp(), 10, |_| {});
    let from = [("from", start.as_path())];
    let before = checkpoint::load(&start, Device::Cpu).unwrap();
    let probe = lab.run("probe", &finetune(&json!({"unfreeze": {"never": {}}})), &from);
    assert_eq!(changed(&before, &probe.model()), ["fc2.weight", "fc2.bias"]);
    assert!((probe.value("trained-params", 1) - 170.0).abs() < 0.5, "16·10 + 10");
    assert_eq!(log(&probe), "from epoch 1 on: fc2\n");
    let frozen = lab.run("frozen", &finetune(&json!({"freeze": ["fc1", "bn1"]})), &from);
    assert!(frozen.bytes() == probe.bytes(), "as with `freeze`");
    let all = lab.run("all", &finetune(&json!({})), &from);
    assert!((all.value("trained-params", 1) - 12_762.0).abs() < 0.5);
}

#[test]
fn layers_thaw_by_and_by_with_moments_of_their_own() {
    let lab = Lab::new();
    let start = lab.checkpoint(&mlp(), 10, |_| {});
    let from = [("from", start.as_path())];
    let before = checkpoint::load(&start, Device::Cpu).unwrap();
    for unfreeze in [json!({"gradual": {}}), json!({"at-once": {}})] {
        let stage = |epochs: u32| {
            finetune(&json!({
                "unfreeze": unfreeze, "epochs": epochs, "keep": "best", "l2-sp": {},
                "optimizer": {"adam": {"learning-rate": 0.01}},
            }))
        };
        let one = lab.run(&format!("one {unfreeze}"), &stage(1), &from);
        assert_eq!(changed(&before, &one.model()), ["fc2.weight", "fc2.bias"]);
        let mut last = stage(2);
        last["finetune"]["keep"] = json!("last");
        let two = lab.run(&format!("two {unfreeze}"), &last, &from);
        assert_eq!(changed(&before, &two.model()).len(), before.params().len());
        assert_eq!(log(&two), "from epoch 1 on: fc2\nfrom epoch 2 on: fc1, bn1\n");
        assert!((two.value("trained-params", 2) - 12_762.0).abs() < 0.5);
        check_resumes(&lab, &stage(4), &from, &[1, 2, 3]);
    }
}

#[test]
fn layer_rates_are_factors_by_layer() {
    let lab = Lab::new();
    let start = lab.checkpoint(&mlp(), 10, |_| {});
    let from = [("from", start.as_path())];
    let low = 1.0 / 2.6;
    for (rates, factors) in [
        (json!({"discriminative": {}}), json!({"fc1": low, "bn1": low})),
        (json!({"decay": {"factor": 0.5}}), json!({"fc1": 0.5, "bn1": 0.5})),
        (json!({"backbone": {"factor": 0.0}}), json!({"fc1": 0.0, "bn1": 0.0})),
    ] {
        let preset = lab.run(&format!("{rates}"), &finetune(&json!({"layer-rates": rates})), &from);
        let stated = finetune(&json!({"learning-rate-factors": factors}));
        let stated = lab.run(&format!("{factors}"), &stated, &from);
        assert!(preset.bytes() == stated.bytes(), "{rates}");
    }
    let both = finetune(&json!({
        "layer-rates": {"decay": {"factor": 0.5}}, "learning-rate-factors": {"bn1": 2.0},
    }));
    let both = lab.run("both", &both, &from);
    let rates =
        "learning rate of fc1: 0.025\nlearning rate of bn1: 0.1\nlearning rate of fc2: 0.05\n";
    assert_eq!(log(&both), rates);
}

/// What is left of a network where its masks are zero.
fn outside_the_masks(model: &Model) -> i64 {
    let masked = model.params().values().filter_map(|parameter| {
        let mask = parameter.mask.as_ref()?;
        let outside = parameter.value.masked_select(&mask.eq(0.0));
        Some(outside.count_nonzero(None::<i64>).int64_value(&[]))
    });
    masked.sum()
}

#[test]
fn low_rank_updates_train_and_leave_an_ordinary_network() {
    let lab = Lab::new();
    let dense = lab.run("dense", &pretrain(&json!({"epochs": 1})), &[]);
    let from = [("from", dense.draft.as_path())];
    let before = dense.model();
    let settings = json!({
        "lora": {"rank": 4}, "epochs": 3, "keep": "best",
        "optimizer": {"adam": {"learning-rate": 0.01}}, "clip-norm": 1.0,
    });
    let outcome = lab.run("tuned", &finetune(&settings), &from);
    let after = outcome.model();
    assert_eq!(changed(&before, &after), ["fc1.weight", "fc2.weight"]);
    assert_eq!(after.network(), before.network());
    // 4 (784 + 16) + 4 (16 + 10).
    let trained = outcome.points.iter().find(|point| point.name == "trained-params").unwrap();
    assert!((trained.value - 3304.0).abs() < 0.5, "{trained:?}");
    for (name, rows) in [("fc1.weight", 16), ("fc2.weight", 10)] {
        let update = &after.params()[name].value - &before.params()[name].value;
        let (_, singular, _) = update.view([rows, -1]).to_kind(Kind::Double).svd(true, true);
        assert!(singular.double_value(&[0]) > 1e-2 && singular.double_value(&[4]) < 1e-5);
    }
    assert!(outcome.value("train/loss", 3) < outcome.value("train/loss", 1));
    check_resumes(&lab, &finetune(&settings), &from, &[1, 2]);
    let none = lab.run("none", &finetune(&json!({"lora": {}, "epochs": 0})), &from);
    assert!(none.bytes() == dense.bytes(), "at the start nothing is another");
    assert!(none.value("trained-params", 0) < 0.5);
    let stage = finetune(&json!({"lora": {"dropout": 0.3}, "new-head": true}));
    let dropped = lab.run("dropped", &stage, &from);
    let names = changed(&before, &dropped.model());
    assert_eq!(names, ["fc1.weight", "fc2.weight", "fc2.bias"], "a new head trains as a whole");
    assert!((dropped.value("trained-params", 1) - (8.0 * 800.0 + 170.0)).abs() < 0.5);
}

#[test]
fn low_rank_updates_leave_masked_weights_exactly_zero() {
    let lab = Lab::new();
    let dense = lab.run("dense", &pretrain(&json!({"epochs": 1})), &[]);
    let inputs = [("from", dense.draft.as_path())];
    let thin = lab.run("thin", &prune(&json!({"magnitude": {}}), &json!({})), &inputs);
    let tuned = finetune(&json!({"lora": {"rank": 2}, "epochs": 2, "optimizer": {"adam": {}}}));
    let tuned = lab.run("tuned", &tuned, &[("from", thin.draft.as_path())]);
    let model = tuned.model();
    assert_eq!(outside_the_masks(&model), 0);
    assert_eq!(changed(&thin.model(), &model), ["fc1.weight", "fc2.weight"]);
    assert!(zero_weights(&model) >= 11_434);
    let again = lab.run("again", &finetune(&json!({})), &[("from", tuned.draft.as_path())]);
    assert_eq!(outside_the_masks(&again.model()), 0);
}

#[test]
fn penalties_on_features_are_named_and_do_what_they_are_for() {
    let lab = Lab::new();
    let dense = lab.run("dense", &pretrain(&json!({})), &[]);
    let from = [("from", dense.draft.as_path())];
    let run = |settings: Value| {
        let mut all = json!({"epochs": 3, "optimizer": {"sgd": {"learning-rate": 0.02}}});
        merge(&mut all, &settings);
        lab.run(&settings.to_string(), &finetune(&all), &from)
    };
    let weak = run(json!({"delta": {"alpha": 1e-6}, "bss": {"eta": 1e-9}}));
    let strong = run(json!({"delta": {"alpha": 0.1}, "bss": {"eta": 1e-9}}));
    let distance = |outcome: &Outcome, alpha: f64| outcome.value("train/delta", 3) / alpha;
    assert!(distance(&strong, 0.1) < 0.5 * distance(&weak, 1e-6));
    let shrunk = run(json!({"bss": {"eta": 1.0, "k": 3}, "delta": {"alpha": 1e-6}}));
    let large = run(json!({"bss": {"eta": 1e-9, "k": 3}, "delta": {"alpha": 1e-6}}));
    let spectrum = |outcome: &Outcome, eta: f64| outcome.value("train/bss", 3) / eta;
    assert!(spectrum(&shrunk, 1.0) < 0.5 * spectrum(&large, 1e-9));
    let both = json!({"lora": {}, "delta": {"alpha": 0.01}, "bss": {}, "epochs": 3});
    check_resumes(&lab, &finetune(&both), &from, &[1]);
}
