//! What the targets share: any text as an experiment, and a plan of it where it is one.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use graftwork::experiment::{self, Checked, Files, label};
use graftwork::plan::graph::{self, Graph};
use graftwork::plan::{Digests, plan};

/// More stages than this are planned by a test; here they only slow the search down.
const MOST_STAGES: usize = 2_000;

/// Files in memory: what follows a line `### NAME` is the file of that name.
struct Pieces(BTreeMap<PathBuf, String>);

impl Files for Pieces {
    fn read(&self, path: &Path) -> io::Result<String> {
        self.0.get(path).cloned().ok_or(io::ErrorKind::NotFound.into())
    }

    fn names(&self, _folder: &Path) -> Vec<String> {
        self.0.keys().map(|path| path.display().to_string()).collect()
    }
}

/// The text before the first `### NAME`, and the files after it.
fn pieces(text: &str) -> (&str, Pieces) {
    let mut parts = text.split("\n### ");
    let first = parts.next().unwrap_or_default();
    let files = parts.filter_map(|part| part.split_once('\n'));
    let files = files.map(|(name, text)| (PathBuf::from(name.trim()), text.to_owned()));
    (first, Pieces(files.collect()))
}

/// Loads a text; its faults are written out as a user sees them.
pub fn load(text: &str, sets: &[String]) -> Option<Checked> {
    let (text, files) = pieces(text);
    match experiment::load("fuzz.toml", text, sets, &files) {
        Ok(checked) => Some(checked),
        Err(faults) => {
            assert!(!faults.0.is_empty(), "a refusal without a reason");
            assert!(!faults.to_string().is_empty());
            serde_json::to_string(&faults.0).expect("faults are plain JSON");
            None
        }
    }
}

/// Plans an experiment, makes every key and draws the graph.
pub fn plan_and_draw(checked: &Checked) {
    let _ = checked.look_beside(&|_| false);
    let stages = checked.experiment.stage.len();
    let trials = checked.trials();
    if trials.len().saturating_mul(stages) > MOST_STAGES {
        return;
    }
    let digest = |name: &str| Some(format!("digest of {name}"));
    let plan = plan(&trials, Digests { data: &digest, files: &digest });
    let counts = plan.counts();
    assert!(counts.trials == trials.len() && counts.distinct <= counts.naive);
    for node in plan.graph.node_weights() {
        assert_eq!(node.key, node.recipe.key());
    }
    draw(&Graph::of_names(&plan, &|_| false).with_axes(&plan));
    draw(&Graph::of_stages(&plan, &|_| true, &label));
    for trial in &trials {
        trial.settings.values().for_each(|value| drop(label(value)));
        trial.stages.keys().for_each(|name| drop(trial.network(name)));
    }
}

fn draw(graph: &Graph) {
    for width in [1, 80] {
        assert!(!graph::text(graph, width).is_empty());
    }
    graph::dot(graph, "fuzz");
    graph::mermaid(graph);
}
