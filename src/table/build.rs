//! The table itself: cells with means, spreads, the best marked, differences to a baseline.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use indexmap::IndexMap;
use serde_json::Value;

use super::layout::Axis;
use super::number::Format;
use super::select::{Selection, Slot};
use super::{Direction, Reduce, State, Trial, statistics};

/// Failures that are told one by one; of more, the number.
const NOTES_OF_FAILURES: usize = 8;

/// A table, ready to be written in any format.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Name of the experiment.
    pub experiment: String,
    /// The stages that are shown.
    pub stages: Vec<String>,
    /// Whole names of the metrics that are shown.
    pub metrics: Vec<String>,
    /// Which value of a series counts.
    pub reduce: Reduce,
    /// The seeds of the trials.
    pub seeds: Vec<u64>,
    /// Axes that have one value and are not shown, with it.
    pub fixed: Vec<(String, String)>,
    /// Axes of the rows.
    pub rows: Vec<Axis>,
    /// Axes of the columns.
    pub cols: Vec<Axis>,
    /// A label per axis for every row.
    pub row_labels: Vec<Vec<String>>,
    /// A label per axis for every column.
    pub col_labels: Vec<Vec<String>>,
    /// Cells by row and column; absent where there is no such trial.
    pub cells: Vec<Vec<Option<Cell>>>,
    /// Axis and label that others are compared with.
    pub baseline: Option<(String, String)>,
    /// What a reader must know besides.
    pub notes: Vec<String>,
    /// Values of the sweep as in the file, by axis and label.
    pub(super) values: HashMap<(String, String), Value>,
    pub(super) formats: HashMap<String, Format>,
}

/// The values of one combination of settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// The stage.
    pub stage: String,
    /// The metric: its whole name, or the name that was asked for where nothing is measured.
    pub metric: String,
    /// The values, one per checkpoint.
    pub readings: Vec<Reading>,
    /// Seeds without a value.
    pub missing: Vec<u64>,
    /// Their mean and spread; absent without values.
    pub summary: Option<Summary>,
    /// Whether it is the best among those that it can be compared with.
    pub best: bool,
    /// The difference to the baseline's cell.
    pub delta: Option<Delta>,
}

/// The value of one checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The seeds whose trials share this checkpoint.
    pub seeds: Vec<u64>,
    /// The checkpoint's key.
    pub key: String,
    /// The value; may be not-a-number.
    pub value: f64,
}

/// Mean and spread over checkpoints.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// The mean.
    pub mean: f64,
    /// The sample standard deviation; absent for one value.
    pub deviation: Option<f64>,
    /// Number of values.
    pub n: usize,
}

impl Summary {
    pub(super) fn of(values: &[f64]) -> Option<Self> {
        (!values.is_empty()).then(|| Self {
            mean: statistics::mean(values),
            deviation: statistics::deviation(values),
            n: values.len(),
        })
    }
}

/// The difference to the baseline, paired by seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Delta {
    /// Mean and spread of the differences.
    pub summary: Summary,
    /// Seeds that only one of the two has.
    pub unpaired: Vec<u64>,
}

