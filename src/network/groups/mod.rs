//! Dependency groups: what must go together when a unit or a channel is removed.
//!
//! Every edge of the network carries one array: for each channel (or feature) an identity, and which
//! axis the channels are. A layer that makes new channels makes fresh identities and notes, for each
//! identity that it reads, the slice of its weight that reads it; everything else passes the array on,
//! repeats it, or unites identities that must go together. One walk in topological order finds all
//! groups exactly, in time linear in the channels; nothing is traced and nothing runs. An operation
//! without a rule does not compile: none is taken to be element-wise by default, which is what makes
//! tracing tools silently wrong on reordered channels.
//!
//! [`Dependencies::without`] gives the network that lacks some units; it computes what the whole one does
//! with everything of these units set to zero. [`Floors`] keeps a removal from emptying anything.
//!
//! What would change others by going cannot be removed: channels that a softmax or another layer mixes
//! along, and features of a layer-norm that are not zero there when nothing makes them (behind a sigmoid).

mod floors;
mod identities;
mod removal;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use floors::Floors;
pub use removal::Remainder;

use super::{Network, Shape, ShapeError};
use identities::Edge;
use walk::Walk;

/// What in a network depends on what.
#[derive(Debug)]
pub struct Dependencies<'a> {
    network: &'a Network,
    shapes: Vec<Shape>,
    edges: Vec<Edge>,
    /// Units that no edge carries, with their node.
    inner: Vec<(usize, Vec<usize>)>,
    /// The identity that each identity has come to be.
    roots: Vec<usize>,
    groups: Vec<Group>,
}

/// Units that are made by the same layers and compete with each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Indices of the nodes that make the units: a hidden layer, or layers that are tied together.
    pub producers: Vec<usize>,
    /// Where the units' activations are; none of the heads of an attention, which are inside it.
    pub activation: Option<Activation>,
    /// The units, in the order of their first channel.
    pub units: Vec<Unit>,
}

/// Where the activations of a group's units are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activation {
    /// Index of a node: the first activation function that carries the units, or their last producer where
    /// there is none.
    pub node: usize,
    /// The axis of its output along which the units lie.
    pub axis: usize,
}

/// What goes when one unit is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its channels in the output of [`Group::activation`].
    pub channels: Vec<u32>,
    /// Everything of it that is stored, in the order of the nodes.
    pub slices: Vec<Slice>,
    root: usize,
}

/// A part of a parameter or buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// Index of the parameter's node.
    pub node: usize,
    /// Full name of the parameter or buffer.
    pub param: Arc<str>,
    /// The axis that is cut.
    pub axis: usize,
    /// The indices along that axis, ascending.
    pub indices: Vec<u32>,
    /// What the slice does for the unit.
    pub part: Part,
}

/// What a slice does for a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Computes it: rows of a weight, values of a bias.
    Makes,
    /// Changes it on the way: a normalisation, a depthwise convolution.
    Carries,
    /// Reads it: columns of the next layer's weight.
    Reads,
}

/// A slice of one index that goes with an identity.
#[derive(Debug, Clone, Copy)]
struct Note {
    id: usize,
    node: usize,
    param: &'static str,
    axis: usize,
    index: u32,
    part: Part,
}

/// The groups of a network, in the order of their first producer.
///
/// The network's inputs and outputs cannot be removed and are in no group.
///
/// # Errors
/// As [`Network::shapes`].
pub fn groups(network: &Network) -> Result<Vec<Group>, ShapeError> {
    Ok(Dependencies::of(network)?.groups)
}

impl<'a> Dependencies<'a> {
    /// Finds out what depends on what.
    ///
    /// # Errors
    /// As [`Network::shapes`].
    pub fn of(network: &'a Network) -> Result<Self, ShapeError> {
        let shapes = network.shapes()?;
        let Walk { identities, notes, edges, inner, .. } = Walk::over(network, &shapes);
        let (roots, pinned) = identities.resolved();
        let mut dependencies = Self { network, shapes, edges, inner, roots, groups: Vec::new() };
        dependencies.groups = dependencies.collect(&notes, &pinned);
        Ok(dependencies)
    }

