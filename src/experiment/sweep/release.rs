//! What holds in every trial is swept by no axis: what becomes of a sweep under a `--set`, and under a file
//! that extends the one that has the sweep.

use std::collections::{HashMap, HashSet};

use super::super::compose::gives_way;
use super::super::fault::{Code, Fault, Sources, Span};
use super::super::grammar::{EXPERIMENT, What};
use super::super::path::{expand, join, segments};
use super::super::spec;
use super::super::tree::{Entry, Table, Tree, Value};
use super::named::{LABEL, is_named};
use super::set_keys::{choose_differently, common};

/// Who states values that hold in every trial.
#[derive(Clone, Copy)]
pub(in super::super) enum Statement<'a> {
    /// A `--set` that has been applied: the whole path of its key, and where the key stands.
    Set { path: &'a [String], key: Span },
    /// A file that is going to be laid over the sweep's. The axes that it states are its own.
    File(&'a Tree),
}

/// What is stated of a key that an axis sets.
#[derive(Clone, Copy)]
enum Says<'a> {
    Nothing,
    /// Its whole value; what that is, unless it is gone with another alternative.
    Whole(Option<&'a Tree>),
    /// A part of its value. Where that is said, and how many keys of the path lead to it.
    Part(Span, usize),
    /// Another alternative of a key on the way; the same.
    Other(Span, usize),
}

/// What happens to one axis.
enum Change {
    /// The axis leaves the sweep; of a plain one the value that its key has now.
    Leaves(Option<Tree>),
    /// These settings leave its points.
    Loses(HashSet<String>),
}

/// Takes out of the sweep what has just been stated.
///
/// A plain axis of a key that is stated, of one inside or around it, leaves the sweep. The points of a
/// named axis lose their settings of the key, or of keys inside it, and keep the others; without any it
/// leaves too. Rules and claims that name an axis which left go with it, except that one which names the
/// very value that was stated goes on without that axis.
///
/// A key that lies inside a setting of a point, or in another alternative than a setting of one, is a
/// fault: the two contradict each other.
pub(in super::super) fn release(
    root: &mut Tree,
    statement: Statement,
    sources: &Sources,
) -> Vec<Fault> {
    let mut faults = Vec::new();
    let changes = changes(root, statement, sources, &mut faults);
    for (axis, change) in changes {
        let Some(sweep) = root.table_mut(&["sweep"]) else { return faults };
        match change {
            Change::Loses(lost) => lose(sweep, &axis, &lost),
            Change::Leaves(value) => {
                sweep.shift_remove(&axis);
                drop_mentions(root, &axis, value.as_ref());
            }
        }
    }
    faults
}

/// Drops the rules and claims that name an axis which has been left out.
pub(in super::super) fn forget(root: &mut Tree, axis: &str) {
    drop_mentions(root, axis, None);
}

impl<'a> Statement<'a> {
    /// What it says of a path.
    fn says(self, root: &'a Tree, path: &[String]) -> Says<'a> {
        match self {
            Self::File(file) => Says::of_file(file, root, path),
            Self::Set { path: set, .. } if path.starts_with(set) => {
                Says::Whole(root.entry(path).map(|entry| &entry.tree))
            }
            Self::Set { path: set, key } if set.starts_with(path) => Says::Part(key, path.len()),
            Self::Set { path: set, key } if choose_differently(set, path) => {
                Says::Other(key, common(set, path))
            }
            Self::Set { .. } => Says::Nothing,
        }
    }

    /// Whether an axis is stated by it, too.
    fn has(self, axis: &str) -> bool {
        matches!(self, Self::File(file) if file.entry(&["sweep", axis]).is_some())
    }
}

impl<'a> Says<'a> {
    fn of_file(file: &'a Tree, root: &Tree, path: &[String]) -> Self {
        let (mut above, mut below, mut rule) = (file, Some(root), Some(&*EXPERIMENT));
        let mut place = Span::start();
        for (depth, key) in path.iter().enumerate() {
            let Some(table) = above.table() else { return Self::Whole(None) };
            let under = below.and_then(Tree::table);
            let Some(Entry { key: span, tree }) = table.get(key) else {
                return match rule.map(|rule| &rule.what) {
                    _ if under.is_some_and(|under| gives_way(under, rule, table.keys())) => {
                        Self::Whole(None)
                    }
                    Some(What::OneOf(known)) if table.keys().any(|key| known.contains_key(key)) => {
                        Self::Other(place, depth)
                    }
                    _ => Self::Nothing,
                };
            };
            (above, place) = (tree, *span);
            below = under.and_then(|under| under.get(key)).map(|entry| &entry.tree);
            rule = rule.and_then(|rule| rule.get(key));
        }
        match (above.table(), below.and_then(Tree::table)) {
            (Some(table), Some(under)) if !gives_way(under, rule, table.keys()) => {
                Self::Part(place, path.len())
            }
            _ => Self::Whole(Some(above)),
        }
    }
}

/// What happens to each axis; a contradiction is a fault, the first of each axis alone.
fn changes(
    root: &Tree,
    statement: Statement,
    sources: &Sources,
    faults: &mut Vec<Fault>,
) -> Vec<(String, Change)> {
    let sweep = root.entry(&["sweep"]).and_then(|entry| entry.tree.table());
    let is_rule = |axis: &str| spec::Sweep::RULES.contains(&axis);
    let axes = sweep.into_iter().flatten();
    let axes = axes.filter(|(axis, _)| !is_rule(axis) && !statement.has(axis));
    let mut changes = Vec::new();
    for (axis, entry) in axes {
        let change = if is_named(axis, &entry.tree) {
            change_of_named(axis, &entry.tree, root, statement).unwrap_or_else(|contradiction| {
                faults.push(contradiction.fault(sources, statement));
                None
            })
        } else {
            change_of_plain(axis, root, statement)
        };
        changes.extend(change.map(|change| (axis.clone(), change)));
    }
    changes
}

fn change_of_plain(axis: &str, root: &Tree, statement: Statement) -> Option<Change> {
    let path = segments(axis).and_then(|short| expand(root, &short))?;
    match statement.says(root, &path) {
        Says::Whole(value) => Some(Change::Leaves(value.cloned())),
        Says::Part(..) => Some(Change::Leaves(None)),
        Says::Other(..) | Says::Nothing => None,
    }
}

fn change_of_named<'a>(
    axis: &'a str,
    points: &'a Tree,
    root: &Tree,
    statement: Statement,
) -> Result<Option<Change>, Contradiction<'a>> {
    let Value::Array(points) = &points.value else { return Ok(None) };
    // Points set the same keys, most of the time.
    let mut seen: HashMap<&str, bool> = HashMap::new();
    let settings = points.iter().filter_map(Tree::table).flatten();
    for (key, setting) in settings.filter(|(key, _)| *key != LABEL) {
        if seen.contains_key(key.as_str()) {
            continue;
        }
        let path = segments(key).and_then(|short| expand(root, &short)).unwrap_or_default();
        let is_lost = match statement.says(root, &path) {
            _ if path.is_empty() => false,
            Says::Whole(_) => true,
            Says::Nothing => false,
            Says::Part(place, depth) | Says::Other(place, depth) => {
                let point = setting.key;
                return Err(Contradiction { axis, key, point, place, path, depth });
            }
        };
        seen.insert(key, is_lost);
    }
    let is_left = seen.values().any(|is_lost| !is_lost);
    let lost = seen.into_iter().filter(|(_, is_lost)| *is_lost).map(|(key, _)| key.to_owned());
    let lost: HashSet<String> = lost.collect();
    let is_any = !lost.is_empty();
    let change = if is_left { Change::Loses(lost) } else { Change::Leaves(None) };
    Ok(is_any.then_some(change))
}

