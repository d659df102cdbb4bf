//! Masks that change in training, from a job to the files in the draft.

use serde_json::json;
use tch::Device;

use super::*;

/// Six epochs of nine steps with masks that change, with other settings laid over.
fn sparse(sparsify: &Value, settings: &Value) -> Value {
    let mut stage = pretrain(&json!({
        "epochs": 6, "sparsify": sparsify, "optimizer": {"adam": {"learning-rate": 0.005}},
    }));
    merge(&mut stage["pretrain"], settings);
    stage
}

fn ways() -> [Value; 3] {
    [
        json!({"gradual": {"sparsity": 0.9, "from-epoch": 1, "until-epoch": 4, "every-steps": 4}}),
        json!({"rigl": {"sparsity": 0.9, "every-steps": 4}}),
        json!({"set": {"sparsity": 0.9, "every-steps": 4}}),
    ]
}

fn masks(outcome: &Outcome) -> Vec<u8> {
    std::fs::read(outcome.draft.join("masks.safetensors")).unwrap()
}

/// Zeros of the masks by layer.
fn masked(model: &Model) -> Vec<i64> {
    let masks = model.params().values().filter_map(|parameter| parameter.mask.as_ref());
    masks.map(|mask| mask.eq(0.0).sum(Kind::Int64).int64_value(&[])).collect()
}

#[test]
fn a_resumed_training_comes_to_the_same_masks_and_values_to_the_bit() {
    let lab = Lab::new();
    for (way, sparsify) in ways().iter().enumerate() {
        for keep in ["last", "best"] {
            let stage = sparse(sparsify, &json!({"keep": keep}));
            let whole = lab.run(&format!("whole {way} {keep}"), &stage, &[]);
            assert_eq!(whole.result, Ok(Ended::Done));
            for epoch in [1, 3, 5] {
                let is_epoch = |event: &Event| matches!(event, Event::Metrics(points) if points[0].step == epoch);
                let draft = format!("{way} {keep} stopped after {epoch}");
                let stopped = lab.run_until(&draft, &stage, &[], is_epoch);
                assert_eq!(stopped.result, Ok(Ended::Stopped));
                let resumed = lab.run(&draft, &stage, &[]);
                let log = std::fs::read_to_string(resumed.draft.join("log.txt")).unwrap();
                assert_eq!(log, format!("resumes after epoch {epoch}\n"));
                assert!(resumed.bytes() == whole.bytes(), "{draft}");
                assert!(masks(&resumed) == masks(&whole), "{draft}");
                assert_eq!(resumed.points, whole.points, "{draft}");
            }
        }
    }
}

#[test]
fn sparse_training_meets_its_sparsity_and_learns() {
    let lab = Lab::new();
    // 90 % of 12,704 weights.
    let wanted = 11_434.0 / 12_704.0;
    for (way, sparsify) in ways().iter().enumerate() {
        let outcome = lab.run(&format!("way {way}"), &sparse(sparsify, &json!({})), &[]);
        let model = outcome.model();
        assert_eq!(masked(&model).iter().sum::<i64>(), 11_434);
        // A weight that came to a unit which is never active is zero still.
        let zeros = zero_weights(&model);
        assert!((11_434..11_460).contains(&zeros), "{zeros}");
        assert!((outcome.value("train/sparsity", 6) - wanted).abs() < 1e-12);
        assert!((outcome.value("sparsity", 6) - zeros as f64 / 12_704.0).abs() < 1e-12);
        let accuracy = outcome.value("mnist:test/accuracy", 6);
        assert!(accuracy > 0.5, "way {way}: {accuracy}");
        let none = lab.run(
            &format!("none {way}"),
            &sparse(&json!({"rigl": {"sparsity": 0.9}}), &json!({"epochs": 0})),
            &[],
        );
        if way > 0 {
            assert!((outcome.value("train/sparsity", 1) - wanted).abs() < 1e-12);
            assert_eq!(masked(&none.model()), masked(&model), "layers keep their counts");
            assert!(masks(&none) != masks(&outcome), "weights were exchanged");
        } else {
            // Epoch 2 of 1 to 4: 0.9 (1 − (2/3)³), at 8 of 9 steps 0.9 (1 − (19/27)³).
            assert!(outcome.value("train/sparsity", 1) < 1e-12);
            let second = 0.9 * (1.0 - (19.0f64 / 27.0).powi(3));
            assert!((outcome.value("train/sparsity", 2) - second).abs() < 1e-4);
            assert!((outcome.value("train/sparsity", 4) - wanted).abs() < 1e-12);
        }
    }
}

