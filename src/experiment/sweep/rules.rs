//! `[[sweep.exclude]]` and `[[sweep.include]]`: rules that name combinations.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use super::super::check::Walker;
use super::super::fault::{Code, Fault, Sources, Span, list, nearest};
use super::super::grammar::{EXPERIMENT, Rule as Grammar, What};
use super::super::tree::{Entry, Tree, Value};
use super::{Axis, Point};

/// Of so many names the nearest is looked for, and so many are listed.
const NAMES: usize = 100;

/// The combinations that a rule names: of each axis that it names, some points.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) span: Span,
    /// By axis; the seeds are the axis behind the last.
    pub(super) picks: BTreeMap<usize, Vec<usize>>,
    /// Whether it names a value that its axis has no more, since another text gave the axis others.
    pub(super) is_void: bool,
}

/// Reads rules; the axes grow by the values that rules of `include` add.
pub(super) struct Rules<'a> {
    root: &'a Tree,
    sources: &'a Sources,
    faults: &'a mut Vec<Fault>,
    names: HashMap<String, usize>,
    /// The points of each axis: by label, and plain ones by value.
    points: Vec<Index>,
    /// The same for the seeds, which the index behind that of the last axis stands for.
    pub(super) seeds: Vec<u64>,
    seeds_at: HashMap<u64, usize>,
}

#[derive(Default)]
struct Index {
    labels: HashMap<String, usize>,
    values: HashMap<String, usize>,
}

impl Index {
    fn add(&mut self, index: usize, point: &Point, is_plain: bool) {
        self.labels.entry(point.label.clone()).or_insert(index);
        if is_plain {
            self.values.entry(point.shown.normal()).or_insert(index);
        }
    }

    fn get(&self, value: &Tree) -> Option<usize> {
        let text = value.text().and_then(|text| self.labels.get(text));
        self.values.get(&value.normal()).or(text).copied()
    }
}

impl<'a> Rules<'a> {
    pub(super) fn new(
        root: &'a Tree,
        sources: &'a Sources,
        axes: &[Axis],
        seeds: Vec<u64>,
        faults: &'a mut Vec<Fault>,
    ) -> Self {
        let points = axes.iter().map(|axis| {
            let mut index = Index::default();
            for (at, point) in axis.points.iter().enumerate() {
                index.add(at, point, axis.is_plain());
            }
            index
        });
        let points = points.collect();
        let names = axes.iter().enumerate().map(|(at, axis)| (axis.name.clone(), at)).collect();
        let seeds_at = seeds.iter().enumerate().map(|(at, &seed)| (seed, at)).collect();
        Self { root, sources, faults, names, points, seeds, seeds_at }
    }

    /// The legal rules under a key of the sweep.
    pub(super) fn read(&mut self, key: &'static str, axes: &mut [Axis]) -> Vec<Rule> {
        let Some(entry) = self.root.entry(&["sweep", key]) else { return Vec::new() };
        let Value::Array(items) = &entry.tree.value else { return Vec::new() };
        items.iter().filter_map(|item| self.rule(key, item, axes)).collect()
    }

    /// One rule; none where it has faults, which are reported.
    fn rule(&mut self, key: &str, item: &'a Tree, axes: &mut [Axis]) -> Option<Rule> {
        let table = item.table().filter(|table| !table.is_empty())?;
        let mut rule = Rule { span: item.span, picks: BTreeMap::new(), is_void: false };
        let mut is_legal = true;
        for (name, entry) in table {
            let (index, depth) = if name == "seed" {
                (axes.len(), 0)
            } else if let Some(&index) = self.names.get(name) {
                let key = axes[index].path.as_ref().and_then(|path| EXPERIMENT.at(path));
                (index, key.map_or(0, rule_depth))
            } else {
                is_legal = false;
                self.unknown_axis(key, name, entry, axes);
                continue;
            };
            let values = match &entry.tree.value {
                Value::Array(items) if depth_of(&entry.tree) > depth => items.as_slice(),
                _ => std::slice::from_ref(&entry.tree),
            };
            if values.is_empty() {
                is_legal = false;
                self.no_value(name, entry);
            }
            let mut picks = Vec::new();
            for value in values {
                match self.pick(key, index, value, axes) {
                    Some(pick) => picks.push(pick),
                    None if self.is_foreign(index, value, axes) => {}
                    None => is_legal = false,
                }
            }
            rule.is_void |= picks.is_empty();
            picks.sort_unstable();
            picks.dedup();
            rule.picks.insert(index, picks);
        }
        is_legal.then_some(rule)
    }

    /// The point that a value of a rule means; a fault is reported where there is none.
    fn pick(
        &mut self,
        key: &str,
        index: usize,
        value: &'a Tree,
        axes: &mut [Axis],
    ) -> Option<usize> {
        let is_include = key == "include";
        let Some(axis) = axes.get_mut(index) else { return self.pick_seed(value, is_include) };
        if let Some(point) = self.points[index].get(value) {
            return Some(point);
        }
        if is_include && let Some(point) = self.new_point(axis, value)? {
            self.points[index].add(axis.points.len(), &point, true);
            axis.points.push(point);
            return Some(axis.points.len() - 1);
        }
        if !self.is_foreign(index, value, axes) {
            self.unknown_value(&axes[index], value, is_include);
        }
        None
    }

