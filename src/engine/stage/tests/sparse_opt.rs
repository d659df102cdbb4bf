//! `sparse-opt`: what its steps leave is what the network has.

use super::*;

#[test]
fn sparse_optimisation_says_how_near_to_an_optimum_it_came() {
    let lab = Lab::new();
    let dense = lab.run("dense", &pretrain(&json!({})), &[]);
    let from = [("from", dense.draft.as_path())];
    let sgd = json!({"epochs": 6, "debias-epochs": 0});
    let adam = json!({
        "epochs": 6, "debias-epochs": 0, "optimizer": "adam", "learning-rate": 0.01,
    });
    let fista = json!({
        "method": "fista", "epochs": 6, "debias-epochs": 0, "learning-rate": 0.02,
    });
    let half_space = json!({"method": "half-space", "epochs": 6, "debias-epochs": 0});
    for (settings, scope, lambda) in [
        (&fista, "global", "lambda"),
        (&half_space, "global", "lambda"),
        (&sgd, "global", "lambda"),
        (&sgd, "layer", "layer/fc1/lambda"),
        (&adam, "global", "lambda"),
        (&adam, "layer", "layer/fc1/lambda"),
    ] {
        let criterion = json!({"sparse-opt": settings});
        let stage = prune(&criterion, &json!({"sparsity": 0.8, "scope": scope}));
        let thin = lab.run(&format!("thin {scope} {settings}"), &stage, &from);
        assert_eq!(thin.result, Ok(Ended::Done));
        let residual = thin.value("kkt-residual", 6);
        assert!(residual.is_finite() && residual > 0.0);
        assert!(thin.value(lambda, 6) > 0.0);
        let reached = thin.value("proximal-sparsity", 6);
        assert!((reached - 0.8).abs() < 0.1, "the steps alone come near the target: {reached}");
        // Both pools and each layer of 12,544 and 160 weights give 10,163. The steps may leave more
        // zeros in a layer than were asked for; the mask takes no more.
        let model = thin.model();
        let masks = model.params().values().filter_map(|parameter| parameter.mask.as_ref());
        let masked = masks.map(|mask| mask.eq(0.0).sum(Kind::Int64).int64_value(&[]));
        assert_eq!(masked.sum::<i64>(), 10_163);
        assert!(thin.value("sparsity", 7) >= 10_163.0 / 12_704.0 - 1e-12);
    }
}

/// A stage in which λ says what goes.
fn given(settings: &Value, of_stage: &Value) -> Value {
    let mut stage = json!({
        "from": "dense",
        "criterion": {"sparse-opt": settings},
        "data": {"mnist": {"batch-size": 32}},
    });
    merge(&mut stage, of_stage);
    json!({"prune": stage})
}

fn masked(model: &Model, param: &str) -> i64 {
    let mask = model.params()[param].mask.as_ref().expect("it is pruned");
    mask.eq(0.0).sum(Kind::Int64).int64_value(&[])
}

#[test]
fn a_given_lambda_leaves_the_zeros_that_it_leaves() {
    let lab = Lab::new();
    let dense = lab.run("dense", &pretrain(&json!({})), &[]);
    let from = [("from", dense.draft.as_path())];
    let mut before = 0;
    for lambda in [1e-3, 1e-2] {
        let settings = json!({"lambda": lambda, "epochs": 4, "debias-epochs": 1});
        let thin = lab.run(&format!("thin {lambda}"), &given(&settings, &json!({})), &from);
        let model = thin.model();
        assert!((thin.value("lambda", 4) - lambda).abs() < 1e-15, "λ is not steered");
        assert!(thin.value("kkt-residual", 4).is_finite());
        let zeros = masked(&model, "fc1.weight") + masked(&model, "fc2.weight");
        let of_steps = thin.value("proximal-sparsity", 4) * 12_704.0;
        assert_eq!(zeros, of_steps.round() as i64, "the mask is what the steps left");
        assert_eq!(zero_weights(&model), zeros as u64, "debiasing brings nothing back");
        assert!(zeros > before && zeros < 12_704, "a larger λ leaves more zeros: {zeros}");
        assert!(thin.value("mnist:test/accuracy", 5) > 0.9);
        before = zeros;
    }
    let thin = lab.run("none", &given(&json!({"lambda": 10.0}), &json!({})), &from);
    assert_eq!(
        thin.result.unwrap_err(),
        "lambda = 10 leaves no weight of layer `fc1`; lower it, or leave the layer out with `exclude`"
    );
}

#[test]
fn a_given_lambda_leaves_the_units_that_it_leaves() {
    let lab = Lab::new();
    let dense = lab.run("dense", &pretrain(&json!({})), &[]);
    let from = [("from", dense.draft.as_path())];
    let run = |name: &str, lambda: f64, remove: bool| {
        let settings = json!({"lambda": lambda, "epochs": 4, "debias-epochs": 4});
        let of_stage = json!({"granularity": "unit", "remove": remove});
        lab.run(name, &given(&settings, &of_stage), &from)
    };
    let lambda = 0.012;
    let thin = run("thin", lambda, false);
    let zeros = thin.value("proximal-sparsity", 4) * 16.0;
    assert!((1.0..16.0).contains(&zeros), "{zeros}");
    let model = thin.model();
    assert_eq!(masked(&model, "fc1.weight"), 784 * zeros.round() as i64);
    assert_eq!(masked(&model, "fc2.weight"), 10 * zeros.round() as i64);
    let small = run("small", lambda, true).model();
    // 784 weights, a bias, two of the normalisation and ten that read it for each unit.
    let params = (16 - zeros.round() as u64) * (784 + 3 + 10) + 10;
    assert_eq!(small.network().param_count(), params);
    let accuracy = thin.value("mnist:test/accuracy", 8);
    assert!(accuracy > 0.5, "{accuracy} with {zeros} units gone");
    assert_eq!(
        run("none", 10.0, false).result.unwrap_err(),
        "lambda = 10 leaves no unit of layer `fc1`; lower it, or leave the layer out with `exclude`"
    );
}
