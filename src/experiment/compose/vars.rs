//! `[vars]`: values with a name, which stand for themselves wherever a file says `"$name"`.
//!
//! A text that is `$name` or `${name}` is the variable's value, of whatever type. `${name}` within a
//! longer text is written out as text. `$$` is a dollar sign, and so is any other `$`. Variables may
//! be made of variables. A value is written out anew in each use, so that a fault in it knows where
//! it is used; what a few lines can grow to has a limit.

use std::iter::Peekable;
use std::ops::Range;

use crate::experiment::fault::{Code, Fault, Sources, Span, list, nearest};
use crate::experiment::tree::{Table, Tree, Value};

/// How deep lists, tables and variables can lie in each other.
const MOST_DEPTH: usize = 100;

/// How much all uses together can be written out to, in the sense of [`size`].
const MOST_SIZE: usize = 1 << 24;

/// Variables beyond this number are not listed in a message.
const MOST_LISTED: usize = 20;

/// With more variables than these, none is looked for that was meant.
const MOST_COMPARED: usize = 200;

/// Writes variables out, in one tree after the other.
#[derive(Debug)]
pub(super) struct Expander<'a> {
    vars: &'a Table,
    sources: &'a mut Sources,
    /// Of each variable: its size, whether it is used, whether it is part of a loop.
    sizes: Vec<usize>,
    used: Vec<bool>,
    looped: Vec<bool>,
    /// The variables that are being written out, each within the one before, and its use there.
    way: Vec<(usize, Span)>,
    depth: usize,
    /// How much more can be written out; none once it was not enough.
    room: Option<usize>,
    faults: Vec<Fault>,
}

