//! `--set KEY=VALUE`: changes an experiment before it is checked, as if the file said so.
//!
//! The key is a path from the root (`seeds`, `stage.thin.prune.sparsity`) or starts with a stage's
//! name and leaves out the kind (`thin.sparsity`). The value is TOML; a bare word that is none is
//! taken as a string; variables in it are written out. A key that names another alternative than the
//! file (`optimizer.adam` where the file says `sgd`) replaces the alternative with all its settings. What
//! is set has its value in every trial: `sweep::release` says what becomes of axes that set it too.
//! `vars.NAME` sets a variable.

use std::ops::Range;

use toml::de::DeValue;

use super::compose::give_way;
use super::fault::{Code, Fault, Sources, Span, list, nearest};
use super::grammar::{EXPERIMENT, Rule};
use super::path::{Segment, expand, segments, stage_names};
use super::sources::Kind;
use super::sweep::{Statement, release};
use super::tree::{Entry, Tree, Value};

/// One `--set`, read and not yet applied.
#[derive(Debug)]
pub(super) struct Set {
    source: usize,
    /// The key as it is written.
    short: Vec<Segment>,
    pub(super) value: Tree,
}

impl Set {
    /// Whether it sets a variable.
    pub(super) fn is_of_vars(&self) -> bool {
        self.short[0].0 == "vars"
    }

    /// Sets a variable.
    pub(super) fn apply_to_vars(self, vars: &mut Tree) {
        let steps = self.short.into_iter().skip(1);
        let steps: Vec<_> =
            steps.map(|(key, range)| (key, Span::new(self.source, range))).collect();
        insert(vars, None, &steps, self.value);
    }
}

/// Reads every `--set`; what cannot be read is reported and left out.
pub(super) fn parse(sources: &mut Sources, texts: &[String]) -> (Vec<Set>, Vec<Fault>) {
    let (mut sets, mut faults) = (Vec::new(), Vec::new());
    for text in texts {
        let source = sources.add(Kind::Set, "--set", text);
        match parse_one(sources, source) {
            Ok(set) => sets.push(set),
            Err(fault) => faults.push(*fault),
        }
    }
    (sets, faults)
}

fn parse_one(sources: &Sources, source: usize) -> Result<Set, Box<Fault>> {
    let text = sources.text(source);
    let Some((equals, short)) = split(text) else {
        let form = "write KEY=VALUE: `thin.sparsity=0.8`, `seeds=[0, 1]`, `stage.thin.prune.scope=\"layer\"`";
        let message = format!("`--set {text}` is not KEY=VALUE");
        let fault = ill_formed(sources, source, 0..text.len(), message);
        return Err(Box::new(fault.label("no key and value").help(form)));
    };
    let value = value(text, equals + 1, source, sources)?;
    Ok(Set { source, short, value })
}

fn ill_formed(sources: &Sources, source: usize, range: Range<usize>, message: String) -> Fault {
    sources.fault(Code::IllFormedSet, Span::new(source, range), message)
}

/// Applies every `--set` in order; what cannot be applied is reported and left out.
pub(super) fn apply(root: &mut Tree, sources: &Sources, sets: Vec<Set>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for set in sets {
        match apply_one(root, sources, set) {
            Ok(found) => faults.extend(found),
            Err(fault) => faults.push(*fault),
        }
    }
    faults
}

/// Applies one `--set`; the faults of a sweep that contradicts it.
fn apply_one(root: &mut Tree, sources: &Sources, set: Set) -> Result<Vec<Fault>, Box<Fault>> {
    let Set { source, short, value } = set;
    let path = whole_path(root, sources, source, &short)?;
    // The short form adds `stage` in front and the kind behind the first key.
    let added = path.len() - short.len();
    let span = |index: usize| {
        let (_, range) = &short[if added == 0 { index } else { index.saturating_sub(added) }];
        Span::new(source, range.clone())
    };
    let steps: Vec<_> = path.iter().cloned().enumerate().map(|(i, key)| (key, span(i))).collect();
    insert(root, Some(&EXPERIMENT), &steps, value);
    if path[0] == "sweep" {
        return Ok(Vec::new());
    }
    let key = Span::new(source, short[0].1.start..short[short.len() - 1].1.end);
    Ok(release(root, Statement::Set { path: &path, key }, sources))
}

