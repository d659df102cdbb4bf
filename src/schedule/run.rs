//! The run loop: one thread that owns the queue, the store and the journal.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use petgraph::graph::NodeIndex;

use super::journal::{Books, Journal};
use super::queue::Queue;
use super::survey::{action, files};
use super::{Executor, Notice, Observer, Signal, Token};
use crate::experiment::spec::StageKind;
use crate::ledger::{AttemptOutcome, NewAttempt, RunId};
use crate::plan::{Plan, Task, Todo};
use crate::protocol::{Event, Job, Ready, epoch_of_file};
use crate::recipe::{ActionKey, StageKey};
use crate::store::{Draft, Lock, Made, Manifest, Store, StoreError};

/// How often a key that another run computes is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// The longest silence after which the journal is written.
const TICK: Duration = Duration::from_secs(1);

/// What is to be run.
pub struct Work<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// What is to be done for which of its stages.
    pub todo: &'a Todo,
    /// Where checkpoints are.
    pub store: &'a Store,
    /// Folders of the datasets by name.
    pub data: &'a BTreeMap<String, PathBuf>,
    /// The folder of the experiment file.
    pub folder: &'a Path,
    /// The run in the ledger.
    pub run: RunId,
    /// Name of the experiment.
    pub experiment: &'a str,
    /// Name of this machine.
    pub host: &'a str,
    /// Expected duration of a stage of a kind, seconds.
    pub duration: &'a dyn Fn(StageKind) -> f64,
    /// What happens after a failure.
    pub policy: Policy,
}

impl Work<'_> {
    fn needs_engine(&self, node: NodeIndex) -> bool {
        self.plan.graph[node].stage.needs_engine()
    }
}

/// What happens after a failure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy {
    /// How many times a stage that fails is tried again.
    pub retries: u32,
    /// Whether the first failure stops the run.
    pub fail_fast: bool,
}

/// What became of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    /// Stages that this run computed.
    pub done: Vec<NodeIndex>,
    /// Stages that another run computed meanwhile.
    pub taken: Vec<NodeIndex>,
    /// Stages whose result was there under another key.
    pub adopted: Vec<NodeIndex>,
    /// Stages that were looked at again because an input was made anew, and stay as they are.
    pub kept: Vec<NodeIndex>,
    /// Stages that failed.
    pub failed: Vec<Failure>,
    /// Stages that read a failed one.
    pub skipped: Vec<NodeIndex>,
    /// Stages that were stopped or not started.
    pub left: Vec<NodeIndex>,
    /// Whether the user interrupted.
    pub interrupted: bool,
    /// What could not be written down, if anything.
    pub trouble: Option<String>,
}

/// A stage that failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The stage.
    pub node: NodeIndex,
    /// What went wrong in its last attempt.
    pub error: String,
}

/// Runs what is to be run, until all is done, failed, skipped or stopped.
///
/// It returns no `Result`, so that nothing can leave the loop early while stages run: what goes wrong
/// becomes a failed stage or a trouble in the summary.
pub fn run(
    work: &Work<'_>,
    executor: &mut dyn Executor,
    inbox: &Receiver<Signal>,
    journal: &mut dyn Journal,
    observer: &mut dyn Observer,
) -> Summary {
    let stages = work.todo.tasks().map(|(node, _)| {
        let inputs = work.plan.inputs(node).into_values().collect();
        let seconds = (work.duration)(work.plan.graph[node].recipe.kind);
        (node, inputs, (seconds * 1000.0).max(1.0) as u64)
    });
    let mut coordinator = Coordinator {
        queue: Queue::new(stages),
        slots: (0..executor.slots()).map(|_| Slot::default()).collect(),
        work,
        executor,
        books: Books::new(journal),
        observer,
        blocked: Vec::new(),
        looked: Instant::now(),
        tokens: 0,
        tries: HashMap::new(),
        interrupts: 0,
        stopping: false,
        summary: Summary::default(),
    };
    loop {
        coordinator.fill();
        if coordinator.queue.is_over() {
            break;
        }
        let patience = if coordinator.blocked.is_empty() { TICK } else { LOOK };
        match inbox.recv_timeout(patience) {
            Ok(signal) => coordinator.hear(signal),
            Err(RecvTimeoutError::Timeout) => {}
            // The executor and whoever else could send are gone, and so is every running stage.
            Err(RecvTimeoutError::Disconnected) => coordinator.lose_all(),
        }
        coordinator.books.write_if_due();
    }
    coordinator.close()
}

