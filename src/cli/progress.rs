//! How a run is shown: bars on a terminal, lines elsewhere, JSON for programs.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use petgraph::graph::NodeIndex;
use serde_json::json;

use super::prepare::duration;
use crate::experiment::label;
use crate::plan::Plan;
use crate::schedule::{Notice, Observer};

/// The time between two lines of progress of one stage, where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// The observer for where the talk goes; `expected` is how long each stage to run takes, seconds.
pub(super) fn observer<'a>(
    plan: &'a Plan,
    todo: &[NodeIndex],
    expected: &HashMap<NodeIndex, f64>,
    json: bool,
) -> Box<dyn Observer + 'a> {
    if json {
        return Box::new(Json { plan });
    }
    let target = ProgressDrawTarget::stderr();
    if target.is_hidden() {
        let counted = todo.iter().copied().collect();
        return Box::new(Lines { plan, counted, ended: 0, said: HashMap::new() });
    }
    Box::new(Bars::new(plan, todo, expected.clone(), target))
}

/// A line of standard error for each thing that happens.
struct Lines<'a> {
    plan: &'a Plan,
    /// What is to be made, and what turned out to be on the way.
    counted: HashSet<NodeIndex>,
    ended: usize,
    said: HashMap<NodeIndex, Instant>,
}

impl Lines<'_> {
    fn say(&self, node: NodeIndex, what: &str) {
        let (ended, total) = (self.ended, self.counted.len());
        let width = total.to_string().len();
        let title = self.plan.title(node, &label);
        // In one piece: standard error has no buffer, and every part of a line would be a system call.
        let line = format!("[{ended:width$}/{total}] {title}: {what}\n");
        eprint!("{line}");
    }

    fn end(&mut self, node: NodeIndex, what: &str) {
        self.ended += 1;
        self.say(node, what);
    }
}

/// The stage that a notice is of, if it counts among those that are made: one that was only to be looked
/// at counts from when it starts, is adopted or skipped.
fn counts(notice: &Notice<'_>) -> Option<NodeIndex> {
    match notice {
        Notice::Started { node, .. } | Notice::Adopted { node } | Notice::Taken { node } => {
            Some(*node)
        }
        Notice::Failed { node, .. } | Notice::Skipped { node, .. } => Some(*node),
        _ => None,
    }
}

impl Observer for Lines<'_> {
    fn notice(&mut self, notice: &Notice<'_>) {
        self.counted.extend(counts(notice));
        match notice {
            Notice::Started { node, resumed } => {
                self.said.insert(*node, Instant::now());
                self.say(*node, if *resumed { "resumed" } else { "started" });
            }
            Notice::Progress { node, progress } => {
                let due = self.said.get(node).is_none_or(|last| last.elapsed() >= LINE_EVERY);
                if due {
                    self.said.insert(*node, Instant::now());
                    self.say(*node, &progress.note);
                }
            }
            Notice::Measured { .. } => {}
            Notice::Waiting { node } => self.say(*node, "another run computes it; waiting"),
            Notice::Taken { node } => self.end(*node, "done by another run"),
            Notice::Adopted { node } => self.end(*node, "adopted, its inputs came out as before"),
            Notice::Kept { node } => self.say(*node, "stays, its inputs came out as before"),
            Notice::Done { node, seconds } => {
                self.end(*node, &format!("done in {}", duration(*seconds)));
            }
            Notice::Failed { node, error, retry: true } => {
                self.say(*node, &format!("failed, trying again: {error}"));
            }
            Notice::Failed { node, error, retry: false } => {
                self.end(*node, &format!("FAILED: {error}"));
            }
            Notice::Skipped { node, because } => {
                let because = self.plan.graph[*because].name();
                self.end(*node, &format!("skipped, since {because} failed"));
            }
            Notice::Stopped { node } => self.say(*node, "stopped"),
            Notice::Stopping => eprintln!(
                "stopping: running stages save their progress; Ctrl-C again ends them at once"
            ),
            Notice::Killing => eprintln!("ending at once"),
        }
    }
}

/// One bar for all, and one for each stage that runs.
struct Bars<'a> {
    plan: &'a Plan,
    terminal: MultiProgress,
    whole: ProgressBar,
    running: HashMap<NodeIndex, ProgressBar>,
    expected: HashMap<NodeIndex, f64>,
    /// What is to be made, and what turned out to be on the way.
    counted: HashSet<NodeIndex>,
    ended: usize,
    failed: usize,
}

impl<'a> Bars<'a> {
    fn new(
        plan: &'a Plan,
        todo: &[NodeIndex],
        expected: HashMap<NodeIndex, f64>,
        target: ProgressDrawTarget,
    ) -> Self {
        let terminal = MultiProgress::with_draw_target(target);
        // The whole is measured in expected milliseconds, so that its ETA does not take a prune stage
        // for a training.
        let length = expected.values().map(|seconds| (seconds * 1000.0) as u64).sum();
        let whole = terminal.add(ProgressBar::new(length));
        whole.set_style(style("{msg} {wide_bar:.cyan/dim} {percent:>3}% {elapsed} ETA {eta}"));
        whole.enable_steady_tick(Duration::from_millis(500));
        let running = HashMap::new();
        let bars = Self {
            plan,
            terminal,
            whole,
            running,
            expected,
            counted: todo.iter().copied().collect(),
            ended: 0,
            failed: 0,
        };
        bars.show_whole();
        bars
    }

