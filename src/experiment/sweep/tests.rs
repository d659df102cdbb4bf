use expect_test::{Expect, expect};
use proptest::prelude::*;
use proptest::sample::subsequence;

use super::super::spec::{Adapt, Method, Stage};
use super::super::{Alone, Checked, Trial, label, load};

/// A network trained, pruned and adapted; no sweep.
pub(in crate::experiment) const STAGES: &str = r#"
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
"#;

const METHODS: &str = r#"
[sweep]
"thin.sparsity" = [0.5, 0.9]

[[sweep.method]]
label = "mmd"

[[sweep.method]]
label = "dann"
"moved.method" = { dann = {} }
"moved.epochs" = 9
"dense.optimizer.adam.learning-rate" = 0.002

[[sweep.method]]
label = "control"
"moved.method.source-only" = {}
"#;

fn text(sweep: &str) -> String {
    format!("name = \"sweeps\"\n{sweep}{STAGES}")
}

#[track_caller]
fn load_with(sweep: &str, sets: &[&str]) -> Checked {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    load("sweeps.toml", &text(sweep), &sets, &Alone).unwrap_or_else(|faults| panic!("{faults}"))
}

#[track_caller]
fn faults_with(sweep: &str, sets: &[&str], expect: &Expect) {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    let faults = load("sweeps.toml", &text(sweep), &sets, &Alone).unwrap_err();
    expect.assert_eq(&format!("{faults}\n"));
}

/// A trial in a line: `0.5 dann 0`.
fn line(trial: &Trial) -> String {
    let settings = trial.settings.values().map(label);
    settings.chain([trial.seed.to_string()]).collect::<Vec<_>>().join(" ")
}

fn lines(checked: &Checked) -> Vec<String> {
    checked.trials().iter().map(line).collect()
}

fn moved(trial: &Trial) -> &Adapt {
    let Stage::Adapt(moved) = &*trial.stages["moved"] else { panic!("{:?}", trial.stages) };
    moved
}

#[test]
fn a_point_sets_keys_of_several_stages_and_leaves_the_rest_to_the_file() {
    let checked = load_with(METHODS, &[]);
    let all = ["0.5 mmd 0", "0.5 dann 0", "0.5 control 0"].into_iter();
    let all = all.chain(["0.9 mmd 0", "0.9 dann 0", "0.9 control 0"]);
    assert!(lines(&checked).iter().map(String::as_str).eq(all));
    let trials = checked.trials();
    assert!(trials[0].settings.keys().eq(["thin.sparsity", "method"]));
    let Method::Mmd(mmd) = &moved(&trials[0]).method else { panic!() };
    assert_eq!((mmd.weight, moved(&trials[0]).epochs), (0.5, 4), "the file's own");
    assert!(matches!(moved(&trials[1]).method, Method::Dann(_)));
    assert_eq!(moved(&trials[1]).epochs, 9);
    assert!(matches!(moved(&trials[2]).method, Method::SourceOnly(_)));
    let adam = |trial: &Trial| format!("{:?}", trial.stages["dense"]).contains("Adam(");
    assert_eq!(trials.iter().map(adam).collect::<Vec<_>>(), [false, true, false].repeat(2));
}

