//! The sweep: axes that multiply, and the combinations that rules drop or add.

use std::borrow::Cow;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The `[sweep]` of a file, as it is written there.
///
/// A key with a dot is a plain axis: `"thin.sparsity" = [0.5, 0.9]`. One without is a named axis, a
/// list of points that set several keys together. `exclude` and `include` are rules about combinations.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sweep(IndexMap<String, Vec<Value>>);

impl Sweep {
    /// The keys of a sweep that are no axes.
    pub const RULES: [&'static str; 2] = ["exclude", "include"];

    /// The axes in the order of the file, each with its values or, where it is a named one, its points.
    pub fn axes(&self) -> impl Iterator<Item = (&str, &[Value])> {
        let axes = self.0.iter().filter(|(key, _)| !Self::RULES.contains(&key.as_str()));
        axes.map(|(name, values)| (name.as_str(), values.as_slice()))
    }

    /// Whether the file sweeps nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl JsonSchema for Sweep {
    fn schema_name() -> Cow<'static, str> {
        "Sweep".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "properties": {
                "exclude": {
                    "description": "Drops the combinations that have all of a rule's values: `[[sweep.exclude]]` with `method = \"source-only\"` and `\"thin.sparsity\" = [0.9, 0.98]`.",
                    "type": "array",
                    "items": generator.subschema_for::<Rule>(),
                },
                "include": {
                    "description": "Adds combinations, after `exclude`: `[[sweep.include]]` with `method = \"dann\"` and `\"thin.sparsity\" = 0.99`. Axes that a rule leaves out take all their values. A value of a plain axis, and a seed, may be one that the axis does not have.",
                    "type": "array",
                    "items": generator.subschema_for::<Rule>(),
                },
            },
            "patternProperties": {
                r"\.": {
                    "description": "A plain axis: `\"stage.key\" = [value, …]`. The stage must state the key.",
                    "type": "array",
                    "minItems": 1,
                    "uniqueItems": true,
                },
            },
            "additionalProperties": {
                "description": "A named axis: a list of points, `[[sweep.NAME]]` each, that have a `label` and set several keys together. An axis of plain values has a key in quotes: `\"stage.key\" = [value, …]`.",
                "type": "array",
                "minItems": 1,
                "items": generator.subschema_for::<Point>(),
            },
        })
    }
}

/// The schema of a point of a named axis.
struct Point;

impl JsonSchema for Point {
    fn schema_name() -> Cow<'static, str> {
        "Point".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "One point of a named axis: a label, and the keys that are set together, in quotes: `label = \"dann\"`, `\"moved.method\" = { dann = {} }`, `\"moved.epochs\" = 5`. The file's own value holds for a key that a point leaves out.",
            "type": "object",
            "properties": {
                "label": {
                    "description": "What tables and plans show for the point, and `--only NAME=LABEL` takes.",
                    "type": "string",
                    "pattern": r"^\S(.*\S)?$",
                    "patternErrorMessage": "characters on one line, the first and the last no space",
                },
            },
            "required": ["label"],
            "additionalProperties": {
                "description": "A setting, as `--set` takes it: `\"stage.key\" = value`. Any legal key of the stage; another alternative than the file's replaces that one with all its settings.",
            },
        })
    }
}

/// The schema of a rule about combinations.
struct Rule;

impl JsonSchema for Rule {
    fn schema_name() -> Cow<'static, str> {
        "Rule".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Combinations of a sweep: an axis' name, in quotes where it has a dot, and one of its values or a list of them: `method = [\"dann\", \"coral\"]`, `\"thin.sparsity\" = 0.9`, `seed = 0`.",
            "type": "object",
            "minProperties": 1,
            "properties": {
                "seed": { "description": "A seed, or a list of seeds: `seed = [0, 1]`." },
            },
            "additionalProperties": {
                "description": "A value of the axis, or a list of values; of a named axis a label, or a list of labels.",
            },
        })
    }
}
