//! The JSON Schema of experiment files, generated from the spec types.
//!
//! There are two. The language is what an experiment must be once it is put together; the checker
//! walks by it. The schema for editors is made from the language: it lets a variable stand in place of
//! any value, and requires no key, since a file may have it from one that it extends.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::spec::Experiment;

static LANGUAGE: LazyLock<Value> = LazyLock::new(|| {
    // Draft 7 is what editors (taplo among them) know best.
    let generator = SchemaSettings::draft07().into_generator();
    let mut schema = generator.into_root_schema_for::<Experiment>().to_value();
    tidy(&mut schema);
    schema["title"] = json!("graftwork experiment");
    if let (Some(properties), Value::Object(parts)) =
        (schema["properties"].as_object_mut(), composition())
    {
        properties.extend(parts);
    }
    schema
});

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let mut schema = LANGUAGE.clone();
    // The file itself is no value that a variable could be.
    let kind = schema["type"].take();
    let extends = schema["properties"]["extends"].take();
    relax(&mut schema);
    schema["type"] = kind;
    schema["properties"]["extends"] = extends;
    schema
});

/// The JSON Schema of experiment files, for editors.
pub fn schema() -> Value {
    SCHEMA.clone()
}

/// The JSON Schema of what an experiment must be, all its files taken together and variables written
/// out.
pub fn language() -> &'static Value {
    &LANGUAGE
}

/// The names of the networks that a stage can start from, in the order of the documentation.
pub fn architectures() -> Vec<&'static str> {
    let names = LANGUAGE["definitions"]["Model"]["properties"].as_object();
    names.into_iter().flat_map(Map::keys).map(String::as_str).collect()
}

/// The keys that put a file together; nothing is left of them when the rest is read.
fn composition() -> Value {
    json!({
        "extends": {
            "description": "File that this one starts from, or a list of files of which later ones \
                win. Paths start from the folder of this file. What this file states is laid over it, \
                table by table; the `files` of a command start from the folder of the file that is run.",
            "type": ["string", "array"],
            "items": { "type": "string" }
        },
        "without": {
            "description": "What is left out of the files that this one extends: `stage.thin`, \
                `sweep.thin.sparsity`, `stage.thin.prune.scope`.",
            "type": "array",
            "items": { "type": "string" }
        },
        "vars": {
            "description": "Variables: values of any type by name. `\"$name\"` is the value of `name`, \
                `${name}` stands for it within a longer text, `$$` is a dollar sign.",
            "type": "object",
            "additionalProperties": {},
            "propertyNames": {
                "pattern": "^[A-Za-z_][A-Za-z0-9_-]*$",
                "patternErrorMessage": "letters, digits, `_` and `-`, the first a letter or `_`"
            }
        }
    })
}

/// Lets a variable stand where a value can, and a key be missing that a base may state.
fn relax(schema: &mut Value) {
    let Value::Object(node) = schema else { return };
    for keyword in ["properties", "patternProperties", "definitions"] {
        if let Some(Value::Object(each)) = node.get_mut(keyword) {
            each.values_mut().for_each(relax);
        }
    }
    for keyword in ["additionalProperties", "items"] {
        node.get_mut(keyword).into_iter().for_each(relax);
    }
    for keyword in ["allOf", "anyOf"] {
        if let Some(Value::Array(each)) = node.get_mut(keyword) {
            each.iter_mut().for_each(relax);
        }
    }
    if let Some(required) = node.remove("required") {
        // Editors write these when they complete the table.
        node.insert("x-taplo".to_owned(), json!({ "initKeys": required }));
    }
    let Some(kind) = node.get("type").and_then(Value::as_str).map(str::to_owned) else { return };
    if kind != "string" {
        node.insert("type".to_owned(), json!([kind, "string"]));
        node.insert("pattern".to_owned(), json!(r"^\$"));
    } else if node.contains_key("enum") {
        let choice = ["enum", "x-taplo"].map(|keyword| Some((keyword, node.remove(keyword)?)));
        let choice: Map<String, Value> = choice
            .into_iter()
            .flatten()
            .map(|(keyword, value)| (keyword.to_owned(), value))
            .collect();
        node.remove("type");
        let variable = json!({ "type": "string", "pattern": r"\$" });
        node.insert("anyOf".to_owned(), json!([choice, variable]));
    } else if let Some(Value::String(pattern)) = node.get_mut("pattern") {
        *pattern = format!(r"{pattern}|\$");
    }
}