/// A setting in a point that what is stated cannot hold beside.
struct Contradiction<'a> {
    axis: &'a str,
    key: &'a str,
    point: Span,
    /// Where the other is stated.
    place: Span,
    /// The path of the setting, and how many of its keys the other shares.
    path: Vec<String>,
    depth: usize,
}

impl Contradiction<'_> {
    fn fault(&self, sources: &Sources, statement: Statement) -> Fault {
        let Self { axis, key, point, place, path, depth } = self;
        // A key of an axis leaves out the kind.
        let shared = &path[..*depth];
        let whole: Vec<_> = shared.iter().skip(1).take(1).chain(shared.iter().skip(3)).collect();
        let whole = join(&whole);
        let (what, help) = match statement {
            Statement::Set { .. } => (
                format!("--set {}", sources.quote(*place)),
                format!(
                    "set all of `{whole}`, which takes it out of the points, or give the axis other points: --set 'sweep.{axis}=[{{ label = \"…\", \"{whole}\" = … }}]'"
                ),
            ),
            Statement::File(_) => (
                format!("what this file states of `{whole}`"),
                format!(
                    "leave the axis out, without = [\"sweep.{axis}\"], or give it other points: [[sweep.{axis}]]"
                ),
            ),
        };
        let message = format!("{what} contradicts the axis `{axis}`, whose points set `{key}`");
        let fault = sources.fault(Code::SetInAxis, *place, message);
        let fault = fault.label(format!("cannot hold beside `{key}`"));
        fault.note(sources, *point, "set here").help(help)
    }
}

