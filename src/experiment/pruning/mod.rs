//! What settings of a `prune` stage contradict each other.

mod sparse_opt;

use super::fault::{Code, Fault, Span};
use super::networks::Site;
use super::spec::{
    Budget, Criterion, Entropy, Granularity, Hessian, MaxEntropy, MseTarget, Prune, Scope,
};

/// What lets whole units go.
const UNITS: &str = "set `granularity = \"unit\"`";

/// Adds what is wrong with a stage's settings.
pub(super) fn check(site: &Site<'_>, prune: &Prune, faults: &mut Vec<Fault>) {
    faults.extend(target(site, prune));
    faults.extend(two_shares(site, prune));
    faults.extend(not_of_units(site, prune));
    faults.extend(not_of_weights(site, prune));
    faults.extend(pattern(site, prune));
    faults.extend(correction(site, prune));
    if prune.granularity() != Granularity::Unit {
        faults.extend(of_the_loss(site, &prune.criterion));
    }
    faults.extend(two_values(site, prune));
    faults.extend(shuffled_units(site, prune));
    sparse_opt::check(site, prune, faults);
}

/// Something has to say how much goes.
fn target(site: &Site<'_>, prune: &Prune) -> Option<Fault> {
    if prune.lambda().is_some() {
        return None;
    }
    if prune.budget.as_ref().is_some_and(|budget| *budget == Budget::default()) {
        let message = "`budget` states nothing";
        let fault = site.fault(Code::MissingKey, site.value(&["budget"]), message);
        return Some(
            fault.help("state one of `params`, `macs`, `nonzeros`, `channels` and `latency-ms`"),
        );
    }
    if prune.sparsity.is_some() || prune.budget.is_some() {
        return None;
    }
    let message = "`prune` needs `sparsity` or `budget`: how much goes";
    let fault = site.fault(Code::MissingKey, site.key(&[]), message);
    let or = match prune.criterion {
        Criterion::SparseOpt(_) => ", or `lambda` to `criterion.sparse-opt`",
        _ => "",
    };
    Some(fault.help(format!(
        "add `sparsity = 0.9`, or with whole units `budget = {{ params = 0.5 }}`{or}"
    )))
}

/// `allocation` is by layer, so weights of all layers do not compete.
fn two_shares(site: &Site<'_>, prune: &Prune) -> Option<Fault> {
    prune.allocation?;
    if !site.is_stated(&["scope"]) || prune.scope != Scope::Global {
        return None;
    }
    let message =
        "`allocation` shares the sparsity out by layer, and `scope = \"global\"` does not";
    let fault = site.fault(Code::Contradiction, site.value(&["scope"]), message);
    let fault = fault.label("over all layers");
    let fault = fault.note(site.sources, site.key(&["allocation"]), "by layer");
    Some(fault.help("leave `scope` out, or `allocation`"))
}

/// What counts weights where whole units go.
fn not_of_units(site: &Site<'_>, prune: &Prune) -> Option<Fault> {
    let is_of_units = prune.criterion.is_of_units();
    let name = prune.criterion.name();
    if prune.granularity() != Granularity::Unit {
        if !is_of_units {
            return None;
        }
        let message = format!("`{name}` removes whole units, and `granularity` asks for less");
        let fault = site.fault(Code::Contradiction, site.value(&["granularity"]), &message);
        let fault = fault.note(site.sources, site.choice(&["criterion"]), "of units");
        let of_weights = match prune.criterion {
            Criterion::MaxEntropy(_) => "set `variant.output = {}`, which has scores of weights, ",
            _ => "",
        };
        return Some(
            fault.help(format!("leave `granularity` out, {of_weights}or choose another criterion")),
        );
    }
    let because = if prune.granularity.is_none() {
        (site.choice(&["criterion"]), format!("`{name}` removes whole units"))
    } else {
        (site.value(&["granularity"]), "whole units go".to_owned())
    };
    let rules = [
        ("allocation", prune.allocation.is_some()),
        ("layer-sparsity", !prune.layer_sparsity.is_empty()),
    ];
    if let Some((key, _)) = rules.into_iter().find(|(_, is_stated)| *is_stated) {
        let message = format!("`{key}` counts weights, and {}", because.1);
        let fault = site.fault(Code::Contradiction, site.key(&[key]), &message);
        let fault = fault.label("of weights");
        let fault = fault.note(site.sources, because.0, "of units");
        return Some(fault.help(format!(
            "leave `{key}` out; `scope` and `floors` say how layers share units out"
        )));
    }
    if matches!(prune.criterion, Criterion::Lamp(_) | Criterion::Synflow(_)) {
        let message = format!("`{name}` scores single weights, and whole units go");
        let fault = site.fault(Code::Contradiction, site.choice(&["criterion"]), &message);
        let fault = fault.note(site.sources, because.0, "of units");
        return Some(fault.help(
            "leave `granularity` out, or choose max-entropy, min-mse, sparse-opt, slimming, movement, magnitude, taylor, snip, grasp or random",
        ));
    }
    if let Criterion::MaxEntropy(MaxEntropy { variant: Entropy::Output(output), .. }) =
        &prune.criterion
        && output.signed
    {
        let place = ["criterion", "max-entropy", "variant", "output", "signed"];
        let message = "`signed` is for single weights; of whole units the sign always counts";
        let fault = site.fault(Code::Contradiction, site.key(&place), message);
        let fault = fault.note(site.sources, because.0, "of units");
        return Some(fault.help("leave `signed` out, or set `granularity = \"weight\"`"));
    }
    let Criterion::MinMse(settings) = &prune.criterion else { return None };
    let path = |key| ["criterion", "min-mse", key];
    let of_weights = [
        ("target", settings.target != MseTarget::Itself),
        ("hessian", settings.hessian != Hessian::Full),
        ("update", settings.update.is_some()),
        ("block-size", site.is_stated(&path("block-size"))),
    ];
    let (key, _) = of_weights.into_iter().find(|(_, is_stated)| *is_stated)?;
    let message = format!("`{key}` is for single weights, and whole units go");
    let fault = site.fault(Code::Contradiction, site.value(&path(key)), &message);
    let fault = fault.note(site.sources, because.0, "of units");
    Some(fault.help(format!("leave `{key}` out; `select` and `correction` are for units")))
}

