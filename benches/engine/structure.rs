//! What it costs to find the dependency groups of a network, score every unit by its L2 norm, choose half of
//! the units of every layer and take them out: CPU seconds on one thread, the least of some repetitions.
//!
//! One line of JSON a network. `benches/peers/pruning` runs this beside Torch-Pruning.

#![expect(clippy::print_stdout, reason = "what a benchmark finds is printed")]

use cpu_time::ProcessTime;
use graftwork::experiment::spec::{Budget, Criterion, Granularity, Magnitude, Prune, Scope};
use graftwork::network::groups::Dependencies;
use graftwork::network::zoo;
use graftwork_engine::model::Model;
use graftwork_engine::prune::prunable;
use graftwork_engine::prune::selection::Target;
use graftwork_engine::prune::units::goals::Goals;
use graftwork_engine::prune::units::{Candidates, scores};
use serde_json::json;
use tch::Device;

const REPETITIONS: usize = 7;

const NETWORKS: [(&str, u32); 5] =
    [("resnet18", 224), ("resnet50", 224), ("resnet18", 32), ("resnet50", 32), ("densenet121", 64)];

fn main() {
    tch::set_num_threads(1);
    for (name, size) in NETWORKS {
        let spec = serde_json::from_value(json!({ name: {} })).expect("an architecture");
        let network = zoo::build(&spec, &[3, size, size], 1000).expect("it takes these images");
        let model = Model::new(network, 0, Device::Cpu);
        let runs: Vec<Run> = (0..REPETITIONS).map(|_| halved(&model)).collect();
        let least = |of: fn(&Run) -> f64| runs.iter().map(of).fold(f64::INFINITY, f64::min);
        let row = json!({
            "network": name,
            "size": size,
            "groups": least(|run| run.groups),
            "scores": least(|run| run.scores),
            "choice": least(|run| run.choice),
            "removal": least(|run| run.removal),
            "all": least(|run| run.groups + run.scores + run.choice + run.removal),
            "params": [model.network().param_count(), runs[0].params],
            "macs": [macs(&model), runs[0].macs],
        });
        println!("{row}");
    }
}

/// CPU seconds of the parts, and what is left.
struct Run {
    groups: f64,
    scores: f64,
    choice: f64,
    removal: f64,
    params: u64,
    macs: u64,
}

fn halved(model: &Model) -> Run {
    let stage = stage();
    let layers = prunable(model, &[]).expect("it has layers");
    let target = Target::of(&stage, model, &layers).expect("no budget of nonzeros");
    let mut clock = Clock(ProcessTime::now());
    let dependencies = Dependencies::of(model.network()).expect("it fits together");
    let candidates = Candidates::new(model, &dependencies, &layers).expect("it has hidden layers");
    let groups = clock.lap();
    let found = scores::magnitude(model, candidates.groups());
    let scores = clock.lap();
    let goals = Goals::of(&stage, model, &layers, &candidates).expect("nothing is masked");
    let units = candidates.choose(model, &found, &target, &goals).expect("half can go");
    let choice = clock.lap();
    let small = model.without(&dependencies.without(units.iter().copied()));
    let removal = clock.lap();
    let params = small.network().param_count();
    Run { groups, scores, choice, removal, params, macs: macs(&small) }
}

struct Clock(ProcessTime);

impl Clock {
    fn lap(&mut self) -> f64 {
        let seconds = self.0.elapsed().as_secs_f64();
        self.0 = ProcessTime::now();
        seconds
    }
}

fn macs(model: &Model) -> u64 {
    model.counts().expect("it fits together").macs.expect("it is no program")
}

/// Half of the units of every layer.
fn stage() -> Prune {
    Prune {
        budget: Some(Budget { channels: Some(0.5), ..Budget::default() }),
        scope: Scope::Layer,
        granularity: Some(Granularity::Unit),
        ..Prune::new("dense", Criterion::Magnitude(Magnitude {}))
    }
}
