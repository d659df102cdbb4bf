//! What a stage goes back to: whether that training has the epoch, and the same network.

use super::fault::{Code, Fault, list};
use super::networks::{Input, Site};
use super::spec::{EarlyStopping, Stage};
use crate::network::{Extents, Network};

/// What is wrong with the point that a stage goes back to, if anything.
pub(super) fn check(
    site: &Site<'_>,
    stage: &Stage,
    point: &Input<'_>,
    network: Option<&Network>,
) -> Option<Fault> {
    let role = point.reference.key.as_str();
    let epoch = stage.epoch_of(role)?;
    let Some((epochs, stopping)) = point.stage?.epochs() else {
        return Some(trains_not(site, point));
    };
    let place = site.value(&[role, "epoch"]);
    let other = &point.reference.text;
    if epoch > epochs {
        let message = format!("stage `{other}` has no epoch {epoch}; it trains for {epochs}");
        let fault = site.fault(Code::Rewind, place, &message).label("after its end");
        return Some(
            fault.help(format!(
                "go back to an epoch from 0, which is before the first, to {epochs}"
            )),
        );
    }
    if let Some(EarlyStopping { patience, .. }) = stopping
        && epoch > *patience
    {
        let message = format!("stage `{other}` may end before epoch {epoch}");
        let fault = site.fault(Code::Rewind, place, &message).label("may never come");
        return Some(fault.help(format!(
            "go back to an epoch up to {patience}, its `early-stopping.patience`, or leave `early-stopping` out there"
        )));
    }
    let (theirs, ours) = (point.network.as_deref()?, network?);
    let (parameter, reason) = difference(ours, theirs)?;
    let message = format!("stage `{other}` trained another network");
    let fault = site.fault(Code::Rewind, point.reference.span, &message);
    let fault = fault.label(format!("parameter `{parameter}` {reason}"));
    let fault = fault.note(site.sources, site.value(&["from"]), "the network that goes back");
    Some(fault.help("go back to a stage that trained this network"))
}

fn trains_not(site: &Site<'_>, point: &Input<'_>) -> Fault {
    let name = &point.reference.text;
    let kind = point.stage.map_or("", |stage| stage.kind().as_str());
    let message = format!("stage `{name}`, of kind `{kind}`, has no epochs to go back to");
    let fault = site.fault(Code::Rewind, point.reference.span, &message).label("does not train");
    let kinds = list(["pretrain", "finetune", "adapt"]);
    fault.help(format!("go back to a stage that trains: {kinds}"))
}

/// The first parameter that is not the same in both networks, and in what.
fn difference(ours: &Network, theirs: &Network) -> Option<(String, String)> {
    let (ours, theirs) = (ours.params(), theirs.params());
    for param in &ours {
        let Some(other) = theirs.iter().find(|other| other.name == param.name) else {
            return Some((param.name.clone(), "is not there".to_owned()));
        };
        let (theirs, ours) = (&other.param.shape, &param.param.shape);
        if theirs != ours {
            let reason = format!("is {} there and {} here", Extents(theirs), Extents(ours));
            return Some((param.name.clone(), reason));
        }
    }
    let more = theirs.iter().find(|other| ours.iter().all(|param| param.name != other.name))?;
    Some((more.name.clone(), "is only there".to_owned()))
}
