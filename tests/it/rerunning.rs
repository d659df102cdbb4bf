//! What is run again, what is taken from elsewhere, what stays: by content, by force, by selection.

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use graftwork::plan::Selection;
use graftwork::protocol::Job;

use crate::scripted::{Step, World, well_of_its_own, well_with};

/// ```text
/// dense ─→ thin ─→ tuned ─→ moved
///             └──→ score
/// ```
const CHAIN: &str = r#"
name = "chain"
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
[stage.moved.adapt]
from = "tuned"
source.mnist = {}
target.usps = {}
method.mmd = {}
epochs = 1
[stage.score.evaluate]
from = "thin"
data.mnist = {}
"#;

/// A prune whose result its sparsity does not touch; whatever else has weights of its own.
fn blunt_prune(job: &Job) -> Vec<Step> {
    if job.name == "thin" { well_with("thin weights") } else { well_of_its_own(job) }
}

/// A stage of the chain in the store of a world.
fn folder(world: &World, stage: &str) -> PathBuf {
    let plan = world.plan(CHAIN, &[]);
    world.store().path(&plan.graph[plan.trials[0].stages[stage]].key)
}

/// Overwrites the weights of a checkpoint as an editor would, later than they were written.
fn tamper(world: &World, stage: &str) {
    let path = folder(world, stage).join("model.safetensors");
    fs::write(&path, "something else").unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    let written = file.metadata().unwrap().modified().unwrap();
    file.set_modified(written + Duration::from_secs(5)).unwrap();
}

fn ran(world: &World) -> Vec<&str> {
    world.started.iter().map(String::as_str).collect()
}

#[test]
fn a_setting_that_does_not_change_the_result_reruns_its_stage_alone() {
    let mut world = World::new();
    world.run_script(CHAIN, &[], &|job, _| blunt_prune(job));
    let summary = world.run_script(CHAIN, &["thin.sparsity=0.6"], &|job, _| blunt_prune(job));
    assert_eq!(ran(&world), ["thin"]);
    assert_eq!((summary.done.len(), summary.adopted.len()), (1, 3));
    for stage in ["tuned", "moved", "score"] {
        assert!(world.told.contains(&format!("{stage} is adopted")), "{:?}", world.told);
    }
    let states = ["dense cached", "thin done", "tuned done", "moved done", "score done"];
    assert_eq!(world.states(), states, "adopted stages show their results");
    let again = world.run_script(CHAIN, &["thin.sparsity=0.6"], &|job, _| blunt_prune(job));
    assert_eq!((ran(&world).len(), again.adopted.len()), (0, 0));
}

#[test]
fn what_differs_is_never_adopted() {
    let mut world = World::new();
    world.run(CHAIN, &[]);
    let summary = world.run_script(CHAIN, &["thin.sparsity=0.6"], &|job, _| well_of_its_own(job));
    assert_eq!((summary.done.len(), summary.adopted.len()), (4, 0));
    // The same input, and another setting of the reader.
    world.run_script(CHAIN, &["tuned.epochs=3"], &|job, _| blunt_prune(job));
    assert_eq!(ran(&world), ["tuned", "moved"]);
}

#[test]
fn an_adopted_result_is_adopted_in_another_experiment_too() {
    let mut world = World::new();
    world.run_script(CHAIN, &[], &|job, _| blunt_prune(job));
    let other = CHAIN.replace("\"chain\"", "\"other\"").replace("0.5", "0.7");
    let summary = world.run_script(&other, &[], &|job, _| blunt_prune(job));
    assert_eq!((ran(&world), summary.adopted.len()), (vec!["thin"], 3));
}

#[test]
fn a_damaged_checkpoint_is_made_again_and_its_readers_stay() {
    let mut world = World::new();
    world.run(CHAIN, &[]);
    tamper(&world, "thin");
    let summary = world.run_script(CHAIN, &[], &|job, _| well_of_its_own(job));
    assert_eq!(ran(&world), ["thin"]);
    assert_eq!((summary.done.len(), summary.kept.len()), (1, 3));
    let weights = fs::read_to_string(folder(&world, "thin").join("model.safetensors")).unwrap();
    assert!(weights.starts_with("weights of "), "{weights}");
    assert_eq!(world.run(CHAIN, &[]).len(), 0);
}

#[test]
fn what_is_made_again_is_made_with_as_many_threads_as_before() {
    let mut world = World::new();
    let asked = RefCell::new(Vec::new());
    let script = |job: &Job, _: usize| {
        asked.borrow_mut().push((job.name.clone(), job.threads));
        well_of_its_own(job)
    };
    world.run_script(CHAIN, &[], &script);
    assert!(asked.take().iter().all(|(_, threads)| threads.is_none()), "nothing is there yet");
    tamper(&world, "thin");
    world.run_script(CHAIN, &[], &script);
    assert_eq!(asked.take(), [("thin".to_owned(), Some(1))]);
}

