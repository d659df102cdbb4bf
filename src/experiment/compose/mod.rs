//! Puts an experiment together: its file, those that it extends, its variables, the `--set`s.
//!
//! Variables are gathered first: one of a file replaces that of its base, and `--set vars.NAME=…`
//! replaces both. Then they are written out in every file, and only then are the files laid over
//! each other: a value and a variable with that value are the same everywhere. At last come the
//! other `--set`s. All this happens before anything is typed.

mod bases;
mod merge;
mod vars;

pub use bases::{Alone, Files};
pub(super) use merge::{give_way, gives_way};
pub(super) use vars::escape;

use merge::{Layer, Left};
use vars::Expander;

use crate::experiment::check::Walker;
use crate::experiment::fault::{Fault, Sources, Span};
use crate::experiment::grammar::EXPERIMENT;
use crate::experiment::sets::{self, Set};
use crate::experiment::tree::{Entry, Table, Tree, Value};

/// An experiment in one piece.
#[derive(Debug)]
pub(super) struct Composed {
    pub(super) root: Tree,
    pub(super) faults: Vec<Fault>,
    /// Whether every file is there and TOML.
    pub(super) is_readable: bool,
    /// Whether every variable has a value.
    pub(super) is_known: bool,
    /// How many files it extends.
    pub(super) bases: usize,
}

/// Puts an experiment together.
pub(super) fn compose(sources: &mut Sources, files: &dyn Files, texts: &[String]) -> Composed {
    let bases::Layers { mut trees, mut faults } = bases::read(sources, files);
    // What is missing in a file that cannot be read is no fault of the others.
    let is_readable = faults.is_empty();
    let (sets, found) = sets::parse(sources, texts);
    faults.extend(found.into_iter().filter(|_| is_readable));
    let (mut vars, found) = take_vars(&mut trees, sources);
    faults.extend(found);
    let (without, found) = take_without(&mut trees, sources);
    faults.extend(found);
    let (of_vars, mut sets): (Vec<Set>, Vec<Set>) = sets.into_iter().partition(Set::is_of_vars);
    for set in of_vars {
        set.apply_to_vars(&mut vars);
    }
    faults.extend(check_part("vars", &vars, sources));

    let none = Table::new();
    let mut expander = Expander::new(vars.table().unwrap_or(&none), sources);
    for tree in trees.iter_mut().chain(sets.iter_mut().map(|set| &mut set.value)) {
        expander.expand(tree);
    }
    let (unknown, unused) = expander.finish();
    let is_known = unknown.is_empty();
    let bases = trees.len() - 1;
    let layers = trees.into_iter().zip(without);
    let layers = layers.map(|(tree, without)| Layer { tree, without }).collect();
    let (mut root, not_there) = merge::merge(layers, sources);
    if is_readable {
        faults.extend(unknown);
        faults.extend(unused);
        faults.extend(not_there);
        faults.extend(sets::apply(&mut root, sources, sets));
    }
    Composed { root, faults, is_readable, is_known, bases }
}

/// Takes `[vars]` out of the files; those of a file replace those of its bases.
fn take_vars(trees: &mut [Tree], sources: &Sources) -> (Tree, Vec<Fault>) {
    let mut vars = Table::new();
    let mut faults = Vec::new();
    for tree in trees {
        let Some(Entry { tree: own, .. }) = take(tree, "vars") else { continue };
        match own.value {
            Value::Table(own) => vars.extend(own),
            _ => faults.extend(check_part("vars", &own, sources)),
        }
    }
    (Tree { value: Value::Table(vars), span: Span::start() }, faults)
}

/// Takes `without` out of the files: each one's paths.
fn take_without(trees: &mut [Tree], sources: &Sources) -> (Vec<Vec<Left>>, Vec<Fault>) {
    let mut faults = Vec::new();
    let left = trees.iter_mut().map(|tree| {
        let Some(Entry { tree: own, .. }) = take(tree, "without") else { return Vec::new() };
        faults.extend(check_part("without", &own, sources));
        let Value::Array(items) = own.value else { return Vec::new() };
        let left = items.into_iter().filter_map(|item| match item.value {
            Value::Text(path) => Some(Left { path, span: item.span }),
            _ => None,
        });
        left.collect()
    });
    (left.collect(), faults)
}

fn take(tree: &mut Tree, key: &str) -> Option<Entry> {
    match &mut tree.value {
        Value::Table(table) => table.shift_remove(key),
        _ => None,
    }
}

/// Checks a part of a file that is taken out before the rest is checked.
fn check_part(key: &str, part: &Tree, sources: &Sources) -> Vec<Fault> {
    let root = Tree::empty(Span::start());
    let path = [key.to_owned()];
    let mut walker = Walker::new(sources);
    walker.walk_at(&root, &path, &EXPERIMENT, part);
    walker.faults
}

#[cfg(test)]
mod tests;
