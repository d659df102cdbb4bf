//! Tables for terminals.

use comfy_table::{
    Attribute, CellAlignment, ContentArrangement, ContentLineStyle, LineStyle, TableStyle,
};

use super::Reduce;
use super::build::{Cell, Table, seeds};
use super::layout::Axis;
use super::number::Format;

/// What the terminal can do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Style {
    /// Columns of the terminal; without it, lines are as long as they need.
    pub width: Option<u16>,
    /// Whether bold letters are understood; otherwise the best is marked by a star.
    pub bold: bool,
}

/// A rule under the header and nothing else.
const RULE: TableStyle = TableStyle::new()
    .header_lines(ContentLineStyle::none())
    .header_separator(LineStyle::none().fill('─').junction('─'));

impl Table {
    /// The table as text, with its caption above and its notes below.
    pub fn to_text(&self, style: Style) -> String {
        let mut grid = new_grid(style);
        let header = self.rows.iter().map(|axis| axis.short().to_owned()).chain(self.col_headers());
        grid.set_header(header.map(|name| bold_cell(&name, style.bold)));
        let with_stars: Vec<bool> = (0..self.col_labels.len())
            .map(|col| !style.bold && self.cells.iter().any(|row| is_best(row[col].as_ref())))
            .collect();
        for (labels, cells) in self.row_labels.iter().zip(&self.cells) {
            let labels = labels.iter().map(comfy_table::Cell::new);
            let cells = cells.iter().zip(&with_stars).map(|(cell, &starred)| {
                let mark = match (is_best(cell.as_ref()), starred) {
                    (true, true) => "*",
                    (false, true) => " ",
                    _ => "",
                };
                let text = self.lines(cell.as_ref(), mark).join("\n");
                let cell_text = comfy_table::Cell::new(text).set_alignment(CellAlignment::Right);
                if style.bold && is_best(cell.as_ref()) {
                    cell_text.add_attribute(Attribute::Bold)
                } else {
                    cell_text
                }
            });
            grid.add_row(labels.chain(cells).collect::<Vec<_>>());
        }
        for index in self.rows.len()..self.rows.len() + self.col_labels.len() {
            if let Some(column) = grid.column_mut(index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let mut text = format!("{}\n\n{}\n", self.caption().join("\n"), grid.trim_fmt());
        let mut notes = self.notes.clone();
        if with_stars.contains(&true) {
            let line = if self.compares_rows() { "row" } else { "column" };
            notes.insert(0, format!("* best in its {line}"));
        }
        if !notes.is_empty() {
            text.push('\n');
        }
        for note in notes {
            text.push_str(&note);
            text.push('\n');
        }
        text
    }

    /// What the table shows, in sentences without full stops.
    pub(super) fn caption(&self) -> Vec<String> {
        let metrics: Vec<String> =
            self.metrics.iter().map(|name| format!("{name}{}", Format::unit(name))).collect();
        let mut first = format!("{}: {}", self.experiment, metrics.join("; "));
        if self.reduce != Reduce::Last {
            first = format!("{first} ({} over steps)", self.reduce.as_str());
        }
        let names: Vec<String> = self.stages.iter().map(|stage| format!("`{stage}`")).collect();
        first = format!(
            "{first}; stage{} {}",
            if names.len() == 1 { "" } else { "s" },
            names.join(", ")
        );
        for (axis, label) in &self.fixed {
            first = format!("{first}; {axis} = {label}");
        }
        let second = match self.common_n() {
            _ if self.has_axis(&Axis::Seed) => "single values".to_owned(),
            0 | 1 if self.seeds.len() == 1 => {
                format!("{}, so no spread is known", seeds(&self.seeds))
            }
            0 | 1 => seeds(&self.seeds),
            n => format!("mean ± standard deviation, n = {n} ({})", seeds(&self.seeds)),
        };
        let mut caption = vec![first, second];
        if let Some((axis, label)) = &self.baseline {
            caption.push(format!("Δ: difference to {axis} = {label}, paired by seed"));
        }
        caption
    }

    /// The names of the columns.
    pub(super) fn col_headers(&self) -> Vec<String> {
        let header = |labels: &Vec<String>| {
            if labels.is_empty() {
                return self.metrics.join(", ");
            }
            let parts = self.cols.iter().zip(labels).map(|(axis, label)| {
                let bare = !matches!(axis, Axis::Sweep(_) | Axis::Seed)
                    || label.parse::<f64>().is_err() && !matches!(label.as_str(), "true" | "false");
                if bare { label.clone() } else { format!("{} {label}", axis.short()) }
            });
            parts.collect::<Vec<_>>().join(", ")
        };
        self.col_labels.iter().map(header).collect()
    }

    /// A cell in one line, or two where it is compared with a baseline.
    pub(super) fn lines(&self, cell: Option<&Cell>, mark: &str) -> Vec<String> {
        let dash = || vec![format!("–{mark}")];
        let Some(cell) = cell else { return dash() };
        let (Some(summary), Some(format)) = (cell.summary, self.formats.get(&cell.metric)) else {
            return dash();
        };
        let n = |n: usize| {
            if n == self.common_n() { String::new() } else { format!(" (n={n})") }
        };
        let text = format.spread(summary.mean, summary.deviation);
        let mut lines = vec![format!("{text}{}{mark}", n(summary.n))];
        if let Some(delta) = &cell.delta {
            let text = format.difference(delta.summary.mean, delta.summary.deviation);
            let pad = if mark.is_empty() { "" } else { " " };
            lines.push(format!("Δ {text}{}{pad}", n(delta.summary.n)));
        }
        lines
    }

    fn has_axis(&self, axis: &Axis) -> bool {
        self.rows.contains(axis) || self.cols.contains(axis)
    }

    /// The number of values that most cells have; the larger of two that are as frequent.
    fn common_n(&self) -> usize {
        let mut counts = std::collections::BTreeMap::new();
        for cell in self.cells.iter().flatten().flatten() {
            if let Some(summary) = cell.summary {
                *counts.entry(summary.n).or_insert(0) += 1;
            }
        }
        counts.into_iter().max_by_key(|(n, count)| (*count, *n)).map_or(0, |(n, _)| n)
    }
}

fn is_best(cell: Option<&Cell>) -> bool {
    cell.is_some_and(|cell| cell.best)
}

/// Lays texts out in columns that fit the terminal; columns of numbers are to the right.
pub fn grid(header: &[&str], rows: &[Vec<String>], style: Style) -> String {
    let mut grid = new_grid(style);
    grid.set_header(header.iter().map(|name| bold_cell(name, style.bold)));
    for row in rows {
        grid.add_row(row);
    }
    let is_number = |text: &String| {
        let text = text.split(" (n=").next().unwrap_or_default();
        let mut parts = text.split(" ± ");
        text.is_empty() || text == "–" || parts.all(|part| part.parse::<f64>().is_ok())
    };
    for index in 0..header.len() {
        let numbers = rows.iter().filter_map(|row| row.get(index)).all(is_number);
        if let (true, Some(column)) = (numbers && !rows.is_empty(), grid.column_mut(index)) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    format!("{}\n", grid.trim_fmt())
}

fn new_grid(style: Style) -> comfy_table::Table {
    let mut grid = comfy_table::Table::new();
    // Whether there is a terminal has been found out already, and may not be guessed again here.
    grid.load_style(RULE).force_no_tty();
    if let Some(width) = style.width {
        grid.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    if style.bold {
        grid.enforce_styling();
        grid.style_text_only();
    }
    grid
}

fn bold_cell(text: &str, bold: bool) -> comfy_table::Cell {
    let cell = comfy_table::Cell::new(text);
    if bold { cell.add_attribute(Attribute::Bold) } else { cell }
}