#[test]
fn readers_of_a_checkpoint_that_came_out_otherwise_run_again() {
    let mut world = World::new();
    world.run(CHAIN, &[]);
    tamper(&world, "thin");
    let other = |job: &Job, _| {
        if job.name == "thin" { well_with("other weights") } else { well_of_its_own(job) }
    };
    let summary = world.run_script(CHAIN, &[], &other);
    // `moved` reads `tuned`, which came out as before.
    assert_eq!(ran(&world), ["thin", "tuned", "score"]);
    assert_eq!((summary.done.len(), summary.kept.len()), (3, 1));
}

#[test]
fn a_deleted_checkpoint_that_nobody_needs_is_not_made_again() {
    let mut world = World::new();
    world.run(CHAIN, &[]);
    for stage in ["dense", "tuned"] {
        fs::remove_dir_all(folder(&world, stage)).unwrap();
    }
    assert_eq!(world.run(CHAIN, &[]).len(), 0);
    // What needs it makes it again, and no more than that.
    world.run(CHAIN, &["moved.epochs=2"]);
    assert_eq!(ran(&world), ["tuned", "moved"]);
    assert!(world.told.iter().all(|line| line != "dense starts"));
}

#[test]
fn a_deleted_end_is_made_again() {
    let mut world = World::new();
    world.run(CHAIN, &[]);
    fs::remove_dir_all(folder(&world, "moved")).unwrap();
    world.run(CHAIN, &[]);
    assert_eq!(ran(&world), ["moved"]);
}

fn select(until: &[&str], only: &[&str], force: &[&str]) -> Selection {
    let own = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    Selection { until: own(until), only: own(only), force: own(force) }
}

#[test]
fn a_forced_stage_runs_and_its_readers_stay_if_it_comes_out_as_before() {
    let mut world = World::new();
    world.run(CHAIN, &[]);
    world.selection = select(&[], &[], &["thin"]);
    let summary = world.run_script(CHAIN, &[], &|job, _| well_of_its_own(job));
    assert_eq!((ran(&world), summary.kept.len()), (vec!["thin"], 3));
    let other = |job: &Job, _| {
        if job.name == "thin" { well_with("other weights") } else { well_of_its_own(job) }
    };
    let summary = world.run_script(CHAIN, &[], &other);
    assert_eq!((ran(&world), summary.kept.len()), (vec!["thin", "tuned", "score"], 1));
    let weights = fs::read_to_string(folder(&world, "thin").join("model.safetensors")).unwrap();
    assert_eq!(weights, "other weights");
}

#[test]
fn a_forced_stage_reaches_its_readers_across_one_that_is_gone() {
    let mut world = World::new();
    world.run_script(CHAIN, &[], &|job, _| well_of_its_own(job));
    fs::remove_dir_all(folder(&world, "tuned")).unwrap();
    world.selection = select(&[], &[], &["dense"]);
    world.run_script(CHAIN, &[], &|job, _| well_with(&format!("other {}", job.name)));
    assert_eq!(ran(&world), ["dense", "thin", "tuned", "score", "moved"]);
}

/// What a user does who forces one stage alone, and what a crash leaves between a stage and its readers.
#[test]
fn a_stage_that_came_out_otherwise_makes_its_readers_stale_for_later_runs_too() {
    let mut world = World::new();
    world.run(CHAIN, &[]);
    world.selection = select(&[], &["thin"], &["thin"]);
    let other = |job: &Job, _| {
        if job.name == "thin" { well_with("other weights") } else { well_of_its_own(job) }
    };
    world.run_script(CHAIN, &[], &other);
    assert_eq!(ran(&world), ["thin"]);
    world.selection = Selection::default();
    let summary = world.run_script(CHAIN, &[], &other);
    assert_eq!((ran(&world), summary.kept.len()), (vec!["tuned", "score"], 1));
    assert_eq!(world.run(CHAIN, &[]).len(), 0);
}

#[test]
fn a_stage_that_was_confirmed_later_than_its_readers_leaves_them_as_they_are() {
    let mut world = World::new();
    world.run(CHAIN, &[]);
    for stage in ["dense", "thin"] {
        let manifest =
            fs::File::options().write(true).open(folder(&world, stage).join("manifest.json"));
        let manifest = manifest.unwrap();
        let time = manifest.metadata().unwrap().modified().unwrap();
        manifest.set_modified(time + Duration::from_secs(5)).unwrap();
    }
    assert_eq!(world.run(CHAIN, &[]).len(), 0);
}

