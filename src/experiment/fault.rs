//! What is wrong with an experiment file: the place, the value, the legal values, the remedy.
//!
//! Every fault carries the text that it points into, so that it can show itself; the layout is that
//! of rustc.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::Serialize;

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal,)*) => {
        /// The kinds of fault; a code keeps its meaning for ever.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[doc = $doc])+ $name,)*
        }

        impl Code {
            /// Every code, in order.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The code as messages show it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)*
                }
            }

            /// What the code means, in a line.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc),+).trim_ascii(),)*
                }
            }
        }
    };
}

codes! {
    /// The text is not TOML.
    Syntax = "E001",
    /// A table has a key that the language does not know.
    UnknownKey = "E002",
    /// A table lacks a key that it needs.
    MissingKey = "E003",
    /// A value has another type than its key takes.
    WrongType = "E004",
    /// A number, or the length of a list, is outside its legal range.
    OutOfRange = "E005",
    /// A name is none of those that the key can choose from.
    UnknownName = "E006",
    /// A table that chooses one alternative chooses none or several.
    NotOne = "E007",
    /// A name has characters that names cannot have.
    IllFormedName = "E008",
    /// A list states the same value twice.
    Repeated = "E009",
    /// A stage reads a stage that does not exist.
    UnknownStage = "E010",
    /// Stages read each other in a loop.
    Loop = "E011",
    /// A stage starts from a stage that makes no network.
    NoNetwork = "E012",
    /// A sweep's axis leads to no key that its stage states.
    UnknownAxis = "E020",
    /// Two axes of a sweep set the same key.
    OverlappingAxes = "E021",
    /// A sweep has more trials than can be meant.
    TooManyTrials = "E022",
    /// A `--set` is not `KEY=VALUE`, or its key leads nowhere.
    IllFormedSet = "E030",
    /// A network cannot take the images that it is given.
    Shape = "E040",
    /// A pattern matches no layer of the stage's network.
    NoLayer = "E041",
    /// The classes of a dataset and of a network, or of two datasets, differ.
    Classes = "E042",
    /// A teacher without distillation, or distillation without a teacher.
    Teacher = "E043",
    /// A choice is to be made on a validation split that does not exist.
    NoValidation = "E044",
    /// Settings contradict each other.
    Contradiction = "E045",
    /// The source and the target of an adaptation are the same images.
    Domain = "E046",
    /// A setting in a point of a named axis leads to no key of a stage.
    UnknownSetting = "E060",
    /// Two values of an axis look the same wherever they are shown.
    LabelsAlike = "E061",
    /// All values of an axis give the same trials.
    IdleAxis = "E062",
    /// A rule of `exclude` or `include` names an axis or a value that the sweep does not have.
    UnknownArm = "E063",
    /// A rule of `exclude` drops nothing, or one of `include` adds nothing.
    IdleRule = "E064",
    /// The rules of a sweep leave no combination.
    EmptySweep = "E065",
    /// A `--set` contradicts a setting of a named axis.
    SetInAxis = "E066",
    /// A stage that trains asks for test data.
    TestInTraining = "E069",
    /// An argument of a command has a placeholder that stands for nothing.
    Placeholder = "E070",
    /// A name of a command's file, input, parameter or output has a meaning already.
    TakenName = "E071",
    /// A file that a stage names is not there.
    MissingFile = "E072",
    /// An argument of a command is a file that the stage does not declare.
    UndeclaredFile = "E073",
}

/// One fault of an experiment file or of a `--set`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fault {
    /// Stable code, [`Code`].
    pub code: &'static str,
    /// The file's name, or `--set`.
    pub file: String,
    /// Line, 1-based.
    pub line: usize,
    /// Column in characters, 1-based.
    pub column: usize,
    /// Bytes of the text that is at fault.
    pub span: Range<usize>,
    /// What is wrong, with the value.
    pub message: String,
    /// What stands under the marked text: the fault in a few words, or the nearest legal name.
    pub label: String,
    /// The legal values and the remedy.
    pub help: Option<String>,
    /// Other places that the fault has to do with.
    pub notes: Vec<Note>,
    /// Which text it is in: 0 is the file, the others are `--set`s.
    #[serde(skip)]
    pub(super) source: usize,
    #[serde(skip)]
    text: Arc<str>,
}