    /// The groups, in the order of their first producer.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The network that they are of.
    pub fn network(&self) -> &'a Network {
        self.network
    }

    fn collect(&self, notes: &[Note], pinned: &[bool]) -> Vec<Group> {
        let mut names = Names { network: self.network, known: BTreeMap::new() };
        // Units compete with those that the same layers make.
        let mut by_producers: BTreeMap<Vec<usize>, Vec<Unit>> = BTreeMap::new();
        for mut notes in self.by_root(notes, pinned) {
            let root = self.roots[notes[0].id];
            notes.sort_unstable_by_key(Note::place);
            let mut producers: Vec<usize> = notes
                .iter()
                .filter(|note| note.part == Part::Makes)
                .map(|note| note.node)
                .collect();
            producers.dedup();
            // What nothing makes (channels of zeros that are read) is no unit.
            if !producers.is_empty() {
                let slices = notes
                    .chunk_by(|one, other| one.slice() == other.slice())
                    .flat_map(|notes| names.slices(notes))
                    .collect();
                let unit = Unit { channels: Vec::new(), slices, root };
                by_producers.entry(producers).or_default().push(unit);
            }
        }
        let mut groups: Vec<Group> = by_producers
            .into_iter()
            .map(|(producers, units)| self.group(producers, units))
            .collect();
        groups.sort_by_key(|group| group.producers[0]);
        groups
    }

    /// The notes of each identity that may go, in the order of the identities.
    fn by_root(&self, notes: &[Note], pinned: &[bool]) -> impl Iterator<Item = Vec<Note>> {
        let mut by_root: Vec<Vec<Note>> = vec![Vec::new(); self.roots.len()];
        for note in notes.iter().filter(|note| !pinned[note.id]) {
            by_root[self.roots[note.id]].push(*note);
        }
        by_root.into_iter().filter(|notes| !notes.is_empty())
    }

    fn group(&self, producers: Vec<usize>, mut units: Vec<Unit>) -> Group {
        let is_one: BTreeMap<usize, usize> =
            units.iter().enumerate().map(|(place, unit)| (unit.root, place)).collect();
        let carries = |node: &usize| {
            self.edges[*node].ids.iter().any(|&id| is_one.contains_key(&self.roots[id]))
        };
        let last = *producers.last().expect("a unit has a producer");
        let function = (last..self.edges.len())
            .find(|node| self.network.nodes[*node].op.is_activation() && carries(node));
        let node = function.or(Some(last)).filter(carries);
        let activation = node.map(|node| Activation { node, axis: self.edges[node].axis });
        for (channel, id) in node.iter().flat_map(|&node| self.edges[node].ids.iter().enumerate()) {
            if let Some(&place) = is_one.get(&self.roots[*id]) {
                units[place].channels.push(channel as u32);
            }
        }
        Group { producers, activation, units }
    }
}

impl Note {
    /// What a unit's notes are ordered by.
    fn place(&self) -> (usize, usize, &'static str, Part, u32) {
        (self.node, self.axis, self.param, self.part, self.index)
    }

    /// What the notes of one slice have in common.
    fn slice(&self) -> (usize, usize, &'static str, Part) {
        (self.node, self.axis, self.param, self.part)
    }
}

/// The full names of parameters, each made once.
struct Names<'a> {
    network: &'a Network,
    /// By node and name within it: one for each domain that has its own copy.
    known: BTreeMap<(usize, &'static str), Vec<Arc<str>>>,
}

impl Names<'_> {
    /// The slice that some notes are, in each copy of the parameter.
    fn slices(&mut self, notes: &[Note]) -> Vec<Slice> {
        let Note { node, axis, param, part, .. } = notes[0];
        let mut indices: Vec<u32> = notes.iter().map(|note| note.index).collect();
        indices.dedup();
        let network = self.network;
        let names = self.known.entry((node, param)).or_insert_with(|| {
            let is_specific = network.nodes[node].specific;
            let copies: Vec<Option<usize>> = if is_specific {
                (0..network.domains.len()).map(Some).collect()
            } else {
                vec![None]
            };
            let name = |domain: Option<usize>| network.param_name(node, domain, param).into();
            copies.into_iter().map(name).collect()
        });
        let slice = |param: &Arc<str>| Slice {
            node,
            param: param.clone(),
            axis,
            indices: indices.clone(),
            part,
        };
        names.iter().map(slice).collect()
    }
}
