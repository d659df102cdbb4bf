//! The adaptation table as text, Markdown, CSV and JSON.

use serde_json::{Value, json};

use super::super::data::{csv, number};
use super::super::number::Format;
use super::super::text::{Style, grid};
use super::super::{Summary, markdown};
use super::{Adaptations, Gap, Row};

/// Any accuracy: how it is written does not depend on the dataset.
const ACCURACY: &str = "accuracy";

/// The column of what is done. Where an axis of the sweep is named so, its labels say it better.
const METHOD: &str = "method";

/// The last part of an axis's name.
fn short(axis: &str) -> &str {
    axis.rsplit('.').next().unwrap_or(axis)
}

/// A column's name, and what it says of a row.
type Column<'a> = (&'a str, Box<dyn Fn(&Row) -> String + 'a>);

impl Adaptations {
    /// For people.
    pub fn to_text(&self, style: Style) -> String {
        let (header, rows) = self.cells();
        let header: Vec<&str> = header.iter().map(String::as_str).collect();
        let table = grid(&header, &rows, style);
        format!("{}\n\n{table}\n{}\n", self.caption().join("\n"), self.below().join("\n"))
    }

    /// For documents.
    pub fn to_markdown(&self) -> String {
        let (header, rows) = self.cells();
        let rules: Vec<&str> = header.iter().map(|_| "---").collect();
        let table = markdown::table(header, &rules, rows.into_iter());
        let notes = self.below().join("\n- ");
        format!("{}\n\n{table}\n- {notes}\n", self.caption().join("  \n"))
    }

    /// One line per row; accuracies are fractions.
    pub fn to_csv(&self) -> String {
        let mut header = self.axes.clone();
        header.extend(
            [
                "stage",
                "adaptation",
                "source",
                "target",
                "chosen_by",
                "n",
                "source_mean",
                "source_std",
                "target_mean",
                "target_std",
                "gain_mean",
                "gain_std",
                "gap_closed",
                "half_width",
                "test_examples",
                "seconds",
                "trained_params",
            ]
            .map(str::to_owned),
        );
        let text = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
        let pair = |summary: Option<Summary>| {
            [text(summary.map(|it| it.mean)), text(summary.and_then(|it| it.deviation))]
        };
        let rows = self.rows.iter().map(|row| {
            let mut line: Vec<String> = self
                .axes
                .iter()
                .map(|axis| row.settings.get(axis).cloned().unwrap_or_default())
                .collect();
            line.extend([
                row.stage.clone(),
                row.method.clone().unwrap_or_default(),
                row.source.clone().unwrap_or_default(),
                row.target.clone(),
                row.chosen_by.clone(),
                row.target_accuracy.map_or(0, |it| it.n).to_string(),
            ]);
            line.extend(pair(row.source_accuracy));
            line.extend(pair(row.target_accuracy));
            line.extend(pair(row.gain));
            line.extend([
                text(row.gap.share()),
                text(row.half_width),
                text(row.examples),
                text(row.seconds),
                text(row.trained),
            ]);
            line
        });
        csv(std::iter::once(header).chain(rows))
    }