#[test]
fn a_forced_stage_that_fails_leaves_its_checkpoint() {
    let mut world = World::new();
    world.run(CHAIN, &[]);
    world.selection = select(&[], &[], &["thin"]);
    let summary = world.run_script(CHAIN, &[], &|_, _| vec![Step::Die("out of memory")]);
    assert_eq!((summary.failed.len(), summary.skipped.len()), (1, 3));
    world.selection = Selection::default();
    assert_eq!(world.run(CHAIN, &[]).len(), 0);
}

#[test]
fn until_runs_a_stage_and_what_it_needs() {
    let mut world = World::new();
    world.selection = select(&["thin"], &[], &[]);
    world.run(CHAIN, &[]);
    assert_eq!(ran(&world), ["dense", "thin"]);
    world.selection = select(&["score"], &[], &[]);
    world.run(CHAIN, &[]);
    assert_eq!(ran(&world), ["score"]);
}

const SWEPT: &str = r#"
name = "swept"
seeds = [0, 1]
sweep."thin.sparsity" = [0.5, 0.9]
[stage.dense.pretrain]
model.lenet5 = {}
data.mnist = {}
epochs = 2
[stage.thin.prune]
from = "dense"
criterion.magnitude = {}
sparsity = 0.5
"#;

#[test]
fn only_runs_what_matches_and_nothing_else() {
    let mut world = World::new();
    world.selection = select(&[], &["seed=1", "sparsity=0.9"], &[]);
    assert_eq!(world.run(SWEPT, &[]), [("dense".to_owned(), 1), ("thin".to_owned(), 1)].into());
    world.selection = select(&[], &["thin.sparsity=0.5", "thin.sparsity=0.9", "seed=1"], &[]);
    assert_eq!(world.run(SWEPT, &[]), [("thin".to_owned(), 1)].into());
    world.selection = select(&[], &["d*"], &[]);
    assert_eq!(world.run(SWEPT, &[]), [("dense".to_owned(), 1)].into());
    world.selection = Selection::default();
    assert_eq!(world.run(SWEPT, &[]), [("thin".to_owned(), 2)].into());
}

#[test]
fn a_selection_that_cannot_be_is_refused() {
    let world = World::new();
    let plan = world.plan(SWEPT, &[]);
    let presences = vec![graftwork::plan::Presence::Missing; plan.graph.node_count()];
    let error = |selection: Selection| {
        graftwork::plan::select(&plan, &presences, &|_| false, &selection).unwrap_err().to_string()
    };
    let messages = [
        error(select(&["thn"], &[], &[])),
        error(select(&[], &[], &["moved"])),
        error(select(&[], &["sparsity=0.7"], &[])),
        error(select(&[], &["thin"], &[])),
    ];
    let expected = [
        "--until thn: there is no such stage; there are: dense, thin",
        "--force moved: there is no such stage; there are: dense, thin",
        "--only sparsity=0.7 matches no stage; a pattern is a stage's name (dense, thin), with `*` for any characters, or a setting, as in thin.sparsity=0.5, seed=0",
        "thin sparsity=0.5 seed=0 needs dense seed=0, which is not there and which --only leaves out; name both, or use --until thin",
    ];
    assert_eq!(messages, expected);
}

#[cfg(unix)]
#[test]
fn the_command_line_selects_forces_and_says_what_it_left_out() {
    let place = crate::engine::Place::new(SWEPT);
    let first = place.graftwork(&["run", "house.toml", "--until", "dense"], "well");
    assert!(first.stderr.contains("swept: 2 done, 0 cached in"), "{}", first.stderr);
    let plan =
        place.graftwork(&["plan", "house.toml", "--only", "dense", "--force", "dense"], "well");
    expect_test::expect![[r#"
        stage    kind        run  cached  why
        ○ dense  pretrain      2       0  forced
        │
        ○ thin   prune         0       0  left out

        swept: 4 trials of 8 stages in all, 6 distinct (2 saved by sharing)
        to run: 2, cached: 0, left out or not needed: 4
    "#]]
    .assert_eq(&crate::views::without_times(&plan.stdout));
    let forced =
        place.graftwork(&["run", "house.toml", "--force", "dense", "--only", "dense"], "well");
    assert!(forced.stderr.contains("swept: 2 done, 0 cached in"), "{}", forced.stderr);
    let idle = place.graftwork_without_engine(&["run", "house.toml", "--until", "dense"]);
    let said =
        "swept: nothing to do, 2 of 6 stages of 4 trials are cached and no other is asked for";
    assert!(idle.stderr.contains(said), "{}", idle.stderr);
    let unknown = place.graftwork_without_engine(&["run", "house.toml", "--until", "dens"]);
    assert_eq!(unknown.code, 2);
    let said = "error: --until dens: there is no such stage; there are: dense, thin";
    assert!(unknown.stderr.contains(said), "{}", unknown.stderr);
}
