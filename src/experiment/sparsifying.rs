//! What settings of `sparsify` contradict each other or the training that they are of.

use super::fault::{Code, Fault};
use super::networks::Site;
use super::spec::{Gradual, Scope, Sparsify};

/// Adds what is wrong with how a stage changes its masks.
///
/// - epochs: that the stage trains for
pub(super) fn check(site: &Site<'_>, sparsify: &Sparsify, epochs: u32, faults: &mut Vec<Fault>) {
    let Sparsify::Gradual(gradual) = sparsify else { return };
    faults.extend(ends_before_it_begins(site, gradual));
    faults.extend(ends_after_the_training(site, gradual, epochs));
    faults.extend(two_shares(site, gradual));
}

fn ends_before_it_begins(site: &Site<'_>, gradual: &Gradual) -> Option<Fault> {
    let Gradual { from_epoch, until_epoch, .. } = gradual;
    if from_epoch < until_epoch {
        return None;
    }
    let message =
        format!("the sparsity rises from epoch {from_epoch} on and is reached after {until_epoch}");
    let place = site.value(&["sparsify", "gradual", "from-epoch"]);
    let fault = site.fault(Code::Contradiction, place, &message).label("not before the end");
    let until = site.value(&["sparsify", "gradual", "until-epoch"]);
    let fault = fault.note(site.sources, until, "the end");
    Some(fault.help("set `from-epoch` below `until-epoch`"))
}

fn ends_after_the_training(site: &Site<'_>, gradual: &Gradual, epochs: u32) -> Option<Fault> {
    let until = gradual.until_epoch;
    if until <= epochs {
        return None;
    }
    let message =
        format!("the sparsity is reached after {until} epochs, and the stage trains for {epochs}");
    let place = site.value(&["sparsify", "gradual", "until-epoch"]);
    let fault = site.fault(Code::Contradiction, place, &message).label("never reached");
    let fault = fault.note(site.sources, site.value(&["epochs"]), "the end of the training");
    Some(fault.help("set `until-epoch` to at most `epochs`; fewer leave time to recover"))
}

/// As in `prune`.
fn two_shares(site: &Site<'_>, gradual: &Gradual) -> Option<Fault> {
    gradual.allocation?;
    let scope = ["sparsify", "gradual", "scope"];
    if !site.is_stated(&scope) || gradual.scope != Scope::Global {
        return None;
    }
    let message =
        "`allocation` shares the sparsity out by layer, and `scope = \"global\"` does not";
    let fault = site.fault(Code::Contradiction, site.value(&scope), message);
    let fault = fault.label("over all layers");
    let allocation = site.key(&["sparsify", "gradual", "allocation"]);
    let fault = fault.note(site.sources, allocation, "by layer");
    Some(fault.help("leave `scope` out, or `allocation`"))
}