    /// The table as one JSON object.
    pub fn to_json(&self) -> Value {
        let summary = |summary: Option<Summary>| {
            summary.map(
                |it| json!({ "n": it.n, "mean": number(it.mean), "std": it.deviation.map(number) }),
            )
        };
        let rows = self.rows.iter().map(|row| {
            json!({
                "at": row.settings,
                "stage": row.stage,
                "method": row.method,
                "source": row.source,
                "target": row.target,
                "chosen-by": row.chosen_by,
                "source-accuracy": summary(row.source_accuracy),
                "target-accuracy": summary(row.target_accuracy),
                "gain": summary(row.gain),
                "gap-closed": row.gap.share().map(number),
                "half-width": row.half_width.map(number),
                "test-examples": row.examples.map(number),
                "seconds": row.seconds.map(number),
                "trained-params": row.trained.map(number),
                "missing-seeds": row.missing,
            })
        });
        json!({
            "experiment": self.experiment,
            "seeds": self.seeds,
            "axes": self.axes,
            "rows": rows.collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }

    fn caption(&self) -> Vec<String> {
        let seeds: Vec<String> = self.seeds.iter().map(u64::to_string).collect();
        vec![
            format!("{}: adaptation; accuracy on the test splits, %", self.experiment),
            format!(
                "mean ± standard deviation, n = {} (seed{} {})",
                self.seeds.len(),
                if self.seeds.len() == 1 { "" } else { "s" },
                seeds.join(", ")
            ),
        ]
    }

    fn below(&self) -> Vec<String> {
        let mut notes = vec![
            "gain: over source-only, paired by seed; gap: its share of what training on the target's labels gains, n/a below 2 points"
                .to_owned(),
            "95 %: half the interval that the number of test examples leaves an accuracy, over and above the seeds' deviation"
                .to_owned(),
        ];
        notes.extend(self.notes.iter().cloned());
        notes
    }

    /// The header, and the cells of every row.
    fn cells(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let domains = self.rows.iter().map(|row| (row.source.as_ref(), &row.target));
        let pairs: std::collections::BTreeSet<_> =
            domains.filter(|(source, _)| source.is_some()).collect();
        let mut columns: Vec<Column<'_>> = Vec::new();
        for axis in &self.axes {
            let cell = |row: &Row| row.settings.get(axis).cloned().unwrap_or_default();
            let named = move |row: &Row| row.settings.get(axis).unwrap_or(&row.stage).clone();
            let name = short(axis);
            columns.push((name, if name == METHOD { Box::new(named) } else { Box::new(cell) }));
        }
        if self.several_stages {
            columns.push(("stage", Box::new(|row| row.stage.clone())));
        }
        if !self.axes.iter().any(|axis| short(axis) == METHOD) {
            let method = |row: &Row| row.method.as_ref().unwrap_or(&row.stage).clone();
            columns.push((METHOD, Box::new(method)));
        }
        if pairs.len() > 1 {
            columns.push(("from", Box::new(|row| row.source.clone().unwrap_or_default())));
            columns.push(("to", Box::new(|row| row.target.clone())));
        }
        columns.push(("chosen by", Box::new(|row| row.chosen_by.clone())));
        let of_sources = self.format(|row| row.source_accuracy);
        let of_targets = self.format(|row| row.target_accuracy);
        let of_gains = self.format(|row| row.gain);
        let all = self.seeds.len();
        let spread = move |format: Format, summary: Option<Summary>| {
            summary.map_or(String::new(), |it| {
                let text = format.spread(it.mean, it.deviation);
                if it.n == all { text } else { format!("{text} (n={})", it.n) }
            })
        };
        columns.push(("source", Box::new(move |row| spread(of_sources, row.source_accuracy))));
        columns.push(("target", Box::new(move |row| spread(of_targets, row.target_accuracy))));
        columns.push((
            "gain",
            Box::new(move |row| {
                row.gain.map_or(String::new(), |it| of_gains.difference(it.mean, it.deviation))
            }),
        ));
        columns.push(("gap", Box::new(|row| row.gap.text())));
        let width =
            |row: &Row| row.half_width.map_or(String::new(), |it| format!("{:.1}", it * 100.0));
        columns.push(("95 %", Box::new(width)));
        let whole = |value: Option<f64>| value.map_or(String::new(), |it| format!("{it:.0}"));
        columns.push(("n", Box::new(move |row| whole(row.examples))));
        columns.push(("s", Box::new(move |row| whole(row.seconds))));
        columns.push(("trained", Box::new(move |row| whole(row.trained))));
        // A column that says nothing of any row is left out.
        columns.retain(|(_, cell)| self.rows.iter().any(|row| !cell(row).is_empty()));
        let header = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        let line = |row: &Row| columns.iter().map(|(_, cell)| cell(row)).collect();
        (header, self.rows.iter().map(line).collect())
    }

    fn format(&self, value: impl Fn(&Row) -> Option<Summary>) -> Format {
        let summaries: Vec<Summary> = self.rows.iter().filter_map(value).collect();
        let means: Vec<f64> = summaries.iter().map(|it| it.mean).collect();
        let deviations: Vec<f64> = summaries.iter().filter_map(|it| it.deviation).collect();
        Format::new(ACCURACY, &means, &deviations)
    }
}

impl Gap {
    fn share(self) -> Option<f64> {
        match self {
            Self::Closed(share) => Some(share),
            Self::TooSmall | Self::Unknown => None,
        }
    }

    fn text(self) -> String {
        match self {
            // Adding zero makes minus zero zero.
            Self::Closed(share) => format!("{} %", (share * 100.0).round() + 0.0).replace('-', "−"),
            Self::TooSmall => "n/a".to_owned(),
            Self::Unknown => String::new(),
        }
    }
}
