//! What is wrong with an experiment file: the place, the value, the legal values, the remedy.
//!
//! Every fault carries the text that it points into, so that it can show itself; the layout is that
//! of rustc.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{Annotation, AnnotationKind, Level, Renderer, Snippet};
use indexmap::IndexSet;
use serde::Serialize;

pub(super) use super::sources::{Sources, Span};

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
    /// A stage goes back to a point of a training that there is not.
    Rewind = "E047",
    /// A network gives one class for an example where the data has one for every pixel, or the reverse.
    Task = "E048",
    /// A stage asks of a `TorchScript` program what takes knowledge of its layers.
    Program = "E049",
    /// A value names a variable that no file states.
    UnknownVariable = "E050",
    /// Variables are made of each other in a loop.
    VariableLoop = "E051",
    /// A variable is used nowhere.
    UnusedVariable = "E052",
    /// A file that an experiment extends cannot be read.
    MissingBase = "E053",
    /// Files extend each other in a loop.
    BaseLoop = "E054",
    /// Variables, or files that extend each other, become more than can be meant.
    TooLarge = "E055",
    /// A text has a list, a table or a date in it.
    NoText = "E056",
    /// A `without` names nothing that the file extends.
    NothingLeftOut = "E057",
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
    /// A `--set`, or an extending file, contradicts a setting of a named axis.
    SetInAxis = "E066",
    /// A claim is about several results at once.
    OpenClaim = "E067",
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
    /// Which of the [`Sources`] it is in.
    #[serde(skip)]
    pub(super) source: usize,
    #[serde(skip)]
    text: Arc<str>,
}

/// Another place that a fault has to do with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Note {
    /// The file's name, or `--set`.
    pub file: String,
    /// Line, 1-based.
    pub line: usize,
    /// Bytes of that file's text.
    pub span: Range<usize>,
    /// What the place has to do with it.
    pub label: String,
    #[serde(skip)]
    text: Arc<str>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(&Renderer::plain()))
    }
}

impl Fault {
    fn render(&self, renderer: &Renderer) -> String {
        let (here, elsewhere): (Vec<&Note>, Vec<&Note>) =
            self.notes.iter().partition(|note| Arc::ptr_eq(&note.text, &self.text));
        let spans = std::iter::once(&self.span).chain(here.iter().map(|note| &note.span));
        let excerpt = Excerpt::new(&self.text, (self.span.start, self.line), spans);
        let primary = AnnotationKind::Primary.span(excerpt.place(&self.span)).label(&self.label);
        let snippet = excerpt.snippet(&self.file).annotation(primary);
        let snippet = snippet.annotations(here.iter().map(|note| excerpt.mark(note)));
        let mut group = Level::ERROR.primary_title(&self.message).id(self.code).element(snippet);
        for notes in elsewhere.chunk_by(|a, b| Arc::ptr_eq(&a.text, &b.text)) {
            let known = (notes[0].span.start, notes[0].line);
            let spans = notes.iter().map(|note| &note.span);
            let excerpt = Excerpt::new(&notes[0].text, known, spans);
            let marks = notes.iter().map(|note| excerpt.mark(note));
            group = group.element(excerpt.snippet(&notes[0].file).annotations(marks));
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help));
        }
        renderer.render(&[group])
    }
}

/// The lines of a text that a fault points at: a large file with many faults is not read anew for each.
struct Excerpt<'a> {
    text: &'a str,
    /// Where it starts in the whole text.
    start: usize,
    /// The number of its first line.
    line: usize,
}

impl<'a> Excerpt<'a> {
    /// The whole lines from the first to the last of some places; of one place the line is known.
    fn new<'b>(
        text: &'a str,
        (known, line): (usize, usize),
        spans: impl Iterator<Item = &'b Range<usize>>,
    ) -> Self {
        let around = spans.fold(known..known, |around, span| {
            around.start.min(span.start)..around.end.max(span.end)
        });
        let start = text[..around.start].rfind('\n').map_or(0, |newline| newline + 1);
        let behind = text[around.end..].find('\n');
        let end = behind.map_or(text.len(), |newline| around.end + newline + 1);
        let line = line - text[start..known].matches('\n').count();
        Self { text: &text[start..end], start, line }
    }

    fn snippet<T: Clone>(&self, path: &'a str) -> Snippet<'a, T> {
        Snippet::source(self.text).line_start(self.line).path(path)
    }

    fn place(&self, span: &Range<usize>) -> Range<usize> {
        span.start - self.start..span.end - self.start
    }

    fn mark(&self, note: &'a Note) -> Annotation<'a> {
        AnnotationKind::Context.span(self.place(&note.span)).label(note.label.as_str())
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
        let count = match self.0.len() {
            1 => "1 fault".to_owned(),
            count => format!("{count} faults"),
        };
        let files: IndexSet<&str> = self.0.iter().map(|fault| fault.file.as_str()).collect();
        let files: Vec<&str> = files.into_iter().collect();
        text + &format!("{count} in {}", files.join(" and "))
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

/// How many uses of variables within each other a fault shows.
const MOST_USES: usize = 4;

impl Sources {
    /// A fault at a place; in the value of a variable, it points at the use too.
    pub(super) fn fault(&self, code: Code, span: Span, message: impl Into<String>) -> Fault {
        let text = self.shared_text(span.source);
        let start = text.floor_char_boundary(span.start);
        let end = text.ceil_char_boundary(span.end).max(start);
        // A place between two characters is shown at the one behind it.
        let behind = text[start..].chars().next().filter(|next| !next.is_whitespace());
        let end = if start == end { end + behind.map_or(0, char::len_utf8) } else { end };
        let (line, column) = self.line_and_column(span.source, start);
        let fault = Fault {
            code: code.as_str(),
            file: self.name(span.source).to_owned(),
            line,
            column,
            span: start..end,
            message: message.into(),
            label: String::new(),
            help: None,
            notes: Vec::new(),
            source: self.place(span).source,
            text,
        };
        let uses = std::iter::successors(self.used(span), |&used| self.used(used));
        uses.take(MOST_USES).fold(fault, |fault, used| fault.note(self, used, "used here"))
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

    /// Points at another place too, unless that is nothing or the fault itself.
    pub(super) fn note(mut self, sources: &Sources, span: Span, label: impl Into<String>) -> Self {
        let text = sources.shared_text(span.source);
        let is_here = Arc::ptr_eq(&text, &self.text) && (span.start..span.end) == self.span;
        if span.end > span.start && !is_here {
            self.notes.push(Note {
                file: sources.name(span.source).to_owned(),
                line: sources.line_and_column(span.source, span.start).0,
                span: span.start..span.end,
                label: label.into(),
                text,
            });
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
}
