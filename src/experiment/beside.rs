//! Files beside an experiment: which it names, and what is wrong if they are there or not.
//!
//! This room touches no file. It prepares the faults; whoever can look at files says which are there.

use std::collections::HashSet;

use super::fault::{Code, Fault, Faults, Span};
use super::networks::Site;
use super::spec::{Command, Stage};
use super::{meaning, sorted};

/// A text that names a file, or seems to.
#[derive(Debug, Clone)]
pub(super) struct Mention {
    path: String,
    wrong_if: There,
    fault: Fault,
}

/// Whether a file is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum There {
    Yes,
    No,
}

/// Every file that the stages name in any of their variants.
pub(super) fn mentions(stages: &meaning::Stages, sources: &super::fault::Sources) -> Vec<Mention> {
    let (mut mentions, mut seen) = (Vec::new(), HashSet::new());
    for (name, stage) in &stages.stages {
        for variant in stage.variants.values() {
            let site = Site { sources, name, key: stage.key, variant };
            let Some(stage) = &variant.stage else { continue };
            let mut texts: Vec<Text<'_>> = declared(&site, stage).collect();
            if let Stage::Command(command) = stage {
                texts.extend(undeclared(&site, command));
            }
            // What thousands of variants have in common stands in one place, and is looked at once.
            texts.retain(|text| seen.insert((text.path, text.span)));
            mentions.extend(texts.into_iter().map(|text| text.mention(&site)));
        }
    }
    mentions
}

/// The faults that there are, given which of the files are there.
pub(super) fn faults(mentions: &[Mention], is_file: &dyn Fn(&str) -> bool) -> Result<(), Faults> {
    let is_wrong = |mention: &&Mention| {
        let there = if is_file(&mention.path) { There::Yes } else { There::No };
        there == mention.wrong_if
    };
    let faults: Vec<_> = mentions.iter().filter(is_wrong).map(|it| it.fault.clone()).collect();
    if faults.is_empty() { Ok(()) } else { Err(sorted(faults)) }
}

/// A text that names a file, or seems to, where it stands.
struct Text<'a> {
    path: &'a str,
    span: Span,
    is: Is<'a>,
}

/// What such a text is.
enum Is<'a> {
    /// A file that the stage declares by this name.
    Declared(&'a str),
    /// This argument of a command, or what stands behind its `=`.
    Argument(&'a str),
}

fn declared<'a>(site: &Site<'_>, stage: &'a Stage) -> impl Iterator<Item = Text<'a>> {
    stage.files().into_iter().map(|(name, path)| {
        let keys: &[&str] = match stage {
            Stage::Command(_) => &["files", name],
            _ => &[name],
        };
        Text { path, span: site.value(keys), is: Is::Declared(name) }
    })
}

/// Arguments that would be files that nobody watches, if they are files.
fn undeclared<'a>(site: &Site<'_>, command: &'a Command) -> impl Iterator<Item = Text<'a>> {
    command.program.iter().enumerate().flat_map(|(index, argument)| {
        let span = site.item(&["program"], index);
        // `--config=base.json`
        let value = argument.split_once('=').map(|(_, value)| value);
        let paths = [Some(argument.as_str()), value].into_iter().flatten();
        let paths = paths.filter(|path| !path.is_empty() && !path.starts_with('/'));
        paths.map(move |path| Text { path, span, is: Is::Argument(argument) })
    })
}

impl Text<'_> {
    fn mention(self, site: &Site<'_>) -> Mention {
        let Self { path, span, is } = self;
        let (wrong_if, fault) = match is {
            Is::Declared(name) => (There::No, missing(site, span, name, path)),
            Is::Argument(argument) => (There::Yes, unwatched(site, span, argument, path)),
        };
        Mention { path: path.to_owned(), wrong_if, fault }
    }
}

fn missing(site: &Site<'_>, span: Span, name: &str, path: &str) -> Fault {
    let message = format!("`{name}` is the file {path:?}, which is not there");
    let fault = site.fault(Code::MissingFile, span, &message).label("no such file");
    fault.help("paths are relative to the folder of the experiment file")
}

fn unwatched(site: &Site<'_>, span: Span, argument: &str, path: &str) -> Fault {
    let message = format!("the argument {argument:?} names a file that is not declared");
    let fault = site.fault(Code::UndeclaredFile, span, &message);
    let fault = fault.label("its changes would not be noticed");
    let name = suggestion(path);
    fault.help(format!(
        "declare it, and write `{{{name}}}` in its place: files = {{ {name} = {path:?} }}"
    ))
}

/// A name for a file: its own without the ending, as far as it is one.
fn suggestion(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = file.split('.').find(|part| !part.is_empty()).unwrap_or_default();
    let legal = |letter: &char| letter.is_ascii_alphanumeric() || "_-".contains(*letter);
    let name: String = stem.chars().filter(legal).collect();
    if name.starts_with(|letter: char| letter.is_ascii_alphabetic()) {
        name
    } else {
        "file".to_owned()
    }
}
