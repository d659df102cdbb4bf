//! What stages measure of a network beside its accuracy: reports of prunings, latency, sensitivity.

use super::*;

/// A network that has learnt the classes.
fn dense(lab: &Lab) -> PathBuf {
    let outcome = lab.run("dense", &pretrain(&json!({"seed": 1})), &[]);
    assert_eq!(outcome.result, Ok(Ended::Done));
    outcome.draft
}

fn prune(settings: &Value) -> Value {
    let mut stage = json!({"from": "dense", "sparsity": 0.8});
    merge(&mut stage, settings);
    json!({"prune": stage})
}

fn has(outcome: &Outcome, name: &str) -> bool {
    outcome.points.iter().any(|point| point.name == name)
}

#[test]
fn a_pruning_that_looks_at_data_is_compared_with_the_dense_network() {
    let lab = Lab::new();
    let dense = dense(&lab);
    let criterion =
        |hessian: &str| json!({"min-mse": {"hessian": hessian, "calibration-samples": 64}});
    let settings =
        |hessian| json!({"criterion": criterion(hessian), "scope": "layer", "data": {"mnist": {}}});
    let magnitude = lab.run("identity", &prune(&settings("identity")), &[("from", &dense)]);
    let surgeon = lab.run("full", &prune(&settings("full")), &[("from", &dense)]);
    for layer in ["fc1", "fc2"] {
        let error =
            |outcome: &Outcome| outcome.value(&format!("layer/{layer}/reconstruction-error"), 0);
        // As many weights go; correcting the others leaves less of an error.
        assert!(0.0 < error(&surgeon) && error(&surgeon) < error(&magnitude), "{layer}");
    }
    assert!((surgeon.value("layer/fc1/params", 0) - 12_544.0).abs() < 0.5);
    let left = surgeon.value("layer/fc1/nonzero", 0);
    assert!((surgeon.value("layer/fc1/nonzero-macs", 0) - left).abs() < 0.5, "linear: once each");
    assert!(surgeon.value("bytes/csr", 0) < surgeon.value("bytes/dense", 0));
    let names: BTreeSet<(&str, u64)> =
        surgeon.points.iter().map(|point| (point.name.as_str(), point.step)).collect();
    assert_eq!(names.len(), surgeon.points.len(), "no value is measured twice");
}

#[test]
fn a_pruning_by_scores_says_where_it_cut() {
    let lab = Lab::new();
    let dense = dense(&lab);
    let stage = prune(&json!({"criterion": {"magnitude": {}}, "scope": "global"}));
    let outcome = lab.run("thin", &stage, &[("from", &dense)]);
    // All layers compete: what stays is above what went anywhere.
    let cut_off = ["fc1", "fc2"].map(|layer| outcome.value(&format!("layer/{layer}/cut-off"), 0));
    let least = outcome.model().params()["fc2.weight"].value.abs();
    let least = least.masked_select(&least.gt(0.0)).min().double_value(&[]);
    assert!(cut_off.iter().all(|cut_off| *cut_off <= least), "{cut_off:?} {least}");
    assert!(!has(&outcome, "layer/fc1/reconstruction-error"), "no data is open");
}

#[test]
fn latency_is_measured_beside_another_network() {
    let lab = Lab::new();
    let dense = dense(&lab);
    let stage = prune(&json!({"criterion": {"magnitude": {}}}));
    let thin = lab.run("thin", &stage, &[("from", &dense)]).draft;
    let timed = |latency: Value| json!({"evaluate": {"from": "thin", "data": {"mnist": {}}, "latency": latency}});
    let inputs: [(&str, &Path); 2] = [("from", &thin), ("beside", &dense)];
    let stage = timed(json!({"beside": "dense", "batch": 7, "repeats": 5}));
    let outcome = lab.run("timed", &stage, &inputs);
    assert_eq!(outcome.result, Ok(Ended::Done));
    for network in ["latency", "latency/beside"] {
        let value = |what: &str| outcome.value(&format!("{network}/{what}-ms"), 0);
        let (lower, median, upper) = (value("q1"), value("median"), value("q3"));
        assert!(0.0 < lower && lower <= median && median <= upper);
        assert!((value("iqr") - (upper - lower)).abs() < 1e-12);
    }
    assert!(has(&outcome, "mnist:test/accuracy"));
    assert!(!outcome.draft.join("model.safetensors").exists(), "it makes no network");
    let stage = timed(json!({"beside": "dense", "batch": 101}));
    let expected = "`latency.batch` = 101 is more than the 100 examples of the split; the largest possible is 100";
    assert_eq!(lab.run("many", &stage, &inputs).result, Err(expected.to_owned()));
}

