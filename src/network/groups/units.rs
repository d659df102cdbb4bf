//! From what a walk has noted to units, and to groups of them.

use std::sync::Arc;

use indexmap::IndexMap;

use super::{Activation, Cut, Dependencies, Group, Note, Part, Unit};
use crate::network::Network;

impl Dependencies<'_> {
    /// - pinned: by identity, whether its root may not go
    pub(super) fn collect(&self, mut notes: Vec<Note>, pinned: &[bool]) -> Vec<Group> {
        // What a unit's slices are ordered by.
        notes.sort_by_key(|note| (note.node, note.axis, note.param, note.part));
        let mut builds = Builds::of(self.network, &notes);
        // Units compete with those that the same layers make.
        let mut by_producers: IndexMap<Vec<usize>, Vec<Unit>> = IndexMap::new();
        for (root, entries) in Entries::of(&notes, &self.roots, pinned).by_root() {
            let build = builds.of_unit(&entries);
            // What nothing makes (channels of zeros that are read) is no unit.
            if !build.producers.is_empty() {
                let unit = Unit {
                    channels: Vec::new(),
                    cuts: build.cuts.clone(),
                    indices: entries.iter().map(|entry| entry.1).collect(),
                    root,
                };
                match by_producers.get_mut(&build.producers) {
                    Some(units) => units.push(unit),
                    None => drop(by_producers.insert(build.producers.clone(), vec![unit])),
                }
            }
        }
        by_producers.sort_unstable_keys();
        let mut places = vec![0; self.roots.len()];
        for (place, unit) in by_producers.values().flat_map(|units| units.iter().enumerate()) {
            places[unit.root] = place;
        }
        let groups = by_producers.into_iter();
        groups.map(|(producers, units)| self.group(producers, units, &places)).collect()
    }

    /// - places: by root, where its unit is in its group
    fn group(&self, producers: Vec<usize>, mut units: Vec<Unit>, places: &[usize]) -> Group {
        let place = |units: &[Unit], id: usize| {
            let (root, place) = (self.roots[id], places[self.roots[id]]);
            units.get(place).is_some_and(|unit| unit.root == root).then_some(place)
        };
        let carries =
            |node: &usize| self.edges[*node].ids.iter().any(|&id| place(&units, id).is_some());
        let last = *producers.last().expect("a unit has a producer");
        let function = (last..self.edges.len())
            .find(|node| self.network.nodes[*node].op.is_activation() && carries(node));
        let node = function.or(Some(last)).filter(carries);
        let activation = node.map(|node| Activation { node, axis: self.edges[node].axis });
        for (channel, id) in node.iter().flat_map(|&node| self.edges[node].ids.iter().enumerate()) {
            if let Some(place) = place(&units, *id) {
                units[place].channels.push(channel as u32);
            }
        }
        Group { producers, activation, units }
    }
}

/// Something that an identity has: the number of a note, and an index along its axis.
type Entry = (u32, u32);

/// What every identity has that may go.
struct Entries {
    /// By root, and then in the order of the notes.
    all: Vec<Entry>,
    /// By root: where its entries end and those of the next one start.
    ends: Vec<usize>,
}

impl Entries {
    /// A counting sort: what is noted is one entry for each channel of each parameter.
    fn of<'n>(notes: &'n [Note], roots: &[usize], pinned: &[bool]) -> Self {
        let of_note = |(number, note): (u32, &'n Note)| {
            let runs = note.ids.chunks(note.run.max(1)).flat_map(|run| (0..).zip(run));
            let free = runs.filter(|(_, id)| !pinned[**id]);
            free.map(move |(index, id)| (roots[*id], (number, index)))
        };
        let entries = || (0..).zip(notes).flat_map(of_note);
        let mut counts = vec![0; roots.len()];
        entries().for_each(|(root, _)| counts[root] += 1);
        let mut total = 0;
        let starts = counts.into_iter().map(|count| {
            total += count;
            total - count
        });
        // Where the next entry of a root goes; in the end that is where they end.
        let mut ends: Vec<usize> = starts.collect();
        let mut all = vec![(0, 0); total];
        for (root, entry) in entries() {
            all[ends[root]] = entry;
            ends[root] += 1;
        }
        Self { all, ends }
    }

    /// Roots with what they have, in ascending order, each once.
    fn by_root(&self) -> impl Iterator<Item = (usize, Vec<Entry>)> {
        let starts = std::iter::once(&0).chain(&self.ends);
        let ranges = starts.zip(&self.ends).enumerate();
        ranges.filter(|(_, (start, end))| start < end).map(|(root, (start, end))| {
            let mut entries = self.all[*start..*end].to_vec();
            entries.sort_unstable();
            entries.dedup();
            (root, entries)
        })
    }
}

/// What units that are built alike have in common, found once for neighbours.
struct Builds<'a> {
    notes: &'a [Note],
    /// By note: place and full name of its parameter, one for each domain that has its own copy.
    copies: Vec<Vec<(usize, Arc<str>)>>,
    last: Build,
}

/// How units are built.
#[derive(Default)]
struct Build {
    /// Numbers of notes, and how many indices a unit has of each.
    counts: Vec<(u32, usize)>,
    cuts: Arc<[Cut]>,
    /// The nodes that make units.
    producers: Vec<usize>,
}

impl<'a> Builds<'a> {
    fn of(network: &Network, notes: &'a [Note]) -> Self {
        let params = network.params();
        let copies = notes.iter().map(|note| {
            let first = params.partition_point(|param| param.node < note.node);
            let of_node = params.iter().enumerate().skip(first);
            let of_node = of_node.take_while(|(_, param)| param.node == note.node);
            let copies = of_node.filter(|(_, param)| param.param.name == note.param);
            copies.map(|(place, param)| (place, param.name.as_str().into())).collect()
        });
        Self { notes, copies: copies.collect(), last: Build::default() }
    }

    fn of_unit(&mut self, entries: &[Entry]) -> &Build {
        let of_notes = entries.chunk_by(|one, other| one.0 == other.0);
        let counts = of_notes.map(|entries| (entries[0].0, entries.len()));
        if !counts.clone().eq(self.last.counts.iter().copied()) {
            self.last = self.build(counts.collect());
        }
        &self.last
    }

    fn build(&self, counts: Vec<(u32, usize)>) -> Build {
        let (mut cuts, mut producers) = (Vec::new(), Vec::new());
        let mut end = 0;
        for &(number, count) in &counts {
            let Note { node, axis, part, .. } = self.notes[number as usize];
            let range = end..end + count;
            end = range.end;
            for (place, param) in &self.copies[number as usize] {
                let (place, param, range) = (*place, param.clone(), range.clone());
                cuts.push(Cut { place, node, param, axis, part, range });
            }
            if part == Part::Makes {
                producers.push(node);
            }
        }
        producers.dedup();
        Build { counts, cuts: cuts.into(), producers }
    }
}
