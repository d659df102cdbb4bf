//! What the planner shows, through the command line.

use serde_json::Value;

use crate::engine::{Output, Place};

const HOUSE: &str = r#"
name = "house"
seeds = [0, 1]
[sweep]
"thin.sparsity" = [0.5, 0.9]
[stage.dense.pretrain]
model.lenet5 = {}
data.mnist = {}
epochs = 1
[stage.thin.prune]
from = "dense"
criterion.magnitude = {}
sparsity = 0.5
[stage.tuned.finetune]
from = "thin"
teacher = "dense"
loss.distillation = {}
data.mnist = {}
epochs = 1
[stage.score.evaluate]
from = "dense"
data.mnist = {}
"#;

/// What a plan says, but for how long it takes.
pub(crate) fn without_times(text: &str) -> String {
    text.split_inclusive('\n').filter(|line| !line.contains("past durations")).collect()
}

#[track_caller]
fn json(output: &Output) -> Value {
    assert_eq!(output.code, 0, "{}", output.stderr);
    serde_json::from_str(&output.stdout).unwrap()
}

#[test]
fn a_graph_is_all_that_is_printed() {
    let place = Place::new(HOUSE);
    let graph = |format: &str| {
        let output = place.graftwork_without_engine(&["plan", "house.toml", "--graph", format]);
        assert_eq!((output.code, output.stderr.as_str()), (0, ""));
        output.stdout
    };
    expect_test::expect![[r#"
        ○ dense    pretrain  ×2  by seed
        ├─○ score  evaluate  ×2  by seed
        ├─○ thin   prune     ×4  by sparsity, seed
        │ │
        ╰─○ tuned  finetune  ×4  from thin, teacher dense; by sparsity, seed
    "#]]
    .assert_eq(&graph("text"));
    assert!(graph("dot").starts_with("digraph \"house\" {"));
    assert!(graph("mermaid").starts_with("flowchart LR\n"));
}

#[test]
fn a_graph_of_all_stages_has_a_row_for_each() {
    let place = Place::new(HOUSE);
    let args = ["plan", "house.toml", "--graph", "text", "--stages"];
    let text = place.graftwork_without_engine(&args).stdout;
    assert_eq!(text.matches('○').count(), 2 + 4 + 4 + 2, "{text}");
    assert!(text.contains("thin sparsity=0.9 seed=1"), "{text}");
    let args = ["plan", "house.toml", "--graph", "text", "--json"];
    assert_eq!(place.graftwork_without_engine(&args).code, 2);
}

#[test]
fn the_graph_of_the_demo_fits_a_terminal() {
    let text = std::fs::read_to_string("experiments/digits.toml").unwrap();
    let output =
        Place::new(&text).graftwork_without_engine(&["plan", "house.toml", "--graph", "text"]);
    assert!(output.stdout.lines().all(|line| line.chars().count() <= 80), "{}", output.stdout);
    assert!(output.stdout.contains("○ thin   prune     ×18  by criterion, sparsity, seed"));
}

#[test]
fn time_is_told_from_the_past_of_each_name() {
    let place = Place::new(HOUSE);
    let plan = |set: &[&str]| {
        let args = [&["plan", "house.toml", "--json"], set].concat();
        json(&place.graftwork_without_engine(&args))
    };
    let first = plan(&[]);
    assert_eq!(first["expected"]["seconds"], 0.0);
    assert_eq!(first["expected"]["unknown"]["finetune"], 4);
    assert_eq!(place.graftwork(&["run", "house.toml", "--only", "dense"], "slow").code, 0);
    let rest = plan(&[]);
    // The two dense stages are there; each serves two trials.
    assert_eq!(rest["expected"]["seconds"], 0.0);
    let seconds = rest["stages"][0]["nodes"][0]["expected-seconds"].as_f64().unwrap();
    assert!(seconds >= 0.2, "five epochs of 40 ms: {seconds}");
    assert!((rest["saved"]["seconds"].as_f64().unwrap() - 2.0 * seconds).abs() < 1e-9);
    assert_eq!(rest["saved"]["unknown"]["evaluate"], 2);
    let again = plan(&["--set", "dense.epochs=2"]);
    assert!((again["expected"]["seconds"].as_f64().unwrap() - 2.0 * seconds).abs() < 1e-9);
    let text = place.graftwork_without_engine(&["plan", "house.toml", "--set", "dense.epochs=2"]);
    assert!(text.stdout.contains("sharing saves: "), "{}", text.stdout);
    assert!(text.stdout.contains(" of work, from past durations, and "), "{}", text.stdout);
}

#[test]
fn json_says_all_that_a_program_needs() {
    let place = Place::new(HOUSE);
    assert_eq!(place.graftwork(&["run", "house.toml"], "well").code, 0);
    let args = ["plan", "house.toml", "--json", "--set", "dense.epochs=2"];
    let plan = json(&place.graftwork_without_engine(&args));
    let stage = |name: &str| {
        let mut stages = plan["stages"].as_array().unwrap().iter();
        stages.find(|stage| stage["name"] == name).unwrap()
    };
    let (dense, tuned) = (&stage("dense")["nodes"][0], &stage("tuned")["nodes"][0]);
    assert_eq!(
        (&plan["to-run"], &plan["cached"], &plan["left-out"]),
        (&12.into(), &0.into(), &0.into())
    );
    assert_eq!(dense["task"], "make");
    assert_eq!(tuned["inputs"]["teacher"], dense["key"]);
    let change = serde_json::json!({ "path": "dense.epochs", "old": 1, "new": 2 });
    assert_eq!(dense["reason"]["spec-changed"]["changes"][0], change);
    let cause = &tuned["reason"]["input-changed"]["cause"];
    assert_eq!(cause["spec-changed"]["changes"][0], change, "{tuned}");
    let args = ["plan", "house.toml", "--why", "tuned", "--set", "dense.epochs=2"];
    let why = place.graftwork_without_engine(&args).stdout;
    assert!(why.contains("changed (dense.epochs 1 → 2)"), "{why}");
}
