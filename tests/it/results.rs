//! The commands that answer from the ledger, on a ledger that the tests write themselves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use expect_test::{Expect, expect};
use graftwork::experiment::spec::StageKind;
use graftwork::ledger::{AttemptOutcome, Ledger, NewAttempt, NewRun, RunId, TrialRecord};
use graftwork::protocol::Point;
use graftwork::recipe::{Recipe, StageKey};
use indexmap::IndexMap;
use serde_json::{Value, json};
use tempfile::TempDir;

/// 2026-07-29 12:00:00 UTC.
const NOON: i64 = 1_785_326_400_000;

/// What a stage measures, if anything, or why it fails.
type Outcome = Result<Option<f64>, &'static str>;

/// A results folder with an experiment `digits`, `dense → thin → tuned`: two criteria by two
/// sparsities by three seeds. `random` at 0.9 failed with seed 2.
struct Results {
    folder: TempDir,
    /// `thin` of random, 0.9, seed 2.
    failed: StageKey,
    /// `tuned` of magnitude, 0.5, seed 0, which has a checkpoint.
    kept: StageKey,
}

fn recipe(kind: StageKind, spec: Value, seed: Option<u64>, from: Option<&Recipe>) -> Recipe {
    let inputs = from.map(|from| ("from".to_owned(), from.key())).into_iter().collect();
    let (data, files) = (BTreeMap::new(), BTreeMap::new());
    Recipe { kind, revision: 1, spec: spec.into(), seed, inputs, data, files }
}

fn accuracy(criterion: &str, sparsity: f64, seed: u64) -> f64 {
    let base = match criterion {
        "magnitude" => 0.98,
        _ => 0.95,
    };
    base - (sparsity - 0.5) * 0.1 - 0.01 * seed as f64
}

impl Results {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(&folder.path().join("ledger.sqlite")).unwrap();
        let (mut trials, mut recipes) = (Vec::new(), Vec::new());
        let mut stages: IndexMap<StageKey, (&str, Recipe, Outcome)> = IndexMap::new();
        for criterion in ["magnitude", "random"] {
            for sparsity in [0.5, 0.9] {
                for seed in 0..3 {
                    let spec =
                        json!({ "data": { "mnist": {} }, "epochs": 2, "model": { "lenet5": {} } });
                    let dense = recipe(StageKind::Pretrain, spec, Some(seed), None);
                    let mut choice = serde_json::Map::new();
                    choice.insert(criterion.to_owned(), json!({}));
                    let spec = json!({ "criterion": choice.clone(), "sparsity": sparsity });
                    let drawn = (criterion == "random").then_some(seed);
                    let thin = recipe(StageKind::Prune, spec, drawn, Some(&dense));
                    let spec = json!({ "data": { "mnist": {} }, "epochs": 1 });
                    let tuned = recipe(StageKind::Finetune, spec, Some(seed), Some(&thin));
                    let fails = (criterion, sparsity, seed) == ("random", 0.9, 2);
                    let value = accuracy(criterion, sparsity, seed);
                    stages.insert(dense.key(), ("dense", dense.clone(), Ok(Some(0.99))));
                    let outcome = if fails { Err("cannot allocate memory") } else { Ok(None) };
                    stages.insert(thin.key(), ("thin", thin.clone(), outcome));
                    if !fails {
                        stages.insert(tuned.key(), ("tuned", tuned.clone(), Ok(Some(value))));
                    }
                    trials.push(TrialRecord {
                        settings: IndexMap::from([
                            ("thin.criterion".to_owned(), choice.into()),
                            ("thin.sparsity".to_owned(), json!(sparsity)),
                        ]),
                        seed,
                        stages: vec![
                            ("dense".to_owned(), dense.key()),
                            ("thin".to_owned(), thin.key()),
                            ("tuned".to_owned(), tuned.key()),
                        ],
                    });
                    recipes.extend([dense, thin, tuned]);
                }
            }
        }
        let run = begin(&mut ledger, NOON);
        ledger.record_trials(run, &trials, &recipes).unwrap();
        for (index, (name, recipe, outcome)) in stages.values().enumerate() {
            let started_ms = NOON + 2000 * index as i64;
            let attempt = ledger.begin_attempt(&attempt(run, name, recipe, started_ms)).unwrap();
            if let Ok(value) = outcome {
                ledger.record_points(attempt, &points(*value)).unwrap();
            }
            let (outcome, error) = match outcome {
                Ok(_) => (AttemptOutcome::Done, None),
                Err(error) => (AttemptOutcome::Failed, Some(*error)),
            };
            ledger.end_attempt(attempt, outcome, error, started_ms + 1500).unwrap();
        }
        ledger.end_run(run, "failed", NOON + 61_000).unwrap();
        let results = Self { failed: trials[11].stages[1].1, kept: trials[0].stages[2].1, folder };
        results.write_store(&recipes[2], &points(Some(0.98)));
        results
    }

    fn write_store(&self, recipe: &Recipe, points: &[Point]) {
        let key = recipe.key().to_string();
        let checkpoint = self.path().join("store").join(&key[..2]).join(&key);
        let failed = self.path().join("store/failed").join(self.failed.to_string());
        for folder in [&checkpoint, &failed] {
            std::fs::create_dir_all(folder).unwrap();
        }
        let write = |name: &str, text: &str| std::fs::write(checkpoint.join(name), text).unwrap();
        let lines: Vec<String> =
            points.iter().map(|point| serde_json::to_string(point).unwrap()).collect();
        write("recipe.json", &serde_json::to_string(recipe).unwrap());
        write("metrics.jsonl", &lines.join("\n"));
        write("log.txt", "epoch 1: loss 0.1\n");
        let made = json!({ "name": "tuned", "device": "cpu", "threads": 1, "engine": "0.1.0",
            "libtorch": "2.11.0", "host": "elsewhere", "started-ms": NOON, "ended-ms": NOON + 1500 });
        write("manifest.json", &json!({ "files": {}, "made": made }).to_string());
        std::fs::write(failed.join("log.txt"), "one\ntwo\nthree\n").unwrap();
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Exit code, standard output and standard error, with the folder's name replaced.
    fn run(&self, args: &[&str]) -> (i32, String, String) {
        run(self.path(), args)
    }

    #[track_caller]
    fn check(&self, args: &[&str], expect: &Expect) {
        let (code, out, error) = self.run(args);
        assert_eq!((code, error.as_str()), (0, ""), "{args:?}");
        assert!(!out.contains('\u{1b}'), "no escape bytes in a pipe");
        expect.assert_eq(&out);
    }

    #[track_caller]
    fn check_error(&self, args: &[&str], expect: &Expect) {
        let (code, out, error) = self.run(args);
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}");
        expect.assert_eq(&error);
    }

    fn json(&self, args: &[&str]) -> Value {
        let (code, out, error) = self.run(args);
        assert_eq!((code, error.as_str()), (0, ""), "{args:?}");
        serde_json::from_str(&out).unwrap()
    }
}

