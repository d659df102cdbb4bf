//! The main job through the `graftwork` command and real engine processes, on made images.
//!
//! Belongs to the engine's package, which knows its binary; `graftwork` lies beside it, where
//! `cargo test --workspace` builds it. Without it the tests say that they are skipped.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stderr, reason = "a skipped test says so")]

mod own;
mod programs;
mod torchvision;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use graftwork::ledger::Ledger;

const MAIN_JOB: &str = r#"
name = "main-job"
seeds = [0]

[sweep]
"thin.criterion" = [{ magnitude = {} }, { min-mse = { calibration-samples = 64 } }]

[stage.dense.pretrain]
model.mlp = { hidden = [24], batch-norm = true }
data.mnist = { batch-size = 32 }
epochs = 3
optimizer.sgd = { learning-rate = 0.05 }

[stage.thin.prune]
from = "dense"
criterion.magnitude = {}
sparsity = 0.5

[stage.tuned.finetune]
from = "thin"
data.mnist = { batch-size = 32 }
epochs = 1

[stage.moved.adapt]
from = "tuned"
source.mnist = { batch-size = 32 }
target.fashion-mnist = { batch-size = 32 }
method.coral = {}
epochs = 1
"#;

/// A folder with an experiment, two datasets and results.
struct Place {
    folder: tempfile::TempDir,
    graftwork: PathBuf,
}

