//! The texts that an experiment is read from, and places in them.

use std::cell::OnceCell;
use std::ops::Range;
use std::sync::Arc;

/// A piece of one of the [`Sources`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Span {
    /// Which source.
    pub(super) source: usize,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Span {
    pub(super) fn new(source: usize, range: Range<usize>) -> Self {
        Self { source, start: range.start, end: range.end }
    }

    /// The start of the file itself, for what is missing.
    pub(super) fn start() -> Self {
        Self::new(0, 0..0)
    }

    /// From the start of this one to the end of another, if that is later in the same text.
    pub(super) fn to(self, other: Self) -> Self {
        let follows = other.source == self.source && other.end >= self.end;
        if follows { Self { end: other.end, ..self } } else { self }
    }
}

/// The texts that an experiment is read from: the file, the files that it extends, and one for each
/// `--set`. The value of a variable is a source of its own in each of its uses: places in it are
/// those of the text that states the variable, and it knows where it is used.
#[derive(Debug, Clone)]
pub(super) struct Sources {
    texts: Vec<Text>,
    sources: Vec<Source>,
}

/// What a text is; later ones replace what earlier ones say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A file that the experiment's extends.
    Base,
    /// The experiment's file.
    File,
    Set,
}

#[derive(Debug, Clone)]
struct Text {
    kind: Kind,
    name: String,
    content: Arc<str>,
    /// Where its lines start, once somebody asks.
    lines: OnceCell<Vec<usize>>,
    /// The source that is this text itself.
    source: usize,
}

#[derive(Debug, Clone, Copy)]
struct Source {
    text: usize,
    /// Where the variable is used whose value this is.
    used: Option<Span>,
}

impl Sources {
    pub(super) fn new(file: &str, text: &str) -> Self {
        let mut sources = Self { texts: Vec::new(), sources: Vec::new() };
        sources.add(Kind::File, file, text);
        sources
    }

    /// Adds a text; its source.
    pub(super) fn add(&mut self, kind: Kind, name: &str, text: &str) -> usize {
        let source = self.sources.len();
        self.sources.push(Source { text: self.texts.len(), used: None });
        self.texts.push(Text {
            kind,
            name: name.to_owned(),
            content: Arc::from(text),
            lines: OnceCell::new(),
            source,
        });
        source
    }

    /// Adds a source for the value of a variable, which lies in another source, in one of its uses.
    pub(super) fn add_use(&mut self, of: usize, used: Span) -> usize {
        self.sources.push(Source { text: self.sources[of].text, used: Some(used) });
        self.sources.len() - 1
    }

    /// The same place in the text itself, whatever variable's value it lies in.
    pub(super) fn place(&self, span: Span) -> Span {
        Span { source: self.texts[self.sources[span.source].text].source, ..span }
    }

    /// Where the variable is used whose value a place lies in.
    pub(super) fn used(&self, span: Span) -> Option<Span> {
        self.sources[span.source].used
    }

    /// Whether what stands at one place may have replaced what another text says, in which the other is.
    /// The value of a variable stands where it is used.
    pub(super) fn may_replace(&self, place: Span, other: Span) -> bool {
        let text = |span: Span| {
            let uses = std::iter::successors(Some(span), |&span| self.used(span));
            self.sources[uses.last().unwrap_or(span).source].text
        };
        let (text, other) = (text(place), text(other));
        text != other && self.texts[text].kind >= self.texts[other].kind
    }

    /// Whether a place lies in a file that the experiment extends.
    pub(super) fn is_base(&self, span: Span) -> bool {
        self.of(span.source).kind == Kind::Base
    }

    pub(super) fn text(&self, source: usize) -> &str {
        &self.of(source).content
    }

    pub(super) fn shared_text(&self, source: usize) -> Arc<str> {
        Arc::clone(&self.of(source).content)
    }

    /// The name that messages give a source: the file's, or `--set`.
    pub(super) fn name(&self, source: usize) -> &str {
        &self.of(source).name
    }

    /// The line and column of a byte, 1-based, columns in characters.
    pub(super) fn line_and_column(&self, source: usize, at: usize) -> (usize, usize) {
        let Text { content: text, lines, .. } = self.of(source);
        let lines = lines.get_or_init(|| {
            let starts = text.match_indices('\n').map(|(newline, _)| newline + 1);
            std::iter::once(0).chain(starts).collect()
        });
        let line = lines.partition_point(|&start| start <= at);
        (line, text[lines[line - 1]..at].chars().count() + 1)
    }

    fn of(&self, source: usize) -> &Text {
        &self.texts[self.sources[source].text]
    }

    /// The marked text itself.
    pub(super) fn quote(&self, span: Span) -> &str {
        self.text(span.source).get(span.start..span.end).unwrap_or_default()
    }

    /// The marked text where it is short and on one line, else a name for it.
    pub(super) fn short_quote<'a>(&'a self, span: Span, otherwise: &'a str) -> &'a str {
        let text = self.quote(span);
        let is_short = text.chars().count() <= 40 && !text.contains('\n') && !text.is_empty();
        if is_short { text } else { otherwise }
    }

    /// The place of a part of a string or key; all of it where escapes move the places.
    pub(super) fn part(&self, string: Span, text: &str, part: Range<usize>) -> Span {
        let written = self.quote(string);
        let quotes = if written.starts_with("\"\"\"") || written.starts_with("'''") {
            3
        } else {
            usize::from(written.starts_with(['"', '\'']))
        };
        if written.get(quotes..written.len().saturating_sub(quotes)) != Some(text) {
            return string;
        }
        let start = string.start + quotes + part.start;
        Span { start, end: start + part.len(), ..string }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one_in_characters() {
        let sources = Sources::new("a.toml", "# é\nü = 1\n");
        assert_eq!(sources.line_and_column(0, 0), (1, 1));
        let at = sources.text(0).find('1').unwrap();
        assert_eq!(sources.line_and_column(0, at), (2, 5));
        assert_eq!(sources.line_and_column(0, sources.text(0).len()), (3, 1));
    }

    #[test]
    fn a_value_in_use_lies_where_the_variable_is_stated() {
        let mut sources = Sources::new("a.toml", "a = 1\nb = '$a'\n");
        let used = Span::new(0, 10..14);
        let source = sources.add_use(0, used);
        let set = sources.add(Kind::Set, "--set", "c=2");
        let value = Span::new(source, 4..5);
        assert_eq!(sources.quote(value), "1");
        assert_eq!(sources.used(value), Some(used));
        assert_eq!(sources.place(value), Span::new(0, 4..5));
        assert_eq!((sources.name(set), sources.text(set)), ("--set", "c=2"));
        assert_eq!(sources.place(Span::new(set, 2..3)), Span::new(set, 2..3));
    }
}
