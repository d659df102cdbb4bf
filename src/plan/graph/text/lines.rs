//! The lines beside the names.

use std::collections::BTreeSet;

use super::super::{Graph, GraphBox};
use super::Row;
use super::order::Edges;

/// Columns of lines; what leaves a box beyond them is said in words.
const COLUMNS: usize = 12;

/// The lines as they stand between two rows.
pub(super) struct Lines<'a> {
    edges: &'a Edges,
    /// The box that the line of each column comes from.
    columns: Vec<Option<usize>>,
    /// How many readers of each box are still to come.
    open: Vec<usize>,
    is_first: bool,
    /// Whether the last box has no lines.
    is_alone: bool,
}

/// A place in a row of lines: whether a line leaves it upwards, downwards, to the left, to the right.
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "four directions, all combinations")]
struct Cell {
    up: bool,
    down: bool,
    left: bool,
    right: bool,
}

impl Cell {
    fn letter(self) -> char {
        match (self.up, self.down, self.left, self.right) {
            (true, true, false, false) => '│',
            (true, true, true, true) => '┼',
            (true, true, false, true) => '├',
            (true, true, true, false) => '┤',
            (true, false, true, true) => '┴',
            (true, false, false, true) => '╰',
            (true, false, true, false) => '╯',
            (_, _, false, false) => ' ',
            (false, ..) => '─',
        }
    }
}

impl<'a> Lines<'a> {
    pub(super) fn new(edges: &'a Edges) -> Self {
        let open = edges.readers.clone();
        Self { edges, columns: Vec::new(), open, is_first: true, is_alone: false }
    }

    /// Draws the next box.
    pub(super) fn row(&mut self, graph: &Graph, shown: usize) -> Row {
        let before = self.columns.clone();
        let (inputs, readers) = (&self.edges.inputs[shown], self.edges.readers[shown]);
        for &input in inputs {
            self.open[input] -= 1;
        }
        let place = |input: &usize| before.iter().position(|column| *column == Some(*input));
        let sources: Vec<usize> = inputs.iter().filter_map(place).collect();
        let straight = sources.first().copied().filter(|&column| self.goes_straight(column, shown));
        let column = match (straight, sources.first()) {
            (Some(column), _) => column,
            (None, Some(source)) => self.free(source + 1),
            (None, None) => self.free(0),
        };
        for &source in &sources {
            self.columns[source].take_if(|input| self.open[*input] == 0);
        }
        if readers > 0 && column < COLUMNS {
            self.columns.resize(self.columns.len().max(column + 1), None);
            self.columns[column] = Some(shown);
        }
        while self.columns.last() == Some(&None) {
            self.columns.pop();
        }
        let is_alone = sources.is_empty() && readers == 0;
        let starts_a_part = sources.is_empty() && before.is_empty();
        let is_apart = starts_a_part && !(self.is_first || self.is_alone && is_alone);
        let has_space = straight.is_some() || is_apart;
        (self.is_first, self.is_alone) = (false, is_alone);
        let mark = mark(&graph.boxes[shown]);
        Row {
            shown,
            above: has_space.then(|| upright(&before)),
            prefix: prefix(&before, &self.columns, &sources, column, mark),
            below: upright(&self.columns),
            is_joined: sources.len() == stated(&graph.boxes[shown]),
        }
    }

    /// Whether a box goes on in the column of what it reads: as its last reader, unless it is one leaf of
    /// several.
    fn goes_straight(&self, column: usize, shown: usize) -> bool {
        let Some(input) = self.columns[column] else { return false };
        let goes_on = self.edges.readers[shown] > 0 || self.edges.readers[input] == 1;
        self.open[input] == 0 && goes_on
    }

    /// The first column from `start` on without a line.
    fn free(&self, start: usize) -> usize {
        let is_free = |column: &usize| self.columns.get(*column).is_none_or(Option::is_none);
        (start..COLUMNS).find(is_free).unwrap_or(COLUMNS)
    }
}

/// How many other boxes a box reads.
fn stated(shown: &GraphBox) -> usize {
    shown.inputs.iter().map(|(_, input)| input).collect::<BTreeSet<_>>().len()
}

/// Empty, half or full: how much of a box is in the store.
fn mark(shown: &GraphBox) -> char {
    match shown.cached {
        0 => '○',
        cached if cached == shown.count => '●',
        _ => '◐',
    }
}

/// The lines that go past, and nothing else.
fn upright(columns: &[Option<usize>]) -> String {
    let letters = columns.iter().map(|column| if column.is_some() { "│ " } else { "  " });
    letters.collect::<String>().trim_end().to_owned()
}

/// The lines of a box's own row, from `sources` to `mark` in its column.
fn prefix(
    before: &[Option<usize>],
    after: &[Option<usize>],
    sources: &[usize],
    column: usize,
    mark: char,
) -> String {
    let count = before.len().max(after.len()).max(column + 1);
    let line = |columns: &[Option<usize>], index: usize| columns.get(index).copied().flatten();
    let cell = |index: usize| {
        let (up, down) = (line(before, index), line(after, index));
        Cell { up: up.is_some(), down: up.is_some() && up == down, left: false, right: false }
    };
    let mut cells: Vec<Cell> = (0..count).map(cell).collect();
    for &source in sources.iter().filter(|source| **source != column) {
        let (from, to) = (source.min(column), source.max(column));
        cells[from..to].iter_mut().for_each(|cell| cell.right = true);
        cells[from + 1..=to].iter_mut().for_each(|cell| cell.left = true);
    }
    let mut out = String::new();
    for (index, cell) in cells.iter().enumerate() {
        out.push(if index == column { mark } else { cell.letter() });
        out.push(if cell.right { '─' } else { ' ' });
    }
    out
}
