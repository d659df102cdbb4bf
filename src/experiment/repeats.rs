//! Axes that change nothing, and points of an axis that mean the same: their trials would be the same.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::Value;

use super::fault::{Code, Fault, Sources};
use super::meaning::{StageVariants, Stages};
use super::spec::Stage;
use super::sweep::{Axis, Point};

/// What a point makes of the stages that its axis reaches: of each stage, beside each combination of the
/// other axes that set its keys, what it is. All are numbers: equal numbers are equal things.
type Meaning = Vec<(usize, usize, usize)>;

/// The faults of axes with points that mean the same.
pub(super) fn repeats(stages: &Stages, sources: &Sources) -> Vec<Fault> {
    let axes = &stages.sweep.axes;
    let mut meanings: Vec<Vec<Meaning>> =
        axes.iter().map(|axis| vec![Meaning::new(); axis.points.len()]).collect();
    for (number, stage) in stages.stages.values().enumerate() {
        let several = |&(_, &axis): &(usize, &usize)| axes[axis].points.len() > 1;
        let sweeping: Vec<_> = stage.axes.iter().enumerate().filter(several).collect();
        if sweeping.is_empty() {
            continue;
        }
        // A stage with faults of its own has been reported.
        let Some(effects) = effects(stage) else { return Vec::new() };
        for (at, &axis) in sweeping {
            let mut contexts: HashMap<Vec<usize>, usize> = HashMap::new();
            for (points, &effect) in stage.variants.keys().zip(&effects) {
                let mut context = points.clone();
                let point = context.remove(at);
                let next = contexts.len();
                let context = *contexts.entry(context).or_insert(next);
                meanings[axis][point].push((number, context, effect));
            }
        }
    }
    let all = axes.iter().zip(&mut meanings);
    all.flat_map(|(axis, meanings)| same_points(axis, meanings, stages, sources)).collect()
}

/// What each variant of a stage does, as a number; equal ones do the same. None where one has faults.
fn effects(stage: &StageVariants) -> Option<Vec<usize>> {
    let mut known: HashMap<Value, usize> = HashMap::with_capacity(stage.variants.len());
    let effects = stage.variants.values().map(|variant| {
        let effect = effect(variant.stage.as_ref()?);
        let next = known.len();
        Some(*known.entry(effect).or_insert(next))
    });
    effects.collect()
}

/// One value for all spellings of what a stage does, without what it takes no notice of.
fn effect(stage: &Stage) -> Value {
    let mut stage = Cow::Borrowed(stage);
    if let Stage::Prune(prune) = &*stage {
        let (needs_data, is_random) = (prune.criterion.needs_data(), prune.is_random());
        if let Stage::Prune(prune) = stage.to_mut() {
            prune.data = prune.data.take().filter(|_| needs_data);
            prune.seed = prune.seed.filter(|_| is_random);
        }
    }
    serde_json::to_value(&*stage).unwrap_or_default()
}

fn same_points(
    axis: &Axis,
    meanings: &mut [Meaning],
    stages: &Stages,
    sources: &Sources,
) -> Vec<Fault> {
    for meaning in meanings.iter_mut() {
        meaning.sort_unstable();
    }
    // A point that rules leave no combination has no meaning.
    let is_there =
        |(_, meaning): &(&Point, &Meaning)| axis.stages.is_empty() || !meaning.is_empty();
    let meant: Vec<(&Point, &Meaning)> =
        axis.points.iter().zip(&*meanings).filter(is_there).collect();
    if meant.len() > 1 && meant.iter().all(|(_, meaning)| *meaning == meant[0].1) {
        return vec![idle(axis, stages, sources)];
    }
    let mut seen: HashMap<&Meaning, &Point> = HashMap::with_capacity(meant.len());
    let mut faults = Vec::new();
    for (point, meaning) in meant {
        match seen.get(meaning) {
            // An equal value has been reported with the rest of the list.
            Some(first) if axis.is_plain() && first.shown.equals(&point.shown) => {}
            Some(first) => faults.push(same(axis, first, point, sources)),
            None => {
                seen.insert(meaning, point);
            }
        }
    }
    faults
}

fn idle(axis: &Axis, stages: &Stages, sources: &Sources) -> Fault {
    let what = if axis.is_plain() { "values" } else { "points" };
    let message = format!("the axis `{}` changes nothing", axis.name);
    let fault = sources.fault(Code::IdleAxis, axis.key, message);
    let fault = fault.label(format!("all of its {what} give the same trials"));
    let reasons = axis.stages.iter().filter_map(|name| {
        let stage = stages.stages.get(&**name)?.variants.values().next()?.stage.as_ref()?;
        let Stage::Prune(prune) = stage else { return None };
        let is_set = |key: &str| {
            let settings = axis.points.iter().flat_map(|point| &point.settings);
            let mut steps = settings.filter_map(|setting| setting.steps.get(1));
            steps.any(|(step, _)| step == key)
        };
        let criterion = prune.criterion.name();
        if is_set("data") && !prune.criterion.needs_data() {
            return Some(format!("stage `{name}`: `{criterion}` looks at no data"));
        }
        let draws = is_set("seed") && !prune.is_random();
        draws.then(|| format!("stage `{name}`: `{criterion}` draws nothing at random"))
    });
    let fault = reasons.fold(fault, Fault::help);
    fault.help("leave the axis out, or sweep something that its stages use")
}

fn same(axis: &Axis, first: &Point, point: &Point, sources: &Sources) -> Fault {
    let (message, label) = if axis.is_plain() {
        (
            format!("two values of `{}` mean the same", axis.name),
            "the same, with its defaults written out or left out",
        )
    } else {
        (
            format!("`{}` and `{}` of `{}` mean the same", first.label, point.label, axis.name),
            "sets the same, with what it leaves out taken from the file or a `--set`",
        )
    };
    let fault = sources.fault(Code::Repeated, point.shown.span, message).label(label);
    let fault = fault.note(sources, first.shown.span, "first stated here");
    fault.help("each value would give the same trials; leave one out")
}