impl Selection<'_> {
    /// Makes the table from the series of [`Selection::wanted`], each in the order of its steps.
    pub fn fill(mut self, series: &HashMap<(String, String), Vec<(u64, f64)>>) -> Table {
        let notes = std::mem::take(&mut self.notes);
        let mut table = self.empty(notes);
        self.read(&mut table, series);
        mark_best(&self, &mut table);
        self.compare(&mut table);
        choose_formats(&mut table);
        self.note_failures(&mut table);
        note_sharing(&mut table);
        note_strange_values(&mut table);
        table
    }

    /// The table without values.
    fn empty(&self, notes: Vec<String>) -> Table {
        let orders: HashMap<&Axis, Vec<String>> = self
            .layout
            .rows
            .iter()
            .chain(&self.layout.cols)
            .map(|axis| (axis, self.labels(axis)))
            .collect();
        let points = |axes: &[Axis]| {
            let place = |point: &Vec<String>| -> Vec<Option<usize>> {
                let places = axes.iter().zip(point);
                places
                    .map(|(axis, label)| orders[axis].iter().position(|own| own == label))
                    .collect()
            };
            let points = self.slots.iter().map(|slot| self.point(slot, axes));
            let sorted: BTreeMap<_, _> = points.map(|point| (place(&point), point)).collect();
            sorted.into_values().collect::<Vec<_>>()
        };
        let (row_labels, col_labels) = (points(&self.layout.rows), points(&self.layout.cols));
        let names: BTreeSet<&str> = self.slots.iter().filter_map(|slot| slot.name).collect();
        let metrics = if names.is_empty() {
            self.metrics.clone()
        } else {
            names.into_iter().map(str::to_owned).collect()
        };
        let seeds: BTreeSet<u64> = self.trials.iter().map(|trial| trial.seed).collect();
        let fixed = self.layout.fixed.iter().filter_map(|axis| {
            let at = self.trials.first()?.settings.get(axis)?;
            Some((axis.clone(), at.label.clone()))
        });
        let values = self
            .trials
            .iter()
            .flat_map(|trial| &trial.settings)
            .map(|(axis, at)| ((axis.clone(), at.label.clone()), at.value.clone()));
        Table {
            experiment: self.request.experiment.clone(),
            stages: self.stages.clone(),
            metrics,
            reduce: self.request.reduce,
            seeds: seeds.into_iter().collect(),
            fixed: fixed.collect(),
            rows: self.layout.rows.clone(),
            cols: self.layout.cols.clone(),
            cells: vec![vec![None; col_labels.len()]; row_labels.len()],
            row_labels,
            col_labels,
            baseline: self
                .baseline
                .as_ref()
                .map(|(axis, label)| (axis.name().to_owned(), label.clone())),
            notes,
            values: values.collect(),
            formats: HashMap::new(),
        }
    }

    /// The labels on an axis in their order.
    fn labels(&self, axis: &Axis) -> Vec<String> {
        match axis {
            Axis::Stage => self.stages.clone(),
            Axis::Metric => self.metrics.clone(),
            Axis::Sweep(_) | Axis::Seed => {
                let labels = self.slots.iter().map(|slot| (self.label(slot, axis), ()));
                labels.collect::<IndexMap<_, _>>().into_keys().collect()
            }
        }
    }

    fn point(&self, slot: &Slot, axes: &[Axis]) -> Vec<String> {
        axes.iter().map(|axis| self.label(slot, axis)).collect()
    }

    fn read(&self, table: &mut Table, series: &HashMap<(String, String), Vec<(u64, f64)>>) {
        for slot in &self.slots {
            let value = slot.name.and_then(|name| {
                let series = series.get(&(slot.key.to_owned(), name.to_owned()))?;
                self.request.reduce.apply(series, self.better(slot.metric))
            });
            let (row, col) = (self.point(slot, &table.rows), self.point(slot, &table.cols));
            let Some(row) = table.row_labels.iter().position(|labels| *labels == row) else {
                continue;
            };
            let Some(col) = table.col_labels.iter().position(|labels| *labels == col) else {
                continue;
            };
            let cell = table.cells[row][col].get_or_insert_with(|| Cell {
                stage: self.stages[slot.stage].clone(),
                metric: self.metrics[slot.metric].clone(),
                readings: Vec::new(),
                missing: Vec::new(),
                summary: None,
                best: false,
                delta: None,
            });
            cell.metric = slot.name.map_or_else(|| cell.metric.clone(), str::to_owned);
            cell.add(slot.trial.seed, slot.key, value);
        }
        for cell in table.cells.iter_mut().flatten().flatten() {
            let values: Vec<f64> = cell.readings.iter().map(|reading| reading.value).collect();
            cell.summary = Summary::of(&values);
        }
    }

    /// Adds to every cell its difference to the cell of the baseline.
    fn compare(&self, table: &mut Table) {
        let Some((axis, label)) = &self.baseline else { return };
        let replaced = |labels: &[String], axes: &[Axis]| -> Vec<String> {
            let pairs = labels.iter().zip(axes);
            pairs.map(|(own, at)| if at == axis { label.clone() } else { own.clone() }).collect()
        };
        let position =
            |all: &[Vec<String>], wanted: &[String]| all.iter().position(|labels| labels == wanted);
        let mut deltas = Vec::new();
        for (row, row_labels) in table.row_labels.iter().enumerate() {
            for (col, col_labels) in table.col_labels.iter().enumerate() {
                let other_row = position(&table.row_labels, &replaced(row_labels, &table.rows));
                let other_col = position(&table.col_labels, &replaced(col_labels, &table.cols));
                let (Some(other_row), Some(other_col)) = (other_row, other_col) else { continue };
                if (other_row, other_col) == (row, col) {
                    continue;
                }
                let cells = (&table.cells[row][col], &table.cells[other_row][other_col]);
                if let (Some(cell), Some(base)) = cells
                    && let Some(delta) = pair(cell, base)
                {
                    if !delta.unpaired.is_empty() {
                        let place = place(&table.rows, row_labels, &table.cols, col_labels);
                        table
                            .notes
                            .push(format!("no pair for {} of {place}", seeds(&delta.unpaired)));
                    }
                    deltas.push((row, col, delta));
                }
            }
        }
        for (row, col, delta) in deltas {
            if let Some(cell) = &mut table.cells[row][col] {
                cell.delta = Some(delta);
            }
        }
    }

    /// Says which values are missing, and why.
    fn note_failures(&self, table: &mut Table) {
        let mut failures: IndexMap<(String, String, String), BTreeSet<u64>> = IndexMap::new();
        let mut absent = BTreeSet::new();
        for (index, slot) in self.slots.iter().enumerate() {
            let stage = &self.stages[slot.stage];
            match culprit(slot.trial, stage) {
                Some((failed, error)) => {
                    let settings = slot.trial.settings.iter().filter(|(axis, _)| {
                        let axis = Axis::Sweep((*axis).clone());
                        self.layout.rows.contains(&axis) || self.layout.cols.contains(&axis)
                    });
                    let settings: Vec<String> = settings
                        .map(|(axis, at)| {
                            format!("{} {}", Axis::Sweep(axis.clone()).short(), at.label)
                        })
                        .collect();
                    let place = (failed.to_owned(), settings.join(", "), error.to_owned());
                    failures.entry(place).or_default().insert(slot.trial.seed);
                }
                None if slot.trial.stages[stage].state == State::Absent => {
                    absent.insert(index);
                }
                None => {}
            }
        }
        let more = failures.len().saturating_sub(NOTES_OF_FAILURES);
        for ((stage, settings, error), failed) in failures.into_iter().take(NOTES_OF_FAILURES) {
            let failed: Vec<u64> = failed.into_iter().collect();
            let place = if settings.is_empty() { settings } else { format!("{settings}; ") };
            table.notes.push(format!("`{stage}` failed ({place}{}): {error}", seeds(&failed)));
        }
        if more > 0 {
            table
                .notes
                .push(format!("{more} more failures; see `graftwork status {}`", table.experiment));
        }
        if !absent.is_empty() {
            let (absent, all) = (absent.len(), self.slots.len());
            table.notes.push(format!("{absent} of {all} values are not measured yet"));
        }
    }
}