/// A part of a text.
#[derive(Debug, PartialEq)]
enum Piece<'a> {
    Plain(&'a str),
    /// `$name` or `${name}`: the name.
    Variable(&'a str),
    /// `${` without a name and `}`.
    Broken,
}

impl<'a> Expander<'a> {
    pub(super) fn new(vars: &'a Table, sources: &'a mut Sources) -> Self {
        Self {
            vars,
            sources,
            sizes: vars.values().map(|entry| size(&entry.tree)).collect(),
            used: vec![false; vars.len()],
            looped: vec![false; vars.len()],
            way: Vec::new(),
            depth: 0,
            room: Some(MOST_SIZE),
            faults: Vec::new(),
        }
    }

    /// Writes out the variables of a tree.
    pub(super) fn expand(&mut self, tree: &mut Tree) {
        match &mut tree.value {
            Value::Text(text) if text.contains('$') => {
                let text = std::mem::take(text);
                *tree = self.text(&text, tree.span);
            }
            Value::Array(items) => {
                self.depth += 1;
                for item in items {
                    self.expand(item);
                }
                self.depth -= 1;
            }
            Value::Table(table) => {
                self.depth += 1;
                for entry in table.values_mut() {
                    self.expand(&mut entry.tree);
                }
                self.depth -= 1;
            }
            _ => {}
        }
    }

    fn text(&mut self, text: &str, span: Span) -> Tree {
        let unknown = Tree { value: Value::Unknown, span };
        let mut written = String::new();
        let is_whole = whole(text).is_some();
        for (piece, range) in pieces(text) {
            let name = match piece {
                Piece::Plain(part) => {
                    written.push_str(part);
                    continue;
                }
                Piece::Broken => {
                    let fault = self.broken(self.sources.part(span, text, range));
                    self.faults.push(fault);
                    return unknown;
                }
                Piece::Variable(name) => name,
            };
            let used = self.sources.part(span, text, range);
            let value = self.variable(name, used);
            if is_whole {
                return value;
            }
            if matches!(value.value, Value::Unknown) {
                return unknown;
            }
            let Some(part) = as_text(&value) else {
                let fault = self.no_text(name, &value, used);
                self.faults.push(fault);
                return unknown;
            };
            if !self.take(part.len()) {
                let fault = self.too_large(used);
                self.faults.push(fault);
                return unknown;
            }
            written.push_str(&part);
        }
        Tree { value: Value::Text(written), span }
    }

    /// The value of a variable in one of its uses.
    fn variable(&mut self, name: &str, used: Span) -> Tree {
        let unknown = Tree { value: Value::Unknown, span: used };
        let Some(index) = self.vars.get_index_of(name) else {
            let fault = self.unknown(name, used);
            self.faults.push(fault);
            return unknown;
        };
        self.used[index] = true;
        if self.looped[index] || self.room.is_none() {
            return unknown;
        }
        if let Some(start) = self.way.iter().position(|(other, _)| *other == index) {
            let fault = self.describe_loop(start, used);
            self.faults.push(fault);
            self.way[start..].iter().for_each(|(index, _)| self.looped[*index] = true);
            return unknown;
        }
        if self.depth >= MOST_DEPTH || !self.take(self.sizes[index]) {
            self.room = None;
            let fault = self.too_large(used);
            self.faults.push(fault);
            return unknown;
        }
        let stated = &self.vars[index].tree;
        let source = self.sources.add_use(stated.span.source, used);
        let mut value = stated.clone();
        value.move_places(&|span| Span { source, ..span });
        self.way.push((index, used));
        self.depth += 1;
        self.expand(&mut value);
        self.depth -= 1;
        self.way.pop();
        // What could not be written out to its end is not worth checking.
        if self.room.is_none() { unknown } else { value }
    }

    /// Takes room for something that is written out.
    fn take(&mut self, size: usize) -> bool {
        self.room = self.room.and_then(|room| room.checked_sub(size));
        self.room.is_some()
    }

    fn unknown(&mut self, name: &str, used: Span) -> Fault {
        let message = format!("`${name}` is a variable that no file states");
        let fault = self.sources.fault(Code::UnknownVariable, used, message);
        let names = || self.vars.keys().map(String::as_str);
        let near = (self.vars.len() <= MOST_COMPARED).then(|| nearest(name, names())).flatten();
        let label = near.map_or("unknown".to_owned(), |near| format!("did you mean `${near}`?"));
        if let Some(near) = near.and_then(|near| self.vars.get_index_of(near)) {
            self.used[near] = true; // one slip is one fault
        }
        let fault = match self.vars.len() {
            0 => fault.help(format!("state it: `{name} = …` below [vars]")),
            1..=MOST_LISTED => fault.help(format!("variables are {}", list(names()))),
            count => fault.help(format!("none of the {count} variables has that name")),
        };
        fault.label(label).help("a text that is to start with a dollar sign has two: `$$`")
    }

    fn broken(&self, span: Span) -> Fault {
        let message = "`${` starts a variable, and no name and `}` follow";
        let fault = self.sources.fault(Code::UnknownVariable, span, message);
        fault.label("no variable").help("write `${name}`; a dollar sign before a brace is `$$`")
    }

    fn no_text(&self, name: &str, value: &Tree, used: Span) -> Fault {
        let what = value.type_name();
        let message = format!("`${name}` is {what}, which cannot be part of a text");
        let fault = self.sources.fault(Code::NoText, used, message);
        let stated = self.sources.place(value.span);
        fault
            .label("needs a string, a number or a boolean")
            .note(self.sources, stated, what)
            .help(format!("where the whole value is `\"${name}\"`, it can be of any type"))
    }

    fn too_large(&self, used: Span) -> Fault {
        let (first, outermost) = self.way.first().copied().unwrap_or((0, used));
        let message = if self.depth >= MOST_DEPTH {
            format!("variables lie in each other more than {MOST_DEPTH} deep")
        } else {
            "variables become too large when they are written out".to_owned()
        };
        let fault = self.sources.fault(Code::TooLarge, outermost, message);
        let name = self.vars.get_index(first).map_or("", |(name, _)| name);
        fault
            .label(format!("`${name}` is made of others, which are made of others"))
            .help("make fewer variables of variables; a sweep makes many trials of few lines")
    }

    /// The fault of variables that are made of each other: those of the way from `start` on, the
    /// last of which uses the first.
    fn describe_loop(&self, start: usize, used: Span) -> Fault {
        let way = &self.way[start..];
        let name = |index: usize| self.vars.get_index(index).map_or("", |(name, _)| name.as_str());
        let names: Vec<&str> =
            way.iter().chain(way.first()).map(|(index, _)| name(*index)).collect();
        let message = match names.as_slice() {
            [only, _] => format!("the variable `{only}` is made of itself"),
            _ => format!("variables are made of each other in a loop: {}", names.join(" → ")),
        };
        // A variable's use lies in the one before.
        let uses = way.iter().skip(1).map(|(_, used)| *used).chain([used]);
        let mut uses = uses.map(|used| self.sources.place(used)).enumerate();
        let label = |index: usize| format!("`{}` is made of `{}`", names[index], names[index + 1]);
        let first = uses.next().map_or(used, |(_, first)| first);
        let fault = self.sources.fault(Code::VariableLoop, first, message).label(label(0));
        let fault =
            uses.fold(fault, |fault, (index, used)| fault.note(self.sources, used, label(index)));
        fault.help("give one of these a value of its own")
    }

    /// What was wrong with the uses; and which variables of the experiment itself have none.
    pub(super) fn finish(self) -> (Vec<Fault>, Vec<Fault>) {
        if self.room.is_none() {
            return (self.faults, Vec::new()); // not all uses have been met
        }
        let unused = self.vars.iter().zip(&self.used).filter(|(_, used)| !**used);
        // A base states variables for whoever extends it.
        let unused =
            unused.filter(|((name, entry), _)| is_name(name) && !self.sources.is_base(entry.key));
        let unused = unused.map(|((name, entry), _)| self.unused(name, entry.key)).collect();
        (self.faults, unused)
    }

    fn unused(&self, name: &str, key: Span) -> Fault {
        let message = format!("the variable `{name}` is used nowhere");
        let fault = self.sources.fault(Code::UnusedVariable, key, message);
        let used = self.vars.keys().zip(&self.used).filter(|(_, used)| **used);
        let near = (self.vars.len() <= MOST_COMPARED)
            .then(|| nearest(name, used.map(|(name, _)| name.as_str())))
            .flatten();
        let label = near.map_or("not used".to_owned(), |near| format!("did you mean `{near}`?"));
        fault.label(label).help(format!(
            "leave it out, or use it: `\"${name}\"` as a whole value, `${{{name}}}` in a text"
        ))
    }
}

/// Whether a variable can have this name.
fn is_name(text: &str) -> bool {
    let is_start = |c: char| c.is_ascii_alphabetic() || c == '_';
    text.starts_with(is_start) && text.chars().all(is_in_name)
}

fn is_in_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_".contains(c)
}

