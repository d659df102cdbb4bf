//! Claims: whether they are about results that the experiment has, and say when they hold.

use std::collections::{BTreeSet, HashSet};

use super::fault::{Code, Fault, Sources, Span, list, nearest};
use super::meaning::{Stages, references};
use super::spec::Claim;
use super::sweep::{Arm, Axis};
use super::tree::{Entry, Tree, Value};

/// The faults of the claims of an experiment whose stages and sweep are sound.
pub(super) fn check(root: &Tree, stages: &Stages, sources: &Sources) -> Vec<Fault> {
    let claims = root.entry(&["claim"]).map(|entry| &entry.tree.value);
    let Some(Value::Array(claims)) = claims else { return Vec::new() };
    let checker = Checker { stages, sources };
    let mut faults = Vec::new();
    for claim in claims {
        faults.extend(checker.condition(claim));
        for key in ["of", "than"] {
            let results = claim.entry(&[key]);
            faults.extend(results.into_iter().filter_map(|results| checker.results(&results.tree)));
        }
    }
    faults
}

struct Checker<'a> {
    stages: &'a Stages,
    sources: &'a Sources,
}

impl Checker<'_> {
    /// A claim has to say when it holds, and no bound may contradict another.
    fn condition(&self, claim: &Tree) -> Option<Fault> {
        // One that cannot be read has been reported.
        let stated: Claim = claim.read().ok()?;
        let entry = |key: &str| claim.entry(&[key]);
        let fault = |span, message: &str| self.sources.fault(Code::Contradiction, span, message);
        if let (Some(within), None) = (entry("within"), stated.reported) {
            let fault = fault(within.key, "`within` needs the figure that it is around");
            let help = "state `reported`, or `at-least` or `at-most` in its place";
            return Some(fault.label("within this of what?").help(help));
        }
        if let (Some(by), None) = (entry("by"), &stated.than) {
            let fault = fault(by.key, "`by` needs something to compare with");
            let help = "state `than`, or leave `by` out";
            return Some(fault.label("compared with what?").help(help));
        }
        let (least, most) = stated.bounds();
        if least.is_infinite() && most.is_infinite() {
            let fault = fault(entry("says")?.tree.span, "a claim has to say when it holds");
            let help =
                "add `at-least`, `at-most`, or `reported` with `within`, as in `at-least = 0.98`";
            return Some(fault.label("when does it hold?").help(help));
        }
        let bound = entry("at-least").or_else(|| entry("at-most")).filter(|_| least > most)?;
        let message = format!("no value is at least {least} and at most {most}");
        Some(fault(bound.tree.span, &message).label("can never hold").help("state another bound"))
    }

    /// Results have to be there, one for each seed.
    fn results(&self, results: &Tree) -> Option<Fault> {
        let stage = results.entry(&["stage"])?;
        let name = stage.tree.text()?;
        if !self.stages.stages.contains_key(name) {
            return Some(self.unknown_stage(name, stage.tree.span));
        }
        let picked = results.entry(&["where"]).and_then(|entry| entry.tree.table());
        let mut picks = Vec::new();
        for (axis, entry) in picked.into_iter().flatten() {
            match self.pick(axis, entry) {
                Ok(Some(pick)) => picks.push(pick),
                Ok(None) => return None,
                Err(fault) => return Some(*fault),
            }
        }
        let fits = |arm: &&Arm| picks.iter().all(|&(axis, point)| arm.points[axis] == point);
        let arms: Vec<&Arm> = self.stages.sweep.arms.iter().filter(fits).collect();
        if arms.is_empty() {
            let span = results.entry(&["where"]).map_or(results.span, |entry| entry.tree.span);
            let message = "the sweep has no combination with all of these values";
            let fault = self.sources.fault(Code::UnknownArm, span, message);
            let help =
                "its rules (`exclude`, `include`) leave it out; claim something of another one";
            return Some(fault.label("dropped by a rule").help(help));
        }
        self.left_open(name, stage.tree.span, &arms)
    }

    /// The axis and the point that an entry of `where` names; none where another text gave the axis other
    /// points, so that there are no such results and nothing is wrong.
    fn pick(&self, name: &str, entry: &Entry) -> Result<Option<(usize, usize)>, Box<Fault>> {
        let axes = &self.stages.sweep.axes;
        let Some(index) = axes.iter().position(|axis| axis.name == name) else {
            let names = || axes.iter().map(|axis| axis.name.as_str());
            let message = format!("the sweep has no axis `{name}`");
            let fault = self.sources.fault(Code::UnknownArm, entry.key, message);
            let label = nearest(name, names()).map_or("no such axis".to_owned(), did_you_mean);
            let help = match list(names()).as_str() {
                "" => "there is no sweep; leave `where` out".to_owned(),
                axes => format!("axes are {axes}"),
            };
            return Err(Box::new(fault.label(label).help(help)));
        };
        let axis = &axes[index];
        let is_meant = |point: &super::sweep::Point| {
            entry.tree.text() == Some(point.label.as_str())
                || axis.is_plain() && point.shown.normal() == entry.tree.normal()
        };
        if let Some(point) = axis.points.iter().position(is_meant) {
            return Ok(Some((index, point)));
        }
        if self.sources.may_replace(axis.key, entry.tree.span) {
            return Ok(None);
        }
        let labels = || axis.points.iter().map(|point| point.label.as_str());
        let message = format!("axis `{name}` has no such value");
        let fault = self.sources.fault(Code::UnknownArm, entry.tree.span, message);
        let near = entry.tree.text().and_then(|text| nearest(text, labels()));
        let label = near.map_or("no such value".to_owned(), did_you_mean);
        Err(Box::new(fault.label(label).help(format!("values are {}", list(labels())))))
    }

    /// An axis that the results depend on and that has several points among some combinations.
    fn left_open(&self, stage: &str, span: Span, arms: &[&Arm]) -> Option<Fault> {
        let axes = &self.stages.sweep.axes;
        let points =
            |axis: usize| -> BTreeSet<usize> { arms.iter().map(|arm| arm.points[axis]).collect() };
        let reaching = self.axes_of(stage);
        let (open, points) = (reaching.into_iter())
            .map(|axis| (&axes[axis], points(axis)))
            .find(|(_, points)| points.len() > 1)?;
        let message =
            format!("`{stage}` has several results for a seed: axis `{}` is left open", open.name);
        let fault = self.sources.fault(Code::OpenClaim, span, message);
        let labels = points.into_iter().map(|point| open.points[point].label.as_str());
        let help = format!("say which in `where`: `{}` is one of {}", quoted(open), list(labels));
        Some(fault.label("which one?").help(help))
    }

    /// The axes that set a key of a stage or of what it reads, in any combination; in their order.
    fn axes_of(&self, stage: &str) -> BTreeSet<usize> {
        let mut axes = BTreeSet::new();
        let (mut known, mut open) = (HashSet::new(), vec![stage]);
        while let Some(name) = open.pop() {
            let Some(stage) = self.stages.stages.get(name).filter(|_| known.insert(name)) else {
                continue;
            };
            axes.extend(&stage.axes);
            let names = stage.variants.values().flat_map(references);
            open.extend(names.map(|reference| reference.text.as_str()));
        }
        axes
    }

    fn unknown_stage(&self, name: &str, span: Span) -> Fault {
        let names = || self.stages.stages.keys().map(String::as_str);
        let message = format!("stage = {name:?} names no stage");
        let label = nearest(name, names()).map_or("no such stage".to_owned(), did_you_mean);
        let fault = self.sources.fault(Code::UnknownStage, span, message).label(label);
        fault.help(format!("stages are {}", list(names())))
    }
}

fn did_you_mean(near: &str) -> String {
    format!("did you mean \"{near}\"?")
}

/// An axis' name as a key of TOML.
fn quoted(axis: &Axis) -> String {
    if axis.is_plain() { format!("\"{}\"", axis.name) } else { axis.name.clone() }
}
