//! How long stages take, from how long such stages took.

use std::collections::BTreeMap;

use petgraph::graph::NodeIndex;
use serde::Serialize;

use super::{Node, Plan};
use crate::experiment::spec::StageKind;

/// Mean durations in seconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Durations {
    /// Of the stages of this experiment, by kind and name.
    pub by_name: BTreeMap<(String, String), f64>,
    /// Of all stages, by kind.
    pub by_kind: BTreeMap<String, f64>,
}

/// The work of some stages, one after the other.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Estimate {
    /// Seconds of the stages of which the duration can be told.
    pub seconds: f64,
    /// The number of all others by kind: of that kind none has run.
    pub unknown: BTreeMap<StageKind, usize>,
}

impl Durations {
    /// The expected seconds of a stage: as stages of its name took, else as those of its kind.
    pub fn of(&self, node: &Node) -> Option<f64> {
        let kind = node.recipe.kind.as_str();
        let named = |name: &String| self.by_name.get(&(kind.to_owned(), name.clone()));
        node.names.iter().find_map(named).or_else(|| self.by_kind.get(kind)).copied()
    }

    /// The expected work of stages, each as often as it says.
    pub fn work(
        &self,
        plan: &Plan,
        stages: impl IntoIterator<Item = (NodeIndex, usize)>,
    ) -> Estimate {
        let mut estimate = Estimate::default();
        for (node, times) in stages.into_iter().filter(|(_, times)| *times > 0) {
            let node = &plan.graph[node];
            match self.of(node) {
                Some(seconds) => estimate.seconds += seconds * times as f64,
                None => *estimate.unknown.entry(node.recipe.kind).or_default() += times,
            }
        }
        estimate
    }

    /// The work that sharing saves: what every trial would do on its own, beyond the distinct stages.
    pub fn saved(&self, plan: &Plan) -> Estimate {
        let mut uses = vec![0_usize; plan.graph.node_count()];
        for node in plan.trials.iter().flat_map(|trial| trial.stages.values()) {
            uses[node.index()] += 1;
        }
        self.work(plan, plan.order().map(|node| (node, uses[node.index()].saturating_sub(1))))
    }
}
