//! Keys are equal just when the meaning is, over random pairs of experiments.
//!
//! The experiments are made from the JSON Schema (`generate`), so that what is added to the language is in
//! them by itself, and written in many ways (`spell`). What they mean is told here without the code that
//! makes keys: a stage is its settings with all defaults stated, its seed if it draws, and what it reads.

mod generate;
mod spell;

use std::cell::Cell;
use std::collections::BTreeSet;

use generate::{Dice, Place, at, leaves};
use graftwork::experiment::{self, Alone};
use graftwork::plan::{self, Digests};
use graftwork::recipe::StageKey;
use proptest::prelude::any;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use spell::spell;

/// Stages by name, each a table with its kind as the only key; a stage reads those before it.
type Stages = Vec<(String, Value)>;

/// Pairs of an experiment and one made of it that each of three properties looks at.
const PAIRS: usize = 20_000;

/// Pairs that are made of one random experiment.
const PAIRS_EACH: usize = 50;

/// Pairs of experiments that have nothing to do with each other.
const PAIRS_APART: usize = 40_000;

/// What an experiment means and the keys that it has, by stage.
struct Known {
    text: String,
    meanings: Vec<Value>,
    keys: Vec<StageKey>,
}

/// The only key of a table and what it leads to.
fn only(table: &mut Value) -> (String, &mut Value) {
    let table = table.as_object_mut().unwrap();
    table.iter_mut().next().map(|(key, value)| (key.clone(), value)).unwrap()
}

fn settings(stage: &Value) -> (&str, &Value) {
    stage.as_object().unwrap().iter().next().map(|(kind, value)| (kind.as_str(), value)).unwrap()
}

/// The stages that a stage reads, each by the steps to its name.
fn inputs(stage: &Value) -> Vec<(Vec<String>, Value)> {
    let (kind, settings) = settings(stage);
    let leaves = leaves(settings, place_of(kind)).into_iter();
    let names = leaves.filter(|(_, place)| place.names_a_stage());
    names.map(|(path, _)| (path.clone(), at(&mut settings.clone(), &path).clone())).collect()
}

/// Whether each stage reads stages before it.
fn is_ordered(stages: &Stages) -> bool {
    stages.iter().enumerate().all(|(index, (_, stage))| {
        let before = &stages[..index];
        inputs(stage).iter().all(|(_, input)| before.iter().any(|(name, _)| input == name))
    })
}

fn place_of(kind: &str) -> Place {
    Place::stage().child(kind)
}

/// What each stage means.
fn meanings(stages: &Stages) -> Vec<Value> {
    let mut meanings: Vec<Value> = Vec::new();
    for (_, stage) in stages {
        let (kind, settings) = settings(stage);
        let mut whole = place_of(kind).whole(settings);
        let seed = whole.as_object_mut().unwrap().remove("seed");
        for (path, input) in inputs(stage) {
            let index = stages.iter().position(|(name, _)| input == *name).unwrap();
            *at(&mut whole, &path) = meanings[index].clone();
        }
        let criterion =
            whole["criterion"].as_object().map(|table| table.keys().next().unwrap().clone());
        let mut draws = match (kind, criterion.as_deref()) {
            ("pretrain" | "finetune" | "adapt", _) => true,
            ("evaluate", _) => false,
            ("import", _) => whole["strict"] == false,
            ("prune" | "sensitivity", criterion) => {
                let is_control = whole["shuffle"] == true || whole["reinitialise"] == true;
                let is_still = matches!(criterion, Some("magnitude" | "lamp" | "synflow"));
                is_control || !(is_still || is_untrained_slimming(&whole))
            }
            _ => panic!("say here whether a stage of kind {kind} draws"),
        };
        if kind == "prune" {
            let looks =
                !matches!(criterion.as_deref(), Some("magnitude" | "random" | "lamp" | "synflow"))
                    && !is_untrained_slimming(&whole);
            let own = whole.as_object_mut().unwrap().remove("data");
            let data = own.or_else(|| trained_on(&whole["from"]));
            whole["data"] = data.filter(|_| looks).unwrap_or_default();
            draws |= draws_examples(&whole["data"]);
        }
        let seed = draws.then(|| seed.unwrap_or(json!(0)));
        meanings.push(json!({ "kind": kind, "settings": whole, "seed": seed }));
    }
    meanings
}

/// Whether the training examples of a dataset are drawn.
fn draws_examples(data: &Value) -> bool {
    let mut options = data.as_object().into_iter().flat_map(|table| table.values());
    options.any(|options| !options["labels-per-class"].is_null())
}