    /// A value that a plain axis does not have of its own. `Some(None)` where it cannot be meant as one,
    /// none where it is not legal, which is reported.
    #[expect(clippy::option_option, reason = "three outcomes, and two of them give no point")]
    fn new_point(&mut self, axis: &Axis, value: &'a Tree) -> Option<Option<Point>> {
        let rule = axis.path.as_ref().and_then(|path| EXPERIMENT.at(path));
        let (Some(path), Some(rule)) = (&axis.path, rule) else { return Some(None) };
        let is_label = value.text().is_some()
            && !matches!(rule.what, What::Text(_) | What::Choice(_) | What::Any);
        let setting = axis.points.first().and_then(|point| point.settings.first());
        let (false, Some(setting)) = (is_label, setting) else { return Some(None) };
        let mut walker = Walker::new(self.sources);
        walker.walk_at(self.root, path, &EXPERIMENT, value);
        if walker.faults.is_empty() {
            return Some(Some(Point::plain(value, &Rc::clone(&setting.stage), &setting.steps)));
        }
        self.faults.append(&mut walker.faults);
        None
    }

    fn pick_seed(&mut self, value: &Tree, is_include: bool) -> Option<usize> {
        let Value::Integer(number) = value.value else {
            let message = format!("`seed` takes an integer, not {}", value.type_name());
            let fault = self.sources.fault(Code::WrongType, value.span, message);
            self.faults.push(fault.label("no seed").help("write `seed = 0`, or `seed = [0, 1]`"));
            return None;
        };
        let seed = u64::try_from(number).ok();
        if let Some(&index) = seed.and_then(|seed| self.seeds_at.get(&seed)) {
            return Some(index);
        }
        if let Some(seed) = seed.filter(|_| is_include) {
            self.seeds_at.insert(seed, self.seeds.len());
            self.seeds.push(seed);
            return Some(self.seeds.len() - 1);
        }
        if !self.is_set("seeds", value) {
            let seeds: Vec<_> = self.seeds.iter().take(NAMES).map(u64::to_string).collect();
            let message = format!("the experiment has no seed {number}");
            let fault = self.sources.fault(Code::UnknownArm, value.span, message);
            let seeds = list(seeds.iter().map(String::as_str));
            self.faults.push(fault.label("none of its seeds").help(format!("seeds are {seeds}")));
        }
        None
    }

    /// Whether an axis has been given other values by another text than the one that has the rule: a
    /// `--set`, or a file that extends that one.
    fn is_foreign(&self, index: usize, value: &Tree, axes: &[Axis]) -> bool {
        match axes.get(index) {
            Some(axis) => self.sources.may_replace(axis.key, value.span),
            None => matches!(value.value, Value::Integer(_)) && self.is_set("seeds", value),
        }
    }

    fn is_set(&self, key: &str, value: &Tree) -> bool {
        let entry = self.root.entry(&[key]);
        entry.is_some_and(|entry| self.sources.may_replace(entry.tree.span, value.span))
    }

    fn unknown_axis(&mut self, key: &str, name: &str, entry: &Entry, axes: &[Axis]) {
        // An axis with faults of its own is known to the file.
        if self.root.entry(&["sweep", name]).is_some() && !super::spec::Sweep::RULES.contains(&name)
        {
            return;
        }
        let names = || axes.iter().take(NAMES).map(|axis| axis.name.as_str());
        let message = format!("a rule of `{key}` names no axis: there is no `{name}`");
        let fault = self.sources.fault(Code::UnknownArm, entry.key, message);
        let near = nearest(name, names().chain(["seed"]));
        let label =
            near.map_or("no such axis".to_owned(), |near| format!("did you mean `{near}`?"));
        let fault = fault.label(label);
        self.faults.push(match list(names()).as_str() {
            "" => fault.help("the sweep has no axis; `seed` can be named too"),
            names => fault.help(format!("axes are {names}; `seed` can be named too")),
        });
    }

    fn unknown_value(&mut self, axis: &Axis, value: &Tree, is_include: bool) {
        let quote = self.sources.short_quote(value.span, "such a value");
        let labels = || axis.points.iter().take(NAMES).map(|point| point.label.as_str());
        let what = if axis.is_plain() { "value" } else { "point" };
        let message = format!("the axis `{}` has no {what} {quote}", axis.name);
        let fault = self.sources.fault(Code::UnknownArm, value.span, message);
        let near = value.text().and_then(|text| nearest(text, labels()));
        let label = near
            .map_or(format!("no {what} of the axis"), |near| format!("did you mean \"{near}\"?"));
        let fault = fault.label(label).note(self.sources, axis.key, "the axis");
        let rest = axis.points.len().saturating_sub(NAMES);
        let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
        let whats = if axis.is_plain() { "values" } else { "labels" };
        let fault = fault.help(format!("{whats} are {}{rest}", list(labels())));
        self.faults.push(if is_include && !axis.is_plain() {
            fault.help("a rule of `include` can name points alone; add one to the axis")
        } else {
            fault
        });
    }

    fn no_value(&mut self, name: &str, entry: &Entry) {
        let message = format!("a rule names no value of `{name}`");
        let fault = self.sources.fault(Code::OutOfRange, entry.tree.span, message);
        let help = "name one value or several; an axis that a rule leaves out takes all its values";
        self.faults.push(fault.label("an empty list").help(help));
    }
}

/// How deep lists are nested in the values of a rule: 1 for a list of texts.
fn rule_depth(rule: &Grammar) -> usize {
    match &rule.what {
        What::List(list) => 1 + rule_depth(&list.items),
        _ => 0,
    }
}

/// How deep lists are nested in a value, by its first items.
fn depth_of(value: &Tree) -> usize {
    match &value.value {
        Value::Array(items) => 1 + items.first().map_or(0, depth_of),
        _ => 0,
    }
}
