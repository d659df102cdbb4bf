//! How accuracy falls when one layer alone is pruned: layers by sparsities.

use std::fmt::Write as _;

use indexmap::IndexSet;
use serde_json::{Value, json};

use super::super::Style;
use super::{Column, Form, Sheet, Variant, title};

/// What the numbers are, for people and programs.
pub const CONVENTION: &str = "accuracy on the validation split, in %, when the layer alone is pruned to the \
     sparsity and no other is touched; – where the layer was sparser already";

/// A report on a `sensitivity` stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    variants: Vec<Variant>,
    layers: Vec<Sheet>,
}

impl Report {
    /// A report on the variants of a stage; of each at least one result is known.
    pub fn new(variants: Vec<Variant>) -> Self {
        let layers = variants.iter().map(layers).collect();
        Self { variants, layers }
    }
}

impl super::Report for Report {
    fn text(&self, style: Style) -> String {
        let mut text = String::new();
        for (variant, layers) in self.variants.iter().zip(&self.layers) {
            let whole = whole(variant).map_or(String::new(), |metric| {
                let values = variant.values(metric);
                let accuracy = Form::Percent.cell(&values, values.len());
                format!("{} as it came: {accuracy} %\n", metric.replace('/', " "))
            });
            let title = title("sensitivity", variant);
            let _ = writeln!(text, "{title}\n{whole}\n{}", layers.text(style));
        }
        text + CONVENTION + "\n"
    }

    fn json(&self) -> Value {
        let variants = self.variants.iter().zip(&self.layers).map(|(variant, layers)| {
            let of_layer = |row: usize| {
                let by_sparsity = layers.row_json(row);
                json!({ "layer": layers.rows[row].0, "accuracy": by_sparsity })
            };
            let rows: Vec<Value> = (0..layers.rows.len()).map(of_layer).collect();
            let mut object = variant.json();
            let whole = whole(variant).map(|metric| super::summary(&variant.values(metric)));
            object.insert("whole".to_owned(), json!(whole));
            object.insert("layers".to_owned(), json!(rows));
            Value::Object(object)
        });
        json!({ "convention": CONVENTION, "variants": variants.collect::<Vec<_>>() })
    }
}

/// The metric of the network before a layer of it is pruned: `mnist:val/accuracy`.
fn whole(variant: &Variant) -> Option<&str> {
    variant.metrics().find(|metric| metric.ends_with(":val/accuracy"))
}

/// The layer and the sparsity that a metric is about: `sensitivity/fc1/0.9/accuracy`.
fn place(metric: &str) -> Option<(&str, &str)> {
    metric.strip_prefix("sensitivity/")?.strip_suffix("/accuracy")?.rsplit_once('/')
}

fn layers(variant: &Variant) -> Sheet {
    let places: Vec<(&str, &str)> = variant.metrics().filter_map(place).collect();
    let names: IndexSet<&str> = places.iter().map(|(layer, _)| *layer).collect();
    let sparsities: IndexSet<&str> = places.iter().map(|(_, sparsity)| *sparsity).collect();
    let mut sparsities: Vec<&str> = sparsities.into_iter().collect();
    let number = |text: &str| text.parse::<f64>().unwrap_or(f64::INFINITY);
    sparsities.sort_by(|a, b| number(a).total_cmp(&number(b)));
    let rows = names.into_iter().map(|layer| {
        let cells = sparsities.iter();
        let cells = cells
            .map(|sparsity| variant.values(&format!("sensitivity/{layer}/{sparsity}/accuracy")));
        (layer.to_owned(), cells.collect())
    });
    let rows: Vec<_> = rows.collect();
    let column = |sparsity: &&str| Column::new(&format!("at {sparsity}"), sparsity, Form::Percent);
    let columns: Vec<Column> = sparsities.iter().map(column).collect();
    Sheet::new("layer", &columns, &rows)
}
