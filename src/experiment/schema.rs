//! The JSON Schema of experiment files, generated from the spec types.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::spec::Experiment;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    // Draft 7 is what editors (taplo among them) know best.
    let generator = SchemaSettings::draft07().into_generator();
    let mut schema = generator.into_root_schema_for::<Experiment>().to_value();
    tidy(&mut schema);
    schema["title"] = json!("graftwork experiment");
    schema
});

/// The JSON Schema of experiment files; editors complete and check with it, and so does
/// [`load`](super::load).
pub fn schema() -> Value {
    SCHEMA.clone()
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
        let text = serde_json::to_string(&schema()).unwrap();
        for word in ["null", "uint", "anyOf", "oneOf", "\"format\""] {
            assert!(!text.contains(word), "{word}");
        }
    }
}
