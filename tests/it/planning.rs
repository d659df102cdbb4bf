//! What runs after a change, and what does not.

use std::collections::BTreeMap;

use graftwork::experiment::label;
use graftwork::experiment::spec::Stage;
use graftwork::plan::{self, History, Node, Presence, Previous, Reason, Selection};
use graftwork::recipe::{Recipe, StageKey};
use petgraph::graph::NodeIndex;
use proptest::prelude::*;
use proptest::sample::select;

use crate::scripted::World;

const DIGITS: &str = r#"
name = "digits"
seeds = [0, 1]

[sweep]
"thin.criterion" = [{ magnitude = {} }, { random = {} }]

[stage.dense.pretrain]
model.lenet5 = {}
data.mnist = { batch-size = 64 }
epochs = 3
optimizer.sgd = { learning-rate = 0.05, weight-decay = 0.01 }

[stage.thin.prune]
from = "dense"
criterion.magnitude = {}
sparsity = 0.9

[stage.tuned.finetune]
from = "thin"
data.mnist = {}
epochs = 2
"#;

/// Runs [`DIGITS`], then a changed text; the second run must run just these stages.
#[track_caller]
fn check(changed: &str, expected: &[(&str, usize)]) {
    let mut world = World::new();
    world.run(DIGITS, &[]);
    let expected = expected.iter().map(|&(name, count)| (name.to_owned(), count)).collect();
    assert_eq!(world.run(changed, &[]), expected);
    assert_eq!(world.run(DIGITS, &[]), BTreeMap::new(), "after the change is taken back");
}

#[track_caller]
fn check_edit(from: &str, to: &str, expected: &[(&str, usize)]) {
    assert!(DIGITS.contains(from), "nothing to edit");
    check(&DIGITS.replace(from, to), expected);
}

#[test]
fn the_first_run_runs_every_distinct_stage_once_and_the_second_none() {
    let mut world = World::new();
    let counts = [("dense", 2), ("thin", 4), ("tuned", 4)];
    assert_eq!(world.run(DIGITS, &[]), counts.map(|(name, n)| (name.to_owned(), n)).into());
    assert_eq!(world.run(DIGITS, &[]), BTreeMap::new());
}

#[test]
fn a_changed_sparsity_prunes_and_tunes_again() {
    check_edit("sparsity = 0.9", "sparsity = 0.95", &[("thin", 4), ("tuned", 4)]);
}

#[test]
fn a_set_counts_like_an_edit() {
    let mut world = World::new();
    world.run(DIGITS, &[]);
    let counts = [("thin", 4), ("tuned", 4)].map(|(name, n)| (name.to_owned(), n));
    assert_eq!(world.run(DIGITS, &["thin.sparsity=0.95"]), counts.into());
    assert_eq!(world.run(&DIGITS.replace("0.9\n", "0.95\n"), &[]), BTreeMap::new());
}

#[test]
fn changed_finetune_epochs_tune_again() {
    check_edit("epochs = 2", "epochs = 3", &[("tuned", 4)]);
}

#[test]
fn a_renamed_stage_runs_nothing() {
    check(&DIGITS.replace("dense", "teacher").replace("digits", "numbers"), &[]);
}

#[test]
fn comments_spaces_and_descriptions_run_nothing() {
    check_edit("seeds", "# why not\ndescription = 'x'\nseeds ", &[]);
}

#[test]
fn reordered_keys_and_stages_run_nothing() {
    let (head, stages) = DIGITS.split_at(DIGITS.find("[stage.dense").unwrap());
    let mut stages: Vec<&str> = stages.split("\n\n").collect();
    stages.reverse();
    let reordered = format!("{head}{}", stages.join("\n\n"));
    check(
        &reordered.replace(
            "from = \"dense\"\ncriterion.magnitude = {}\nsparsity = 0.9",
            "sparsity = 9e-1\ncriterion = { magnitude = {} }\nfrom = \"dense\"",
        ),
        &[],
    );
}

#[test]
fn stated_defaults_run_nothing() {
    check_edit("epochs = 2", "epochs = 2\nkeep = \"last\"\noptimizer.sgd.momentum = 0.9", &[]);
}

#[test]
fn exchanged_values_run_everything() {
    check_edit(
        "learning-rate = 0.05, weight-decay = 0.01",
        "learning-rate = 0.01, weight-decay = 0.05",
        &[("dense", 2), ("thin", 4), ("tuned", 4)],
    );
}

