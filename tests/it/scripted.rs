//! A world without LibTorch: an executor that follows a script, and all around it real.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use graftwork::digest;
use graftwork::experiment::{self, Alone};
use graftwork::ledger::{Ledger, NewRun, RunId, TrialRecord};
use graftwork::plan::{self, Digests, Plan, Selection};
use graftwork::protocol::{Event, Job, Point, Progress, Ready, epoch_file};
use graftwork::recipe::StageKey;
use graftwork::schedule::{self, Executor, Notice, Observer, Policy, Signal, Summary, Token, Work};
use graftwork::store::Store;
use petgraph::graph::NodeIndex;
use tempfile::TempDir;

/// What a scripted stage does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// Says something.
    Say(Event),
    /// Writes a file into the draft.
    Write(&'static str, String),
    /// The engine dies.
    Die(&'static str),
    /// The user interrupts.
    Interrupt,
    /// Writes the network of an epoch.
    Keep(u32, String),
    /// Runs until it is stopped or killed.
    Hang,
    /// Takes its time.
    Sleep(Duration),
}

/// Writes a checkpoint and ends well; the weights are those of every other stage that does.
pub(crate) fn well() -> Vec<Step> {
    well_with("weights")
}

/// Writes a checkpoint with weights that no stage of another key has, and ends well.
pub(crate) fn well_of_its_own(job: &Job) -> Vec<Step> {
    well_with(&format!("weights of {}", job.key))
}

/// The same, with the networks of the epochs that it is asked to keep.
pub(crate) fn well_with_epochs(job: &Job) -> Vec<Step> {
    let kept = job.keep_epochs.iter();
    let kept = kept.map(|&epoch| Step::Keep(epoch, format!("epoch {epoch} of {}", job.name)));
    kept.chain(well_of_its_own(job)).collect()
}

/// Writes a checkpoint with these weights and ends well.
pub(crate) fn well_with(weights: &str) -> Vec<Step> {
    let point = Point { name: "train/loss".to_owned(), step: 1, value: 0.5 };
    vec![
        Step::Say(Event::Metrics(vec![point])),
        Step::Write("model.safetensors", weights.to_owned()),
        Step::Write(
            "metrics.jsonl",
            "{\"name\":\"train/loss\",\"step\":1,\"value\":0.5}\n".to_owned(),
        ),
        Step::Say(Event::Done {}),
    ]
}

pub(crate) fn fails(error: &str) -> Vec<Step> {
    vec![Step::Say(Event::Failed { error: error.to_owned() })]
}

pub(crate) fn progress(done: u64) -> Step {
    Step::Say(Event::Progress(Progress { done, total: 9, note: format!("epoch {done}/9") }))
}

/// What a stage does in its n-th attempt, counted from 0.
pub(crate) type Script<'a> = dyn Fn(&Job, usize) -> Vec<Step> + 'a;

/// An executor whose stages end before `start` returns, unless they hang.
struct Scripted<'a> {
    slots: usize,
    script: &'a Script<'a>,
    signals: Sender<Signal>,
    attempts: HashMap<StageKey, usize>,
    hanging: Vec<Token>,
    /// Names of the stages that started, in order.
    started: Vec<String>,
}

impl Executor for Scripted<'_> {
    fn slots(&self) -> usize {
        self.slots
    }

    fn start(&mut self, _slot: usize, token: Token, job: Job) {
        self.started.push(job.name.clone());
        let attempt = self.attempts.entry(job.key).or_default();
        let steps = (self.script)(&job, *attempt);
        *attempt += 1;
        let ready = Ready {
            version: "1".to_owned(),
            libtorch: "none".to_owned(),
            device: "cpu".to_owned(),
            threads: 1,
        };
        self.signals.send(Signal::Event(token, Event::Ready(ready))).unwrap();
        for step in steps {
            let signal = match step {
                Step::Say(event) => Signal::Event(token, event),
                Step::Die(how) => Signal::Died(token, how.to_owned()),
                Step::Interrupt => Signal::Interrupt,
                Step::Write(name, content) => {
                    std::fs::write(job.draft.join(name), content).unwrap();
                    continue;
                }
                Step::Keep(epoch, content) => {
                    std::fs::write(job.draft.join(epoch_file(epoch)), content).unwrap();
                    continue;
                }
                Step::Hang => {
                    self.hanging.push(token);
                    continue;
                }
                Step::Sleep(time) => {
                    std::thread::sleep(time);
                    continue;
                }
            };
            self.signals.send(signal).unwrap();
        }
    }

    fn stop(&mut self) {
        for token in std::mem::take(&mut self.hanging) {
            self.signals.send(Signal::Event(token, Event::Stopped {})).unwrap();
        }
    }

    fn kill(&mut self) {
        for token in std::mem::take(&mut self.hanging) {
            self.signals.send(Signal::Died(token, "killed".to_owned())).unwrap();
        }
    }
}

/// Results of one or more runs, in a folder that goes with it.
pub(crate) struct World {
    folder: PathBuf,
    _own: Option<TempDir>,
    pub(crate) ledger: Ledger,
    pub(crate) policy: Policy,
    /// What the next runs are asked for.
    pub(crate) selection: Selection,
    pub(crate) slots: usize,
    /// Digests of the datasets are made of this.
    pub(crate) data: &'static str,
    /// What happened in the last run, a line each.
    pub(crate) told: Vec<String>,
    /// Names of the stages that the last run started, in order.
    pub(crate) started: Vec<String>,
}

impl World {
    pub(crate) fn new() -> Self {
        let own = tempfile::tempdir().unwrap();
        let world = Self::in_folder(own.path());
        Self { _own: Some(own), ..world }
    }

