//! One meaning in many texts: order, comments, forms of numbers, stated defaults, dots and braces, names.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::Stages;
use super::generate::{Dice, Place, at};

/// A text of the experiment and the new names of its stages.
pub(super) fn spell(stages: &Stages, dice: &mut Dice) -> (String, Vec<String>) {
    let names: Vec<String> =
        stages.iter().map(|(name, _)| format!("{name}-{}", dice.below(9))).collect();
    let renamed = |name: &Value| {
        let index = stages.iter().position(|(other, _)| name == other);
        index.map(|index| json!(names[index]))
    };
    let mut parts: Vec<String> = Vec::new();
    for ((_, stage), name) in stages.iter().zip(&names) {
        let mut stage = stage.clone();
        for (path, input) in super::inputs(&stage) {
            let (_, settings) = super::only(&mut stage);
            *at(settings, &path) = renamed(&input).expect("a stage reads one of the others");
        }
        let (kind, settings) = super::only(&mut stage);
        let place = Place::stage().child(&kind);
        let mut lines = Vec::new();
        entries("", place, settings.as_object().unwrap(), dice, &mut lines);
        dice.shuffle(&mut lines);
        let mut text = format!("[stage.{name}.{kind}]\n");
        for line in lines {
            let comment = if dice.one_in(8) { " # why not" } else { "" };
            let _ = writeln!(text, "{line}{comment}");
        }
        parts.push(text);
    }
    dice.shuffle(&mut parts);
    let description = if dice.one_in(2) { "description = 'some words'\n" } else { "" };
    let name = format!("name = \"e{}\"\n", dice.below(1000));
    (format!("{name}{description}{}", parts.join("\n")), names)
}

/// Lines `key = value`, some of them with dots for a table inside.
fn entries(
    start: &str,
    place: Place,
    table: &Map<String, Value>,
    dice: &mut Dice,
    lines: &mut Vec<String>,
) {
    for (key, value) in &stated(place, table, dice) {
        let child = place.child(key);
        let key = format!("{start}{}", bare(key));
        match value.as_object().filter(|table| !table.is_empty()) {
            Some(table) if dice.one_in(2) => {
                let before = lines.len();
                entries(&format!("{key}."), child, table, dice, lines);
                if lines.len() == before {
                    lines.push(format!("{key} = {{}}"));
                }
            }
            _ => lines.push(format!("{key} = {}", written(child, value, dice))),
        }
    }
}

/// The entries of a table that are written: some that equal their default are not, some are.
fn stated(place: Place, table: &Map<String, Value>, dice: &mut Dice) -> Vec<(String, Value)> {
    let Value::Object(whole) = place.whole(&Value::Object(table.clone())) else {
        unreachable!("a table stays one");
    };
    let mut stated = Vec::new();
    for (key, value) in whole {
        let child = place.child(&key);
        let is_default = child.default().is_some_and(|default| child.whole(default) == value);
        if !is_default || dice.one_in(3) {
            stated.push((key, value));
        }
    }
    // What says nothing may be said: `freeze = []`.
    for (key, child) in place.children().filter(|_| !place.is_choice()) {
        let is_silent = !table.contains_key(key) && !place.is_required(key);
        if is_silent && child.default().is_none() && child.may_be_empty() && dice.one_in(6) {
            stated.push((key.to_owned(), json!([])));
        }
    }
    dice.shuffle(&mut stated);
    stated
}

fn written(place: Place, value: &Value, dice: &mut Dice) -> String {
    match value {
        Value::Object(table) => {
            let entries = stated(place, table, dice).into_iter();
            let entries: Vec<String> = entries
                .map(|(key, value)| {
                    format!("{} = {}", bare(&key), written(place.child(&key), &value, dice))
                })
                .collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Value::Array(items) => {
            let items: Vec<_> =
                items.iter().map(|item| written(place.item(), item, dice)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::String(text) if dice.one_in(2) => format!("'{text}'"),
        Value::Number(_) if place.is_real() => real(value.as_f64().unwrap(), dice),
        Value::Number(_) => integer(value.as_u64().unwrap_or_else(|| panic!("{value}")), dice),
        other => other.to_string(),
    }
}

fn real(number: f64, dice: &mut Dice) -> String {
    match dice.below(6) {
        0 => format!("{number:e}"),
        1 => format!("{number:E}"),
        2 if number.fract() == 0.0 && number < 1e15 => format!("{}", number as i64),
        3 if number == 0.0 => "-0.0".to_owned(),
        4 if number < 1e15 => {
            let decimals = decimals(number);
            format!("+{number:.decimals$}00")
        }
        _ => format!("{number:?}"),
    }
}

/// As many decimals as the number needs.
fn decimals(number: f64) -> usize {
    let text = format!("{number}");
    text.split_once('.').map_or(1, |(_, decimals)| decimals.len())
}

fn integer(number: u64, dice: &mut Dice) -> String {
    match dice.below(5) {
        0 => format!("0x{number:x}"),
        1 => format!("0b{number:b}"),
        2 => format!("+{number}"),
        3 if number >= 10 => format!("{}_{}", number / 10, number % 10),
        _ => number.to_string(),
    }
}

/// A key as TOML writes it.
fn bare(key: &str) -> String {
    let is_bare = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    if key.chars().all(is_bare) { key.to_owned() } else { format!("{key:?}") }
}