#[test]
fn a_further_seed_runs_its_own_stages_only() {
    check_edit("seeds = [0, 1]", "seeds = [1, 0, 2]", &[("dense", 1), ("thin", 2), ("tuned", 2)]);
}

#[test]
fn a_further_value_of_an_axis_runs_its_own_stages_only() {
    check_edit("[{ mag", "[{ min-mse = {} }, { mag", &[("thin", 2), ("tuned", 2)]);
}

#[test]
fn a_second_experiment_with_the_same_pretrain_shares_it() {
    check(
        r#"
name = "other"
seeds = [1, 0]
[stage.base.pretrain]
epochs = 3
data.mnist = { batch-size = 64 }
model.lenet5 = {}
optimizer.sgd = { weight-decay = 0.01, learning-rate = 0.05 }
[stage.score.evaluate]
from = "base"
data.mnist = {}
"#,
        &[("score", 2)],
    );
}

#[test]
fn other_content_of_a_dataset_runs_everything() {
    let mut world = World::new();
    world.run(DIGITS, &[]);
    world.data = "2";
    assert_eq!(world.run(DIGITS, &[]).values().sum::<usize>(), 10);
    world.data = "1";
    assert_eq!(world.run(DIGITS, &[]).values().sum::<usize>(), 0);
}

#[test]
fn a_pinned_seed_and_a_stage_without_draws_are_shared_by_all_seeds() {
    let pinned = DIGITS.replace("epochs = 3", "epochs = 3\nseed = 7");
    let counts = World::new().run(&pinned, &[]);
    // Magnitude draws nothing, so both seeds share it; random draws by the trial's seed.
    let expected = [("dense", 1), ("thin", 3), ("tuned", 4)];
    assert_eq!(counts, expected.map(|(name, n)| (name.to_owned(), n)).into());
}

#[test]
fn stages_with_equal_recipes_are_one_under_two_names() {
    let twice = format!(
        "{DIGITS}\n[stage.again.finetune]\nepochs = 2\nfrom = \"thin\"\ndata.mnist = {{}}\n"
    );
    let plan = World::new().plan(&twice, &[]);
    let counts = plan.counts();
    assert_eq!((counts.trials, counts.naive, counts.distinct), (4, 16, 10));
    let tuned = &plan.graph[plan.trials[0].stages["tuned"]];
    assert_eq!(tuned.names.iter().map(String::as_str).collect::<Vec<_>>(), ["again", "tuned"]);
}

#[test]
fn a_title_says_what_tells_a_stage_from_its_siblings() {
    let plan = World::new().plan(DIGITS, &[]);
    let titles = plan.trials[3].stages.values().map(|&node| plan.title(node, &label));
    let expected =
        ["dense seed=1", "thin criterion=random seed=1", "tuned criterion=random seed=1"];
    assert_eq!(titles.collect::<Vec<_>>(), expected);
}

#[test]
fn inputs_come_before_their_readers() {
    let plan = World::new().plan(DIGITS, &[]);
    for node in plan.order() {
        assert!(plan.inputs(node).values().all(|&input| input < node));
    }
}

/// The reason for each stage of the first trial after a change, with the past of [`DIGITS`].
#[track_caller]
fn check_why(changed: &str, sets: &[&str], expected: &[&str]) {
    let world = World::new();
    let past = world.plan(DIGITS, &[]);
    let previous = past.trials.iter().map(|trial| Previous {
        settings: trial.settings.clone(),
        seed: trial.seed,
        stages: trial
            .stages
            .iter()
            .map(|(name, &node)| {
                (name.clone(), (past.graph[node].key, past.graph[node].recipe.clone()))
            })
            .collect(),
    });
    let history = History::new(previous.collect());
    let plan = world.plan(changed, sets);
    let cached: Vec<StageKey> = past.graph.node_weights().map(|node| node.key).collect();
    let presence = |node: &Node| {
        if cached.contains(&node.key) { Presence::Cached } else { Presence::Missing }
    };
    let presences: Vec<_> = plan.graph.node_weights().map(presence).collect();
    let todo = plan::select(&plan, &presences, &|_| false, &Selection::default()).unwrap();
    let why =
        |&node: &NodeIndex| history.why(&plan, node, &presences, &todo, &|_| None).to_string();
    let reasons: Vec<_> = plan.trials[0].stages.values().map(why).collect();
    assert_eq!(reasons, expected);
}

