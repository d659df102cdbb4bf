//! What settings of a finetuning contradict each other, the network or the training.

use super::fault::{Code, Fault, Span, list};
use super::networks::Site;
use super::program;
use super::spec::{Finetune, Lora, Sparsify, Unfreeze};
use crate::network::{Network, Task, matches};

/// Adds what is wrong with how a stage trains layer by layer.
///
/// - network: the one that is trained, with its new head
/// - `has_new_head`: whether it has one
pub(super) fn check(
    site: &Site<'_>,
    finetune: &Finetune,
    network: Option<&Network>,
    has_new_head: bool,
    faults: &mut Vec<Fault>,
) {
    if let Some(fault) = network.and_then(|network| of_a_program(site, finetune, network)) {
        faults.push(fault);
        return;
    }
    faults.extend(never_thawed(site, finetune));
    faults.extend(thaws_and_masks(site, finetune));
    faults.extend(beside_lora(site, finetune));
    let Some(network) = network else { return };
    faults.extend(frozen_head(site, finetune, network));
    faults.extend(no_update(site, finetune, network, has_new_head));
    faults.extend(nothing_compared(site, finetune, network));
    faults.extend(features_of_pixels(site, finetune, network));
}

/// What goes by layers needs to know them.
fn of_a_program(site: &Site<'_>, finetune: &Finetune, network: &Network) -> Option<Fault> {
    if !network.is_program() {
        return None;
    }
    let settings = [
        ("layer-rates", finetune.layer_rates.is_some()),
        ("unfreeze", finetune.unfreeze.is_some()),
        ("delta", finetune.delta.is_some()),
        ("bss", finetune.bss.is_some()),
        ("lora", finetune.lora.is_some()),
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
        "the layers below the head train from epoch {} on, and the stage ends with epoch {epochs}",
        u64::from(after) + 1
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

/// With updates in place of weights, what is said of the training of weights has no meaning.
fn beside_lora(site: &Site<'_>, finetune: &Finetune) -> Option<Fault> {
    finetune.lora.as_ref()?;
    let settings = [
        ("sparsify", finetune.sparsify.is_some(), "masks are chosen by weights that train"),
        ("l2-sp", finetune.l2_sp.is_some(), "the weights stay where they start"),
        ("unfreeze", finetune.unfreeze.is_some(), "the weights stay frozen"),
        ("layer-rates", finetune.layer_rates.is_some(), "all updates have one learning rate"),
        (
            "learning-rate-factors",
            !finetune.learning_rate_factors.is_empty(),
            "all updates have one learning rate",
        ),
    ];
    let (key, _, why) = settings.into_iter().find(|(_, is_set, _)| *is_set)?;
    let message =
        format!("`lora` trains updates in place of weights, and `{key}` is about weights");
    let fault = site.fault(Code::Contradiction, site.key(&[key]), &message).label(why);
    let fault = fault.note(site.sources, site.key(&["lora"]), "trains updates");
    Some(fault.help(format!("leave out `{key}` or `lora`")))
}

/// An update needs a layer that can have one.
fn no_update(
    site: &Site<'_>,
    finetune: &Finetune,
    network: &Network,
    has_new_head: bool,
) -> Option<Fault> {
    let Lora { layers, .. } = finetune.lora.as_ref()?;
    let is_in = |patterns: &[String], name: &str| patterns.iter().any(|it| matches(it, name));
    let heads = if has_new_head { network.heads() } else { Vec::new() };
    let nodes = network.nodes.iter().enumerate().filter(|(index, node)| {
        node.op.weight_matrix().is_some()
            && !heads.contains(index)
            && !is_in(&finetune.freeze, &node.name)
    });
    let names: Vec<&str> = nodes.map(|(_, node)| node.name.as_str()).collect();
    if names.iter().any(|name| is_in(layers, name)) {
        return None;
    }
    let message = "`lora` updates linear layers and ungrouped convolutions that are not frozen, and `layers` matches none";
    let (span, label) = named_layers(site, "lora");
    let fault = site.fault(Code::Contradiction, span, message).label(label);
    Some(fault.help(those_of(network, &names)))
}

/// The place of `layers` in a table, and what is said of it.
fn named_layers(site: &Site<'_>, key: &str) -> (Span, &'static str) {
    if site.is_stated(&[key, "layers"]) {
        return (site.value(&[key, "layers"]), "none of these");
    }
    (site.key(&[key]), "there is none")
}

fn those_of(network: &Network, names: &[&str]) -> String {
    match names {
        [] => format!("`{}` has none that is free; leave it out", network.arch),
        _ => format!("those of `{}` are {}", network.arch, list(names.iter().copied())),
    }
}

/// What layers put out is compared below the head.
fn nothing_compared(site: &Site<'_>, finetune: &Finetune, network: &Network) -> Option<Fault> {
    let delta = finetune.delta.as_ref()?;
    let heads = network.heads();
    let nodes = network.nodes.iter().enumerate();
    let nodes = nodes.filter(|(index, node)| node.op.outputs().is_some() && !heads.contains(index));
    let names: Vec<&str> = nodes.map(|(_, node)| node.name.as_str()).collect();
    if names.iter().any(|name| delta.layers.iter().any(|pattern| matches(pattern, name))) {
        return None;
    }
    let message =
        "`delta` compares linear layers and convolutions below the head, and `layers` matches none";
    let (span, label) = named_layers(site, "delta");
    let fault = site.fault(Code::Contradiction, span, message).label(label);
    Some(fault.help(those_of(network, &names)))
}

/// Singular values are those of one row of features for each example.
fn features_of_pixels(site: &Site<'_>, finetune: &Finetune, network: &Network) -> Option<Fault> {
    finetune.bss.as_ref()?;
    if network.task().ok()? != Task::Segmentation {
        return None;
    }
    let message =
        "`bss` takes a row of features for each example, and the network has them for each pixel";
    let fault = site.fault(Code::Task, site.key(&["bss"]), message);
    let fault = fault
        .label("features of examples")
        .help("leave it out; `l2-sp` and `delta` hold such a network near its start, too");
    Some(fault.note(site.sources, site.value(&["from"]), "gives a class for every pixel"))
}