fn run(results: &Path, args: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_graftwork"))
        .args(args)
        .env("GRAFTWORK_RESULTS", results)
        .env("TZ", "UTC")
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| {
        String::from_utf8(bytes).unwrap().replace(results.to_str().unwrap(), "RESULTS")
    };
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn begin(ledger: &mut Ledger, started_ms: i64) -> RunId {
    let run = NewRun {
        claims: Vec::new(),
        experiment: "digits".to_owned(),
        file: "digits.toml".to_owned(),
        source: "name = \"digits\"\n".to_owned(),
        command: "graftwork run digits.toml".to_owned(),
        host: "here".to_owned(),
        version: "0.1.0".to_owned(),
        started_ms,
    };
    ledger.begin_run(&run).unwrap()
}

fn attempt(run: RunId, name: &str, recipe: &Recipe, started_ms: i64) -> NewAttempt {
    NewAttempt {
        run,
        key: recipe.key(),
        kind: recipe.kind.as_str().to_owned(),
        name: name.to_owned(),
        device: "cpu".to_owned(),
        engine: "0.1.0".to_owned(),
        libtorch: "2.11.0".to_owned(),
        threads: 1,
        host: "here".to_owned(),
        started_ms,
    }
}

fn points(accuracy: Option<f64>) -> Vec<Point> {
    let point = |name: &str, step, value| Point { name: name.to_owned(), step, value };
    match accuracy {
        Some(value) => vec![
            point("train/loss", 1, f64::NAN),
            point("mnist:test/accuracy", 1, value / 2.0),
            point("mnist:test/accuracy", 2, value),
            point("params", 0, 431_080.0),
        ],
        None => vec![point("sparsity", 0, 0.9)],
    }
}

#[test]
fn tables_in_every_format() {
    let results = Results::new();
    results.check(
        &["table", "digits"],
        &expect![[r#"
        digits: mnist:test/accuracy, %; stage `tuned`
        mean ± standard deviation, n = 3 (seeds 0, 1, 2)

         criterion   sparsity 0.5        sparsity 0.9
        ──────────────────────────────────────────────
         magnitude    97.0 ± 1.0*         93.0 ± 1.0*
         random       94.0 ± 1.0    90.5 ± 0.7 (n=2)

        * best in its column
        `thin` failed (criterion random, sparsity 0.9; seed 2): cannot allocate memory
    "#]],
    );
    results.check(
        &["table", "digits", "--baseline", "magnitude", "--format", "markdown"],
        &expect![[r#"
            digits: mnist:test/accuracy, %; stage `tuned`  
            mean ± standard deviation, n = 3 (seeds 0, 1, 2)  
            Δ: difference to thin.criterion = magnitude, paired by seed

            | criterion | sparsity 0.5 | sparsity 0.9 |
            | --- | ---: | ---: |
            | magnitude | **97.0 ± 1.0** | **93.0 ± 1.0** |
            | random | 94.0 ± 1.0 (Δ −3.0 ± 0.0) | 90.5 ± 0.7 (n=2) (Δ −3.0 ± 0.0 (n=2)) |

            - no pair for seed 2 of criterion random, sparsity 0.9
            - `thin` failed (criterion random, sparsity 0.9; seed 2): cannot allocate memory
        "#]],
    );
    let csv = ["table", "digits", "--where", "sparsity=0.9", "--format", "csv"];
    results.check(&csv, &expect![[r#"
        thin.criterion,stage,metric,n,mean,std,best,seeds,missing_seeds,keys
        magnitude,tuned,mnist:test/accuracy,3,0.93,0.010000000000000009,true,0 1 2,,34d49767b2398d60bcca11329893d281b7fcc1973dfdae9bf67ea46e432ff2cd c87071221eed13af8e7a3e052cda2f5d5e837d7dd07411a63a6a1ff6c97f23f3 f64a6a9a9f1db77a50351442ab507236eeba6f43f2f6fe856f6e458b8805798a
        random,tuned,mnist:test/accuracy,2,0.9049999999999999,0.007071067811865481,false,0 1,2,45addd82f5397c9ccf46d92414f17ff1bf2d6a605c1116983f07bc98d37d2997 20eaf4c06cfb6129690a4afa982bfbc468f905415832ba10347684751b0625d2
    "#]]);
    let table = results.json(&["table", "digits", "--json"]);
    assert_eq!(table, results.json(&["table", "digits", "--format", "json"]));
    let cell = &table["cells"][1];
    assert_eq!(cell["at"], json!({ "thin.criterion": { "magnitude": {} }, "thin.sparsity": 0.9 }));
    // 0.94, 0.93, 0.92.
    assert!((cell["mean"].as_f64().unwrap() - 0.93).abs() < 1e-12);
    assert!((cell["std"].as_f64().unwrap() - 0.01).abs() < 1e-12);
    assert_eq!(cell["n"], 3);
    assert_eq!(table["cells"][3]["missing-seeds"], json!([2]));
}

/// An experiment of the stages `thin`, a pruning over two seeds of which one failed, `timed`, which measured
/// its latency, and `curve`, its sensitivity.
fn reported() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(&folder.path().join("ledger.sqlite")).unwrap();
    let point = |name: &str, value| Point { name: name.to_owned(), step: 0, value };
    let run = begin(&mut ledger, NOON);
    let (mut trials, mut recipes, mut outcomes) = (Vec::new(), Vec::new(), Vec::new());
    for sparsity in [0.5, 0.9] {
        for seed in 0..2 {
            let dense = recipe(StageKind::Pretrain, json!({}), Some(seed), None);
            let spec = json!({ "criterion": { "magnitude": {} }, "sparsity": sparsity });
            let thin = recipe(StageKind::Prune, spec, None, Some(&dense));
            let spec = json!({ "data": { "mnist": {} }, "latency": {} });
            let timed = recipe(StageKind::Evaluate, spec, None, Some(&thin));
            let curve = recipe(StageKind::Sensitivity, json!({}), None, Some(&dense));
            let left = 100.0 * (1.0 - sparsity) + seed as f64;
            let fails = sparsity > 0.8 && seed == 1;
            let measured = vec![
                point("layer/fc2/params", 100.0),
                point("layer/fc2/nonzero", left),
                point("layer/fc1/params", 10.0),
                point("bytes/dense", 440.0),
                point("sparsity", sparsity),
            ];
            outcomes.push(("thin", thin.clone(), (!fails).then_some(measured)));
            let latency = vec![
                point("latency/median-ms", 0.25),
                point("latency/beside/median-ms", 0.5),
                point("mnist:test/accuracy", 0.9),
            ];
            outcomes.push(("timed", timed.clone(), (!fails).then_some(latency)));
            let accuracies = vec![
                point("mnist:val/accuracy", 0.95),
                point("sensitivity/fc2/0.5/accuracy", 0.75 + 0.1 * seed as f64),
                point("sensitivity/fc1/0.5/accuracy", 0.9),
            ];
            outcomes.push(("curve", curve.clone(), Some(accuracies)));
            let stages = [("dense", &dense), ("thin", &thin), ("timed", &timed), ("curve", &curve)];
            trials.push(TrialRecord {
                settings: IndexMap::from([("thin.sparsity".to_owned(), json!(sparsity))]),
                seed,
                stages: stages.map(|(name, recipe)| (name.to_owned(), recipe.key())).into(),
            });
            recipes.extend([dense, thin, timed, curve]);
        }
    }
    ledger.record_trials(run, &trials, &recipes).unwrap();
    for (name, recipe, measured) in &outcomes {
        let attempt = ledger.begin_attempt(&attempt(run, name, recipe, NOON)).unwrap();
        ledger.record_points(attempt, measured.as_deref().unwrap_or_default()).unwrap();
        let (outcome, error) = match measured {
            Some(_) => (AttemptOutcome::Done, None),
            None => (AttemptOutcome::Failed, Some("out of memory")),
        };
        ledger.end_attempt(attempt, outcome, error, NOON + 1).unwrap();
    }
    ledger.end_run(run, "failed", NOON + 1).unwrap();
    folder
}

/// Exit code, standard output and standard error as one text.
fn report(folder: &TempDir, args: &[&str]) -> String {
    let (code, out, error) = run(folder.path(), &[&["report"], args].concat());
    let (above, below) = out.split_once("MACs: multiply").unwrap_or((&out, ""));
    assert!(below.is_empty() || below.contains("bytes: all parameters and buffers"));
    format!("{above}{error}exit {code}\n")
}

#[test]
fn a_pruning_is_reported_by_layer_and_by_network() {
    let folder = reported();
    expect![[r#"
        digits: stage `thin`

        layers, sparsity 0.5; mean ± standard deviation, n = 2 (seeds 0, 1)

         layer   params   nonzero
        ──────────────────────────
         fc2        100    50 ± 1
         fc1         10         –

        layers, sparsity 0.9; seed 0

         layer   params   nonzero
        ──────────────────────────
         fc2        100        10
         fc1         10         –

        networks

         network        sparsity, %   bytes dense
        ──────────────────────────────────────────
         sparsity 0.5         50.00           440
         sparsity 0.9         90.00           440

        latency

         measured by             median, ms   beside: median, ms
        ─────────────────────────────────────────────────────────
         `timed`, sparsity 0.5        0.250                0.500
         `timed`, sparsity 0.9        0.250                0.500

        `thin` (seed 1; sparsity 0.9) failed: out of memory
        `graftwork run digits.toml --until thin` makes what is missing
        exit 0
    "#]]
    .assert_eq(&report(&folder, &["prune", "digits", "thin"]));
    expect![[r#"
        error: stage `thin` has no result: `thin` (seed 1) failed: out of memory; `graftwork run digits.toml --until thin` makes it
        exit 2
    "#]].assert_eq(&report(
        &folder,
        &["prune", "digits", "thin", "--where", "sparsity=0.9", "--where", "seed=1"],
    ));
    let (code, out, _) = run(folder.path(), &["report", "prune", "digits", "thin", "--json"]);
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &json["experiment"], &json["stage"]), (0, &json!("digits"), &json!("thin")));
    assert_eq!(json["variants"][0]["settings"], json!({ "thin.sparsity": 0.5 }));
    assert_eq!(json["variants"][0]["seeds"], json!([0, 1]));
    assert_eq!(json["variants"][0]["layers"][0]["layer"], "fc2");
    assert_eq!(json["variants"][0]["layers"][0]["nonzero"]["mean"], 50.5);
    assert_eq!(json["missing"].as_array().unwrap().len(), 1);
}

#[test]
fn a_sensitivity_is_reported_as_layers_by_sparsities() {
    let folder = reported();
    expect![[r#"
        digits: stage `curve`

        sensitivity; mean ± standard deviation, n = 2 (seeds 0, 1)
        mnist:val accuracy as it came: 95.00 %

         layer         at 0.5
        ──────────────────────
         fc2     80.00 ± 7.07
         fc1            90.00

        accuracy on the validation split, in %, when the layer alone is pruned to the sparsity and no other is touched; – where the layer was sparser already
        exit 0
    "#]].assert_eq(&report(&folder, &["sensitivity", "digits", "curve"]));
}

#[test]
fn a_report_says_what_it_cannot_report_on() {
    let folder = reported();
    expect![[r#"
        error: `dense` is of kind `pretrain`, and this reports on stages of kind `prune`; there are: thin
        exit 2
    "#]].assert_eq(&report(&folder, &["prune", "digits", "dense"]));
    expect![[r#"
        error: there is no stage `curv`; of kind `sensitivity` there are: curve
        exit 2
    "#]]
    .assert_eq(&report(&folder, &["sensitivity", "digits", "curv"]));
    let file = folder.path().join("new.toml");
    std::fs::write(&file, "name = \"new\"\n[stage]\n").unwrap();
    expect![[r#"
        error: `new` has not been run, so `thin` has no result; `graftwork run RESULTS/new.toml --until thin` makes it
        exit 2
    "#]].assert_eq(&report(&folder, &["prune", file.to_str().unwrap(), "thin"]));
}

#[test]
fn an_experiment_is_named_by_its_file_too() {
    let results = Results::new();
    let file = results.path().join("some.toml");
    std::fs::write(&file, "name = \"digits\"\n[stage]\n").unwrap();
    let named = results.run(&["table", "digits"]);
    assert_eq!(results.run(&["table", file.to_str().unwrap()]), named);
    results.check_error(&["table", "digit"], &expect![[r#"
        error: no experiment `digit` in `RESULTS/ledger.sqlite`; did you mean `digits`? there are: digits
    "#]]);
    results.check_error(&["table", "digits", "--metric", "test/acuracy"], &expect![[r#"
        error: stage `tuned` has no metric `test/acuracy`; did you mean `mnist:test/accuracy`? there are: mnist:test/accuracy, params, train/loss
    "#]]);
}

#[test]
fn status_lists_runs_and_stages() {
    let results = Results::new();
    results.check(&["status"], &expect![[r#"
         run   experiment   started               outcome   stages   done   cached   failed   took
        ────────────────────────────────────────────────────────────────────────────────────────────────
           1   digits       2026-07-29 12:00:00   failed        27     25        0        1   1 min 1 s
    "#]]);
    results.check(
        &["status", "digits"],
        &expect![[r#"
        digits: run 1, started 2026-07-29 12:00:00, failed, took 1 min 1 s
        12 trials, 27 stages: 25 done, 1 failed, 1 not run

         stage   settings                            seeds   state     took    key
        ──────────────────────────────────────────────────────────────────────────────────
         dense                                           0   done      1.5 s   a0caf9e46b
         dense                                           1   done      1.5 s   3fadb275f3
         dense                                           2   done      1.5 s   9eaca315ef
         thin    criterion magnitude, sparsity 0.5       0   done      1.5 s   84a0e80dfa
         thin    criterion magnitude, sparsity 0.5       1   done      1.5 s   78127edfbd
         thin    criterion magnitude, sparsity 0.5       2   done      1.5 s   e7a198f1d2
         thin    criterion magnitude, sparsity 0.9       0   done      1.5 s   de6bf11d18
         thin    criterion magnitude, sparsity 0.9       1   done      1.5 s   4931365f35
         thin    criterion magnitude, sparsity 0.9       2   done      1.5 s   7be265cda6
         thin    criterion random, sparsity 0.5          0   done      1.5 s   cadcca3273
         thin    criterion random, sparsity 0.5          1   done      1.5 s   52991b363a
         thin    criterion random, sparsity 0.5          2   done      1.5 s   39e3fe3e1d
         thin    criterion random, sparsity 0.9          0   done      1.5 s   6e35db3e21
         thin    criterion random, sparsity 0.9          1   done      1.5 s   dc76221490
         thin    criterion random, sparsity 0.9          2   failed            bd5c370b93
         tuned   criterion magnitude, sparsity 0.5       0   done      1.5 s   7a326032c8
         tuned   criterion magnitude, sparsity 0.5       1   done      1.5 s   584ecbe5e7
         tuned   criterion magnitude, sparsity 0.5       2   done      1.5 s   40ee2092a2
         tuned   criterion magnitude, sparsity 0.9       0   done      1.5 s   34d49767b2
         tuned   criterion magnitude, sparsity 0.9       1   done      1.5 s   c87071221e
         tuned   criterion magnitude, sparsity 0.9       2   done      1.5 s   f64a6a9a9f
         tuned   criterion random, sparsity 0.5          0   done      1.5 s   0afd75ecc7
         tuned   criterion random, sparsity 0.5          1   done      1.5 s   6895892037
         tuned   criterion random, sparsity 0.5          2   done      1.5 s   c4c07f9c5d
         tuned   criterion random, sparsity 0.9          0   done      1.5 s   45addd82f5
         tuned   criterion random, sparsity 0.9          1   done      1.5 s   20eaf4c06c
         tuned   criterion random, sparsity 0.9          2   not run           51e070d79c

        thin bd5c370b93 failed: cannot allocate memory
        see `graftwork log bd5c370b93`
    "#]],
    );
    assert_eq!(results.json(&["status", "--json"])[0]["failed"], 1);
    let status = results.json(&["status", "digits", "--json"]);
    assert_eq!(status["stages"].as_array().unwrap().len(), 27);
    assert_eq!(status["stages"][0]["state"], "done");
}

#[test]
fn log_tells_a_stages_story() {
    let results = Results::new();
    let kept = results.kept.short();
    results.check(&["log", &kept], &expect![[r#"
        7a326032c85f0c1889671120e621c7b5e76b8d512f51eb63c46697cadb758eb8
        stage       `tuned` of digits, finetune
        seed        0
        from        84a0e80dfa
        settings    {
                      "data": {
                        "mnist": {}
                      },
                      "epochs": 1
                    }
        checkpoint  RESULTS/store/7a/7a326032c85f0c1889671120e621c7b5e76b8d512f51eb63c46697cadb758eb8

         attempt   experiment   started               took    outcome   device   threads   host
        ────────────────────────────────────────────────────────────────────────────────────────
               3   digits       2026-07-29 12:00:04   1.5 s   done      cpu            1   here

         metric                step    value
        ─────────────────────────────────────
         mnist:test/accuracy      2     0.98
         params                   0   431080
         train/loss               1      NaN

        RESULTS/store/7a/7a326032c85f0c1889671120e621c7b5e76b8d512f51eb63c46697cadb758eb8/log.txt:
        epoch 1: loss 0.1
    "#]]);
    // The only `thin` that failed is the one that is asked for.
    let (code, out, error) = results.run(&["log", "thin", "--lines", "2"]);
    assert_eq!(code, 0);
    expect![[r#"
        the only one of 12 `thin` that failed:
    "#]]
    .assert_eq(&error);
    expect![[r#"
        bd5c370b93213f661c71ff49039c7f26bc8d3ed13f5b7e0228e5d07c8c743af0
        stage       `thin` of digits, prune
        seed        2
        from        9eaca315ef
        settings    {
                      "criterion": {
                        "random": {}
                      },
                      "sparsity": 0.9
                    }
        checkpoint  none

         attempt   experiment   started               took    outcome   device   threads   host
        ────────────────────────────────────────────────────────────────────────────────────────
              26   digits       2026-07-29 12:00:50   1.5 s   failed    cpu            1   here

        error: cannot allocate memory

        RESULTS/store/failed/bd5c370b93213f661c71ff49039c7f26bc8d3ed13f5b7e0228e5d07c8c743af0/log.txt (the last 2 of 3 lines):
        two
        three
    "#]].assert_eq(&out);
    let (_, by_key, _) = results.run(&["log", &results.failed.to_string(), "--lines", "2"]);
    assert_eq!(by_key, out);
    let story = results.json(&["log", &kept, "--json"]);
    assert_eq!(story["log"]["text"], "epoch 1: loss 0.1\n");
    assert_eq!(story["metrics"][2], json!({ "name": "train/loss", "step": 1, "value": "NaN" }));
}

#[test]
fn log_lists_what_a_name_or_prefix_could_mean() {
    let results = Results::new();
    results.check_error(
        &["log", "dense"],
        &expect![[r#"
        error: digits has 3 results of `dense`; name one by the first digits of its key:

         key          settings   seeds   state
        ───────────────────────────────────────
         a0caf9e46b                  0   done
         3fadb275f3                  1   done
         9eaca315ef                  2   done
    "#]],
    );
    results.check_error(&["log", "tunde"], &expect![[r#"
        error: `tunde` is neither a stage of digits nor the beginning of a key; its stages are: dense, thin, tuned
    "#]]);
    // Of 27 keys, some begin with the same digit.
    let ledger = Ledger::open_read_only(&results.path().join("ledger.sqlite")).unwrap();
    let digit = (0..16).map(|digit| format!("{digit:x}"));
    let digit = digit.into_iter().find(|digit| ledger.keys(digit).unwrap().len() > 1).unwrap();
    let (code, _, error) = results.run(&["log", &digit]);
    assert_eq!(code, 2);
    let keys = ledger.keys(&digit).unwrap();
    let first = format!("error: {} keys begin with `{digit}`; add digits:\n", keys.len());
    assert!(error.starts_with(&first), "{error}");
    assert!(keys.iter().all(|key| error.contains(&key.to_string())), "{error}");
}

#[test]
fn queries_are_answered_and_never_write() {
    let results = Results::new();
    let sql = "SELECT settings ->> 'thin.sparsity' AS sparsity, count(*) AS n, \
               round(avg(value), 4) AS mean FROM result \
               WHERE stage = 'tuned' AND what = 'accuracy' AND step = 2 GROUP BY 1";
    results.check(
        &["query", sql],
        &expect![[r#"
         sparsity   n    mean
        ──────────────────────
              0.5   6   0.955
              0.9   5    0.92
    "#]],
    );
    results.check(
        &["query", sql, "--format", "csv"],
        &expect![[r#"
        sparsity,n,mean
        0.5,6,0.955
        0.9,5,0.92
    "#]],
    );
    assert_eq!(
        results.json(&["query", sql, "--json"])[0],
        json!({ "sparsity": 0.5, "n": 6, "mean": 0.955 })
    );
    results.check_error(&["query", "DELETE FROM metric"], &expect![[r#"
        error: `graftwork query` only reads, and this statement would write; `graftwork ledger` has the commands that change the ledger
    "#]]);
    results.check_error(&["query", "SELECT vlaue FROM result"], &expect![[r#"
        error: no such column: vlaue, at `vlaue FROM result`; did you mean `value`? there are: dataset, experiment, key, kind, metric, seed, settings, split, stage, step, trial, value, what
    "#]]);
    let count = results.json(&["query", "SELECT count(*) AS n FROM attempt", "--json"]);
    assert_eq!(count, json!([{ "n": 26 }]));
    let (_, tables, _) = results.run(&["query"]);
    assert!(tables.contains("experiment, trial, settings, seed, stage"), "{tables}");
}

#[test]
fn an_absent_ledger_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    for args in [&["table", "digits"][..], &["status"], &["log", "thin"], &["query", "SELECT 1"]] {
        let (code, out, error) = run(folder.path(), args);
        assert_eq!((code, out.as_str()), (2, ""));
        let expected = "error: no results in `RESULTS` yet; run `graftwork run FILE`, \
                        or name another folder with --results\n";
        assert_eq!(error, expected);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "reading makes nothing");
}

#[test]
fn a_lost_ledger_is_rebuilt_from_the_store() {
    let results = Results::new();
    for file in ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"] {
        let _ = std::fs::remove_file(results.path().join(file));
    }
    results.check(
        &["ledger", "rebuild"],
        &expect![[r#"
        RESULTS/ledger.sqlite: 1 checkpoints restored with 4 values, 0 known already, 0 left out
    "#]],
    );
    results.check(
        &["ledger", "rebuild"],
        &expect![[r#"
        RESULTS/ledger.sqlite: 0 checkpoints restored with 0 values, 1 known already, 0 left out
    "#]],
    );
    let sql = "SELECT host, name, (SELECT count(*) FROM metric WHERE attempt = attempt.id) AS n \
               FROM attempt";
    let rows = results.json(&["query", sql, "--json"]);
    assert_eq!(rows, json!([{ "host": "elsewhere", "name": "tuned", "n": 4 }]));
    let (code, _, error) = results.run(&["log", &results.kept.short()]);
    assert_eq!((code, error.as_str()), (0, ""));
}

#[test]
fn a_network_is_shown_layer_by_layer() {
    let folder = tempfile::tempdir().unwrap();
    let file: PathBuf = folder.path().join("digits.toml");
    std::fs::write(
        &file,
        r#"
name = "digits"
[stage.dense.pretrain]
model.lenet5 = {}
data.mnist = {}
epochs = 1
[stage.tuned.finetune]
from = "dense"
data.cifar100 = {}
epochs = 1
"#,
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let (code, out, error) = run(folder.path(), &["network", file, "dense"]);
    assert_eq!((code, error.as_str()), (0, ""));
    expect![[r#"
        lenet5: input 1×28×28, 10 classes
        431.080 k parameters, 2.293 M MACs, 2.323 M operations in all

         layer     operation    output     parameters      MACs   all operations
        ─────────────────────────────────────────────────────────────────────────
         input     input        1×28×28
         conv1     conv2d       20×24×24          520    288000           288000
         relu1     relu         20×24×24                                   11520
         pool1     max-pool2d   20×12×12                                   11520
         conv2     conv2d       50×8×8          25050   1600000          1600000
         relu2     relu         50×8×8                                      3200
         pool2     max-pool2d   50×4×4                                      3200
         flatten   flatten      800
         fc1       linear       500            400500    400000           400000
         relu3     relu         500                                          500
         fc2       linear       10               5010      5000             5000
         total                                 431080   2293000          2322940

        parameters: all that are trained, batch-norm included; before pruning
        MACs: multiply-accumulates for one example in convolutions and linear layers
        all operations: these and one for each value that another layer computes, in pooling for each value of a window
    "#]].assert_eq(&out);
    let by_name = ["network", "--arch", "lenet5", "--input", "1x28x28", "--classes", "10"];
    let (code, named, _) = run(folder.path(), &by_name);
    assert_eq!((code, named), (0, out), "an architecture by name is the same network");
    let pixels = ["network", "--arch", "unet", "--input", "3x96x96", "--classes", "11"];
    let (code, unet, _) = run(folder.path(), &pixels);
    assert_eq!(code, 0);
    assert!(unet.starts_with("unet: input 3×96×96, 11 classes for each pixel\n"), "{unet}");
    assert!(
        unet.contains(" up1.concat     concat             down1.relu2, up1.up   128×96×96\n"),
        "{unet}"
    );
    let (_, unet, _) = run(folder.path(), &[&pixels[..], &["--json"]].concat());
    let unet: Value = serde_json::from_str(&unet).unwrap();
    assert_eq!((&unet[0]["task"], &unet[0]["classes"]), (&json!("segmentation"), &json!(11)));
    let (code, graph, _) = run(folder.path(), &["network", file, "dense", "--graph", "dot"]);
    assert_eq!(code, 0);
    assert!(graph.starts_with("digraph \"lenet5\" {\n"), "{graph}");
    assert!(graph.contains("  \"conv1\" -> \"relu1\";\n"), "{graph}");
    let texts = ["network", "--arch", "text-mean", "--input", "256", "--classes", "2"];
    let (code, texts, _) = run(folder.path(), &[&texts[..], &["--words", "1000"]].concat());
    assert_eq!(code, 0);
    assert!(texts.starts_with("text-mean: input 256, 2 classes\n"), "{texts}");
    let refused = |arguments: &[&str]| run(folder.path(), &[&["network"], arguments].concat()).2;
    expect![[r#"
        error: `lenet5` cannot take examples of 1×8×8 (--input): layer `conv2` (conv2d) cannot take an input of 20×2×2: its 5×5 kernel does not fit
        error: --arch cannot be `mlp = { hiden = [3] }`: unknown field `hiden`, expected one of `hidden`, `batch-norm`, `dropout`; settings are written as in an experiment file: `mlp = { hidden = [300, 100] }`
        error: `text-mean` cannot take examples of 256 (--input; it reads texts of so many words: add --words N): layer `embedding` (embedding) cannot take an input of 256: it takes the numbers of words in a row
        error: `resnet18` cannot take examples of 256 (--input): layer `conv1` (conv2d) cannot take an input of 256: it takes channels, height and width
    "#]]
    .assert_eq(
        &[
            refused(&["--arch", "lenet5", "--input", "1x8x8"]),
            refused(&["--arch", "mlp = { hiden = [3] }"]),
            refused(&["--arch", "text-mean", "--input", "256"]),
            refused(&["--arch", "resnet18", "--input", "256"]),
        ]
        .concat(),
    );
    let unknown = refused(&["--arch", "lenet4"]);
    assert!(
        unknown.starts_with("error: there is no architecture `lenet4`; there are: "),
        "{unknown}"
    );
    let (code, _, error) = run(folder.path(), &["network", file, "tunde"]);
    assert_eq!(code, 2);
    expect![[r#"
        error: there is no stage `tunde` in `RESULTS/digits.toml`; there are: dense, tuned
    "#]]
    .assert_eq(&error);
}