impl Table {
    /// Whether the best is that of a row: where the rows are metrics.
    pub(super) fn compares_rows(&self) -> bool {
        self.rows.contains(&Axis::Metric)
    }
}

impl Cell {
    /// Adds a trial's value; trials that share a checkpoint are one reading.
    fn add(&mut self, seed: u64, key: &str, value: Option<f64>) {
        let Some(value) = value else {
            if !self.missing.contains(&seed) {
                self.missing.push(seed);
            }
            return;
        };
        match self.readings.iter_mut().find(|reading| reading.key == key) {
            Some(reading) if reading.seeds.contains(&seed) => {}
            Some(reading) => reading.seeds.push(seed),
            None => self.readings.push(Reading { seeds: vec![seed], key: key.to_owned(), value }),
        }
    }

    fn by_seed(&self) -> BTreeMap<u64, &Reading> {
        let seeds = |reading: &Reading| reading.seeds.clone();
        self.readings
            .iter()
            .flat_map(|reading| seeds(reading).into_iter().map(move |seed| (seed, reading)))
            .collect()
    }
}

/// The differences between the readings of equal seeds; pairs of shared checkpoints count once.
fn pair(cell: &Cell, base: &Cell) -> Option<Delta> {
    let (own, base) = (cell.by_seed(), base.by_seed());
    let mut differences = IndexMap::new();
    let mut unpaired = Vec::new();
    for seed in own.keys().chain(base.keys()).collect::<BTreeSet<_>>() {
        match (own.get(seed), base.get(seed)) {
            (Some(own), Some(base)) => {
                differences.insert((&own.key, &base.key), own.value - base.value);
            }
            _ => unpaired.push(*seed),
        }
    }
    let differences: Vec<f64> = differences.into_values().collect();
    Summary::of(&differences).map(|summary| Delta { summary, unpaired })
}