#[test]
fn a_change_is_told_with_its_place_and_both_values() {
    check_why(
        DIGITS,
        &["thin.sparsity=0.95"],
        &["cached", "spec changed: thin.sparsity 0.9 → 0.95", "input thin changed"],
    );
    check_why(
        &DIGITS.replace(
            "learning-rate = 0.05, weight-decay = 0.01",
            "learning-rate = 0.01, weight-decay = 0.05",
        ),
        &[],
        &[
            "spec changed: dense.optimizer.sgd.learning-rate 0.05 → default, dense.optimizer.sgd.weight-decay 0.01 → 0.05",
            "input dense changed",
            "input thin changed",
        ],
    );
    check_why(
        &DIGITS.replace("lenet5 = {}", "cnn = {}"),
        &[],
        &[
            r#"spec changed: dense.model {"lenet5":{}} → {"cnn":{}}"#,
            "input dense changed",
            "input thin changed",
        ],
    );
}

#[test]
fn what_the_last_run_has_nothing_like_was_never_run() {
    check_why(
        &DIGITS.replace("[{ mag", "[{ min-mse = {} }, { mag"),
        &[],
        &["cached", "never run", "never run"],
    );
    check_why(&DIGITS.replace("seeds = [0", "seeds = [5"), &[], &["never run"; 3]);
}

#[test]
fn a_new_axis_is_told_as_the_change_that_it_makes() {
    check_why(
        &DIGITS.replace("[sweep]", "[sweep]\n\"thin.sparsity\" = [0.5, 0.9]"),
        &[],
        &["cached", "spec changed: thin.sparsity 0.9 → 0.5", "input thin changed"],
    );
}

#[test]
fn a_past_that_was_planned_and_not_finished_is_told_so() {
    let world = World::new();
    let plan = world.plan(DIGITS, &[]);
    let node = plan.trials[0].stages["dense"];
    let known = &plan.graph[node];
    let stages = BTreeMap::from([("dense".to_owned(), (known.key, known.recipe.clone()))]);
    let settings = plan.trials[0].settings.clone();
    let history = History::new(vec![Previous { settings, seed: 0, stages }]);
    let presences = vec![Presence::Missing; plan.graph.node_count()];
    let todo = plan::select(&plan, &presences, &|_| false, &Selection::default()).unwrap();
    let why = history.why(&plan, node, &presences, &todo, &|_| None);
    assert_eq!(why, Reason::Unfinished {});
    let made = plan::Made { experiment: "digits".to_owned(), ended_ms: 0 };
    let why = history.why(&plan, node, &presences, &todo, &|_| Some(made.clone()));
    assert_eq!(why, Reason::CheckpointMissing {});
}

/// 4 criteria × 5 ratios × 5 seeds × 3 targets.
const ABLATION: &str = r#"
name = "ablation"
seeds = [0, 1, 2, 3, 4]
[sweep]
"thin.criterion" = [{ random = {} }, { max-entropy = {} }, { min-mse = {} }, { sparse-opt = {} }]
"thin.sparsity" = [0.5, 0.6, 0.7, 0.8, 0.9]
"moved.target" = [{ usps = {} }, { optdigits = {} }, { fashion-mnist = {} }]
[stage.dense.pretrain]
model.lenet5 = {}
data.mnist = {}
epochs = 10
[stage.thin.prune]
from = "dense"
criterion.random = {}
sparsity = 0.5
[stage.tuned.finetune]
from = "thin"
data.mnist = {}
epochs = 2
[stage.moved.adapt]
from = "tuned"
source.mnist = {}
target.usps = {}
method.mmd = {}
epochs = 5
"#;

#[test]
fn an_ablation_of_twelve_hundred_stages_has_505_distinct_ones() {
    let plan = World::new().plan(ABLATION, &[]);
    let counts = plan.counts();
    assert_eq!((counts.trials, counts.naive, counts.distinct), (300, 1200, 505));
    let named =
        |name: &str| plan.graph.node_weights().filter(|node| node.names.contains(name)).count();
    assert_eq!(["dense", "thin", "tuned", "moved"].map(named), [5, 100, 100, 300]);
}

