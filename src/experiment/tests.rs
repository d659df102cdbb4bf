use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::grammar::{Rule, What};
use super::spec::{Criterion, Experiment, Stage};
use super::*;

pub(super) const DIGITS: &str = r#"
name = "digits"
seeds = [0, 1, 2]

[sweep]
"thin.criterion" = [{ magnitude = {} }, { max-entropy = {} }, { min-mse = { hessian = "diag" } }]
"thin.sparsity" = [0.5, 0.9]

[stage.dense.pretrain]
model.lenet5 = {}
data.mnist = { batch-size = 64 }
epochs = 3
optimizer.sgd = { learning-rate = 0.05, momentum = 0.8 }

[stage.thin.prune]
from = "dense"
criterion.magnitude = {}
sparsity = 0.9

[stage.tuned.finetune]
from = "thin"
data.usps = {}
epochs = 2
freeze = ["conv1"]
"#;

#[track_caller]
fn load_with(sets: &[&str]) -> Checked {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    load("digits.toml", DIGITS, &sets, &Alone).unwrap_or_else(|faults| panic!("{faults}"))
}

#[track_caller]
fn check_sets(sets: &[&str], expect: &Expect) {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    let faults = load("digits.toml", DIGITS, &sets, &Alone).unwrap_err();
    expect.assert_eq(&format!("{faults}\n"));
}

/// The digits file with another text in place of one.
#[track_caller]
fn check_changed(from: &str, to: &str, expect: &Expect) {
    assert!(DIGITS.contains(from), "{from}");
    let faults = load("digits.toml", &DIGITS.replace(from, to), &[], &Alone).unwrap_err();
    expect.assert_eq(&format!("{faults}\n"));
}

fn prune(trial: &Trial) -> &spec::Prune {
    let Stage::Prune(prune) = &*trial.stages["thin"] else { panic!("{:?}", trial.stages) };
    prune
}

fn axes(checked: &Checked) -> impl Iterator<Item = &str> {
    checked.experiment.sweep.axes().map(|(name, _)| name)
}

