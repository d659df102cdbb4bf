//! The rules of the house, read off the sources: who may use what, who may know whom.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A source file: its path below `src/` and its lines of code, numbered, without comments and tests.
struct Source {
    path: String,
    code: Vec<(usize, String)>,
}

impl Source {
    /// The room that it belongs to: `ledger`, `recipe`.
    fn room(&self) -> &str {
        let first = self.path.split('/').next().unwrap_or_default();
        first.trim_end_matches(".rs")
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    paths.sort();
    let sources = paths.into_iter().map(|path| {
        let text = fs::read_to_string(&path).unwrap();
        let relative = path.strip_prefix(&root).unwrap();
        Source { path: relative.to_string_lossy().replace('\\', "/"), code: code(&text) }
    });
    let sources: Vec<_> = sources.filter(|source| !source.path.ends_with("tests.rs")).collect();
    assert!(sources.len() > 40, "the sources are found");
    sources
}

fn walk(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && name != "tests" {
            walk(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

/// The lines of code; a file's tests come last, so everything from `mod tests {` on is left out.
fn code(text: &str) -> Vec<(usize, String)> {
    let lines = text.lines().enumerate().take_while(|(_, line)| !line.starts_with("mod tests {"));
    let lines = lines.map(|(index, line)| (index + 1, line.to_owned()));
    lines.filter(|(_, line)| !line.trim_start().starts_with("//")).collect()
}

/// Fails with every line of the sources that is guilty.
#[track_caller]
fn check(rule: &str, guilty: impl Fn(&Source, &str) -> bool) {
    let mut found = Vec::new();
    for source in sources() {
        let lines = source.code.iter().filter(|(_, line)| guilty(&source, line));
        found.extend(
            lines.map(|(number, line)| format!("src/{}:{number}: {}", source.path, line.trim())),
        );
    }
    assert!(found.is_empty(), "{rule}:\n{}", found.join("\n"));
}

/// Whether a line has a word that is no part of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

#[test]
fn only_the_ledger_knows_sqlite() {
    check("`rusqlite` belongs in src/ledger", |source, line| {
        source.room() != "ledger" && has_word(line, "rusqlite")
    });
}

#[test]
fn only_the_engine_knows_libtorch() {
    check("`tch` belongs in src/engine", |source, line| {
        source.room() != "engine" && has_word(line, "tch")
    });
}

#[test]
fn only_the_command_line_and_the_engines_main_print() {
    let words = ["println!", "eprintln!", "print!", "eprint!"];
    check("printing belongs in src/cli and the engine's main", |source, line| {
        let may = source.room() == "cli"
            || matches!(source.path.as_str(), "engine/main.rs" | "engine/build.rs");
        !may && words.iter().any(|word| has_print(line, word))
    });
}

fn has_print(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        !line[..at]
            .chars()
            .next_back()
            .is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
    })
}

#[test]
fn nothing_is_left_for_later() {
    // Spelled in parts, so that this file is not guilty itself.
    let words =
        [concat!("dbg", "!("), concat!("to", "do!("), concat!("FIX", "ME"), concat!("X", "XX")];
    check("unfinished code", |_, line| words.iter().any(|word| line.contains(word)));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    walk(&root.join("src"), &mut paths);
    walk(&root.join("tests/it"), &mut paths);
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        for word in words {
            assert!(!text.contains(word), "{} has {word}", path.display());
        }
    }
}

#[test]
fn pure_rooms_touch_no_file_thread_or_clock() {
    let pure = ["experiment", "network", "recipe", "plan", "protocol", "table"];
    let impure =
        ["std::fs", "std::thread", "std::env", "std::process", "std::net", "SystemTime", "Instant"];
    check("pure rooms take what they need as arguments", |source, line| {
        pure.contains(&source.room()) && impure.iter().any(|word| has_word(line, word))
    });
    check("the queue of schedule is pure", |source, line| {
        source.path == "schedule/queue.rs" && impure.iter().any(|word| has_word(line, word))
    });
}

/// Whom each room may know. `experiment::spec` is the language's types alone.
fn arrows() -> BTreeMap<&'static str, &'static [&'static str]> {
    BTreeMap::from([
        (
            "cli",
            &[
                "dataset",
                "digest",
                "experiment",
                "experiment::spec",
                "export",
                "ledger",
                "network",
                "plan",
                "protocol",
                "recipe",
                "schedule",
                "store",
                "table",
            ][..],
        ),
        ("dataset", &["digest", "experiment::spec"]),
        ("digest", &[]),
        ("experiment", &["experiment::spec", "network"]),
        ("export", &["network"]),
        ("ledger", &["protocol", "recipe"]),
        ("network", &["experiment::spec"]),
        ("plan", &["experiment", "experiment::spec", "recipe"]),
        ("protocol", &["experiment::spec", "recipe"]),
        ("recipe", &["experiment", "experiment::spec"]),
        (
            "schedule",
            &["digest", "experiment::spec", "ledger", "plan", "protocol", "recipe", "store"],
        ),
        ("store", &["recipe"]),
        ("table", &[]),
    ])
}

#[test]
fn one_use_per_room() {
    check("write `use crate::room::…` once per room, so that arrows are seen", |_, line| {
        line.trim_start().starts_with("use crate::{") && !line.contains('}')
    });
}

#[test]
fn rooms_know_only_whom_the_plan_of_the_house_lets_them() {
    let arrows = arrows();
    check("an arrow that DESIGN.md section 1 does not have", |source, line| {
        let room = source.room();
        let Some(allowed) = arrows.get(room) else { return false };
        line.match_indices("crate::").any(|(at, _)| {
            let rest = &line[at + "crate::".len()..];
            let names = rest.strip_prefix('{').map_or_else(
                || vec![rest.to_owned()],
                |list| list.split(',').map(|name| name.trim().to_owned()).collect(),
            );
            names.iter().any(|name| {
                let known = known(name);
                let own_types = room == "experiment" && known == "experiment::spec";
                let may = known.is_empty() || known == room || own_types;
                !may && !allowed.contains(&known)
            })
        })
    });
}

/// The room that a path begins with; empty for what is no room.
fn known(path: &str) -> &'static str {
    let mut parts = path.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
    let (first, second) = (parts.next().unwrap_or_default(), parts.find(|part| !part.is_empty()));
    match (first, second) {
        ("experiment", Some("spec")) => "experiment::spec",
        ("experiment", _) => "experiment",
        ("cli", _) => "cli",
        ("dataset", _) => "dataset",
        ("digest", _) => "digest",
        ("export", _) => "export",
        ("ledger", _) => "ledger",
        ("network", _) => "network",
        ("plan", _) => "plan",
        ("protocol", _) => "protocol",
        ("recipe", _) => "recipe",
        ("schedule", _) => "schedule",
        ("store", _) => "store",
        ("table", _) => "table",
        _ => "",
    }
}

#[test]
fn the_engine_knows_the_language_the_network_and_the_protocol_alone() {
    let allowed = ["dataset", "digest", "experiment", "network", "protocol", "recipe"];
    check(
        "the engine depends on the language, networks, datasets and the protocol",
        |source, line| {
            source.room() == "engine"
                && line.match_indices("graftwork::").any(|(at, _)| {
                    let rest = &line[at + "graftwork::".len()..];
                    !rest.starts_with('{') && {
                        let name: String =
                            rest.chars().take_while(|letter| letter.is_alphanumeric()).collect();
                        !allowed.contains(&name.as_str())
                    }
                })
        },
    );
}

#[test]
fn files_are_short_enough_to_be_read() {
    let long: Vec<_> = sources()
        .iter()
        .filter(|source| source.code.last().map_or(0, |(number, _)| *number) > 700)
        .map(|source| source.path.clone())
        .collect();
    assert!(long.is_empty(), "longer than 700 lines: {long:?}");
}