/// Makes the schema that of a TOML file: TOML has no null, and the integers of Rust become bounds
/// that every reader of a schema knows.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(node) => {
            drop_null(node);
            merge_alternatives(node);
            bound_integers(node);
            if let Some(Value::String(description)) = node.get_mut("description") {
                *description = unwrap_lines(description);
            }
            node.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

fn drop_null(node: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = node.get_mut("type") {
        types.retain(|each| each != "null");
        if let [only] = types.as_slice() {
            node["type"] = only.clone();
        }
    }
    if let Some(Value::Array(mut any)) = node.remove("anyOf") {
        any.retain(|each| each != &json!({ "type": "null" }));
        let key = if any.len() == 1 { "allOf" } else { "anyOf" };
        node.insert(key.to_owned(), Value::Array(any));
    }
    if node.get("default").is_some_and(Value::is_null) {
        node.remove("default");
    }
}

/// Turns a choice between tables with one key into one table with exactly one of those keys, and a
/// choice between constants into an `enum`. An editor then points at the key that is wrong; of a
/// `oneOf` it says no more than that none of the alternatives fits.
fn merge_alternatives(node: &mut Map<String, Value>) {
    let Some(Value::Array(alternatives)) = node.remove("oneOf") else { return };
    let description = |each: &Value| each.get("description").cloned().unwrap_or_default();
    if alternatives.iter().all(|each| each.get("const").is_some()) {
        let names: Vec<Value> = alternatives.iter().map(|each| each["const"].clone()).collect();
        let docs: Vec<Value> = alternatives.iter().map(description).collect();
        node.insert("type".to_owned(), json!("string"));
        node.insert("enum".to_owned(), json!(names));
        node.insert("x-taplo".to_owned(), json!({ "docs": { "enumValues": docs } }));
        return;
    }
    let properties = alternatives.iter().filter_map(|each| {
        let (name, schema) = each.get("properties")?.as_object()?.iter().next()?;
        Some((name.clone(), json!({ "description": description(each), "allOf": [schema] })))
    });
    let properties: Map<String, Value> = properties.collect();
    node.insert("type".to_owned(), json!("object"));
    node.insert("properties".to_owned(), Value::Object(properties));
    node.insert("additionalProperties".to_owned(), json!(false));
    node.insert("minProperties".to_owned(), json!(1));
    node.insert("maxProperties".to_owned(), json!(1));
}

fn bound_integers(node: &mut Map<String, Value>) {
    // A property of a spec type may be called `format` too; only a keyword is a string.
    let Some(Value::String(format)) = node.get("format") else { return };
    let largest = match format.as_str() {
        "uint32" => Some(json!(u32::MAX)),
        "uint64" => Some(json!(u64::MAX)),
        _ => None,
    };
    node.remove("format");
    if let Some(largest) = largest {
        node.entry("maximum").or_insert(largest);
    }
}

/// Lines of a paragraph become one, since editors show the text at their own width.
fn unwrap_lines(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(|paragraph| paragraph.replace('\n', " "));
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_null_no_rust_integer_and_no_vague_choice_remains() {
        let text = serde_json::to_string(language()).unwrap();
        for word in ["null", "uint", "anyOf", "oneOf", "\"format\""] {
            assert!(!text.contains(word), "{word}");
        }
    }

    #[test]
    fn editors_accept_a_variable_for_every_value_and_complete_what_is_required() {
        let schema = schema();
        assert_eq!(schema["type"], "object");
        assert_eq!(schema["x-taplo"]["initKeys"], json!(["name", "stage"]));
        let definitions = &schema["definitions"];
        let adam = &definitions["Adam"];
        assert_eq!(adam["type"], json!(["object", "string"]));
        let rate = &adam["properties"]["learning-rate"];
        assert_eq!(rate["type"], json!(["number", "string"]));
        assert_eq!((&rate["minimum"], &rate["pattern"]), (&json!(0.0), &json!(r"^\$")));
        let split = &definitions["Split"]["anyOf"];
        assert!(split[0]["enum"].as_array().unwrap().contains(&json!("test")), "{split}");
        assert_eq!(split[1]["pattern"], r"\$");
        let text = serde_json::to_string(&schema).unwrap();
        assert!(!text.contains("\"required\":["));
    }
}
