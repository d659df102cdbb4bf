//! Runs with a scripted executor, with worker processes, and through the command line.

use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use graftwork::schedule::{Launch, Local, Policy};

use crate::engine;
use crate::scripted::{Step, World, fails, progress, well};

/// ```text
/// dense ─→ thin ─→ tuned
///     └──→ score
/// other
/// ```
const HOUSE: &str = r#"
name = "house"
[stage.dense.pretrain]
model.lenet5 = {}
data.mnist = {}
epochs = 2
[stage.thin.prune]
from = "dense"
criterion.magnitude = {}
sparsity = 0.5
[stage.tuned.finetune]
from = "thin"
data.mnist = {}
epochs = 2
[stage.score.evaluate]
from = "dense"
data.mnist = {}
[stage.other.pretrain]
model.mlp.hidden = [10]
data.mnist = {}
epochs = 2
"#;

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

#[test]
fn a_failure_skips_its_readers_and_nothing_else() {
    let mut world = World::new();
    let summary = world.run_script(HOUSE, &[], &|job, _| {
        if job.name == "thin" { fails("loss became NaN") } else { well() }
    });
    assert_eq!((summary.done.len(), summary.failed.len(), summary.skipped.len()), (3, 1, 1));
    assert_eq!(summary.failed[0].error, "loss became NaN");
    assert!(world.told.contains(&"tuned is skipped because of thin".to_owned()));
    let states = ["dense done", "thin failed", "tuned not run", "score done", "other done"];
    assert_eq!(world.states(), states);
    assert_eq!(world.store().keys().unwrap().len(), 3);

    let plan = world.plan(HOUSE, &[]);
    let thin = &plan.graph[plan.trials[0].stages["thin"]].key;
    let log = std::fs::read_to_string(world.store().log(thin).unwrap().unwrap()).unwrap();
    assert_eq!(log, "failed: loss became NaN\n");

    let counts = world.run(HOUSE, &[]);
    assert_eq!(sorted(counts.into_keys().collect()), ["thin", "tuned"], "the next run tries again");
}

#[test]
fn what_was_measured_is_in_the_ledger() {
    let mut world = World::new();
    world.run(HOUSE, &[]);
    let last = world.ledger.results("test").unwrap().unwrap();
    let dense = last.trials[0].stages["dense"].good.unwrap();
    assert_eq!(world.ledger.series(dense, "train/loss").unwrap(), [(1, 0.5)]);
}

#[test]
fn retries_try_again_and_then_give_up() {
    let mut world = World::new();
    world.policy = Policy { retries: 2, fail_fast: false };
    let summary = world.run_script(HOUSE, &[], &|job, attempt| match job.name.as_str() {
        "thin" if attempt < 2 => fails("no memory"),
        "other" => fails("always"),
        _ => well(),
    });
    assert_eq!((summary.done.len(), summary.failed.len()), (4, 1));
    let count = |name: &str| world.started.iter().filter(|started| *started == name).count();
    assert_eq!((count("thin"), count("other"), count("dense")), (3, 3, 1));
}

#[test]
fn fail_fast_starts_nothing_more_and_saves_what_runs() {
    let mut world = World::new();
    world.policy = Policy { retries: 0, fail_fast: true };
    let summary = world.run_script(HOUSE, &[], &|job, _| match job.name.as_str() {
        "dense" => vec![Step::Hang],
        _ => fails("no"),
    });
    assert_eq!(sorted(world.started.clone()), ["dense", "other"]);
    assert_eq!((summary.failed.len(), summary.left.len()), (1, 4));
    assert!(!summary.interrupted);
}

#[test]
fn a_dead_worker_is_a_failed_stage_and_its_progress_is_kept() {
    let mut world = World::new();
    let script = |job: &graftwork::protocol::Job, _| match job.name.as_str() {
        "dense" => {
            vec![progress(1), Step::Write("progress.json", "1".to_owned()), Step::Die("killed")]
        }
        _ => well(),
    };
    let summary = world.run_script(HOUSE, &[], &script);
    assert_eq!((summary.done.len(), summary.failed.len(), summary.skipped.len()), (1, 1, 3));
    assert_eq!(world.states()[0], "dense lost");
    world.run(HOUSE, &[]);
    assert!(world.told.contains(&"dense resumes".to_owned()), "{:?}", world.told);
}

