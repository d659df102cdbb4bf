//! The stages on masks: every pixel has a class.

use super::*;

/// Digits that are bars, zeros across and ones upright, and 300 and 100 photographs of dark noise.
fn lab() -> Lab {
    let lab = Lab::painted(|number, image| {
        let class = number % 2;
        let _ = image.narrow(class, 11, 6).fill_(250);
        class as u8
    });
    let folder = lab.folder.path().join("cifar10");
    std::fs::create_dir(&folder).unwrap();
    for (file, count) in [("data_batch_1.bin", 300), ("test_batch.bin", 100)] {
        let mut rng = random::stream(2, file, 0);
        let noise = random::uniform(&[count * 3073], 0.0, 10.0, &mut rng).to_kind(Kind::Uint8);
        std::fs::write(folder.join(file), Vec::<u8>::try_from(noise).unwrap()).unwrap();
    }
    lab
}

fn scenes(settings: &Value) -> Value {
    let mut scenes = json!({
        "size": [28, 28],
        "digit-size": [0.9, 1.0],
        "scenes": 200,
        "test-scenes": 60,
        "batch-size": 16,
    });
    merge(&mut scenes, settings);
    json!({ "digits-on-photographs": scenes })
}

fn unet(settings: &Value) -> Value {
    let mut stage = json!({
        "model": {"unet": {"channels": 4, "depth": 2, "batch-norm": true}},
        "data": scenes(&json!({})),
        "epochs": 4,
        "optimizer": {"adam": {"learning-rate": 0.01}},
    });
    merge(&mut stage, settings);
    json!({ "pretrain": stage })
}

const IOU: &str = "digits-on-photographs:test/mean-iou";
const ACCURACY: &str = "digits-on-photographs:test/accuracy";

/// Bars are told from photographs by their colour and from each other by their ends. An evaluation says what
/// training said.
#[test]
fn a_network_learns_masks_and_is_measured_on_them() {
    let lab = lab();
    let trained = lab.run("scenes", &unet(&json!({"epochs": 12})), &[]);
    assert_eq!(trained.result, Ok(Ended::Done));
    assert!(trained.value("train/loss", 12) < trained.value("train/loss", 1) / 4.0);
    assert!(trained.value(IOU, 12) > 0.8, "{}", trained.value(IOU, 12));
    assert!(trained.value(ACCURACY, 12) > 0.95);

    let evaluate = json!({"evaluate": {"from": "scenes", "data": scenes(&json!({}))}});
    let measured = lab.run("measured", &evaluate, &[("from", &trained.draft)]);
    assert_eq!(measured.result, Ok(Ended::Done));
    for name in [IOU, ACCURACY, "digits-on-photographs:test/loss"] {
        let difference = measured.value(name, 0) - trained.value(name, 12);
        assert!(difference.abs() < 1e-6, "{name}: {difference}");
    }
}

#[test]
fn the_epoch_of_the_best_mean_iou_is_kept() {
    let lab = lab();
    let optimizer = json!({"sgd": {"learning-rate": 2.0}});
    let best = lab.run("best", &unet(&json!({"keep": "best", "optimizer": optimizer})), &[]);
    assert_eq!(best.result, Ok(Ended::Done));
    let name = "digits-on-photographs:val/mean-iou";
    let of_epochs: Vec<f64> = (1..=4).map(|epoch| best.value(name, epoch)).collect();
    let kept = best.points.iter().find(|point| point.name == IOU).unwrap().step as usize;
    assert_ne!(kept, 4, "the last is not the best: {of_epochs:?}");
    assert!(of_epochs.iter().all(|&other| other <= of_epochs[kept - 1]), "{kept}: {of_epochs:?}");
}

#[test]
fn a_stage_on_masks_that_was_stopped_and_resumed_gives_the_same_bytes() {
    let lab = lab();
    let augment =
        json!([{"random-crop": {"padding": 3}}, {"horizontal-flip": {}}, {"random-affine": {}}]);
    let data = scenes(&json!({ "augment": augment }));
    let stage = unet(&json!({"data": data, "epochs": 2}));
    let whole = lab.run("whole", &stage, &[]);
    let is_enough = |event: &Event| matches!(event, Event::Metrics(points) if points[0].step == 1);
    let stopped = lab.run_until("resumed", &stage, &[], is_enough);
    assert_eq!(stopped.result, Ok(Ended::Stopped));
    let resumed = lab.run("resumed", &stage, &[]);
    assert!(resumed.bytes() == whole.bytes());
    assert_eq!(resumed.points, whole.points);
}

/// Magnitudes aside, criteria look at scenes; sparse optimisation trains on their masks.
#[test]
fn segmentation_networks_are_pruned_and_finetuned_with_their_teacher() {
    let lab = lab();
    let model =
        json!({"unet": {"channels": 4, "depth": 2, "batch-norm": true, "upsample": "bilinear"}});
    let dense = lab.run("dense", &unet(&json!({"model": model, "epochs": 1})), &[]);
    for criterion in [
        json!({"max-entropy": {"calibration-samples": 50}}),
        json!({"min-mse": {"calibration-samples": 50}}),
        json!({"sparse-opt": {"epochs": 1, "debias-epochs": 1}}),
    ] {
        let prune = json!({"prune": {
            "from": "dense", "criterion": criterion, "sparsity": 0.5, "data": scenes(&json!({})),
        }});
        let thin = lab.run(&format!("thin {criterion}"), &prune, &[("from", &dense.draft)]);
        thin.model();
        let tuned = lab.run(
            &format!("tuned {criterion}"),
            &finetune(&json!({
                "data": scenes(&json!({})), "teacher": "dense", "loss": {"distillation": {}},
            })),
            &[("from", &thin.draft), ("teacher", &dense.draft)],
        );
        let sparsity = tuned.value("sparsity", 1);
        assert!((0.45..0.55).contains(&sparsity), "{criterion}: {sparsity}");
    }
}
