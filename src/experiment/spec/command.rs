//! The command stage: any program, with what it reads and leaves declared.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// Runs a program with declared inputs, files, parameters and outputs.
///
/// It starts in the folder of the experiment file and finds in its environment `GRAFTWORK_PARAMS` (the
/// path of a JSON file with `params`), `GRAFTWORK_OUT` (the folder to write into), `GRAFTWORK_SEED`, and
/// `GRAFTWORK_INPUT_<ROLE>` for every input. What is not declared is not seen: a program that reads
/// another file is not run again when that file changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Command {
    /// The program and its arguments, no shell in between. `{out}`, `{seed}`, `{params}` (a JSON file),
    /// and names of inputs, files and parameters (`{lr}`, `{size.w}`) in braces stand for their values;
    /// `{{` and `}}` are braces.
    ///
    /// Variables, `"$name"` and `${name}`, are written out before that; `$$` is a dollar sign, as a shell
    /// is to see it.
    #[schemars(length(min = 1))]
    pub program: Vec<String>,
    /// Stages whose files it reads, by role; `{role}` is the folder of the stage's checkpoint.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    #[schemars(extend(
        "additionalProperties" = { "type": "string", "x-names": "stage" },
        "propertyNames" = {
            "pattern": "^[a-z][a-z0-9-]*$",
            "patternErrorMessage": "lower-case letters, digits and `-`, the first a letter"
        }
    ))]
    pub inputs: IndexMap<String, String>,
    /// Files that decide its result, by name, relative to the experiment file that is run, also where a
    /// file that it extends states them; `{name}` is the file's path. It runs again when one changes, wherever it lies. Comments and blank lines of `.py` files
    /// do not count where they certainly mean nothing.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    #[schemars(extend(
        "additionalProperties" = { "type": "string" },
        "propertyNames" = {
            "pattern": "^[A-Za-z][A-Za-z0-9_-]*$",
            "patternErrorMessage": "letters, digits, `_` and `-`, the first a letter"
        }
    ))]
    pub files: IndexMap<String, String>,
    /// Parameters of any shape.
    #[serde(default, skip_serializing_if = "Map::is_empty", deserialize_with = "params")]
    #[schemars(extend("additionalProperties" = {}))]
    pub params: Map<String, Value>,
    /// Files that it leaves in `{out}`; what else it leaves there is not kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "items" = {
            "type": "string",
            "pattern": "^[A-Za-z0-9_][A-Za-z0-9._-]*$",
            "patternErrorMessage": "letters, digits, `.`, `_` and `-`, without folders"
        },
        "uniqueItems" = true
    ))]
    pub outputs: Vec<String>,
    /// File with measured values that it leaves in `{out}`, a line of JSON each:
    /// `{"name": "test/loss", "step": 3, "value": 0.1}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend(
        "pattern" = "^[A-Za-z0-9_][A-Za-z0-9._-]*$",
        "patternErrorMessage" = "letters, digits, `.`, `_` and `-`, without folders"
    ))]
    pub metrics: Option<String>,
    /// Whether it draws random numbers; one that does not has no seed, and all seeds share its result.
    #[serde(default = "Command::default_random")]
    pub random: bool,
    /// Pins the seed of this stage, so that all seeds of the experiment share it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl Command {
    /// The folder that the program writes into.
    pub const OUT: &str = "out";
    /// The seed of its random draws.
    pub const SEED: &str = "seed";
    /// The JSON file with all parameters.
    pub const PARAMS: &str = "params";

    fn default_random() -> bool {
        true
    }

    /// A parameter by the path of its keys, as text: a string as it is, everything else as JSON.
    pub fn param(&self, path: &str) -> Option<String> {
        let mut keys = path.split('.');
        let first = self.params.get(keys.next()?)?;
        let value = keys.try_fold(first, |value, key| value.as_object()?.get(key))?;
        Some(match value {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        })
    }

    /// Every name that a placeholder can have here.
    pub fn placeholders(&self) -> Vec<String> {
        let fixed = [Self::OUT, Self::SEED, Self::PARAMS].map(str::to_owned);
        let declared = self.inputs.keys().chain(self.files.keys()).cloned();
        let mut names: Vec<String> = fixed.into_iter().chain(declared).collect();
        for (key, value) in &self.params {
            paths(key, value, &mut names);
        }
        names
    }
}

/// Minus zero is zero, as in every setting: the program is told what the key says.
fn params<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    let mut params = Map::deserialize(deserializer)?;
    params.values_mut().for_each(without_minus_zero);
    Ok(params)
}

fn without_minus_zero(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() && number.as_f64() == Some(0.0) => {
            *value = Value::from(0.0);
        }
        Value::Array(items) => items.iter_mut().for_each(without_minus_zero),
        Value::Object(table) => table.values_mut().for_each(without_minus_zero),
        _ => {}
    }
}

/// The path of a parameter and of those inside it.
fn paths(path: &str, value: &Value, names: &mut Vec<String>) {
    names.push(path.to_owned());
    for (key, value) in value.as_object().into_iter().flatten() {
        paths(&format!("{path}.{key}"), value, names);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        toml::from_str(
            "program = ['true']\ninputs = { previous = 'dense' }\nfiles = { script = 'fit.py' }\n\
             params = { lr = 1e-1, size = { w = 3, name = 'big' }, on = true, list = [1, 2.5] }",
        )
        .unwrap()
    }

    #[test]
    fn parameters_are_found_by_their_path() {
        let param = |path| command().param(path);
        assert_eq!(param("lr").as_deref(), Some("0.1"));
        assert_eq!(param("size.w").as_deref(), Some("3"));
        assert_eq!(param("size.name").as_deref(), Some("big"));
        assert_eq!(param("size").as_deref(), Some(r#"{"name":"big","w":3}"#));
        assert_eq!(param("on").as_deref(), Some("true"));
        assert_eq!(param("list").as_deref(), Some("[1,2.5]"));
        for path in ["none", "size.h", "lr.x", "", "size."] {
            assert_eq!(param(path), None, "{path}");
        }
    }

    #[test]
    fn minus_zero_is_zero_in_parameters() {
        let command = "program = ['true']\nparams = { a = -0.0, b = [-0e5], c = -0 }";
        let command: Command = toml::from_str(command).unwrap();
        assert_eq!(Value::from(command.params).to_string(), r#"{"a":0.0,"b":[0.0],"c":0}"#);
    }

    #[test]
    fn all_that_can_be_named_is_listed() {
        let expected = [
            "out",
            "seed",
            "params",
            "previous",
            "script",
            "list",
            "lr",
            "on",
            "size",
            "size.name",
            "size.w",
        ];
        assert_eq!(command().placeholders(), expected);
    }
}
