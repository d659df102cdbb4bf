//! The ledger from outside: what is written is what is answered.

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::*;
use crate::experiment::spec::StageKind;
use crate::protocol::Point;
use crate::recipe::{Recipe, StageKey};

fn recipe(kind: StageKind, spec: Value, seed: Option<u64>, from: Option<&Recipe>) -> Recipe {
    let inputs = from.map(|from| ("from".to_owned(), from.key())).into_iter().collect();
    Recipe {
        kind,
        revision: 1,
        spec: spec.into(),
        seed,
        inputs,
        data: std::collections::BTreeMap::new(),
        files: std::collections::BTreeMap::new(),
    }
}

/// `dense → thin`, two sparsities by two seeds; `thin` draws nothing, so each seed's `dense` has two.
struct Example {
    trials: Vec<TrialRecord>,
    recipes: Vec<Recipe>,
}

fn example() -> Example {
    let (mut trials, mut recipes) = (Vec::new(), Vec::new());
    for sparsity in [0.5, 0.9] {
        for seed in [0, 1] {
            let spec = json!({ "data": { "mnist": {} }, "model": { "lenet5": {} }, "epochs": 3 });
            let dense = recipe(StageKind::Pretrain, spec, Some(seed), None);
            let spec = json!({ "criterion": { "magnitude": {} }, "sparsity": sparsity });
            let thin = recipe(StageKind::Prune, spec, None, Some(&dense));
            trials.push(TrialRecord {
                settings: IndexMap::from([("thin.sparsity".to_owned(), json!(sparsity))]),
                seed,
                stages: vec![("dense".to_owned(), dense.key()), ("thin".to_owned(), thin.key())],
            });
            recipes.extend([dense, thin]);
        }
    }
    Example { trials, recipes }
}

fn new_run(experiment: &str, started_ms: i64) -> NewRun {
    NewRun {
        claims: Vec::new(),
        experiment: experiment.to_owned(),
        file: format!("{experiment}.toml"),
        source: format!("name = \"{experiment}\"\n"),
        command: "graftwork run".to_owned(),
        host: "here".to_owned(),
        version: "0.1.0".to_owned(),
        started_ms,
    }
}

fn new_attempt(run: RunId, key: StageKey, name: &str, started_ms: i64) -> NewAttempt {
    NewAttempt {
        run,
        key,
        kind: if name == "dense" { "pretrain" } else { "prune" }.to_owned(),
        name: name.to_owned(),
        device: "cpu".to_owned(),
        engine: "0.1.0".to_owned(),
        libtorch: "2.11.0".to_owned(),
        threads: 1,
        host: "here".to_owned(),
        started_ms,
    }
}

fn point(name: &str, step: u64, value: f64) -> Point {
    Point { name: name.to_owned(), step, value }
}

fn state<'a>(last: &'a LastRun, trial: usize, stage: &str) -> &'a StageState {
    &last.trials[trial].stages[stage].state
}

#[test]
fn a_stage_that_a_later_run_finds_cached_shows_the_numbers_of_its_maker() {
    let mut ledger = Ledger::in_memory().unwrap();
    let Example { trials, recipes } = example();
    let first = ledger.begin_run(&new_run("first", 1000)).unwrap();
    ledger.record_trials(first, &trials, &recipes).unwrap();
    let dense = trials[0].stages[0].1;
    let attempt = ledger.begin_attempt(&new_attempt(first, dense, "dense", 2000)).unwrap();
    ledger
        .record_points(
            attempt,
            &[point("mnist:test/accuracy", 1, 0.8), point("mnist:test/accuracy", 2, 0.9)],
        )
        .unwrap();
    ledger.end_attempt(attempt, AttemptOutcome::Done, None, 5500).unwrap();
    ledger.end_run(first, "interrupted", 6000).unwrap();
    assert_eq!(ledger.made_by(&dense).unwrap(), Some(("first".to_owned(), 5500)));
    assert_eq!(ledger.durations().unwrap(), [("pretrain".to_owned(), 3.5)].into());

    let second = ledger.begin_run(&new_run("second", 7000)).unwrap();
    ledger.record_trials(second, &trials, &recipes).unwrap();
    let last = ledger.results("second").unwrap().unwrap();
    assert_eq!(*state(&last, 0, "dense"), StageState::Cached);
    assert_eq!(*state(&last, 1, "dense"), StageState::NotRun);
    let good = last.trials[0].stages["dense"].good.unwrap();
    assert_eq!(ledger.series(good, "mnist:test/accuracy").unwrap(), [(1, 0.8), (2, 0.9)]);
    let sql = "SELECT DISTINCT experiment, settings ->> 'thin.sparsity' AS sparsity, seed, stage, \
               split, what, value FROM result WHERE step = 2 ORDER BY 1, 2";
    let answer = ledger.query(sql).unwrap();
    let row = |experiment: &str, sparsity: f64| {
        vec![
            json!(experiment),
            json!(sparsity),
            json!(0),
            json!("dense"),
            json!("test"),
            json!("accuracy"),
            json!(0.9),
        ]
    };
    assert_eq!(
        answer.rows,
        [row("first", 0.5), row("first", 0.9), row("second", 0.5), row("second", 0.9)]
    );
    let runs = ledger.runs(None, 10).unwrap();
    let counts: Vec<_> = runs.iter().map(|run| (run.stages, run.done, run.cached)).collect();
    assert_eq!(counts, [(6, 0, 1), (6, 1, 0)], "2 dense and 4 thin stages are different");
}

