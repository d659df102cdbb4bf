//! What a pruning did: layer by layer, to the network as a whole, and to its measured latency.

use std::fmt::Write as _;

use indexmap::IndexSet;
use serde_json::{Value, json};

use super::super::Style;
use super::{Column, Form, Sheet, Variant, title};

// What the numbers are, for people and programs.
const MACS: &str = "MACs: multiply-accumulates for one example in convolutions and linear layers, zeros included; \
     nonzero MACs: those whose weight is not zero. Without structural removal all of them are computed";
const RECONSTRUCTION: &str = "reconstruction error: ‖Y − Y'‖² / ‖Y‖² of the layer's output on training examples when it alone is \
     replaced, so its input is the dense network's; measured where the stage has data";
const CUT_OFF: &str = "cut-off: the largest score, in the criterion's own unit, among the weights that went; where the \
     criterion gives each weight a score";
const BYTES: &str = "bytes: all parameters and buffers; a pruned layer's weight of n values in r rows, k of them not zero, \
     takes 4 n dense, 8 k + 4 (r + 1) in compressed sparse rows with 32-bit indices, ⌈n / 8⌉ + 4 k with a \
     bitmask";
const LATENCY: &str = "latency: median and interquartile range of single batches; a speed-up is there only where the two \
     ranges do not overlap";

/// A report on a `prune` stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    variants: Vec<Variant>,
    layers: Vec<Sheet>,
    networks: Sheet,
    latency: Option<Sheet>,
}

impl Report {
    /// A report on the variants of a stage; of each at least one result is known.
    pub fn new(variants: Vec<Variant>) -> Self {
        let layers = variants.iter().map(layers).collect();
        let (networks, latency) = (networks(&variants), latency(&variants));
        Self { variants, layers, networks, latency }
    }

    /// What the numbers are that are shown.
    fn conventions(&self) -> Vec<&'static str> {
        let has = |name| self.layers.iter().any(|sheet| sheet.has(name));
        let shown = [
            (true, MACS),
            (has("reconstruction-error"), RECONSTRUCTION),
            (has("cut-off"), CUT_OFF),
            (true, BYTES),
            (self.latency.is_some(), LATENCY),
        ];
        shown.into_iter().filter_map(|(is_shown, text)| is_shown.then_some(text)).collect()
    }
}

impl super::Report for Report {
    fn lacks_values(&self) -> bool {
        self.variants.iter().any(|variant| variant.values("bytes/dense").is_empty())
    }

    fn text(&self, style: Style) -> String {
        let mut text = String::new();
        for (variant, layers) in self.variants.iter().zip(&self.layers) {
            let _ = writeln!(text, "{}\n\n{}", title("layers", variant), layers.text(style));
        }
        let _ = writeln!(text, "networks\n\n{}", self.networks.text(style));
        if let Some(latency) = &self.latency {
            let _ = writeln!(text, "latency\n\n{}", latency.text(style));
        }
        text + &self.conventions().join("\n") + "\n"
    }

    fn json(&self) -> Value {
        let variants = self.variants.iter().zip(&self.layers).enumerate();
        let variants = variants.map(|(at, (variant, layers))| {
            let of_layer = |row: usize| {
                let mut object = layers.row_json(row);
                object.insert("layer".to_owned(), json!(layers.rows[row].0));
                Value::Object(object)
            };
            let mut object = variant.json();
            let layers: Vec<Value> = (0..layers.rows.len()).map(of_layer).collect();
            object.insert("layers".to_owned(), json!(layers));
            object.insert("network".to_owned(), Value::Object(self.networks.row_json(at)));
            Value::Object(object)
        });
        let latency = self.latency.iter().flat_map(|sheet| {
            (0..sheet.rows.len()).map(|row| {
                let mut object = sheet.row_json(row);
                object.insert("of".to_owned(), json!(sheet.rows[row].0));
                Value::Object(object)
            })
        });
        json!({
            "conventions": self.conventions(),
            "variants": variants.collect::<Vec<_>>(),
            "latency": latency.collect::<Vec<_>>(),
        })
    }
}