    /// A world whose store may be another's too.
    pub(crate) fn in_folder(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            _own: None,
            ledger: Ledger::in_memory().unwrap(),
            policy: Policy::default(),
            selection: Selection::default(),
            slots: 2,
            data: "1",
            told: Vec::new(),
            started: Vec::new(),
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn store(&self) -> Store {
        Store::open(self.folder.join("store"))
    }

    pub(crate) fn plan(&self, text: &str, sets: &[&str]) -> Plan {
        let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
        let checked = experiment::load("test.toml", text, &sets, &Alone);
        let checked = checked.unwrap_or_else(|faults| panic!("{faults}"));
        let data = |name: &str| Some(format!("{name} {}", self.data));
        let files = |path: &str| digest::digest(&self.folder.join(path)).ok();
        plan::plan(&checked.trials(), Digests { data: &data, files: &files })
    }

    /// Runs an experiment in which all goes well; how many stages of each name ran.
    pub(crate) fn run(&mut self, text: &str, sets: &[&str]) -> BTreeMap<String, usize> {
        let summary = self.run_script(text, sets, &|job, _| well_of_its_own(job));
        assert_eq!(summary.failed, []);
        let mut counts = BTreeMap::new();
        for name in &self.started {
            *counts.entry(name.clone()).or_default() += 1;
        }
        counts
    }

    pub(crate) fn run_script(&mut self, text: &str, sets: &[&str], script: &Script<'_>) -> Summary {
        let plan = self.plan(text, sets);
        let (signals, inbox) = mpsc::channel();
        let attempts = HashMap::new();
        let mut executor = Scripted {
            slots: self.slots,
            script,
            signals,
            attempts,
            hanging: vec![],
            started: vec![],
        };
        let summary = self.run_plan(&plan, &mut executor, &inbox);
        self.started = executor.started;
        summary
    }

    pub(crate) fn run_plan(
        &mut self,
        plan: &Plan,
        executor: &mut dyn Executor,
        inbox: &Receiver<Signal>,
    ) -> Summary {
        let store = self.store();
        let presences = schedule::survey(plan, &store).unwrap();
        let known = |key: &StageKey| self.ledger.made_by(key).unwrap().is_some();
        let todo = plan::select(plan, &presences, &known, &self.selection).unwrap();
        let run = self.begin(plan);
        let data: BTreeMap<String, PathBuf> =
            [("mnist".to_owned(), PathBuf::from("/mnist"))].into();
        let mut told = Told { plan, lines: Vec::new() };
        let work = Work {
            plan,
            todo: &todo,
            store: &store,
            data: &data,
            folder: &self.folder,
            run,
            experiment: "test",
            host: "here",
            duration: &|_| 1.0,
            policy: self.policy,
        };
        let summary = schedule::run(&work, executor, inbox, &mut self.ledger, &mut told);
        self.told = told.lines;
        summary
    }

    fn begin(&mut self, plan: &Plan) -> RunId {
        let text = || "test".to_owned();
        let run = NewRun {
            claims: Vec::new(),
            experiment: text(),
            file: text(),
            source: text(),
            command: text(),
            host: text(),
            version: text(),
            started_ms: 0,
        };
        let run = self.ledger.begin_run(&run).unwrap();
        let key = |node: &NodeIndex| plan.graph[*node].key;
        let trials = plan.trials.iter().map(|trial| TrialRecord {
            settings: trial.settings.clone(),
            seed: trial.seed,
            stages: trial.stages.iter().map(|(name, node)| (name.clone(), key(node))).collect(),
        });
        let recipes: Vec<_> = plan.graph.node_weights().map(|node| node.recipe.clone()).collect();
        self.ledger.record_trials(run, &trials.collect::<Vec<_>>(), &recipes).unwrap();
        run
    }

    /// The state of every stage in the last run, as the ledger knows it: `dense done`.
    pub(crate) fn states(&self) -> Vec<String> {
        let last = self.ledger.results("test").unwrap().unwrap();
        let stages = last.trials.iter().flat_map(|trial| &trial.stages);
        stages.map(|(name, stage)| format!("{name} {}", stage.state.as_str())).collect()
    }
}

struct Told<'a> {
    plan: &'a Plan,
    lines: Vec<String>,
}

impl Observer for Told<'_> {
    fn notice(&mut self, notice: &Notice<'_>) {
        let name = |node: &NodeIndex| self.plan.graph[*node].name();
        let line = match notice {
            Notice::Started { node, resumed: false } => format!("{} starts", name(node)),
            Notice::Started { node, resumed: true } => format!("{} resumes", name(node)),
            Notice::Progress { .. } | Notice::Measured { .. } => return,
            Notice::Waiting { node } => format!("{} waits", name(node)),
            Notice::Taken { node } => format!("{} is taken", name(node)),
            Notice::Adopted { node } => format!("{} is adopted", name(node)),
            Notice::Kept { node } => format!("{} is kept", name(node)),
            Notice::Done { node, .. } => format!("{} is done", name(node)),
            Notice::Failed { node, error, retry: false } => {
                format!("{} fails: {error}", name(node))
            }
            Notice::Failed { node, error, .. } => format!("{} fails, again: {error}", name(node)),
            Notice::Skipped { node, because } => {
                format!("{} is skipped because of {}", name(node), name(because))
            }
            Notice::Stopped { node } => format!("{} stops", name(node)),
            Notice::Stopping => "stopping".to_owned(),
            Notice::Killing => "killing".to_owned(),
        };
        self.lines.push(line);
    }
}