#[test]
fn every_end_of_an_attempt_is_a_state() {
    let mut ledger = Ledger::in_memory().unwrap();
    let Example { trials, recipes } = example();
    let run = ledger.begin_run(&new_run("digits", 0)).unwrap();
    ledger.record_trials(run, &trials, &recipes).unwrap();
    let [a, b] = [trials[0].stages[0].1, trials[1].stages[0].1];
    let attempt = ledger.begin_attempt(&new_attempt(run, a, "dense", 0)).unwrap();
    let state_of =
        |ledger: &Ledger| state(&ledger.results("digits").unwrap().unwrap(), 0, "dense").clone();
    assert_eq!(state_of(&ledger), StageState::Running);
    ledger.end_attempt(attempt, AttemptOutcome::Failed, Some("out of memory"), 9).unwrap();
    assert_eq!(state_of(&ledger), StageState::Failed { error: "out of memory".to_owned() });
    assert_eq!(ledger.runs(None, 1).unwrap()[0].failed, 1);
    let attempt = ledger.begin_attempt(&new_attempt(run, a, "dense", 10)).unwrap();
    ledger.end_attempt(attempt, AttemptOutcome::Stopped, None, 11).unwrap();
    assert_eq!(state_of(&ledger), StageState::Stopped);
    let attempt = ledger.begin_attempt(&new_attempt(run, a, "dense", 12)).unwrap();
    ledger.end_attempt(attempt, AttemptOutcome::Done, None, 1012).unwrap();
    assert_eq!(state_of(&ledger), StageState::Done { seconds: 1.0 });
    assert_eq!(ledger.runs(None, 1).unwrap()[0].failed, 0, "a retry that succeeds is no failure");
    // The process of this attempt dies, and whoever takes its lock next begins another.
    ledger.begin_attempt(&new_attempt(run, b, "dense", 20)).unwrap();
    ledger.begin_attempt(&new_attempt(run, b, "dense", 30)).unwrap();
    let outcomes: Vec<_> =
        ledger.attempts(&b).unwrap().into_iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes, [Some("lost".to_owned()), None]);
}

#[test]
fn not_a_number_and_infinities_come_back() {
    let mut ledger = Ledger::in_memory().unwrap();
    let Example { trials, recipes } = example();
    let run = ledger.begin_run(&new_run("digits", 0)).unwrap();
    ledger.record_trials(run, &trials, &recipes).unwrap();
    let key = trials[0].stages[0].1;
    let attempt = ledger.begin_attempt(&new_attempt(run, key, "dense", 0)).unwrap();
    let values = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 3.0, 0.1];
    let points: Vec<_> = (0..).zip(values).map(|(step, v)| point("train/loss", step, v)).collect();
    ledger.record_points(attempt, &points).unwrap();
    let read: Vec<f64> =
        ledger.series(attempt, "train/loss").unwrap().into_iter().map(|(_, value)| value).collect();
    assert!(read[0].is_nan());
    assert_eq!(read[1..], values[1..]);
    // A value that is measured again replaces the first.
    ledger.record_points(attempt, &[point("train/loss", 3, 2.5), point("params", 0, 1e6)]).unwrap();
    let last = ledger.last_metrics(attempt).unwrap();
    let value = |name: &str, step, value| MetricValue { name: name.to_owned(), step, value };
    assert_eq!(last, [value("params", 0, 1e6), value("train/loss", 4, 0.1)]);
    assert_eq!(ledger.series(attempt, "train/loss").unwrap()[3], (3, 2.5));
    let names = ledger.metric_names(&[attempt]).unwrap();
    assert_eq!(names[&attempt], ["params".to_owned(), "train/loss".to_owned()].into());
    let sql = "SELECT value FROM metric ORDER BY name, step LIMIT 2";
    assert_eq!(ledger.query(sql).unwrap().rows, [[Value::Null], [json!("inf")]]);
}

