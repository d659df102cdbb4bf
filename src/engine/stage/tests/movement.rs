//! `movement`: what a training drives to zero goes.

use super::*;

/// Of a network whose layer is masked nothing comes back, and what stays was trained.
#[test]
fn what_stays_has_moved_and_what_is_masked_stays_zero() {
    let lab = Lab::new();
    let dense = lab.run("dense", &pretrain(&json!({})), &[]);
    let from = [("from", dense.draft.as_path())];
    let half = lab.run("half", &prune(&json!({"magnitude": {}}), &json!({"sparsity": 0.5})), &from);
    let from = [("from", half.draft.as_path())];
    let thin = lab.run("thin", &prune(&json!({"movement": {"epochs": 4}}), &json!({})), &from);
    let (before, after) = (half.model(), thin.model());
    assert_eq!(zero_weights(&after), 11_434);
    for param in ["fc1.weight", "fc2.weight"] {
        let old = before.params()[param].mask.as_ref().expect("it was pruned");
        let new = after.params()[param].mask.as_ref().expect("it is pruned");
        assert!(old.minimum(new).equal(new), "what was masked stays so: {param}");
        let kept = new.ne(0.0);
        let (old, new) = (&before.params()[param].value, &after.params()[param].value);
        assert!(!same(&old.masked_select(&kept), &new.masked_select(&kept)), "{param} is trained");
    }
    assert!(thin.value("mnist:val/accuracy", 4) > 0.9, "before the mask");
    let inputs = [("from", thin.draft.as_path())];
    let tuned = lab.run("tuned", &finetune(&json!({"epochs": 4})), &inputs);
    let accuracy = tuned.value("mnist:test/accuracy", 4);
    assert!(accuracy > 0.8, "{accuracy}");
}
