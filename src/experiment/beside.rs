//! Files and folders beside an experiment: which it names, and what is wrong if they are there or not.
//!
//! This room touches no file. It prepares the faults; whoever can look at files says which are there.

use std::collections::HashSet;

use super::fault::{Code, Fault, Faults, Span};
use super::networks::Site;
use super::spec::{Beside, Command, Stage};
use super::{meaning, sorted};

/// What lies at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiesThere {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// Nothing that can be read.
    Nothing,
}

/// A text that names a file or folder, or seems to.
#[derive(Debug, Clone)]
pub(super) struct Mention {
    path: String,
    /// What is wrong, by what lies there.
    faults: Vec<(LiesThere, Fault)>,
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

/// The faults that there are, given what lies where.
pub(super) fn faults(mentions: &[Mention], look: &dyn Fn(&str) -> LiesThere) -> Result<(), Faults> {
    let fault = |mention: &Mention| {
        let there = look(&mention.path);
        let wrong = mention.faults.iter().find(|(wrong, _)| *wrong == there);
        wrong.map(|(_, fault)| fault.clone())
    };
    let faults: Vec<_> = mentions.iter().filter_map(fault).collect();
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
    /// A file or folder that the stage declares by this key.
    Declared { key: String, is_folder: bool },
    /// This argument of a command, or what stands behind its `=`.
    Argument(&'a str),
}

fn declared<'a>(site: &Site<'_>, stage: &'a Stage) -> impl Iterator<Item = Text<'a>> {
    stage.files().into_iter().map(move |(name, Beside { path, is_folder })| {
        let data = stage.data().into_iter().find(|(key, _)| *key == name);
        let (keys, key) = match (stage, data) {
            (Stage::Command(_), _) => (vec!["files", name], name.to_owned()),
            (_, Some((_, data))) => {
                (vec![name, data.name(), "path"], format!("{name}.{}.path", data.name()))
            }
            _ => (vec![name], name.to_owned()),
        };
        Text { path, span: site.value(&keys), is: Is::Declared { key, is_folder } }
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
        let faults = match is {
            Is::Declared { key, is_folder } => {
                let other = if is_folder { LiesThere::File } else { LiesThere::Folder };
                vec![
                    (LiesThere::Nothing, missing(site, span, &key, path, is_folder)),
                    (other, of_other_kind(site, span, &key, path, is_folder)),
                ]
            }
            Is::Argument(argument) => {
                vec![(LiesThere::File, unwatched(site, span, argument, path))]
            }
        };
        Mention { path: path.to_owned(), faults }
    }
}

fn what(is_folder: bool) -> &'static str {
    if is_folder { "folder" } else { "file" }
}

fn missing(site: &Site<'_>, span: Span, key: &str, path: &str, is_folder: bool) -> Fault {
    let what = what(is_folder);
    let message = format!("`{key}` is the {what} {path:?}, which is not there");
    let fault = site.fault(Code::MissingFile, span, &message).label(format!("no such {what}"));
    fault.help("paths are relative to the folder of the experiment file")
}

fn of_other_kind(site: &Site<'_>, span: Span, key: &str, path: &str, is_folder: bool) -> Fault {
    let (wanted, found) = (what(is_folder), what(!is_folder));
    let message = format!("`{key}` is a {wanted}, and {path:?} is a {found}");
    let fault = site.fault(Code::MissingFile, span, &message).label(format!("a {found}"));
    fault.help(format!("name a {wanted}; paths are relative to the folder of the experiment file"))
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
