//! What a `command` says: whether its placeholders stand for something, and whether its names are its own.

use std::cell::LazyCell;
use std::collections::HashMap;
use std::ops::Deref;

use super::fault::{Code, Fault, Span, list, nearest};
use super::networks::Site;
use super::spec::template::{Piece, pieces};
use super::spec::{Command, OWN_FILES};

/// Checks a command stage.
pub(super) fn check(site: &Site<'_>, command: &Command, faults: &mut Vec<Fault>) {
    names(site, command, faults);
    let legal = LazyCell::new(|| command.placeholders());
    for (index, argument) in command.program.iter().enumerate() {
        placeholders(site, command, &legal, (index, argument), faults);
    }
    for (index, output) in command.outputs.iter().enumerate() {
        if is_own(output) {
            faults.push(own_file(site, site.item(&["outputs"], index), output));
        }
    }
    let metrics = command.metrics.as_deref().filter(|name| *name != "metrics.jsonl");
    if let Some(metrics) = metrics.filter(|name| is_own(name)) {
        faults.push(own_file(site, site.value(&["metrics"]), metrics));
    }
    if !command.random && command.seed.is_some() {
        let message = "`seed` pins the seed of a program that draws nothing";
        let fault = site.fault(Code::Contradiction, site.key(&["seed"]), message);
        let fault =
            fault.label("never used").note(site.sources, site.key(&["random"]), "it draws nothing");
        faults.push(fault.help("leave out `seed`, or `random = false`"));
    }
}

/// What a name stands for.
#[derive(Clone, Copy)]
enum Stands {
    /// The same in every command.
    For(&'static str),
    /// What this table says.
    In(&'static str),
}

/// A name stands for one thing.
fn names(site: &Site<'_>, command: &Command, faults: &mut Vec<Fault>) {
    let mut taken: HashMap<&str, Stands> = HashMap::from([
        (Command::OUT, Stands::For("the folder that the program writes into")),
        (Command::SEED, Stands::For("the seed")),
        (Command::PARAMS, Stands::For("the file with all parameters")),
    ]);
    let declared = command.inputs.keys().map(|name| ("inputs", name));
    let declared = declared.chain(command.files.keys().map(|name| ("files", name)));
    for (table, name) in declared.chain(command.params.keys().map(|name| ("params", name))) {
        let Some(&first) = taken.get(name.as_str()) else {
            taken.insert(name, Stands::In(table));
            continue;
        };
        let message = format!("`{{{name}}}` would have two meanings");
        let fault = site.fault(Code::TakenName, site.key(&[table, name]), &message);
        let fault =
            match first {
                Stands::For(what) => fault.label(format!("it is {what} already")),
                Stands::In(other) => fault
                    .label(format!("it is a name in `{other}` already"))
                    .note(site.sources, site.key(&[other, name]), "the other"),
            };
        faults.push(fault.help("give it another name"));
    }
}

fn placeholders(
    site: &Site<'_>,
    command: &Command,
    legal: &impl Deref<Target = Vec<String>>,
    (index, argument): (usize, &str),
    faults: &mut Vec<Fault>,
) {
    let span = site.item(&["program"], index);
    let pieces = match pieces(argument) {
        Ok(pieces) => pieces,
        Err(error) => {
            let message = format!("in the argument {argument:?} {error}");
            let fault = site.fault(Code::Placeholder, span, &message).label("a single brace");
            faults.push(fault.help("a placeholder is a name in braces: `{lr}`; write `{{` and `}}` for the braces themselves"));
            return;
        }
    };
    for piece in pieces {
        let Piece::Name(name) = piece else { continue };
        let place = || within(site, span, &format!("{{{name}}}"));
        if !legal.iter().any(|other| other == name) {
            faults.push(unknown(site, place(), name, legal));
        } else if name == Command::SEED && !command.random {
            let message = "`{seed}` is given to a program that draws nothing";
            let fault = site.fault(Code::Contradiction, place(), message).label("it has no seed");
            let fault = fault.note(site.sources, site.key(&["random"]), "it draws nothing");
            faults.push(fault.help("leave out `random = false`, or `{seed}`"));
        }
    }
}

fn unknown(site: &Site<'_>, place: Span, name: &str, legal: &[String]) -> Fault {
    let legal = || legal.iter().map(String::as_str);
    let message = format!("the placeholder `{{{name}}}` stands for nothing");
    let label = nearest(name, legal())
        .map_or("unknown".to_owned(), |near| format!("did you mean `{{{near}}}`?"));
    let fault = site.fault(Code::Placeholder, place, &message).label(label);
    fault
        .help(format!("there are {}; write `{{{{` and `}}}}` for braces themselves", list(legal())))
}

/// Where a part of a text stands; the whole of it where it is written otherwise.
fn within(site: &Site<'_>, span: Span, part: &str) -> Span {
    match site.sources.quote(span).find(part) {
        Some(at) => {
            let start = span.start + at;
            Span::new(span.source, start..start + part.len())
        }
        None => span,
    }
}

fn is_own(name: &str) -> bool {
    OWN_FILES.contains(&name) || name.starts_with("progress")
}

fn own_file(site: &Site<'_>, span: Span, name: &str) -> Fault {
    let message = format!("{name:?} is a file that graftwork itself writes beside the program's");
    let fault = site.fault(Code::TakenName, span, &message).label("taken");
    fault.help(format!(
        "choose another name than {}, and none that begins with `progress`",
        list(OWN_FILES)
    ))
}
