//! Trials to one graph in which equal recipes are one node; why a node must run.
//!
//! The plan is complete before anything runs: its size, what is shared, and every key. It looks at no
//! file; digests of datasets, and what lies in the store, are passed in.

mod diff;
mod estimate;
mod export;
pub mod graph;
mod presence;
mod select;
mod why;

pub use diff::{Diff, Gone, Renamed, Shares};
pub use estimate::{Durations, Estimate};
pub use export::{Export, ExportStage, ExportTrial, export, export_schema};
pub use graph::Graph;
pub use presence::Presence;
pub use select::{SelectError, Selection, Task, Todo, select};
pub use why::{Change, History, Made, Previous, Reason};

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use indexmap::{IndexMap, IndexSet};
use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;
use serde::Serialize;
use serde_json::Value;

use crate::experiment::Trial;
use crate::experiment::spec::Stage;
use crate::recipe::{Recipe, StageKey, Start};

/// All stages of all trials, each distinct one once.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The distinct stages; an edge leads from a stage to its reader and carries the role.
    ///
    /// A stage has a larger index than its inputs, so the order of indices is an order to run in.
    pub graph: DiGraph<Node, String>,
    /// The trials in the order of the experiment.
    pub trials: Vec<PlannedTrial>,
    /// Datasets that a stage reads and that were not found; the keys of their readers mean nothing.
    pub missing_data: BTreeSet<String>,
    /// Of stages with several names, those that state other inputs than [`Node::stage`], and equal ones.
    restated: HashMap<(NodeIndex, String), Arc<Stage>>,
}

/// A distinct stage.
#[derive(Debug, Clone)]
pub struct Node {
    /// What decides its result.
    pub recipe: Recipe,
    /// The key of the recipe.
    pub key: StageKey,
    /// The stage as the first trial that needs it states it.
    pub stage: Arc<Stage>,
    /// Seed of its random draws; 0 where none takes part.
    pub seed: u64,
    /// Its names in the experiment; several where stages with different names ask for the same.
    pub names: BTreeSet<String>,
    /// Epochs that other stages go back to, which its checkpoint has to have beside its result. They
    /// change no result, so they are in no key: one that lacks them is made again in its place.
    pub keep_epochs: BTreeSet<u32>,
    /// Whether its network is a `TorchScript` program, which its checkpoint has to have beside it.
    pub has_program: bool,
    /// The trials that need it, as indices into [`Plan::trials`], ascending.
    pub trials: Vec<usize>,
}

impl Node {
    /// The name to show: the first one.
    pub fn name(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }

    /// The names of the datasets that it reads.
    pub fn data(&self) -> impl Iterator<Item = &str> {
        self.recipe.data.keys().map(String::as_str)
    }
}

/// A trial and where its stages are in the graph.
#[derive(Debug, Clone)]
pub struct PlannedTrial {
    /// The values of the sweep's axes, as in the file.
    pub settings: IndexMap<String, Value>,
    /// Seed of the trial.
    pub seed: u64,
    /// Its stages by name, in the order of the file.
    pub stages: IndexMap<String, NodeIndex>,
}

/// How large a plan is and what sharing saves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Counts {
    /// Trials: points of the sweep times seeds.
    pub trials: usize,
    /// Stages if every trial ran all of its own.
    pub naive: usize,
    /// Distinct stages.
    pub distinct: usize,
}

/// Content digests of what lies outside of an experiment; nothing for what is not there.
#[derive(Clone, Copy)]
pub struct Digests<'a> {
    /// Of a dataset, by its name.
    pub data: &'a dyn Fn(&str) -> Option<String>,
    /// Of a file or folder, by its path as the experiment states it. One that is not there is a fault of the
    /// experiment, which `Checked::look_beside` finds: it must not come this far.
    pub files: &'a dyn Fn(&str) -> Option<String>,
}

/// Plans checked trials.
pub fn plan(trials: &[Trial], digests: Digests<'_>) -> Plan {
    let mut planner =
        Planner { digests, data: HashMap::new(), nodes: HashMap::new(), last: HashMap::new() };
    let mut plan = Plan {
        graph: DiGraph::new(),
        trials: Vec::new(),
        missing_data: BTreeSet::new(),
        restated: HashMap::new(),
    };
    for trial in trials {
        planner.add(trial, &mut plan);
    }
    plan
}

impl Plan {
    /// The distinct stages, each after its inputs.
    pub fn order(&self) -> impl DoubleEndedIterator<Item = NodeIndex> + use<> {
        self.graph.node_indices()
    }