#[test]
fn exclude_drops_and_include_adds_in_the_order_of_the_axes() {
    let rules = r#"
[[sweep.exclude]]
method = ["dann", "control"]
"thin.sparsity" = 0.9

[[sweep.exclude]]
method = "control"
seed = 1

[[sweep.include]]
method = "dann"
"thin.sparsity" = 0.99
seed = [1, 7]

[[sweep.include]]
"thin.sparsity" = [0.9, 0.95]
method = "control"
"#;
    let checked = load_with(&format!("seeds = [0, 1]\n{METHODS}{rules}"), &[]);
    expect![[r#"
        [
            "0.5 mmd 0",
            "0.5 mmd 1",
            "0.5 dann 0",
            "0.5 dann 1",
            "0.5 control 0",
            "0.9 mmd 0",
            "0.9 mmd 1",
            "0.99 dann 1",
            "0.99 dann 7",
            "0.9 control 0",
            "0.9 control 1",
            "0.95 control 0",
            "0.95 control 1",
        ]
    "#]]
    .assert_debug_eq(&lines(&checked));
}

#[test]
fn an_include_that_is_there_in_part_adds_the_rest() {
    let sweep =
        "[sweep]\n\"moved.epochs\" = [1, 2]\n[[sweep.include]]\n\"moved.epochs\" = [2, 3]\n";
    assert_eq!(lines(&load_with(sweep, &[])), ["1 0", "2 0", "3 0"]);
}

#[test]
fn a_list_that_is_one_value_is_told_from_a_list_of_values() {
    let axis = "[sweep]\n\"moved.freeze\" = [[], [\"conv1\"], [\"conv1\", \"fc1\"], [\"fc1\"]]\n";
    for (rule, left) in [
        ("[\"conv1\"]", vec!["[]", "[conv1, fc1]", "[fc1]"]),
        ("[]", vec!["[conv1]", "[conv1, fc1]", "[fc1]"]),
        ("[[\"conv1\"], []]", vec!["[conv1, fc1]", "[fc1]"]),
        ("\"[conv1]\"", vec!["[]", "[conv1, fc1]", "[fc1]"]),
    ] {
        let sweep = format!("{axis}[[sweep.exclude]]\n\"moved.freeze\" = {rule}\n");
        let text = format!("{}freeze = []\n", text(&sweep));
        let checked =
            load("sweeps.toml", &text, &[], &Alone).unwrap_or_else(|faults| panic!("{faults}"));
        let shown: Vec<_> = checked.trials().iter().map(|t| label(&t.settings[0])).collect();
        assert_eq!(shown, left, "{rule}");
    }
}

#[test]
fn a_rule_can_name_a_value_by_what_tables_show() {
    let sweep = "[sweep]\n\"thin.criterion\" = [{ magnitude = {} }, { random = {} }]\n[[sweep.exclude]]\n\"thin.criterion\" = \"magnitude\"\n";
    assert_eq!(lines(&load_with(sweep, &[])), ["random 0"]);
}

#[test]
fn combinations_that_are_excluded_need_not_be_legal() {
    let sweep = "[sweep]\n\"moved.target\" = [{ usps = {} }, { cifar100 = {} }]\n";
    assert!(load("sweeps.toml", &text(sweep), &[], &Alone).is_err(), "other classes");
    let rule = "[[sweep.exclude]]\n\"moved.target\" = \"cifar100\"\n";
    assert_eq!(load_with(&format!("{sweep}{rule}"), &[]).trials().len(), 1);
}

#[test]
fn a_set_takes_its_key_out_of_the_points_and_leaves_the_others() {
    let checked = load_with(METHODS, &["moved.epochs=1"]);
    assert_eq!(checked.trials().len(), 6);
    assert!(checked.trials().iter().all(|trial| moved(trial).epochs == 1));
    assert!(matches!(moved(&checked.trials()[1]).method, Method::Dann(_)));
    let whole = load_with(METHODS, &["sweep.method=[{ label = 'one', 'moved.epochs' = 7 }]"]);
    assert_eq!(lines(&whole), ["0.5 one 0", "0.9 one 0"]);
}

#[test]
fn a_set_of_all_that_an_axis_sets_takes_it_out_with_its_rules() {
    let rule = "[[sweep.exclude]]\nepochs = \"long\"\n\"thin.sparsity\" = 0.9\n";
    let axis = "[[sweep.epochs]]\nlabel = \"long\"\n\"moved.epochs\" = 9\n";
    let sweep = format!("[sweep]\n\"thin.sparsity\" = [0.5, 0.9]\n{axis}{rule}");
    assert_eq!(lines(&load_with(&sweep, &[])), ["0.5 long 0"]);
    assert_eq!(lines(&load_with(&sweep, &["moved.epochs=2"])), ["0.5 0", "0.9 0"]);
}

#[test]
fn a_rule_goes_on_without_a_plain_axis_that_was_set_to_its_value() {
    let rule = "[[sweep.exclude]]\nmethod = \"dann\"\n\"thin.sparsity\" = [0.9]\n";
    let sweep = format!("{METHODS}{rule}");
    assert_eq!(lines(&load_with(&sweep, &["thin.sparsity=0.9"])), ["mmd 0", "control 0"]);
    assert_eq!(lines(&load_with(&sweep, &["thin.sparsity=0.8"])), ["mmd 0", "dann 0", "control 0"]);
}

#[test]
fn a_rule_of_the_file_may_name_what_a_set_took_away() {
    let rule = "[[sweep.exclude]]\nmethod = \"dann\"\nseed = 1\n\"thin.sparsity\" = 0.9\n";
    let sweep = format!("seeds = [0, 1]\n{METHODS}{rule}");
    assert_eq!(load_with(&sweep, &[]).trials().len(), 11);
    assert_eq!(load_with(&sweep, &["seeds=[0]"]).trials().len(), 6);
    let other = load_with(&sweep, &["sweep.\"thin.sparsity\"=[0.25]"]);
    assert_eq!(other.trials().len(), 6);
}

#[test]
fn a_set_inside_a_setting_of_a_point_is_a_fault() {
    faults_with(
        METHODS,
        &["moved.method.dann.lambda=0.5"],
        &expect![[r#"
            error[E066]: --set moved.method.dann.lambda contradicts the axis `method`, whose points set `moved.method`
              --> --set:1:1
               |
             1 | moved.method.dann.lambda=0.5
               | ^^^^^^^^^^^^^^^^^^^^^^^^ cannot hold beside `moved.method`
               |
              ::: sweeps.toml:11:1
               |
            11 | "moved.method" = { dann = {} }
               | -------------- set here
               |
               = help: set all of `moved.method`, which takes it out of the points, or give the axis other points: --set 'sweep.method=[{ label = "…", "moved.method" = … }]'

            1 fault in --set
        "#]],
    );
}

#[test]
fn a_set_of_another_alternative_than_a_point_sets_is_a_fault() {
    for set in ["dense.optimizer.sgd.momentum=0.5", "moved.method.coral={}"] {
        let faults = load("sweeps.toml", &text(METHODS), &[set.to_owned()], &Alone).unwrap_err();
        assert_eq!(faults.0[0].code, "E066", "{faults}");
    }
}

#[test]
fn two_axes_cannot_choose_different_alternatives() {
    let other = "[[sweep.rate]]\nlabel = \"low\"\n\"dense.optimizer.sgd.momentum\" = 0.1\n";
    faults_with(
        &format!("{METHODS}{other}"),
        &[],
        &expect![[r#"
            error[E021]: the axes `method` and `rate` choose different alternatives of `optimizer`
              --> sweeps.toml:20:1
               |
            13 | "dense.optimizer.adam.learning-rate" = 0.002
               | ------------------------------------ the other axis
            ...
            20 | "dense.optimizer.sgd.momentum" = 0.1
               | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ overlaps with the other axis
               |
               = help: leave one out, or put the settings of both into the values of one

            1 fault in sweeps.toml
        "#]],
    );
}

#[test]
fn an_axis_of_one_point_is_legal() {
    let sweep = "[[sweep.only]]\nlabel = \"one\"\n";
    assert_eq!(lines(&load_with(sweep, &[])), ["one 0"]);
}

#[test]
fn data_that_one_criterion_looks_at_changes_something() {
    let data = "\"thin.data\" = [{ mnist = {} }, { usps = {} }]\n";
    let both = format!(
        "[sweep]\n{data}\"thin.criterion\" = [{{ magnitude = {{}} }}, {{ random = {{}} }}, {{ min-mse = {{}} }}]\n"
    );
    let stated =
        |sweep: &str| text(sweep).replace("sparsity = 0.5", "sparsity = 0.5\ndata.mnist = {}");
    assert!(load("sweeps.toml", &stated(&both), &[], &Alone).is_ok());
    let faults =
        load("sweeps.toml", &stated(&format!("[sweep]\n{data}")), &[], &Alone).unwrap_err();
    assert_eq!(faults.0[0].code, "E062");
}

#[test]
fn long_axes_and_many_rules_are_no_matter() {
    use std::fmt::Write;
    let numbers = format!("{:?}", (1..=5_000).collect::<Vec<_>>());
    let mut sweep = format!("[sweep]\n\"moved.epochs\" = {numbers}\n");
    for number in 1..=5_000 {
        let rule = if number % 2 == 0 { "exclude" } else { "include" };
        let epochs = if number % 2 == 0 { number } else { 5_000 + number };
        writeln!(sweep, "[[sweep.{rule}]]\n\"moved.epochs\" = {epochs}").unwrap();
    }
    for number in 0..2_000 {
        writeln!(sweep, "[[sweep.many]]\nlabel = \"{number}\"").unwrap();
        if number > 0 {
            writeln!(sweep, "\"dense.epochs\" = {number}").unwrap();
        }
    }
    let faults = load("sweeps.toml", &text(&sweep), &[], &Alone).unwrap_err();
    assert_eq!(faults.0[0].code, "E022", "ten million trials");
    let sweep = sweep.split("[[sweep.many]]").next().unwrap();
    assert_eq!(load_with(sweep, &[]).trials().len(), 5_000);
}

#[test]
fn rules_that_name_too_much_are_refused() {
    let numbers = format!("{:?}", (1..=300).collect::<Vec<_>>());
    let axes = format!("\"moved.epochs\" = {numbers}\n\"dense.epochs\" = {numbers}\n");
    let rule = format!("[[sweep.include]]\n\"moved.epochs\" = {numbers}\n");
    let sweep = format!("[sweep]\n{axes}{}", rule.repeat(50));
    let faults = load("sweeps.toml", &text(&sweep), &[], &Alone).unwrap_err();
    let last = faults.0.last().expect("a fault");
    assert_eq!((last.code, faults.0.len()), ("E022", 38), "each before adds nothing");
}

#[test]
fn a_slip_in_a_key_that_is_swept_is_told_as_one() {
    let slipped =
        text("[sweep]\n\"thin.sparsity\" = [0.5, 0.9]\n").replace("\nsparsity", "\nsparsty");
    let faults = load("sweeps.toml", &slipped, &[], &Alone).unwrap_err();
    expect![[r#"
        error[E020]: the axis `thin.sparsity` sweeps what stage `thin` does not state
          --> sweeps.toml:3:7
           |
         3 | "thin.sparsity" = [0.5, 0.9]
           |       ^^^^^^^^ not stated in the file
        ...
        14 | sparsty = 0.5
           | ------- did you mean `sparsity` here?
           |
           = help: write `sparsity` for `sparsty`, and it is stated

        error[E002]: stage `thin`: `prune` has no key `sparsty`
          --> sweeps.toml:14:1
           |
        14 | sparsty = 0.5
           | ^^^^^^^ did you mean `sparsity`?
           |
           = help: legal keys are allocation, budget, criterion, data, exclude, floors, from, granularity, layer-sparsity, reinitialise, remove, rewind-to, scope, seed, shuffle, sparsity

        2 faults in sweeps.toml
    "#]]
    .assert_eq(&format!("{faults}\n"));
}

#[test]
fn trials_with_many_stages_may_be_fewer() {
    let evaluate = "from = 'thin'\ndata.mnist = {}\n";
    let stages = (0..500).map(|number| format!("[stage.s{number}.evaluate]\n{evaluate}"));
    let stages = stages.collect::<Vec<_>>().concat();
    let load = |trials: usize| {
        let epochs: Vec<_> = (1..=trials).collect();
        let sweep = format!("[sweep]\n\"moved.epochs\" = {epochs:?}\n");
        load("sweeps.toml", &format!("{}{stages}", text(&sweep)), &[], &Alone)
    };
    assert_eq!(load(2).unwrap().trial_count(), 2);
    let faults = load(20_000).unwrap_err();
    assert_eq!(faults.0.len(), 1);
    let message = "the sweep has 20000 trials, and 19841 of so many stages and axes is the most";
    assert_eq!((faults.0[0].code, faults.0[0].message.as_str()), ("E022", message));
}

#[test]
fn no_seeds_are_one_fault_whatever_the_rules() {
    let rule = "[[sweep.exclude]]\n\"thin.sparsity\" = 0.9\n";
    let text = format!("seeds = []\n{}", text(&format!("{METHODS}{rule}")));
    let faults = load("sweeps.toml", &text, &[], &Alone).unwrap_err();
    assert_eq!(faults.0.iter().map(|fault| fault.code).collect::<Vec<_>>(), ["E005"]);
}

/// A rule: the sparsities, methods and seeds that it names; none for all.
type Named = [Option<Vec<usize>>; 3];

const SPARSITIES: [&str; 5] = ["0.1", "0.2", "0.3", "0.4", "0.6"];
const LABELS: [&str; 4] = ["zero", "one", "two", "three"];
const SEEDS: [&str; 4] = ["0", "1", "2", "3"];
const NAMES: [[&str; 5]; 3] = [
    SPARSITIES,
    [LABELS[0], LABELS[1], LABELS[2], LABELS[3], ""],
    [SEEDS[0], SEEDS[1], SEEDS[2], SEEDS[3], ""],
];

/// A rule that names some values of the first `extents` of each axis, and of one axis at least.
fn rule(extents: [usize; 3]) -> impl Strategy<Value = Named> {
    let some =
        |extent: usize| prop::option::of(subsequence((0..extent).collect::<Vec<_>>(), 1..=extent));
    let named = extents.map(some);
    named.prop_filter("a rule names something", |named| named.iter().any(Option::is_some))
}

fn sweep() -> impl Strategy<Value = ([usize; 3], Vec<Named>, Vec<Named>)> {
    (1..=4_usize, 1..=4_usize, 1..=3_usize).prop_flat_map(|(sparsities, methods, seeds)| {
        let extents = [sparsities, methods, seeds];
        // `include` may name one sparsity and one seed more than there are.
        let wider = [sparsities + 1, methods, seeds + 1];
        let excludes = prop::collection::vec(rule(extents), 0..4);
        (Just(extents), excludes, prop::collection::vec(rule(wider), 0..4))
    })
}

fn spell(extents: [usize; 3], excludes: &[Named], includes: &[Named]) -> String {
    let [sparsities, methods, seeds] = extents;
    let point = |(index, label): (usize, &&str)| {
        let epochs = format!("\"moved.epochs\" = {}\n", 10 + index);
        let setting = if index == 0 { String::new() } else { epochs };
        format!("[[sweep.method]]\nlabel = \"{label}\"\n{setting}")
    };
    let rules = excludes.iter().map(|rule| ("exclude", rule));
    let rules = rules.chain(includes.iter().map(|rule| ("include", rule)));
    let rules = rules.map(|(kind, rule)| {
        let named = rule.iter().enumerate();
        let named = named.filter_map(|(axis, picks)| Some(spell_picks(axis, picks.as_ref()?)));
        format!("[[sweep.{kind}]]\n{}", named.collect::<String>())
    });
    format!(
        "seeds = [{}]\n[sweep]\n\"thin.sparsity\" = [{}]\n{}{}",
        SEEDS[..seeds].join(", "),
        SPARSITIES[..sparsities].join(", "),
        LABELS[..methods].iter().enumerate().map(point).collect::<String>(),
        rules.collect::<String>(),
    )
}

fn spell_picks(axis: usize, picks: &[usize]) -> String {
    let name = ["\"thin.sparsity\"", "method", "seed"][axis];
    let quote = if axis == 1 { "\"" } else { "" };
    let values = picks.iter().map(|&pick| format!("{quote}{}{quote}", NAMES[axis][pick]));
    match values.collect::<Vec<_>>().as_slice() {
        [only] => format!("{name} = {only}\n"),
        values => format!("{name} = [{}]\n", values.join(", ")),
    }
}

/// Every combination of these picks, the first axis outermost.
fn product(picks: &[Vec<usize>; 3]) -> Vec<[usize; 3]> {
    let [first, second, third] = picks;
    let pairs = first.iter().flat_map(|&a| second.iter().map(move |&b| (a, b)));
    pairs.flat_map(|(a, b)| third.iter().map(move |&c| [a, b, c])).collect()
}

/// What a sweep should have; none where a rule does nothing or nothing is left.
fn reference(
    extents: [usize; 3],
    excludes: &[Named],
    includes: &[Named],
) -> Option<Vec<[usize; 3]>> {
    let mut all = product(&extents.map(|extent| (0..extent).collect()));
    for rule in excludes {
        let before = all.len();
        all.retain(|choice| {
            let says = |(picks, index): (&Option<Vec<usize>>, &usize)| {
                picks.as_ref().is_none_or(|picks| picks.contains(index))
            };
            !rule.iter().zip(choice).all(says)
        });
        if all.len() == before {
            return None;
        }
    }
    for rule in includes {
        let before = all.len();
        let picks = [0, 1, 2]
            .map(|axis| rule[axis].clone().unwrap_or_else(|| (0..extents[axis]).collect()));
        for choice in product(&picks) {
            if !all.contains(&choice) {
                all.push(choice);
            }
        }
        if all.len() == before {
            return None;
        }
    }
    (!all.is_empty()).then_some(all)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn trials_are_the_product_less_what_is_excluded_and_with_what_is_included(
        (extents, excludes, includes) in sweep(),
    ) {
        let sweep = spell(extents, &excludes, &includes);
        let loaded = load("sweeps.toml", &text(&sweep), &[], &Alone);
        let Some(expected) = reference(extents, &excludes, &includes) else {
            let faults = loaded.expect_err("a rule does nothing, or nothing is left");
            prop_assert!(faults.0.iter().all(|fault| ["E064", "E065"].contains(&fault.code)));
            return Ok(());
        };
        let checked = loaded.unwrap_or_else(|faults| panic!("{faults}\n{sweep}"));
        let expected: Vec<String> = expected
            .iter()
            .map(|[a, b, c]| format!("{} {} {}", SPARSITIES[*a], LABELS[*b], SEEDS[*c]))
            .collect();
        prop_assert_eq!(lines(&checked), expected, "{}", sweep);
        for trial in checked.trials() {
            let Stage::Prune(thin) = &*trial.stages["thin"] else { panic!() };
            prop_assert_eq!(thin.sparsity.unwrap().to_string(), label(&trial.settings[0]));
            let method = LABELS.iter().position(|own| *own == label(&trial.settings[1]));
            let epochs = method.filter(|&method| method > 0).map_or(4, |method| 10 + method);
            prop_assert_eq!(moved(&trial).epochs as usize, epochs);
        }
    }
}
