//! The plan as a graph to look at: of stage names, or of distinct stages.
//!
//! [`text`] draws it for a terminal, [`dot`] and [`mermaid`] write it for programs that draw better.

mod dot;
mod mermaid;
mod text;

pub use dot::dot;
pub use mermaid::mermaid;
pub use text::{Row, rows, text};

use std::collections::{HashMap, HashSet};

use indexmap::{IndexMap, IndexSet};
use petgraph::graph::NodeIndex;
use serde_json::Value;

use super::Plan;
use crate::experiment::spec::StageKind;

/// What is drawn.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Graph {
    /// The boxes in the order of the file.
    pub boxes: Vec<GraphBox>,
}

/// A stage name with all its distinct stages, or one distinct stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphBox {
    /// Tells it from all others: the stage's name, or the key.
    pub id: String,
    /// The name to show.
    pub name: String,
    /// The kind of stage.
    pub kind: StageKind,
    /// Distinct stages in it.
    pub count: usize,
    /// How many of them are in the store.
    pub cached: usize,
    /// What it reads: the role, and the index of a box; several of a role where the sweep changes it.
    pub inputs: IndexSet<(String, usize)>,
    /// What tells its stages apart: names of axes, `seed`.
    pub varies: Vec<String>,
}

impl GraphBox {
    /// The box of a stage name before its stages are counted; their kind is not known yet.
    fn empty(name: &str) -> Self {
        Self {
            id: name.to_owned(),
            name: name.to_owned(),
            kind: StageKind::Pretrain,
            count: 0,
            cached: 0,
            inputs: IndexSet::new(),
            varies: Vec::new(),
        }
    }

    /// `cached` where all of it is, `3 cached` where some is.
    fn cached(&self) -> String {
        match self.cached {
            0 => String::new(),
            cached if cached == self.count => "cached".to_owned(),
            cached => format!("{cached} cached"),
        }
    }
}

impl Graph {
    /// The graph of the stage names; `is_cached` says what is in the store.
    pub fn of_names(plan: &Plan, is_cached: &dyn Fn(NodeIndex) -> bool) -> Self {
        let mut boxes: IndexMap<&str, GraphBox> = IndexMap::new();
        for name in plan.stage_names() {
            boxes.insert(name, GraphBox::empty(name));
        }
        let mut seen: HashSet<(&str, NodeIndex)> = HashSet::new();
        for trial in &plan.trials {
            let mut names: Option<HashMap<NodeIndex, Vec<&str>>> = None;
            for (name, &node) in &trial.stages {
                if !seen.insert((name, node)) {
                    continue;
                }
                let names = names.get_or_insert_with(|| names_of(&trial.stages));
                let stated = plan.stated_inputs(node, name);
                let inputs: Vec<(String, usize)> = plan
                    .inputs(node)
                    .into_iter()
                    .filter_map(|(role, input)| {
                        let input = input_name(&stated, role, names.get(&input)?)?;
                        Some((role.to_owned(), boxes.get_index_of(input)?))
                    })
                    .collect();
                let Some(group) = boxes.get_mut(name.as_str()) else { continue };
                group.kind = plan.graph[node].recipe.kind;
                group.count += 1;
                group.cached += usize::from(is_cached(node));
                group.inputs.extend(inputs);
            }
        }
        Self { boxes: boxes.into_values().collect() }
    }

    /// The graph of all distinct stages.
    pub fn of_stages(
        plan: &Plan,
        is_cached: &dyn Fn(NodeIndex) -> bool,
        label: &dyn Fn(&Value) -> String,
    ) -> Self {
        let boxes = plan.order().map(|node| GraphBox {
            id: plan.graph[node].key.to_string(),
            name: plan.title(node, label),
            kind: plan.graph[node].recipe.kind,
            count: 1,
            cached: usize::from(is_cached(node)),
            inputs: plan
                .inputs(node)
                .into_iter()
                .map(|(role, input)| (role.to_owned(), input.index()))
                .collect(),
            varies: Vec::new(),
        });
        Self { boxes: boxes.collect() }
    }

    /// The same with the axes and seeds that tell the stages of each name apart.
    #[must_use]
    pub fn with_axes(mut self, plan: &Plan) -> Self {
        let mut fixed: HashMap<&str, HashSet<&str>> = HashMap::new();
        for node in plan.order() {
            let settings = plan.settings(node);
            for name in &plan.graph[node].names {
                let fixed = fixed.entry(name).or_default();
                fixed.extend(settings.keys().copied());
                fixed.extend(plan.seed(node).map(|_| "seed"));
            }
        }
        let Some(first) = plan.trials.first() else { return self };
        let differs = |axis: &&String| {
            plan.trials.iter().any(|trial| trial.settings.get(*axis) != first.settings.get(*axis))
        };
        let axes: Vec<&str> =
            first.settings.keys().filter(differs).map(String::as_str).chain(["seed"]).collect();
        for group in &mut self.boxes {
            let Some(fixed) = fixed.get(group.name.as_str()) else { continue };
            let varies = axes.iter().filter(|axis| fixed.contains(**axis));
            let short = varies.map(|axis| axis.rsplit('.').next().unwrap_or(axis).to_owned());
            group.varies = short.collect();
        }
        self
    }
}

fn names_of(stages: &IndexMap<String, NodeIndex>) -> HashMap<NodeIndex, Vec<&str>> {
    let mut names: HashMap<NodeIndex, Vec<&str>> = HashMap::new();
    for (name, &node) in stages {
        names.entry(node).or_default().push(name);
    }
    names
}

/// The name of an input: of several that are the same stage, the one that the file states.
fn input_name<'a>(stated: &[(&str, &str)], role: &str, names: &[&'a str]) -> Option<&'a str> {
    let stated = stated.iter().find(|(other, _)| *other == role);
    let stated = stated.and_then(|(_, stated)| names.iter().find(|name| *name == stated));
    stated.or(names.first()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Boxes from lines such as `tuned < thin, big as teacher`; an input may come later.
    pub(super) fn graph(lines: &[&str]) -> Graph {
        let parts: Vec<(&str, &str)> =
            lines.iter().map(|line| line.split_once(" < ").unwrap_or((line, ""))).collect();
        let index = |name: &str| parts.iter().position(|(other, _)| *other == name).unwrap();
        let boxes = parts.iter().map(|(name, inputs)| {
            let inputs = inputs.split(", ").filter(|input| !input.is_empty()).map(|input| {
                let (input, role) = input.split_once(" as ").unwrap_or((input, "from"));
                (role.to_owned(), index(input))
            });
            GraphBox {
                id: (*name).to_owned(),
                name: (*name).to_owned(),
                kind: StageKind::Prune,
                count: 2,
                cached: 0,
                inputs: inputs.collect(),
                varies: Vec::new(),
            }
        });
        Graph { boxes: boxes.collect() }
    }
}
