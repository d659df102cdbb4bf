//! Sweeps of files that extend each other.

use expect_test::expect;

use super::{axes, check, check_faults, codes, load_child};
use crate::experiment::spec::Stage;
use crate::experiment::sweep::tests::STAGES;
use crate::experiment::{Checked, Trial, label};

const SWEEP: &str = r#"
[sweep]
"thin.sparsity" = [0.5, 0.9]

[[sweep.method]]
label = "mmd"

[[sweep.method]]
label = "dann"
"moved.method" = { dann = {} }
"moved.epochs" = 9

[[sweep.exclude]]
method = "dann"
"thin.sparsity" = 0.9
"#;

fn base() -> String {
    format!("name = 'base'\n{SWEEP}{STAGES}")
}

fn load_over(base: &str, child: &str) -> Checked {
    let child = format!("extends = 'base.toml'\n{child}");
    load_child(&child, &[("base.toml", base)], &[]).unwrap_or_else(|faults| panic!("{faults}"))
}

/// The values of each trial, as tables show them.
fn lines(checked: &Checked) -> Vec<String> {
    let line = |trial: &Trial| trial.settings.values().map(label).collect::<Vec<_>>().join(" ");
    checked.trials().iter().map(line).collect()
}

fn epochs_of_moved(checked: &Checked) -> Vec<u32> {
    let epochs = |trial: &Trial| match &*trial.stages["moved"] {
        Stage::Adapt(adapt) => adapt.epochs,
        other => panic!("{other:?}"),
    };
    checked.trials().iter().map(epochs).collect()
}

