//! What a program leaves in its folder: outputs that are kept, measured values, and the rest.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use serde::Deserialize;

use super::arguments::PARAMS;
use super::log;
use crate::experiment::spec::Command;
use crate::protocol::Point;

const LOG: &str = "log.txt";
const METRICS: &str = "metrics.jsonl";

/// Empties the folder except for the log: no program goes on where another attempt stopped.
pub(super) fn clear(folder: &Path) -> Result<(), String> {
    for name in names(folder)?.iter().filter(|name| *name != LOG) {
        remove(&folder.join(name))?;
    }
    Ok(())
}

/// Checks the declared outputs, reads what was measured, and removes what is neither.
pub(super) fn take(command: &Command, folder: &Path) -> Result<Vec<Point>, String> {
    let left = names(folder)?;
    for output in &command.outputs {
        check_output(output, folder, &left)?;
    }
    let points = match &command.metrics {
        Some(name) => points(name, folder, &left)?,
        None => Vec::new(),
    };
    let is_kept = |name: &String| name == LOG || command.outputs.contains(name);
    let mut strays = Vec::new();
    for name in left.iter().filter(|name| !is_kept(name)) {
        remove(&folder.join(name))?;
        if name != PARAMS && command.metrics.as_ref() != Some(name) {
            strays.push(name.as_str());
        }
    }
    if !strays.is_empty() {
        // A log that cannot be written is no reason to lose the program's work.
        let line = format!("not kept, since `outputs` does not name it: {}", strays.join(", "));
        let _ = log(folder).and_then(|mut log| writeln!(log, "{line}"));
    }
    write_points(&points, &folder.join(METRICS))?;
    Ok(points)
}