fn lose(sweep: &mut Table, axis: &str, lost: &HashSet<String>) {
    let Some(Value::Array(points)) = sweep.get_mut(axis).map(|entry| &mut entry.tree.value) else {
        return;
    };
    for point in points {
        if let Value::Table(point) = &mut point.value {
            point.retain(|key, _| !lost.contains(key));
        }
    }
}

/// Drops the rules that name an axis which left, or the axis alone where they name its value.
fn drop_mentions(root: &mut Tree, axis: &str, value: Option<&Tree>) {
    if let Some(sweep) = root.table_mut(&["sweep"]) {
        drop_rules(sweep, axis, value);
    }
    let claims = root.table_mut(&[]).and_then(|root| root.get_mut("claim"));
    if let Some(Value::Array(claims)) = claims.map(|entry| &mut entry.tree.value) {
        claims
            .retain_mut(|claim| ["of", "than"].iter().all(|key| is_left(claim, key, axis, value)));
    }
}

/// Whether results that a claim names are still there; an axis with the value that was stated is taken out.
fn is_left(claim: &mut Tree, key: &str, axis: &str, value: Option<&Tree>) -> bool {
    let named = claim.table_mut(&[key, "where"]);
    let Some(said) = named.and_then(|named| named.shift_remove(axis)) else { return true };
    value.is_some_and(|value| said.tree.equals(value))
}

fn drop_rules(sweep: &mut Table, axis: &str, value: Option<&Tree>) {
    for key in spec::Sweep::RULES {
        let Some(entry) = sweep.get_mut(key) else { continue };
        let Value::Array(rules) = &mut entry.tree.value else { continue };
        rules.retain_mut(|rule| {
            let Value::Table(rule) = &mut rule.value else { return true };
            let Some(named) = rule.shift_remove(axis) else { return true };
            let is_named = value.is_some_and(|value| names(&named.tree, value));
            is_named && !rule.is_empty()
        });
    }
}

/// Whether what a rule says of an axis is a value, or has it in a list.
fn names(said: &Tree, value: &Tree) -> bool {
    let items = match &said.value {
        Value::Array(items) => items.as_slice(),
        _ => &[],
    };
    said.equals(value) || items.iter().any(|item| item.equals(value))
}