/// The variable that a text is, if it is nothing else.
fn whole(text: &str) -> Option<&str> {
    let name = text.strip_prefix('$')?;
    let in_braces = name.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    Some(in_braces.unwrap_or(name)).filter(|name| is_name(name))
}

/// The parts of a text, each with its place.
fn pieces(text: &str) -> impl Iterator<Item = (Piece<'_>, Range<usize>)> {
    let mut dollars = text.match_indices('$').map(|(at, _)| at).peekable();
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at;
        let (piece, end) = piece(text, start, &mut dollars)?;
        at = end;
        Some((piece, start..end))
    })
}

/// The part of a text that starts somewhere, and its end.
fn piece<'a>(
    text: &'a str,
    start: usize,
    dollars: &mut Peekable<impl Iterator<Item = usize>>,
) -> Option<(Piece<'a>, usize)> {
    if start == text.len() {
        return None;
    }
    if let Some(name) = whole(text).filter(|_| start == 0) {
        return Some((Piece::Variable(name), text.len()));
    }
    while dollars.next_if(|&dollar| dollar < start).is_some() {}
    let rest = &text[start..];
    match dollars.peek() {
        None => return Some((Piece::Plain(rest), text.len())),
        Some(&dollar) if dollar > start => {
            return Some((Piece::Plain(&text[start..dollar]), dollar));
        }
        Some(_) => {}
    }
    if rest.starts_with("$$") {
        return Some((Piece::Plain("$"), start + 2));
    }
    let Some(inside) = rest.strip_prefix("${") else { return Some((Piece::Plain("$"), start + 1)) };
    let name = &inside[..inside.find(|c| !is_in_name(c)).unwrap_or(inside.len())];
    let end = start + 2 + name.len();
    if is_name(name) && inside[name.len()..].starts_with('}') {
        return Some((Piece::Variable(name), end + 1));
    }
    Some((Piece::Broken, end))
}

/// A text such that reading it gives `text` again.
pub(in crate::experiment) fn escape(text: &str) -> String {
    text.replace('$', "$$")
}

/// A value as part of a text; none for one that has parts.
fn as_text(tree: &Tree) -> Option<String> {
    match &tree.value {
        Value::Text(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(format!("{number:?}")),
        Value::Bool(value) => Some(value.to_string()),
        Value::Datetime | Value::Array(_) | Value::Table(_) | Value::Unknown => None,
    }
}

/// What a value takes in memory, roughly: 16 for each value and key, and 1 for each byte of text.
fn size(tree: &Tree) -> usize {
    let inside = match &tree.value {
        Value::Text(text) => text.len(),
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Table(table) => {
            table.iter().map(|(key, entry)| 16 + key.len() + size(&entry.tree)).sum()
        }
        _ => 0,
    };
    16 + inside
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_split_at_their_variables() {
        use Piece::{Broken, Plain, Variable};
        let split = |text: &'static str| -> Vec<Piece<'static>> {
            pieces(text).map(|(piece, _)| piece).collect()
        };
        for (text, expected) in [
            ("plain", vec![Plain("plain")]),
            ("", vec![]),
            ("$lr", vec![Variable("lr")]),
            ("${lr}", vec![Variable("lr")]),
            ("$batch-size_2", vec![Variable("batch-size_2")]),
            ("a-${lr}.csv", vec![Plain("a-"), Variable("lr"), Plain(".csv")]),
            ("${a}${b}", vec![Variable("a"), Variable("b")]),
            ("$$lr", vec![Plain("$"), Plain("lr")]),
            ("$$", vec![Plain("$")]),
            ("$$${lr}", vec![Plain("$"), Variable("lr")]),
            ("$lr is", vec![Plain("$"), Plain("lr is")]),
            ("5 $", vec![Plain("5 "), Plain("$")]),
            ("$5", vec![Plain("$"), Plain("5")]),
            ("${", vec![Broken]),
            ("a ${5}", vec![Plain("a "), Broken, Plain("}")]),
            ("${é}", vec![Broken, Plain("é}")]),
        ] {
            assert_eq!(split(text), expected, "{text}");
        }
    }

    #[test]
    fn an_escaped_text_has_no_variables() {
        for text in ["$lr", "${lr}", "$$", "a $ ${b}", "${", "plain"] {
            let escaped = escape(text);
            let back = pieces(&escaped).map(|(piece, _)| match piece {
                Piece::Plain(part) => part.to_owned(),
                piece => panic!("{piece:?} in {escaped}"),
            });
            assert_eq!(back.collect::<String>(), text);
        }
    }
}