    fn show_whole(&self) {
        let failed =
            if self.failed > 0 { format!(", {} failed", self.failed) } else { String::new() };
        self.whole.set_message(format!("{}/{} stages{failed}", self.ended, self.counted.len()));
    }

    fn start(&mut self, node: NodeIndex) {
        let bar = self.terminal.insert_before(&self.whole, ProgressBar::new(1));
        bar.set_style(style("  {prefix} {bar:20} {msg} {eta}"));
        bar.set_prefix(self.plan.title(node, &label));
        self.running.insert(node, bar);
    }

    fn progress(&mut self, node: NodeIndex, done: u64, total: u64, note: &str) {
        if let Some(bar) = self.running.get(&node) {
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(note.to_owned());
        }
        self.show_position();
    }

    /// What has ended, and the parts of what runs.
    fn show_position(&self) {
        let left: f64 = self.expected.values().sum();
        let running = self.running.iter().map(|(node, bar)| {
            let share = bar.position() as f64 / (bar.length().unwrap_or(0).max(1) as f64);
            share.min(1.0) * self.expected.get(node).copied().unwrap_or(0.0)
        });
        let left = left - running.sum::<f64>();
        let length = self.whole.length().unwrap_or(0);
        self.whole.set_position(length.saturating_sub((left * 1000.0) as u64));
    }

    fn end(&mut self, node: NodeIndex, line: Option<&str>) {
        self.leave(node, line);
        self.expected.remove(&node);
        self.ended += 1;
        self.show_whole();
        self.show_position();
    }

    fn leave(&mut self, node: NodeIndex, line: Option<&str>) {
        if let Some(bar) = self.running.remove(&node) {
            bar.finish_and_clear();
            self.terminal.remove(&bar);
        }
        if let Some(line) = line {
            let _ = self.terminal.println(format!("{}: {line}", self.plan.title(node, &label)));
        }
    }
}

impl Observer for Bars<'_> {
    fn notice(&mut self, notice: &Notice<'_>) {
        self.counted.extend(counts(notice));
        match notice {
            Notice::Started { node, .. } => self.start(*node),
            Notice::Progress { node, progress } => {
                self.progress(*node, progress.done, progress.total, &progress.note);
            }
            Notice::Measured { .. } | Notice::Waiting { .. } => {}
            Notice::Taken { node } => self.end(*node, Some("done by another run")),
            Notice::Adopted { node } => self.end(*node, None),
            Notice::Kept { .. } => {}
            Notice::Done { node, seconds } => {
                self.end(*node, Some(&format!("done in {}", duration(*seconds))));
            }
            Notice::Failed { node, error, retry: true } => {
                self.leave(*node, Some(&format!("failed, trying again: {error}")));
            }
            Notice::Failed { node, error, retry: false } => {
                self.failed += 1;
                self.end(*node, Some(&format!("FAILED: {error}")));
            }
            Notice::Skipped { node, .. } => self.end(*node, None),
            Notice::Stopped { node } => self.leave(*node, Some("stopped")),
            Notice::Stopping => {
                let _ = self.terminal.println(
                    "stopping: running stages save their progress; Ctrl-C again ends them at once",
                );
            }
            Notice::Killing => {
                let _ = self.terminal.println("ending at once");
            }
        }
    }
}

impl Drop for Bars<'_> {
    fn drop(&mut self) {
        self.whole.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("━━╌")
}

/// A JSON event a line on standard output.
struct Json<'a> {
    plan: &'a Plan,
}

impl Json<'_> {
    fn stage(&self, node: NodeIndex) -> serde_json::Map<String, serde_json::Value> {
        let planned = &self.plan.graph[node];
        let stage = json!({
            "key": planned.key,
            "stage": planned.name(),
            "settings": self.plan.settings(node),
            "seed": planned.recipe.seed,
        });
        stage.as_object().cloned().unwrap_or_default()
    }
}

impl Observer for Json<'_> {
    fn notice(&mut self, notice: &Notice<'_>) {
        let (event, node, more) = match notice {
            Notice::Started { node, resumed } => ("started", *node, json!({ "resumed": resumed })),
            Notice::Progress { node, progress } => ("progress", *node, json!(progress)),
            Notice::Measured { node, points } => ("metrics", *node, json!({ "points": points })),
            Notice::Waiting { node } => ("waiting", *node, json!({})),
            Notice::Taken { node } => ("taken", *node, json!({})),
            Notice::Adopted { node } => ("adopted", *node, json!({})),
            Notice::Kept { node } => ("kept", *node, json!({})),
            Notice::Done { node, seconds } => ("done", *node, json!({ "seconds": seconds })),
            Notice::Failed { node, error, retry } => {
                ("failed", *node, json!({ "error": error, "retry": retry }))
            }
            Notice::Skipped { node, because } => {
                let because = self.plan.graph[*because].key;
                ("skipped", *node, json!({ "because": because }))
            }
            Notice::Stopped { node } => ("stopped", *node, json!({})),
            Notice::Stopping => return println!("{}", json!({ "stopping": {} })),
            Notice::Killing => return println!("{}", json!({ "killing": {} })),
        };
        let mut stage = self.stage(node);
        stage.extend(more.as_object().cloned().unwrap_or_default());
        println!("{}", json!({ event: stage }));
    }
}