#[test]
fn a_worker_that_dies_of_its_own_progress_starts_anew() {
    let mut world = World::new();
    world.run_script(HOUSE, &[], &|_, _| {
        vec![
            Step::Write("progress.json", "poison".to_owned()),
            Step::Die("cannot read progress.json"),
        ]
    });
    world.run(HOUSE, &[]);
    assert!(world.told.contains(&"dense starts".to_owned()), "{:?}", world.told);
}

#[test]
fn the_first_interrupt_saves_and_the_next_run_goes_on() {
    let mut world = World::new();
    let summary = world.run_script(HOUSE, &[], &|job, _| match job.name.as_str() {
        "dense" => vec![progress(1), Step::Write("progress.json", "1".to_owned()), Step::Hang],
        "other" => vec![Step::Interrupt, Step::Hang],
        _ => well(),
    });
    assert!(summary.interrupted);
    assert_eq!((summary.done.len(), summary.left.len(), summary.failed.len()), (0, 5, 0));
    assert_eq!(world.states()[0], "dense stopped");
    let counts = world.run(HOUSE, &[]);
    assert_eq!(counts.values().sum::<usize>(), 5);
    assert!(world.told.contains(&"dense resumes".to_owned()), "{:?}", world.told);
}

#[test]
fn the_second_interrupt_ends_at_once() {
    let mut world = World::new();
    let summary = world.run_script(HOUSE, &[], &|job, _| match job.name.as_str() {
        // It says that it stops only when it is killed: the first interrupt finds it hanging later.
        "dense" => vec![Step::Interrupt, Step::Interrupt, Step::Hang],
        _ => vec![Step::Hang],
    });
    assert!(summary.interrupted);
    assert_eq!((summary.left.len(), summary.failed.len()), (5, 0));
}

#[test]
fn a_stage_that_ends_well_after_the_interrupt_counts() {
    let mut world = World::new();
    let summary = world.run_script(HOUSE, &[], &|_, _| {
        let mut steps = vec![Step::Interrupt];
        steps.extend(well());
        steps
    });
    assert_eq!((summary.done.len(), summary.left.len()), (2, 3));
}