#[cfg(unix)]
#[test]
fn the_plan_of_an_ablation_says_what_sharing_saves() {
    let place = crate::engine::Place::new(ABLATION);
    let plan = place.graftwork_without_engine(&["plan", "house.toml"]);
    let said = "ablation: 300 trials of 1200 stages in all, 505 distinct (695 saved by sharing)";
    assert!(plan.stdout.contains(said), "{}", plan.stdout);
    let rows = ["○ dense  pretrain      5       0", "○ moved  adapt       300       0"];
    assert!(rows.iter().all(|row| plan.stdout.contains(row)), "{}", plan.stdout);
}

/// Four sparsities × three methods × two seeds, less and with what the rules say.
const METHODS: &str = r#"
name = "methods"
seeds = [0, 1]
[sweep]
"thin.sparsity" = [0.5, 0.9, 0.98]
[[sweep.method]]
label = "source-only"
"moved.method" = { source-only = {} }
[[sweep.method]]
label = "dann"
"moved.method" = { dann = {} }
"moved.epochs" = 8
[[sweep.method]]
label = "mmd"
[[sweep.exclude]]
method = "source-only"
"thin.sparsity" = [0.9, 0.98]
[[sweep.include]]
method = "dann"
"thin.sparsity" = 0.99
[stage.dense.pretrain]
model.lenet5 = {}
data.mnist = {}
epochs = 10
[stage.thin.prune]
from = "dense"
criterion.magnitude = {}
sparsity = 0.5
[stage.moved.adapt]
from = "thin"
source.mnist = {}
target.usps = {}
method.mmd = {}
epochs = 5
"#;

#[cfg(unix)]
#[test]
fn a_sweep_with_rules_plans_just_its_combinations() {
    let place = crate::engine::Place::new(METHODS);
    let plan = place.graftwork_without_engine(&["plan", "house.toml"]);
    // 3 × 3 combinations, 2 dropped and 1 added: 8, twice.
    let said = "methods: 16 trials of 48 stages in all, 26 distinct (22 saved by sharing)";
    assert!(plan.stdout.contains(said), "{}", plan.stdout);
    assert!(plan.stdout.contains("dense ×2 → thin ×8 → moved ×16"), "{}", plan.stdout);

    let only = place.graftwork_without_engine(&["plan", "house.toml", "--only", "method=dann"]);
    assert!(only.stdout.contains("to run: 18"), "2 + 8 + 8: {}", only.stdout);
    let both = ["plan", "house.toml", "--only", "method=dann", "--only", "moved"];
    let both = place.graftwork_without_engine(&both);
    assert!(both.stderr.contains("--only leaves out"), "{}", both.stderr);
    let why = place.graftwork_without_engine(&["plan", "house.toml", "--why", "moved"]);
    assert!(why.stdout.contains("moved sparsity=0.99 method=dann seed=1"), "{}", why.stdout);
}

/// A setting of a pretrain stage: its key, its values as texts of one meaning each, the first the default.
type Setting = (&'static str, &'static [&'static [&'static str]]);

const SETTINGS: [Setting; 14] = [
    ("epochs", &[&["3", "+3", "0x3"], &["4", "0b100"]]),
    ("model.lenet5.dropout", &[&["0.0", "0e5", "-0.0"], &["0.5", "5e-1"], &["0.25"]]),
    ("model.lenet5.batch-norm", &[&["false"], &["true"]]),
    ("data.mnist.batch-size", &[&["128", "1_28", "0x80"], &["64", "0o100"], &["3"]]),
    ("data.mnist.val-fraction", &[&["0.1", "1e-1", "0.10"], &["0.0"], &["0.5", "0.500"]]),
    ("data.mnist.split-seed", &[&["0"], &["3"], &["128"]]),
    (
        "data.mnist.augment",
        &[
            &["[]"],
            &["[{ horizontal-flip = {} }]", "[{ horizontal-flip.probability = 0.5 }]"],
            &["[{ horizontal-flip = {} }, { random-crop.padding = 3 }]"],
            &["[{ random-crop.padding = 3 }, { horizontal-flip = {} }]"],
        ],
    ),
    ("optimizer.SOME.learning-rate", &[&["DEFAULT"], &["0.5", "5E-1"], &["0.25", "2.5e-1"]]),
    ("optimizer.SOME.weight-decay", &[&["0.0"], &["0.5"], &["0.25", "25e-2"]]),
    ("schedule.constant.warmup-epochs", &[&["0.0"], &["0.5"], &["3.0", "3e0"]]),
    ("loss.cross-entropy.label-smoothing", &[&["0.0"], &["0.5"], &["0.25"]]),
    ("l1", &[&["0.0", "+0.0"], &["0.5"], &["0.25"]]),
    ("keep", &[&["'last'", "\"last\""], &["'best'"]]),
    ("precision", &[&["'fp32'"], &["'bf16'"]]),
];

