//! Bases and variables against naive references.

use std::collections::BTreeMap;

use proptest::prelude::*;
use toml::{Table, Value};

use super::super::compose;
use super::{Shelf, load_child};
use crate::experiment::sources::Sources;
use crate::experiment::tests::DIGITS;
use crate::experiment::tree::{self, Tree};
use crate::experiment::{Code, Trial, load};

/// The naive references: plain TOML values, no places, no limits.
mod naive {
    use super::{Table, Value};

    pub(super) fn substitute(value: &Value, vars: &Table) -> Value {
        match value {
            Value::String(text) => {
                if let Some(name) = text.strip_prefix("$v").filter(|name| name.len() == 1) {
                    return substitute(&vars[&format!("v{name}")], vars);
                }
                if let Some(name) = text.strip_prefix("${").filter(|name| name.len() == 3) {
                    return substitute(&vars[&name[..2]], vars);
                }
                let mut text = text.clone();
                for (name, value) in vars {
                    if !text.contains(&format!("${{{name}}}")) {
                        continue;
                    }
                    let written = match substitute(value, vars) {
                        Value::String(text) => text,
                        Value::Integer(number) => number.to_string(),
                        _ => continue,
                    };
                    text = text.replace(&format!("${{{name}}}"), &written);
                }
                Value::String(text.replace("$$", "$"))
            }
            Value::Array(items) => {
                Value::Array(items.iter().map(|item| substitute(item, vars)).collect())
            }
            Value::Table(table) => Value::Table(substitute_all(table, vars)),
            other => other.clone(),
        }
    }

    pub(super) fn substitute_all(table: &Table, vars: &Table) -> Table {
        table.iter().map(|(key, value)| (key.clone(), substitute(value, vars))).collect()
    }

    /// The paths of choices among those that the test makes.
    fn is_choice(path: &[&str]) -> bool {
        matches!(path, ["stage", _] | ["stage", _, "pretrain", "optimizer"])
    }

    pub(super) fn merge(below: &mut Table, above: &Table, path: &[&str]) {
        if is_choice(path) && above.keys().any(|key| !below.contains_key(key)) {
            below.clear();
        }
        for (key, value) in above {
            let path: Vec<&str> = path.iter().copied().chain([key.as_str()]).collect();
            match (below.get_mut(key), value) {
                (Some(Value::Table(below)), Value::Table(above)) => merge(below, above, &path),
                _ => drop(below.insert(key.clone(), value.clone())),
            }
        }
    }
}

fn plain(tree: &Tree) -> Value {
    match &tree.value {
        tree::Value::Text(text) => Value::String(text.clone()),
        tree::Value::Integer(number) => Value::Integer(i64::try_from(*number).unwrap()),
        tree::Value::Float(number) => Value::Float(*number),
        tree::Value::Bool(value) => Value::Boolean(*value),
        tree::Value::Array(items) => Value::Array(items.iter().map(plain).collect()),
        tree::Value::Table(table) => Value::Table(
            table.iter().map(|(key, entry)| (key.clone(), plain(&entry.tree))).collect(),
        ),
        tree::Value::Datetime | tree::Value::Unknown => panic!("{tree:?}"),
    }
}

/// A value that may use the variables below a number; `v0` is a text or a number.
fn any_value(below: usize) -> impl Strategy<Value = Value> {
    let texts = ["plain", "a $ b", "$$v1", "costs $$5", "$", "$5"].map(str::to_owned).to_vec();
    let whole = (0..below.max(1)).prop_map(move |n| match below {
        0 => "none".to_owned(),
        _ if n % 2 == 0 => format!("$v{n}"),
        _ => format!("${{v{n}}}"),
    });
    let within = if below == 0 { "x" } else { "x-${v0}.csv${v0}" };
    let leaf = prop_oneof![
        any::<i32>().prop_map(|number| Value::Integer(number.into())),
        any::<bool>().prop_map(Value::Boolean),
        (-1e6..1e6).prop_map(Value::Float),
        prop::sample::select(texts).prop_map(Value::String),
        whole.prop_map(Value::String),
        Just(Value::String(within.to_owned())),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            prop::collection::btree_map("[abc]", inner, 0..3)
                .prop_map(|table| Value::Table(table.into_iter().collect())),
        ]
    })
}

