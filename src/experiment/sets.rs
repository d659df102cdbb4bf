//! `--set KEY=VALUE`: changes an experiment before it is checked, as if the file said so.
//!
//! The key is a path from the root (`seeds`, `stage.thin.prune.sparsity`) or starts with a stage's
//! name and leaves out the kind (`thin.sparsity`). The value is TOML; a bare word that is none is
//! taken as a string. A key that names another alternative than the file (`optimizer.adam` where the
//! file says `sgd`) replaces the alternative with all its settings. What is set
//! has its value in every trial: `sweep::release` says what becomes of axes that set it too.

use toml::de::DeValue;

use super::fault::{Code, Fault, Sources, Span, list, nearest};
use super::grammar::{EXPERIMENT, Rule, What};
use super::path::{Segment, expand, segments, stage_names};
use super::sweep::release;
use super::tree::{Entry, Table, Tree, Value};

/// Applies every `--set` in order; what cannot be applied is reported and left out.
pub(super) fn apply(root: &mut Tree, sources: &Sources, count: usize) -> Vec<Fault> {
    (1..=count)
        .filter_map(|source| apply_one(root, sources, source).err().map(|fault| *fault))
        .collect()
}

fn apply_one(root: &mut Tree, sources: &Sources, source: usize) -> Result<(), Box<Fault>> {
    let text = sources.text(source);
    let fault = |range, message: String| {
        sources.fault(Code::IllFormedSet, Span::new(source, range), message)
    };
    let Some((equals, short)) = split(text) else {
        let form = "write KEY=VALUE: `thin.sparsity=0.8`, `seeds=[0, 1]`, `stage.thin.prune.scope=\"layer\"`";
        let message = format!("`--set {text}` is not KEY=VALUE");
        return Err(Box::new(fault(0..text.len(), message).label("no key and value").help(form)));
    };
    let value = value(text, equals + 1, source, sources)?;
    let (first, place) = &short[0];
    let keys = EXPERIMENT.keys();
    let path = if keys.contains(&first.as_str()) {
        short.iter().map(|(key, _)| key.clone()).collect()
    } else if let Some(path) = expand(root, &short) {
        path
    } else {
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
        return Err(Box::new(fault(place.clone(), message).label(label).help(help)));
    };
    // The short form adds `stage` in front and the kind behind the first key.
    let added = path.len() - short.len();
    let span = |index: usize| {
        let (_, range) = &short[if added == 0 { index } else { index.saturating_sub(added) }];
        Span::new(source, range.clone())
    };
    let steps: Vec<_> = path.iter().cloned().enumerate().map(|(i, key)| (key, span(i))).collect();
    insert(root, Some(&EXPERIMENT), &steps, value);
    if path[0] != "sweep" {
        let key = Span::new(source, short[0].1.start..short[short.len() - 1].1.end);
        release(root, &path, key, sources)?;
    }
    Ok(())
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
        shift(&mut tree, start);
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

/// Moves all places of a tree by some bytes.
fn shift(tree: &mut Tree, by: usize) {
    let moved = |span: Span| Span { start: span.start + by, end: span.end + by, ..span };
    tree.span = moved(tree.span);
    match &mut tree.value {
        Value::Array(items) => items.iter_mut().for_each(|item| shift(item, by)),
        Value::Table(table) => {
            for entry in table.values_mut() {
                entry.key = moved(entry.key);
                shift(&mut entry.tree, by);
            }
        }
        _ => {}
    }
}

/// Sets the key of a path, whether or not it is stated; another alternative than the stated one
/// replaces it with all its settings.
pub(super) fn insert(tree: &mut Tree, rule: Option<&Rule>, path: &[(String, Span)], value: Tree) {
    let Some(((key, span), rest)) = path.split_first() else {
        *tree = value;
        return;
    };
    let empty = || Tree { value: Value::Table(Table::new()), span: *span };
    if tree.table().is_none() {
        *tree = empty();
    }
    let Value::Table(table) = &mut tree.value else { return };
    if matches!(rule, Some(Rule { what: What::OneOf(_), .. })) && !table.contains_key(key) {
        table.clear();
    }
    let entry = table.entry(key.clone()).or_insert_with(|| Entry { key: *span, tree: empty() });
    if rest.is_empty() {
        entry.key = *span;
    }
    insert(&mut entry.tree, rule.and_then(|rule| rule.get(key)), rest, value);
}
