//! The stage kinds, except those that have a file of their own (`prune`, `adapt`, `import`, `command`,
//! `sensitivity`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::train::training_stage;
use super::{
    Adapt, Beside, Command, Data, EarlyStopping, Import, Model, Prune, Sensitivity, Split,
};

/// The role of the stage that a `prune` stage goes back to.
const REWIND_TO: &str = "rewind-to";

/// The role of the stage whose latency an `evaluate` stage measures beside that of its own.
pub const BESIDE: &str = "beside";

/// One stage of the graph: `[stage.NAME.KIND]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Trains a new network from its initial weights.
    Pretrain(Pretrain),
    /// Removes weights from a trained network; the removed weights stay exactly zero in every later stage.
    Prune(Prune),
    /// Trains a network further on labelled data, the same or other than before.
    Finetune(Finetune),
    /// Adapts a network from a labelled source domain to an unlabelled target domain.
    Adapt(Adapt),
    /// Measures a network on one split of a dataset.
    Evaluate(Evaluate),
    /// Measures how accuracy falls when each layer alone is pruned.
    Sensitivity(Sensitivity),
    /// Takes the parameters of a network from a safetensors file that was made elsewhere.
    Import(Import),
    /// Runs a program with declared inputs, files, parameters and outputs.
    Command(Command),
}

/// The name of a stage kind, without its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StageKind {
    /// See [`Pretrain`].
    Pretrain,
    /// See [`Prune`].
    Prune,
    /// See [`Finetune`].
    Finetune,
    /// See [`Adapt`].
    Adapt,
    /// See [`Evaluate`].
    Evaluate,
    /// See [`Sensitivity`].
    Sensitivity,
    /// See [`Import`].
    Import,
    /// See [`Command`].
    Command,
}

impl StageKind {
    /// The kind as an experiment file writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pretrain => "pretrain",
            Self::Prune => "prune",
            Self::Finetune => "finetune",
            Self::Adapt => "adapt",
            Self::Evaluate => "evaluate",
            Self::Sensitivity => "sensitivity",
            Self::Import => "import",
            Self::Command => "command",
        }
    }

    /// Raised when the same settings would give another result than before; it enters every key.
    pub fn revision(self) -> u32 {
        match self {
            // 2: `max-entropy` makes up for the mean only where it is asked to, and of equals the first unit
            // goes first. 3: the penalty of whole units is held low enough to take no others; sums of
            // squares are 64-bit across chunks.
            Self::Prune => 3,
            Self::Pretrain
            | Self::Finetune
            | Self::Adapt
            | Self::Evaluate
            | Self::Sensitivity
            | Self::Import
            | Self::Command => 1,
        }
    }
}

impl Stage {
    /// The kind of this stage.
    pub fn kind(&self) -> StageKind {
        match self {
            Self::Pretrain(_) => StageKind::Pretrain,
            Self::Prune(_) => StageKind::Prune,
            Self::Finetune(_) => StageKind::Finetune,
            Self::Adapt(_) => StageKind::Adapt,
            Self::Evaluate(_) => StageKind::Evaluate,
            Self::Sensitivity(_) => StageKind::Sensitivity,
            Self::Import(_) => StageKind::Import,
            Self::Command(_) => StageKind::Command,
        }
    }

    /// The stages that this one reads, by role. The role is the key that names the stage in the file.
    pub fn inputs(&self) -> Vec<(&str, &str)> {
        match self {
            Self::Pretrain(_) | Self::Import(_) => Vec::new(),
            Self::Prune(stage) => {
                let rewind_to = stage.rewind_to.as_ref();
                let rewind_to = rewind_to.map(|point| (REWIND_TO, point.stage.as_str()));
                std::iter::once(("from", stage.from.as_str())).chain(rewind_to).collect()
            }
            Self::Finetune(stage) => {
                let teacher = stage.teacher.as_deref().map(|teacher| ("teacher", teacher));
                std::iter::once(("from", stage.from.as_str())).chain(teacher).collect()
            }
            Self::Adapt(stage) => vec![("from", &stage.from)],
            Self::Evaluate(stage) => {
                let latency = stage.latency.as_ref();
                let beside = latency.map(|latency| (BESIDE, latency.beside.as_str()));
                std::iter::once(("from", stage.from.as_str())).chain(beside).collect()
            }
            Self::Sensitivity(stage) => vec![("from", &stage.from)],
            Self::Command(stage) => {
                let inputs = stage.inputs.iter();
                inputs.map(|(role, input)| (role.as_str(), input.as_str())).collect()
            }
        }
    }

