//! Epochs that are kept, and networks that go back to them.

use std::collections::BTreeSet;

use serde_json::json;
use tch::Device;

use super::*;

/// A stage that removes half of the weights by magnitude and goes back to an epoch of `dense`.
fn rewind_to(epoch: u32) -> Value {
    let point = json!({"stage": "dense", "epoch": epoch});
    let mut stage = prune(&json!({"magnitude": {}}), &json!({"sparsity": 0.5, "rewind-to": point}));
    stage["prune"].as_object_mut().unwrap().remove("data");
    stage
}

/// A stage whose progress is written and whose epochs are worth going back to.
fn trained(epochs: u32) -> Value {
    pretrain(&json!({"epochs": epochs, "optimizer": {"adam": {"learning-rate": 0.01}}}))
}

#[track_caller]
fn assert_same(one: &Model, other: &Model) {
    assert_eq!(one.params().len(), other.params().len());
    for (name, parameter) in one.params() {
        assert!(same(&parameter.value, &other.params()[name].value), "{name}");
    }
}

#[test]
fn a_kept_epoch_is_what_a_training_of_as_many_epochs_comes_to() {
    let mut lab = Lab::new();
    let plain = lab.run("plain", &trained(3), &[]);
    lab.keep_epochs = BTreeSet::from([0, 2]);
    let dense = lab.run("dense", &trained(3), &[]);
    assert_eq!((dense.bytes(), &dense.points), (plain.bytes(), &plain.points));
    assert!(!dense.draft.join("epoch-1.safetensors").exists());
    lab.keep_epochs.clear();
    for epoch in [0, 2] {
        let kept = checkpoint::load_epoch(&dense.draft, epoch, Device::Cpu).unwrap();
        assert_same(&kept, &lab.run(&format!("to {epoch}"), &trained(epoch), &[]).model());
    }
}

#[test]
fn a_resumed_training_keeps_its_epochs_and_starts_anew_where_one_was_not_asked_for() {
    let mut lab = Lab::new();
    lab.keep_epochs = BTreeSet::from([0, 1, 3]);
    let whole = lab.run("whole", &trained(3), &[]);
    let is_epoch_two =
        |event: &Event| matches!(event, Event::Metrics(points) if points[0].step == 2);
    for (asked_first, log) in [
        ([0, 1, 3], "resumes after epoch 2\n"),
        (
            [0, 2, 3],
            "starts anew: progress.safetensors of an earlier attempt cannot be used: \
             it is past an epoch whose `epoch-1.safetensors` was not asked for\n",
        ),
    ] {
        lab.keep_epochs = BTreeSet::from(asked_first);
        let draft = format!("asked {asked_first:?}");
        let stopped = lab.run_until(&draft, &trained(3), &[], is_epoch_two);
        assert_eq!(stopped.result, Ok(Ended::Stopped));
        lab.keep_epochs = BTreeSet::from([0, 1, 3]);
        let resumed = lab.run(&draft, &trained(3), &[]);
        assert_eq!(std::fs::read_to_string(resumed.draft.join("log.txt")).unwrap(), log);
        for epoch in [0, 1, 3] {
            let bytes = |outcome: &Outcome| {
                std::fs::read(outcome.draft.join(format!("epoch-{epoch}.safetensors"))).unwrap()
            };
            assert!(bytes(&resumed) == bytes(&whole), "epoch {epoch}");
        }
    }
}

#[test]
fn what_is_left_goes_back_to_the_epoch_and_what_is_not_stays_zero() {
    let mut lab = Lab::new();
    lab.keep_epochs = BTreeSet::from([0, 1]);
    let dense = lab.run("dense", &trained(3), &[]);
    let inputs = [("from", dense.draft.as_path()), ("rewind-to", dense.draft.as_path())];
    lab.keep_epochs.clear();
    let end = lab.run("end", &prune(&json!({"magnitude": {}}), &json!({"sparsity": 0.5})), &inputs);
    for epoch in [0, 1] {
        let ticket = lab.run(&format!("ticket {epoch}"), &rewind_to(epoch), &inputs).model();
        let point = checkpoint::load_epoch(&dense.draft, epoch, Device::Cpu).unwrap();
        for (name, parameter) in ticket.params() {
            let old = &point.params()[name].value;
            let mask = &end.model().params()[name].mask.as_ref().map(Tensor::shallow_clone);
            match mask {
                Some(mask) => {
                    assert!(same(parameter.mask.as_ref().unwrap(), mask), "{name}: another mask");
                    assert!(same(&parameter.value, &(old * mask)), "{name}");
                }
                None => assert!(same(&parameter.value, old), "{name}: buffers go back too"),
            }
        }
        assert_eq!(zero_weights(&ticket), 6352);
    }
}

/// Units go, what is left goes back, and only then is it made smaller: a ticket of another architecture.
#[test]
fn units_are_taken_out_after_going_back() {
    let mut lab = Lab::new();
    lab.keep_epochs = BTreeSet::from([1]);
    let dense = lab.run("dense", &trained(3), &[]);
    let inputs = [("from", dense.draft.as_path()), ("rewind-to", dense.draft.as_path())];
    lab.keep_epochs.clear();
    let ticket = |remove: bool| {
        let stage = json!({"prune": {
            "from": "dense",
            "criterion": {"magnitude": {}},
            "granularity": "unit",
            "budget": {"channels": 0.25},
            "rewind-to": {"stage": "dense", "epoch": 1},
            "remove": remove,
        }});
        lab.run(&format!("ticket {remove}"), &stage, &inputs).model()
    };
    let (masked, small) = (ticket(false), ticket(true));
    let bias = |model: &Model| model.params()["fc1.bias"].value.detach();
    let kept = masked.params()["fc1.bias"].mask.as_ref().unwrap().ne(0.0);
    assert_eq!(bias(&small).size(), [4]);
    assert!(same(&bias(&small), &bias(&masked).masked_select(&kept)));
    let point = checkpoint::load_epoch(&dense.draft, 1, Device::Cpu).unwrap();
    assert!(same(&bias(&small), &bias(&point).masked_select(&kept)));
}

#[test]
fn a_network_of_other_domains_cannot_go_back() {
    let mut lab = Lab::new();
    lab.keep_epochs = BTreeSet::from([1]);
    let dense = lab.run("dense", &trained(1), &[]);
    let start = lab.checkpoint(&mlp(), 10, |_| {});
    let domains = ["mnist", "usps"].map(str::to_owned);
    let model = checkpoint::load(&start, Device::Cpu).unwrap();
    checkpoint::save(&start, &model.split_domains(&domains, &["bn1".to_owned()])).unwrap();
    let inputs = [("from", start.as_path()), ("rewind-to", dense.draft.as_path())];
    assert_eq!(
        lab.run("ticket", &rewind_to(1), &inputs).result.unwrap_err(),
        "the stage of `rewind-to` trained another network: domains differ; go back to a stage that trained this one"
    );
}
