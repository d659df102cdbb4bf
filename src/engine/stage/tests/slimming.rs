//! `slimming`: the units with the smallest scales go.

use super::*;

fn slim(settings: &Value, of_stage: &Value) -> Value {
    let mut stage = json!({
        "from": "dense",
        "criterion": {"slimming": settings},
        "data": {"mnist": {"batch-size": 32}},
        "budget": {"channels": 0.25},
    });
    merge(&mut stage, of_stage);
    json!({"prune": stage})
}

#[test]
fn scales_as_they_are_say_which_units_go_and_no_data_is_looked_at() {
    let lab = Lab::new();
    let dense = lab.checkpoint(&mlp(), 10, |model| {
        let scales: Vec<f32> = (0..16).map(|unit| [1.0, -0.1, 0.2, -3.0][unit % 4]).collect();
        let name = model.params().keys().find(|name| name.starts_with("bn1.weight"));
        let name = name.expect("a batch-norm").clone();
        no_grad(|| model.params_mut()[&name].value.copy_(&Tensor::from_slice(&scales)));
    });
    let from = [("from", dense.as_path())];
    let mut stage = slim(&json!({"epochs": 0}), &json!({"budget": {"channels": 0.5}}));
    stage["prune"].as_object_mut().unwrap().remove("data");
    let thin = lab.run("thin", &stage, &from).model();
    let mask = thin.params()["fc1.weight"].mask.as_ref().expect("it is pruned").select(1, 0);
    let kept: Vec<f32> = Vec::try_from(mask).unwrap();
    assert_eq!(kept, [1.0f32, 0.0, 0.0, 1.0].repeat(4));
}

#[test]
fn a_penalty_makes_zeros_of_scales_and_the_network_can_be_trained_on() {
    let lab = Lab::new();
    let dense = lab.run("dense", &pretrain(&json!({})), &[]);
    let from = [("from", dense.draft.as_path())];
    let sparsity = |lambda: f64| {
        let stage = slim(&json!({"epochs": 4, "lambda": lambda}), &json!({}));
        let thin = lab.run(&format!("thin {lambda}"), &stage, &from);
        assert_eq!(zero_weights(&thin.model()), 12 * 794, "four of sixteen units stay");
        assert!(thin.value("mnist:val/accuracy", 4) > 0.5, "before the mask");
        let inputs = [("from", thin.draft.as_path())];
        let tuned = lab.run(&format!("tuned {lambda}"), &finetune(&json!({"epochs": 4})), &inputs);
        let accuracy = tuned.value("mnist:test/accuracy", 4);
        assert!(accuracy > 0.5, "{accuracy}");
        thin.value("scale-sparsity", 4)
    };
    let (little, much) = (sparsity(1e-4), sparsity(0.3));
    assert!(little < 0.01 && much > little && much < 1.0, "{little} {much}");
}

#[test]
fn a_network_without_a_batch_norm_is_told_so() {
    let lab = Lab::new();
    let dense = lab.checkpoint(&json!({"mlp": {"hidden": [16]}}), 10, |_| {});
    let from = [("from", dense.as_path())];
    assert_eq!(
        lab.run("thin", &slim(&json!({}), &json!({})), &from).result.unwrap_err(),
        "slimming can look at no hidden layer of this network; choose another criterion"
    );
}
