//! Tables for programs: CSV and JSON, one entry per cell. Accuracies are fractions here.

use serde_json::{Value, json};

use super::Table;
use super::build::{Cell, Summary};
use super::layout::Axis;

impl Table {
    /// One line per cell: its place, n, mean, standard deviation, seeds and the keys of its checkpoints.
    pub fn to_csv(&self) -> String {
        let axes: Vec<&Axis> = self.sweep_axes();
        let mut header: Vec<&str> = axes.iter().map(|axis| axis.name()).collect();
        header.extend(["stage", "metric", "n", "mean", "std"]);
        if self.baseline.is_some() {
            header.extend(["delta_n", "delta_mean", "delta_std"]);
        }
        header.extend(["best", "seeds", "missing_seeds", "keys"]);
        let mut lines = vec![header.into_iter().map(str::to_owned).collect::<Vec<_>>()];
        for (place, cell) in self.entries() {
            let mut line: Vec<String> = axes
                .iter()
                .map(|axis| {
                    let own = place.iter().find(|(own, _)| own == axis);
                    own.map_or(String::new(), |(_, label)| (*label).clone())
                })
                .collect();
            line.extend([cell.stage.clone(), cell.metric.clone()]);
            line.extend(numbers(cell.summary));
            if self.baseline.is_some() {
                line.extend(numbers(cell.delta.as_ref().map(|delta| delta.summary)));
            }
            let keys: Vec<&str> =
                cell.readings.iter().map(|reading| reading.key.as_str()).collect();
            line.extend([
                cell.best.to_string(),
                list(cell.readings.iter().flat_map(|reading| &reading.seeds)),
                list(&cell.missing),
                keys.join(" "),
            ]);
            lines.push(line);
        }
        csv(lines)
    }

    /// The table as one JSON object.
    pub fn to_json(&self) -> Value {
        let cells = self.entries().map(|(place, cell)| {
            let at = place.iter().map(|(axis, label)| {
                let known = self.values.get(&(axis.name().to_owned(), (*label).clone()));
                let value = known.cloned().unwrap_or_else(|| json!(label));
                (axis.name().to_owned(), value)
            });
            let readings = cell.readings.iter().map(|reading| {
                json!({
                    "seeds": reading.seeds,
                    "key": reading.key,
                    "value": number(reading.value),
                })
            });
            let mut entry = json!({
                "at": at.collect::<serde_json::Map<_, _>>(),
                "stage": cell.stage,
                "metric": cell.metric,
                "n": cell.summary.map_or(0, |summary| summary.n),
                "mean": cell.summary.map(|summary| number(summary.mean)),
                "std": cell.summary.and_then(|summary| summary.deviation).map(number),
                "best": cell.best,
                "readings": readings.collect::<Vec<_>>(),
                "missing-seeds": cell.missing,
            });
            if let Some(delta) = &cell.delta {
                entry["delta"] = json!({
                    "n": delta.summary.n,
                    "mean": number(delta.summary.mean),
                    "std": delta.summary.deviation.map(number),
                    "unpaired-seeds": delta.unpaired,
                });
            }
            entry
        });
        let names = |axes: &[Axis]| axes.iter().map(|axis| axis.name().to_owned()).collect();
        let (rows, cols): (Vec<String>, Vec<String>) = (names(&self.rows), names(&self.cols));
        json!({
            "experiment": self.experiment,
            "stages": self.stages,
            "metrics": self.metrics,
            "reduce": self.reduce.as_str(),
            "seeds": self.seeds,
            "rows": rows,
            "columns": cols,
            "fixed": self.fixed.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
            "baseline": self
                .baseline
                .as_ref()
                .map(|(axis, label)| json!({ "axis": axis, "label": label })),
            "cells": cells.collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }

    /// Every cell with its place.
    fn entries(&self) -> impl Iterator<Item = (Vec<(&Axis, &String)>, &Cell)> {
        self.row_labels.iter().zip(&self.cells).flat_map(move |(row, cells)| {
            self.col_labels.iter().zip(cells).filter_map(move |(col, cell)| {
                let places = self.rows.iter().zip(row).chain(self.cols.iter().zip(col));
                Some((places.collect(), cell.as_ref()?))
            })
        })
    }

    /// The axes that have a column of their own in CSV.
    fn sweep_axes(&self) -> Vec<&Axis> {
        let own = |axis: &&Axis| !matches!(axis, Axis::Stage | Axis::Metric);
        self.rows.iter().chain(&self.cols).filter(own).collect()
    }
}

/// Lines of cells, all of them as many, as CSV.
pub(super) fn csv(lines: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for line in lines {
        writer.write_record(line).expect("memory takes any line, and all lines are equally long");
    }
    let bytes = writer.into_inner().expect("memory takes any line");
    String::from_utf8(bytes).expect("the cells are text")
}

fn numbers(summary: Option<Summary>) -> [String; 3] {
    match summary {
        Some(summary) => [
            summary.n.to_string(),
            summary.mean.to_string(),
            summary.deviation.map_or(String::new(), |deviation| deviation.to_string()),
        ],
        None => ["0".to_owned(), String::new(), String::new()],
    }
}

fn list<'a>(seeds: impl IntoIterator<Item = &'a u64>) -> String {
    seeds.into_iter().map(u64::to_string).collect::<Vec<_>>().join(" ")
}

/// A number; what JSON has no number for is a text, as in the protocol.
pub(super) fn number(value: f64) -> Value {
    serde_json::Number::from_f64(value).map_or_else(|| json!(value.to_string()), Value::Number)
}
