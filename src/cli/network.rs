//! `graftwork network`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::files::{self, Read};
use super::{Context, Outcome, show};
use crate::experiment::spec::{Model, Newsgroups};
use crate::experiment::{Checked, architectures, label};
use crate::network::{Extents, Layer, Network, ShapeError, Task, dot, zoo};
use crate::table;

/// What the counts count.
const CONVENTION: &str = "\
parameters: all that are trained, batch-norm included; before pruning
MACs: multiply-accumulates for one example in convolutions and linear layers
all operations: these and one for each value that another layer computes, in pooling for each value of a window";

/// What stands in the place of counts.
const NOT_KNOWN: &str =
    "a TorchScript program; what it holds is known when it has been imported: `graftwork log`";

/// Shows a network layer by layer: a stage's, or an architecture's.
#[derive(Debug, clap::Args)]
#[command(override_usage = "graftwork network FILE STAGE [--set KEY=VALUE]\n       \
    graftwork network --arch NAME [--input 3x224x224] [--classes N] [--words N]")]
pub(super) struct Args {
    /// The experiment file
    #[arg(required_unless_present = "arch")]
    file: Option<PathBuf>,
    /// Name of a stage
    #[arg(required_unless_present = "arch")]
    stage: Option<String>,
    /// Changes a value of the file: `dense.model={ mlp = { hidden = [300, 100] } }`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// An architecture: `lenet5`, or with settings `mlp = { hidden = [300, 100] }`
    #[arg(long, value_name = "NAME", conflicts_with_all = ["file", "stage", "sets"])]
    arch: Option<String>,
    /// With --arch: extents of one example
    #[arg(long, value_name = "EXTENTS", default_value = "3x224x224", value_parser = extents, requires = "arch")]
    input: std::sync::Arc<[u32]>,
    /// With --arch: number of classes
    #[arg(long, value_name = "N", default_value_t = 1000, requires = "arch", value_parser = clap::value_parser!(u32).range(1..))]
    classes: u32,
    /// With --arch: words that are known, for a network that reads texts of --input words
    #[arg(long, value_name = "N", requires = "arch", value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    words: Option<u32>,
    /// Writes the graph of the layers and nothing else
    #[arg(long)]
    graph: Option<Format>,
}

/// What a graph is written in.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// For Graphviz: `graftwork network FILE STAGE --graph dot | dot -Tsvg > network.svg`
    Dot,
}

