//! TOML as a tree in which every key and value knows its place in the text.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::de::value::{Error, MapAccessDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{Deserialize, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use toml::de::{DeTable, DeValue};

use super::fault::Span;

/// A value and its place.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    pub(super) value: Value,
    pub(super) span: Span,
}

/// A TOML value.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(String),
    Integer(i128),
    Float(f64),
    Bool(bool),
    Datetime,
    Array(Vec<Tree>),
    Table(Table),
    /// What a variable with a fault of its own would be: nothing can be said of it.
    Unknown,
}

/// A table in the order of the text.
pub(super) type Table = IndexMap<String, Entry>;

/// A key's place and its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: Span,
    pub(super) tree: Tree,
}

impl Tree {
    pub(super) fn from_table(table: &DeTable<'_>, source: usize, span: Span) -> Self {
        // toml gives tables in the order of the alphabet.
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let entry = |key: std::ops::Range<usize>, value: &toml::Spanned<DeValue<'_>>| Entry {
            key: Span::new(source, key),
            tree: Self::from_value(value, source),
        };
        let entries = entries
            .into_iter()
            .map(|(key, value)| (key.get_ref().clone().into_owned(), entry(key.span(), value)));
        Self { value: Value::Table(entries.collect()), span }
    }

    pub(super) fn from_value(value: &toml::Spanned<DeValue<'_>>, source: usize) -> Self {
        let span = Span::new(source, value.span());
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.clone().into_owned()),
            DeValue::Integer(number) => {
                let parsed = i128::from_str_radix(number.as_str(), number.radix());
                parsed.map_or(Value::Float(f64::INFINITY), Value::Integer)
            }
            DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(value) => Value::Bool(*value),
            DeValue::Datetime(_) => Value::Datetime,
            DeValue::Array(items) => {
                Value::Array(items.iter().map(|item| Self::from_value(item, source)).collect())
            }
            DeValue::Table(table) => return Self::from_table(table, source, span),
        };
        Self { value, span }
    }

    /// A table with nothing in it.
    pub(super) fn empty(span: Span) -> Self {
        Self { value: Value::Table(Table::new()), span }
    }

    /// Changes every place of a tree.
    pub(super) fn move_places(&mut self, moved: &impl Fn(Span) -> Span) {
        self.span = moved(self.span);
        match &mut self.value {
            Value::Array(items) => items.iter_mut().for_each(|item| item.move_places(moved)),
            Value::Table(table) => {
                for entry in table.values_mut() {
                    entry.key = moved(entry.key);
                    entry.tree.move_places(moved);
                }
            }
            _ => {}
        }
    }

    pub(super) fn table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The key and value that a path of keys leads to.
    pub(super) fn entry<'a, S: AsRef<str>>(&'a self, path: &[S]) -> Option<&'a Entry> {
        let (first, rest) = path.split_first()?;
        let entry = self.table()?.get(first.as_ref())?;
        if rest.is_empty() { Some(entry) } else { entry.tree.entry(rest) }
    }

    /// The table that a path of keys leads to, to be changed.
    pub(super) fn table_mut(&mut self, path: &[&str]) -> Option<&mut Table> {
        let Value::Table(table) = &mut self.value else { return None };
        match path {
            [] => Some(table),
            [first, rest @ ..] => table.get_mut(*first)?.tree.table_mut(rest),
        }
    }

    /// What the value is, in TOML's words, with its article.
    pub(super) fn type_name(&self) -> &'static str {
        match &self.value {
            Value::Text(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Bool(_) => "a boolean",
            Value::Datetime => "a date or time",
            Value::Array(_) => "a list",
            Value::Table(_) => "a table",
            Value::Unknown => "unknown",
        }
    }

    /// Whether two values are the same; a whole number equals itself with a point.
    pub(super) fn equals(&self, other: &Self) -> bool {
        match (&self.value, &other.value) {
            (Value::Text(a), Value::Text(b)) => a == b,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Integer(a), Value::Integer(b)) => a == b,
            (Value::Float(a), Value::Float(b)) => a.total_cmp(b).is_eq(),
            (Value::Integer(a), Value::Float(b)) | (Value::Float(b), Value::Integer(a)) => {
                (*a as f64).total_cmp(b).is_eq()
            }
            (Value::Array(a), Value::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.equals(b))
            }
            (Value::Table(a), Value::Table(b)) => {
                let same = |(key, entry): (&String, &Entry)| {
                    b.get(key).is_some_and(|other| entry.tree.equals(&other.tree))
                };
                a.len() == b.len() && a.iter().all(same)
            }
            _ => false,
        }
    }

    /// One text for all spellings of a value: two are equal where their values are.
    pub(super) fn normal(&self) -> String {
        match &self.value {
            Value::Text(text) => format!("{text:?}"),
            // A whole number is written as the float that it equals, if there is one.
            Value::Integer(number) if (*number as f64) as i128 == *number => {
                format!("{:?}", *number as f64)
            }
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => format!("{number:?}"),
            Value::Bool(value) => value.to_string(),
            Value::Datetime => "datetime".to_owned(),
            // Nothing is known to be the same.
            Value::Unknown => format!("unknown {:?}", self.span),
            Value::Array(items) => {
                let items: Vec<_> = items.iter().map(Self::normal).collect();
                format!("[{}]", items.join(","))
            }
            Value::Table(table) => {
                let sorted: BTreeMap<_, _> = table.iter().collect();
                let entries = sorted.into_iter();
                let entries =
                    entries.map(|(key, entry)| format!("{key:?}={}", entry.tree.normal()));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
            }
        }
    }

    /// The value in Rust's types.
    ///
    /// # Errors
    /// Where it is none of the type; the checker finds those first, with their place.
    pub(super) fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Error> {
        T::deserialize(self)
    }
}

impl<'de> IntoDeserializer<'de> for &'de Tree {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Reads typed values from the tree, tables in the order of the file.
impl<'de> Deserializer<'de> for &'de Tree {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.value {
            Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::Integer(number) => match (u64::try_from(*number), i64::try_from(*number)) {
                (Ok(number), _) => visitor.visit_u64(number),
                (_, Ok(number)) => visitor.visit_i64(number),
                _ => visitor.visit_f64(*number as f64),
            },
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Datetime | Value::Unknown => visitor.visit_unit(),
            Value::Array(items) => visitor.visit_seq(SeqDeserializer::new(items.iter())),
            Value::Table(table) => visitor.visit_map(entries(table)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.value {
            Value::Text(text) => {
                text.as_str().into_deserializer().deserialize_enum(name, variants, visitor)
            }
            Value::Table(table) => visitor.visit_enum(MapAccessDeserializer::new(entries(table))),
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

type Entries<'a> = MapDeserializer<'a, Box<dyn Iterator<Item = (&'a str, &'a Tree)> + 'a>, Error>;

fn entries(table: &Table) -> Entries<'_> {
    MapDeserializer::new(Box::new(table.iter().map(|(key, entry)| (key.as_str(), &entry.tree))))
}
