//! The combinations that a sweep has: all, less those that `exclude` drops, and those that `include` adds.

use std::collections::{HashMap, HashSet};

use indexmap::IndexMap;

use super::super::fault::{Code, Fault, Sources, Span};
use super::super::path::stage_names;
use super::super::tree::{Tree, Value};
use super::rules::{Rule, Rules};
use super::{Arm, Axis};

/// Trials beyond this number are a slip, not an experiment.
const MOST_TRIALS: usize = 100_000;

/// What all trials together may have, of stages and of values of axes: that is some gigabytes.
const MOST_PARTS: usize = 10_000_000;

/// Steps that all rules together may take, which are some seconds.
const MOST_WORK: usize = 10_000_000;

/// One combination with one seed: the index of each axis' point, and last that of the seed.
type Choice = Vec<usize>;

/// The combinations of a file in the order of its axes, the first outermost; those of `include` last.
/// None where there are none or too many, which is reported.
pub(super) fn arms(
    root: &Tree,
    sources: &Sources,
    axes: &mut [Axis],
    faults: &mut Vec<Fault>,
) -> Option<Vec<Arm>> {
    let seeds = seeds(root);
    let mut extents: Vec<usize> = axes.iter().map(|axis| axis.swept).collect();
    let trials = extents.iter().copied().fold(seeds.len(), usize::saturating_mul);
    let most = most_trials(root, axes.len());
    if trials > most {
        faults.push(too_many(root, sources, &trials.to_string(), most));
        return None;
    }
    let mut rules = Rules::new(root, sources, axes, seeds.clone(), faults);
    let excludes = rules.read("exclude", axes);
    let includes = rules.read("include", axes);
    let all_seeds = rules.seeds;
    if excludes.is_empty() && includes.is_empty() {
        let arm = |points| Arm { points, seeds: seeds.clone() };
        return Some(combinations(extents).map(arm).collect());
    }
    extents.push(seeds.len());
    let mut choices = Choices { extents, most, root, sources, faults };
    let kept = choices.exclude(&excludes)?;
    let all = choices.include(kept, &includes)?;
    if all.is_empty() {
        let place = root.entry(&["sweep", "exclude"]).map_or(Span::start(), |entry| entry.key);
        let fault = sources.fault(Code::EmptySweep, place, "nothing is left of the sweep");
        let help = "leave a rule out, or name fewer values in it";
        choices.faults.push(fault.label("drops every combination").help(help));
        return None;
    }
    Some(grouped(all, &all_seeds))
}

/// The seeds of a file, the default where it states none that can be read, or no list, or an empty one.
fn seeds(root: &Tree) -> Vec<u64> {
    let stated = root.entry(&["seeds"]).map(|entry| &entry.tree.value);
    let Some(Value::Array(items)) = stated else { return vec![0] };
    if items.is_empty() {
        return vec![0]; // which has been reported
    }
    let seeds = items.iter().map(|item| match item.value {
        Value::Integer(seed) => u64::try_from(seed).unwrap_or_default(),
        _ => 0,
    });
    seeds.collect()
}

/// How many trials an experiment can have: the fewer, the more there is in each.
fn most_trials(root: &Tree, axes: usize) -> usize {
    let parts = stage_names(root).len().saturating_add(axes);
    MOST_TRIALS.min(MOST_PARTS / parts.max(1)).max(1)
}

fn too_many(root: &Tree, sources: &Sources, trials: &str, most: usize) -> Fault {
    let span = root.entry(&["sweep"]).map_or(Span::start(), |entry| entry.key);
    let why = if most < MOST_TRIALS { " of so many stages and axes" } else { "" };
    let message = format!("the sweep has {trials} trials, and {most}{why} is the most");
    let fault = sources.fault(Code::TooManyTrials, span, message);
    let help = "leave out values, or make several experiments";
    fault.label("too many combinations").help(help)
}

/// Trials, each as a choice.
struct Choices<'a> {
    /// How many points each axis has of its own, and how many seeds there are.
    extents: Vec<usize>,
    /// How many trials there can be.
    most: usize,
    root: &'a Tree,
    sources: &'a Sources,
    faults: &'a mut Vec<Fault>,
}

