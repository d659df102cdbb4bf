//! Tables for Markdown, as GitHub and pandoc read them.

use super::Table;

impl Table {
    /// The table as Markdown, with its caption above and its notes below.
    pub fn to_markdown(&self) -> String {
        let mut text = format!("{}\n\n", self.caption().join("  \n"));
        let headers = self.col_headers();
        let names = self.rows.iter().map(|axis| axis.short().to_owned());
        text.push_str(&line(names.chain(headers.iter().cloned())));
        let rules = self.rows.iter().map(|_| "---").chain(headers.iter().map(|_| "---:"));
        text.push_str(&line(rules.map(str::to_owned)));
        for (labels, cells) in self.row_labels.iter().zip(&self.cells) {
            let cells = cells.iter().map(|cell| {
                let mut lines = self.lines(cell.as_ref(), "").into_iter();
                let mut text = lines.next().unwrap_or_default();
                if cell.as_ref().is_some_and(|cell| cell.best) {
                    text = format!("**{text}**");
                }
                lines.fold(text, |text, delta| format!("{text} ({delta})"))
            });
            text.push_str(&line(labels.iter().cloned().chain(cells)));
        }
        if !self.notes.is_empty() {
            text.push('\n');
        }
        for note in &self.notes {
            text.push_str("- ");
            text.push_str(&escape(note));
            text.push('\n');
        }
        text
    }
}

/// A table of texts.
pub(super) fn table(
    header: Vec<String>,
    rules: &[&str],
    rows: impl Iterator<Item = Vec<String>>,
) -> String {
    let rules = rules.iter().map(|rule| (*rule).to_owned());
    let mut text = line(header.into_iter()) + &line(rules);
    rows.for_each(|row| text.push_str(&line(row.into_iter())));
    text
}

fn line(cells: impl Iterator<Item = String>) -> String {
    let cells: Vec<String> = cells.map(|cell| escape(&cell)).collect();
    format!("| {} |\n", cells.join(" | "))
}

/// A bar would end the cell, a line break the row.
fn escape(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