#[test]
fn two_runs_on_one_store_compute_every_key_once() {
    let folder = tempfile::tempdir().unwrap();
    let slow = |_: &graftwork::protocol::Job, _| {
        let mut steps = vec![Step::Sleep(Duration::from_millis(50))];
        steps.extend(well());
        steps
    };
    let runs: Vec<_> = std::thread::scope(|scope| {
        let runs = [0, 1, 2].map(|_| {
            let root = folder.path().to_owned();
            scope.spawn(move || {
                let mut world = World::in_folder(&root);
                let summary = world.run_script(HOUSE, &[], &slow);
                (world.started, summary)
            })
        });
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    let started: Vec<String> = runs.iter().flat_map(|(started, _)| started.clone()).collect();
    assert_eq!(sorted(started), ["dense", "other", "score", "thin", "tuned"]);
    for (_, summary) in &runs {
        assert_eq!(summary.failed, []);
        assert_eq!(summary.left, []);
    }
    let verified = World::in_folder(folder.path()).store();
    for key in verified.keys().unwrap() {
        assert_eq!(verified.verify(&key).unwrap(), []);
    }
}

/// Runs [`HOUSE`] in worker processes that behave as the fake engine is told to.
fn run_processes(world: &mut World, slots: usize, behaviour: &str) -> graftwork::schedule::Summary {
    let plan = world.plan(HOUSE, &[]);
    let (signals, inbox) = mpsc::channel();
    let program = engine::program(world.folder(), behaviour);
    let mut local = Local::new(Launch::worker(program, "cpu", 1), slots, signals);
    world.run_plan(&plan, &mut local, &inbox)
}

/// What each stage's log says of the process that ran it.
fn processes(world: &World) -> Vec<String> {
    let store = world.store();
    let log = |key| std::fs::read_to_string(store.path(key).join("log.txt")).unwrap();
    let keys = store.keys().unwrap();
    let first = |key| log(key).lines().find(|line| line.starts_with("process")).map(str::to_owned);
    keys.iter().filter_map(first).collect()
}

#[cfg(unix)]
#[test]
fn a_worker_process_lives_on_between_stages() {
    let mut world = World::new();
    let summary = run_processes(&mut world, 1, "well");
    assert_eq!(summary.done.len(), 5, "{summary:?}");
    let mut processes = processes(&world);
    processes.dedup();
    assert_eq!(processes.len(), 1);
}

#[cfg(unix)]
#[test]
fn a_worker_that_aborts_is_replaced() {
    let mut world = World::new();
    let summary = run_processes(&mut world, 1, "abort-thin");
    assert_eq!((summary.done.len(), summary.failed.len()), (3, 1), "{summary:?}");
    let error = "the engine died of signal 6; its last words: terminate called after c10::Error";
    assert_eq!(summary.failed[0].error, error);
}

#[cfg(unix)]
#[test]
fn a_worker_that_exits_says_its_last_words() {
    let mut world = World::new();
    let summary = run_processes(&mut world, 2, "exit-thin");
    assert_eq!(summary.done.len(), 3);
    assert_eq!(
        summary.failed[0].error,
        "the engine ended with exit code 7; its last words: no more"
    );
}

#[cfg(unix)]
#[test]
fn a_worker_that_never_gets_ready_fails_its_stage() {
    let mut world = World::new();
    let summary = run_processes(&mut world, 2, "no-libtorch");
    assert_eq!((summary.failed.len(), summary.skipped.len()), (2, 3));
    let error = "the engine ended with exit code 127; its last words: libtorch.so: cannot open shared object file";
    assert_eq!(summary.failed[0].error, error);
    assert_eq!(world.states()[0], "dense lost");
}

#[test]
fn an_engine_that_cannot_be_started_fails_its_stages() {
    let mut world = World::new();
    let plan = world.plan(HOUSE, &[]);
    let (signals, inbox) = mpsc::channel();
    let launch = Launch::worker(Path::new("/nowhere/engine").to_owned(), "cpu", 1);
    let summary = world.run_plan(&plan, &mut Local::new(launch, 2, signals), &inbox);
    assert_eq!((summary.failed.len(), summary.skipped.len()), (2, 3));
    let error = &summary.failed[0].error;
    assert!(error.starts_with("the engine `/nowhere/engine` cannot be started: "), "{error}");
}

#[cfg(unix)]
#[test]
fn through_the_command_line_a_run_is_done_then_cached() {
    let place = engine::Place::new(HOUSE);
    let first = place.graftwork(&["run", "house.toml"], "well");
    assert_eq!(first.code, 0, "{}", first.stderr);
    assert!(first.stderr.contains("house: 5 done, 0 cached in "), "{}", first.stderr);
    assert!(first.stderr.ends_with("next: graftwork table house\n"), "{}", first.stderr);
    assert_eq!(first.stdout, "");
    // With nothing to do, no engine is looked for.
    let again = place.graftwork_without_engine(&["run", "house.toml"]);
    assert_eq!(again.stderr, "house: nothing to do, all 5 stages of 1 trial are cached\n");
    assert_eq!(again.code, 0);
    let plan =
        place.graftwork_without_engine(&["plan", "house.toml", "--set", "thin.sparsity=0.75"]);
    expect_test::expect![[r#"
        stage      kind        run  cached  why
        ● dense    pretrain      0       1  cached, made by house
        ├─● score  evaluate      0       1  cached, made by house
        │
        ○ thin     prune         1       0  spec changed: thin.sparsity 0.5 → 0.75
        │
        ○ tuned    finetune      1       0  input thin changed (thin.sparsity 0.5 → 0.75)

        ● other    pretrain      0       1  cached, made by house

        house: 1 trial of 5 stages in all, 5 distinct (0 saved by sharing)
        to run: 2, cached: 3
    "#]]
    .assert_eq(&crate::views::without_times(&plan.stdout));
}

#[cfg(unix)]
#[test]
fn a_lost_ledger_is_filled_again_from_the_store() {
    let place = engine::Place::new(HOUSE);
    place.graftwork(&["run", "house.toml"], "well");
    std::fs::remove_file(place.folder().join("results/ledger.sqlite")).unwrap();
    let again = place.graftwork_without_engine(&["run", "house.toml"]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    let ledger = place.folder().join("results/ledger.sqlite");
    let ledger = graftwork::ledger::Ledger::open_read_only(&ledger).unwrap();
    let last = ledger.results("house").unwrap().unwrap();
    assert!(last.trials[0].stages.values().all(|stage| stage.good.is_some()));
}

#[cfg(unix)]
#[test]
fn a_failed_stage_is_exit_code_three_and_says_how_to_read_its_log() {
    let place = engine::Place::new(HOUSE);
    let run = place.graftwork(&["run", "house.toml"], "fail-thin");
    assert_eq!(run.code, 3);
    assert!(
        run.stderr.contains("house: 3 done, 0 cached, 1 failed, 1 skipped in"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("thin failed: loss became NaN"), "{}", run.stderr);
    assert!(run.stderr.contains("graftwork log "), "{}", run.stderr);
}

#[cfg(unix)]
#[test]
fn json_events_are_a_line_each() {
    let place = engine::Place::new(HOUSE);
    let run = place.graftwork(&["run", "house.toml", "--json"], "well");
    let events: Vec<serde_json::Value> =
        run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let count = |event: &str| events.iter().filter(|line| line.get(event).is_some()).count();
    assert_eq!((count("started"), count("done"), count("finished")), (5, 5, 1));
    assert_eq!(events.last().unwrap()["finished"]["done"], 5);
    assert_eq!(run.stderr, "");
}

#[cfg(unix)]
#[test]
fn a_missing_dataset_is_an_error_before_anything_runs() {
    let place = engine::Place::new(&HOUSE.replace("mnist", "usps"));
    let run = place.graftwork(&["run", "house.toml"], "well");
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("run `graftwork data fetch usps`"), "{}", run.stderr);
    assert!(!place.folder().join("results").exists());
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_the_same_command_goes_on() {
    let place = engine::Place::new(HOUSE);
    let mut run = place.start(&["run", "house.toml"], "slow");
    place.wait_for("progress.json");
    engine::signal(&run, "INT");
    let status = run.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    let again = place.graftwork(&["run", "house.toml"], "well");
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert!(again.stderr.contains(": resumed\n"), "{}", again.stderr);
}

#[cfg(unix)]
#[test]
fn kill_leaves_whole_checkpoints_and_the_next_run_needs_no_help() {
    let place = engine::Place::new(HOUSE);
    let store = graftwork::store::Store::open(place.folder().join("results/store"));
    for pause in [10, 60, 110, 160, 210, 300] {
        let mut run = place.start(&["run", "house.toml"], "slow");
        std::thread::sleep(Duration::from_millis(pause));
        run.kill().unwrap();
        run.wait().unwrap();
        for key in store.keys().unwrap() {
            assert_eq!(store.verify(&key).unwrap(), []);
        }
    }
    let last = place.graftwork(&["run", "house.toml"], "well");
    assert_eq!(last.code, 0, "{}", last.stderr);
    assert_eq!(store.keys().unwrap().len(), 5);
    let ledger = place.folder().join("results/ledger.sqlite");
    let ledger = graftwork::ledger::Ledger::open_read_only(&ledger).unwrap();
    let last = ledger.results("house").unwrap().unwrap();
    assert!(last.trials[0].stages.values().all(|stage| stage.good.is_some()));
}

#[cfg(unix)]
#[test]
fn a_run_waits_for_another_and_takes_over_when_it_dies() {
    let place = engine::Place::new(HOUSE);
    let mut first = place.start(&["run", "house.toml"], "slow");
    place.wait_for("progress.json");
    let second = place.start(&["run", "house.toml"], "well");
    std::thread::sleep(Duration::from_millis(300));
    first.kill().unwrap();
    first.wait().unwrap();
    let since = Instant::now();
    let output = second.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("another run computes it; waiting"), "{stderr}");
    assert!(since.elapsed() < Duration::from_secs(20), "{:?}", since.elapsed());
}

#[test]
fn the_command_line_does_not_load_libtorch() {
    let program = std::fs::read(env!("CARGO_BIN_EXE_graftwork")).unwrap();
    let Some(needed) = crate::elf::needed(&program) else {
        eprintln!("skipped: the program is no 64-bit ELF file");
        return;
    };
    assert!(needed.iter().any(|name| name.starts_with("libc.")), "{needed:?}");
    let heavy =
        needed.iter().find(|name| ["torch", "c10", "cuda"].iter().any(|it| name.contains(it)));
    assert_eq!(heavy, None, "{needed:?}");
}

#[test]
fn a_stage_that_was_only_to_be_looked_at_counts_once_it_runs() {
    let clock = "name = 'house'\n[stage.now.command]\nprogram = ['sh', '-c', 'date +%s%N > {out}/t']\n\
                 outputs = ['t']\n[stage.then.command]\ninputs = { now = 'now' }\n\
                 program = ['sh', '-c', 'cat {now}/t > {out}/t']\noutputs = ['t']\n";
    let place = engine::Place::new(clock);
    assert_eq!(place.graftwork_without_engine(&["run", "house.toml"]).code, 0);
    let run = place.graftwork_without_engine(&["run", "house.toml", "--force", "now"]);
    let counts = run.stderr.lines().filter(|line| line.starts_with('['));
    let counts: Vec<_> = counts.filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(counts, ["[0/1]", "[1/1]", "[1/2]", "[2/2]"], "{}", run.stderr);
}