fn any_vars() -> impl Strategy<Value = Table> {
    let scalar = prop_oneof![
        any::<i32>().prop_map(|number| Value::Integer(number.into())),
        Just(Value::String("text".to_owned())),
    ];
    (scalar, any_value(1), any_value(2), any_value(3)).prop_map(|(v0, v1, v2, v3)| {
        [("v0", v0), ("v1", v1), ("v2", v2), ("v3", v3)]
            .map(|(name, value)| (name.to_owned(), value))
            .into_iter()
            .collect()
    })
}

fn any_file() -> impl Strategy<Value = Table> {
    let free = prop::collection::btree_map("[abc]", any_value(4), 0..4);
    let optimizer = (prop::sample::select(vec!["sgd", "adam"]), any_value(4));
    let kind = (prop::sample::select(vec!["pretrain", "prune"]), optimizer, any_value(4));
    let stages = prop::collection::btree_map("[st]", kind, 0..3);
    (free, stages).prop_map(|(free, stages)| {
        let table = |key: &str, value: Value| {
            Value::Table(std::iter::once((key.to_owned(), value)).collect())
        };
        let stages = stages.into_iter().map(|(name, (kind, (chosen, settings), other))| {
            let mut stage = table("optimizer", table(chosen, settings));
            stage.as_table_mut().unwrap().insert("a".to_owned(), other);
            (name, table(kind, stage))
        });
        let stages: Table = stages.collect();
        let mut file: Table = free.into_iter().collect();
        file.insert("stage".to_owned(), Value::Table(stages));
        file
    })
}

fn with(mut file: Table, key: &str, value: Value) -> String {
    file.insert(key.to_owned(), value);
    toml::to_string(&file).unwrap()
}

/// Every way to a value of the experiment that a variable could stand for.
fn ways(value: &Value, way: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    if way.len() > 1 && way[0] != "vars" {
        found.push(way.clone());
    }
    for (key, below) in value.as_table().into_iter().flatten() {
        way.push(key.clone());
        ways(below, way, found);
        way.pop();
    }
}

fn at<'a>(value: &'a mut Value, way: &[String]) -> Option<&'a mut Value> {
    way.iter().try_fold(value, |value, key| value.as_table_mut()?.get_mut(key))
}

/// Shares the settings of an experiment out among a base and a file; the sweep stays whole.
fn split(table: &Table, choose: &mut impl FnMut() -> bool) -> (Table, Table) {
    let (mut base, mut own) = (Table::new(), Table::new());
    for (key, value) in table {
        match value {
            Value::Table(inside) if key != "sweep" => {
                let (low, high) = split(inside, choose);
                // An empty table is a choice without settings, and must stay.
                let is_empty = inside.is_empty();
                if !low.is_empty() || (is_empty && choose()) {
                    base.insert(key.clone(), Value::Table(low));
                }
                if !high.is_empty() || (is_empty && !base.contains_key(key)) {
                    own.insert(key.clone(), Value::Table(high));
                }
            }
            _ if key != "sweep" && choose() => drop(base.insert(key.clone(), value.clone())),
            _ => drop(own.insert(key.clone(), value.clone())),
        }
    }
    (base, own)
}

/// The trials in an order that does not come from that of the axes, which `toml` chooses anew.
fn trials_of(text: &str, files: &[(&str, &str)]) -> Vec<Trial> {
    let checked = load_child(text, files, &[]);
    let mut trials =
        checked.unwrap_or_else(|faults| panic!("{faults}\n{text}\n{files:?}")).trials();
    trials.sort_by_key(|trial| {
        let settings: BTreeMap<_, _> = trial.settings.iter().collect();
        format!("{settings:?} {}", trial.seed)
    });
    trials
}