struct Coordinator<'a> {
    work: &'a Work<'a>,
    executor: &'a mut dyn Executor,
    books: Books<'a>,
    observer: &'a mut dyn Observer,
    queue: Queue<NodeIndex>,
    slots: Vec<Slot>,
    /// Stages whose keys another run computes.
    blocked: Vec<NodeIndex>,
    looked: Instant,
    tokens: u64,
    tries: HashMap<NodeIndex, u32>,
    interrupts: u32,
    stopping: bool,
    summary: Summary,
}

#[derive(Default)]
struct Slot {
    /// What its engine said of itself; nothing before it did, and after it died.
    ready: Option<Ready>,
    running: Option<Running>,
}

struct Running {
    node: NodeIndex,
    token: Token,
    draft: Draft,
    /// Held until the stage is settled.
    _lock: Lock,
    /// What it does to the contents that its inputs had when it started.
    action: Option<ActionKey>,
    /// The threads that it computes with, where not as many as its engine has.
    threads: Option<u32>,
    started_ms: i64,
    started: Instant,
    begun: bool,
    /// Whether the engine got anywhere in this attempt.
    progressed: bool,
}

enum Claim {
    /// The key is ours to compute, by this action if it has inputs.
    Ours(Lock, Option<ActionKey>),
    /// The result of this action is there under another key.
    Adopt(Lock, StageKey, ActionKey),
    /// Another run computes it.
    Theirs,
    /// Another run has computed it.
    There,
    /// It is there and still has what its inputs give.
    Kept,
}

