//! An experiment as TOML again: in one piece, with nothing left to put together.

use super::compose::escape;
use super::tree::{Entry, Table, Tree, Value};

/// The text of a whole experiment.
pub(super) fn to_toml(root: &Tree) -> String {
    let Some(table) = root.table() else { return String::new() };
    let (tables, values): (Table, Table) =
        table.clone().into_iter().partition(|(_, entry)| entry.tree.table().is_some());
    let mut lines = entries(&values);
    for (key, Entry { tree, .. }) in &tables {
        // Below `stage` come names, then kinds, then settings.
        let depth = if key == "stage" { 2 } else { 0 };
        section(&quote_key(key), tree, depth, &mut lines);
    }
    lines.push(String::new());
    lines.join("\n")
}

/// Writes a table with a header, or those that lie `depth` below it.
fn section(path: &str, tree: &Tree, depth: usize, lines: &mut Vec<String>) {
    let Some(table) = tree.table() else { return };
    if depth > 0 {
        for (key, Entry { tree, .. }) in table {
            section(&format!("{path}.{}", quote_key(key)), tree, depth - 1, lines);
        }
        return;
    }
    lines.push(format!("\n[{path}]"));
    lines.extend(entries(table));
}

/// A line for each entry of a table.
fn entries(table: &Table) -> Vec<String> {
    let lines = table.iter().map(|(key, Entry { tree, .. })| {
        let (mut key, mut tree) = (quote_key(key), tree);
        // A choice is written `optimizer.sgd = { … }`.
        while let Some((inner, entry)) = only_table(tree) {
            key = format!("{key}.{}", quote_key(inner));
            tree = &entry.tree;
        }
        format!("{key} = {}", inline(tree))
    });
    lines.collect()
}

/// The one entry of a table, if it is a table too.
fn only_table(tree: &Tree) -> Option<(&String, &Entry)> {
    let table = tree.table().filter(|table| table.len() == 1)?;
    table.first().filter(|(_, entry)| entry.tree.table().is_some())
}

fn inline(tree: &Tree) -> String {
    match &tree.value {
        Value::Text(text) => quote(&escape(text)),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => format!("{number:?}"),
        Value::Bool(value) => value.to_string(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(inline).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Table(table) if table.is_empty() => "{}".to_owned(),
        Value::Table(table) => {
            let entry = |(key, entry): (&String, &Entry)| {
                format!("{} = {}", quote_key(key), inline(&entry.tree))
            };
            format!("{{ {} }}", table.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        Value::Datetime | Value::Unknown => unreachable!("a checked experiment has no such value"),
    }
}

fn quote_key(key: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if !key.is_empty() && key.chars().all(is_bare) { key.to_owned() } else { quote(key) }
}

/// A basic string: that of JSON, and one character that TOML wants escaped too.
fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007F")
}