/// The path from the root that a key means.
fn whole_path(
    root: &Tree,
    sources: &Sources,
    source: usize,
    short: &[Segment],
) -> Result<Vec<String>, Box<Fault>> {
    let (first, place) = &short[0];
    let is_of_file = |key: &&str| ["extends", "without"].contains(key);
    if is_of_file(&first.as_str()) {
        let message = format!("`{first}` can be stated in a file alone");
        let fault = ill_formed(sources, source, place.clone(), message).label("cannot be set");
        return Err(Box::new(fault.help("write a file that extends this one")));
    }
    let keys: Vec<&str> = EXPERIMENT.keys().into_iter().filter(|key| !is_of_file(key)).collect();
    if keys.contains(&first.as_str()) {
        return Ok(short.iter().map(|(key, _)| key.clone()).collect());
    }
    if let Some(path) = expand(root, short) {
        return Ok(path);
    }
    let stages = stage_names(root);
    let names = || stages.iter().chain(&keys).copied();
    let label = nearest(first, names())
        .map_or("unknown".to_owned(), |near| format!("did you mean `{near}`?"));
    let message = format!("`{first}` is neither a stage nor a key of the file");
    let help = format!(
        "stages are {}\nkeys are {}",
        list(stages.iter().copied()),
        list(keys.iter().copied())
    );
    Err(Box::new(ill_formed(sources, source, place.clone(), message).label(label).help(help)))
}

/// Where the `=` is that ends the key, and the key.
fn split(text: &str) -> Option<(usize, Vec<Segment>)> {
    let mut signs = text.match_indices('=').map(|(index, _)| index);
    signs.find_map(|index| Some((index, segments(&text[..index])?)))
}

/// The value behind the `=`, whose places are those in the whole text.
fn value(text: &str, start: usize, source: usize, sources: &Sources) -> Result<Tree, Box<Fault>> {
    let written = &text[start..];
    let (parsed, errors) = DeValue::parse_recoverable(written);
    if errors.is_empty() {
        let mut tree = Tree::from_value(&parsed, source);
        tree.move_places(&|span| Span { start: span.start + start, end: span.end + start, ..span });
        return Ok(tree);
    }
    let word = written.trim();
    let is_toml = word.is_empty() || word.starts_with(['[', '{', '"', '\'']);
    if !is_toml {
        let from = start + (written.len() - written.trim_start().len());
        let span = Span::new(source, from..from + word.len());
        return Ok(Tree { value: Value::Text(word.to_owned()), span });
    }
    let span = Span::new(source, start..text.len());
    let message = format!("`--set {text}` has no value that is TOML");
    let label = errors.first().and_then(|error| error.message().split(',').next());
    let label = label.unwrap_or_default();
    Err(Box::new(sources.fault(Code::IllFormedSet, span, message).label(label)))
}

/// Sets the key of a path, whether or not it is stated; another alternative than the stated one
/// replaces it with all its settings.
pub(super) fn insert(tree: &mut Tree, rule: Option<&Rule>, path: &[(String, Span)], value: Tree) {
    let Some(((key, span), rest)) = path.split_first() else {
        *tree = value;
        return;
    };
    if tree.table().is_none() {
        *tree = Tree::empty(*span);
    }
    let Value::Table(table) = &mut tree.value else { return };
    give_way(table, rule, std::iter::once(key));
    let empty = || Entry { key: *span, tree: Tree::empty(*span) };
    let entry = table.entry(key.clone()).or_insert_with(empty);
    if rest.is_empty() {
        entry.key = *span;
    }
    insert(&mut entry.tree, rule.and_then(|rule| rule.get(key)), rest, value);
}
