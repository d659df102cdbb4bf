//! The plan as a document for other tools, and the JSON Schema of it.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;
use petgraph::graph::NodeIndex;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::Plan;

/// The version of the document. It is raised when a reader of the one before would misread it; a new
/// field does not raise it.
const VERSION: u32 = 1;

/// The resolved plan of an experiment, as `graftwork export-plan` writes it. It depends on the experiment
/// file and the content of the datasets alone, not on what has been run.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Export {
    /// Version of this form: 1.
    pub version: u32,
    /// Version of graftwork that wrote it.
    pub graftwork: String,
    /// Name of the experiment.
    pub experiment: String,
    /// Stages if every trial ran all of its own.
    pub naive: usize,
    /// Datasets that were not found; the keys of stages that read them, and of all below, mean nothing.
    pub missing_data: BTreeSet<String>,
    /// The distinct stages, each after its inputs.
    pub stages: Vec<ExportStage>,
    /// The trials in the order of the experiment.
    pub trials: Vec<ExportTrial>,
}

/// A distinct stage.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ExportStage {
    /// What its result is found under: the BLAKE3 hash of `recipe`, 64 hexadecimal digits.
    pub key: String,
    /// Its names in the experiment.
    pub names: BTreeSet<String>,
    /// The kind of stage: `pretrain`, `prune`, and so on.
    pub kind: String,
    /// Revision of the kind: the same settings gave another result before it was raised.
    pub revision: u32,
    /// All that decides the result, as canonical JSON text: defaults and inputs' names left out.
    pub recipe: String,
    /// The settings as an experiment file states them, defaults included.
    pub settings: Value,
    /// Seed of all random draws; absent where none takes part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Keys of the stages that it reads, by role.
    pub inputs: BTreeMap<String, String>,
    /// Content digests of the datasets that it reads, by name; empty for one that was not found.
    pub data: BTreeMap<String, String>,
    /// Content digests of the files that it names, by the name that it gives them.
    pub files: BTreeMap<String, String>,
    /// Epochs whose networks other stages go back to, which are to be kept beside the result; they are in no
    /// key.
    pub keep_epochs: BTreeSet<u32>,
}

/// One combination of the sweep with one seed.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ExportTrial {
    /// The axes of the sweep and their values.
    pub settings: IndexMap<String, Value>,
    /// Seed of the trial.
    pub seed: u64,
    /// Keys of its stages by name.
    pub stages: IndexMap<String, String>,
}

/// Writes a plan as a document.
pub fn export(plan: &Plan, experiment: &str) -> Export {
    let stages = plan.graph.node_weights().map(|node| {
        let recipe = &node.recipe;
        let kind = recipe.kind.as_str();
        let settings = serde_json::to_value(&*node.stage).expect("a stage is plain JSON");
        let inputs = recipe.inputs.iter();
        ExportStage {
            key: node.key.to_string(),
            names: node.names.clone(),
            kind: kind.to_owned(),
            revision: recipe.revision,
            recipe: recipe.canonical(),
            settings: settings.get(kind).cloned().unwrap_or_default(),
            seed: recipe.seed,
            inputs: inputs.map(|(role, key)| (role.clone(), key.to_string())).collect(),
            data: recipe.data.clone(),
            files: recipe.files.clone(),
            keep_epochs: node.keep_epochs.clone(),
        }
    });
    let key = |node: NodeIndex| plan.graph[node].key.to_string();
    let trials = plan.trials.iter().map(|trial| ExportTrial {
        settings: trial.settings.clone(),
        seed: trial.seed,
        stages: trial.stages.iter().map(|(name, &node)| (name.clone(), key(node))).collect(),
    });
    Export {
        version: VERSION,
        graftwork: env!("CARGO_PKG_VERSION").to_owned(),
        experiment: experiment.to_owned(),
        naive: plan.counts().naive,
        missing_data: plan.missing_data.clone(),
        stages: stages.collect(),
        trials: trials.collect(),
    }
}

/// The JSON Schema of the document.
pub fn export_schema() -> Value {
    let mut schema = schemars::schema_for!(Export).to_value();
    schema["title"] = Value::from("graftwork plan");
    schema
}