#[test]
fn the_last_run_is_what_the_next_is_compared_with() {
    let mut ledger = Ledger::in_memory().unwrap();
    let Example { trials, recipes } = example();
    assert_eq!(ledger.previous("digits").unwrap(), []);
    let run = ledger.begin_run(&new_run("digits", 0)).unwrap();
    ledger.record_trials(run, &trials, &recipes).unwrap();
    let next = ledger.begin_run(&new_run("digits", 10)).unwrap();
    let previous = ledger.previous("digits").unwrap();
    assert_eq!(previous.len(), 4);
    assert_eq!(previous[3].settings, trials[3].settings);
    assert_eq!(previous[3].seed, 1);
    assert_eq!(previous[3].stages["thin"], (recipes[7].key(), recipes[7].clone()));
    // The same trials again are one set, other trials another.
    ledger.record_trials(next, &trials, &recipes).unwrap();
    let last = ledger.begin_run(&new_run("digits", 20)).unwrap();
    ledger.record_trials(last, &trials[..1], &recipes[..2]).unwrap();
    let count = |sql: &str| ledger.query(sql).unwrap().rows[0][0].clone();
    assert_eq!(count("SELECT count(*) FROM trial_set"), json!(2));
    assert_eq!(count("SELECT count(*) FROM trial"), json!(5));
    assert_eq!(count("SELECT count(*) FROM source"), json!(1));
    assert_eq!(
        count("SELECT value FROM param WHERE path = 'criterion' LIMIT 1"),
        json!("magnitude")
    );
    assert_eq!(count("SELECT count(*) FROM lineage WHERE role = 'from'"), json!(4));
    assert_eq!(ledger.previous("digits").unwrap().len(), 1);
}

#[test]
fn a_query_that_would_write_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    drop(Ledger::open(&path).unwrap());
    let ledger = Ledger::open_read_only(&path).unwrap();
    let copy = format!("VACUUM INTO '{}'", folder.path().join("copy").display());
    for sql in ["DELETE FROM metric", "CREATE TABLE x (y)", "DROP TABLE metric", &copy] {
        ledger.query(sql).unwrap_err();
    }
    let stolen = format!("ATTACH '{}' AS other", folder.path().join("new").display());
    let _ = ledger.query(&stolen);
    let mut files: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    files.retain(|name| !name.to_string_lossy().starts_with("ledger.sqlite"));
    assert!(files.is_empty(), "{files:?}");
}

#[test]
fn a_wrong_query_says_which_names_there_are() {
    let ledger = Ledger::in_memory().unwrap();
    let check = |sql: &str, expected: &str| {
        let message = ledger.query(sql).unwrap_err().to_string();
        assert!(message.starts_with(expected), "{message}");
    };
    check("SELECT * FROM results", "no such table: results; did you mean `result`? ");
    check(
        "SELECT stagee FROM result",
        "no such column: stagee, at `stagee FROM result`; did you mean `stage`? there are: dataset, experiment, ",
    );
    check("SELEC 1", "near \"SELEC\": syntax error");
    check("SELECT 1; SELECT 2", "one statement at a time");
    check("DELETE FROM run", "`graftwork query` only reads");
}

#[test]
fn a_hundred_thousand_points_are_small_and_quick() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    let mut ledger = Ledger::open(&path).unwrap();
    let run = ledger.begin_run(&new_run("digits", 0)).unwrap();
    let key = example().trials[0].stages[0].1;
    let attempt = ledger.begin_attempt(&new_attempt(run, key, "dense", 0)).unwrap();
    let pages = |ledger: &Ledger| {
        let sql = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
        ledger.query(sql).unwrap().rows[0][0].as_i64().unwrap()
    };
    let before = pages(&ledger);
    let points: Vec<_> =
        (0..100_000).map(|step| point("train/loss", step, 1.0 / (step + 3) as f64)).collect();
    ledger.record_points(attempt, &points).unwrap();
    let bytes = (pages(&ledger) - before) as f64 / 1e5;
    assert!(bytes <= 25.0, "{bytes} bytes a point");
}

