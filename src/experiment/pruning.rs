//! What settings of a `prune` stage contradict each other.

use super::fault::{Code, Fault};
use super::networks::Site;
use super::spec::{Criterion, Granularity, Hessian, Prune, Scope};

/// Adds what is wrong with a stage's settings.
pub(super) fn check(site: &Site<'_>, prune: &Prune, faults: &mut Vec<Fault>) {
    faults.extend(two_shares(site, prune));
    faults.extend(whole_units(site, prune));
    faults.extend(pattern(site, prune));
    faults.extend(correction(site, prune));
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

/// A criterion of whole units has no densities of layers.
fn whole_units(site: &Site<'_>, prune: &Prune) -> Option<Fault> {
    if !matches!(prune.criterion, Criterion::MaxEntropy(_)) {
        return None;
    }
    let rules = [
        ("allocation", prune.allocation.is_some()),
        ("floors", !prune.floors.is_empty()),
        ("layer-sparsity", !prune.layer_sparsity.is_empty()),
        ("granularity", prune.granularity != Granularity::Weight),
    ];
    let (key, _) = rules.into_iter().find(|(_, is_stated)| *is_stated)?;
    let message = format!("`{key}` counts weights, and `max-entropy` removes whole units");
    let fault = site.fault(Code::Contradiction, site.key(&[key]), &message);
    let fault = fault.label("of weights");
    let fault = fault.note(site.sources, site.choice(&["criterion"]), "of units");
    Some(
        fault.help(format!("leave `{key}` out, or choose a criterion of weights, such as min-mse")),
    )
}

/// A pattern says how many weights stay everywhere.
fn pattern(site: &Site<'_>, prune: &Prune) -> Option<Fault> {
    let granularity = site.value(&["granularity"]);
    if let (Criterion::SparseOpt(_), true) =
        (&prune.criterion, prune.granularity != Granularity::Weight)
    {
        let message = "`sparse-opt` finds single weights, and `granularity` asks for more at once";
        let fault = site.fault(Code::Contradiction, granularity, message);
        return Some(fault.help("leave `granularity` out, or choose another criterion"));
    }
    let (kept, of) = prune.granularity.pattern()?;
    let sparsity = 1.0 - kept as f64 / of as f64;
    if (prune.sparsity - sparsity).abs() > 1e-9 {
        let message = format!("{kept} of {of} weights stay, which is a sparsity of {sparsity}");
        let fault = site.fault(Code::Contradiction, site.value(&["sparsity"]), &message);
        let fault = fault.label("another sparsity");
        let fault = fault.note(site.sources, granularity, "the pattern");
        return Some(
            fault.help(format!("set `sparsity = {sparsity}`, or leave `granularity` out")),
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