#[test]
fn trials_are_the_sweep_times_the_seeds_with_axes_outermost() {
    let trials = load_with(&[]).trials();
    assert_eq!(trials.len(), 3 * 2 * 3);
    let lines: Vec<String> = trials[..8]
        .iter()
        .map(|trial| {
            let settings =
                trial.settings.iter().map(|(axis, value)| format!("{axis}={}", label(value)));
            format!("{} seed={}", settings.collect::<Vec<_>>().join(" "), trial.seed)
        })
        .collect();
    expect![[r#"
        [
            "thin.criterion=magnitude thin.sparsity=0.5 seed=0",
            "thin.criterion=magnitude thin.sparsity=0.5 seed=1",
            "thin.criterion=magnitude thin.sparsity=0.5 seed=2",
            "thin.criterion=magnitude thin.sparsity=0.9 seed=0",
            "thin.criterion=magnitude thin.sparsity=0.9 seed=1",
            "thin.criterion=magnitude thin.sparsity=0.9 seed=2",
            "thin.criterion=max-entropy thin.sparsity=0.5 seed=0",
            "thin.criterion=max-entropy thin.sparsity=0.5 seed=1",
        ]
    "#]]
    .assert_debug_eq(&lines);
    assert!(trials[8].stages.keys().eq(["dense", "thin", "tuned"]));
}

#[test]
fn a_criterion_that_looks_at_data_gets_that_of_the_training() {
    let trials = load_with(&[]).trials();
    let (magnitude, entropy) = (prune(&trials[0]), prune(&trials[6]));
    assert!(matches!(magnitude.criterion, Criterion::Magnitude(_)));
    assert_eq!(magnitude.data, None);
    let data = entropy.data.as_ref().unwrap();
    assert_eq!((data.name(), data.batching().batch_size), ("mnist", 64));

    let stated = load_with(&["thin.data.usps={}"]).trials();
    assert_eq!(prune(&stated[0]).data, None, "magnitude looks at no data");
    assert_eq!(prune(&stated[6]).data.as_ref().unwrap().name(), "usps");
}

#[test]
fn a_set_of_a_swept_key_takes_its_axis_out() {
    let checked = load_with(&["thin.sparsity=0.8"]);
    assert!(axes(&checked).eq(["thin.criterion"]));
    assert!(checked.trials().iter().all(|trial| prune(trial).sparsity == Some(0.8)));

    let inside = load_with(&["thin.criterion.min-mse.hessian=diag"]);
    assert!(axes(&inside).eq(["thin.sparsity"]));
    let whole = load_with(&["stage.thin.prune.criterion={ random = {} }", "seeds=[7]"]);
    assert_eq!(whole.trials().len(), 2);
}

#[test]
fn a_set_can_state_what_the_file_does_not_and_choose_another_alternative() {
    let checked = load_with(&[
        "dense.optimizer.adam.learning-rate=0.001",
        "thin.scope=layer",
        "description=only a word or two",
        "sweep.\"tuned.epochs\"=[1, 2]",
        "tuned.learning-rate-factors.'conv*'=0.5",
    ]);
    let Stage::Pretrain(dense) = &checked.experiment.stage["dense"] else { panic!() };
    let adam = spec::Adam { learning_rate: 0.001, ..spec::Adam::default() };
    assert_eq!(dense.optimizer, spec::Optimizer::Adam(adam));
    assert_eq!(checked.experiment.description.as_deref(), Some("only a word or two"));
    assert_eq!(checked.trials().len(), 3 * 2 * 2 * 3);
}

#[test]
fn faults_of_sets_point_into_the_set() {
    check_sets(
        &[
            "thin.sparsity=1.5",
            "thn.sparsity=0.5",
            "sparsity",
            "dense.epochs=[3",
            "dense.optimizer.adm={}",
        ],
        &expect![[r#"
            error[E005]: stage `thin`: `sparsity` = 1.5 is out of range
             --> --set:1:15
              |
            1 | thin.sparsity=1.5
              |               ^^^ must be at least 0 and below 1
              |
              = help: `sparsity`: Fraction of the prunable weights that are zero afterwards, in 0..1

            error[E030]: `thn` is neither a stage nor a key of the file
             --> --set:1:1
              |
            1 | thn.sparsity=0.5
              | ^^^ did you mean `thin`?
              |
              = help: stages are dense, thin, tuned
                      keys are claim, description, name, seeds, stage, sweep, vars

            error[E030]: `--set sparsity` is not KEY=VALUE
             --> --set:1:1
              |
            1 | sparsity
              | ^^^^^^^^ no key and value
              |
              = help: write KEY=VALUE: `thin.sparsity=0.8`, `seeds=[0, 1]`, `stage.thin.prune.scope="layer"`

            error[E030]: `--set dense.epochs=[3` has no value that is TOML
             --> --set:1:14
              |
            1 | dense.epochs=[3
              |              ^^ unclosed array

            error[E006]: stage `dense`: `optimizer` cannot be `adm`
             --> --set:1:17
              |
            1 | dense.optimizer.adm={}
              |                 ^^^ did you mean `adam`?
              |
              = help: choose one of adam, adam-w, rmsprop, sgd

            5 faults in --set
        "#]],
    );
}

#[test]
fn a_fault_of_one_combination_names_it() {
    check_changed(
        "\"thin.sparsity\" = [0.5, 0.9]",
        "\"tuned.freeze\" = [[\"conv1\"], [\"conv9\"]]\n\"tuned.from\" = [\"thin\", \"dense\", \"dens\"]",
        &expect![[r#"
            error[E041]: stage `tuned`: `freeze`: "conv9" matches no layer of the network
             --> digits.toml:7:31
              |
            7 | "tuned.freeze" = [["conv1"], ["conv9"]]
              |                               ^^^^^^^ did you mean "conv1"?
              |
              = help: layers of `lenet5` are conv1, conv2, fc1, fc2; `*` stands for any characters
                      this is so with thin.criterion = magnitude, tuned.freeze = [conv9], tuned.from = thin

            error[E010]: stage `tuned`: from = "dens" names no stage
             --> digits.toml:8:34
              |
            8 | "tuned.from" = ["thin", "dense", "dens"]
              |                                  ^^^^^^ did you mean "dense"?
              |
              = help: the other stages are dense, thin
                      this is so with tuned.freeze = [conv1], tuned.from = dens

            2 faults in digits.toml
        "#]],
    );
}

#[test]
fn values_of_an_axis_that_mean_the_same_are_found() {
    check_changed(
        "{ max-entropy = {} }",
        "{ min-mse = {} }, { min-mse = { hessian = \"full\" } }",
        &expect![[r#"
            error[E009]: two values of `thin.criterion` mean the same
             --> digits.toml:6:59
              |
            6 | "thin.criterion" = [{ magnitude = {} }, { min-mse = {} }, { min-mse = { hessian = "full" } }, { min-mse = { hessian = "diag" } }]
              |                                         ----------------  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ the same, with its defaults written out or left out
              |                                         |
              |                                         first stated here
              |
              = help: each value would give the same trials; leave one out

            1 fault in digits.toml
        "#]],
    );
}

#[test]
fn too_many_trials_are_refused_before_they_are_made() {
    let numbers = |count: usize| format!("{:?}", (1..=count).collect::<Vec<_>>());
    let axes = format!(
        "\"dense.epochs\" = {}\n\"tuned.epochs\" = {}\n\"dense.data.mnist.batch-size\" = {}",
        numbers(1000),
        numbers(1000),
        numbers(1000)
    );
    let text = DIGITS.replace("\"thin.sparsity\" = [0.5, 0.9]", &axes);
    let faults = load("digits.toml", &text, &[], &Alone).unwrap_err();
    assert_eq!(faults.0[0].code, Code::TooManyTrials.as_str());
}

#[test]
fn labels_are_short_and_stand_on_one_line() {
    for (value, expected) in [
        (json!({ "magnitude": {} }), "magnitude"),
        (json!(0.5), "0.5"),
        (json!("layer"), "layer"),
        (json!({ "min-mse": { "hessian": "diag" } }), "min-mse(hessian=diag)"),
        (
            json!({ "mlp": { "hidden": [300, 100], "dropout": 0.5 } }),
            "mlp(dropout=0.5, hidden=[300, 100])",
        ),
        (json!({ "conv1": 0.1 }), "conv1=0.1"),
        (json!(["conv1"]), "[conv1]"),
        (json!({}), "{}"),
        (json!(""), "\"\""),
        (json!(true), "true"),
        (json!("two\nlines \u{1b}[31m"), "two\\nlines \\u{1b}[31m"),
    ] {
        assert_eq!(label(&value), expected);
    }
}

#[test]
fn the_order_of_learning_rate_factors_is_kept() {
    let checked = load_with(&["tuned.learning-rate-factors={ fc2 = 0.1, conv2 = 0.2, fc1 = 0.3 }"]);
    let Stage::Finetune(tuned) = &*checked.trials()[0].stages["tuned"] else { panic!() };
    assert!(tuned.learning_rate_factors.keys().eq(["fc2", "conv2", "fc1"]));
}

#[test]
fn a_file_reads_as_serde_reads_it() {
    let typed: Experiment = toml::from_str(DIGITS).unwrap();
    assert_eq!(load_with(&[]).experiment, typed);
}

/// Values of a rule that take every alternative and every key at least once.
fn samples(rule: &Rule) -> Vec<Value> {
    samples_within(rule, 3)
}

/// As [`samples`], with lists in lists down to a depth, since layers contain lists of layers.
fn samples_within(rule: &Rule, depth: usize) -> Vec<Value> {
    let samples = |rule: &Rule| samples_within(rule, depth);
    match &rule.what {
        What::Any => vec![json!([1])],
        What::Bool => vec![json!(true), json!(false)],
        What::Integer(bounds) => vec![json!(bounds.min.unwrap_or(1.0) as u64)],
        What::Number(bounds) => {
            let low = bounds.min.or(bounds.above).unwrap_or(0.0);
            let high = bounds.max.or(bounds.below).unwrap_or(low + 1.0);
            vec![json!(f64::midpoint(low, high))]
        }
        What::Text(_) => vec![json!("name")],
        What::Choice(names) => names.iter().map(|name| json!(name)).collect(),
        What::List(list) => {
            let item = |value: Value| Value::Array(vec![value; list.min.max(1)]);
            match depth.checked_sub(1) {
                Some(depth) => samples_within(&list.items, depth).into_iter().map(item).collect(),
                None => vec![json!([])],
            }
        }
        What::OneOf(alternatives) => alternatives
            .iter()
            .flat_map(|(name, rule)| {
                samples(rule).into_iter().map(move |value| json!({ name: value }))
            })
            .collect(),
        What::Table(table) => {
            let keys = table
                .required
                .iter()
                .map(|key| (key.clone(), samples(&table.properties[key]).swap_remove(0)));
            let least: serde_json::Map<_, _> = keys.collect();
            let with = |key: &str, value: Value| {
                let mut table = least.clone();
                table.insert(key.to_owned(), value);
                Value::Object(table)
            };
            let named = table.properties.iter().flat_map(|(key, rule)| {
                samples(rule).into_iter().map(|value| with(key, value)).collect::<Vec<_>>()
            });
            let others = ["other", "an.other"].into_iter();
            let others = others.filter_map(|key| Some((key, table.other(key)?)));
            let others = others.flat_map(|(key, rule)| {
                samples(rule).into_iter().map(|value| with(key, value)).collect::<Vec<_>>()
            });
            std::iter::once(Value::Object(least.clone())).chain(named).chain(others).collect()
        }
    }
}

/// Compares what the types make of a written value with what the schema says of the keys left out.
fn compare_defaults(rule: &Rule, written: &Value, read: &Value, compared: &mut usize) {
    let (Value::Object(written), Value::Object(read)) = (written, read) else { return };
    if let What::Table(table) = &rule.what {
        for (key, rule) in table.properties.iter().filter(|(key, _)| !written.contains_key(*key)) {
            let is_skipped = |value: &Value| [json!([]), json!({}), json!(false)].contains(value);
            match (&rule.default, read.get(key)) {
                (Some(default), Some(value)) => assert_eq!(default, value, "{key}"),
                (Some(default), None) => assert!(is_skipped(default), "{key}"),
                (None, value) => {
                    assert_eq!(value, None, "{key} has a default that is not in the schema");
                }
            }
            *compared += 1;
        }
    }
    for (key, written) in written {
        let below = rule.get(key).unwrap_or_else(|| panic!("no rule for {key}"));
        if let Some(read) = read.get(key) {
            compare_defaults(below, written, read, compared);
        }
    }
}

#[test]
fn every_default_of_the_schema_is_the_typed_one() {
    let mut compared = 0;
    for written in samples(&EXPERIMENT) {
        let Value::Object(mut written) = written else { panic!("{written}") };
        // What puts a file together is gone before it is typed.
        written.retain(|key, _| !["extends", "without", "vars"].contains(&key.as_str()));
        let written = Value::Object(written);
        let typed: Experiment = serde_json::from_value(written.clone())
            .unwrap_or_else(|error| panic!("{error}: {written}"));
        let read = serde_json::to_value(&typed).unwrap();
        compare_defaults(&EXPERIMENT, &written, &read, &mut compared);
    }
    assert!(compared > 1000, "{compared}");
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    let deep = format!("{}b = 1", "a.".repeat(100_000));
    assert!(load("deep.toml", &deep, &[], &Alone).is_err());
    let lists = format!("a = {}", "[".repeat(100_000));
    assert!(load("deep.toml", &lists, &[], &Alone).is_err());
    let set = format!("{}b=1", "thin.".repeat(100_000));
    assert!(load("digits.toml", DIGITS, &[set], &Alone).is_err());
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in any::<String>(), set in any::<String>()) {
        if let Err(faults) = load("any.toml", &text, &[set], &Alone) {
            prop_assert!(!faults.to_string().is_empty());
        }
    }

    /// A real file with a piece replaced, so that the later passes are reached.
    #[test]
    fn no_change_of_a_file_makes_the_reader_panic(
        at in 0..DIGITS.len(),
        length in 0_usize..20,
        new in "[a-z0-9.=\"'\\[\\]{},\n -]{0,8}",
    ) {
        let end = (at + length).min(DIGITS.len());
        let text = format!("{}{new}{}", &DIGITS[..at], &DIGITS[end..]);
        if let Err(faults) = load("any.toml", &text, &[], &Alone) {
            prop_assert!(faults.0.iter().all(|fault| fault.span.end <= text.len()));
            prop_assert!(!faults.to_string().is_empty());
        }
    }

    /// Pieces of a real file in any order, so that more than the parser is reached.
    #[test]
    fn no_mixture_of_lines_makes_the_reader_panic(
        cuts in prop::collection::vec((0..DIGITS.len(), 0..DIGITS.len()), 1..5),
        set in "(thin|dense|sweep|stage|seeds|name)[.a-z=0-9\"'\\[\\]{} ]{0,20}",
    ) {
        let text: String = cuts
            .iter()
            .map(|&(from, to)| &DIGITS[from.min(to)..from.max(to)])
            .collect::<Vec<_>>()
            .join("\n");
        for text in [text.as_str(), DIGITS] {
            if let Err(faults) = load("any.toml", text, std::slice::from_ref(&set), &Alone) {
                prop_assert!(!faults.to_string().is_empty());
            }
        }
    }
}
