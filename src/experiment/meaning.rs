//! What the stages of a file mean together: references, loops, and, by [`networks`](super::networks),
//! what each stage does to its network, in every combination of the sweep.
//!
//! A combination is analysed stage by stage along the references. A stage variant with the same
//! analysed inputs is analysed once, as it would run once; 1,000 trials cost little more than their
//! distinct stages.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use indexmap::IndexMap;

use super::check::{Name, Walker};
use super::fault::{Code, Fault, Sources, Span, list, nearest};
use super::grammar::{EXPERIMENT, Names};
use super::networks::{Input, Site, analyse};
use super::sets::insert;
use super::spec::Stage;
use super::sweep::Sweep;
use super::tree::Tree;
use crate::network::Network;

/// Every stage of a file with every value that the sweep gives it.
#[derive(Debug)]
pub(super) struct Stages {
    pub(super) sweep: Sweep,
    pub(super) stages: IndexMap<String, StageVariants>,
}

/// A stage with each combination of the points of the axes that set one of its keys.
#[derive(Debug)]
pub(super) struct StageVariants {
    /// Where the stage's name stands.
    pub(super) key: Span,
    /// Indices of the axes that set one of its keys, in any of their points.
    pub(super) axes: Vec<usize>,
    /// By the points of those axes, in the order in which the sweep has them first.
    pub(super) variants: IndexMap<Vec<usize>, Variant>,
    /// Which variant each combination of the sweep has; empty where there is one.
    pub(super) chosen: Vec<usize>,
}

/// A stage as one combination has it.
#[derive(Debug)]
pub(super) struct Variant {
    /// The table below the stage's name.
    pub(super) tree: Tree,
    /// None where it has faults of its own.
    pub(super) stage: Option<Stage>,
    /// The stages and layers that it names.
    pub(super) names: Vec<Name>,
}

impl Stages {
    pub(super) fn new(root: &Tree, sweep: Sweep, sources: &Sources) -> Self {
        let mut axes_of: HashMap<&str, Vec<usize>> = HashMap::new();
        for (index, axis) in sweep.axes.iter().enumerate() {
            axis.stages.iter().for_each(|stage| axes_of.entry(stage).or_default().push(index));
        }
        let table = root.entry(&["stage"]).and_then(|entry| entry.tree.table());
        let stages = table.into_iter().flatten().map(|(name, entry)| {
            let axes = axes_of.remove(name.as_str()).unwrap_or_default();
            let path = ["stage".to_owned(), name.clone()];
            let maker = Maker { root, sources, sweep: &sweep, path: &path, tree: &entry.tree };
            let (variants, chosen) = maker.variants(&axes);
            (name.clone(), StageVariants { key: entry.key, axes, variants, chosen })
        });
        let stages = stages.collect();
        Self { sweep, stages }
    }
}

/// Makes the variants of a stage.
struct Maker<'a> {
    root: &'a Tree,
    sources: &'a Sources,
    sweep: &'a Sweep,
    path: &'a [String; 2],
    tree: &'a Tree,
}

impl Maker<'_> {
    /// The variants, and which of them each combination has.
    fn variants(&self, axes: &[usize]) -> (IndexMap<Vec<usize>, Variant>, Vec<usize>) {
        if axes.is_empty() {
            return (IndexMap::from([(Vec::new(), self.variant(axes, &[]))]), Vec::new());
        }
        let mut variants: IndexMap<Vec<usize>, Variant> = IndexMap::new();
        let chosen = self.sweep.arms.iter().map(|arm| {
            let points: Vec<usize> = axes.iter().map(|&axis| arm.points[axis]).collect();
            variants.get_index_of(&points).unwrap_or_else(|| {
                let variant = self.variant(axes, &points);
                variants.insert_full(points, variant).0
            })
        });
        let chosen = chosen.collect();
        (variants, chosen)
    }

    fn variant(&self, axes: &[usize], points: &[usize]) -> Variant {
        let mut tree = self.tree.clone();
        let points = axes.iter().zip(points);
        let points = points.map(|(&axis, &point)| &self.sweep.axes[axis].points[point]);
        for setting in points.flat_map(|point| &point.settings) {
            if *setting.stage == *self.path[1] {
                let rule = EXPERIMENT.at(self.path);
                insert(&mut tree, rule, &setting.steps, setting.value.clone());
            }
        }
        let mut walker = Walker::new(self.sources);
        walker.walk_at(self.root, self.path, &EXPERIMENT, &tree);
        let (is_legal, names) = (walker.faults.is_empty(), walker.names);
        let stage = if is_legal { tree.read().ok() } else { None };
        Variant { tree, stage, names }
    }
}