/// What counts units where weights go.
fn not_of_weights(site: &Site<'_>, prune: &Prune) -> Option<Fault> {
    if prune.granularity() == Granularity::Unit {
        return None;
    }
    let of_units = [
        (prune.scope == Scope::Isomorphic).then(|| ("scope", site.value(&["scope"]))),
        stated_for_units(site, prune),
    ];
    if let Some((key, place)) = of_units.into_iter().flatten().next() {
        let message = format!("`{key}` is for whole units, and weights go");
        let fault = site.fault(Code::Contradiction, place, &message);
        return Some(fault.label("of units").help(format!("leave it out, or {UNITS}")));
    }
    let Budget { params, macs, nonzeros: _, channels, latency_ms } = prune.budget.as_ref()?;
    let (key, what) = [
        ("params", "the number of parameters", params),
        ("macs", "the number of multiply-accumulates", macs),
        ("channels", "the number of channels", channels),
        ("latency-ms", "the time that an example takes", latency_ms),
    ]
    .into_iter()
    .find_map(|(key, what, stated)| stated.map(|_| (key, what)))?;
    let message = format!("weights that are zero leave {what} as it is");
    let fault = site.fault(Code::Contradiction, site.value(&["budget", key]), &message);
    Some(fault.label("of units").help(format!("{UNITS}; or state `sparsity` or `budget.nonzeros`")))
}

/// A setting of the criterion for units that is stated.
fn stated_for_units(site: &Site<'_>, prune: &Prune) -> Option<(&'static str, Span)> {
    let keys: &[&str] = match prune.criterion {
        Criterion::MinMse(_) => &["select", "correction"],
        Criterion::MaxEntropy(_) => &["correction"],
        _ => &[],
    };
    let path = |key| ["criterion", prune.criterion.name(), key];
    let key = keys.iter().find(|key| site.is_stated(&path(key)))?;
    Some((key, site.value(&path(key))))
}

