//! The sweep: its axes, where each leads, and the combinations that there are of their points.
//!
//! An axis is a list of points. A point of a plain axis sets one key, a point of a named one several
//! together. Whatever follows works with points alone.

mod arms;
mod key;
mod named;
mod release;
mod rules;
mod set_keys;

pub(super) use release::{Statement, forget, release};

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use indexmap::IndexSet;

use super::check::Walker;
use super::fault::{Code, Fault, Sources, Span};
use super::grammar::EXPERIMENT;
use super::spec;
use super::tree::{Entry, Tree, Value};
use super::trial::label;
use key::{Key, Resolver};
use set_keys::SetKeys;

/// The axes of a file and the combinations of their points that it has.
#[derive(Debug)]
pub(super) struct Sweep {
    pub(super) axes: Vec<Axis>,
    pub(super) arms: Vec<Arm>,
}

/// One axis whose keys and values are legal.
#[derive(Debug)]
pub(super) struct Axis {
    /// The key as the file writes it.
    pub(super) name: String,
    pub(super) key: Span,
    /// The whole path of a plain axis: `stage`, its name, its kind, and on.
    path: Option<Vec<String>>,
    pub(super) points: Vec<Point>,
    /// How many points the axis has of its own; those behind them are named in `include` alone.
    swept: usize,
    /// The stages that a point sets a key of.
    pub(super) stages: IndexSet<Rc<str>>,
}

/// What an axis sets at once.
#[derive(Debug)]
pub(super) struct Point {
    /// What trials show for it: the value of a plain axis, the label of a named one.
    pub(super) shown: Tree,
    /// The same as tables write it.
    pub(super) label: String,
    pub(super) settings: Vec<Setting>,
}

/// One key of a stage and its value.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) stage: Rc<str>,
    /// The way from the stage's own table on, its kind first, with the place that each key is stated at.
    pub(super) steps: Rc<[(String, Span)]>,
    pub(super) value: Tree,
}

/// One combination of a point of each axis, and the seeds that it runs with.
#[derive(Debug, Clone)]
pub(super) struct Arm {
    /// The index of each axis' point.
    pub(super) points: Vec<usize>,
    pub(super) seeds: Vec<u64>,
}

impl Axis {
    fn new(entry: &Entry, name: &str, path: Option<Vec<String>>, points: Vec<Point>) -> Self {
        let stages = points.iter().flat_map(|point| &point.settings);
        let stages = stages.map(|setting| Rc::clone(&setting.stage)).collect();
        Self { name: name.to_owned(), key: entry.key, path, swept: points.len(), points, stages }
    }

    /// Whether its points are values of one key; else they have labels.
    pub(super) fn is_plain(&self) -> bool {
        self.path.is_some()
    }
}

impl Point {
    /// A point that sets the one key of a plain axis.
    fn plain(value: &Tree, stage: &Rc<str>, steps: &Rc<[(String, Span)]>) -> Self {
        let (stage, steps) = (Rc::clone(stage), Rc::clone(steps));
        let setting = Setting { stage, steps, value: value.clone() };
        Self { label: shown(value), shown: value.clone(), settings: vec![setting] }
    }
}

/// The sweep of a file; the axes and rules with faults are reported and left out. None where it has no
/// combination, or too many.
pub(super) fn read(root: &Tree, sources: &Sources) -> (Option<Sweep>, Vec<Fault>) {
    let set_keys = SetKeys::default();
    let mut reader =
        Reader { root, sources, set_keys, overlapping: HashSet::new(), faults: Vec::new() };
    let table = root.entry(&["sweep"]).and_then(|entry| entry.tree.table());
    let is_axis = |name: &str| !spec::Sweep::RULES.contains(&name);
    let entries = table.into_iter().flatten().filter(|(name, _)| is_axis(name));
    let mut axes: Vec<Axis> = entries
        .enumerate()
        .filter_map(|(number, (name, entry))| {
            // A list that is none, or empty, has been reported with the rest of the file.
            let Value::Array(items) = &entry.tree.value else { return None };
            if items.is_empty() {
                return None;
            }
            if name.contains('.') {
                reader.plain(number, name, entry, items)
            } else {
                reader.named(number, name, entry, items)
            }
        })
        .collect();
    let arms = arms::arms(root, sources, &mut axes, &mut reader.faults);
    for axis in &axes {
        reader.alike(axis);
    }
    (arms.map(|arms| Sweep { axes, arms }), reader.faults)
}