    /// The stages that a stage reads, by role.
    pub fn inputs(&self, node: NodeIndex) -> BTreeMap<&str, NodeIndex> {
        let edges = self.graph.edges_directed(node, Direction::Incoming);
        edges.map(|edge| (edge.weight().as_str(), edge.source())).collect()
    }

    /// The names that a stage states for its inputs, by role, as the file has it under `name`.
    pub fn stated_inputs(&self, node: NodeIndex, name: &str) -> Vec<(&str, &str)> {
        let restated = self.restated.get(&(node, name.to_owned()));
        restated.unwrap_or(&self.graph[node].stage).inputs()
    }

    /// How large the plan is.
    pub fn counts(&self) -> Counts {
        Counts {
            trials: self.trials.len(),
            naive: self.trials.iter().map(|trial| trial.stages.len()).sum(),
            distinct: self.graph.node_count(),
        }
    }

    /// The stage names in the order of the file, those of the first trial first.
    pub fn stage_names(&self) -> Vec<&str> {
        let names: IndexSet<&str> =
            self.trials.iter().flat_map(|trial| trial.stages.keys().map(String::as_str)).collect();
        names.into_iter().collect()
    }

    /// What tells a node from the others of its name, in a few words: the settings and the seed that all
    /// trials which need it share and not all trials have.
    pub fn title(&self, node: NodeIndex, label: &dyn Fn(&Value) -> String) -> String {
        let mut title = self.graph[node].name().to_owned();
        let settings = self.settings(node);
        let words = settings.iter().map(|(axis, value)| {
            format!("{}={}", axis.rsplit('.').next().unwrap_or(axis), label(value))
        });
        let seed = self.seed(node).map(|seed| format!("seed={seed}"));
        for word in words.chain(seed) {
            title.push(' ');
            title.push_str(&word);
        }
        title
    }

    /// The seed of all trials that need a node, where the experiment has several.
    fn seed(&self, node: NodeIndex) -> Option<u64> {
        let seed = |trial: &usize| self.trials[*trial].seed;
        let own = self.graph[node].trials.first().map(seed)?;
        let shared = self.graph[node].trials.iter().all(|trial| seed(trial) == own);
        let several = self.trials.iter().any(|trial| trial.seed != own);
        (shared && several).then_some(own)
    }

    /// The settings that all trials which need a node share, where the experiment has several values.
    pub fn settings(&self, node: NodeIndex) -> IndexMap<&str, &Value> {
        let mut trials = self.graph[node].trials.iter().map(|&trial| &self.trials[trial]);
        let Some(first) = trials.next() else { return IndexMap::new() };
        let mut shared: IndexMap<&str, &Value> =
            first.settings.iter().map(|(axis, value)| (axis.as_str(), value)).collect();
        if self.graph[node].trials.len() == self.trials.len() {
            shared.clear();
        }
        for trial in trials {
            shared.retain(|axis, value| trial.settings.get(*axis) == Some(*value));
            if shared.is_empty() {
                break;
            }
        }
        shared
    }
}

struct Planner<'a> {
    digests: Digests<'a>,
    data: HashMap<String, Option<String>>,
    nodes: HashMap<StageKey, NodeIndex>,
    /// What each name was in the trial before. Seeds and inner axes change few stages from one trial to
    /// the next, and a comparison is much cheaper than a key.
    last: HashMap<String, Last>,
}

struct Last {
    stage: Arc<Stage>,
    /// How the text of its recipe starts.
    start: Start,
    seed: u64,
    /// In the order in which the stage names them.
    inputs: Vec<NodeIndex>,
    node: NodeIndex,
}