impl Coordinator<'_> {
    /// Starts what can start.
    fn fill(&mut self) {
        self.look_at_blocked();
        while let Some(slot) = self.idle_slot() {
            let Some(node) = self.queue.pop() else { return };
            let claim = self.claim(node);
            if matches!(claim, Ok(Claim::Theirs)) {
                self.observer.notice(&Notice::Waiting { node });
            }
            self.act_on(claim, node, Some(slot));
        }
    }

    fn look_at_blocked(&mut self) {
        if self.blocked.is_empty() || self.looked.elapsed() < LOOK {
            return;
        }
        self.looked = Instant::now();
        for node in std::mem::take(&mut self.blocked) {
            let (claim, slot) = (self.claim(node), self.idle_slot());
            self.act_on(claim, node, slot);
        }
    }

    fn act_on(&mut self, claim: Result<Claim, StoreError>, node: NodeIndex, slot: Option<usize>) {
        match (claim, slot) {
            (Ok(Claim::There), _) => self.take(node),
            (Ok(Claim::Kept), _) => self.keep(node),
            (Ok(Claim::Adopt(lock, other, action)), _) => {
                self.adopt(node, &lock, &other, &action);
            }
            (Ok(Claim::Ours(lock, action)), Some(slot)) => self.start(slot, node, lock, action),
            (Ok(Claim::Ours(..) | Claim::Theirs), _) => self.blocked.push(node),
            (Err(error), _) => self.give_up(node, error.to_string()),
        }
    }

    fn idle_slot(&self) -> Option<usize> {
        self.slots.iter().position(|slot| slot.running.is_none())
    }

    fn claim(&self, node: NodeIndex) -> Result<Claim, StoreError> {
        let (store, planned) = (self.work.store, &self.work.plan.graph[node]);
        let task = self.work.todo.task(node).unwrap_or(Task::Make);
        let lock = store.lock(&planned.key)?;
        let action = self.action(node)?;
        // Looked at after the lock: whoever had it before us may have finished the key.
        let is_there = task != Task::Force && self.is_current(node, action.as_ref(), task)?;
        Ok(match (lock, action) {
            (_, _) if is_there && task == Task::Check => Claim::Kept,
            (_, _) if is_there => Claim::There,
            (None, _) => Claim::Theirs,
            (Some(lock), Some(action)) if task != Task::Force => match store.find_action(&action) {
                Some(key) if key != planned.key && self.is_whole(&key, node)? => {
                    Claim::Adopt(lock, key, action)
                }
                _ => Claim::Ours(lock, Some(action)),
            },
            (Some(lock), action) => Claim::Ours(lock, action),
        })
    }

    /// Whether the store has what the stage gives for the contents that its inputs have now.
    ///
    /// A checkpoint that does not say what it was made from is believed, unless an input has just been
    /// made anew.
    fn is_current(
        &self,
        node: NodeIndex,
        action: Option<&ActionKey>,
        task: Task,
    ) -> Result<bool, StoreError> {
        let key = &self.work.plan.graph[node].key;
        if !self.is_whole(key, node)? {
            return Ok(false);
        }
        let made = self.work.store.manifest(key)?.made.action;
        Ok(made.as_ref() == action || (made.is_none() && task != Task::Check))
    }

    /// Whether the checkpoint of a key is whole, as one of this stage has to be.
    fn is_whole(&self, key: &StageKey, node: NodeIndex) -> Result<bool, StoreError> {
        Ok(self.work.store.state(key, &files(&self.work.plan.graph[node]))?.is_whole())
    }

    fn action(&self, node: NodeIndex) -> Result<Option<ActionKey>, StoreError> {
        let plan = self.work.plan;
        action(plan, node, self.work.store, |input| Some(plan.graph[input].key))
    }

    fn record_action(&self, action: Option<&ActionKey>, node: NodeIndex) {
        if let Some(action) = action {
            // One that is not recorded is computed again one day; that is all.
            let _ = self.work.store.record_action(action, &self.work.plan.graph[node].key);
        }
    }

    fn take(&mut self, node: NodeIndex) {
        self.queue.finish(node);
        self.summary.taken.push(node);
        self.observer.notice(&Notice::Taken { node });
    }

    fn keep(&mut self, node: NodeIndex) {
        self.work.store.confirm(&self.work.plan.graph[node].key);
        self.queue.finish(node);
        self.summary.kept.push(node);
        self.observer.notice(&Notice::Kept { node });
    }

    fn adopt(&mut self, node: NodeIndex, lock: &Lock, other: &StageKey, action: &ActionKey) {
        let planned = &self.work.plan.graph[node];
        match self.work.store.adopt(lock, other, &planned.recipe, action) {
            Ok(_) => {
                self.record_action(Some(action), node);
                self.tokens += 1;
                let folder = self.work.store.path(&planned.key);
                let name = planned.name().to_owned();
                self.books.adopt(Token(self.tokens), self.work.run, name, folder);
                self.queue.finish(node);
                self.summary.adopted.push(node);
                self.observer.notice(&Notice::Adopted { node });
            }
            Err(error) => self.give_up(node, error.to_string()),
        }
    }

    fn start(&mut self, slot: usize, node: NodeIndex, lock: Lock, action: Option<ActionKey>) {
        let draft = self.work.store.draft(&lock);
        let draft = match draft.and_then(|draft| draft.for_action(action.as_ref())) {
            Ok(draft) if self.replaces(node) => draft.replacing(),
            Ok(draft) => draft,
            Err(error) => return self.give_up(node, error.to_string()),
        };
        self.tokens += 1;
        let token = Token(self.tokens);
        *self.tries.entry(node).or_default() += 1;
        let job = self.job(node, &draft);
        let threads = job.threads;
        self.observer.notice(&Notice::Started { node, resumed: draft.is_resumed() });
        self.slots[slot].running = Some(Running {
            node,
            token,
            draft,
            _lock: lock,
            action,
            threads,
            started_ms: now_ms(),
            started: Instant::now(),
            begun: false,
            progressed: false,
        });
        self.begin(slot);
        self.executor.start(slot, token, job);
    }

    /// Whether what the store has under the stage's key is to make room.
    ///
    /// Its lock is held: what another run put there since the plan was made lacks what this one needs.
    fn replaces(&self, node: NodeIndex) -> bool {
        self.work.todo.task(node).is_some_and(|task| task != Task::Make)
            || self.work.store.contains(&self.work.plan.graph[node].key)
    }

    /// The checkpoint that the engine makes again, if it can be read.
    fn replaced(&self, node: NodeIndex) -> Option<Manifest> {
        let is_remade = self.work.needs_engine(node) && self.replaces(node);
        is_remade.then(|| self.work.store.manifest(&self.work.plan.graph[node].key).ok()).flatten()
    }

    fn job(&self, node: NodeIndex, draft: &Draft) -> Job {
        let planned = &self.work.plan.graph[node];
        let replaced = self.replaced(node);
        // The epochs that this plan needs, and those that the checkpoint had.
        let had = replaced.iter().flat_map(|old| old.files.keys());
        let had = had.filter_map(|name| epoch_of_file(name));
        let keep_epochs = planned.keep_epochs.iter().copied().chain(had).collect();
        let threads = replaced.as_ref().map(|old| old.made.threads).filter(|&threads| threads > 0);
        let inputs = self.work.plan.inputs(node).into_iter().map(|(role, input)| {
            (role.to_owned(), self.work.store.path(&self.work.plan.graph[input].key))
        });
        let data = planned.data().filter_map(|name| {
            self.work.data.get(name).map(|folder| (name.to_owned(), folder.clone()))
        });
        Job {
            key: planned.key,
            name: planned.name().to_owned(),
            stage: (*planned.stage).clone(),
            seed: planned.seed,
            inputs: inputs.collect(),
            data: data.collect(),
            draft: draft.path().to_owned(),
            folder: self.work.folder.to_owned(),
            files: planned.recipe.files.clone(),
            keep_epochs,
            threads,
        }
    }

    /// Writes down that an attempt begins, once it is known which engine makes it, if one does.
    fn begin(&mut self, slot: usize) {
        let Slot { ready, running: Some(running) } = &mut self.slots[slot] else { return };
        let ready = ready.as_ref().filter(|_| self.work.needs_engine(running.node));
        if running.begun || ready.is_none() && self.work.needs_engine(running.node) {
            return;
        }
        running.begun = true;
        let attempt = attempt(self.work, running, ready);
        self.books.begin(running.token, attempt);
    }

    fn hear(&mut self, signal: Signal) {
        match signal {
            Signal::Interrupt => self.interrupt(),
            Signal::Event(token, event) => {
                let Some(slot) = self.slot(token) else { return };
                self.hear_event(slot, event);
            }
            Signal::Said(token, line) => {
                let Some(slot) = self.slot(token) else { return };
                let Some(running) = &self.slots[slot].running else { return };
                // A log that cannot be written is no reason to lose a training run.
                let _ = running.draft.log(&line);
            }
            Signal::Died(token, how) => {
                let Some(slot) = self.slot(token) else { return };
                self.fail(slot, how, true);
            }
        }
    }

    fn slot(&self, token: Token) -> Option<usize> {
        let runs = |slot: &Slot| slot.running.as_ref().is_some_and(|it| it.token == token);
        self.slots.iter().position(runs)
    }

    fn hear_event(&mut self, slot: usize, event: Event) {
        if let Event::Ready(ready) = event {
            self.slots[slot].ready = Some(ready);
            return self.begin(slot);
        }
        let Some(running) = &mut self.slots[slot].running else { return };
        let node = running.node;
        match event {
            Event::Ready(_) => {}
            Event::Progress(progress) => {
                running.progressed = true;
                self.observer.notice(&Notice::Progress { node, progress: &progress });
            }
            Event::Metrics(points) => {
                self.observer.notice(&Notice::Measured { node, points: &points });
                self.books.points(running.token, points);
            }
            Event::Done {} => self.finish(slot),
            Event::Stopped {} if self.stopping => self.leave(slot),
            Event::Stopped {} => {
                self.fail(slot, "the engine stopped without being asked to".to_owned(), false);
            }
            Event::Failed { error } => self.fail(slot, error, false),
        }
    }

    fn finish(&mut self, slot: usize) {
        let Some(running) = self.slots[slot].running.take() else { return };
        let Running { node, token, .. } = running;
        let action = running.action.clone();
        let ended_ms = now_ms();
        let ready = self.slots[slot].ready.as_ref().filter(|_| self.work.needs_engine(node));
        let attempt = attempt(self.work, &running, ready);
        let made = Made {
            experiment: self.work.experiment.to_owned(),
            name: attempt.name,
            device: attempt.device,
            threads: attempt.threads,
            engine: attempt.engine,
            libtorch: attempt.libtorch,
            host: attempt.host,
            started_ms: attempt.started_ms,
            ended_ms,
            action: action.clone(),
            adopted: None,
        };
        let seconds = running.started.elapsed().as_secs_f64();
        match running.draft.commit(&self.work.plan.graph[node].recipe, &made) {
            Ok(_) => {
                self.record_action(action.as_ref(), node);
                self.books.end(token, AttemptOutcome::Done, None, ended_ms);
                self.queue.finish(node);
                self.summary.done.push(node);
                self.observer.notice(&Notice::Done { node, seconds });
            }
            Err(error) => {
                let error = error.to_string();
                self.books.end(token, AttemptOutcome::Failed, Some(error.clone()), ended_ms);
                self.settle_failure(node, error);
            }
        }
    }

    /// The stage saved its progress and stopped.
    fn leave(&mut self, slot: usize) {
        let Some(running) = self.slots[slot].running.take() else { return };
        self.books.end(running.token, AttemptOutcome::Stopped, None, now_ms());
        self.queue.put_back(running.node);
        self.observer.notice(&Notice::Stopped { node: running.node });
    }

    fn fail(&mut self, slot: usize, error: String, died: bool) {
        if !self.slots[slot].running.as_ref().is_some_and(|running| running.begun) {
            // The engine died before it said what it is.
            self.begin_unknown(slot);
        }
        let Some(running) = self.slots[slot].running.take() else { return };
        if died && self.work.needs_engine(running.node) {
            self.slots[slot].ready = None;
        }
        let killed = died && self.interrupts > 1;
        let outcome = match (killed, died) {
            (true, _) => AttemptOutcome::Stopped,
            (false, true) => AttemptOutcome::Lost,
            (false, false) => AttemptOutcome::Failed,
        };
        self.books.end(running.token, outcome, Some(error.clone()), now_ms());
        if killed {
            self.queue.put_back(running.node);
            return self.observer.notice(&Notice::Stopped { node: running.node });
        }
        let _ = running.draft.log(&format!("failed: {error}"));
        // A stage that says what went wrong would say it again, so the next attempt starts anew. One
        // that was killed on the way goes on, unless it died on reading its own progress.
        let kept = running.draft.fail(died && running.progressed);
        let error = match kept {
            Ok(()) => error,
            Err(trouble) => format!("{error}; moreover, {trouble}"),
        };
        self.settle_failure(running.node, error);
    }

    fn begin_unknown(&mut self, slot: usize) {
        let Some(running) = &mut self.slots[slot].running else { return };
        running.begun = true;
        let attempt = attempt(self.work, running, None);
        self.books.begin(running.token, attempt);
    }

    fn settle_failure(&mut self, node: NodeIndex, error: String) {
        let tries = self.tries.get(&node).copied().unwrap_or_default();
        if tries <= self.work.policy.retries && !self.stopping {
            self.observer.notice(&Notice::Failed { node, error: &error, retry: true });
            return self.queue.put_back(node);
        }
        self.give_up(node, error);
    }

    fn give_up(&mut self, node: NodeIndex, error: String) {
        self.observer.notice(&Notice::Failed { node, error: &error, retry: false });
        self.summary.failed.push(Failure { node, error });
        for skipped in self.queue.fail(node) {
            self.observer.notice(&Notice::Skipped { node: skipped, because: node });
            self.summary.skipped.push(skipped);
        }
        if self.work.policy.fail_fast {
            self.stop();
        }
    }

    fn interrupt(&mut self) {
        self.interrupts += 1;
        self.summary.interrupted = true;
        if self.interrupts == 1 {
            self.stop();
        } else {
            self.observer.notice(&Notice::Killing);
            self.executor.kill();
        }
    }

    fn stop(&mut self) {
        if self.stopping {
            return;
        }
        self.stopping = true;
        self.observer.notice(&Notice::Stopping);
        self.queue.stop();
        for node in std::mem::take(&mut self.blocked) {
            self.queue.put_back(node);
        }
        self.executor.stop();
    }

    fn lose_all(&mut self) {
        for slot in 0..self.slots.len() {
            self.fail(slot, "the engine is gone".to_owned(), true);
        }
        self.stop();
    }

    fn close(mut self) -> Summary {
        self.summary.left = self.queue.waiting().collect();
        self.summary.trouble = self.books.close();
        self.summary
    }
}

fn attempt(work: &Work<'_>, running: &Running, ready: Option<&Ready>) -> NewAttempt {
    let node = &work.plan.graph[running.node];
    let said = |field: fn(&Ready) -> &String| ready.map(field).cloned().unwrap_or_default();
    NewAttempt {
        run: work.run,
        key: node.key,
        kind: node.recipe.kind.as_str().to_owned(),
        name: node.name().to_owned(),
        device: said(|ready| &ready.device),
        engine: said(|ready| &ready.version),
        libtorch: said(|ready| &ready.libtorch),
        threads: ready.map_or(0, |ready| running.threads.unwrap_or(ready.threads)),
        host: work.host.to_owned(),
        started_ms: running.started_ms,
    }
}

#[expect(clippy::disallowed_methods, reason = "the run loop is where attempts get their times")]
fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
