//! `command` stages: real programs, through the command line and without any engine.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::engine::{self, Output, Place};

/// ```text
/// fit ─→ look
/// ```
/// Each program adds a line to `ran.txt` when it really runs.
const HOUSE: &str = r#"
name = "house"
seeds = [0, 1]

[stage.fit.command]
program = ["sh", "{script}", "{lr}", "{seed}", "{out}", "{params}"]
files   = { script = "fit.py" }
params  = { lr = 0.1, size = { w = 3 }, decay = 0.01 }
outputs = ["model.bin"]
metrics = "m.jsonl"

[stage.look.command]
program = ["sh", "-c", "echo look >> ran.txt; cat $GRAFTWORK_INPUT_PREVIOUS/model.bin > {out}/seen.txt"]
inputs  = { previous = "fit" }
outputs = ["seen.txt"]
random  = false
"#;

/// A program whose comments are Python's and whose rest is a shell's.
const FIT: &str = "\
#!/bin/sh
set -e
# trains
echo fit >> ran.txt
echo \"lr $1\" > $3/model.bin
echo talk
printf '{\"name\": \"test/loss\", \"step\": 3, \"value\": %s}\\n' $1 > $3/m.jsonl
cp $4 params.$2
mv params.$2 params.txt
";

struct Commands(Place);

impl Commands {
    fn new() -> Self {
        let place = Place::new(HOUSE);
        fs::write(place.folder().join("fit.py"), FIT).unwrap();
        Self(place)
    }

    fn folder(&self) -> &Path {
        self.0.folder()
    }

    fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.folder().join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "nothing to edit in {text}");
        fs::write(path, text.replace(from, to)).unwrap();
    }

    fn graftwork(&self, args: &[&str]) -> Output {
        self.0.graftwork_without_engine(args)
    }

    /// Runs the experiment well; how many times each program ran, `fit` and `look`.
    #[track_caller]
    fn run(&self) -> (usize, usize) {
        // One at a time, so that what was done before is known before the same is done again.
        let run = self.graftwork(&["run", "house.toml", "--jobs", "1"]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        let ran = fs::read_to_string(self.folder().join("ran.txt")).unwrap_or_default();
        let _ = fs::remove_file(self.folder().join("ran.txt"));
        let count = |name: &str| ran.lines().filter(|line| *line == name).count();
        (count("fit"), count("look"))
    }

    /// Runs the experiment, which fails; what is said of it.
    #[track_caller]
    fn fails(&self) -> String {
        let run = self.graftwork(&["run", "house.toml"]);
        assert_eq!(run.code, 3, "{}", run.stderr);
        let _ = fs::remove_file(self.folder().join("ran.txt"));
        run.stderr
    }
}