/// Another place that a fault has to do with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Note {
    /// Bytes of the text, in the file of the fault.
    pub span: Range<usize>,
    /// What the place has to do with it.
    pub label: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(&Renderer::plain()))
    }
}

impl Fault {
    fn render(&self, renderer: &Renderer) -> String {
        // Only the lines that are shown: a large file with many faults is not read anew for each.
        let lines = self.lines();
        let line = self.line - self.text[lines.start..self.span.start].matches('\n').count();
        let place = |span: &Range<usize>| span.start - lines.start..span.end - lines.start;
        let primary = AnnotationKind::Primary.span(place(&self.span)).label(&self.label);
        let notes = self
            .notes
            .iter()
            .map(|note| AnnotationKind::Context.span(place(&note.span)).label(note.label.as_str()));
        let snippet = Snippet::source(&self.text[lines.clone()]).line_start(line).path(&self.file);
        let snippet = snippet.annotation(primary).annotations(notes);
        let mut group = Level::ERROR.primary_title(&self.message).id(self.code).element(snippet);
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help));
        }
        renderer.render(&[group])
    }

    /// The whole lines from the first to the last place that the fault points at.
    fn lines(&self) -> Range<usize> {
        let spans = || std::iter::once(&self.span).chain(self.notes.iter().map(|note| &note.span));
        let start = spans().map(|span| span.start).min().unwrap_or(0);
        let end = spans().map(|span| span.end).max().unwrap_or(self.text.len());
        let before = self.text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let behind =
            self.text[end..].find('\n').map_or(self.text.len(), |newline| end + newline + 1);
        before..behind
    }
}