proptest! {
    #[test]
    fn composing_is_substituting_and_then_merging(
        base in any_file(),
        own in any_file(),
        mut vars in any_vars(),
        other_vars in any_vars(),
        replaced in prop::collection::vec(any::<bool>(), 4),
    ) {
        let own_vars: Table = other_vars
            .into_iter()
            .zip(&replaced)
            .filter(|(_, is_replaced)| **is_replaced)
            .map(|(var, _)| var)
            .collect();
        let base_text = with(base.clone(), "vars", Value::Table(vars.clone()));
        let mut text = String::from("extends = 'base.toml'\n");
        text.push_str(&with(own.clone(), "vars", Value::Table(own_vars.clone())));
        let files = Shelf::new(&[("base.toml", &base_text)]);
        let composed = compose(&mut Sources::new("own.toml", &text), &files, &[]);
        let others = composed.faults.iter().find(|fault| fault.code != Code::UnusedVariable.as_str());
        prop_assert!(others.is_none(), "{others:?}");

        vars.extend(own_vars);
        let mut expected = naive::substitute_all(&base, &vars);
        naive::merge(&mut expected, &naive::substitute_all(&own, &vars), &[]);
        prop_assert_eq!(plain(&composed.root), Value::Table(expected));
    }

    #[test]
    fn variables_and_bases_change_no_trial(
        choices in prop::collection::vec(any::<bool>(), 64),
        hidden in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let flat: Table = toml::from_str(DIGITS).unwrap();
        let expected = trials_of(&toml::to_string(&flat).unwrap(), &[]);
        let mut turn = choices.iter().cycle();
        let (base, own) = split(&flat, &mut || *turn.next().unwrap());
        let mut files = [Value::Table(base), Value::Table(own)];
        for (number, index) in hidden.iter().enumerate() {
            let file = &mut files[number % 2];
            let mut found = Vec::new();
            ways(file, &mut Vec::new(), &mut found);
            if found.is_empty() {
                continue;
            }
            let way = &found[index.index(found.len())];
            let text = Value::String(format!("$v{number}"));
            let Some(value) = at(file, way).map(|value| std::mem::replace(value, text)) else {
                continue;
            };
            let vars = file.as_table_mut().unwrap().entry("vars");
            let vars = vars.or_insert_with(|| Value::Table(Table::new()));
            vars.as_table_mut().unwrap().insert(format!("v{number}"), value);
        }
        let [base, own] = files.map(|file| toml::to_string(&file).unwrap());
        let own = format!("extends = 'base.toml'\n{own}");
        let trials = trials_of(&own, &[("base.toml", &base)]);
        prop_assert!(trials == expected, "{own}\n# base.toml\n{base}\n{:?}\n{:?}", trials[0], expected[0]);
    }

    #[test]
    fn no_pair_of_files_makes_the_reader_panic(
        own in "(extends|without|\\[vars\\]|name|a|b|\\$a|\\$\\{b\\}|=|'|\\[|\\]|\\{|\\}|\n| |base.toml|,|stage.thin){0,30}",
        base in "(extends|without|\\[vars\\]|name|a|b|\\$a|\\$\\{b\\}|=|'|\\[|\\]|\\{|\\}|\n| |own.toml|,|stage.thin){0,30}",
        set in "(vars|extends|a|\\.|=|\\$b|'|1){0,8}",
    ) {
        let files = Shelf::new(&[("base.toml", &base), ("own.toml", &own)]);
        let text = format!("extends = 'base.toml'\n{own}\n{DIGITS}");
        for text in [own.as_str(), text.as_str()] {
            if let Err(faults) = load("own.toml", text, std::slice::from_ref(&set), &files) {
                prop_assert!(!faults.to_string().is_empty());
            }
        }
    }
}
