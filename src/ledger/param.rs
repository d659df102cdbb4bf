//! Settings as flat pairs, so that a query can name one.

use rusqlite::types::Value as Sql;
use serde_json::Value;

/// Every setting of a recipe's spec with its path.
///
/// Lists are one value, their JSON text. A table that holds a single table is a choice (`criterion =
/// { min-mse = { hessian = "diag" } }`): it gives its name as well (`criterion` is `min-mse`).
pub(super) fn flatten(spec: &Value) -> Vec<(String, Sql)> {
    let mut pairs = Vec::new();
    if let Value::Object(fields) = spec {
        for (name, value) in fields {
            walk(name, value, &mut pairs);
        }
    }
    pairs
}

fn walk(path: &str, value: &Value, pairs: &mut Vec<(String, Sql)>) {
    let Value::Object(fields) = value else {
        pairs.push((path.to_owned(), sql(value)));
        return;
    };
    if let (1, Some((choice, Value::Object(_)))) = (fields.len(), fields.iter().next()) {
        pairs.push((path.to_owned(), Sql::Text(choice.clone())));
    }
    for (name, value) in fields {
        walk(&format!("{path}.{name}"), value, pairs);
    }
}

fn sql(value: &Value) -> Sql {
    match value {
        Value::Null => Sql::Null,
        Value::Number(number) => match number.as_i64() {
            Some(integer) => Sql::Integer(integer),
            None => Sql::Real(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => Sql::Text(text.clone()),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => Sql::Text(value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_give_their_name_and_their_settings() {
        let spec = serde_json::json!({
            "sparsity": 0.9,
            "criterion": { "min-mse": { "hessian": "diag" } },
            "data": { "mnist": {} },
            "hidden": [300, 100],
            "epochs": 3,
            "batch-norm": true,
        });
        let mut pairs = flatten(&spec);
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        let text = |text: &str| Sql::Text(text.to_owned());
        let expected = [
            ("batch-norm", text("true")),
            ("criterion", text("min-mse")),
            ("criterion.min-mse.hessian", text("diag")),
            ("data", text("mnist")),
            ("epochs", Sql::Integer(3)),
            ("hidden", text("[300,100]")),
            ("sparsity", Sql::Real(0.9)),
        ];
        assert_eq!(pairs, expected.map(|(path, value)| (path.to_owned(), value)));
    }
}