/// Marks the best cell of each column, or of each row where the rows are metrics. Cells of different
/// metrics are not compared.
fn mark_best(selection: &Selection, table: &mut Table) {
    let by_row = table.compares_rows();
    // Row, column and mean of cells that are compared, by line and metric.
    let mut groups: HashMap<_, Vec<_>> = HashMap::new();
    for (row, cells) in table.cells.iter().enumerate() {
        for (col, cell) in cells.iter().enumerate() {
            let Some(cell) = cell else { continue };
            let Some(summary) = cell.summary.filter(|summary| !summary.mean.is_nan()) else {
                continue;
            };
            let line = if by_row { row } else { col };
            let group = groups.entry((line, cell.metric.clone())).or_default();
            group.push((row, col, summary.mean));
        }
    }
    for ((_, metric), group) in groups {
        let Some(better) = selection.request.better.or_else(|| Direction::of(&metric)) else {
            continue;
        };
        let means = group.iter().map(|(_, _, mean)| *mean);
        let Some(best) =
            means.reduce(|best, mean| if better.is_better(mean, best) { mean } else { best })
        else {
            continue;
        };
        // Sums in another order differ in the last bits; that is a tie.
        let is_best = |mean: f64| (mean - best).abs() <= 1e-12 * best.abs();
        // Where all are equal, none is best.
        if group.iter().all(|(_, _, mean)| is_best(*mean)) {
            continue;
        }
        for (row, col, mean) in group {
            if let Some(cell) = &mut table.cells[row][col] {
                cell.best = is_best(mean);
            }
        }
    }
}

fn choose_formats(table: &mut Table) {
    let mut spreads: HashMap<String, (Vec<f64>, Vec<f64>)> = HashMap::new();
    for cell in table.cells.iter().flatten().flatten() {
        if let Some(summary) = cell.summary {
            let (means, deviations) = spreads.entry(cell.metric.clone()).or_default();
            means.push(summary.mean);
            deviations.extend(summary.deviation);
        }
    }
    table.formats = spreads
        .into_iter()
        .map(|(metric, (means, deviations))| {
            let format = Format::new(&metric, &means, &deviations);
            (metric, format)
        })
        .collect();
}

fn note_sharing(table: &mut Table) {
    let cells = table.cells.iter().flatten().flatten();
    let shared = cells.filter(|cell| cell.readings.iter().any(|reading| reading.seeds.len() > 1));
    let shared = shared.count();
    if shared > 0 {
        let cells = if shared == 1 { "one cell".to_owned() } else { format!("{shared} cells") };
        table.notes.push(format!("in {cells}, seeds share a checkpoint, which counts once"));
    }
}

fn note_strange_values(table: &mut Table) {
    let mut notes = Vec::new();
    for (row, labels) in table.row_labels.iter().enumerate() {
        for (col, col_labels) in table.col_labels.iter().enumerate() {
            let Some(cell) = &table.cells[row][col] else { continue };
            for reading in cell.readings.iter().filter(|reading| !reading.value.is_finite()) {
                let place = place(&table.rows, labels, &table.cols, col_labels);
                notes.push(format!("{} of {place} is {}", seeds(&reading.seeds), reading.value));
            }
        }
    }
    table.notes.extend(notes);
}

/// The stage that failed and kept this one from being measured, with its error.
fn culprit<'a>(trial: &'a Trial, name: &'a str) -> Option<(&'a str, &'a str)> {
    let stage = trial.stages.get(name)?;
    match &stage.state {
        State::Measured => None,
        State::Failed(error) => Some((name, error)),
        State::Absent => stage.inputs.iter().find_map(|input| {
            let (name, _) = trial.stages.iter().find(|(_, stage)| stage.key == *input)?;
            culprit(trial, name)
        }),
    }
}

/// `criterion random, sparsity 0.9`.
fn place(rows: &[Axis], row: &[String], cols: &[Axis], col: &[String]) -> String {
    let pairs = rows.iter().zip(row).chain(cols.iter().zip(col));
    let pairs: Vec<String> =
        pairs.map(|(axis, label)| format!("{} {label}", axis.short())).collect();
    pairs.join(", ")
}

/// `seed 1`, `seeds 0, 1`.
pub(super) fn seeds(seeds: &[u64]) -> String {
    let list: Vec<String> = seeds.iter().map(u64::to_string).collect();
    format!("seed{} {}", if seeds.len() == 1 { "" } else { "s" }, list.join(", "))
}