    /// The epoch after which an input is read, where it is not read at its end.
    pub fn epoch_of(&self, role: &str) -> Option<u32> {
        match self {
            Self::Prune(Prune { rewind_to: Some(point), .. }) if role == REWIND_TO => {
                Some(point.epoch)
            }
            _ => None,
        }
    }

    /// The epochs that it trains for, and what may end it before; none for a stage that trains in none.
    pub fn epochs(&self) -> Option<(u32, Option<&EarlyStopping>)> {
        match self {
            Self::Pretrain(stage) => Some((stage.epochs, stage.early_stopping.as_ref())),
            Self::Finetune(stage) => Some((stage.epochs, stage.early_stopping.as_ref())),
            Self::Adapt(stage) => Some((stage.epochs, stage.early_stopping.as_ref())),
            Self::Prune(_)
            | Self::Evaluate(_)
            | Self::Sensitivity(_)
            | Self::Import(_)
            | Self::Command(_) => None,
        }
    }

    /// The files and folders beside the experiment that this stage reads, each with the name that it has
    /// here. They decide the result by their content; where they lie does not.
    pub fn files(&self) -> Vec<(&str, Beside<'_>)> {
        let file = |path| Beside { path, is_folder: false };
        let mut files: Vec<(&str, Beside<'_>)> = match self {
            Self::Command(stage) => {
                stage.files.iter().map(|(name, path)| (name.as_str(), file(path))).collect()
            }
            Self::Import(stage) => vec![("file", file(&stage.file))],
            Self::Pretrain(_)
            | Self::Prune(_)
            | Self::Finetune(_)
            | Self::Adapt(_)
            | Self::Evaluate(_)
            | Self::Sensitivity(_) => Vec::new(),
        };
        let data = self.data().into_iter();
        files.extend(data.filter_map(|(key, data)| Some((key, data.beside()?))));
        files
    }

    /// The settings that are no settings to a recipe, which has seed, inputs and files in its own way;
    /// each by the keys that lead there.
    pub(crate) fn named_otherwise(&self) -> Vec<Vec<&'static str>> {
        let mut keys = match self {
            Self::Pretrain(_) => vec![vec!["seed"]],
            Self::Prune(_) => vec![vec!["seed"], vec!["from"], vec![REWIND_TO, "stage"]],
            Self::Finetune(_) => vec![vec!["seed"], vec!["from"], vec!["teacher"]],
            Self::Evaluate(_) => vec![vec!["from"], vec!["latency", BESIDE]],
            Self::Adapt(_) => vec![vec!["seed"], vec!["from"]],
            Self::Sensitivity(_) => vec![vec!["from"]],
            Self::Import(_) => vec![vec!["seed"], vec!["file"]],
            Self::Command(_) => vec![vec!["seed"], vec!["inputs"], vec!["files"]],
        };
        let own = self.data().into_iter().filter(|(_, data)| data.beside().is_some());
        keys.extend(own.map(|(key, data)| vec![key, data.name(), "path"]));
        keys
    }

    /// Whether its network is a `TorchScript` program that comes from a file.
    pub fn takes_a_program(&self) -> bool {
        matches!(self, Self::Import(Import { model: None, .. }))
    }

    /// Whether the engine runs it; a `command` needs nothing of LibTorch.
    pub fn needs_engine(&self) -> bool {
        !matches!(self, Self::Command(_))
    }

    /// The datasets that this stage reads, each with the key that names it in the file.
    pub fn data(&self) -> Vec<(&'static str, &Data)> {
        match self {
            Self::Pretrain(stage) => vec![("data", &stage.data)],
            Self::Prune(stage) => stage.data.iter().map(|data| ("data", data)).collect(),
            Self::Finetune(stage) => vec![("data", &stage.data)],
            Self::Adapt(stage) => vec![("source", &stage.source), ("target", &stage.target)],
            Self::Evaluate(stage) => vec![("data", &stage.data)],
            Self::Sensitivity(stage) => vec![("data", &stage.data)],
            Self::Import(stage) => vec![("data", &stage.data)],
            Self::Command(_) => Vec::new(),
        }
    }

    /// The seed that the file pins for this stage, so that it is shared by all seeds of the experiment.
    pub fn pinned_seed(&self) -> Option<u64> {
        match self {
            Self::Pretrain(stage) => stage.seed,
            Self::Prune(stage) => stage.seed,
            Self::Finetune(stage) => stage.seed,
            Self::Adapt(stage) => stage.seed,
            Self::Evaluate(_) | Self::Sensitivity(_) => None,
            Self::Import(stage) => stage.seed,
            Self::Command(stage) => stage.seed,
        }
    }

    /// Whether a random draw takes part in this stage's result.
    ///
    /// A stage that draws nothing has no seed in its recipe, so all seeds that share its inputs share it.
    pub fn is_random(&self) -> bool {
        match self {
            Self::Pretrain(_) | Self::Finetune(_) | Self::Adapt(_) => true,
            Self::Prune(stage) => stage.is_random(),
            Self::Evaluate(_) => false,
            Self::Sensitivity(stage) => stage.criterion.is_random(),
            Self::Import(stage) => !stage.strict,
            Self::Command(stage) => stage.random,
        }
    }
}