/// Whether a pruning ranks scales as they are.
fn is_untrained_slimming(settings: &Value) -> bool {
    settings["criterion"]["slimming"]["epochs"] == 0
}

/// The data with labels that a network was trained on last.
fn trained_on(meaning: &Value) -> Option<Value> {
    let settings = &meaning["settings"];
    match meaning["kind"].as_str().unwrap() {
        "pretrain" | "finetune" | "import" => Some(settings["data"].clone()),
        "adapt" => Some(settings["source"].clone()),
        "prune" if trains(settings) => Some(settings["data"].clone()),
        "prune" => trained_on(&settings["from"]),
        kind => panic!("say here what a stage of kind {kind} was trained on"),
    }
}

/// Whether a pruning trains the network.
fn trains(settings: &Value) -> bool {
    let has = |name: &str| settings["criterion"].get(name).is_some();
    has("sparse-opt") || has("movement") || has("slimming") && !is_untrained_slimming(settings)
}

/// Writes an experiment in one of its ways and plans it; nothing if it has faults.
fn known(stages: &Stages, dice: &mut Dice) -> Option<Known> {
    let (text, names) = spell(stages, dice);
    let checked = experiment::load("random.toml", &text, &[], &Alone).ok()?;
    let digests =
        Digests { data: &|name| Some(name.to_owned()), files: &|path| Some(path.to_owned()) };
    let plan = plan::plan(&checked.trials(), digests);
    let key = |name: &String| plan.graph[plan.trials[0].stages[name.as_str()]].key;
    Some(Known { keys: names.iter().map(key).collect(), meanings: meanings(stages), text })
}

/// Every two stages of the two experiments have one key just when they have one meaning; how many do.
fn check(one: &Known, other: &Known) -> usize {
    let mut shared = 0;
    for (meaning, key) in one.meanings.iter().zip(&one.keys) {
        for (other_meaning, other_key) in other.meanings.iter().zip(&other.keys) {
            assert_eq!(
                meaning == other_meaning,
                key == other_key,
                "{}\n---\n{}\n{meaning}\n{other_meaning}",
                one.text,
                other.text
            );
            shared += usize::from(key == other_key);
        }
    }
    shared
}

/// An experiment of one to three stages without faults.
fn experiment(dice: &mut Dice) -> (Stages, Known) {
    let length = 1 + dice.below(3);
    loop {
        let mut stages: Stages = Vec::new();
        let mut last = None;
        for _ in 0..60 {
            if stages.len() == length {
                break;
            }
            let names: Vec<String> = stages.iter().map(|(name, _)| name.clone()).collect();
            let kinds: Vec<_> = Place::kinds().collect();
            let (kind, place) = *dice.pick(&kinds);
            if names.is_empty() && !["pretrain", "import"].contains(&kind) {
                continue;
            }
            let stage = json!({ kind: place.value(dice, &names) });
            stages.push((format!("s{}", names.len()), stage));
            match known(&stages, dice) {
                Some(known) => last = Some(known),
                None => drop(stages.pop()),
            }
        }
        if let Some(known) = last {
            return (stages, known);
        }
    }
}

/// A value of a stage: the stage's index, the steps to it, itself, what it can be exchanged with.
type Found = (usize, Vec<String>, Value, String);

fn is_inside(inner: &Found, outer: &Found) -> bool {
    inner.0 == outer.0 && inner.1.starts_with(&outer.1)
}

/// Makes random experiments until `pairs` has looked at enough pairs; it says at how many it has.
fn check_pairs(pairs: impl Fn(&Stages, &Known, &mut Dice) -> usize) {
    let seen = Cell::new(0);
    // Of a few experiments fewer are made: there is not much to exchange.
    check_seeds(PAIRS / PAIRS_EACH * 11 / 10, |seed| {
        let mut dice = Dice::new(seed);
        let (stages, known) = experiment(&mut dice);
        seen.set(seen.get() + pairs(&stages, &known, &mut dice));
    });
    assert!(seen.get() >= PAIRS, "{} pairs", seen.get());
}

