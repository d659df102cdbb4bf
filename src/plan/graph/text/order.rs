//! In which order boxes are drawn.

use std::cmp::Reverse;

use indexmap::IndexSet;

use super::super::Graph;

/// What reads what. Names may read each other in a circle, one way in one trial and the other way in
/// another; then one of the edges is no line.
pub(super) struct Edges {
    /// By box, in the order of its roles, each once.
    pub(super) inputs: Vec<Vec<usize>>,
    /// How many read each box.
    pub(super) readers: Vec<usize>,
}

impl Edges {
    pub(super) fn new(graph: &Graph) -> Self {
        let all = graph.boxes.iter().map(|shown| {
            let inputs: IndexSet<usize> = shown.inputs.iter().map(|(_, input)| *input).collect();
            inputs.into_iter().collect()
        });
        let mut edges = Self { inputs: all.collect(), readers: vec![0; graph.boxes.len()] };
        let mut rank = vec![0; graph.boxes.len()];
        for (place, shown) in edges.walk(|_| 0).into_iter().enumerate() {
            rank[shown] = place;
        }
        for (shown, inputs) in edges.inputs.iter_mut().enumerate() {
            inputs.retain(|input| rank[*input] < rank[shown]);
            for &input in &*inputs {
                edges.readers[input] += 1;
            }
        }
        edges
    }

    /// The boxes in the order to draw them.
    pub(super) fn order(&self) -> Vec<usize> {
        // What hangs below each box by the first thing that it reads.
        let mut below = vec![1_usize; self.inputs.len()];
        for shown in self.walk(|_| 0).into_iter().rev() {
            if let Some(&first) = self.inputs[shown].first() {
                below[first] += below[shown];
            }
        }
        self.walk(|shown| below[shown])
    }

    /// Every box after what it reads, and soon after; of several readers those of little weight first.
    fn walk(&self, weight: impl Fn(usize) -> usize) -> Vec<usize> {
        let count = self.inputs.len();
        let mut readers = vec![Vec::new(); count];
        for (shown, inputs) in self.inputs.iter().enumerate() {
            for &input in inputs {
                readers[input].push(shown);
            }
        }
        let mut waits: Vec<usize> = self.inputs.iter().map(Vec::len).collect();
        let mut is_placed = vec![false; count];
        let (mut order, mut next) = (Vec::with_capacity(count), 0);
        let mut ready: Vec<usize> = (0..count).rev().filter(|&shown| waits[shown] == 0).collect();
        while order.len() < count {
            let shown = match ready.pop() {
                Some(shown) => shown,
                // All that are left wait for each other.
                None if is_placed[next] => {
                    next += 1;
                    continue;
                }
                None => next,
            };
            is_placed[shown] = true;
            order.push(shown);
            let mut freed: Vec<usize> = Vec::new();
            for &reader in &readers[shown] {
                waits[reader] -= 1;
                if waits[reader] == 0 && !is_placed[reader] {
                    freed.push(reader);
                }
            }
            freed.sort_by_key(|&reader| Reverse((weight(reader), reader)));
            ready.extend(freed);
        }
        order
    }
}
