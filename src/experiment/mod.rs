//! The experiment language: text to checked trials.
//!
//! [`load`] reads a file in passes: TOML to trees with places (`syntax`, `tree`), of the file and of
//! those that it extends; variables are written out and the trees laid over each other (`compose`),
//! and `--set`s applied (`sets`); the one tree is checked against the language, which is the JSON
//! Schema of the spec types (`check`, `grammar`); the sweep's axes are resolved and its combinations
//! made (`sweep`); every combination is checked for what it means: references, loops, shapes of
//! networks (`meaning`, `networks`); and values of an axis that mean the same are looked for
//! (`repeats`). All faults are reported at once. Nothing here touches a file: [`Files`] is given.

mod adapting;
mod beside;
mod check;
mod claim;
mod command;
mod compose;
mod fault;
mod finetuning;
mod fit;
mod grammar;
mod labels;
mod meaning;
mod measuring;
mod networks;
mod path;
mod program;
mod pruning;
mod repeats;
mod rewind;
mod schema;
mod sets;
mod sources;
mod sparsifying;
pub mod spec;
mod sweep;
mod syntax;
mod task;
mod tree;
mod trial;
mod write;

pub use beside::LiesThere;
pub use compose::{Alone, Files};
pub use fault::{Code, Fault, Faults, Note};
pub use schema::{architectures, language, schema};
pub use trial::{Checked, Trial, label};

/// Whether a name matches a pattern, as the language writes patterns of names.
pub use crate::network::matches;

use check::Walker;
use compose::{Composed, compose};
use fault::{Sources, Span};
use grammar::EXPERIMENT;

/// Reads an experiment and checks all of it.
///
/// `file` is the path of the file, as messages show it; what it extends is found from there among
/// `files`. `sets` are the texts of `--set`, `KEY=VALUE`: the key is a
/// path from the root (`seeds`, `stage.thin.prune.sparsity`) or starts with a stage's name and leaves
/// out the kind (`thin.sparsity`); the value is TOML, and a bare word that is none is a string. A key
/// that is legal can be set whether or not the file states it. One that names another alternative
/// than the file (`dense.optimizer.adam.learning-rate` where it says `sgd`) replaces the alternative
/// with all its settings. One that is swept, or lies inside or around a swept one, takes its axis out
/// of the sweep; of a named axis it takes out its settings of that key. `vars.NAME` sets a variable
/// before it is used.
///
/// # Errors
/// Every fault of the file, of those that it extends, and of the `--set`s.
pub fn load(file: &str, text: &str, sets: &[String], files: &dyn Files) -> Result<Checked, Faults> {
    let mut sources = Sources::new(file, text);
    let mut composed = compose(&mut sources, files, sets);
    let mut faults = std::mem::take(&mut composed.faults);
    let mut walker = Walker::new(&sources);
    walker.walk(&composed.root, &EXPERIMENT);
    if !composed.is_readable {
        faults.extend(syntax::beside(walker.faults, &faults));
        return Err(sorted(faults));
    }
    faults.append(&mut walker.faults);
    if !composed.is_known {
        return Err(sorted(faults));
    }
    let checked = check_meaning(composed, &sources, &mut faults);
    match checked {
        Some(checked) if faults.is_empty() => Ok(checked),
        _ => Err(sorted(faults)),
    }
}

/// The name of an experiment, whatever else of it is wrong; none where it states none.
pub fn name(file: &str, text: &str, files: &dyn Files) -> Option<String> {
    let composed = compose(&mut Sources::new(file, text), files, &[]);
    Some(composed.root.entry(&["name"])?.tree.text()?.to_owned())
}

/// Checks what the stages mean, in every combination of the sweep.
fn check_meaning(
    composed: Composed,
    sources: &Sources,
    faults: &mut Vec<Fault>,
) -> Option<Checked> {
    let root = &composed.root;
    let (sweep, found) = sweep::read(root, sources);
    faults.extend(found);
    let sweep = sweep?;
    let stages = meaning::Stages::new(root, sweep, sources);
    faults.extend(meaning::check(&stages, sources));
    faults.extend(repeats::repeats(&stages, sources));
    faults.extend(claim::check(root, &stages, sources));
    if !faults.is_empty() {
        return None;
    }
    match root.read() {
        Ok(experiment) => Checked::new(composed, experiment, stages, sources),
        Err(error) => {
            // Unreachable while the schema says all that the types do.
            let span = Span::start();
            faults.push(sources.fault(Code::WrongType, span, error.to_string()));
            None
        }
    }
}

/// In the order of the text, each once.
fn sorted(mut faults: Vec<Fault>) -> Faults {
    faults.sort_by_key(|fault| (fault.source, fault.span.start, fault.span.end, fault.code));
    faults.dedup_by_key(|fault| (fault.source, fault.span.clone(), fault.code));
    Faults(faults)
}

#[cfg(test)]
mod tests;