impl Place {
    /// `None` where `graftwork` has not been built.
    fn new() -> Option<Self> {
        let graftwork =
            Path::new(env!("CARGO_BIN_EXE_graftwork-engine")).with_file_name("graftwork");
        if !graftwork.exists() {
            eprintln!("skipped: {} is not there; test the whole workspace", graftwork.display());
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        for (dataset, shade) in [("mnist", 250), ("fashion-mnist", 170)] {
            let data = folder.path().join("data").join(dataset);
            fs::create_dir_all(&data).unwrap();
            write_split(&data, "train", 400, shade);
            write_split(&data, "t10k", 100, shade);
        }
        Some(Self { folder, graftwork })
    }

    fn write(&self, text: &str) {
        fs::write(self.folder.path().join("job.toml"), text).unwrap();
    }

    fn command(&self, results: &str, args: &[&str]) -> Command {
        let mut command = Command::new(&self.graftwork);
        command.current_dir(self.folder.path()).args(["--data", "data", "--results", results]);
        command.env("GRAFTWORK_ENGINE", env!("CARGO_BIN_EXE_graftwork-engine")).args(args);
        command
    }

    /// Runs the experiment; the names of the stages that were run, with how often.
    #[track_caller]
    fn run(&self, results: &str, args: &[&str]) -> BTreeMap<String, usize> {
        let command = [&["run", "job.toml", "--device", "cpu"], args].concat();
        let output = self.command(results, &command).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        let ledger = self.folder.path().join(results).join("ledger.sqlite");
        let ledger = Ledger::open_read_only(&ledger).unwrap();
        let ran = ledger.query("SELECT name, run FROM attempt WHERE outcome = 'done'").unwrap();
        let last = said(&output).contains("nothing to do");
        let newest = ran.rows.iter().filter_map(|row| row[1].as_i64()).max();
        let mut counts = BTreeMap::new();
        for row in ran.rows.iter().filter(|row| !last && row[1].as_i64() == newest) {
            *counts.entry(row[0].as_str().unwrap().to_owned()).or_default() += 1;
        }
        counts
    }

    fn start(&self, results: &str) -> Child {
        let mut command = self.command(results, &["run", "job.toml", "--device", "cpu"]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// The bytes of every model in a store, by key.
    fn models(&self, results: &str) -> BTreeMap<String, Vec<u8>> {
        let store = self.folder.path().join(results).join("store");
        let store = graftwork::store::Store::open(store);
        let keys = store.keys().unwrap();
        let model = |key| fs::read(store.path(key).join("model.safetensors")).unwrap();
        keys.iter().map(|key| (key.to_string(), model(key))).collect()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Images with a bright block at a place that is the class's, on a grey slope that no two share.
fn write_split(folder: &Path, part: &str, count: u32, shade: u8) {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for index in 0..count {
        let class = index % 10;
        labels.push(class as u8);
        for (row, column) in (0..28).flat_map(|row| (0..28).map(move |column| (row, column))) {
            let block = row / 9 == class / 4 && column / 7 == class % 4;
            pixels.push(if block {
                shade
            } else {
                ((row * 7 + column * 3 + index * 11) % 80) as u8
            });
        }
    }
    let write = |name: &str, dimensions: &[u32], body: &[u8]| {
        let mut file = (0x0800 + dimensions.len() as u32).to_be_bytes().to_vec();
        file.extend(dimensions.iter().flat_map(|extent| extent.to_be_bytes()));
        file.extend(body);
        fs::write(folder.join(format!("{part}-{name}-ubyte")), file).unwrap();
    };
    write("images-idx3", &[count, 28, 28], &pixels);
    write("labels-idx1", &[count], &labels);
}

#[track_caller]
fn check(ran: &BTreeMap<String, usize>, expected: &[(&str, usize)]) {
    let expected = expected.iter().map(|(name, count)| ((*name).to_owned(), *count));
    assert_eq!(ran, &expected.collect());
}

#[test]
fn the_main_job_runs_and_exactly_what_changed_runs_again() {
    let Some(place) = Place::new() else { return };
    place.write(MAIN_JOB);
    check(&place.run("results", &[]), &[("dense", 1), ("thin", 2), ("tuned", 2), ("moved", 2)]);
    check(&place.run("results", &[]), &[]);
    let sparser = ["--set", "thin.sparsity=0.8"];
    check(&place.run("results", &sparser), &[("thin", 2), ("tuned", 2), ("moved", 2)]);
    let longer = ["--set", "tuned.epochs=2"];
    check(&place.run("results", &longer), &[("tuned", 2), ("moved", 2)]);
    let renamed = MAIN_JOB.replace("dense", "network").replace("main-job", "other-job");
    place.write(&format!("# A comment.\n{renamed}"));
    check(&place.run("results", &[]), &[]);
}

#[test]
fn a_run_that_is_killed_in_the_middle_ends_with_the_same_bytes() {
    let Some(place) = Place::new() else { return };
    place.write(&MAIN_JOB.replace("epochs = 3", "epochs = 60"));
    place.run("whole", &[]);
    let progress = place.folder.path().join("killed/store/drafts");
    for _ in 0..3 {
        let mut run = place.start("killed");
        let deadline = Instant::now() + Duration::from_mins(1);
        while !has_progress(&progress) && run.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "no progress is saved");
            std::thread::sleep(Duration::from_millis(5));
        }
        run.kill().unwrap();
        run.wait().unwrap();
    }
    place.run("killed", &[]);
    assert_eq!(place.models("whole"), place.models("killed"));
}

fn has_progress(folder: &Path) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| {
        let path = entry.path();
        path.ends_with("progress.safetensors") || path.is_dir() && has_progress(&path)
    })
}

const REPORTS: &str = r#"

[stage.timed.evaluate]
from = "thin"
data.mnist = {}
latency = { beside = "dense", repeats = 4 }

[stage.curve.sensitivity]
from = "dense"
criterion.taylor = { calibration-samples = 64 }
sparsities = [0.9]
data.mnist = {}
"#;

#[test]
fn what_was_measured_is_reported_without_running_anything() {
    let Some(place) = Place::new() else { return };
    let (job, _) = MAIN_JOB.split_once("[stage.tuned").unwrap();
    place.write(&format!("{job}{REPORTS}"));
    let report = |args: &[&str]| {
        let output = place.command("results", &[&["report"], args].concat()).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), said(&output))
    };
    let (code, _, error) = report(&["prune", "job.toml", "thin"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("graftwork run"), "{error}");
    check(&place.run("results", &[]), &[("dense", 1), ("thin", 2), ("timed", 2), ("curve", 1)]);
    let (code, out, error) =
        report(&["prune", "job.toml", "thin", "--where", "criterion=magnitude"]);
    assert_eq!((code, error.as_str()), (Some(0), ""));
    for expected in ["fc1", "fc2", "cut-off", "CSR", "`timed`"] {
        assert!(out.contains(expected), "{expected} in {out}");
    }
    // fc1 before fc2, as in the network; 24 · 784 weights, half of all stay.
    assert!(out.find("fc1") < out.find("fc2") && out.contains("18816"), "{out}");
    let (code, out, _) = report(&["sensitivity", "job.toml", "curve"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("at 0.9") && out.contains("fc2"), "{out}");
    check(&place.run("results", &[]), &[]);
}
