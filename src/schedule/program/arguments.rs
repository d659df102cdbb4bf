//! What a program is told: its arguments, its environment, its parameters.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::experiment::spec::Command;
use crate::experiment::spec::template::{Piece, pieces};
use crate::protocol::Job;

/// The file with all parameters.
pub(super) const PARAMS: &str = "params.json";

/// Where everything is that a program can be told of; whole paths, since it starts in another folder.
#[derive(Debug)]
pub(super) struct Places {
    out: PathBuf,
    params: PathBuf,
    /// Nothing for a program that draws nothing.
    seed: Option<u64>,
    inputs: BTreeMap<String, PathBuf>,
    files: BTreeMap<String, PathBuf>,
}

impl Places {
    pub(super) fn of(command: &Command, job: &Job) -> Result<Self, String> {
        let whole = |path: &Path| {
            std::path::absolute(path)
                .map_err(|error| format!("there is no current folder: {error}"))
        };
        let out = whole(&job.draft)?;
        let inputs = job.inputs.iter().map(|(role, path)| Ok((role.clone(), whole(path)?)));
        let files = command.files.iter();
        let files = files.map(|(name, path)| Ok((name.clone(), whole(&job.folder.join(path))?)));
        Ok(Self {
            params: out.join(PARAMS),
            out,
            seed: command.random.then_some(job.seed),
            inputs: inputs.collect::<Result<_, String>>()?,
            files: files.collect::<Result<_, String>>()?,
        })
    }

    /// The program and its arguments, placeholders filled in.
    pub(super) fn arguments(&self, command: &Command) -> Result<Vec<OsString>, String> {
        command.program.iter().map(|argument| self.fill(argument, command)).collect()
    }

    fn fill(&self, argument: &str, command: &Command) -> Result<OsString, String> {
        let wrong = |what: String| format!("the argument {argument:?}: {what}");
        let mut filled = OsString::new();
        for piece in pieces(argument).map_err(|error| wrong(error.to_string()))? {
            match piece {
                Piece::Text(text) => filled.push(text),
                Piece::Name(name) => filled.push(
                    self.value(name, command)
                        .ok_or_else(|| wrong(format!("`{{{name}}}` stands for nothing")))?,
                ),
            }
        }
        Ok(filled)
    }

    fn value(&self, name: &str, command: &Command) -> Option<OsString> {
        let path = |path: &PathBuf| path.clone().into_os_string();
        match name {
            Command::OUT => Some(path(&self.out)),
            Command::PARAMS => Some(path(&self.params)),
            Command::SEED => self.seed.map(|seed| seed.to_string().into()),
            _ => {
                let place = self.inputs.get(name).or_else(|| self.files.get(name)).map(path);
                place.or_else(|| command.param(name).map(OsString::from))
            }
        }
    }

    /// What is added to the environment.
    pub(super) fn environment(&self) -> BTreeMap<String, OsString> {
        let mut environment = BTreeMap::from([
            ("GRAFTWORK_OUT".to_owned(), self.out.clone().into()),
            ("GRAFTWORK_PARAMS".to_owned(), self.params.clone().into()),
        ]);
        if let Some(seed) = self.seed {
            environment.insert("GRAFTWORK_SEED".to_owned(), seed.to_string().into());
        }
        for (role, path) in &self.inputs {
            let role = role.to_uppercase().replace('-', "_");
            environment.insert(format!("GRAFTWORK_INPUT_{role}"), path.clone().into());
        }
        environment
    }

    /// Writes the file with all parameters.
    pub(super) fn write_params(&self, command: &Command) -> Result<(), String> {
        let text = serde_json::to_vec(&command.params).map_err(io::Error::from);
        let written = text.and_then(|text| std::fs::write(&self.params, text));
        written.map_err(|error| format!("cannot write `{}`: {error}", self.params.display()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::experiment::spec::Stage;

    fn job(command: &Command) -> Job {
        Job {
            key: "ab".repeat(32).parse().unwrap(),
            name: "fit".to_owned(),
            stage: Stage::Command(command.clone()),
            seed: 5,
            inputs: BTreeMap::from([("first-one".to_owned(), PathBuf::from("/store/a"))]),
            data: BTreeMap::new(),
            draft: PathBuf::from("/store/draft"),
            folder: PathBuf::from("/study"),
            files: BTreeMap::new(),
            keep_epochs: BTreeSet::new(),
            threads: None,
        }
    }

    fn command(program: &str) -> Command {
        toml::from_str(&format!(
            "program = {program}\ninputs = {{ first-one = 'a' }}\nfiles = {{ script = 'src/fit.py' }}\n\
             params = {{ lr = 0.1, size = {{ w = 3 }} }}"
        ))
        .unwrap()
    }

    #[test]
    fn placeholders_become_whole_paths_and_values() {
        let command = command(
            "['python3', '{script}', '--lr={lr}', '{size.w}', '{first-one}/m.bin', '{out}', '{seed}', '{params}', '{{}}']",
        );
        let places = Places::of(&command, &job(&command)).unwrap();
        let expected = [
            "python3",
            "/study/src/fit.py",
            "--lr=0.1",
            "3",
            "/store/a/m.bin",
            "/store/draft",
            "5",
            "/store/draft/params.json",
            "{}",
        ];
        assert_eq!(places.arguments(&command).unwrap(), expected);
    }

    #[test]
    fn the_environment_says_the_same() {
        let mut command = command("['true']");
        let environment = |command: &Command| {
            let places = Places::of(command, &job(command)).unwrap();
            let entries = places.environment().into_iter();
            entries.map(|(name, value)| format!("{name}={}", value.display())).collect::<Vec<_>>()
        };
        let mut expected = vec![
            "GRAFTWORK_INPUT_FIRST_ONE=/store/a",
            "GRAFTWORK_OUT=/store/draft",
            "GRAFTWORK_PARAMS=/store/draft/params.json",
            "GRAFTWORK_SEED=5",
        ];
        assert_eq!(environment(&command), expected);
        command.random = false;
        expected.pop();
        assert_eq!(environment(&command), expected, "a program that draws nothing knows no seed");
    }
}
