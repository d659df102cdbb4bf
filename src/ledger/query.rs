//! Questions in SQL.

use rusqlite::types::ValueRef;
use serde_json::Value;

use super::{Ledger, LedgerError};

/// The rows that a query gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// The rows; a value that JSON has no number for is a text (`inf`).
    pub rows: Vec<Vec<Value>>,
}

impl Ledger {
    /// Answers one `SELECT`, and refuses whatever would write.
    ///
    /// # Errors
    /// [`LedgerError::Query`] if the statement is wrong or would write, with what would be right.
    pub fn query(&self, sql: &str) -> Result<Answer, LedgerError> {
        let mut statement =
            self.connection.prepare(sql).map_err(|error| self.explain(&error, sql))?;
        if !statement.readonly() {
            let message = "`graftwork query` only reads, and this statement would write; \
                           `graftwork ledger` has the commands that change the ledger";
            return Err(LedgerError::Query(message.to_owned()));
        }
        let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let count = columns.len();
        let mut answer = Answer { columns, rows: Vec::new() };
        let mut rows = statement.query([]).map_err(|error| self.explain(&error, sql))?;
        while let Some(row) = rows.next().map_err(|error| self.explain(&error, sql))? {
            let values: rusqlite::Result<Vec<Value>> =
                (0..count).map(|index| row.get_ref(index).map(json)).collect();
            answer.rows.push(values.map_err(|error| self.explain(&error, sql))?);
        }
        Ok(answer)
    }

    /// The tables and views with their columns.
    ///
    /// # Errors
    /// If SQLite cannot read.
    pub fn relations(&self) -> Result<Vec<(String, Vec<String>)>, LedgerError> {
        let sql = "SELECT list.name, info.name FROM sqlite_schema AS list \
                   JOIN pragma_table_info(list.name) AS info \
                   WHERE list.type IN ('table', 'view') AND list.name NOT LIKE 'sqlite%' \
                   ORDER BY list.type DESC, list.rowid, info.cid";
        let rows = self.list("list tables", sql, [], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        })?;
        let mut relations: Vec<(String, Vec<String>)> = Vec::new();
        for (relation, column) in rows {
            match relations.last_mut() {
                Some((name, columns)) if *name == relation => columns.push(column),
                _ => relations.push((relation, vec![column])),
            }
        }
        Ok(relations)
    }

    /// Says what is wrong with a query, and which names there are where one is unknown.
    fn explain(&self, error: &rusqlite::Error, sql: &str) -> LedgerError {
        let text = match error {
            rusqlite::Error::SqlInputError { msg, offset, .. } => {
                let near = usize::try_from(*offset).ok().and_then(|offset| sql.get(offset..));
                let near: String = near.unwrap_or("").chars().take(24).collect();
                if near.is_empty() || msg.contains("near") {
                    msg.clone()
                } else {
                    format!("{msg}, at `{near}`")
                }
            }
            rusqlite::Error::MultipleStatement => {
                "one statement at a time; this is more than one".to_owned()
            }
            error => error.to_string(),
        };
        let relations = self.relations().unwrap_or_default();
        let hint = if let Some(wanted) = unknown(&text, "no such table: ") {
            let names: Vec<&str> = relations.iter().map(|(name, _)| name.as_str()).collect();
            format!("; {}", suggestion(wanted, &names))
        } else if let Some(wanted) = unknown(&text, "no such column: ") {
            let wanted = wanted.rsplit('.').next().unwrap_or(wanted);
            let mut columns: Vec<&str> = relations
                .iter()
                .filter(|(name, _)| mentions(sql, name))
                .flat_map(|(_, columns)| columns.iter().map(String::as_str))
                .collect();
            columns.sort_unstable();
            columns.dedup();
            format!("; {}", suggestion(wanted, &columns))
        } else {
            String::new()
        };
        LedgerError::Query(format!("{text}{hint}"))
    }
}

fn unknown<'a>(message: &'a str, prefix: &str) -> Option<&'a str> {
    let (_, rest) = message.split_once(prefix)?;
    rest.split([',', ' ']).next()
}

fn mentions(sql: &str, name: &str) -> bool {
    sql.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .any(|word| word.eq_ignore_ascii_case(name))
}

fn suggestion(wanted: &str, names: &[&str]) -> String {
    let near = names
        .iter()
        .map(|name| (strsim::damerau_levenshtein(wanted, name), name))
        .filter(|(distance, _)| *distance <= 2)
        .min();
    let meant = near.map_or(String::new(), |(_, name)| format!("did you mean `{name}`? "));
    format!("{meant}there are: {}", names.join(", "))
}

fn json(value: ValueRef) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(integer) => integer.into(),
        ValueRef::Real(real) => {
            serde_json::Number::from_f64(real).map_or_else(|| real.to_string().into(), Value::from)
        }
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned().into(),
        ValueRef::Blob(bytes) => {
            let digits =
                |byte: &u8| [byte >> 4, byte & 15].map(|four| b"0123456789abcdef"[four as usize]);
            bytes.iter().flat_map(digits).map(char::from).collect::<String>().into()
        }
    }
}
