//! The controls of lottery tickets: random masks, fresh values.

use std::collections::BTreeSet;

use serde_json::json;
use tch::Device;

use super::*;

/// A prune stage without data.
fn control(settings: &Value) -> Value {
    let mut stage = prune(&json!({"magnitude": {}}), settings);
    stage["prune"].as_object_mut().unwrap().remove("data");
    stage
}

fn mask<'a>(model: &'a Model, layer: &str) -> &'a Tensor {
    model.params()[&format!("{layer}.weight")].mask.as_ref().unwrap()
}

fn zeros(mask: &Tensor) -> i64 {
    mask.eq(0.0).sum(Kind::Int64).int64_value(&[])
}

#[test]
fn a_shuffled_mask_has_the_counts_of_the_criterion_at_other_places() {
    let lab = Lab::new();
    let dense = lab.run("dense", &pretrain(&json!({})), &[]);
    let from = [("from", dense.draft.as_path())];
    for criterion in [json!({"magnitude": {}}), json!({"min-mse": {"calibration-samples": 50}})] {
        let plain = lab.run(&format!("plain {criterion}"), &prune(&criterion, &json!({})), &from);
        let stage = prune(&criterion, &json!({"shuffle": true}));
        let shuffled = lab.run(&format!("shuffled {criterion}"), &stage, &from);
        let again = lab.run(&format!("again {criterion}"), &stage, &from);
        assert_eq!(shuffled.bytes(), again.bytes());
        let (plain, shuffled, dense) = (plain.model(), shuffled.model(), dense.model());
        for layer in ["fc1", "fc2"] {
            let (mask, other) = (mask(&shuffled, layer), mask(&plain, layer));
            assert_eq!(zeros(mask), zeros(other), "{layer}");
            assert!(!same(mask, other), "{layer}");
            let weight = format!("{layer}.weight");
            let expected = &dense.params()[&weight].value * mask;
            assert!(same(&shuffled.params()[&weight].value, &expected), "uncorrected: {layer}");
        }
        // A tenth of fc1's weights are left; of 1,254 chosen at random a tenth are in any given tenth.
        let (one, other) = (mask(&shuffled, "fc1"), mask(&plain, "fc1"));
        let both = (one * other).sum(Kind::Int64).int64_value(&[]) as f64;
        let left = (12_544 - zeros(one)) as f64;
        let expected = left * left / 12_544.0;
        let deviation = (expected * (1.0 - left / 12_544.0).powi(2)).sqrt();
        assert!((both - expected).abs() < 4.0 * deviation, "{both}, expected {expected}");
    }
}

#[test]
fn fresh_values_are_none_that_training_starts_from_and_the_mask_stays() {
    let mut lab = Lab::new();
    lab.keep_epochs = BTreeSet::from([0]);
    let dense = lab.run("dense", &pretrain(&json!({})), &[]);
    lab.keep_epochs.clear();
    let from = [("from", dense.draft.as_path())];
    let plain = lab.run("plain", &control(&json!({})), &from).model();
    let fresh = lab.run("fresh", &control(&json!({"reinitialise": true})), &from);
    let again = lab.run("again", &control(&json!({"reinitialise": true})), &from);
    assert_eq!(fresh.bytes(), again.bytes());
    let fresh = fresh.model();
    let start = checkpoint::load_epoch(&dense.draft, 0, Device::Cpu).unwrap();
    for layer in ["fc1", "fc2"] {
        let mask = mask(&fresh, layer);
        assert!(same(mask, self::mask(&plain, layer)), "{layer}");
        let name = format!("{layer}.weight");
        let (value, old) = (&fresh.params()[&name].value, &start.params()[&name].value);
        let equal = value.eq_tensor(&(old * mask)).sum(Kind::Int64).int64_value(&[]);
        assert!(equal <= zeros(mask) + 2, "{layer} starts as the ticket does");
        // Uniform in ±1/√fan-in.
        let bound = 1.0 / (value.size()[1] as f64).sqrt();
        let largest = value.abs().max().double_value(&[]);
        assert!(largest <= bound && largest > 0.9 * bound, "{layer}: {largest}");
    }
    let mean = &fresh.params()["bn1.running_mean"].value;
    assert_eq!(mean.count_nonzero(None::<i64>).int64_value(&[]), 0, "statistics begin anew");
}

/// As many zeros at random places of a network whose masks are there: what comes back goes to its first value.
#[test]
fn a_random_mask_goes_back_to_the_values_of_the_ticket() {
    let mut lab = Lab::new();
    lab.keep_epochs = BTreeSet::from([0]);
    let dense = lab.run("dense", &pretrain(&json!({})), &[]);
    lab.keep_epochs.clear();
    let thin = lab.run("thin", &control(&json!({})), &[("from", dense.draft.as_path())]);
    let inputs = [("from", thin.draft.as_path()), ("rewind-to", dense.draft.as_path())];
    let point = json!({"stage": "dense", "epoch": 0});
    let stage = control(&json!({"shuffle": true, "rewind-to": point}));
    let random = lab.run("random", &stage, &inputs).model();
    let start = checkpoint::load_epoch(&dense.draft, 0, Device::Cpu).unwrap();
    for layer in ["fc1", "fc2"] {
        let mask = mask(&random, layer);
        assert_eq!(zeros(mask), zeros(self::mask(&thin.model(), layer)));
        assert!(!same(mask, self::mask(&thin.model(), layer)));
        let name = format!("{layer}.weight");
        assert!(same(&random.params()[&name].value, &(&start.params()[&name].value * mask)));
    }
    let error = lab.run("no values", &control(&json!({"shuffle": true})), &inputs[..1]);
    assert_eq!(
        error.result.unwrap_err(),
        "`shuffle` brings weights of layer `fc1` back that were masked before and have no value; state `rewind-to` or `reinitialise`, or prune a network without masks"
    );
}
