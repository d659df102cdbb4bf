//! Lays an experiment over what it extends.
//!
//! What the upper file is `without` goes first. Then tables are merged key by key; whatever else the
//! upper file states replaces what the lower says, and so does another alternative of a choice, with
//! all its settings. What the upper file states takes the lower's axes over it out of the sweep, as
//! `sweep::release` says.

use std::collections::HashSet;

use crate::experiment::fault::{Code, Fault, Sources, Span, list, nearest};
use crate::experiment::grammar::{EXPERIMENT, Rule, What};
use crate::experiment::path::{join, segments};
use crate::experiment::sweep::{Statement, forget, release};
use crate::experiment::tree::{Table, Tree, Value};

/// A path of keys that is to be left out, and where a file says so.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) path: String,
    pub(super) span: Span,
}

/// One file, with its variables written out.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) tree: Tree,
    pub(super) without: Vec<Left>,
}

/// All layers as one, each laid over those before it; and what cannot be left out.
pub(super) fn merge(layers: Vec<Layer>, sources: &Sources) -> (Tree, Vec<Fault>) {
    let mut merged = Tree::empty(Span::start());
    let mut faults = Vec::new();
    // A file can be without what another has left out already.
    let mut gone = HashSet::new();
    for Layer { tree, without } in layers {
        for left in without {
            faults.extend(leave_out(&mut merged, left, &mut gone, sources));
        }
        faults.extend(release(&mut merged, Statement::File(&tree), sources));
        lay_over(&mut merged, tree, Some(&EXPERIMENT));
    }
    (merged, faults)
}

fn lay_over(below: &mut Tree, above: Tree, rule: Option<&Rule>) {
    let (Value::Table(table), Value::Table(_)) = (&mut below.value, &above.value) else {
        *below = above;
        return;
    };
    let Value::Table(stated) = above.value else { return };
    give_way(table, rule, stated.keys());
    for (key, entry) in stated {
        let rule = rule.and_then(|rule| rule.get(&key));
        let Some(old) = table.get_mut(&key) else {
            table.insert(key, entry);
            continue;
        };
        if old.tree.table().is_none() || entry.tree.table().is_none() {
            old.key = entry.key;
        }
        lay_over(&mut old.tree, entry.tree, rule);
    }
}

/// Empties a choice for which another alternative is stated: the settings of the old one go with it.
pub(in crate::experiment) fn give_way<'a>(
    table: &mut Table,
    rule: Option<&Rule>,
    stated: impl Iterator<Item = &'a String>,
) {
    if gives_way(table, rule, stated) {
        table.clear();
    }
}

/// Whether the keys that are stated over a table choose another alternative.
pub(in crate::experiment) fn gives_way<'a>(
    table: &Table,
    rule: Option<&Rule>,
    mut stated: impl Iterator<Item = &'a String>,
) -> bool {
    let Some(Rule { what: What::OneOf(alternatives), .. }) = rule else { return false };
    // A misspelt alternative replaces nothing: it is a fault, and the old one is none.
    stated.any(|key| alternatives.contains_key(key) && !table.contains_key(key))
}

/// Leaves one thing out of what a file extends.
fn leave_out(
    merged: &mut Tree,
    left: Left,
    gone: &mut HashSet<Vec<String>>,
    sources: &Sources,
) -> Option<Fault> {
    let Left { path: text, span } = left;
    let Some(short) = segments(&text) else {
        let message = format!("`without` takes paths of keys, and {text:?} is none");
        let fault = sources.fault(Code::NothingLeftOut, span, message);
        return Some(
            fault.label("no path").help("write \"stage.thin\" or \"sweep.thin.sparsity\""),
        );
    };
    let mut path: Vec<String> = short.into_iter().map(|(key, _)| key).collect();
    if path[0] == "sweep" && path.len() > 2 {
        // An axis is one key, written like a path.
        path = vec!["sweep".to_owned(), join(&path[1..])];
    }
    if (1..=path.len()).any(|length| gone.contains(&path[..length])) {
        return None;
    }
    let mut tree = &mut *merged;
    for (index, key) in path.iter().enumerate() {
        let is_last = index + 1 == path.len();
        let place = sources.part(span, &text, 0..text.len());
        let Value::Table(table) = &mut tree.value else {
            return Some(nothing(&text, key, &path[..index], None, place, sources));
        };
        if !table.contains_key(key) {
            return Some(nothing(&text, key, &path[..index], Some(table), place, sources));
        }
        if is_last {
            table.shift_remove(key);
            break;
        }
        tree = &mut table.get_mut(key)?.tree;
    }
    if let [first, axis] = path.as_slice()
        && first == "sweep"
    {
        forget(merged, axis);
    }
    gone.insert(path);
    None
}

fn nothing(
    text: &str,
    key: &str,
    way: &[String],
    table: Option<&Table>,
    span: Span,
    sources: &Sources,
) -> Fault {
    let whose = match way {
        [] => "what this file extends".to_owned(),
        way => format!("`{}`", join(way)),
    };
    let message = format!("`{text}` cannot be left out: {whose} has no `{key}`");
    let fault = sources.fault(Code::NothingLeftOut, span, message);
    let names = || table.into_iter().flat_map(|table| table.keys().map(String::as_str));
    let fault = match nearest(key, names()) {
        Some(near) => fault.label(format!("did you mean `{near}`?")),
        None => fault.label("is not there"),
    };
    match names().count() {
        0 => fault.help("leave it out of `without`"),
        1..=20 => fault.help(format!("{whose} has {}", list(names()))),
        count => fault.help(format!("{whose} has {count} other keys")),
    }
}