/// A meaning: the optimizer, and the index of each setting's value.
type Meaning = (usize, Vec<usize>);

fn meaning() -> impl Strategy<Value = Meaning> {
    let values: Vec<_> = SETTINGS.iter().map(|(_, values)| 0..values.len()).collect();
    (0..2usize, values)
}

/// A text of that meaning; `whim` decides on order, on what is stated although it is the default, and on
/// the spelling of numbers.
fn spell((optimizer, values): &Meaning, mut whim: u64) -> String {
    let mut choose = |n: usize| {
        whim = whim.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (whim >> 33) as usize % n
    };
    let (optimizer, rate) = [("sgd", "0.01"), ("adam", "0.001")][*optimizer];
    let mut lines = Vec::new();
    for ((key, spellings), &value) in SETTINGS.iter().zip(values) {
        if value > 0 || *key == "epochs" || choose(2) == 0 {
            let spelling = spellings[value][choose(spellings[value].len())];
            let key = key.replace("SOME", optimizer);
            lines.push(format!("{key} = {}", spelling.replace("DEFAULT", rate)));
        }
    }
    for (table, needed) in [("model.lenet5", true), ("data.mnist", true), ("optimizer.sgd", false)]
    {
        let stated = lines.iter().any(|line| line.starts_with(table));
        let other = table == "optimizer.sgd" && optimizer == "adam";
        if !stated && !other && (needed || choose(2) == 0) {
            lines.push(format!("{table} = {{}}"));
        }
    }
    if optimizer == "adam" && !lines.iter().any(|line| line.starts_with("optimizer")) {
        lines.push("optimizer.adam = {}".to_owned());
    }
    for last in (1..lines.len()).rev() {
        lines.swap(last, choose(last + 1));
    }
    format!("[pretrain]\n{}\n", lines.join("\n"))
}

fn key(text: &str) -> StageKey {
    let stage: Stage = toml::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    Recipe::new(&stage, 0, BTreeMap::new(), BTreeMap::new()).key()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn all_spellings_of_a_meaning_have_one_key(meaning in meaning(), whims: [u64; 2]) {
        let [one, other] = whims.map(|whim| spell(&meaning, whim));
        prop_assert_eq!(key(&one), key(&other), "{}\n{}", one, other);
    }

    #[test]
    fn a_changed_value_changes_the_key(
        meaning in meaning(),
        place in 0..=SETTINGS.len(),
        step in 1..4usize,
        whims: [u64; 2],
    ) {
        let mut changed = meaning.clone();
        if let Some((_, values)) = SETTINGS.get(place) {
            changed.1[place] = (changed.1[place] + step) % values.len();
        } else {
            changed.0 = 1 - changed.0;
        }
        prop_assume!(changed != meaning);
        let (one, other) = (spell(&meaning, whims[0]), spell(&changed, whims[1]));
        prop_assert_ne!(key(&one), key(&other), "{}\n{}", one, other);
    }

    /// `1` and `2` stand for 0.5 and 0.25 in all of these.
    #[test]
    fn exchanged_values_change_the_key(
        meaning in meaning(),
        places in (select(vec![1, 7, 8, 10, 11]), select(vec![1, 7, 8, 10, 11])),
        whims: [u64; 2],
    ) {
        prop_assume!(places.0 != places.1);
        let mut one = meaning;
        (one.1[places.0], one.1[places.1]) = (1, 2);
        let mut other = one.clone();
        other.1.swap(places.0, places.1);
        prop_assert_ne!(key(&spell(&one, whims[0])), key(&spell(&other, whims[1])));
    }

    #[test]
    fn keys_are_equal_just_when_meanings_are(one in meaning(), other in meaning(), whims: [u64; 2]) {
        let equal = key(&spell(&one, whims[0])) == key(&spell(&other, whims[1]));
        prop_assert_eq!(equal, one == other);
    }
}
