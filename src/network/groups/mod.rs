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
mod units;
mod walk;

use std::ops::Range;
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
    inner: Vec<(usize, Arc<[usize]>)>,
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
    /// What its slices are cut from; shared by units that are built alike.
    cuts: Arc<[Cut]>,
    /// The indices of all slices in a row.
    indices: Vec<u32>,
    root: usize,
}

/// What a slice is cut from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cut {
    place: usize,
    node: usize,
    param: Arc<str>,
    axis: usize,
    part: Part,
    /// Where the slice's indices are among those of a unit.
    range: Range<usize>,
}

/// A part of a parameter or buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice<'u> {
    /// Index of the parameter or buffer in [`Network::params`].
    pub place: usize,
    /// Index of the parameter's node.
    pub node: usize,
    /// Full name of the parameter or buffer.
    pub param: &'u str,
    /// The axis that is cut: the first or the second.
    pub axis: usize,
    /// The indices along that axis, ascending.
    pub indices: &'u [u32],
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

/// The identities along an axis of a parameter.
#[derive(Debug)]
struct Note {
    node: usize,
    param: &'static str,
    axis: usize,
    part: Part,
    /// One for each index; for some layers more, which begin anew after a run.
    ids: Arc<[usize]>,
    /// Indices along the axis.
    run: usize,
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
        dependencies.groups = dependencies.collect(notes, &pinned);
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
}

impl Unit {
    /// Everything of it that is stored, in the order of the nodes.
    pub fn slices(&self) -> impl Iterator<Item = Slice<'_>> {
        self.cuts.iter().map(|cut| Slice {
            place: cut.place,
            node: cut.node,
            param: &cut.param,
            axis: cut.axis,
            indices: &self.indices[cut.range.clone()],
            part: cut.part,
        })
    }
}
