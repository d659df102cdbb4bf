//! Every type that an experiment file can contain.
//!
//! These types are the language: the JSON Schema is generated from them, the checker walks a file
//! by that schema, and the engine matches on them. A field's doc comment is its description in
//! editors. The rules of the house: externally tagged enums whose variants are tables (a variant
//! without parameters is the empty table), `kebab-case`, no unknown keys, no `flatten`, no
//! `untagged`; every default is stated here and nowhere else. A text that names a stage, and a list or
//! table that names layers by pattern, says so with `extend("x-names" = …)`: the checker then knows it.
//! The role of a stage that is named is the key; for `"stage-of-table"` the key of the table around it.

mod adapt;
mod claim;
mod command;
mod data;
mod finetune;
mod import;
pub mod layers;
mod model;
mod prune;
mod sensitivity;
mod sparsify;
mod stage;
mod sweep;
pub mod template;
mod train;

pub use adapt::{
    Adabn, Adapt, Adda, Bandwidth, Cdan, ConditionalEntropy, Coral, Dann, Ddc, Estimator, Mcc, Mcd,
    MeanTeacher, Method, Mmd, Perturbation, PseudoLabels, Shot, SourceOnly, Tent, Validator,
};
pub use claim::{Claim, Comparison, Results};
pub use command::Command;
pub use data::{
    AllGroups, AmazonReviews, Augment, Batching, Beside, Category, Class, Colour, Content, Csv,
    Data, Digits, DigitsOnPhotographs, Features, Fsdd, Group, Groups, HorizontalFlip, ImageFolder,
    ImageOptions, LogMel, MaskFolder, MelNormalize, Newsgroups, Normalize, OnlyGroups, Pair,
    PairPart, Photographs, RandomAffine, RandomCrop, Raw, RowDomain, RowNormalize, Speaker, Split,
    TestColumn, TestDrawn, TestRows, Weights,
};
pub use finetune::{
    AtOnce, Backbone, Bss, Delta, Discriminative, GradualUnfreezing, LayerDecay, LayerRates, Lora,
    Never, Unfreeze,
};
pub use import::Import;
pub use model::{
    Alexnet, AudioCnn, AudioCnn1d, Cnn, Densenet, Fcn, FcnResnet50, Lenet5, Mlp, MobilenetV2,
    Model, Recurrent, Resnet, ShuffleWidth, ShufflenetV2, StepPooling, TextCnn, TextMean,
    TransformerEncoder, Unet, UnetUpsampling, Vgg,
};
pub use prune::{
    ActivationEntropy, Allocation, BinRange, Budget, Correction, Criterion, Entropy, Granularity,
    Grasp, Hessian, JointEntropy, Lamp, Magnitude, MaxEntropy, MinMse, Movement, MseTarget,
    OnOffEntropy, OutputEntropy, PredictionEntropy, Prune, Random, RewindTo, Scope, Select,
    Slimming, Snip, SparseMethod, SparseOpt, SparseOptimizer, Synflow, Taylor,
};
pub use sensitivity::Sensitivity;
pub use sparsify::{Densities, Exchange, Gradual, Sparsify};
pub use stage::{BESIDE, Evaluate, Finetune, Latency, Pretrain, Stage, StageKind};
pub use sweep::Sweep;
pub use train::{
    Adam, CrossEntropy, Distillation, EarlyStopping, Keep, L2Sp, Loss, Mse, OneCycle, Optimizer,
    Precision, RmsProp, Schedule, Sgd, Step, Training, Warmup,
};

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Files that graftwork writes into a checkpoint beside what the stage leaves.
pub const OWN_FILES: [&str; 5] =
    ["log.txt", "manifest.json", "metrics.jsonl", "params.json", "recipe.json"];

/// A whole experiment file, after `--set` and before the sweep is applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Experiment {
    /// Name of the experiment, as `graftwork table` and `graftwork status` show it.
    #[schemars(
        regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"),
        extend("patternErrorMessage" = "letters, digits, `.`, `_` and `-`, the first a letter or digit")
    )]
    pub name: String,
    /// What the experiment is for, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Every combination of the sweep is run once with each of these seeds.
    #[serde(default = "default_seeds")]
    #[schemars(length(min = 1), extend("uniqueItems" = true))]
    pub seeds: Vec<u64>,
    /// An ablation. Axes multiply: `"stage.key" = [value, …]`, or `[[sweep.NAME]]` for a list of points that
    /// set several keys together. `[[sweep.exclude]]` drops combinations, `[[sweep.include]]` adds some.
    #[serde(default, skip_serializing_if = "Sweep::is_empty")]
    pub sweep: Sweep,
    /// What the experiment is expected to show, `[[claim]]` each; `graftwork table NAME --claims` gives the
    /// verdicts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claim: Vec<Claim>,
    /// The stages by name; each names the stages whose checkpoints it starts from.
    #[schemars(extend(
        "minProperties" = 1,
        "propertyNames" = {
            "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]*$",
            "patternErrorMessage": "letters, digits, `_` and `-`, the first a letter or digit"
        }
    ))]
    pub stage: IndexMap<String, Stage>,
}

fn default_seeds() -> Vec<u64> {
    vec![0]
}