/// A network with the settings that it is the network of.
struct Variant {
    settings: Vec<String>,
    network: Network,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    let variants = match (&args.arch, &args.file, &args.stage) {
        (Some(arch), ..) => vec![architecture(arch, args)?],
        (None, Some(file), Some(stage)) => match stages(file, stage, &args.sets)? {
            Some(variants) => variants,
            None => return Ok(Outcome::Usage),
        },
        _ => unreachable!("clap asks for a file and a stage, or an architecture"),
    };
    if args.graph.is_some() {
        if context.json {
            anyhow::bail!("--graph has a format of its own; leave out --graph or --json");
        }
        for variant in &variants {
            show::write(&dot::dot(&variant.network)?)?;
        }
    } else if context.json {
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

/// The networks of a stage; none where the file has faults, which have been told then.
fn stages(file: &Path, stage: &str, sets: &[String]) -> anyhow::Result<Option<Vec<Variant>>> {
    let Read { name: file, checked, .. } = files::load(file, sets)?;
    let checked = match checked {
        Ok(checked) => checked,
        Err(faults) => {
            eprintln!("{faults}");
            return Ok(None);
        }
    };
    let variants = variants(&checked, stage);
    if variants.is_empty() {
        let names: Vec<&str> = checked.experiment.stage.keys().map(String::as_str).collect();
        anyhow::bail!("there is no stage `{stage}` in `{file}`; there are: {}", names.join(", "));
    }
    Ok(Some(variants))
}

/// The network of an architecture, given by name or as in an experiment file.
fn architecture(arch: &str, args: &Args) -> anyhow::Result<Variant> {
    let name = arch.split('=').next().unwrap_or_default().trim();
    if !architectures().contains(&name) {
        anyhow::bail!(
            "there is no architecture `{name}`; there are: {}",
            architectures().join(", ")
        );
    }
    let text = if arch.contains('=') { arch.to_owned() } else { format!("{name} = {{}}") };
    let model: Model = toml::from_str(&text).map_err(|error| {
        anyhow::anyhow!(
            "--arch cannot be `{arch}`: {}; settings are written as in an experiment file: `mlp = {{ hidden = [300, 100] }}`",
            error.message()
        )
    })?;
    let build = |words: Option<u32>| {
        let tokens = words.map(|words| words + Newsgroups::FIRST_WORD);
        zoo::build_with(&model, &args.input, tokens, args.classes)
    };
    let network = build(args.words).with_context(|| {
        let reads_texts = args.words.is_none() && build(Some(1)).is_ok();
        let hint =
            if reads_texts { "; it reads texts of so many words: add --words N" } else { "" };
        format!("`{name}` cannot take examples of {} (--input{hint})", Extents(&args.input))
    })?;
    Ok(Variant { settings: Vec::new(), network })
}

/// `3x224x224`.
fn extents(text: &str) -> Result<std::sync::Arc<[u32]>, String> {
    let extents: Option<Vec<u32>> =
        text.split(['x', '×']).map(|extent| extent.parse().ok().filter(|n| *n > 0)).collect();
    extents
        .map(Into::into)
        .ok_or_else(|| "extents are numbers above 0, as in `3x224x224`".to_owned())
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

/// The three counts of a network.
struct Totals {
    params: u64,
    macs: u64,
    operations: u64,
}

impl Totals {
    fn of(layers: &[Layer]) -> Self {
        let total = |of: fn(&Layer) -> u64| layers.iter().map(of).sum();
        Self {
            params: total(|layer| layer.params),
            macs: total(|layer| layer.macs),
            operations: total(operations),
        }
    }

    fn text(&self) -> String {
        let [params, macs, operations] = [self.params, self.macs, self.operations].map(short);
        format!("{params} parameters, {macs} MACs, {operations} operations in all")
    }
}

fn operations(layer: &Layer) -> u64 {
    layer.macs + layer.other_operations
}

impl Variant {
    fn text(&self) -> Result<String, ShapeError> {
        let layers = self.network.layers()?;
        let count = |count: u64| if count == 0 { String::new() } else { count.to_string() };
        let reads = self.reads();
        let has_branches = reads.iter().any(|reads| !reads.is_empty());
        let row = |name: &str, op: &str, reads: &str, output: String, counts: [u64; 3]| {
            let mut row = vec![name.to_owned(), op.to_owned()];
            row.extend(has_branches.then(|| reads.to_owned()));
            row.push(output);
            row.extend(counts.map(count));
            row
        };
        let mut rows: Vec<Vec<String>> = layers
            .iter()
            .zip(&reads)
            .map(|(layer, reads)| {
                let counts = [layer.params, layer.macs, operations(layer)];
                let output = Extents(&layer.output).to_string();
                row(&layer.name, layer.op, reads, output, counts)
            })
            .collect();
        let totals = Totals::of(&layers);
        if !self.network.is_program() {
            let counts = [totals.params, totals.macs, totals.operations];
            rows.push(row("total", "", "", String::new(), counts));
        }
        let mut header = vec!["layer", "operation"];
        header.extend(has_branches.then_some("reads"));
        header.extend(["output", "parameters", "MACs", "all operations"]);
        let settings = if self.settings.is_empty() {
            String::new()
        } else {
            format!("; {}", self.settings.join(", "))
        };
        let pixels = match self.network.task()? {
            Task::Classification => "",
            Task::Segmentation => " for each pixel",
        };
        Ok(format!(
            "{}: input {}, {} classes{pixels}{settings}\n{}\n\n{}",
            self.network.arch,
            Extents(self.network.input_shape()),
            self.network.classes()?,
            if self.network.is_program() { NOT_KNOWN.to_owned() } else { totals.text() },
            table::grid(&header, &rows, show::style())
        ))
    }

    /// For each node what it reads, where that is not the node before it alone.
    fn reads(&self) -> Vec<String> {
        let nodes = &self.network.nodes;
        let reads = nodes.iter().enumerate().map(|(index, node)| {
            if index == 0 || node.inputs == [index - 1] {
                return String::new();
            }
            let names: Vec<&str> =
                node.inputs.iter().map(|&input| nodes[input].name.as_str()).collect();
            names.join(", ")
        });
        reads.collect()
    }
}

/// A count in thousands, millions or billions: `1.814 G`.
fn short(count: u64) -> String {
    let scales = [(1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")];
    match scales.into_iter().find(|(scale, _)| count >= *scale) {
        Some((scale, unit)) => format!("{:.3} {unit}", count as f64 / scale as f64),
        None => count.to_string(),
    }
}

fn json(variant: &Variant) -> Result<Value, ShapeError> {
    let network = &variant.network;
    let layers = network.layers()?;
    // Of a program, zero would be a lie.
    let known = |count: u64| (!network.is_program()).then_some(count);
    let list = layers.iter().zip(&network.nodes).map(|(layer, node)| {
        let reads: Vec<&str> =
            node.inputs.iter().map(|&input| network.nodes[input].name.as_str()).collect();
        json!({
            "name": layer.name,
            "op": layer.op,
            "reads": reads,
            "output": layer.output,
            "params": known(layer.params),
            "macs": known(layer.macs),
            "operations": known(operations(layer)),
        })
    });
    let totals = Totals::of(&layers);
    Ok(json!({
        "arch": network.arch,
        "settings": variant.settings,
        "input": network.input_shape(),
        "task": network.task()?.as_str(),
        "classes": network.classes()?,
        "layers": list.collect::<Vec<_>>(),
        "params": known(totals.params),
        "macs": known(totals.macs),
        "operations": known(totals.operations),
    }))
}
