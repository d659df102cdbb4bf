//! Files beside an experiment: which it names, and what is wrong if they are there or not.
//!
//! This room touches no file. It prepares the faults; whoever can look at files says which are there.

use super::fault::{Code, Fault, Faults};
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
    let mut mentions = Vec::new();
    for (name, stage) in &stages.stages {
        for variant in stage.variants.values() {
            let site = Site { sources, name, key: stage.key, variant };
            let Some(stage) = &variant.stage else { continue };
            mentions.extend(declared(&site, stage));
            if let Stage::Command(command) = stage {
                mentions.extend(undeclared(&site, command));
            }
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

fn declared<'a>(site: &Site<'a>, stage: &'a Stage) -> impl Iterator<Item = Mention> {
    stage.files().into_iter().map(|(name, path)| {
        let keys: &[&str] = match stage {
            Stage::Command(_) => &["files", name],
            _ => &[name],
        };
        let message = format!("`{name}` is the file {path:?}, which is not there");
        let fault = site.fault(Code::MissingFile, site.value(keys), &message);
        let fault = fault.label("no such file");
        let fault = fault.help("paths are relative to the folder of the experiment file");
        Mention { path: path.to_owned(), wrong_if: There::No, fault }
    })
}

/// Arguments that would be files that nobody watches, if they are files.
fn undeclared(site: &Site<'_>, command: &Command) -> Vec<Mention> {
    let mut mentions = Vec::new();
    for (index, argument) in command.program.iter().enumerate() {
        // `--config=base.json`
        let value = argument.split_once('=').map(|(_, value)| value);
        let paths = [Some(argument.as_str()), value].into_iter().flatten();
        for path in paths.filter(|path| !path.is_empty() && !path.starts_with('/')) {
            let message = format!("the argument {argument:?} names a file that is not declared");
            let span = site.item(&["program"], index);
            let fault = site.fault(Code::UndeclaredFile, span, &message);
            let fault = fault.label("its changes would not be noticed");
            let name = suggestion(path);
            let fault = fault.help(format!(
                "declare it, and write `{{{name}}}` in its place: files = {{ {name} = {path:?} }}"
            ));
            mentions.push(Mention { path: path.to_owned(), wrong_if: There::Yes, fault });
        }
    }
    mentions
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
