//! What settings of a finetuning contradict each other, the network or the training.

use super::fault::{Code, Fault, list};
use super::networks::Site;
use super::program;
use super::spec::{Finetune, Sparsify, Unfreeze};
use crate::network::{Network, matches};

/// Adds what is wrong with how a stage trains layer by layer.
///
/// - network: the one that is trained, with its new head
pub(super) fn check(
    site: &Site<'_>,
    finetune: &Finetune,
    network: Option<&Network>,
    faults: &mut Vec<Fault>,
) {
    if let Some(fault) = network.and_then(|network| of_a_program(site, finetune, network)) {
        faults.push(fault);
        return;
    }
    faults.extend(never_thawed(site, finetune));
    faults.extend(thaws_and_masks(site, finetune));
    faults.extend(network.and_then(|network| frozen_head(site, finetune, network)));
}

/// What goes by layers needs to know them.
fn of_a_program(site: &Site<'_>, finetune: &Finetune, network: &Network) -> Option<Fault> {
    if !network.is_program() {
        return None;
    }
    let settings = [
        ("layer-rates", finetune.layer_rates.is_some()),
        ("unfreeze", finetune.unfreeze.is_some()),
    ];
    let (key, _) = settings.into_iter().find(|(_, is_set)| *is_set)?;
    let message =
        format!("`{key}` goes by the layers, and those of a TorchScript program are not known");
    let fault = site.fault(Code::Program, site.key(&[key]), &message);
    Some(fault.label("needs the layers").help(format!("leave it out; {}", program::REMEDY)))
}

/// Layers that would begin to train after the end.
fn never_thawed(site: &Site<'_>, finetune: &Finetune) -> Option<Fault> {
    let Some(Unfreeze::AtOnce(settings)) = &finetune.unfreeze else { return None };
    let (after, epochs) = (settings.after_epochs, finetune.epochs);
    if epochs == 0 || after < epochs {
        return None;
    }
    let message = format!(
        "the layers below the head train after {after} epochs, and the stage trains for {epochs}"
    );
    let keys = ["unfreeze", "at-once", "after-epochs"];
    let span = if site.is_stated(&keys) { site.value(&keys) } else { site.choice(&keys[..1]) };
    let fault = site.fault(Code::Contradiction, span, &message).label("never reached");
    let fault = fault.note(site.sources, site.value(&["epochs"]), "the end of the training");
    Some(
        fault.help(
            "set `after-epochs` below `epochs`, or train the head alone: `unfreeze.never = {}`",
        ),
    )
}

/// What is to be masked is chosen among the layers that train.
fn thaws_and_masks(site: &Site<'_>, finetune: &Finetune) -> Option<Fault> {
    let sparsify = finetune.sparsify.as_ref()?;
    if matches!(finetune.unfreeze.as_ref()?, Unfreeze::Never(_)) {
        return None;
    }
    let message = "`sparsify` masks the layers that train, and `unfreeze` changes which these are";
    let fault = site.fault(Code::Contradiction, site.choice(&["unfreeze"]), message);
    let fault = fault.label("changes what trains");
    let fault = fault.note(site.sources, site.choice(&["sparsify"]), name_of(sparsify));
    Some(fault.help("thaw in one stage and `sparsify` in another that starts from it"))
}

fn name_of(sparsify: &Sparsify) -> String {
    format!("`{}` masks as it trains", sparsify.name())
}

/// The head trains from the first epoch on, where all else waits for it.
fn frozen_head(site: &Site<'_>, finetune: &Finetune, network: &Network) -> Option<Fault> {
    let waits = matches!(&finetune.unfreeze, Some(Unfreeze::Never(_) | Unfreeze::AtOnce(_)));
    let heads = network.heads();
    let heads = heads.iter().map(|&head| network.nodes[head].name.as_str());
    let is_frozen = |head: &str| finetune.freeze.iter().any(|pattern| matches(pattern, head));
    if !waits || finetune.epochs == 0 || !heads.clone().all(is_frozen) {
        return None;
    }
    let message = "`unfreeze` trains the head first, and `freeze` keeps it as it is";
    let fault = site.fault(Code::Contradiction, site.key(&["freeze"]), message);
    let fault = fault.label(format!("matches {}", list(heads)));
    let fault = fault.note(site.sources, site.choice(&["unfreeze"]), "the head alone at first");
    Some(fault.help("leave the head out of `freeze`"))
}
