//! `graftwork network`.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::files::{self, Read};
use super::{Context, Outcome, show};
use crate::experiment::{Checked, label};
use crate::network::{Extents, Network, ShapeError};
use crate::table;

/// What the counts count.
const CONVENTION: &str = "parameters: all that are trained, batch-norm included; \
     MACs: multiply-accumulates for one example in convolutions and linear layers; before pruning";

/// Shows a stage's network layer by layer.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The experiment file
    file: PathBuf,
    /// Name of a stage
    stage: String,
    /// Changes a value of the file: `dense.model={ mlp = { hidden = [300, 100] } }`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

/// A network with the settings that it is the network of.
struct Variant {
    settings: Vec<String>,
    network: Network,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    let Read { name: file, checked, .. } = files::load(&args.file, &args.sets)?;
    let checked = match checked {
        Ok(checked) => checked,
        Err(faults) => {
            eprintln!("{faults}");
            return Ok(Outcome::Usage);
        }
    };
    let variants = variants(&checked, &args.stage);
    if variants.is_empty() {
        let names: Vec<&str> = checked.experiment.stage.keys().map(String::as_str).collect();
        anyhow::bail!(
            "there is no stage `{}` in `{file}`; there are: {}",
            args.stage,
            names.join(", ")
        );
    }
    if context.json {
        let variants: Result<Vec<Value>, ShapeError> = variants.iter().map(json).collect();
        show::write_json(&json!(variants?))?;
    } else {
        for variant in &variants {
            show::write(&format!("{}\n", variant.text()?))?;
        }
        show::write(&format!("{CONVENTION}\n"))?;
    }
    Ok(Outcome::Fine)
}

/// The different networks of a stage: one, unless the sweep changes it.
fn variants(checked: &Checked, stage: &str) -> Vec<Variant> {
    let mut variants: Vec<Variant> = Vec::new();
    for trial in checked.trials() {
        let Some(network) = trial.network(stage) else { continue };
        let settings = trial.settings.iter();
        let settings: Vec<String> =
            settings.map(|(axis, value)| format!("{axis} = {}", label(value))).collect();
        match variants.iter_mut().find(|variant| variant.network == network) {
            Some(variant) => variant.settings.retain(|setting| settings.contains(setting)),
            None => variants.push(Variant { settings, network }),
        }
    }
    if let [only] = variants.as_mut_slice() {
        only.settings.clear();
    }
    variants
}

impl Variant {
    fn text(&self) -> Result<String, ShapeError> {
        let layers = self.network.layers()?;
        let count = |count: u64| if count == 0 { String::new() } else { count.to_string() };
        let mut rows: Vec<Vec<String>> = layers
            .iter()
            .map(|layer| {
                vec![
                    layer.name.clone(),
                    layer.op.to_owned(),
                    Extents(&layer.output).to_string(),
                    count(layer.params),
                    count(layer.macs),
                ]
            })
            .collect();
        let total = |of: fn(&crate::network::Layer) -> u64| layers.iter().map(of).sum::<u64>();
        let (params, macs) = (total(|layer| layer.params), total(|layer| layer.macs));
        rows.push(vec![
            "total".to_owned(),
            String::new(),
            String::new(),
            params.to_string(),
            macs.to_string(),
        ]);
        let header = ["layer", "operation", "output", "parameters", "MACs"];
        let settings = if self.settings.is_empty() {
            String::new()
        } else {
            format!("; {}", self.settings.join(", "))
        };
        Ok(format!(
            "{}: input {}, {} classes{settings}\n\n{}",
            self.network.arch,
            Extents(self.network.input_shape()),
            self.network.classes()?,
            table::grid(&header, &rows, show::style())
        ))
    }
}

fn json(variant: &Variant) -> Result<Value, ShapeError> {
    let network = &variant.network;
    let layers = network.layers()?;
    let list = layers.iter().map(|layer| {
        json!({
            "name": layer.name,
            "op": layer.op,
            "output": layer.output,
            "params": layer.params,
            "macs": layer.macs,
        })
    });
    Ok(json!({
        "arch": network.arch,
        "settings": variant.settings,
        "input": network.input_shape(),
        "classes": network.classes()?,
        "layers": list.collect::<Vec<_>>(),
        "params": layers.iter().map(|layer| layer.params).sum::<u64>(),
        "macs": layers.iter().map(|layer| layer.macs).sum::<u64>(),
    }))
}