training_stage! {
    /// Trains a new network from its initial weights.
    Pretrain {
        /// The network.
        pub model: Model,
        /// The training data.
        pub data: Data,
    }
}

training_stage! {
    /// Trains a network further on labelled data.
    ///
    /// Where the number of classes differs from the network's, its last layer is replaced by a new one.
    Finetune {
        /// The stage whose network is trained further.
        #[schemars(extend("x-names" = "stage"))]
        pub from: String,
        /// The stage whose network teaches this one; goes with `loss.distillation`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(extend("x-names" = "stage"))]
        pub teacher: Option<String>,
        /// The training data.
        pub data: Data,
        /// Replaces the last layer by a new one even where the number of classes stays.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pub new_head: bool,
        /// Learning rates by the depth of a layer. Where a pattern of `learning-rate-factors` matches, its factor
        /// counts in place of this one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub layer_rates: Option<super::LayerRates>,
        /// When the layers below the head begin to train; by default all train from the start.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub unfreeze: Option<super::Unfreeze>,
        /// Penalty on the distance to the starting weights (Li et al. 2018, arXiv 1802.01483).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub l2_sp: Option<super::L2Sp>,
        /// Penalty on the distance to what the layers put out at the start.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub delta: Option<super::Delta>,
        /// Penalty on the smallest singular values of the features.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub bss: Option<super::Bss>,
        /// Trains low-rank updates of the weights in their place.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub lora: Option<super::Lora>,
    }
}

/// Measures a network on one split of a dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Evaluate {
    /// The stage whose network is measured.
    #[schemars(extend("x-names" = "stage"))]
    pub from: String,
    /// The data.
    pub data: Data,
    /// Which split is measured.
    #[serde(default = "Evaluate::default_split")]
    pub split: Split,
    /// Measures how long the network takes, in turn with another stage's: `{ beside = "dense" }`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
}

/// How the latency of two networks is measured: one batch at a time, in turn, in one process.
///
/// Other work on the machine is noise: run with `--jobs 1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Latency {
    /// The stage whose network is measured beside the one of `from`.
    #[schemars(extend("x-names" = "stage"))]
    pub beside: String,
    /// Examples in a batch.
    #[serde(default = "Latency::default_batch")]
    #[schemars(range(min = 1))]
    pub batch: u32,
    /// CPU threads.
    #[serde(default = "Latency::default_threads")]
    #[schemars(range(min = 1, max = 1024))]
    pub threads: u32,
    /// Batches that each network is timed on, after a few that are not.
    #[serde(default = "Latency::default_repeats")]
    #[schemars(range(min = 4))]
    pub repeats: u32,
}

impl Latency {
    fn default_batch() -> u32 {
        1
    }

    fn default_threads() -> u32 {
        1
    }

    fn default_repeats() -> u32 {
        30
    }
}

impl Evaluate {
    fn default_split() -> Split {
        Split::Test
    }
}
