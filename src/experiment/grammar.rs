//! The language, which is a JSON Schema, read into rules that the checker walks a file by.
//!
//! The checker knows the language only through these rules, so it and the schema cannot differ, and
//! a new field of a spec type needs no second edit. A keyword of JSON Schema that is not understood
//! here is a panic, which a test of this room would meet first.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, LazyLock, OnceLock};

use indexmap::IndexMap;
use regex_lite::Regex;
use serde_json::{Map, Value};

/// What an experiment file can contain.
pub(super) static EXPERIMENT: LazyLock<Rule> = LazyLock::new(|| rule(super::schema::language()));

/// The rules of the schema's definitions, each read once: a dataset, say, can stand in dozens of places.
static DEFINITIONS: LazyLock<HashMap<&str, OnceLock<Rule>>> = LazyLock::new(|| {
    let definitions = super::schema::language()["definitions"].as_object();
    let names = definitions.into_iter().flat_map(Map::keys);
    names.map(|name| (name.as_str(), OnceLock::new())).collect()
});

/// What can stand in one place.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) what: What,
    /// First sentence or two of the field's documentation.
    pub(super) description: String,
    pub(super) default: Option<Value>,
    /// What the texts here are names of.
    pub(super) names: Option<Names>,
}

/// What texts are names of: each stage's checks take them from there, whatever their key is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// A stage whose checkpoint is read; the key is the role.
    Stage,
    /// The same; the key of the table around it is the role.
    StageOfTable,
    /// Layers, by pattern: the texts of a list, or the keys of a table.
    Layer,
}

/// A copy shares its parts.
#[derive(Debug, Clone)]
pub(super) enum What {
    Any,
    Bool,
    Integer(Bounds),
    Number(Bounds),
    Text(Option<Pattern>),
    /// One of some texts.
    Choice(Arc<[String]>),
    List(Arc<List>),
    Table(Arc<Table>),
    /// A table with exactly one of these keys.
    OneOf(Arc<IndexMap<String, Rule>>),
}

#[derive(Debug, Clone, Default)]
pub(super) struct Bounds {
    pub(super) min: Option<f64>,
    pub(super) above: Option<f64>,
    pub(super) max: Option<f64>,
    pub(super) below: Option<f64>,
}

#[derive(Debug, Clone)]
pub(super) struct Pattern {
    pub(super) regex: Regex,
    /// What the pattern allows, in words.
    pub(super) words: String,
}

#[derive(Debug, Clone)]
pub(super) struct List {
    pub(super) items: Items,
    pub(super) min: usize,
    pub(super) max: Option<usize>,
    pub(super) distinct: bool,
}

/// The rule of a list's items. It is read when it is asked for first: layers contain lists of layers.
#[derive(Debug, Clone)]
pub(super) struct Items {
    schema: &'static Value,
    rule: OnceLock<Box<Rule>>,
}

impl Deref for Items {
    type Target = Rule;

    fn deref(&self) -> &Rule {
        self.rule.get_or_init(|| Box::new(rule(self.schema)))
    }
}

#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) properties: IndexMap<String, Rule>,
    pub(super) required: Vec<String>,
    /// What keys of a certain form lead to.
    pub(super) patterns: Vec<(Regex, Rule)>,
    /// What other keys lead to, where there can be others.
    pub(super) others: Option<Box<Rule>>,
    /// What other keys look like.
    pub(super) keys: Option<Pattern>,
    pub(super) min: usize,
}

