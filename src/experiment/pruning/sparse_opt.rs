//! What settings of `sparse-opt` contradict each other, or those of its stage.

use crate::experiment::fault::{Code, Fault};
use crate::experiment::networks::Site;
use crate::experiment::spec::{
    Criterion, Granularity, Prune, Scope, SparseMethod, SparseOpt, SparseOptimizer,
};

/// Where a setting of the criterion stands.
fn path(key: &str) -> [&str; 3] {
    ["criterion", "sparse-opt", key]
}

/// Adds what is wrong with the settings.
pub(super) fn check(site: &Site<'_>, prune: &Prune, faults: &mut Vec<Fault>) {
    let Criterion::SparseOpt(settings) = &prune.criterion else { return };
    faults.extend(two_numbers_of_zeros(site, prune, settings));
    faults.extend(no_penalty(site, settings));
    faults.extend(steps_of_descent(site, settings));
    faults.extend(half_of_no_space(site, settings));
    faults.extend(groups_in_a_metric(site, prune, settings));
    faults.extend(the_rate_of_sgd(site, settings));
}

/// A given λ leaves as many zeros as it leaves.
fn two_numbers_of_zeros(site: &Site<'_>, prune: &Prune, settings: &SparseOpt) -> Option<Fault> {
    settings.lambda?;
    let targets = [
        ("sparsity", prune.sparsity.is_some()),
        ("budget", prune.budget.is_some()),
        ("allocation", prune.allocation.is_some()),
        ("layer-sparsity", !prune.layer_sparsity.is_empty()),
        ("floors", !prune.floors.is_empty()),
        ("scope", prune.scope != Scope::Global),
    ];
    let (key, _) = targets.into_iter().find(|(_, is_stated)| *is_stated)?;
    let message = format!("a given `lambda` says what is zero, and `{key}` says how much");
    let fault = site.fault(Code::Contradiction, site.key(&[key]), &message);
    let fault = fault.label("so much");
    let fault = fault.note(site.sources, site.value(&path("lambda")), "what this leaves");
    Some(fault.help(format!("leave `{key}` out; or leave `lambda` out, which is then steered")))
}

/// λ is the weight of a penalty.
fn no_penalty(site: &Site<'_>, settings: &SparseOpt) -> Option<Fault> {
    if settings.method != SparseMethod::HardThreshold {
        return None;
    }
    settings.lambda?;
    let message = "`lambda` is the weight of a penalty, and `hard-threshold` has none";
    let fault = site.fault(Code::Contradiction, site.value(&path("lambda")), message);
    let fault = fault.label("of a penalty");
    let fault = fault.note(site.sources, site.value(&path("method")), "without one");
    Some(fault.help("leave `lambda` out and state `sparsity`, or choose another `method`"))
}

/// Adam's step is in a metric in which a group's threshold has no closed form.
fn groups_in_a_metric(site: &Site<'_>, prune: &Prune, settings: &SparseOpt) -> Option<Fault> {
    let has_groups =
        prune.granularity() == Granularity::Unit && settings.method == SparseMethod::Proximal;
    if settings.optimizer != SparseOptimizer::Adam || !has_groups {
        return None;
    }
    let message = "`adam` gives every weight a threshold of its own, and a unit has one";
    let fault = site.fault(Code::Contradiction, site.value(&path("optimizer")), message);
    let fault = fault.label("of single weights");
    let fault = fault.note(site.sources, site.value(&["granularity"]), "of units");
    Some(fault.help(
        "leave `optimizer` out, or `granularity`; or set `method = \"hard-threshold\"`, which has none",
    ))
}

/// A learning rate for SGD is none for Adam.
fn the_rate_of_sgd(site: &Site<'_>, settings: &SparseOpt) -> Option<Fault> {
    if settings.optimizer != SparseOptimizer::Adam || site.is_stated(&path("learning-rate")) {
        return None;
    }
    let message = format!(
        "`optimizer = \"adam\"` needs `learning-rate`: the default of {} is for SGD",
        settings.learning_rate
    );
    let fault = site.fault(Code::MissingKey, site.value(&path("optimizer")), &message);
    Some(fault.help("add `learning-rate = 0.001`"))
}

/// What a method makes of gradient descent.
fn steps_of_descent(site: &Site<'_>, settings: &SparseOpt) -> Option<Fault> {
    let name = match settings.method {
        SparseMethod::Fista => "fista",
        SparseMethod::HalfSpace => "half-space",
        SparseMethod::Proximal | SparseMethod::HardThreshold => return None,
    };
    if settings.optimizer != SparseOptimizer::Adam {
        return None;
    }
    let message = format!("`{name}` takes steps of gradient descent, and `adam` has its own");
    let fault = site.fault(Code::Contradiction, site.value(&path("optimizer")), &message);
    let fault = fault.label("steps of its own");
    let fault = fault.note(site.sources, site.value(&path("method")), "of gradient descent");
    Some(fault.help("leave `optimizer` out; or set `method` to `proximal` or `hard-threshold`"))
}

/// ε is of a half-space.
fn half_of_no_space(site: &Site<'_>, settings: &SparseOpt) -> Option<Fault> {
    if settings.method == SparseMethod::HalfSpace || !site.is_stated(&path("epsilon")) {
        return None;
    }
    let message = "`epsilon` is of the half-space of `method = \"half-space\"`";
    let fault = site.fault(Code::Contradiction, site.value(&path("epsilon")), message);
    Some(fault.label("of a half-space").help("leave `epsilon` out, or set `method`"))
}