/// Every fault of an experiment file, in the order of the text.
#[derive(Debug, Clone, PartialEq, Serialize, thiserror::Error)]
#[serde(transparent)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// All faults as text, with colours for a terminal if `coloured`.
    pub fn render(&self, coloured: bool) -> String {
        let renderer = if coloured { Renderer::styled() } else { Renderer::plain() };
        let mut text = String::new();
        for fault in &self.0 {
            text.push_str(&fault.render(&renderer));
            text.push_str("\n\n");
        }
        let count = match self.0.as_slice() {
            [fault] => format!("1 fault in {}", fault.file),
            faults => format!("{} faults in {}", faults.len(), faults[0].file),
        };
        text.push_str(&count);
        text
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

/// A piece of one of the [`Sources`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Span {
    /// Which text: 0 is the file, the others are `--set`s.
    pub(super) source: usize,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Span {
    pub(super) fn new(source: usize, range: Range<usize>) -> Self {
        Self { source, start: range.start, end: range.end }
    }

    /// From the start of this one to the end of another, if that is later in the same text.
    pub(super) fn to(self, other: Self) -> Self {
        let follows = other.source == self.source && other.end >= self.end;
        if follows { Self { end: other.end, ..self } } else { self }
    }
}

/// The texts that an experiment is read from: the file, then one for each `--set`.
#[derive(Debug, Clone)]
pub(super) struct Sources(Vec<(String, Arc<str>)>);

impl Sources {
    pub(super) fn new(file: &str, text: &str, sets: &[String]) -> Self {
        let sets = sets.iter().map(|set| ("--set".to_owned(), Arc::from(set.as_str())));
        Self(std::iter::once((file.to_owned(), Arc::from(text))).chain(sets).collect())
    }

    pub(super) fn text(&self, source: usize) -> &str {
        &self.0[source].1
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

    pub(super) fn fault(&self, code: Code, span: Span, message: impl Into<String>) -> Fault {
        let (file, text) = &self.0[span.source];
        let start = text.floor_char_boundary(span.start);
        let end = text.ceil_char_boundary(span.end).max(start);
        // A place between two characters is shown at the one behind it.
        let behind = text[start..].chars().next().filter(|next| !next.is_whitespace());
        let end = if start == end { end + behind.map_or(0, char::len_utf8) } else { end };
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        Fault {
            code: code.as_str(),
            file: file.clone(),
            line: text[..start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            span: start..end,
            message: message.into(),
            label: String::new(),
            help: None,
            notes: Vec::new(),
            source: span.source,
            text: Arc::clone(text),
        }
    }
}

impl Fault {
    pub(super) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        let help = help.into();
        self.help = Some(match self.help.take() {
            None => help,
            Some(before) => format!("{before}\n{help}"),
        });
        self
    }

    pub(super) fn help_if(self, help: Option<String>) -> Self {
        match help {
            Some(help) => self.help(help),
            None => self,
        }
    }

    /// Points at another place too; left out if that is in another text.
    pub(super) fn note(mut self, sources: &Sources, span: Span, label: impl Into<String>) -> Self {
        let text = &sources.0[span.source].1;
        let is_here = Arc::ptr_eq(text, &self.text) && span.end > span.start;
        if is_here && (span.start..span.end) != self.span {
            self.notes.push(Note { span: span.start..span.end, label: label.into() });
        }
        self
    }
}

/// Names that a message lists at most; the meant one is looked for among ten times as many. A file of
/// thousands of stages can have thousands of faults that each name them all.
const MOST_NAMES: usize = 30;

/// The legal name that was probably meant.
pub(super) fn nearest<'a>(name: &str, legal: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace(['-', '_', ' '], "");
    let name = plain(name);
    let limit = (name.chars().count() / 3).max(1);
    let distances = legal.into_iter().take(10 * MOST_NAMES).map(|legal| {
        let other = plain(legal);
        let distance = strsim::osa_distance(&name, &other);
        // `epoch` is near `epochs`, `lr` is near nothing, `crop` is near `random-crop`.
        let is_part = name.len() >= 3 && (other.contains(&name) || name.contains(&other));
        (if is_part { distance.min(1) } else { distance }, distance, legal)
    });
    let near = distances.filter(|(rank, ..)| *rank <= limit);
    near.min_by_key(|(rank, distance, _)| (*rank, *distance)).map(|(.., legal)| legal)
}

/// `a, b, c`; of very many names the first and how many more there are.
pub(super) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names = names.into_iter();
    let shown: Vec<_> = names.by_ref().take(MOST_NAMES).collect();
    match names.count() {
        0 => shown.join(", "),
        more => format!("{}, and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_explained() {
        let mut seen = std::collections::BTreeSet::new();
        for code in Code::ALL {
            assert!(seen.insert(code.as_str()), "{code:?} has a code that is taken");
            assert!(code.meaning().ends_with('.'), "{code:?}");
        }
    }

    #[test]
    fn names_that_are_near_are_found_and_others_are_not() {
        let legal = ["epochs", "early-stopping", "learning-rate-factors", "random-crop"];
        for (name, near) in [
            ("epoch", Some("epochs")),
            ("Epochs", Some("epochs")),
            ("early_stoping", Some("early-stopping")),
            ("crop", Some("random-crop")),
            ("lr", None),
            ("colour", None),
            ("earlystopping", Some("early-stopping")),
        ] {
            assert_eq!(nearest(name, legal), near, "{name}");
        }
    }

    #[test]
    fn lines_and_columns_count_from_one_in_characters() {
        let sources = Sources::new("a.toml", "# é\nü = 1\n", &[]);
        let start = sources.text(0).find('1').unwrap();
        let fault = sources.fault(Code::WrongType, Span::new(0, start..start + 1), "no");
        assert_eq!((fault.line, fault.column), (2, 5));
    }
}
