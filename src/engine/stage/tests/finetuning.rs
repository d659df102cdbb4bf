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
