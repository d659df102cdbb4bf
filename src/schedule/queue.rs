//! Which stage runs next: a queue over a graph, without threads, files or clocks.
//!
//! Among the stages whose inputs are there, the one with the longest chain of work behind it goes
//! first, so that the last stage of the run ends as early as it can.

use std::collections::{BTreeMap, BTreeSet};

/// The stages of a run and how far they are.
///
/// Keys are whatever names a stage; tests use integers.
#[derive(Debug, Clone)]
pub struct Queue<K> {
    entries: BTreeMap<K, Entry<K>>,
    /// Startable stages, the longest chain last; equal ones in the order of their keys.
    ready: BTreeSet<(u64, std::cmp::Reverse<K>)>,
    running: usize,
    stopped: bool,
}

#[derive(Debug, Clone)]
struct Entry<K> {
    state: State,
    /// Inputs that are not there yet.
    missing: usize,
    readers: Vec<K>,
    /// Own work and the longest chain of work behind it.
    priority: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Done,
    Failed,
    Skipped,
}

impl<K: Copy + Ord> Queue<K> {
    /// A queue of stages, each with the stages that it reads and its expected work.
    ///
    /// Inputs that are no stage of the queue count as there. The stages must come in an order in which
    /// every stage follows its inputs.
    pub fn new(stages: impl IntoIterator<Item = (K, Vec<K>, u64)>) -> Self {
        let mut entries: BTreeMap<K, Entry<K>> = BTreeMap::new();
        let mut order = Vec::new();
        for (key, inputs, work) in stages {
            let inputs: BTreeSet<K> = inputs.into_iter().collect();
            let mut missing = 0;
            for input in inputs {
                if let Some(input) = entries.get_mut(&input) {
                    input.readers.push(key);
                    missing += 1;
                }
            }
            let state = State::Waiting;
            entries.insert(key, Entry { state, missing, readers: Vec::new(), priority: work });
            order.push(key);
        }
        for key in order.into_iter().rev() {
            let behind = entries[&key].readers.iter().map(|reader| entries[reader].priority).max();
            if let Some(entry) = entries.get_mut(&key) {
                entry.priority = entry.priority.saturating_add(behind.unwrap_or(0));
            }
        }
        let ready = entries.iter().filter(|(_, entry)| entry.missing == 0);
        let ready = ready.map(|(key, entry)| (entry.priority, std::cmp::Reverse(*key))).collect();
        Self { entries, ready, running: 0, stopped: false }
    }

    /// Takes the stage to start next; none when all wait for inputs, and after [`Queue::stop`].
    pub fn pop(&mut self) -> Option<K> {
        if self.stopped {
            return None;
        }
        let (_, std::cmp::Reverse(key)) = self.ready.pop_last()?;
        self.running += 1;
        self.entries.get_mut(&key)?.state = State::Running;
        Some(key)
    }

    /// The stage is done; its readers may start.
    pub fn finish(&mut self, key: K) {
        let Some(entry) = self.leave(key, State::Done) else { return };
        for reader in entry.readers.clone() {
            let Some(reader_entry) = self.entries.get_mut(&reader) else { continue };
            reader_entry.missing -= 1;
            if reader_entry.missing == 0 && reader_entry.state == State::Waiting {
                self.ready.insert((reader_entry.priority, std::cmp::Reverse(reader)));
            }
        }
    }

    /// The stage failed; returns its readers and theirs, which cannot run any more.
    pub fn fail(&mut self, key: K) -> Vec<K> {
        let mut skipped = Vec::new();
        if self.leave(key, State::Failed).is_none() {
            return skipped;
        }
        let mut reached = vec![key];
        while let Some(key) = reached.pop() {
            for reader in self.entries[&key].readers.clone() {
                let Some(entry) = self.entries.get_mut(&reader) else { continue };
                if entry.state == State::Waiting {
                    entry.state = State::Skipped;
                    skipped.push(reader);
                    reached.push(reader);
                }
            }
        }
        skipped.sort();
        skipped
    }

    /// Puts a stage that was taken back, as if it had not been.
    pub fn put_back(&mut self, key: K) {
        if let Some(priority) = self.leave(key, State::Waiting).map(|entry| entry.priority) {
            self.ready.insert((priority, std::cmp::Reverse(key)));
        }
    }

    /// Starts nothing any more.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// Whether nothing runs and nothing can start.
    pub fn is_over(&self) -> bool {
        self.running == 0 && (self.stopped || self.ready.is_empty())
    }

    /// The stages that have not been taken and are not skipped.
    pub fn waiting(&self) -> impl Iterator<Item = K> + '_ {
        self.entries.iter().filter(|(_, entry)| entry.state == State::Waiting).map(|(key, _)| *key)
    }

    fn leave(&mut self, key: K, state: State) -> Option<&Entry<K>> {
        let entry = self.entries.get_mut(&key).filter(|entry| entry.state == State::Running)?;
        entry.state = state;
        self.running -= 1;
        Some(entry)
    }
}

