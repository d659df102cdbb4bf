//! Which channels were found to be one, and what the edges of a network carry of them.

use std::sync::Arc;

/// What an edge of the network carries: an identity for each index of one axis.
#[derive(Debug, Clone)]
pub(super) struct Edge {
    pub(super) axis: usize,
    /// Shared by edges that carry the same.
    pub(super) ids: Arc<[usize]>,
    /// Whether a channel is zero here once everything that makes and carries it is zero.
    pub(super) silent: bool,
}

impl Edge {
    pub(super) fn new(axis: usize, ids: Arc<[usize]>) -> Self {
        Self { axis, ids, silent: true }
    }

    pub(super) fn channels(ids: Arc<[usize]>) -> Self {
        Self::new(0, ids)
    }

    /// The same channels behind something that puts out a value for zeros, too.
    pub(super) fn loud(self) -> Self {
        Self { silent: false, ..self }
    }

    /// The same channels, silent only if this edge and others are.
    pub(super) fn silent_as(self, silent: bool) -> Self {
        Self { silent, ..self }
    }

    /// The identity of every value of a shape in a row, the last axis fastest.
    pub(super) fn flatten(&self, shape: &[u32]) -> Self {
        let before: u32 = shape[..self.axis].iter().product();
        let after: u32 = shape[self.axis + 1..].iter().product();
        let repeated = |id: &usize| std::iter::repeat_n(*id, after as usize);
        let block: Vec<usize> = self.ids.iter().flat_map(repeated).collect();
        Self::channels(block.repeat(before as usize).into()).silent_as(self.silent)
    }
}

/// Channels that were found to be the same, by union-find.
#[derive(Debug, Default)]
pub(super) struct Identities {
    parents: Vec<usize>,
    /// By root: whether the network's input or output holds it.
    pinned: Vec<bool>,
}

impl Identities {
    pub(super) fn fresh(&mut self, count: u32) -> Arc<[usize]> {
        let first = self.parents.len();
        let last = first + count as usize;
        self.parents.extend(first..last);
        self.pinned.resize(last, false);
        (first..last).collect()
    }

    pub(super) fn root(&mut self, id: usize) -> usize {
        let mut root = id;
        while self.parents[root] != root {
            self.parents[root] = self.parents[self.parents[root]];
            root = self.parents[root];
        }
        root
    }

    pub(super) fn unite(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        // The older identity stays, so that groups are numbered in the order of the nodes.
        let (old, new) = (one.min(other), one.max(other));
        self.parents[new] = old;
        self.pinned[old] |= self.pinned[new];
    }

    pub(super) fn pin(&mut self, id: usize) {
        let root = self.root(id);
        self.pinned[root] = true;
    }

    /// The root of every identity, and for each identity whether its root may not go.
    pub(super) fn resolved(mut self) -> (Vec<usize>, Vec<bool>) {
        let roots: Vec<usize> = (0..self.parents.len()).map(|id| self.root(id)).collect();
        let pinned = roots.iter().map(|&root| self.pinned[root]).collect();
        (roots, pinned)
    }
}