/// The network of an epoch before the sparsity is reached is never kept, and its losses do not end the stage.
#[test]
fn the_choice_of_the_epoch_begins_when_the_sparsity_is_reached() {
    let lab = Lab::new();
    let sparsify = json!({"gradual": {"sparsity": 0.99, "until-epoch": 5, "every-steps": 1}});
    let settings = json!({"keep": "best", "epochs": 7, "early-stopping": {"patience": 1}});
    let outcome = lab.run("late", &sparse(&sparsify, &settings), &[]);
    let model = outcome.model();
    assert_eq!(masked(&model).iter().sum::<i64>(), 12_577);
    let kept = outcome.points.iter().find(|point| point.name == "mnist:test/accuracy").unwrap();
    assert!(kept.step >= 5, "{kept:?}");
    let best = (5..=7).filter_map(|epoch| {
        let found = outcome.points.iter();
        let mut found = found.filter(|point| point.name == "mnist:val/accuracy");
        found.find(|point| point.step == epoch).map(|point| point.value)
    });
    let best = best.fold(0.0, f64::max);
    assert!((outcome.value("mnist:val/accuracy", kept.step) - best).abs() < 1e-12);
}

/// What was kept as the best has its own masks, not those of the last epoch.
#[test]
fn the_best_epoch_is_kept_with_its_masks() {
    let lab = Lab::new();
    for sparsify in &ways()[1..] {
        let of = |epochs: u32, keep: &str| {
            let mut stage = sparse(sparsify, &json!({"epochs": epochs, "keep": keep}));
            // Exchanges go by the share of the training: without an end, epochs alone cut it off.
            let (_, way) =
                stage["pretrain"]["sparsify"].as_object_mut().unwrap().iter_mut().next().unwrap();
            way["until"] = json!(1.0);
            way["drop-fraction"] = json!(0.5);
            stage
        };
        let best = lab.run(&format!("best {sparsify}"), &of(6, "best"), &[]);
        let last = lab.run(&format!("last {sparsify}"), &of(6, "last"), &[]);
        let model = best.model();
        let kept = best.points.iter().find(|point| point.name == "mnist:test/accuracy").unwrap();
        for parameter in model.params().values() {
            let Some(mask) = &parameter.mask else { continue };
            let outside = parameter.value.masked_select(&mask.eq(0.0));
            assert_eq!(outside.count_nonzero(None::<i64>).int64_value(&[]), 0);
        }
        assert_eq!(masked(&model), masked(&last.model()));
        assert_eq!(kept.step == 6, best.bytes() == last.bytes(), "{kept:?}");
        assert_eq!(kept.step == 6, masks(&best) == masks(&last), "{kept:?}");
    }
}

#[test]
fn an_existing_mask_is_taken_up_in_finetuning() {
    let lab = Lab::new();
    let dense = lab.run("dense", &pretrain(&json!({})), &[]);
    let thin =
        lab.run("thin", &prune(&json!({"magnitude": {}}), &json!({})), &[("from", &dense.draft)]);
    let from = [("from", thin.draft.as_path())];
    let before = masked(&thin.model());
    for (name, settings) in [
        ("rigl", json!({"sparsity": 0.9, "every-steps": 2})),
        ("gradual", json!({"sparsity": 0.95, "until-epoch": 1, "every-steps": 2})),
    ] {
        let stage = finetune(&json!({"sparsify": {name: settings}}));
        let tuned = lab.run(name, &stage, &from).model();
        if name == "rigl" {
            assert_eq!(masked(&tuned), before);
            continue;
        }
        assert_eq!(masked(&tuned).iter().sum::<i64>(), 12_069);
        for (name, parameter) in thin.model().params() {
            let Some(mask) = &parameter.mask else { continue };
            let more = (tuned.params()[name].mask.as_ref().unwrap() - mask).max();
            assert!(more.double_value(&[]) <= 0.0, "{name}: masks only grow");
        }
    }
    let stage = finetune(&json!({"sparsify": {"set": {"sparsity": 0.5}}}));
    let error = lab.run("fewer", &stage, &from).result.unwrap_err();
    assert!(error.starts_with("the network already has 0.9000 of its weights masked"), "{error}");
}

#[test]
fn layers_of_two_domains_are_masked_for_each() {
    let lab = Lab::new();
    let start = lab.checkpoint(&mlp(), 10, |_| {});
    let model = checkpoint::load(&start, Device::Cpu).unwrap();
    assert_eq!(masked(&model), Vec::<i64>::new());
    let stage = json!({"adapt": {
        "from": "dense", "source": {"mnist": {"batch-size": 32}},
        "target": {"mnist": {"batch-size": 32, "size": [28, 14]}}, "epochs": 2,
        "method": {"coral": {}}, "specific": ["fc1"],
        "sparsify": {"rigl": {"sparsity": 0.5, "every-steps": 3, "allocation": "uniform"}},
    }});
    let adapted = lab.run("adapted", &stage, &[("from", &start)]).model();
    // fc1 of both domains and fc2: half of 12,544, 12,544 and 160 each.
    assert_eq!(masked(&adapted), [6272, 6272, 80]);
}