/// The most stages that run at once when each starts as soon as it can and all take equally long.
///
/// The stages must come in an order in which every stage follows its inputs.
pub fn width<K: Copy + Ord>(stages: impl IntoIterator<Item = (K, Vec<K>)>) -> usize {
    let mut depth: BTreeMap<K, usize> = BTreeMap::new();
    let mut at_depth: Vec<usize> = Vec::new();
    for (key, inputs) in stages {
        let own = inputs.iter().filter_map(|input| depth.get(input)).max().map_or(0, |d| d + 1);
        depth.insert(key, own);
        at_depth.resize(at_depth.len().max(own + 1), 0);
        at_depth[own] += 1;
    }
    at_depth.into_iter().max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// ```text
    /// 1 ─→ 2 ─→ 4
    ///  └─→ 3 ─→ 5 ─→ 6
    /// 7
    /// ```
    fn house() -> Queue<u32> {
        let edges: [(u32, &[u32]); 7] =
            [(1, &[]), (2, &[1]), (3, &[1]), (4, &[2]), (5, &[3]), (6, &[5]), (7, &[])];
        Queue::new(edges.map(|(key, inputs)| (key, inputs.to_vec(), 10)))
    }

    #[test]
    fn the_longest_chain_goes_first() {
        let mut queue = house();
        assert_eq!((queue.pop(), queue.pop(), queue.pop()), (Some(1), Some(7), None));
        queue.finish(1);
        assert_eq!((queue.pop(), queue.pop()), (Some(3), Some(2)));
    }

    #[test]
    fn expected_work_decides_between_chains() {
        let mut queue = Queue::new([(1, vec![], 5), (2, vec![1], 1), (3, vec![], 7)]);
        assert_eq!((queue.pop(), queue.pop()), (Some(3), Some(1)));
    }

    #[test]
    fn a_failure_skips_its_readers_and_theirs_only() {
        let mut queue = house();
        queue.pop();
        queue.finish(1);
        assert_eq!(queue.pop(), Some(3));
        assert_eq!(queue.fail(3), [5, 6]);
        assert_eq!((queue.pop(), queue.pop(), queue.pop()), (Some(2), Some(7), None));
        queue.finish(7);
        queue.finish(2);
        assert_eq!(queue.pop(), Some(4));
        queue.finish(4);
        assert!(queue.is_over());
    }

    #[test]
    fn a_reader_of_two_waits_for_both_and_is_skipped_once() {
        let stages = || [(1, vec![], 1), (2, vec![], 1), (3, vec![1, 2, 1], 1)];
        let mut queue = Queue::new(stages());
        queue.pop();
        queue.pop();
        queue.finish(1);
        assert_eq!(queue.pop(), None);
        queue.finish(2);
        assert_eq!(queue.pop(), Some(3));

        let mut queue = Queue::new(stages());
        queue.pop();
        queue.pop();
        assert_eq!((queue.fail(1), queue.fail(2)), (vec![3], vec![]));
        assert!(queue.is_over());
    }

    #[test]
    fn inputs_outside_the_queue_are_there_already() {
        let mut queue = Queue::new([(2, vec![1], 1)]);
        assert_eq!(queue.pop(), Some(2));
    }

    #[test]
    fn what_is_put_back_comes_again() {
        let mut queue = house();
        let first = queue.pop().unwrap();
        queue.put_back(first);
        assert_eq!(queue.pop(), Some(first));
    }

    #[test]
    fn after_a_stop_nothing_starts_and_what_runs_may_end() {
        let mut queue = house();
        queue.pop();
        queue.stop();
        assert!(!queue.is_over());
        queue.finish(1);
        assert_eq!(queue.pop(), None);
        assert!(queue.is_over());
        assert_eq!(queue.waiting().collect::<Vec<_>>(), [2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn width_is_the_widest_level() {
        assert_eq!(width([(1, vec![]), (2, vec![1]), (3, vec![1]), (4, vec![2, 3])]), 2);
        assert_eq!(width::<u32>([]), 0);
    }

    proptest! {
        /// Whatever fails and whatever is taken in whatever order: every stage ends exactly once.
        #[test]
        fn every_stage_is_done_failed_or_skipped(
            graph in proptest::collection::vec((any::<u64>(), 0u64..9, any::<bool>()), 1..30),
            jobs in 1usize..5,
        ) {
            let stages: Vec<_> = graph.iter().enumerate().map(|(index, (bits, work, _))| {
                let inputs = (0..index).filter(|input| bits >> input & 7 == 7).collect();
                (index, inputs, *work)
            }).collect();
            let mut queue = Queue::new(stages.clone());
            let (mut done, mut failed, mut skipped) = (vec![], vec![], vec![]);
            let mut running = vec![];
            loop {
                while running.len() < jobs && let Some(key) = queue.pop() {
                    let inputs: &Vec<usize> = &stages[key].1;
                    prop_assert!(inputs.iter().all(|input| done.contains(input)));
                    running.push(key);
                }
                let Some(key) = running.pop() else { break };
                if graph[key].2 {
                    queue.finish(key);
                    done.push(key);
                } else {
                    skipped.extend(queue.fail(key));
                    failed.push(key);
                }
            }
            prop_assert!(queue.is_over());
            for key in &skipped {
                prop_assert!(stages[*key].1.iter().any(|i| failed.contains(i) || skipped.contains(i)));
            }
            let mut all = [done, failed, skipped].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..graph.len()).collect::<Vec<_>>());
        }
    }
}
