//! TOML text to a tree, with every syntax error.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::LazyLock;

use regex_lite::Regex;
use toml::de::DeTable;

use super::fault::{Code, Fault, Sources, Span};
use super::tree::Tree;

/// Open brackets that are closed to read on, and errors that are looked at for one: each costs a reading.
const MOST_BRACKETS: usize = 20;

/// The tree of a file, as far as it can be read, and what is no TOML.
pub(super) fn parse(sources: &Sources, source: usize) -> (Tree, Vec<Fault>) {
    let mut text = sources.text(source).to_owned();
    let mut faults = Vec::new();
    loop {
        let (table, errors) = DeTable::parse_recoverable(&text);
        // What follows an open bracket is not worth reading: close it and read again.
        let is_patient = faults.len() < MOST_BRACKETS;
        let mut first = errors.iter().take(MOST_BRACKETS).filter(|_| is_patient);
        let open = first.find_map(|error| open_bracket(&text, error));
        if let Some(open) = open {
            let message = "not TOML: a bracket is not closed";
            let span = Span::new(source, open.start..open.start + 1);
            let fault = sources.fault(Code::Syntax, span, message);
            let close = if text[open.start..].starts_with('[') { ']' } else { '}' };
            let label = format!("no `{close}` before the next key or [table]");
            faults.push(fault.label(label));
            let blank = " ".repeat(open.len() - 2);
            text.replace_range(open.start + 1..open.end, &format!("{blank}{close}"));
            continue;
        }
        let root = Tree::from_table(table.get_ref(), source, Span::new(source, 0..0));
        faults.extend(errors.iter().map(|error| {
            let span = Span::new(source, error.span().unwrap_or_default());
            explain(sources, error.message(), span)
        }));
        // After an error the parser stumbles on through the rest of the line.
        faults.sort_by_key(|fault| (fault.line, fault.span.start));
        faults.dedup_by_key(|fault| fault.line);
        return (root, faults);
    }
}

/// An open bracket and what was meant to be in it, if that is what an error comes from.
///
/// The parser takes the lines that follow for more of the list; the first of them that starts a key
/// or a table tells that they are not.
fn open_bracket(text: &str, error: &toml::de::Error) -> Option<Range<usize>> {
    static START: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"=[ \t]*[\[{]").expect("a plain pattern"));
    static LINE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r#"^(\[[^\],]*\][ \t]*(#.*)?$|[\w.'"-]+[ \t]*=)"#).expect("a plain pattern")
    });
    let at = error.span()?.start;
    let before = text.get(..at)?;
    let line = before.rfind('\n').map_or(0, |newline| newline + 1);
    let rest = text[line..].lines().next().unwrap_or_default();
    let is_end = text[at..].trim().is_empty() && error.message().starts_with("unclosed");
    let is_line_start = text[line..at].trim().is_empty() && LINE.is_match(rest.trim());
    if !(is_end || is_line_start) {
        return None;
    }
    let open = START.find_iter(before).last()?.end() - 1;
    let content = text[..if is_end { at } else { line }].trim_end();
    // Closed on the way, the bracket is not the reason; without room, it cannot be closed.
    let inside = content.get(open + 1..)?;
    let depth = inside.chars().fold(1, |depth, c| match c {
        '[' | '{' => depth + 1,
        ']' | '}' => depth - 1,
        _ => depth,
    });
    (depth > 0 && !inside.is_empty()).then_some(open..content.len())
}

/// The faults of a file that is no TOML which are not the syntax errors in other words.
pub(super) fn beside(faults: Vec<Fault>, syntax: &[Fault]) -> Vec<Fault> {
    let lines: BTreeSet<(usize, usize)> =
        syntax.iter().map(|fault| (fault.source, fault.line)).collect();
    // What is missing may be what could not be read.
    let missing = [Code::MissingKey, Code::NotOne].map(Code::as_str);
    let is_real = |fault: &Fault| {
        !missing.contains(&fault.code) && !lines.contains(&(fault.source, fault.line))
    };
    faults.into_iter().filter(is_real).collect()
}

/// A syntax error in the words of a user.
fn explain(sources: &Sources, message: &str, span: Span) -> Fault {
    let rest = sources.text(span.source).get(span.start..).unwrap_or_default();
    let quote = sources.quote(span);
    let at = |message: &str| sources.fault(Code::Syntax, span, format!("not TOML: {message}"));
    let is_word =
        !quote.is_empty() && quote.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if message.starts_with("string values must be quoted") && quote.is_empty() {
        let is_value = rest.is_empty() || rest.starts_with(['\n', '\r', '#']);
        if is_value {
            return at("a value is missing after `=`").label("expected a value");
        }
    }
    if is_word && (message.contains("must be quoted") || message.starts_with("invalid boolean")) {
        let boolean = match quote.to_lowercase().as_str() {
            "true" | "yes" | "on" => Some("true"),
            "false" | "no" | "off" => Some("false"),
            _ => None,
        };
        let fault = at(&format!("`{quote}` is no value"));
        return match boolean {
            Some(boolean) => {
                fault.label("a boolean is true or false").help(format!("write {boolean}"))
            }
            None => fault.label("strings need quotes").help(format!("write \"{quote}\"")),
        };
    }
    if message.starts_with("duplicate key") {
        return at(&format!("`{quote}` is stated twice"))
            .label("stated again")
            .help("a key or a [table] can be stated once; leave one out or join the two");
    }
    if message.starts_with("cannot extend value of type") {
        return at(&format!("`{quote}` has a value and takes no further keys"))
            .label("stated above")
            .help(
                "state all its keys in one place: within the braces, or each with its dotted key",
            );
    }
    let (what, expected) = message.split_once(", expected ").unwrap_or((message, ""));
    let fault = at(what);
    if expected.is_empty() { fault } else { fault.label(format!("expected {expected}")) }
}
