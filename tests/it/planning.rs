//! What runs after a change, and what does not.

use std::collections::{BTreeMap, BTreeSet};

use graftwork::experiment::label;
use graftwork::plan::{self, History, Node, Presence, Previous, Reason, Selection};
use graftwork::recipe::{Recipe, StageKey};
use petgraph::graph::NodeIndex;

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
    let reasons = history.reasons(&plan, &presences, &todo, &|_| None);
    let why = |node: &NodeIndex| reasons[node.index()].to_string();
    let reasons: Vec<_> = plan.trials[0].stages.values().map(why).collect();
    assert_eq!(reasons, expected);
}

#[test]
fn a_change_is_told_with_its_place_and_both_values() {
    check_why(
        DIGITS,
        &["thin.sparsity=0.95"],
        &[
            "cached",
            "spec changed: thin.sparsity 0.9 → 0.95",
            "input thin changed (thin.sparsity 0.9 → 0.95)",
        ],
    );
    check_why(
        &DIGITS.replace(
            "learning-rate = 0.05, weight-decay = 0.01",
            "learning-rate = 0.01, weight-decay = 0.05",
        ),
        &[],
        &[
            "spec changed: dense.optimizer.sgd.learning-rate 0.05 → default, dense.optimizer.sgd.weight-decay 0.01 → 0.05",
            "input dense changed (dense.optimizer.sgd.learning-rate 0.05 → default, dense.optimizer.sgd.weight-decay 0.01 → 0.05)",
            "input thin changed (dense.optimizer.sgd.learning-rate 0.05 → default, dense.optimizer.sgd.weight-decay 0.01 → 0.05)",
        ],
    );
    check_why(
        &DIGITS.replace("lenet5 = {}", "cnn = {}"),
        &[],
        &[
            r#"spec changed: dense.model {"lenet5":{}} → {"cnn":{}}"#,
            r#"input dense changed (dense.model {"lenet5":{}} → {"cnn":{}})"#,
            r#"input thin changed (dense.model {"lenet5":{}} → {"cnn":{}})"#,
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
        &[
            "cached",
            "spec changed: thin.sparsity 0.9 → 0.5",
            "input thin changed (thin.sparsity 0.9 → 0.5)",
        ],
    );
}

/// Why `tuned` runs if its recipe was that one but for a change of its inputs.
#[track_caller]
fn check_roles(change: impl Fn(&mut Recipe), expected: &str) {
    let plan = World::new().plan(DIGITS, &[]);
    let trial = &plan.trials[0];
    let mut recipe = plan.graph[trial.stages["tuned"]].recipe.clone();
    change(&mut recipe);
    let stages = BTreeMap::from([("tuned".to_owned(), (recipe.key(), recipe))]);
    let past = Previous { settings: trial.settings.clone(), seed: trial.seed, stages };
    let presences = vec![Presence::Missing; plan.graph.node_count()];
    let todo = plan::select(&plan, &presences, &|_| false, &Selection::default()).unwrap();
    let reasons = History::new(vec![past]).reasons(&plan, &presences, &todo, &|_| None);
    assert_eq!(reasons[trial.stages["tuned"].index()].to_string(), expected);
}

#[test]
fn a_role_that_came_or_went_is_told() {
    check_roles(|recipe| recipe.inputs.clear(), "input added: from thin");
    check_roles(
        |recipe| {
            let key = recipe.inputs["from"];
            recipe.inputs.insert("teacher".to_owned(), key);
        },
        "input removed: teacher",
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
    let reasons = history.reasons(&plan, &presences, &todo, &|_| None);
    assert_eq!(reasons[node.index()], Reason::Unfinished {});
    let made = plan::Made { experiment: "digits".to_owned(), ended_ms: 0 };
    let reasons = history.reasons(&plan, &presences, &todo, &|_| Some(made.clone()));
    assert_eq!(reasons[node.index()], Reason::CheckpointMissing {});
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
    let rows = ["○ dense  pretrain      2       0", "○ moved  adapt        16       0"];
    assert!(rows.iter().all(|row| plan.stdout.contains(row)), "{}", plan.stdout);

    let only = place.graftwork_without_engine(&["plan", "house.toml", "--only", "method=dann"]);
    assert!(only.stdout.contains("to run: 18"), "2 + 8 + 8: {}", only.stdout);
    let both = ["plan", "house.toml", "--only", "method=dann", "--only", "moved"];
    let both = place.graftwork_without_engine(&both);
    assert!(both.stderr.contains("--only leaves out"), "{}", both.stderr);
    let why = place.graftwork_without_engine(&["plan", "house.toml", "--why", "moved"]);
    assert!(why.stdout.contains("moved sparsity=0.99 method=dann seed=1"), "{}", why.stdout);
}

#[test]
fn an_imported_file_is_its_content_and_draws_nothing_unless_something_is_new() {
    let world = World::new();
    let text = |file: &str, more: &str| {
        format!(
            "name = 'taken'\nseeds = [0, 1]\n[stage.dense.import]\nfile = '{file}'\n\
             model.lenet5 = {{}}\ndata.mnist = {{}}\n{more}"
        )
    };
    let write = |file: &str, content: &str| {
        std::fs::write(world.folder().join(file), content).unwrap();
    };
    let keys = |text: &str| -> BTreeSet<StageKey> {
        let plan = world.plan(text, &[]);
        plan.order().map(|node| plan.graph[node].key).collect()
    };
    write("a.safetensors", "weights");
    write("b.safetensors", "weights");
    write("c.safetensors", "other weights");
    let [a, b, c] = ["a", "b", "c"].map(|name| keys(&text(&format!("{name}.safetensors"), "")));
    assert_eq!((a.len(), &a), (1, &b));
    assert_ne!(a, c);
    assert_eq!(keys(&text("a.safetensors", "strict = true")), a);
    let loose = keys(&text("a.safetensors", "strict = false"));
    assert_eq!(loose.len(), 2, "new initial values for each seed");
    assert_eq!(keys(&text("a.safetensors", "strict = false\nseed = 1")).len(), 1);
}
