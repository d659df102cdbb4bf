//! `graftwork query`.

use serde_json::{Map, Value};

use super::{Context, Outcome, show};
use crate::ledger::Answer;
use crate::table;

/// Answers an SQL query on the ledger (read-only).
///
/// The view `result` has a row for every value of every trial of each experiment's last run. Without a
/// query, shows the tables and their columns.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// A `SELECT` in SQLite's dialect
    sql: Option<String>,
    /// Form of the answer
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

const EXAMPLES: &str = "Examples:
  graftwork query \"SELECT settings ->> 'thin.sparsity' AS sparsity, avg(value) FROM result
                   WHERE experiment = 'digits' AND stage = 'tuned' AND split = 'test'
                   AND what = 'accuracy' GROUP BY 1\"
  graftwork query \"SELECT path, value FROM param WHERE key LIKE '3fa2%'\"
  graftwork query \"SELECT kind, count(*), avg(ended_ms - started_ms) / 1000.0 AS seconds
                   FROM attempt WHERE outcome = 'done' GROUP BY kind\"";

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// Comma-separated values with a header
    Csv,
    /// An array with an object per row
    Json,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    let ledger = show::ledger(context)?;
    let answer = match &args.sql {
        Some(sql) => ledger.query(sql)?,
        None => Answer {
            columns: vec!["table".to_owned(), "columns".to_owned()],
            rows: ledger
                .relations()?
                .into_iter()
                .map(|(name, columns)| vec![name.into(), columns.join(", ").into()])
                .collect(),
        },
    };
    let format = if context.json { Format::Json } else { args.format };
    match format {
        Format::Text => show::write(&text(&answer))?,
        Format::Csv => show::write(&csv(&answer)?)?,
        Format::Json => show::write_json(&json(answer))?,
    }
    Ok(Outcome::Fine)
}

fn text(answer: &Answer) -> String {
    let header: Vec<&str> = answer.columns.iter().map(String::as_str).collect();
    let rows: Vec<Vec<String>> =
        answer.rows.iter().map(|row| row.iter().map(plain).collect()).collect();
    table::grid(&header, &rows, show::style())
}

fn csv(answer: &Answer) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(&answer.columns)?;
    for row in &answer.rows {
        writer.write_record(row.iter().map(plain))?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

fn json(answer: Answer) -> Value {
    let columns = answer.columns;
    let rows = answer
        .rows
        .into_iter()
        .map(|row| Value::Object(columns.iter().cloned().zip(row).collect::<Map<String, Value>>()));
    rows.collect()
}

/// A value as text; nothing for NULL.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}
