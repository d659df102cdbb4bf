//! What has to stay so that nothing is emptied.

use super::{Dependencies, Unit};

/// Counts what is left on every edge of a network while units go, and holds the last ones back.
#[derive(Debug)]
pub struct Floors {
    edges: Vec<Left>,
    /// By root: the edges that it lies on, and how many of their channels it is.
    uses: Vec<Vec<(usize, u32)>>,
}

#[derive(Debug, Clone, Copy)]
struct Left {
    channels: u32,
    least: u32,
}

impl Floors {
    /// - least: for the index of a node the fraction of its channels that stay at least, in 0..=1; one
    ///   stays in any case
    pub fn new(dependencies: &Dependencies<'_>, least: impl Fn(usize) -> f64) -> Self {
        let mut floors =
            Self { edges: Vec::new(), uses: vec![Vec::new(); dependencies.roots.len()] };
        let outputs = dependencies.edges.iter().enumerate();
        let outputs = outputs.map(|(node, edge)| (node, &*edge.ids));
        let inner = dependencies.inner.iter().map(|(node, ids)| (*node, &**ids));
        for (node, ids) in outputs.chain(inner) {
            let fraction = least(node);
            // What passes its input on has the floor of the input.
            let input = dependencies.network.nodes[node].inputs.first();
            let passes_on = input
                .is_some_and(|&input| std::ptr::eq(ids, &raw const *dependencies.edges[input].ids));
            if !passes_on || fraction > 0.0 {
                floors.watch(dependencies, ids, fraction);
            }
        }
        floors
    }

    fn watch(&mut self, dependencies: &Dependencies<'_>, ids: &[usize], fraction: f64) {
        let edge = self.edges.len();
        for &id in ids {
            let uses = &mut self.uses[dependencies.roots[id]];
            match uses.last_mut() {
                Some((last, count)) if *last == edge => *count += 1,
                _ => uses.push((edge, 1)),
            }
        }
        let channels = ids.len() as u32;
        let least = (fraction * f64::from(channels) - 1e-9).ceil().max(1.0) as u32;
        self.edges.push(Left { channels, least });
    }

    /// Takes a unit away, if every edge that it lies on keeps what it has to.
    pub fn take(&mut self, unit: &Unit) -> bool {
        let uses = &self.uses[unit.root];
        let may_go = uses.iter().all(|&(edge, count)| {
            let Left { channels, least } = self.edges[edge];
            channels >= least + count
        });
        if may_go {
            for &(edge, count) in uses {
                self.edges[edge].channels -= count;
            }
        }
        may_go
    }
}
