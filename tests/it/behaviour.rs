//! Fifteen behaviours that every orchestrator should have, through real processes.
//!
//! `benches/peers/behaviour` runs the same cases on graftwork and its peers; none of them has all.
//!
//! ```text
//! source.txt → pretrain → prune → finetune → adapt
//! ```
//!
//! A stage appends its name to `ran.txt` when it really runs. Its result names everything that it was
//! made from, so that a wrong one can be told from a right one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const CHAIN: &str = r#"name = "chain"

[stage.pretrain.command]
program = ["python3", "{script}", "{source}", "{out}/result.txt", "{params}"]
files = { script = "pretrain.py", source = "source.txt" }
params = { width = 4, rate = 0.1 }
outputs = ["result.txt"]
random = false

[stage.prune.command]
program = ["python3", "{script}", "{from}/result.txt", "{out}/result.txt", "{params}"]
inputs = { from = "pretrain" }
files = { script = "prune.py" }
params = { keep = 0.5, note = 1 }
outputs = ["result.txt"]
random = false

[stage.finetune.command]
program = ["python3", "{script}", "{from}/result.txt", "{out}/result.txt", "{params}"]
inputs = { from = "prune" }
files = { script = "finetune.py" }
params = { a = 1, b = 2 }
outputs = ["result.txt"]
random = false

[stage.adapt.command]
program = ["python3", "{script}", "{from}/result.txt", "{out}/result.txt", "{params}"]
inputs = { from = "finetune" }
files = { script = "adapt.py" }
params = { epochs = 3 }
outputs = ["result.txt"]
random = false
"#;

/// What the chain makes at last, as the file above has it.
const RESULT: &str = "adapt 3 of finetune 1 2 of prune 0.5 x1 of pretrain 4 0.1 of data\n";

/// `hold-NAME` beside the scripts makes a stage wait, `fail-NAME` makes it fail, `slow` makes all slow.
const SCRIPT: &str = r#"import json
import pathlib
import sys
import time

name = "{name}"
here = pathlib.Path(__file__).resolve().parent
read, write, params = sys.argv[1:]
with open(here / "ran.txt", "a") as log:
    log.write(name + "\n")
while (here / f"hold-{name}").exists():
    time.sleep(0.01)
if (here / "slow").exists():
    time.sleep(0.3)
if (here / f"fail-{name}").exists():
    sys.exit(f"{name} was told to fail")
p = json.load(open(params))
strength = 1
text = open(read).read()
open(write, "w").write(f"{shown} of {text}")
"#;

/// What each stage writes in front of what it read; `note` of `prune` has no part in it.
const SHOWN: [(&str, &str); 4] = [
    ("pretrain", "pretrain {p['width']} {p['rate']}"),
    ("prune", "prune {p['keep']} x{strength}"),
    ("finetune", "finetune {p['a']} {p['b']}"),
    ("adapt", "adapt {p['epochs']}"),
];

/// A folder with the chain in it.
struct House {
    folder: TempDir,
    ran_before: usize,
}

impl House {
    /// Where nothing has run yet.
    fn new() -> Self {
        let house = Self { folder: tempfile::tempdir().unwrap(), ran_before: 0 };
        house.write("chain.toml", CHAIN);
        house.write("source.txt", "data\n");
        for (name, shown) in SHOWN {
            let script = SCRIPT.replace("{name}", name).replace("{shown}", shown);
            house.write(&format!("{name}.py"), &script);
        }
        house
    }

    /// Where all of the chain has run.
    #[track_caller]
    fn finished() -> Self {
        let mut house = Self::new();
        assert_eq!(house.run(), ["pretrain", "prune", "finetune", "adapt"]);
        assert_eq!(house.result("adapt"), RESULT);
        house
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    #[track_caller]
    fn edit(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(name)).unwrap();
        assert!(text.contains(from), "{name} has no {from:?}");
        self.write(name, &text.replace(from, to));
    }

    fn start(&self, file: &str) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_graftwork"));
        command.args(["run", file, "--jobs", "1"]).current_dir(self.folder.path());
        // A run of commands alone needs no engine.
        command.env("GRAFTWORK_ENGINE", "/nowhere/engine").env("HOME", self.folder.path());
        command.env_remove("GRAFTWORK_RESULTS").env_remove("XDG_CACHE_HOME");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Runs an experiment to its end; gives the names of what really ran.
    #[track_caller]
    fn run_file(&mut self, file: &str, code: i32) -> Vec<String> {
        let child = self.start(file);
        self.end(child, code);
        self.ran()
    }