/// The layers of a variant, in the order in which they were recorded: the network's.
fn layers(variant: &Variant) -> Sheet {
    let columns = [
        ("params", "params", Form::Count),
        ("nonzero", "nonzero", Form::Count),
        ("sparsity, %", "sparsity", Form::Percent),
        ("MACs", "macs", Form::Count),
        ("nonzero MACs", "nonzero-macs", Form::Count),
        ("reconstruction error", "reconstruction-error", Form::Significant),
        ("cut-off", "cut-off", Form::Significant),
    ];
    let columns: Vec<Column> =
        columns.map(|(heading, name, form)| Column::new(heading, name, form)).into();
    let names: IndexSet<&str> = variant
        .metrics()
        .filter_map(|metric| metric.strip_prefix("layer/")?.rsplit_once('/'))
        .map(|(layer, _)| layer)
        .collect();
    let rows = names.into_iter().map(|layer| {
        let cells = columns.iter();
        let cells = cells.map(|column| variant.values(&format!("layer/{layer}/{}", column.name)));
        (layer.to_owned(), cells.collect())
    });
    let rows: Vec<_> = rows.collect();
    Sheet::new("layer", &columns, &rows)
}

/// A line for each variant's network.
fn networks(variants: &[Variant]) -> Sheet {
    let accuracies: IndexSet<&str> = variants
        .iter()
        .flat_map(Variant::metrics)
        .filter(|metric| metric.ends_with("/accuracy") && metric.contains(':'))
        .collect();
    let mut columns: Vec<Column> = accuracies
        .into_iter()
        .map(|metric| {
            let heading = metric.replace('/', " ") + ", %";
            Column::new(&heading, metric, Form::Percent)
        })
        .collect();
    let is_smaller =
        |variant: &Variant| variant.values("before/params") != variant.values("params");
    if variants.iter().any(is_smaller) {
        columns.push(Column::new("params before", "before/params", Form::Count));
    }
    columns.extend([
        Column::new("params", "params", Form::Count),
        Column::new("nonzero", "nonzero-params", Form::Count),
        Column::new("sparsity, %", "sparsity", Form::Percent),
    ]);
    if variants.iter().any(is_smaller) {
        columns.push(Column::new("MACs before", "before/macs", Form::Count));
    }
    columns.extend([
        Column::new("MACs", "macs", Form::Count),
        Column::new("nonzero MACs", "nonzero-macs", Form::Count),
        Column::new("bytes dense", "bytes/dense", Form::Count),
        Column::new("CSR", "bytes/csr", Form::Count),
        Column::new("bitmask", "bytes/bitmask", Form::Count),
    ]);
    let rows = variants.iter().map(|variant| {
        let cells = columns.iter().map(|column| variant.values(&column.name));
        (variant.title.clone(), cells.collect())
    });
    let rows: Vec<_> = rows.collect();
    Sheet::new("network", &columns, &rows)
}

/// A line for each `evaluate` stage that measured a variant's latency.
fn latency(variants: &[Variant]) -> Option<Sheet> {
    let columns = vec![
        Column::new("median, ms", "latency/median-ms", Form::Significant),
        Column::new("IQR, ms", "latency/iqr-ms", Form::Significant),
        Column::new("beside: median, ms", "latency/beside/median-ms", Form::Significant),
        Column::new("IQR, ms", "latency/beside/iqr-ms", Form::Significant),
        Column::new("speed-up", "latency/speed-up", Form::Times),
    ];
    let mut rows = Vec::new();
    for variant in variants {
        let stages: IndexSet<&String> =
            variant.results.iter().flat_map(|result| result.latency.keys()).collect();
        for stage in stages {
            let values = |column: &Column| {
                let measured = variant.results.iter().filter_map(|it| it.latency.get(stage));
                measured.filter_map(|metrics| metrics.get(&column.name).copied()).collect()
            };
            let name = if variant.title.is_empty() {
                format!("`{stage}`")
            } else {
                format!("`{stage}`, {}", variant.title)
            };
            rows.push((name, columns.iter().map(values).collect()));
        }
    }
    (!rows.is_empty()).then(|| Sheet::new("measured by", &columns, &rows))
}