#[test]
fn programs_run_once_and_are_cached() {
    let commands = Commands::new();
    // Both seeds give the same model, so that what draws nothing sees one input only.
    assert_eq!(commands.run(), (2, 1));
    assert_eq!(commands.run(), (0, 0));
    let params = fs::read_to_string(commands.folder().join("params.txt")).unwrap();
    assert_eq!(params, r#"{"decay":0.01,"lr":0.1,"size":{"w":3}}"#);
}

#[test]
fn a_program_that_says_it_draws_nothing_is_shared_by_all_seeds() {
    let commands = Commands::new();
    commands.edit("house.toml", "\"{seed}\"", "\"7\"");
    commands.edit("house.toml", "metrics", "random = false\nmetrics");
    assert_eq!(commands.run(), (1, 1));
}

#[test]
fn an_edited_program_runs_again_and_so_does_the_old_one_never() {
    let commands = Commands::new();
    commands.run();
    commands.edit("fit.py", "\"lr $1\"", "\"LR $1\"");
    let plan = commands.graftwork(&["plan", "house.toml"]);
    assert!(plan.stdout.contains("content of file script changed"), "{}", plan.stdout);
    assert_eq!(commands.run(), (2, 1));
    commands.edit("fit.py", "\"LR $1\"", "\"lr $1\"");
    assert_eq!(commands.run(), (0, 0), "the old results are found again");
}

#[test]
fn an_edit_that_changes_no_output_runs_the_program_and_not_its_reader() {
    let commands = Commands::new();
    commands.run();
    commands.edit("fit.py", "echo talk", "echo more talk");
    assert_eq!(commands.run(), (2, 0));
}

#[test]
fn what_an_input_measured_is_content_to_a_program() {
    let commands = Commands::new();
    commands.run();
    commands.edit("fit.py", "%s}", "%s1}");
    assert_eq!(commands.run(), (2, 1), "the folder that `look` is given holds it, too");
}

#[test]
fn a_comment_in_a_python_file_changes_nothing() {
    let commands = Commands::new();
    commands.run();
    commands.edit("fit.py", "# trains\n", "# trains a model\n\n   # well\n");
    assert_eq!(commands.run(), (0, 0));
    commands.edit("fit.py", "set -e\n", "set -e; true\n");
    assert_eq!(commands.run().0, 2, "the second line counts whatever it is");
}

#[test]
fn two_parameters_that_change_places_are_noticed() {
    let commands = Commands::new();
    commands.run();
    commands.edit(
        "house.toml",
        "lr = 0.1, size = { w = 3 }, decay = 0.01",
        "lr = 0.01, size = { w = 3 }, decay = 0.1",
    );
    assert_eq!(commands.run(), (2, 1));
}

#[test]
fn order_and_spelling_of_parameters_change_nothing_and_a_nested_one_counts() {
    let commands = Commands::new();
    commands.run();
    commands.edit(
        "house.toml",
        "lr = 0.1, size = { w = 3 }, decay = 0.01",
        "decay = 1e-2, size.w = 3, lr = 1e-1",
    );
    assert_eq!(commands.run(), (0, 0));
    commands.edit("house.toml", "size.w = 3", "size.w = 4");
    assert_eq!(commands.run().0, 2);
}

#[test]
fn names_of_files_and_folders_change_nothing() {
    let commands = Commands::new();
    commands.run();
    fs::create_dir(commands.folder().join("code")).unwrap();
    fs::rename(commands.folder().join("fit.py"), commands.folder().join("code/train.py")).unwrap();
    commands.edit("house.toml", "\"fit.py\"", "\"code/train.py\"");
    assert_eq!(commands.run(), (0, 0));
    // The whole experiment elsewhere, with the same results.
    let elsewhere = commands.folder().join("elsewhere");
    fs::create_dir_all(elsewhere.join("code")).unwrap();
    for file in ["house.toml", "code/train.py"] {
        fs::copy(commands.folder().join(file), elsewhere.join(file)).unwrap();
    }
    let run = commands.graftwork(&["run", "elsewhere/house.toml"]);
    assert!(run.stderr.contains("nothing to do"), "{}", run.stderr);
    commands.edit("elsewhere/house.toml", "lr = 0.1", "lr = 0.3");
    let run = commands.graftwork(&["run", "elsewhere/house.toml"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(elsewhere.join("ran.txt").exists(), "a program starts in the experiment's folder");
}

#[test]
fn an_axis_sweeps_a_parameter() {
    let commands = Commands::new();
    commands.edit(
        "house.toml",
        "[stage.fit",
        "[sweep]\n\"fit.params.lr\" = [0.1, 0.2]\n\"fit.params.size.w\" = [3, 4]\n[stage.fit",
    );
    assert_eq!(commands.run(), (8, 2));
    let table = commands.graftwork(&["table", "house", "--stage", "fit", "--metric", "loss"]);
    assert_eq!(table.code, 0, "{}", table.stderr);
    assert!(table.stdout.contains("test/loss"), "{}", table.stdout);
    let run = commands.graftwork(&["run", "house.toml", "--set", "fit.params.size.w=9"]);
    assert!(run.stderr.contains("4 done, 0 cached, 4 adopted"), "{}", run.stderr);
}

#[test]
fn what_a_program_says_and_measures_is_shown_like_any_stages() {
    let commands = Commands::new();
    commands.edit("house.toml", "[0, 1]", "[0]");
    commands.run();
    let log = commands.graftwork(&["log", "fit"]);
    assert_eq!(log.code, 0, "{}", log.stderr);
    for part in ["test/loss", "talk", "command"] {
        assert!(log.stdout.contains(part), "{part} is not in {}", log.stdout);
    }
    let status = commands.graftwork(&["status", "house"]);
    assert!(status.stdout.contains("fit") && status.stdout.contains("done"), "{}", status.stdout);
    let store = graftwork::store::Store::open(commands.folder().join("results/store"));
    for key in store.keys().unwrap() {
        assert_eq!(store.verify(&key).unwrap(), []);
        assert!(!store.path(&key).join("params.json").exists());
    }
    fs::remove_file(commands.folder().join("results/ledger.sqlite")).unwrap();
    assert_eq!(commands.run(), (0, 0));
    let table = commands.graftwork(&["table", "house", "--stage", "fit", "--metric", "loss"]);
    assert!(table.stdout.contains("test/loss"), "a lost ledger is filled again: {}", table.stdout);
}

#[test]
fn a_failing_program_says_its_exit_code_and_last_words() {
    let commands = Commands::new();
    commands.edit("house.toml", "[0, 1]", "[0]");
    commands.edit("fit.py", "# trains", "echo 'ValueError: lr is bad' >&2; echo 'out' ; exit 3");
    let said = commands.fails();
    let expected = "the program ended with exit code 3; its last words: ValueError: lr is bad";
    assert!(said.contains(expected), "{said}");
    let log = commands.graftwork(&["log", "fit"]);
    assert!(log.stdout.contains("ValueError: lr is bad"), "{}{}", log.stdout, log.stderr);
    commands.edit("fit.py", "exit 3", "true");
    assert_eq!(commands.run(), (1, 1), "the next run tries again");
}

#[test]
fn a_missing_output_and_a_bad_metric_are_failures() {
    let commands = Commands::new();
    commands.edit("house.toml", "outputs = [\"model.bin\"]", "outputs = [\"model.pt\"]");
    let said = commands.fails();
    assert!(said.contains("`model.pt`, which `outputs` names"), "{said}");
    assert!(said.contains("it left m.jsonl, model.bin"), "{said}");
    commands.edit("house.toml", "model.pt", "model.bin");
    commands.edit("fit.py", "\"value\"", "\"val\"");
    let said = commands.fails();
    assert!(said.contains("`m.jsonl`, line 1: unknown field `val`"), "{said}");
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let commands = Commands::new();
    commands.edit("house.toml", "\"sh\", \"{script}\"", "\"no-such-program\", \"{script}\"");
    let said = commands.fails();
    assert!(said.contains("the program `no-such-program` cannot be started"), "{said}");
}

#[test]
fn a_file_that_changes_while_its_stage_waits_is_not_taken_for_the_planned_one() {
    let commands = Commands::new();
    commands.edit("house.toml", "[0, 1]", "[0]");
    commands.edit(
        "house.toml",
        "program = [\"sh\", \"-c\", \"echo look >> ran.txt;",
        "files = { other = 'other.txt' }\nprogram = [\"sh\", \"-c\", \": {other};",
    );
    fs::write(commands.folder().join("other.txt"), "one").unwrap();
    commands.edit("fit.py", "# trains", "echo two > other.txt");
    let said = commands.fails();
    assert!(said.contains("`other.txt` changed after the run was planned"), "{said}");
    assert_eq!(commands.run(), (0, 0), "look runs with the new file");
}

/// A program that leaves a child behind, tells both process numbers, and takes its time.
const SLOW: &str = "\
[stage.fit.command]
program = [\"sh\", \"-c\", \"sleep 300 & echo $! $$ > pids.partial; mv pids.partial pids.txt; touch {out}/begun; wait\"]
";

fn slow() -> Place {
    Place::new(&format!("name = 'house'\n{SLOW}"))
}

#[track_caller]
fn all_end(place: &Place) {
    let pids = fs::read_to_string(place.folder().join("pids.txt")).unwrap();
    assert_eq!(pids.split_whitespace().count(), 2, "{pids}");
    for pid in pids.split_whitespace() {
        let since = Instant::now();
        while is_alive(pid) {
            assert!(since.elapsed() < Duration::from_secs(10), "process {pid} survived");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Whether a process exists and is no zombie that waits for its parent.
fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !rest.trim().is_empty() && !rest.trim().starts_with('Z'))
}

#[cfg(target_os = "linux")]
#[test]
fn an_interrupt_stops_the_program_and_all_that_it_started() {
    let place = slow();
    let mut run = place.start(&["run", "house.toml"], "well");
    place.wait_for("begun");
    engine::signal(&run, "INT");
    assert_eq!(run.wait().unwrap().code(), Some(130));
    all_end(&place);
    let status = place.graftwork_without_engine(&["status", "house"]);
    assert!(status.stdout.contains("stopped"), "{}", status.stdout);
}

#[cfg(target_os = "linux")]
#[test]
fn a_program_that_ignores_the_interrupt_is_killed_by_the_second() {
    let place = slow();
    let text = fs::read_to_string(place.folder().join("house.toml")).unwrap();
    let deaf = text.replace("sleep 300 &", "trap '' TERM; sleep 300 &");
    fs::write(place.folder().join("house.toml"), deaf).unwrap();
    let mut run = place.start(&["run", "house.toml"], "well");
    place.wait_for("begun");
    let since = Instant::now();
    engine::signal(&run, "INT");
    std::thread::sleep(Duration::from_millis(300));
    assert!(run.try_wait().unwrap().is_none(), "it is given time to end");
    engine::signal(&run, "INT");
    assert_eq!(run.wait().unwrap().code(), Some(130));
    assert!(since.elapsed() < Duration::from_secs(4));
    all_end(&place);
}

#[cfg(target_os = "linux")]
#[test]
fn when_graftwork_itself_is_killed_nothing_of_the_program_is_left() {
    let place = slow();
    let mut run = place.start(&["run", "house.toml"], "well");
    place.wait_for("begun");
    run.kill().unwrap();
    run.wait().unwrap();
    all_end(&place);
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_program_leaves_running_ends_with_it() {
    let place = slow();
    let text = fs::read_to_string(place.folder().join("house.toml")).unwrap();
    fs::write(place.folder().join("house.toml"), text.replace("; wait", "")).unwrap();
    let since = Instant::now();
    let run = place.graftwork_without_engine(&["run", "house.toml"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(since.elapsed() < Duration::from_secs(30));
    all_end(&place);
}

#[test]
fn a_failure_with_fail_fast_stops_the_other_programs() {
    let place = Place::new(
        "name = 'house'\n[stage.slow.command]\nprogram = ['sh', '-c', 'touch {out}/begun; sleep 300']\n\
         [stage.bad.command]\nprogram = ['sh', '-c', 'sleep 0.2; exit 1']\n",
    );
    let since = Instant::now();
    let run = place.graftwork_without_engine(&["run", "house.toml", "--fail-fast", "--jobs", "2"]);
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert!(run.stderr.contains("1 failed, 1 left for the next run"), "{}", run.stderr);
    assert!(since.elapsed() < Duration::from_mins(1));
}

#[cfg(unix)]
#[test]
fn programs_and_engine_stages_share_a_run() {
    let place = Place::new(
        "name = 'house'\n[stage.dense.pretrain]\nmodel.lenet5 = {}\ndata.mnist = {}\nepochs = 1\n\
         [stage.size.command]\nprogram = ['sh', '-c', 'wc -c < {dense}/model.safetensors > {out}/size.txt']\n\
         inputs = { dense = 'dense' }\noutputs = ['size.txt']\nrandom = false\n\
         [stage.tuned.finetune]\nfrom = 'dense'\ndata.mnist = {}\nepochs = 1\n\
         [stage.score.evaluate]\nfrom = 'tuned'\ndata.mnist = {}\n\
         [stage.last.command]\nprogram = ['sh', '-c', 'cat {size}/size.txt']\n\
         inputs = { size = 'size', score = 'score' }\n",
    );
    let run = place.graftwork(&["run", "house.toml", "--jobs", "1"], "well");
    assert_eq!(run.code, 0, "{}", run.stderr);
    let ledger = place.folder().join("results/ledger.sqlite");
    let ledger = graftwork::ledger::Ledger::open_read_only(&ledger).unwrap();
    let last = ledger.results("house").unwrap().unwrap();
    assert!(last.trials[0].stages.values().all(|stage| stage.good.is_some()));
    let devices = place.graftwork_without_engine(&[
        "query",
        "SELECT group_concat(device, ',') AS d FROM (SELECT device FROM attempt ORDER BY kind)",
        "--json",
    ]);
    assert!(
        devices.stdout.contains(",,cpu,cpu,cpu"),
        "a program has no device: {}",
        devices.stdout
    );
}