    #[track_caller]
    fn run(&mut self) -> Vec<String> {
        self.run_file("chain.toml", 0)
    }

    #[track_caller]
    #[expect(clippy::unused_self, reason = "reads like the others")]
    fn end(&self, child: Child, code: i32) {
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
    }

    /// What ran since this was asked last.
    fn ran(&mut self) -> Vec<String> {
        let log = fs::read_to_string(self.path("ran.txt")).unwrap_or_default();
        let names: Vec<String> = log.lines().skip(self.ran_before).map(str::to_owned).collect();
        self.ran_before += names.len();
        names
    }

    /// The newest file of the store that holds what a stage wrote.
    #[track_caller]
    fn file(&self, stage: &str) -> PathBuf {
        let mut files = Vec::new();
        results(&self.path("results/store"), &mut files);
        files.retain(|file| fs::read_to_string(file).unwrap().starts_with(&format!("{stage} ")));
        let newest =
            files.into_iter().max_by_key(|file| fs::metadata(file).unwrap().modified().unwrap());
        newest.unwrap_or_else(|| panic!("the store has no result of {stage}"))
    }

    #[track_caller]
    fn result(&self, stage: &str) -> String {
        fs::read_to_string(self.file(stage)).unwrap()
    }

    /// Waits until a stage has begun.
    fn wait_for(&self, stage: &str) {
        let since = Instant::now();
        let log = self.path("ran.txt");
        while !fs::read_to_string(&log).is_ok_and(|log| log.lines().any(|line| line == stage)) {
            assert!(since.elapsed() < Duration::from_mins(1), "{stage} does not begin");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn results(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            results(&path, found);
        } else if path.file_name().is_some_and(|name| name == "result.txt") {
            found.push(path);
        }
    }
}

/// Makes a file younger and leaves its content.
fn touch(path: &Path) {
    let status = Command::new("touch").arg(path).status().unwrap();
    assert!(status.success());
}

const NOTHING: [&str; 0] = [];

#[test]
fn t1_touching_the_source_data_reruns_nothing() {
    let mut house = House::finished();
    touch(&house.path("source.txt"));
    assert_eq!(house.run(), NOTHING);
}

#[test]
fn t2_touching_an_intermediate_file_reruns_nothing() {
    let mut house = House::finished();
    touch(&house.file("prune"));
    assert_eq!(house.run(), NOTHING);
}

#[test]
fn t3_a_changed_parameter_reruns_its_stage_and_what_follows() {
    let mut house = House::finished();
    house.edit("chain.toml", "keep = 0.5", "keep = 0.9");
    assert_eq!(house.run(), ["prune", "finetune", "adapt"]);
    assert_eq!(house.result("adapt"), RESULT.replace("prune 0.5", "prune 0.9"));
}

#[test]
fn t4_a_parameter_changed_back_reruns_nothing() {
    let mut house = House::finished();
    house.edit("chain.toml", "keep = 0.5", "keep = 0.9");
    house.run();
    house.edit("chain.toml", "keep = 0.9", "keep = 0.5");
    assert_eq!(house.run(), NOTHING);
}

#[test]
fn t5_a_change_without_effect_on_the_output_reruns_its_stage_alone() {
    let mut house = House::finished();
    house.edit("chain.toml", "note = 1", "note = 2");
    assert_eq!(house.run(), ["prune"]);
    assert_eq!(house.run(), NOTHING);
}

#[test]
fn t6_keys_in_another_order_rerun_nothing() {
    let mut house = House::finished();
    house.edit("chain.toml", "keep = 0.5, note = 1", "note = 1, keep = 0.5");
    house.edit("chain.toml", "a = 1, b = 2", "b = 2, a = 1");
    house.edit(
        "chain.toml",
        "params = { epochs = 3 }\noutputs = [\"result.txt\"]\n",
        "outputs = [\"result.txt\"]\nparams = { epochs = 3 }\n",
    );
    assert_eq!(house.run(), NOTHING);
}

#[test]
fn t7_two_exchanged_values_rerun_their_stage_and_what_follows() {
    let mut house = House::finished();
    house.edit("chain.toml", "a = 1, b = 2", "a = 2, b = 1");
    assert_eq!(house.run(), ["finetune", "adapt"]);
    assert_eq!(house.result("adapt"), RESULT.replace("finetune 1 2", "finetune 2 1"));
}

#[test]
fn t8_cosmetic_edits_of_the_file_and_of_a_script_rerun_nothing() {
    let mut house = House::finished();
    house.edit("chain.toml", "[stage.prune", "# A remark.\n\n[stage . prune");
    house.edit("chain.toml", "keep = 0.5,", "keep   =  5e-1 ,");
    house.edit("chain.toml", "files = { script = \"prune.py\" }", "files.script = 'prune.py'");
    assert_eq!(house.run(), NOTHING, "edits of the experiment file");
    house.edit("prune.py", "strength = 1\n", "# A remark.\n\nstrength = 1\n");
    assert_eq!(house.run(), NOTHING, "edits of the script");
}

#[test]
fn t8b_a_real_edit_of_a_script_reruns_its_stage_and_what_follows() {
    let mut house = House::finished();
    house.edit("prune.py", "strength = 1", "strength = 2");
    assert_eq!(house.run(), ["prune", "finetune", "adapt"]);
    assert_eq!(house.result("adapt"), RESULT.replace("x1", "x2"));
}

#[test]
fn t9_a_deleted_intermediate_that_nothing_needs_reruns_nothing() {
    let mut house = House::finished();
    fs::remove_dir_all(house.file("prune").parent().unwrap()).unwrap();
    assert_eq!(house.run(), NOTHING);
    assert_eq!(house.result("adapt"), RESULT);
}

#[test]
fn t9_a_deleted_file_of_an_intermediate_reruns_nothing_until_a_reader_needs_it() {
    let mut house = House::finished();
    fs::remove_file(house.file("prune")).unwrap();
    assert_eq!(house.run(), NOTHING);
    house.edit("chain.toml", "a = 1", "a = 7");
    assert_eq!(house.run(), ["prune", "finetune", "adapt"]);
    assert_eq!(house.result("adapt"), RESULT.replace("finetune 1 2", "finetune 7 2"));
}

#[test]
fn t9_a_deleted_intermediate_comes_back_when_a_reader_needs_it() {
    let mut house = House::finished();
    fs::remove_dir_all(house.file("prune").parent().unwrap()).unwrap();
    house.edit("chain.toml", "a = 1", "a = 7");
    assert_eq!(house.run(), ["prune", "finetune", "adapt"]);
    assert_eq!(house.result("adapt"), RESULT.replace("finetune 1 2", "finetune 7 2"));
}

#[test]
fn t10_a_tampered_intermediate_is_noticed_and_restored() {
    let mut house = House::finished();
    let file = house.file("prune");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("prune 0.5", "prune 0.7")).unwrap();
    let ran = house.run();
    assert!(ran.is_empty() || ran == ["prune"], "its readers have what they need: {ran:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    house.edit("chain.toml", "a = 1", "a = 7");
    assert_eq!(house.run(), ["finetune", "adapt"]);
    assert_eq!(house.result("adapt"), RESULT.replace("finetune 1 2", "finetune 7 2"));
}

#[test]
fn t11_an_identical_stage_of_another_experiment_is_reused() {
    let mut house = House::finished();
    let first = CHAIN.split("\n[stage.prune").next().unwrap();
    let other = first.replace("\"chain\"", "\"other\"").replace("stage.pretrain", "stage.dense");
    house.write("other.toml", &other);
    assert_eq!(house.run_file("other.toml", 0), NOTHING);
}

#[test]
fn t12_a_failed_branch_leaves_the_others_alone() {
    let mut house = House::new();
    house.edit("chain.toml", "from = \"finetune\"", "from = \"pretrain\"");
    house.write("fail-prune", "");
    assert_eq!(house.run_file("chain.toml", 3), ["pretrain", "prune", "adapt"]);
    assert_eq!(house.result("adapt"), "adapt 3 of pretrain 4 0.1 of data\n");
    fs::remove_file(house.path("fail-prune")).unwrap();
    assert_eq!(house.run(), ["prune", "finetune"], "the next run needs no help");
}

#[test]
fn t13_after_a_kill_the_next_run_does_the_rest() {
    let mut house = House::new();
    house.write("hold-finetune", "");
    let mut run = house.start("chain.toml");
    house.wait_for("finetune");
    run.kill().unwrap();
    run.wait().unwrap();
    house.ran();
    fs::remove_file(house.path("hold-finetune")).unwrap();
    assert_eq!(house.run(), ["finetune", "adapt"]);
    assert_eq!(house.result("adapt"), RESULT);
}

#[test]
fn t14_two_invocations_at_once_share_their_work() {
    let mut house = House::new();
    house.write("slow", "");
    let runs = [house.start("chain.toml"), house.start("chain.toml")];
    for run in runs {
        house.end(run, 0);
    }
    let mut ran = house.ran();
    ran.sort();
    assert_eq!(ran, ["adapt", "finetune", "pretrain", "prune"]);
    assert_eq!(house.result("adapt"), RESULT);
}
