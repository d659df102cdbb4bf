//! Named axes: `[[sweep.NAME]]`, a list of points that set several keys together.

use std::collections::HashMap;

use indexmap::IndexMap;

use super::super::check::Walker;
use super::super::fault::{Code, Fault, Span};
use super::super::grammar::EXPERIMENT;
use super::super::sets::insert;
use super::super::tree::{Entry, Table, Tree, Value};
use super::key::Resolver;
use super::set_keys::SetKeys;
use super::{Axis, Point, Reader, Setting};

/// Further faults of one axis tell nothing new: each point of it repeats those of the stages it sets.
const MOST_FAULTS: usize = 1_000;

/// The key of a point that sets nothing.
pub(super) const LABEL: &str = "label";

impl<'a> Reader<'a> {
    pub(super) fn named(
        &mut self,
        number: usize,
        name: &str,
        entry: &'a Entry,
        items: &'a [Tree],
    ) -> Option<Axis> {
        let before = self.faults.len();
        self.faults.extend(self.ill_named(name, entry));
        let mut points = Vec::new();
        for item in items {
            if self.faults.len() - before > MOST_FAULTS {
                break;
            }
            // What is no table, or has no label, has been reported with the rest of the file.
            let Some(table) = item.table() else { continue };
            let label = table.get(LABEL).and_then(|entry| entry.tree.text());
            let settings = self.settings(number, name, label.unwrap_or("…"), table);
            self.check_point(&settings);
            if let Some(label) = label {
                let shown = table[LABEL].tree.clone();
                points.push(Point { shown, label: label.to_owned(), settings });
            }
        }
        self.labels(name, &points);
        let is_legal = self.faults.len() == before && points.len() == items.len();
        is_legal.then(|| Axis::new(entry, name, None, points))
    }

    fn ill_named(&self, name: &str, entry: &Entry) -> Option<Fault> {
        let is_legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let starts = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        let fault = |message: String| self.sources.fault(Code::IllFormedName, entry.key, message);
        if name == "seed" {
            let fault = fault("an axis cannot be called `seed`".to_owned());
            return Some(fault.label("seeds are no axis").help(
                "every combination runs with each seed of `seeds`; a stage's own seed is swept as \"stage.seed\" = [ … ]",
            ));
        }
        if starts && name.chars().all(is_legal) {
            return None;
        }
        let fault = fault(format!("an axis cannot be called {name:?}")).label("not a legal name");
        Some(fault.help("names are letters, digits, `_` and `-`, the first a letter or digit"))
    }

    /// The legal settings of a point.
    fn settings(&mut self, axis: usize, name: &str, label: &str, table: &'a Table) -> Vec<Setting> {
        let mut settings = Vec::new();
        let mut own = SetKeys::default();
        let mut keys: Vec<&str> = Vec::new();
        for (text, entry) in table.iter().filter(|(text, _)| *text != LABEL) {
            let resolver = Resolver::of_setting(self.root, self.sources, text, entry.key);
            let key = match resolver.resolve() {
                Ok(key) => key,
                Err(fault) => {
                    let unquoted = self.unquoted(text, entry);
                    self.faults.push(unquoted.unwrap_or(*fault));
                    continue;
                }
            };
            if let Some(conflict) = own.add(&key.path, keys.len(), entry.key) {
                let (other, what) = (keys[conflict.owner], conflict.what());
                let message = format!("`{other}` and `{text}` of the point `{label}` {what}");
                let fault = self.sources.fault(Code::OverlappingAxes, entry.key, message);
                let fault = fault.label("overlaps with the other setting");
                let fault = fault.note(self.sources, conflict.span, "the other setting");
                self.faults.push(fault.help("leave one out"));
            }
            keys.push(text);
            if self.takes(axis, name, &key.path, entry.key) {
                let (stage, steps) = (key.stage, key.steps);
                settings.push(Setting { stage, steps, value: entry.tree.clone() });
            }
        }
        settings
    }

    /// The fault of a dotted key without quotes, which is a table within a table.
    fn unquoted(&self, text: &str, entry: &Entry) -> Option<Fault> {
        let (below, inner) = entry.tree.table()?.first()?;
        self.root.entry(&["stage", text])?;
        let message = format!("`{text}` is a table and no setting of a point");
        let span = entry.key.to(inner.key);
        let fault = self.sources.fault(Code::UnknownSetting, span, message);
        let help = format!("put the whole key in quotes: \"{text}.{below}\" = …");
        Some(fault.label("a dotted key without quotes").help(help))
    }

    /// Checks the stages that a point sets keys of, with all of these keys set.
    fn check_point(&mut self, settings: &[Setting]) {
        let mut stages: IndexMap<&str, Tree> = IndexMap::new();
        for setting in settings {
            let Some(entry) = self.root.entry(&["stage", &*setting.stage]) else { continue };
            let tree = stages.entry(&setting.stage).or_insert_with(|| entry.tree.clone());
            let rule = EXPERIMENT.at(&["stage", &*setting.stage]);
            insert(tree, rule, &setting.steps, setting.value.clone());
        }
        for (stage, tree) in &stages {
            let path = ["stage".to_owned(), (*stage).to_owned()];
            let mut walker = Walker::new(self.sources);
            walker.walk_at(self.root, &path, &EXPERIMENT, tree);
            self.faults.append(&mut walker.faults);
        }
    }

    fn labels(&mut self, name: &str, points: &[Point]) {
        let mut seen: HashMap<&str, Span> = HashMap::new();
        for point in points {
            let (label, span) = (point.label.as_str(), point.shown.span);
            let Some(first) = seen.insert(label, span) else { continue };
            let message = format!("two points of `{name}` have the label `{label}`");
            let fault = self.sources.fault(Code::LabelsAlike, span, message);
            let fault = fault.label("the same label").note(self.sources, first, "first given here");
            self.faults.push(fault.help("tables and `--only` tell points by their label"));
        }
    }
}

/// Whether a value of `[sweep]` is a named axis.
pub(super) fn is_named(name: &str, value: &Tree) -> bool {
    !name.contains('.') && matches!(value.value, Value::Array(_))
}