impl Rule {
    /// What a key of this place leads to.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match &self.what {
            What::Table(table) => table.properties.get(key).or_else(|| table.other(key)),
            What::OneOf(alternatives) => alternatives.get(key),
            // Where nothing is prescribed, nothing is further in either.
            What::Any => Some(self),
            _ => None,
        }
    }

    /// The keys that can stand here, where they are known by name.
    pub(super) fn keys(&self) -> Vec<&str> {
        match &self.what {
            What::Table(table) => table.properties.keys().map(String::as_str).collect(),
            What::OneOf(alternatives) => alternatives.keys().map(String::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// What a path of keys leads to.
    pub(super) fn at<S: AsRef<str>>(&self, path: &[S]) -> Option<&Self> {
        path.iter().try_fold(self, |rule, key| rule.get(key.as_ref()))
    }

    /// What can stand here, in words: `an integer, at least 1`.
    pub(super) fn words(&self) -> String {
        match &self.what {
            What::Any => "any value".to_owned(),
            What::Bool => "true or false".to_owned(),
            What::Integer(bounds) => with_bounds("an integer", bounds),
            What::Number(bounds) => with_bounds("a number", bounds),
            What::Text(None) => "a string".to_owned(),
            What::Text(Some(pattern)) => format!("a string of {}", pattern.words),
            What::Choice(names) => {
                let quoted: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
                format!("one of {}", quoted.join(", "))
            }
            What::List(list) => match (list.min, list.max) {
                _ if matches!(list.items.what, What::Any) => "a list of values".to_owned(),
                (min, Some(max)) if min == max => {
                    format!("a list of {min}: {} each", list.items.words())
                }
                _ => format!("a list: {} each", list.items.words()),
            },
            What::Table(_) => "a table".to_owned(),
            What::OneOf(names) => {
                let names: Vec<_> = names.keys().map(String::as_str).collect();
                format!("a table with exactly one of {}", names.join(", "))
            }
        }
    }

    /// The type of what can stand here, in two words.
    pub(super) fn type_words(&self) -> &'static str {
        match &self.what {
            What::Any => "a value",
            What::Bool => "true or false",
            What::Integer(_) => "an integer",
            What::Number(_) => "a number",
            What::Text(_) | What::Choice(_) => "a string",
            What::List(_) => "a list",
            What::Table(_) | What::OneOf(_) => "a table",
        }
    }

    /// The first sentence of the description.
    pub(super) fn sentence(&self) -> &str {
        let text = self.description.split("\n\n").next().unwrap_or_default();
        match text.find(". ") {
            // "et al. 2015" and the like end no sentence.
            Some(end) if text[end + 2..].starts_with(char::is_uppercase) => &text[..=end],
            _ => text,
        }
    }
}

impl Table {
    /// What a key leads to that is none of the properties.
    pub(super) fn other(&self, key: &str) -> Option<&Rule> {
        let formed = self.patterns.iter().find(|(regex, _)| regex.is_match(key));
        formed.map(|(_, rule)| rule).or(self.others.as_deref())
    }
}

impl Bounds {
    /// What a number that is not legal must be.
    pub(super) fn refuse(&self, number: f64) -> Option<String> {
        let is_legal = self.min.is_none_or(|min| number >= min)
            && self.above.is_none_or(|above| number > above)
            && self.max.is_none_or(|max| number <= max)
            && self.below.is_none_or(|below| number < below);
        let is_huge = number > f64::from(u32::MAX);
        (!is_legal).then(|| format!("must be {}", self.words(is_huge)))
    }

    /// `at least 0 and below 1`; the largest of Rust's integers only where asked for.
    fn words(&self, all: bool) -> String {
        let max = self.max.filter(|max| all || *max < f64::from(u32::MAX));
        let parts = [
            self.min.map(|min| format!("at least {min}")),
            self.above.map(|above| format!("above {above}")),
            max.map(|max| format!("at most {max}")),
            self.below.map(|below| format!("below {below}")),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" and ")
    }
}

fn with_bounds(what: &str, bounds: &Bounds) -> String {
    let bounds = bounds.words(false);
    if bounds.is_empty() { what.to_owned() } else { format!("{what}, {bounds}") }
}

/// Keywords that [`rule`] understands, sorted; any other would be ignored in silence.
const KEYWORDS: &[&str] = &[
    "$ref",
    "$schema",
    "additionalProperties",
    "allOf",
    "default",
    "definitions",
    "description",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "items",
    "maxItems",
    "maxProperties",
    "maximum",
    "minItems",
    "minProperties",
    "minimum",
    "pattern",
    "patternErrorMessage",
    "patternProperties",
    "properties",
    "propertyNames",
    "required",
    "title",
    "type",
    "uniqueItems",
    "x-names",
    "x-taplo",
];

/// Reads a rule out of the schema.
fn rule(schema: &'static Value) -> Rule {
    static NOTHING: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
    let node = match schema {
        Value::Object(node) => node,
        _ => &NOTHING,
    };
    for keyword in node.keys() {
        let is_known = KEYWORDS.binary_search(&keyword.as_str()).is_ok();
        assert!(is_known, "the checker does not know `{keyword}`");
    }
    let (what, inherited) = match referred(node) {
        Some(inner) => (inner.what, Some(inner.description)),
        None => (what(node), None),
    };
    let own = node.get("description").and_then(Value::as_str).map(str::to_owned);
    let description = own.or(inherited);
    Rule {
        what,
        description: description.unwrap_or_default(),
        default: node.get("default").cloned(),
        names: node.get("x-names").map(|names| match names.as_str() {
            Some("stage") => Names::Stage,
            Some("stage-of-table") => Names::StageOfTable,
            Some("layer") => Names::Layer,
            _ => unreachable!("`x-names` is `stage`, `stage-of-table` or `layer`, not {names}"),
        }),
    }
}

/// The rule that a node refers to, in either of the ways in which draft 7 does.
fn referred(node: &'static Map<String, Value>) -> Option<Rule> {
    if let Some(Value::Array(all)) = node.get("allOf") {
        let [only] = all.as_slice() else { unreachable!("`allOf` wraps one reference") };
        return Some(rule(only));
    }
    let target = node.get("$ref")?.as_str()?.strip_prefix("#/definitions/")?;
    let definition = || rule(&super::schema::language()["definitions"][target]);
    Some(DEFINITIONS.get(target)?.get_or_init(definition).clone())
}

fn what(node: &'static Map<String, Value>) -> What {
    if let Some(Value::Array(names)) = node.get("enum") {
        return What::Choice(texts(names).into());
    }
    match node.get("type").and_then(Value::as_str) {
        None => What::Any,
        Some("boolean") => What::Bool,
        Some("integer") => What::Integer(bounds(node)),
        Some("number") => What::Number(bounds(node)),
        Some("string") => What::Text(pattern(node)),
        Some("array") => What::List(Arc::new(List {
            items: Items {
                schema: node.get("items").unwrap_or(&Value::Null),
                rule: OnceLock::new(),
            },
            min: size(node, "minItems").unwrap_or(0),
            max: size(node, "maxItems"),
            distinct: node.get("uniqueItems") == Some(&Value::Bool(true)),
        })),
        Some("object") if size(node, "maxProperties") == Some(1) => {
            What::OneOf(Arc::new(table(node).properties))
        }
        Some("object") => What::Table(Arc::new(table(node))),
        Some(other) => unreachable!("`{other}` is no type of an experiment file"),
    }
}

fn table(node: &'static Map<String, Value>) -> Table {
    let properties = node.get("properties").and_then(Value::as_object);
    let properties = properties.into_iter().flatten();
    let patterns = node.get("patternProperties").and_then(Value::as_object);
    let patterns = patterns.into_iter().flatten();
    let others = node.get("additionalProperties").filter(|others| others.is_object());
    Table {
        properties: properties.map(|(key, each)| (key.clone(), rule(each))).collect(),
        required: node.get("required").and_then(Value::as_array).map(texts).unwrap_or_default(),
        patterns: patterns.map(|(form, each)| (regex(form), rule(each))).collect(),
        others: others.map(|others| Box::new(rule(others))),
        keys: node.get("propertyNames").and_then(Value::as_object).and_then(pattern),
        min: size(node, "minProperties").unwrap_or(0),
    }
}

fn texts<'a>(values: impl IntoIterator<Item = &'a Value>) -> Vec<String> {
    values.into_iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn size(node: &Map<String, Value>, keyword: &str) -> Option<usize> {
    node.get(keyword)?.as_u64().map(|size| size as usize)
}

fn bounds(node: &Map<String, Value>) -> Bounds {
    let bound = |keyword| node.get(keyword).and_then(Value::as_f64);
    Bounds {
        min: bound("minimum"),
        above: bound("exclusiveMinimum"),
        max: bound("maximum"),
        below: bound("exclusiveMaximum"),
    }
}

fn pattern(node: &Map<String, Value>) -> Option<Pattern> {
    let pattern = node.get("pattern")?.as_str()?;
    let words = node.get("patternErrorMessage").and_then(Value::as_str).unwrap_or(pattern);
    Some(Pattern { regex: regex(pattern), words: words.to_owned() })
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a pattern of the schema is a regular expression")
}