fn check_output(output: &str, folder: &Path, left: &[String]) -> Result<(), String> {
    match fs::symlink_metadata(folder.join(output)) {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(_) => {
            Err(format!("the program left `{output}` as a folder or link; an output is a file"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let left: Vec<&str> = left
                .iter()
                .map(String::as_str)
                .filter(|name| ![LOG, PARAMS].contains(name))
                .collect();
            let left = if left.is_empty() { "nothing".to_owned() } else { left.join(", ") };
            Err(format!(
                "the program ended well, but `{output}`, which `outputs` names, is not in its folder `{{out}}`; it left {left}"
            ))
        }
        Err(error) => Err(format!("cannot look at the output `{output}`: {error}")),
    }
}

/// A line of the program's file of measured values.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    name: String,
    #[serde(default)]
    step: u64,
    value: serde_json::Value,
}

fn points(name: &str, folder: &Path, left: &[String]) -> Result<Vec<Point>, String> {
    if !left.iter().any(|other| other == name) {
        return Err(format!(
            "the program ended well, but `{name}`, which `metrics` names, is not in its folder `{{out}}`"
        ));
    }
    let text = fs::read_to_string(folder.join(name))
        .map_err(|error| format!("cannot read `{name}`: {error}"))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let points = lines.map(|(index, line)| {
        point(line).map_err(|reason| {
            let number = index + 1;
            let line = line.trim();
            format!(
                "`{name}`, line {number}: {reason}: {line}; a line is {{\"name\": \"test/loss\", \"step\": 3, \"value\": 0.1}}"
            )
        })
    });
    points.collect()
}

fn point(line: &str) -> Result<Point, String> {
    // Python writes values that JSON has no numbers for as bare words.
    let parsed = serde_json::from_str(line);
    let parsed = parsed.or_else(|error| serde_json::from_str(&quoted(line)).map_err(|_| error));
    let Line { name, step, value } = parsed.map_err(|error| error.to_string())?;
    if name.trim().is_empty() {
        return Err("a value needs a name".to_owned());
    }
    let number = match &value {
        serde_json::Value::Number(number) => number.as_f64(),
        serde_json::Value::String(word) if WORDS.contains(&word.as_str()) => word.parse().ok(),
        _ => None,
    };
    let value = number.ok_or("`value` is no number")?;
    Ok(Point { name, step, value })
}

const WORDS: [&str; 5] = ["NaN", "Infinity", "-Infinity", "inf", "-inf"];

/// The line with a bare `NaN` or `Infinity` as a text.
fn quoted(line: &str) -> String {
    let Some((before, after)) = line.split_once("\"value\"") else { return line.to_owned() };
    let word = after.trim_start_matches([':', ' ', '\t']);
    let end = word.find([',', '}', ' ', '\t']).unwrap_or(word.len());
    let (word, rest) = word.split_at(end);
    if WORDS.contains(&word) {
        format!("{before}\"value\": \"{word}\"{rest}")
    } else {
        line.to_owned()
    }
}

fn write_points(points: &[Point], path: &Path) -> Result<(), String> {
    let mut text = Vec::new();
    let written = points.iter().try_for_each(|point| {
        serde_json::to_writer(&mut text, point)?;
        text.push(b'\n');
        Ok(())
    });
    let written = written.and_then(|()| fs::write(path, text));
    written.map_err(|error| format!("cannot write `{METRICS}`: {error}"))
}

fn names(folder: &Path) -> Result<Vec<String>, String> {
    let read = || -> io::Result<Vec<String>> {
        let entries = fs::read_dir(folder)?;
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names: Vec<String> = names.collect::<io::Result<_>>()?;
        names.sort();
        Ok(names)
    };
    read().map_err(|error| format!("cannot read `{}`: {error}", folder.display()))
}

fn remove(path: &Path) -> Result<(), String> {
    let is_folder = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    let removed = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(|error| format!("cannot remove `{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(settings: &str) -> Command {
        toml::from_str(&format!("program = ['true']\n{settings}")).unwrap()
    }

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[track_caller]
    fn check_metrics(text: &str, expected: Result<&[(&str, u64, f64)], &str>) {
        let folder = folder(&[("m.jsonl", text)]);
        let points = take(&command("metrics = 'm.jsonl'"), folder.path());
        match (points, expected) {
            (Ok(points), Ok(expected)) => {
                // As text, in which one NaN is like another.
                let points: Vec<_> =
                    points.iter().map(|it| (&*it.name, it.step, it.value)).collect();
                assert_eq!(format!("{points:?}"), format!("{expected:?}"));
                let written = fs::read_to_string(folder.path().join(METRICS)).unwrap();
                assert_eq!(written.lines().count(), points.len());
                assert!(!folder.path().join("m.jsonl").exists(), "it is kept in its one form");
            }
            (Err(error), Err(expected)) => assert_eq!(error, expected),
            (points, _) => panic!("{points:?}"),
        }
    }

    #[test]
    fn measured_values_are_lines_of_json() {
        check_metrics(
            "{\"name\": \"test/loss\", \"step\": 3, \"value\": 0.1}\n\n{\"name\": \"n\", \"value\": 7}\n",
            Ok(&[("test/loss", 3, 0.1), ("n", 0, 7.0)]),
        );
        check_metrics(
            "{\"name\": \"a\", \"value\": NaN}\n{\"name\": \"b\", \"value\": -Infinity, \"step\": 1}\n{\"value\": Infinity, \"name\": \"NaN\"}",
            Ok(&[("a", 0, f64::NAN), ("b", 1, f64::NEG_INFINITY), ("NaN", 0, f64::INFINITY)]),
        );
    }

    #[test]
    fn a_bad_line_is_shown_with_its_number() {
        let form = "a line is {\"name\": \"test/loss\", \"step\": 3, \"value\": 0.1}";
        for (line, reason) in [
            ("loss 0.1", "expected value at line 1 column 1"),
            ("{\"name\": \"a\"}", "missing field `value` at line 1 column 13"),
            ("{\"name\": \"a\", \"value\": \"high\"}", "`value` is no number"),
            ("{\"name\": \" \", \"value\": 1}", "a value needs a name"),
        ] {
            let text = format!("{{\"name\": \"a\", \"value\": 1}}\n{line}\n");
            check_metrics(&text, Err(&format!("`m.jsonl`, line 2: {reason}: {line}; {form}")));
        }
    }

    #[test]
    fn outputs_stay_and_the_rest_goes_with_a_word_in_the_log() {
        let folder =
            folder(&[("model.bin", "m"), ("notes.txt", ""), (PARAMS, "{}"), (LOG, "hello\n")]);
        fs::create_dir(folder.path().join("cache")).unwrap();
        let points = take(&command("outputs = ['model.bin']"), folder.path()).unwrap();
        assert_eq!(points, []);
        assert_eq!(names(folder.path()).unwrap(), [LOG, METRICS, "model.bin"]);
        let log = fs::read_to_string(folder.path().join(LOG)).unwrap();
        assert_eq!(log, "hello\nnot kept, since `outputs` does not name it: cache, notes.txt\n");
    }

    #[test]
    fn an_output_that_is_not_there_is_named_with_what_is() {
        let folder = folder(&[("model.pt", "m"), (PARAMS, "{}")]);
        let error = take(&command("outputs = ['model.bin']"), folder.path()).unwrap_err();
        let expected = "the program ended well, but `model.bin`, which `outputs` names, is not in its folder `{out}`; it left model.pt";
        assert_eq!(error, expected);
        let error = take(&command("metrics = 'm.jsonl'"), folder.path()).unwrap_err();
        let expected = "the program ended well, but `m.jsonl`, which `metrics` names, is not in its folder `{out}`";
        assert_eq!(error, expected);
    }

    #[test]
    fn an_output_is_a_file_of_its_own() {
        let folder = folder(&[]);
        fs::create_dir(folder.path().join("a")).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", folder.path().join("b")).unwrap();
        for name in ["a", "b"] {
            let error =
                take(&command(&format!("outputs = ['{name}']")), folder.path()).unwrap_err();
            assert_eq!(
                error,
                format!("the program left `{name}` as a folder or link; an output is a file")
            );
        }
    }

    #[test]
    fn an_attempt_starts_in_an_empty_folder() {
        let folder = folder(&[("half.bin", ""), (LOG, "before\n")]);
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        clear(folder.path()).unwrap();
        assert_eq!(names(folder.path()).unwrap(), [LOG]);
    }
}