/// Lets proptest choose the seeds; a failure names the seed. There is nothing to shrink in one.
fn check_seeds(cases: usize, check: impl Fn(u64)) {
    let cases = u32::try_from(cases).unwrap();
    let config =
        Config { cases, max_shrink_iters: 0, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&any::<u64>(), |seed| {
        check(seed);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// Up to [`PAIRS_EACH`] experiments without faults that `change` makes of one, each paired with it.
fn check_changed(
    stages: &Stages,
    base: &Known,
    dice: &mut Dice,
    change: impl Fn(&Stages, &mut Dice) -> Option<Stages>,
) -> usize {
    let mut seen = 0;
    for _ in 0..40 * PAIRS_EACH {
        if seen == PAIRS_EACH {
            break;
        }
        let changed = change(stages, dice);
        if let Some(other) = changed.and_then(|changed| known(&changed, dice)) {
            check(base, &other);
            seen += 1;
        }
    }
    seen
}

#[test]
fn all_texts_of_an_experiment_have_its_keys() {
    check_pairs(|stages, known, dice| {
        check_changed(stages, known, dice, |stages, _| Some(stages.clone()))
    });
}

#[test]
fn a_changed_value_changes_the_keys_of_its_stage_and_of_its_readers() {
    check_pairs(|stages, known, dice| {
        check_changed(stages, known, dice, |stages, dice| {
            let mut changed = stages.clone();
            let index = dice.below(stages.len());
            let names: Vec<String> = stages[..index].iter().map(|(name, _)| name.clone()).collect();
            let (kind, settings) = only(&mut changed[index].1);
            let place = place_of(&kind);
            let mut whole = place.whole(settings);
            let all = leaves(&whole, place);
            let (path, place) = dice.pick(&all);
            *at(&mut whole, path) = place.value(dice, &names);
            let is_other = whole != place_of(&kind).whole(settings);
            *settings = whole;
            is_other.then_some(changed)
        })
    });
}

#[test]
fn exchanged_values_change_the_keys() {
    check_pairs(|stages, known, dice| {
        let (stages, values) = values(stages);
        check_changed(&stages, known, dice, |stages, dice| {
            let (one, other) = (dice.pick(&values), dice.pick(&values));
            let is_nested = is_inside(one, other) || is_inside(other, one);
            if one.3 != other.3 || one.2 == other.2 || is_nested {
                return None;
            }
            let mut changed = stages.clone();
            for (to, from) in [(one, other), (other, one)] {
                *at(only(&mut changed[to.0].1).1, &to.1) = from.2.clone();
            }
            is_ordered(&changed).then_some(changed)
        })
    });
}

/// The stages with all their defaults stated, and their values.
fn values(stages: &Stages) -> (Stages, Vec<Found>) {
    let mut whole_stages = Stages::new();
    let mut found = Vec::new();
    for (index, (name, stage)) in stages.iter().enumerate() {
        let (kind, settings) = settings(stage);
        let place = place_of(kind);
        let mut whole = place.whole(settings);
        for (path, place) in leaves(&whole, place) {
            let value = at(&mut whole, &path).clone();
            if !value.is_object() {
                found.push((index, path, value, place.tag()));
            }
        }
        whole_stages.push((name.clone(), json!({ kind: whole })));
    }
    (whole_stages, found)
}

/// Whatever is added to the language is in the random experiments; where it cannot be, this says so.
#[test]
fn random_experiments_have_every_key_of_the_language() {
    let mut all = BTreeSet::new();
    Place::kinds().for_each(|(_, kind)| kind.keys(&mut all));
    assert!(all.len() > 100, "{all:?}");
    let mut dice = Dice::new(1);
    // Far fewer are needed; a setting of one network of many that only takes large images is rare.
    for _ in 0..30_000 {
        let (stages, _) = experiment(&mut dice);
        for (_, mut stage) in stages {
            for (path, place) in leaves(&stage, Place::stage()) {
                for key in place.stated(at(&mut stage, &path)) {
                    all.remove(&key);
                }
            }
        }
        if all.is_empty() {
            break;
        }
    }
    assert!(all.is_empty(), "never in a random experiment: {all:?}");
}

/// Most of these are poor in what they say, so that some of it is the same.
#[test]
fn experiments_that_have_nothing_to_do_with_each_other_share_what_means_the_same() {
    check_seeds(4, |seed| {
        let mut dice = Dice::new(seed);
        let mut all: Vec<Known> = Vec::new();
        let (mut pairs, mut shared) = (0, 0);
        while pairs < PAIRS_APART / 4 {
            dice.is_poor = !dice.one_in(4);
            let (_, known) = experiment(&mut dice);
            pairs += all.len();
            shared += all.iter().map(|other| check(&known, other)).sum::<usize>();
            all.push(known);
        }
        assert!(shared > 20, "{shared} shared stages in {pairs} pairs");
    });
}