impl Planner<'_> {
    fn add(&mut self, trial: &Trial, plan: &mut Plan) {
        let index = plan.trials.len();
        // By the index of each stage in the trial.
        let mut planned: Vec<NodeIndex> = vec![NodeIndex::end(); trial.stages.len()];
        for at in in_order(&trial.stages) {
            let (name, stage) = trial.stages.get_index(at).expect("a stage has an index");
            let inputs = indices(stage, &trial.stages).map(|input| planned[input]).collect();
            let node = self.node(name, stage, trial.seed, inputs, plan);
            let weight = &mut plan.graph[node];
            if !weight.names.contains(name) {
                weight.names.insert(name.clone());
                if weight.stage.inputs() != stage.inputs() {
                    plan.restated.insert((node, name.clone()), Arc::clone(stage));
                }
            }
            if weight.trials.last() != Some(&index) {
                weight.trials.push(index);
            }
            planned[at] = node;
        }
        let stages = trial.stages.keys().cloned().zip(planned).collect();
        plan.trials.push(PlannedTrial {
            settings: trial.settings.clone(),
            seed: trial.seed,
            stages,
        });
    }

    fn node(
        &mut self,
        name: &str,
        stage: &Arc<Stage>,
        trial_seed: u64,
        inputs: Vec<NodeIndex>,
        plan: &mut Plan,
    ) -> NodeIndex {
        let seed = if stage.is_random() { stage.pinned_seed().unwrap_or(trial_seed) } else { 0 };
        let last = self
            .last
            .get(name)
            .filter(|last| Arc::ptr_eq(&last.stage, stage) || last.stage == *stage);
        if let Some(last) = last
            && (last.seed, &last.inputs) == (seed, &inputs)
        {
            return last.node;
        }
        let settled =
            last.map(|last| (Arc::clone(&plan.graph[last.node].recipe.spec), last.start.clone()));
        let roles = || stage.inputs().into_iter().map(|(role, _)| role.to_owned()).zip(&inputs);
        let keys = roles().map(|(role, &input)| (role, plan.graph[input].key)).collect();
        let data = self.data(stage, plan);
        let (recipe, start) = match settled {
            Some((spec, start)) => (Recipe::with_spec(stage, spec, seed, keys, data), Some(start)),
            None => (Recipe::new(stage, seed, keys, data), None),
        };
        let recipe = recipe.with_files(self.files(stage));
        let start = start.unwrap_or_else(|| Start::of(&recipe));
        let key = recipe.key_from(&start);
        let node = *self.nodes.entry(key).or_insert_with(|| {
            let stage = Arc::clone(stage);
            let (names, keep_epochs, trials) = Default::default();
            let has_program = stage.takes_a_program()
                || roles().any(|(role, &input)| role == "from" && plan.graph[input].has_program);
            let node = Node { recipe, key, stage, seed, names, keep_epochs, has_program, trials };
            let node = plan.graph.add_node(node);
            for (role, &input) in roles() {
                let epoch = plan.graph[node].stage.epoch_of(&role);
                plan.graph[input].keep_epochs.extend(epoch);
                plan.graph.add_edge(input, node, role);
            }
            node
        });
        let now = Last { stage: Arc::clone(stage), start, seed, inputs, node };
        match self.last.get_mut(name) {
            Some(last) => *last = now,
            None => drop(self.last.insert(name.to_owned(), now)),
        }
        node
    }

    fn files(&self, stage: &Stage) -> BTreeMap<String, String> {
        let files = stage.files().into_iter();
        let digest = |path| (self.digests.files)(path).unwrap_or_default();
        files.map(|(name, beside)| (name.to_owned(), digest(beside.path))).collect()
    }

    fn data(&mut self, stage: &Stage, plan: &mut Plan) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for name in stage.data().into_iter().flat_map(|(_, data)| data.datasets()) {
            let digest =
                self.data.entry(name.to_owned()).or_insert_with(|| (self.digests.data)(name));
            if digest.is_none() {
                plan.missing_data.insert(name.to_owned());
            }
            found.insert(name.to_owned(), digest.clone().unwrap_or_default());
        }
        found
    }
}

/// The indices of the stages that a stage reads, in the order in which it names them.
fn indices<'a>(
    stage: &'a Stage,
    stages: &'a IndexMap<String, Arc<Stage>>,
) -> impl Iterator<Item = usize> + 'a {
    let names = stage.inputs().into_iter().map(|(_, input)| input);
    names.map(|name| stages.get_index_of(name).expect("a checked stage reads stages that exist"))
}

/// The indices of a trial's stages, each after the stages that it reads; otherwise as in the file.
fn in_order(stages: &IndexMap<String, Arc<Stage>>) -> Vec<usize> {
    let mut order = Vec::with_capacity(stages.len());
    let mut is_done = vec![false; stages.len()];
    for first in 0..stages.len() {
        if is_done[first] {
            continue;
        }
        // A chain of stages may be longer than the program's stack is deep.
        let mut open = vec![first];
        while let Some(&at) = open.last() {
            assert!(open.len() <= stages.len(), "the stages of a checked experiment form no cycle");
            if let Some(input) = indices(&stages[at], stages).find(|&input| !is_done[input]) {
                open.push(input);
            } else {
                is_done[at] = true;
                order.push(at);
                open.pop();
            }
        }
    }
    order
}