impl Choices<'_> {
    /// The trials of the whole sweep that no rule drops. A rule that drops nothing is reported; none
    /// where looking would take too long.
    ///
    /// Rules that name the same axes are looked up together, so that their number costs nothing.
    fn exclude(&mut self, rules: &[Rule]) -> Option<Vec<Choice>> {
        let mut groups: IndexMap<Vec<usize>, HashMap<Choice, usize>> = IndexMap::new();
        let mut work: usize = 0;
        for (number, rule) in rules.iter().enumerate().filter(|(_, rule)| !rule.is_void) {
            let axes = rule.picks.keys().copied().collect();
            let group = groups.entry(axes).or_default();
            let picks: Vec<&[usize]> = rule.picks.values().map(Vec::as_slice).collect();
            work = work.saturating_add(product(&picks));
            self.bear(work, rule)?;
            for choice in choices_of(&picks) {
                group.entry(choice).or_insert(number);
            }
        }
        let trials: usize = self.extents.iter().product();
        let looks = groups.keys().map(Vec::len).fold(self.extents.len(), usize::saturating_add);
        if let Some(last) = rules.last() {
            self.bear(work.saturating_add(looks.saturating_mul(trials)), last)?;
        }
        let mut used = HashSet::new();
        let dropped_by = |choice: &Choice| {
            let hits = groups.iter().filter_map(|(axes, group)| {
                let part: Choice = axes.iter().map(|&axis| choice[axis]).collect();
                group.get(&part)
            });
            hits.min().copied()
        };
        let kept = combinations(self.extents.clone()).filter(|choice| {
            let rule = dropped_by(choice);
            used.extend(rule);
            rule.is_none()
        });
        let kept = kept.collect();
        for (number, rule) in rules.iter().enumerate() {
            if !rule.is_void && !used.contains(&number) {
                self.faults.push(self.idle(
                    rule,
                    "a rule of `exclude` drops nothing that those before it leave",
                    "its combinations are dropped already",
                ));
            }
        }
        Some(kept)
    }

    /// Adds the trials of rules behind the others; none where they become too many.
    fn include(&mut self, mut all: Vec<Choice>, rules: &[Rule]) -> Option<Vec<Choice>> {
        if rules.is_empty() {
            return Some(all);
        }
        let own: Vec<Vec<usize>> =
            self.extents.iter().map(|&extent| (0..extent).collect()).collect();
        let mut present: HashSet<Choice> = all.iter().cloned().collect();
        let mut work: usize = 0;
        for rule in rules.iter().filter(|rule| !rule.is_void) {
            let picks = own.iter().enumerate();
            let picks: Vec<&[usize]> =
                picks.map(|(axis, own)| rule.picks.get(&axis).unwrap_or(own).as_slice()).collect();
            work = work.saturating_add(product(&picks).saturating_mul(picks.len()));
            self.bear(work, rule)?;
            let before = all.len();
            all.extend(choices_of(&picks).filter(|choice| present.insert(choice.clone())));
            if all.len() == before {
                self.faults.push(self.idle(
                    rule,
                    "a rule of `include` adds nothing",
                    "already in the sweep",
                ));
            }
            if all.len() > self.most {
                let trials = format!("more than {}", self.most);
                self.faults.push(too_many(self.root, self.sources, &trials, self.most));
                return None;
            }
        }
        Some(all)
    }

    fn idle(&self, rule: &Rule, message: &str, label: &str) -> Fault {
        let fault = self.sources.fault(Code::IdleRule, rule.span, message);
        fault.label(label).help("leave it out")
    }

    fn bear(&mut self, work: usize, rule: &Rule) -> Option<()> {
        if work <= MOST_WORK {
            return Some(());
        }
        let message = "the rules of the sweep name too many combinations";
        let fault = self.sources.fault(Code::TooManyTrials, rule.span, message);
        let help = "name fewer in `exclude` and `include`, or make several experiments";
        self.faults.push(fault.label("too many together with those before").help(help));
        None
    }
}

/// Trials that differ in their seed alone and follow each other are one combination.
fn grouped(choices: Vec<Choice>, seeds: &[u64]) -> Vec<Arm> {
    let mut arms: Vec<Arm> = Vec::new();
    for mut points in choices {
        let seed = points.pop().map_or(0, |seed| seeds[seed]);
        match arms.last_mut() {
            Some(last) if last.points == points => last.seeds.push(seed),
            _ => arms.push(Arm { points, seeds: vec![seed] }),
        }
    }
    arms
}

fn product(picks: &[&[usize]]) -> usize {
    picks.iter().map(|picks| picks.len()).fold(1, usize::saturating_mul)
}

/// Every combination of one of each list, the first outermost.
fn choices_of<'a>(picks: &'a [&'a [usize]]) -> impl Iterator<Item = Choice> + 'a {
    let extents: Vec<usize> = picks.iter().map(|picks| picks.len()).collect();
    combinations(extents).map(move |mut digits| {
        digits.iter_mut().zip(picks).for_each(|(digit, picks)| *digit = picks[*digit]);
        digits
    })
}

/// Every combination of one index for each extent, the first extent outermost.
fn combinations(extents: Vec<usize>) -> impl Iterator<Item = Choice> {
    let count: usize = extents.iter().product();
    let mut digits = vec![0; extents.len()];
    (0..count).map(move |number| {
        if number > 0 {
            for (digit, extent) in digits.iter_mut().zip(&extents).rev() {
                *digit = (*digit + 1) % extent;
                if *digit > 0 {
                    break;
                }
            }
        }
        digits.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_axis_is_outermost() {
        let all: Vec<_> = combinations(vec![2, 3]).collect();
        assert_eq!(all, [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]);
        assert_eq!(combinations(Vec::new()).count(), 1);
    }
}