fn sensitivity(settings: &Value) -> Value {
    let mut stage = json!({
        "from": "dense",
        "criterion": {"magnitude": {}},
        "sparsities": [0.0, 0.5, 0.95],
        "data": {"mnist": {}},
    });
    merge(&mut stage, settings);
    json!({"sensitivity": stage})
}

/// What pruning that layer alone, by hand, leaves of the accuracy on the validation split.
fn by_hand(lab: &Lab, dense: &Path, layer: &str, other: &str, sparsity: f64) -> f64 {
    let stage = json!({
        "criterion": {"magnitude": {}}, "exclude": [other], "sparsity": sparsity, "scope": "layer",
    });
    let draft = format!("by-hand-{layer}-{sparsity}");
    let thin = lab.run(&draft, &prune(&stage), &[("from", dense)]).draft;
    let stage = json!({"evaluate": {"from": "thin", "data": {"mnist": {}}, "split": "val"}});
    let outcome = lab.run(&format!("{draft}-measured"), &stage, &[("from", &thin)]);
    outcome.value("mnist:val/accuracy", 0)
}

#[test]
fn each_layer_is_pruned_alone() {
    let lab = Lab::new();
    let dense = dense(&lab);
    let outcome = lab.run("curve", &sensitivity(&json!({})), &[("from", &dense)]);
    assert_eq!(outcome.result, Ok(Ended::Done));
    let whole = outcome.value("mnist:val/accuracy", 0);
    assert!(whole > 0.5);
    for (layer, other) in [("fc1", "fc2"), ("fc2", "fc1")] {
        let value =
            |sparsity: &str| outcome.value(&format!("sensitivity/{layer}/{sparsity}/accuracy"), 0);
        assert!((value("0") - whole).abs() < 1e-12, "nothing goes, nothing stays behind");
        for (text, sparsity) in [("0.5", 0.5), ("0.95", 0.95)] {
            let expected = by_hand(&lab, &dense, layer, other, sparsity);
            assert!((value(text) - expected).abs() < 1e-12, "{layer} at {text}");
        }
    }
    assert!(!outcome.points.iter().any(|point| point.name.contains(":test")), "no test data");
    assert!(!outcome.draft.join("model.safetensors").exists(), "it makes no network");
}

#[test]
fn a_layer_that_is_sparser_already_is_left_out() {
    let lab = Lab::new();
    let dense = dense(&lab);
    let thin = prune(&json!({"criterion": {"magnitude": {}}, "exclude": ["fc2"]}));
    let thin = lab.run("thin", &thin, &[("from", &dense)]).draft;
    let outcome = lab.run("curve", &sensitivity(&json!({})), &[("from", &thin)]);
    assert_eq!(outcome.result, Ok(Ended::Done));
    assert!(!has(&outcome, "sensitivity/fc1/0.5/accuracy"));
    assert!(has(&outcome, "sensitivity/fc1/0.95/accuracy"));
    assert!(has(&outcome, "sensitivity/fc2/0.5/accuracy"));
}

#[test]
fn a_sensitivity_can_look_at_data_and_leave_layers_out() {
    let lab = Lab::new();
    let dense = dense(&lab);
    let criteria = [
        json!({"min-mse": {"calibration-samples": 64}}),
        json!({"taylor": {"calibration-samples": 64}}),
        json!({"synflow": {"rounds": 3}}),
        json!({"random": {}}),
    ];
    for (index, criterion) in criteria.iter().enumerate() {
        let stage = sensitivity(&json!({"criterion": criterion, "exclude": ["fc2"]}));
        let outcome = lab.run(&format!("curve-{index}"), &stage, &[("from", &dense)]);
        assert_eq!(outcome.result, Ok(Ended::Done), "{criterion}");
        let whole = outcome.value("mnist:val/accuracy", 0);
        assert!((outcome.value("sensitivity/fc1/0/accuracy", 0) - whole).abs() < 1e-12);
        assert!(has(&outcome, "sensitivity/fc1/0.95/accuracy"));
        assert!(!outcome.points.iter().any(|point| point.name.contains("fc2")));
    }
}

#[test]
fn a_sensitivity_stops_when_it_is_asked_to() {
    let lab = Lab::new();
    let dense = dense(&lab);
    let is_enough = |event: &Event| matches!(event, Event::Progress(_));
    let outcome = lab.run_until("curve", &sensitivity(&json!({})), &[("from", &dense)], is_enough);
    assert_eq!(outcome.result, Ok(Ended::Stopped));
}
