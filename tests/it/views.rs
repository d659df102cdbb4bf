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

/// What `diff` says of two files, the second one [`HOUSE`] edited.
#[track_caller]
fn check_diff(edits: &[(&str, &str)], code: i32, expected: &expect_test::Expect) {
    check_diff_of(HOUSE, edits, code, expected);
}

#[track_caller]
fn check_diff_of(a: &str, edits: &[(&str, &str)], code: i32, expected: &expect_test::Expect) {
    let place = Place::new(a);
    let edited = edits.iter().fold(a.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "nothing to edit");
        text.replace(from, to)
    });
    std::fs::write(place.folder().join("other.toml"), edited).unwrap();
    let output = place.graftwork_without_engine(&["diff", "house.toml", "other.toml"]);
    expected.assert_eq(&output.stdout);
    assert_eq!((output.code, output.stderr.as_str()), (code, ""));
}

#[test]
fn equal_meaning_is_no_difference() {
    check_diff(
        &[
            ("seeds = [0, 1]", "# seeds\nseeds = [1, 0]"),
            ("\"house\"", "\"home\""),
            ("[0.5, 0.9]", "[9e-1, 5e-1]"),
            ("epochs = 1\n", "keep = 'last'\nepochs = 0x1\n"),
        ],
        0,
        &expect_test::expect![[r#"
            no difference in meaning: 12 stages in both
        "#]],
    );
}

#[test]
fn a_diff_tells_settings_with_both_values_and_what_they_touch() {
    check_diff(
        &[
            (
                "data.mnist = {}\nepochs = 1\n[stage.score",
                "data.mnist.batch-size = 64\nepochs = 2\n[stage.score",
            ),
            ("loss.distillation = {}", "loss.distillation.alpha = 0.5"),
        ],
        1,
        &expect_test::expect![[r#"
            A: house.toml
            B: other.toml

            tuned.data.mnist.batch-size default → 64
            tuned.epochs 1 → 2
            tuned.loss.distillation.alpha default → 0.5

            stage            kind       both  only A  only B
            dense            pretrain      2       0       0
            thin             prune         4       0       0
            tuned            finetune      0       4       4
            score            evaluate      2       0       0
            distinct stages                8       4       4
            trials                         0       4       4
        "#]],
    );
}

#[test]
fn a_diff_tells_axes_seeds_and_stages_that_came_or_went() {
    check_diff(
        &[
            ("[0.5, 0.9]", "[0.5, 0.95, 0.98]"),
            ("seeds = [0, 1]", "seeds = [0, 2]"),
            ("[stage.score.evaluate]\nfrom = \"dense\"", "[stage.late.evaluate]\nfrom = \"tuned\""),
        ],
        1,
        &expect_test::expect![[r#"
            A: house.toml
            B: other.toml

            thin.sparsity: 0.9 went; 0.95, 0.98 came
            seeds: 1 went; 2 came
            stages only in A: score
            stages only in B: late

            stage            kind       both  only A  only B
            dense            pretrain      1       1       1
            thin             prune         1       3       5
            tuned            finetune      1       3       5
            late             evaluate      0       0       6
            score            evaluate      0       2       0
            distinct stages                3       9      17
            trials                         0       4       6
        "#]],
    );
}

#[test]
fn a_diff_tells_renamed_stages_and_inputs_that_moved() {
    check_diff(
        &[
            ("\"dense\"", "\"big\""),
            (".dense.", ".big."),
            ("[stage.score.evaluate]\nfrom = \"big\"", "[stage.score.evaluate]\nfrom = \"thin\""),
        ],
        1,
        &expect_test::expect![[r#"
            A: house.toml
            B: other.toml

            stage dense is now called big
            score.from dense → thin

            stage            kind       both  only A  only B
            big              pretrain      2       0       0
            thin             prune         4       0       0
            tuned            finetune      4       0       0
            score            evaluate      0       2       4
            distinct stages               10       2       4
            trials                         0       4       4
        "#]],
    );
}

/// Two networks, each pruned.
const TWINS: &str = r#"
name = "twins"
[stage.left.pretrain]
model.lenet5 = {}
data.mnist = {}
epochs = 1
[stage.right.pretrain]
model.lenet5 = {}
data.mnist = {}
epochs = 2
[stage.thin-left.prune]
from = "left"
criterion.magnitude = {}
sparsity = 0.5
[stage.thin-right.prune]
from = "right"
criterion.magnitude = {}
sparsity = 0.5
"#;

#[test]
fn a_diff_tells_no_change_of_an_input_that_became_equal_to_another() {
    check_diff_of(
        TWINS,
        &[("epochs = 2", "epochs = 1")],
        1,
        &expect_test::expect![[r#"
            A: house.toml
            B: other.toml

            right.epochs 2 → 1

            stage            kind       both  only A  only B
            left             pretrain      1       0       0
            right            pretrain      0       1       1
            thin-left        prune         1       0       0
            thin-right       prune         0       1       1
            distinct stages                2       2       0
            trials                         0       1       1
        "#]],
    );
}

#[test]
fn a_graph_leads_each_of_several_equal_stages_from_the_one_that_it_names() {
    let place = Place::new(&TWINS.replace("epochs = 2", "epochs = 1"));
    let args = ["plan", "house.toml", "--graph", "text"];
    expect_test::expect![[r#"
        ○ left        pretrain
        │
        ○ thin-left   prune

        ○ right       pretrain
        │
        ○ thin-right  prune
    "#]]
    .assert_eq(&place.graftwork_without_engine(&args).stdout);
}

#[test]
fn a_diff_tells_each_new_name_of_stages_that_are_the_same() {
    check_diff_of(
        &TWINS.replace("epochs = 2", "epochs = 1"),
        &[("right", "east"), ("left", "west")],
        1,
        &expect_test::expect![[r#"
            A: house.toml
            B: other.toml

            stage left is now called west
            stage right is now called east
            stage thin-left is now called thin-west
            stage thin-right is now called thin-east

            stage            kind       both  only A  only B
            west             pretrain      1       0       0
            east             pretrain      1       0       0
            thin-west        prune         1       0       0
            thin-east        prune         1       0       0
            distinct stages                2       0       0
            trials                         1       0       0
        "#]],
    );
}

#[test]
fn a_diff_tells_trials_that_a_rule_drops_and_whose_stages_others_have() {
    let sweep = "[sweep]\n\"left.epochs\" = [1, 2]\n\"right.epochs\" = [3, 4]\n";
    let rule = "[[sweep.exclude]]\n\"left.epochs\" = 1\n\"right.epochs\" = 3\n";
    check_diff_of(
        &TWINS.replace("[stage.left.", &format!("{sweep}[stage.left.")),
        &[(sweep, &format!("{sweep}{rule}"))],
        1,
        &expect_test::expect![[r#"
            A: house.toml
            B: other.toml

            stage            kind       both  only A  only B
            left             pretrain      2       0       0
            right            pretrain      2       0       0
            thin-left        prune         2       0       0
            thin-right       prune         2       0       0
            distinct stages                8       0       0
            trials                         3       1       0
        "#]],
    );
}

fn git(folder: &std::path::Path, args: &[&str]) {
    let mut git = std::process::Command::new("git");
    git.args(["-c", "user.name=x", "-c", "user.email=x@example.org"]).args(args);
    let output = git.current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_diff_reads_revisions_from_git_and_says_what_would_run() {
    let place = Place::new(HOUSE);
    let git = |args: &[&str]| git(place.folder(), args);
    git(&["init", "-q"]);
    std::fs::write(place.folder().join("at@home.toml"), HOUSE).unwrap();
    git(&["add", "house.toml", "at@home.toml"]);
    git(&["commit", "-qm", "first"]);
    assert_eq!(place.graftwork(&["run", "house.toml"], "well").code, 0);
    std::fs::write(place.folder().join("house.toml"), HOUSE.replace("0.9]", "0.95]")).unwrap();
    let diff = |a: &str, b: &str| place.graftwork_without_engine(&["diff", a, b, "--json"]);
    let changed = diff("house.toml@HEAD", "house.toml");
    assert_eq!(changed.code, 1, "{}", changed.stderr);
    let changed: Value = serde_json::from_str(&changed.stdout).unwrap();
    assert_eq!(changed["all"], serde_json::json!({ "both": 8, "only-a": 4, "only-b": 4 }));
    assert_eq!(changed["to-run"], 4);
    let shown = place.graftwork_without_engine(&["diff", "house.toml@HEAD", "house.toml"]).stdout;
    assert!(shown.ends_with("\nstages of B alone that are not in the store: 4\n"), "{shown}");
    assert_eq!(diff("house.toml@HEAD", "at@home.toml").code, 0);
    assert_eq!(diff("at@home.toml@HEAD", "at@home.toml").code, 0);
    let wrong = diff("house.toml@no-such", "house.toml");
    assert_eq!(wrong.code, 2);
    let said =
        "error: cannot read `house.toml` at revision `no-such`: git knows no such revision\n";
    assert_eq!(wrong.stderr, said);
}

#[test]
fn a_fault_in_a_revision_is_told_with_the_name_that_git_has_for_the_file() {
    let place = Place::new("extends = \"base/base.toml\"");
    std::fs::create_dir(place.folder().join("base")).unwrap();
    std::fs::write(place.folder().join("base/base.toml"), format!("{HOUSE}scop = 1")).unwrap();
    git(place.folder(), &["init", "-q"]);
    git(place.folder(), &["add", "."]);
    git(place.folder(), &["commit", "-qm", "first"]);
    std::fs::write(place.folder().join("house.toml"), HOUSE).unwrap();
    let output = place.graftwork_without_engine(&["diff", "house.toml@HEAD", "house.toml"]);
    assert_eq!(output.code, 2);
    assert!(output.stderr.contains("--> HEAD:base/base.toml:23:1\n"), "{}", output.stderr);
    assert!(output.stderr.ends_with("1 fault in HEAD:base/base.toml\n"), "{}", output.stderr);
}

#[test]
fn the_files_of_a_revision_are_those_of_then() {
    let command = "name = \"files\"\n[stage.fit.command]\nprogram = [\"sh\", \"{script}\"]\n\
                   files = { script = \"../fit.sh\" }\nrandom = false\n";
    let place = Place::new(HOUSE);
    let folder = place.folder();
    std::fs::create_dir(folder.join("inner")).unwrap();
    std::fs::write(folder.join("inner/files.toml"), command).unwrap();
    std::fs::write(folder.join("fit.sh"), "true\n").unwrap();
    git(folder, &["init", "-q"]);
    git(folder, &["add", "."]);
    git(folder, &["commit", "-qm", "first"]);
    let diff = || {
        let args = ["diff", "inner/files.toml@HEAD", "inner/files.toml"];
        place.graftwork_without_engine(&args)
    };
    assert_eq!(diff().code, 0, "{}", diff().stderr);
    std::fs::write(folder.join("fit.sh"), "false\n").unwrap();
    assert_eq!(diff().code, 1, "{}", diff().stdout);
    assert!(diff().stdout.contains("fit.files.script content "), "{}", diff().stdout);
    std::fs::remove_file(folder.join("fit.sh")).unwrap();
    assert_eq!(diff().code, 2, "{}", diff().stdout);
}

#[test]
fn an_exported_plan_has_every_stage_with_the_text_that_its_key_is_the_hash_of() {
    let place = Place::new(HOUSE);
    let plan = json(&place.graftwork_without_engine(&["export-plan", "house.toml"]));
    let stages = plan["stages"].as_array().unwrap();
    assert_eq!((&plan["version"], stages.len(), &plan["naive"]), (&1.into(), 12, &16.into()));
    let mut known = std::collections::BTreeSet::new();
    for stage in stages {
        let hash = blake3::hash(stage["recipe"].as_str().unwrap().as_bytes());
        assert_eq!(stage["key"], hash.to_hex().as_str());
        assert!(
            stage["inputs"]
                .as_object()
                .unwrap()
                .values()
                .all(|key| known.contains(&key.to_string()))
        );
        known.insert(stage["key"].to_string());
    }
    assert_eq!(stages[0]["settings"]["optimizer"]["sgd"]["momentum"], 0.9);
    let trial = &plan["trials"][3];
    assert_eq!((&trial["settings"]["thin.sparsity"], &trial["seed"]), (&0.9.into(), &1.into()));
    let keys = trial["stages"].as_object().unwrap();
    assert!(keys.len() == 4 && keys.values().all(|key| known.contains(&key.to_string())));
}

/// `UPDATE_EXPECT=1 cargo nextest run schema` writes the file anew.
#[test]
fn the_schema_of_exported_plans_is_that_of_their_types() {
    let path =
        std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("schemas/plan.schema.json");
    expect_test::expect_file![path].assert_eq(&format!("{:#}\n", graftwork::plan::export_schema()));
}