/// Checks what the stages mean.
pub(super) fn check(stages: &Stages, sources: &Sources) -> Vec<Fault> {
    let mut analysis = Analysis {
        stages,
        sources,
        nodes: HashMap::new(),
        sound: HashSet::new(),
        networks: Vec::new(),
        distinct: vec![0; stages.stages.len()],
        found: IndexMap::new(),
    };
    for arm in 0..stages.sweep.arms.len() {
        let chosen = stages.stages.values();
        let chosen = chosen.map(|stage| stage.chosen.get(arm).copied().unwrap_or(0)).collect();
        let (done, on_way) = (vec![None; stages.stages.len()], vec![false; stages.stages.len()]);
        let mut combination = Combination { arm, chosen, done, way: Vec::new(), on_way };
        for stage in 0..stages.stages.len() {
            analysis.visit(stage, &mut combination);
        }
    }
    analysis.finish()
}

/// One combination of the sweep while its stages are visited.
struct Combination {
    /// Its index in the sweep.
    arm: usize,
    /// The index of each stage's variant.
    chosen: Vec<usize>,
    /// The node of each stage that has been visited.
    done: Vec<Option<usize>>,
    /// The stages from the first visited to the one that is, each reading the next.
    way: Vec<Visit>,
    /// Whether each stage is on the way.
    on_way: Vec<bool>,
}

/// A stage that is being visited, and the nodes that it reads as far as they are known.
struct Visit {
    stage: usize,
    read: Vec<Option<usize>>,
}

impl Combination {
    fn enter(&mut self, stage: usize) {
        self.on_way[stage] = true;
        self.way.push(Visit { stage, read: Vec::new() });
    }

    /// The last stage on the way reads this node next; none where the name leads to no node.
    fn has_read(&mut self, node: Option<usize>) {
        if let Some(reader) = self.way.last_mut() {
            reader.read.push(node);
        }
    }
}

/// A stage variant with the nodes that it reads, by the order of its names; none where a name leads
/// to no stage.
type NodeKey = (usize, usize, Vec<Option<usize>>);

struct Analysis<'a> {
    stages: &'a Stages,
    sources: &'a Sources,
    nodes: HashMap<NodeKey, usize>,
    /// The variants of commands without faults: whatever they read, they have none.
    sound: HashSet<(usize, usize)>,
    /// The network that each node makes, where it makes one that can be known.
    networks: Vec<Option<Rc<Network>>>,
    /// How many nodes each stage has whose inputs are known.
    distinct: Vec<usize>,
    /// Each fault once, however many nodes have it.
    found: IndexMap<(&'static str, Span, String), Found>,
}

struct Found {
    fault: Fault,
    stage: usize,
    nodes: usize,
    /// The values that led to it, where it was first met.
    settings: String,
}

impl<'a> Analysis<'a> {
    /// Analyses a stage and, before it, what it reads.
    ///
    /// The way is a list of its own: a chain of stages may be longer than the program's stack is deep.
    fn visit(&mut self, stage: usize, combination: &mut Combination) {
        if combination.done[stage].is_some() {
            return;
        }
        combination.enter(stage);
        while let Some(Visit { stage, read }) = combination.way.last() {
            let (stage, known) = (*stage, read.len());
            let Some(name) = references(self.variant(stage, combination)).nth(known) else {
                self.leave(combination);
                continue;
            };
            let Some(other) = self.stages.stages.get_index_of(&name.text) else {
                combination.has_read(None);
                continue;
            };
            if let Some(node) = combination.done[other] {
                combination.has_read(Some(node));
            } else if combination.on_way[other] {
                let way: Vec<usize> = combination.way.iter().map(|visit| visit.stage).collect();
                let start = way.iter().position(|&stage| stage == other).unwrap_or(0);
                let fault = self.describe_loop(&way[start..], combination);
                self.keep(other, fault, combination);
                combination.has_read(None);
            } else {
                combination.enter(other);
            }
        }
    }

    /// Analyses the last stage on the way, all of whose inputs are known, and goes back to its reader.
    fn leave(&mut self, combination: &mut Combination) {
        let Some(Visit { stage, read }) = combination.way.pop() else { return };
        let key = (stage, combination.chosen[stage], read);
        let node = match self.nodes.get(&key) {
            Some(&node) => node,
            None => self.analyse(key, combination),
        };
        combination.on_way[stage] = false;
        combination.done[stage] = Some(node);
        combination.has_read(Some(node));
    }