/// Reads axes one after the other.
struct Reader<'a> {
    root: &'a Tree,
    sources: &'a Sources,
    set_keys: SetKeys,
    /// Pairs of axes of which it has been reported that they set the same.
    overlapping: HashSet<(usize, usize)>,
    faults: Vec<Fault>,
}

impl<'a> Reader<'a> {
    fn plain(
        &mut self,
        number: usize,
        name: &str,
        entry: &'a Entry,
        values: &'a [Tree],
    ) -> Option<Axis> {
        let resolver = Resolver::of_axis(self.root, self.sources, name, entry.key);
        let key = match resolver.resolve().and_then(|key| resolver.stated(&key).map(|()| key)) {
            Ok(key) => key,
            Err(fault) => {
                self.faults.push(*fault);
                return None;
            }
        };
        let is_free = self.takes(number, name, &key.path, entry.key);
        if !is_free {
            return None;
        }
        let mut walker = Walker::new(self.sources);
        for value in values {
            walker.walk_at(self.root, &key.path, &EXPERIMENT, value);
        }
        let is_legal = walker.faults.is_empty();
        self.faults.append(&mut walker.faults);
        let Key { path, steps, stage } = key;
        let points = values.iter().map(|value| Point::plain(value, &stage, &steps)).collect();
        is_legal.then(|| Axis::new(entry, name, Some(path), points))
    }

    /// Notes that an axis sets the key of a path; reports where another does.
    fn takes(&mut self, number: usize, name: &str, path: &[String], span: Span) -> bool {
        let Some(conflict) = self.set_keys.add(path, number, span) else { return true };
        if !self.overlapping.insert((conflict.owner, number)) {
            return false;
        }
        let sweep = self.root.entry(&["sweep"]).and_then(|entry| entry.tree.table());
        let mut names = sweep.into_iter().flat_map(|table| table.keys());
        let is_axis = |name: &&String| !spec::Sweep::RULES.contains(&name.as_str());
        let other = names.by_ref().filter(is_axis).nth(conflict.owner).map_or("", String::as_str);
        let what = conflict.what();
        let message = format!("the axes `{other}` and `{name}` {what}");
        let fault = self.sources.fault(Code::OverlappingAxes, span, message);
        let fault = fault.label("overlaps with the other axis");
        let fault = fault.note(self.sources, conflict.span, "the other axis");
        let help = "leave one out, or put the settings of both into the values of one";
        self.faults.push(fault.help(help));
        false
    }

    /// Reports values of a plain axis that differ and look alike where they are shown.
    fn alike(&mut self, axis: &Axis) {
        if !axis.is_plain() {
            return;
        }
        let mut seen: HashMap<&str, &Tree> = HashMap::with_capacity(axis.points.len());
        for point in &axis.points {
            let Some(first) = seen.insert(&point.label, &point.shown) else { continue };
            if first.equals(&point.shown) {
                continue; // reported with the rest of the list
            }
            let message =
                format!("two values of `{}` are both shown as `{}`", axis.name, point.label);
            let fault = self.sources.fault(Code::LabelsAlike, point.shown.span, message);
            let fault = fault.label("looks like the other value in tables");
            let fault = fault.note(self.sources, first.span, "the other value");
            let key = &axis.name;
            self.faults.push(fault.help(format!(
                "make it a named axis: [[sweep.NAME]] with `label = \"…\"` and `\"{key}\" = …` for each value"
            )));
        }
    }
}

/// A value as tables write it.
fn shown(value: &Tree) -> String {
    value.read().map_or_else(|_| "…".to_owned(), |value| label(&value))
}

#[cfg(test)]
pub(super) mod tests;