#[test]
fn the_store_gives_the_ledger_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let Example { recipes, .. } = example();
    let write = |recipe: &Recipe, name: &str, text: &str| {
        let key = recipe.key().to_string();
        let folder = store.join(&key[..2]).join(&key);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), text).unwrap();
    };
    for recipe in &recipes[..2] {
        write(recipe, "recipe.json", &serde_json::to_string(recipe).unwrap());
        write(
            recipe,
            "manifest.json",
            r#"{"files": {}, "started-ms": 5, "ended-ms": 9, "made": {"device": "cpu", "threads": 2}}"#,
        );
        let point = serde_json::to_string(&point("mnist:test/loss", 0, f64::NAN)).unwrap();
        write(recipe, "metrics.jsonl", &format!("{point}\n"));
    }
    write(&recipes[2], "recipe.json", "{");
    std::fs::create_dir_all(store.join("drafts").join(recipes[3].key().to_string())).unwrap();

    let mut ledger = Ledger::open(&folder.path().join("ledger.sqlite")).unwrap();
    let rebuilt = ledger.rebuild(&store).unwrap();
    assert_eq!((rebuilt.restored, rebuilt.known, rebuilt.points), (2, 0, 2));
    assert_eq!(rebuilt.skipped.len(), 1);
    let attempts = ledger.attempts(&recipes[1].key()).unwrap();
    assert_eq!(attempts.len(), 1);
    let attempt = &attempts[0];
    assert_eq!((attempt.run, attempt.threads, attempt.ended_ms), (None, 2, Some(9)));
    assert_eq!(attempt.device, "cpu");
    assert!(ledger.last_metrics(AttemptId(attempt.id)).unwrap()[0].value.is_nan());
    assert_eq!(ledger.recipe(&recipes[1].key()).unwrap(), Some(recipes[1].clone()));
    assert_eq!(ledger.keys(&recipes[1].key().to_string()[..8]).unwrap(), [recipes[1].key()]);
    // Twice is once, and no trial is invented.
    let rebuilt = ledger.rebuild(&store).unwrap();
    assert_eq!((rebuilt.restored, rebuilt.known), (0, 2));
    let trials = ledger.query("SELECT count(*) FROM trial").unwrap();
    assert_eq!(trials.rows, [[json!(0)]]);
}

#[test]
fn two_writers_wait_for_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    let write = |name: &'static str| {
        let path = path.clone();
        std::thread::spawn(move || {
            let mut ledger = Ledger::open(&path).unwrap();
            let run = ledger.begin_run(&new_run(name, 0)).unwrap();
            let key = example().trials[0].stages[0].1;
            let attempt = ledger.begin_attempt(&new_attempt(run, key, "dense", 0)).unwrap();
            for step in 0..200 {
                ledger.record_points(attempt, &[point("train/loss", step, 0.5)]).unwrap();
            }
        })
    };
    let writers = ["a", "b", "c"].map(write);
    for writer in writers {
        writer.join().unwrap();
    }
    let ledger = Ledger::open_read_only(&path).unwrap();
    let count = ledger.query("SELECT count(*) FROM metric").unwrap();
    assert_eq!(count.rows, [[json!(600)]]);
}

#[test]
fn an_absent_ledger_says_what_to_run() {
    let error = Ledger::open_read_only(Path::new("/nowhere/ledger.sqlite")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no results in `/nowhere` yet; run `graftwork run FILE`, or name another folder with --results"
    );
}

#[test]
fn a_ledger_in_a_folder_that_cannot_be_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("odd ? # % name").join("ledger.sqlite");
    drop(Ledger::open(&path).unwrap());
    let uri = format!("file:{}?immutable=1", uri_path(&path));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(uri, flags).unwrap();
    assert!(schema::version(&connection).unwrap() > 0);
}

#[test]
fn a_reader_cannot_write() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    drop(Ledger::open(&path).unwrap());
    let reader = Ledger::open_read_only(&path).unwrap();
    let wrote = reader.connection.execute("INSERT INTO experiment (name) VALUES ('x')", []);
    assert!(wrote.is_err());
}

#[test]
fn a_file_whose_maker_was_killed_before_it_had_tables_holds_no_results_yet() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    std::fs::write(&path, "").unwrap();
    assert!(matches!(Ledger::open_read_only(&path), Err(LedgerError::Absent { .. })));
    Ledger::open(&path).unwrap();
    Ledger::open_read_only(&path).unwrap();
}