#[test]
fn a_stated_value_leaves_the_points_of_a_base_and_their_other_settings_stay() {
    assert_eq!(epochs_of_moved(&load_over(&base(), "")), [4, 9, 4]);
    let child = "[stage.moved.adapt]\nepochs = 1";
    let checked = load_over(&base(), child);
    assert_eq!(lines(&checked), ["0.5 mmd", "0.5 dann", "0.9 mmd"]);
    assert_eq!(epochs_of_moved(&checked), [1, 1, 1]);
    check(
        &format!("extends = 'base.toml'\n{child}"),
        &[("base.toml", &base())],
        &[],
        &expect![[r#"
            name = "base"

            [sweep]
            "thin.sparsity" = [0.5, 0.9]
            method = [{ label = "mmd" }, { label = "dann", "moved.method" = { dann = {} } }]
            exclude = [{ method = "dann", "thin.sparsity" = 0.9 }]

            [stage.dense.pretrain]
            model.lenet5 = {}
            data.mnist = {}
            epochs = 3
            optimizer.sgd = { learning-rate = 0.05, momentum = 0.8 }

            [stage.thin.prune]
            from = "dense"
            criterion.magnitude = {}
            sparsity = 0.5

            [stage.moved.adapt]
            from = "thin"
            source.mnist = {}
            target.usps = {}
            method.mmd = { weight = 0.5 }
            epochs = 1
        "#]],
    );
}

#[test]
fn stating_all_that_an_axis_sets_takes_it_out_with_its_rules() {
    let child = "[stage.moved.adapt]\nmethod.coral = {}\nepochs = 1";
    let checked = load_over(&base(), child);
    assert_eq!(axes(&checked), ["thin.sparsity"]);
    assert_eq!(lines(&checked), ["0.5", "0.9"]);
    // Another kind of stage has none of the settings either.
    let child = "[stage.moved.evaluate]\nfrom = 'thin'\ndata.mnist = {}";
    assert_eq!(axes(&load_over(&base(), child)), ["thin.sparsity"]);
}

#[test]
fn a_rule_goes_on_without_a_plain_axis_whose_value_a_file_states() {
    let checked = load_over(&base(), "[stage.thin.prune]\nsparsity = 0.9");
    assert_eq!(lines(&checked), ["mmd"], "dann with 0.9 is excluded");
    let checked = load_over(&base(), "[stage.thin.prune]\nsparsity = 0.7");
    assert_eq!(lines(&checked), ["mmd", "dann"]);
}

#[test]
fn a_part_of_what_the_points_of_a_base_set_cannot_be_stated() {
    let points = r#"
[sweep]
[[sweep.optimizer]]
label = "adam"
"dense.optimizer.adam.learning-rate" = 0.001
[[sweep.optimizer]]
label = "momentum"
"dense.optimizer.sgd.momentum" = 0.9
[[sweep.method]]
label = "dann"
"moved.method" = { dann = {} }
"#;
    let base = format!("name = 'base'\n{points}{STAGES}");
    check_faults(
        "extends = 'base.toml'
        [stage.dense.pretrain]
        optimizer.sgd.weight-decay = 0.1
        [stage.moved.adapt]
        method.mmd.weight = 1.0",
        &[("base.toml", &base)],
        &[],
        &expect![[r#"
            error[E066]: what this file states of `dense.optimizer` contradicts the axis `optimizer`, whose points set `dense.optimizer.adam.learning-rate`
             --> child.toml:3:9
              |
            3 |         optimizer.sgd.weight-decay = 0.1
              |         ^^^^^^^^^ cannot hold beside `dense.optimizer.adam.learning-rate`
              |
             ::: base.toml:6:1
              |
            6 | "dense.optimizer.adam.learning-rate" = 0.001
              | ------------------------------------ set here
              |
              = help: leave the axis out, without = ["sweep.optimizer"], or give it other points: [[sweep.optimizer]]

            error[E066]: what this file states of `moved.method` contradicts the axis `method`, whose points set `moved.method`
              --> child.toml:5:9
               |
             5 |         method.mmd.weight = 1.0
               |         ^^^^^^ cannot hold beside `moved.method`
               |
              ::: base.toml:12:1
               |
            12 | "moved.method" = { dann = {} }
               | -------------- set here
               |
               = help: leave the axis out, without = ["sweep.method"], or give it other points: [[sweep.method]]

            2 faults in child.toml
        "#]],
    );
    let own = "[stage.moved.adapt]\nmethod.mmd.weight = 1.0\n[[sweep.method]]\nlabel = 'mmd'";
    assert!(!lines(&load_over(&base, own)).is_empty(), "an axis of its own stays");
    let without = "without = ['sweep.method']\n[stage.moved.adapt]\nmethod.mmd.weight = 1.0";
    assert_eq!(axes(&load_over(&base, without)), ["optimizer"]);
}

#[test]
fn another_alternative_leaves_the_points_that_set_the_old_one() {
    let points = r#"
[sweep]
[[sweep.rate]]
label = "fast"
"dense.optimizer.sgd.learning-rate" = 0.5
"dense.epochs" = 1
[[sweep.rate]]
label = "slow"
"#;
    let base = format!("name = 'base'\n{points}{STAGES}");
    let checked = load_over(&base, "[stage.dense.pretrain]\noptimizer.adam = {}");
    for (trial, epochs) in checked.trials().iter().zip([1, 3]) {
        let Stage::Pretrain(dense) = &*trial.stages["dense"] else { panic!("no pretrain") };
        assert_eq!(dense.epochs, epochs);
        assert!(format!("{:?}", dense.optimizer).contains("Adam"), "{:?}", dense.optimizer);
    }
}

#[test]
fn a_named_axis_replaces_that_of_the_base_and_its_rules_may_name_what_is_gone() {
    let child = r#"
[stage.moved.adapt]
epochs = 2
[[sweep.method]]
label = "coral"
"moved.method" = { coral = {} }
[[sweep.method]]
label = "long"
"moved.epochs" = 20
"#;
    let checked = load_over(&base(), child);
    assert_eq!(axes(&checked), ["thin.sparsity", "method"]);
    assert_eq!(lines(&checked), ["0.5 coral", "0.5 long", "0.9 coral", "0.9 long"]);
    assert_eq!(epochs_of_moved(&checked), [2, 20, 2, 20]);
}

#[test]
fn rules_replace_those_of_the_base() {
    let child = "[[sweep.exclude]]\nmethod = 'mmd'\n'thin.sparsity' = 0.5";
    assert_eq!(lines(&load_over(&base(), child)), ["0.5 dann", "0.9 mmd", "0.9 dann"]);
    let child = "[[sweep.include]]\nmethod = 'dann'\n'thin.sparsity' = 0.99";
    let expected = ["0.5 mmd", "0.5 dann", "0.9 mmd", "0.99 dann"];
    assert_eq!(lines(&load_over(&base(), child)), expected);
    let child = "extends = 'base.toml'\n[[sweep.exclude]]\nmethod = 'dan'";
    let faults = load_child(child, &[("base.toml", &base())], &[]).unwrap_err();
    assert_eq!(codes(&faults), ["E063"], "nothing has taken away what the file itself names");
}

#[test]
fn an_axis_is_left_out_with_the_rules_that_name_it() {
    let checked = load_over(&base(), "without = ['sweep.method']");
    assert_eq!(lines(&checked), ["0.5", "0.9"]);
    let checked = load_over(&base(), "without = ['sweep.thin.sparsity']");
    assert_eq!(lines(&checked), ["mmd", "dann"]);
    let checked = load_over(&base(), "without = ['sweep.exclude']");
    assert_eq!(lines(&checked).len(), 4);
}

#[test]
fn points_and_rules_have_variables() {
    let sweep = r#"
seeds = "$seeds"
[vars]
seeds = [0, 1]
epochs = 9
dann = { dann = {} }
thick = 0.5
name = "dann"
rule = { method = "$name", "thin.sparsity" = "$thick", seed = 1 }
[sweep]
exclude = ["$rule"]
"thin.sparsity" = ["$thick", 0.9]
[[sweep.method]]
label = "mmd"
[[sweep.method]]
label = "$name"
"moved.method" = "$dann"
"moved.epochs" = "$epochs"
"#;
    let base = format!("name = 'base'\n{sweep}{STAGES}");
    check(
        "extends = 'base.toml'
        [vars]
        epochs = 2
        name = 'dann-2'",
        &[("base.toml", &base)],
        &[],
        &expect![[r#"
            name = "base"
            seeds = [0, 1]

            [sweep]
            exclude = [{ method = "dann-2", "thin.sparsity" = 0.5, seed = 1 }]
            "thin.sparsity" = [0.5, 0.9]
            method = [{ label = "mmd" }, { label = "dann-2", "moved.method" = { dann = {} }, "moved.epochs" = 2 }]

            [stage.dense.pretrain]
            model.lenet5 = {}
            data.mnist = {}
            epochs = 3
            optimizer.sgd = { learning-rate = 0.05, momentum = 0.8 }

            [stage.thin.prune]
            from = "dense"
            criterion.magnitude = {}
            sparsity = 0.5

            [stage.moved.adapt]
            from = "thin"
            source.mnist = {}
            target.usps = {}
            method.mmd = { weight = 0.5 }
            epochs = 4
        "#]],
    );
    let misspelt = base.replace("method = \"$name\", ", "method = \"dan\", ");
    let faults = load_child(&misspelt, &[], &[]).unwrap_err();
    assert_eq!(codes(&faults), ["E063"], "what a variable says is said by whoever uses it");
}
