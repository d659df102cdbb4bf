//! Stages that go back to an epoch of another: what is kept for them, and what it makes run again.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use graftwork::plan::{History, Plan, Selection, select};
use graftwork::protocol::{Job, epoch_file};
use graftwork::recipe::StageKey;

use crate::scripted::{Step, World, well_of_its_own, well_with, well_with_epochs};

/// ```text
/// dense ─→ ticket ─→ tuned
///   └────→ moved
/// ```
const TICKET: &str = r#"
name = "ticket"
[stage.dense.pretrain]
model.lenet5 = {}
data.mnist = {}
epochs = 3
[stage.ticket.prune]
from = "dense"
criterion.magnitude = {}
sparsity = 0.5
[stage.tuned.finetune]
from = "ticket"
data.mnist = {}
epochs = 2
[stage.moved.finetune]
from = "dense"
data.mnist = {}
epochs = 1
"#;

fn rewinding(epoch: u32) -> String {
    let point = format!("sparsity = 0.5\nrewind-to = {{ stage = 'dense', epoch = {epoch} }}");
    TICKET.replace("sparsity = 0.5", &point)
}

fn key(plan: &Plan, stage: &str) -> StageKey {
    plan.graph[plan.trials[0].stages[stage]].key
}

fn keeps(plan: &Plan) -> BTreeSet<u32> {
    plan.graph[plan.trials[0].stages["dense"]].keep_epochs.clone()
}

fn run(world: &mut World, text: &str, sets: &[&str]) -> Vec<String> {
    let summary = world.run_script(text, sets, &|job, _| well_with_epochs(job));
    assert_eq!(summary.failed, []);
    world.started.clone()
}

fn folder(world: &World) -> PathBuf {
    world.store().path(&key(&world.plan(TICKET, &[]), "dense"))
}

fn has(world: &World, epoch: u32) -> bool {
    folder(world).join(epoch_file(epoch)).exists()
}

#[test]
fn the_epoch_is_in_the_key_of_what_goes_back_and_not_of_what_it_goes_back_to() {
    let world = World::new();
    let plans = [TICKET, &rewinding(0), &rewinding(1)].map(|text| world.plan(text, &[]));
    for stage in ["dense", "moved"] {
        assert!(plans.iter().all(|plan| key(plan, stage) == key(&plans[0], stage)), "{stage}");
    }
    for stage in ["ticket", "tuned"] {
        let keys: BTreeSet<_> = plans.iter().map(|plan| key(plan, stage)).collect();
        assert_eq!(keys.len(), 3, "{stage}");
    }
    assert_eq!(
        plans.map(|plan| keeps(&plan).into_iter().collect::<Vec<_>>()),
        [vec![], vec![0], vec![1]]
    );
}

#[test]
fn a_stage_keeps_what_any_trial_goes_back_to() {
    let world = World::new();
    let text = format!("{}\n[sweep]\n'ticket.rewind-to.epoch' = [2, 0]", rewinding(1));
    let plan = world.plan(&text, &[]);
    assert_eq!(keeps(&plan), BTreeSet::from([0, 2]));
    let exported = graftwork::plan::export(&plan, "ticket");
    let kept = exported.stages.into_iter().map(|stage| stage.keep_epochs);
    assert_eq!(kept.reduce(|all, more| &all | &more), Some(BTreeSet::from([0, 2])));
    // dense, moved; two tickets, each tuned.
    assert_eq!(plan.counts().distinct, 6);
}

#[test]
fn a_stage_that_lacks_the_epoch_is_made_once_more_and_its_other_readers_stay() {
    let mut world = World::new();
    run(&mut world, TICKET, &[]);
    assert!(!has(&world, 1));
    assert_eq!(run(&mut world, &rewinding(1), &[]), ["dense", "ticket", "tuned"]);
    assert!(world.told.contains(&"moved is kept".to_owned()), "{:?}", world.told);
    assert!(has(&world, 1));
    assert_eq!(run(&mut world, &rewinding(1), &[]), [""; 0]);
    assert_eq!(run(&mut world, TICKET, &[]), [""; 0]);
}

#[test]
fn an_epoch_that_is_there_makes_nothing_run_again() {
    let mut world = World::new();
    assert_eq!(run(&mut world, &rewinding(1), &[]).len(), 4);
    assert_eq!(run(&mut world, &rewinding(1), &["ticket.sparsity=0.7"]), ["ticket", "tuned"]);
    assert_eq!(run(&mut world, TICKET, &[]), ["ticket", "tuned"]);
}

#[test]
fn one_more_epoch_does_not_cost_the_others() {
    let mut world = World::new();
    run(&mut world, &rewinding(1), &[]);
    assert_eq!(run(&mut world, &rewinding(2), &[]), ["dense", "ticket", "tuned"]);
    assert!(has(&world, 1) && has(&world, 2));
    assert_eq!(run(&mut world, &rewinding(1), &[]), [""; 0]);
}

#[test]
fn an_epoch_that_is_gone_is_made_again_only_for_who_needs_it() {
    let mut world = World::new();
    run(&mut world, &rewinding(1), &[]);
    fs::remove_file(folder(&world).join(epoch_file(1))).unwrap();
    assert_eq!(run(&mut world, &rewinding(1), &[]), [""; 0]);
    let started = run(&mut world, &rewinding(1), &["ticket.sparsity=0.7"]);
    assert_eq!(started, ["dense", "ticket", "tuned"]);
}

#[test]
fn the_content_of_the_epoch_decides_and_that_of_other_epochs_does_not() {
    let mut world = World::new();
    let run = |world: &mut World, l1: &str, epoch: &str| {
        let text = rewinding(1).replace("epochs = 3", &format!("epochs = 3\nl1 = {l1}"));
        let script = |job: &Job, _: usize| match job.name.as_str() {
            "dense" => [vec![Step::Keep(1, epoch.to_owned())], well_with("one end")].concat(),
            _ => well_of_its_own(job),
        };
        let summary = world.run_script(&text, &[], &script);
        assert_eq!(summary.failed, []);
        (world.started.clone(), summary.adopted.len())
    };
    assert_eq!(run(&mut world, "0.1", "one start").0.len(), 4);
    assert_eq!(run(&mut world, "0.2", "one start"), (vec!["dense".to_owned()], 3));
    let (started, adopted) = run(&mut world, "0.3", "another start");
    assert_eq!((started, adopted), (["dense", "ticket", "tuned"].map(str::to_owned).to_vec(), 1));
}

#[test]
fn the_plan_says_which_epochs_a_checkpoint_is_to_keep() {
    let mut world = World::new();
    run(&mut world, TICKET, &[]);
    let sweep = "\n[sweep]\n'ticket.rewind-to.epoch' = [2, 0]";
    for (more, epochs) in [("", "epoch 1"), (sweep, "the epochs 0, 2")] {
        let plan = world.plan(&format!("{}{more}", rewinding(1)), &[]);
        let presences = graftwork::schedule::survey(&plan, &world.store()).unwrap();
        let todo = select(&plan, &presences, &|_| true, &Selection::default()).unwrap();
        let history = History::new(Vec::new());
        let reasons = history.reasons(&plan, &presences, &todo, &|_| None);
        let dense = plan.trials[0].stages["dense"];
        let expected = format!("checkpoint lacks a file; it is to keep {epochs}");
        assert_eq!(reasons[dense.index()].to_string(), expected);
    }
}