    fn variant(&self, stage: usize, combination: &Combination) -> &'a Variant {
        &self.stages.stages[stage].variants[combination.chosen[stage]]
    }

    /// Analyses a node that has not been met before.
    fn analyse(&mut self, key: NodeKey, combination: &Combination) -> usize {
        let stage = key.0;
        let (name, variants) = self.stages.stages.get_index(stage).expect("a stage has an index");
        let variant = self.variant(stage, combination);
        let mut inputs = Vec::new();
        for (reference, node) in references(variant).zip(&key.2) {
            let Some(other) = self.stages.stages.get_index_of(&reference.text) else {
                let fault = self.unknown_stage(stage, name, reference);
                self.keep(stage, fault, combination);
                continue;
            };
            let network = node.and_then(|node| self.networks[node].clone());
            let source = self.variant(other, combination);
            inputs.push(Input { reference, network, stage: source.stage.as_ref() });
        }
        // Where an input is not known, most faults of the stage cannot be met.
        if inputs.iter().all(Input::is_known) && inputs.len() == key.2.len() {
            self.distinct[stage] += 1;
        }
        let site = Site { sources: self.sources, name, key: variants.key, variant };
        let network = if self.sound.contains(&(stage, key.1)) {
            None
        } else {
            let mut faults = Vec::new();
            let network = analyse(&site, &inputs, &mut faults);
            if faults.is_empty() && matches!(variant.stage, Some(Stage::Command(_))) {
                self.sound.insert((stage, key.1));
            }
            for fault in faults {
                self.keep(stage, fault, combination);
            }
            network
        };
        self.networks.push(network);
        let node = self.networks.len() - 1;
        self.nodes.insert(key, node);
        node
    }

    fn unknown_stage(&self, index: usize, stage: &str, reference: &Name) -> Fault {
        let Name { key, text, span, .. } = reference;
        // By index: there may be thousands of such faults, and each goes by all names.
        let names = || self.stages.stages.keys().map(String::as_str).enumerate();
        let others = || names().filter(|(other, _)| *other != index).map(|(_, name)| name);
        let message = format!("stage `{stage}`: {key} = {text:?} names no stage");
        let label = nearest(text, others())
            .map_or("no such stage".to_owned(), |near| format!("did you mean \"{near}\"?"));
        let help = match list(others()).as_str() {
            "" => "there is no other stage".to_owned(),
            stages => format!("the other stages are {stages}"),
        };
        self.sources.fault(Code::UnknownStage, *span, message).label(label).help(help)
    }

    /// The fault of stages that read each other, the first in the file first.
    fn describe_loop(&self, stages: &[usize], combination: &Combination) -> Fault {
        let first = stages.iter().enumerate().min_by_key(|(_, stage)| **stage);
        let first = first.map_or(0, |(index, _)| index);
        let around: Vec<usize> = stages[first..].iter().chain(&stages[..first]).copied().collect();
        let name = |stage: usize| self.stages.stages.get_index(stage).map_or("", |(name, _)| name);
        let edges: Vec<(Span, usize)> = (0..around.len())
            .filter_map(|index| {
                let next = around[(index + 1) % around.len()];
                let mut names = references(self.variant(around[index], combination));
                Some((names.find(|reference| reference.text == name(next))?.span, around[index]))
            })
            .collect();
        let way: Vec<_> = around.iter().chain(around.first()).map(|&stage| name(stage)).collect();
        let message = match around.as_slice() {
            [only] => format!("stage `{}` starts from itself", name(*only)),
            _ => format!("stages start from each other in a loop: {}", way.join(" → ")),
        };
        let span = edges.first().map_or(Span::start(), |(span, _)| *span);
        let fault = self.sources.fault(Code::Loop, span, message);
        let fault = fault.label(format!("`{}` reads `{}`", way[0], way[1]));
        let others = edges.iter().skip(1).enumerate();
        let fault = others.fold(fault, |fault, (index, (span, _))| {
            let label = format!("`{}` reads `{}`", way[index + 1], way[index + 2]);
            fault.note(self.sources, *span, label)
        });
        fault.help(
            "a graph of stages starts at a `pretrain` stage; let one of these start elsewhere",
        )
    }

    fn keep(&mut self, stage: usize, fault: Fault, combination: &Combination) {
        let place = Span::new(fault.source, fault.span.clone());
        let settings = self.settings(stage, combination);
        let found = self.found.entry((fault.code, place, fault.message.clone()));
        found.or_insert(Found { fault, stage, nodes: 0, settings }).nodes += 1;
    }

    /// The values of the axes that reach a stage.
    fn settings(&self, stage: usize, combination: &Combination) -> String {
        let (mut open, mut reached) = (vec![stage], BTreeSet::new());
        while let Some(stage) = open.pop() {
            if reached.insert(stage) {
                let names = references(self.variant(stage, combination));
                open.extend(names.filter_map(|name| self.stages.stages.get_index_of(&name.text)));
            }
        }
        let reached: HashSet<usize> = reached
            .into_iter()
            .flat_map(|stage| self.stages.stages[stage].axes.iter().copied())
            .collect();
        let sweep = &self.stages.sweep;
        let axes = sweep.axes.iter().zip(&sweep.arms[combination.arm].points).enumerate();
        let settings = axes
            .filter(|(axis, _)| reached.contains(axis))
            .map(|(_, (axis, &point))| format!("{} = {}", axis.name, axis.points[point].label));
        settings.collect::<Vec<_>>().join(", ")
    }

    /// The faults; one that not all combinations have says which does.
    fn finish(self) -> Vec<Fault> {
        let faults = self.found.into_values().map(|found| {
            if found.nodes < self.distinct[found.stage] && !found.settings.is_empty() {
                found.fault.help(format!("this is so with {}", found.settings))
            } else {
                found.fault
            }
        });
        faults.collect()
    }
}

/// The stages that a variant names, in the order of its text.
pub(super) fn references(variant: &Variant) -> impl Iterator<Item = &Name> {
    variant.names.iter().filter(|name| name.of != Names::Layer)
}
