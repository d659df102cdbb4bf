//! What `--set` does to a sweep: the key that it sets has that value in every trial.

use super::super::fault::{Code, Fault, Sources, Span};
use super::super::path::{expand, join, overlap, segments};
use super::super::spec;
use super::super::tree::{Table, Tree, Value};
use super::claims::{choose_differently, common};
use super::named::{LABEL, is_named};

/// What happens to one axis.
enum Change {
    /// The axis leaves the sweep.
    Leaves,
    /// These settings leave its points.
    Loses(Vec<String>),
}

/// Takes a key out of the sweep that has just been set.
///
/// A plain axis of the key, of one inside or around it, leaves the sweep. The points of a named axis
/// lose their settings of the key, or of keys inside it, and keep the others; without any it leaves
/// too. Rules that name an axis which left go with it, except that a rule which names the very value
/// that was set goes on without that axis.
///
/// # Errors
/// If the key lies inside a setting of a point, or in another alternative than a setting of one: then the
/// two contradict each other.
pub(in super::super) fn release(
    root: &mut Tree,
    path: &[String],
    key: Span,
    sources: &Sources,
) -> Result<(), Box<Fault>> {
    let changes = changes(root, path, key, sources)?;
    let value = root.entry(path).map(|entry| entry.tree.clone());
    let Value::Table(table) = &mut root.value else { return Ok(()) };
    let sweep = table.get_mut("sweep").map(|entry| &mut entry.tree.value);
    let Some(Value::Table(sweep)) = sweep else { return Ok(()) };
    for (axis, change) in changes {
        match change {
            Change::Loses(lost) => lose(sweep, &axis, &lost),
            Change::Leaves => {
                sweep.shift_remove(&axis);
                let is_the_key = segments(&axis).is_some_and(|short| {
                    let keys = path.iter().take(2).skip(1).chain(path.iter().skip(3));
                    short.iter().map(|(key, _)| key).eq(keys)
                });
                drop_rules(sweep, &axis, value.as_ref().filter(|_| is_the_key));
            }
        }
    }
    Ok(())
}

fn changes(
    root: &Tree,
    path: &[String],
    set: Span,
    sources: &Sources,
) -> Result<Vec<(String, Change)>, Box<Fault>> {
    let sweep = root.entry(&["sweep"]).and_then(|entry| entry.tree.table());
    let mut changes = Vec::new();
    for (axis, entry) in sweep.into_iter().flatten() {
        if spec::Sweep::RULES.contains(&axis.as_str()) {
            continue;
        }
        if !is_named(axis, &entry.tree) {
            let own = segments(axis).and_then(|short| expand(root, &short));
            if own.is_some_and(|own| overlap(&own, path)) {
                changes.push((axis.clone(), Change::Leaves));
            }
            continue;
        }
        let mut lost: Vec<String> = Vec::new();
        let mut is_left = false;
        let Value::Array(points) = &entry.tree.value else { continue };
        let settings = points.iter().filter_map(Tree::table).flatten();
        for (key, setting) in settings.filter(|(key, _)| *key != LABEL) {
            let own = segments(key).and_then(|short| expand(root, &short));
            match own {
                Some(own) if own.starts_with(path) => lost.push(key.clone()),
                Some(own) if path.starts_with(&own) || choose_differently(path, &own) => {
                    let shared = &path[..common(path, &own)];
                    let contradiction = Contradiction { axis, key, point: setting.key, shared };
                    return Err(Box::new(contradiction.fault(sources, set)));
                }
                _ => is_left = true,
            }
        }
        if !lost.is_empty() {
            let change = if is_left { Change::Loses(lost) } else { Change::Leaves };
            changes.push((axis.clone(), change));
        }
    }
    Ok(changes)
}

/// A setting in a point that a `--set` cannot hold beside.
struct Contradiction<'a> {
    axis: &'a str,
    key: &'a str,
    point: Span,
    /// What the two paths share.
    shared: &'a [String],
}

impl Contradiction<'_> {
    fn fault(&self, sources: &Sources, set: Span) -> Fault {
        let Self { axis, key, point, shared } = self;
        let written = sources.quote(set);
        let message =
            format!("--set {written} contradicts the axis `{axis}`, whose points set `{key}`");
        let fault = sources.fault(Code::SetInAxis, set, message);
        let fault = fault.label(format!("cannot hold beside `{key}`"));
        let fault = fault.note(sources, *point, "set here");
        // A key of an axis leaves out the kind.
        let keys: Vec<_> = shared.iter().skip(1).take(1).chain(shared.iter().skip(3)).collect();
        let whole = join(&keys);
        fault.help(format!(
            "set all of `{whole}`, which takes it out of the points, or give the axis other points: --set 'sweep.{axis}=[{{ label = \"…\", \"{whole}\" = … }}]'"
        ))
    }
}

fn lose(sweep: &mut Table, axis: &str, lost: &[String]) {
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