/// A pattern says how many weights stay everywhere.
fn pattern(site: &Site<'_>, prune: &Prune) -> Option<Fault> {
    let granularity = site.value(&["granularity"]);
    if let (Criterion::SparseOpt(_), true) = (
        &prune.criterion,
        matches!(prune.granularity(), Granularity::Row) || prune.granularity().pattern().is_some(),
    ) {
        let message = "`sparse-opt` finds single weights or whole units, and `granularity` asks for something between";
        let fault = site.fault(Code::Contradiction, granularity, message);
        return Some(fault.help("leave `granularity` out, or choose another criterion"));
    }
    let (kept, of) = prune.granularity().pattern()?;
    let sparsity = 1.0 - kept as f64 / of as f64;
    let is_it = prune.sparsity.is_some_and(|stated| (stated - sparsity).abs() < 1e-9);
    if !is_it || prune.budget.is_some() {
        let key = if is_it || prune.sparsity.is_none() { "budget" } else { "sparsity" };
        let message = format!("{kept} of {of} weights stay, which is a sparsity of {sparsity}");
        let fault = site.fault(Code::Contradiction, site.value(&[key]), &message);
        let fault = fault.label("another target");
        let fault = fault.note(site.sources, granularity, "the pattern");
        return Some(
            fault.help(format!("set `sparsity = {sparsity}` alone, or leave `granularity` out")),
        );
    }
    if let Criterion::MinMse(settings) = &prune.criterion
        && settings.hessian == Hessian::Blocked
        && !(settings.block_size as usize).is_multiple_of(of)
    {
        let message =
            format!("groups of {of} weights do not fill blocks of {}", settings.block_size);
        let place = site.value(&["criterion", "min-mse", "block-size"]);
        let fault = site.fault(Code::Contradiction, place, &message);
        let fault = fault.note(site.sources, granularity, "the pattern");
        return Some(fault.help(format!("set `block-size` to a multiple of {of}")));
    }
    if let Criterion::Synflow(_) = prune.criterion {
        let message = "`synflow` masks in rounds, and a pattern is met at once";
        let fault = site.fault(Code::Contradiction, granularity, message);
        return Some(fault.help("leave `granularity` out, or choose another criterion"));
    }
    let rules = [
        ("allocation", prune.allocation.is_some()),
        ("floors", !prune.floors.is_empty()),
        ("layer-sparsity", !prune.layer_sparsity.is_empty()),
    ];
    let (key, _) = rules.into_iter().find(|(_, is_stated)| *is_stated)?;
    let message = format!("`{key}` gives layers densities, and a pattern gives all the same");
    let fault = site.fault(Code::Contradiction, site.key(&[key]), &message);
    let fault = fault.note(site.sources, granularity, "the pattern");
    Some(fault.help(format!("leave `{key}` out, or `granularity`")))
}

/// Only a Hessian that relates weights can correct some for others.
fn correction(site: &Site<'_>, prune: &Prune) -> Option<Fault> {
    let Criterion::MinMse(settings) = &prune.criterion else { return None };
    let (update, legal) = match (settings.update?, settings.hessian) {
        (true, Hessian::Identity | Hessian::Diag) => (true, "`full` or `blocked`"),
        (false, Hessian::Blocked) => (false, "`full`, `diag` or `identity`"),
        _ => return None,
    };
    let place = ["criterion", "min-mse", "update"];
    let message = format!("`update = {update}` goes with the Hessian {legal}");
    let fault = site.fault(Code::Contradiction, site.value(&place), &message);
    let hessian = site.value(&["criterion", "min-mse", "hessian"]);
    let fault = fault.note(site.sources, hessian, "not with this one");
    Some(fault.help("leave `update` out, or choose another `hessian`"))
}

/// The Hessian of the loss is a diagonal here.
pub(super) fn of_the_loss(site: &Site<'_>, criterion: &Criterion) -> Option<Fault> {
    let Criterion::MinMse(settings) = criterion else { return None };
    let is_whole = matches!(settings.hessian, Hessian::Full | Hessian::Blocked);
    if settings.target != MseTarget::Labels || !is_whole {
        return None;
    }
    let place = ["criterion", "min-mse", "target"];
    let message = "`target = \"labels\"` goes with the Hessian `diag` or `identity`";
    let fault = site.fault(Code::Contradiction, site.value(&place), message);
    let hessian = ["criterion", "min-mse", "hessian"];
    let fault = if site.is_stated(&hessian) {
        fault.note(site.sources, site.value(&hessian), "not with this one")
    } else {
        fault.label("not with the default, `full`")
    };
    Some(fault.help("set `hessian = \"diag\"`, or leave `target` out"))
}

/// What is left has one value.
fn two_values(site: &Site<'_>, prune: &Prune) -> Option<Fault> {
    prune.rewind_to.as_ref().filter(|_| prune.reinitialise)?;
    let message = "`reinitialise` gives what is left fresh values, and `rewind-to` earlier ones";
    let fault = site.fault(Code::Contradiction, site.key(&["reinitialise"]), message);
    let fault = fault.label("fresh values");
    let fault = fault.note(site.sources, site.key(&["rewind-to"]), "earlier values");
    Some(fault.help("leave one of them out: a ticket goes back, its control begins anew"))
}

/// Zeros that go as a whole are at no places of their own.
fn shuffled_units(site: &Site<'_>, prune: &Prune) -> Option<Fault> {
    if !prune.shuffle {
        return None;
    }
    let (place, what) = match (prune.granularity, prune.granularity()) {
        (_, Granularity::Weight) => return None,
        (None, _) => (site.choice(&["criterion"]), format!("`{}`", prune.criterion.name())),
        _ => (site.value(&["granularity"]), "this `granularity`".to_owned()),
    };
    let message = format!("`shuffle` moves single weights, and {what} removes more at once");
    let fault = site.fault(Code::Contradiction, site.key(&["shuffle"]), &message);
    let fault = fault.label("single weights").note(site.sources, place, "more at once");
    Some(
        fault.help(
            "leave `shuffle` out, or compare with `criterion.random` of the same granularity",
        ),
    )
}
