//! What can be asked of a network that is a `TorchScript` program, whose layers nobody knows.

use super::fault::{Code, Fault};
use super::networks::Site;
use super::spec::{Criterion, Finetune, Granularity, Import, Prune};
use crate::network::Network;

/// Whether an import without `model` can be of a program.
pub(super) fn import(site: &Site<'_>, import: &Import, faults: &mut Vec<Fault>) {
    if import.model.is_some() {
        return;
    }
    if import.file.ends_with(".safetensors") {
        let message = "a safetensors file has parameters and no network; `import` needs `model`";
        let fault = site.fault(Code::MissingKey, site.value(&["file"]), message);
        faults.push(fault.label("holds parameters alone").help(
            "add the network that they are for, as `model.resnet18 = {}`; a file of `torch.jit.save` needs none",
        ));
    }
    if !import.strict {
        let message =
            "`strict = false` gives what a file lacks new values, and a program lacks nothing";
        let fault = site.fault(Code::Contradiction, site.key(&["strict"]), message);
        faults.push(fault.label("nothing to be lenient with").help(
            "leave `strict` out; or add the `model` that the parameters of a safetensors file are for",
        ));
    }
}

/// A program's weights can be masked by what they are, and not by what goes through its layers.
pub(super) fn prune(
    site: &Site<'_>,
    criterion: &Criterion,
    network: Option<&Network>,
) -> Option<Fault> {
    network.filter(|network| network.is_program())?;
    match criterion {
        Criterion::MaxEntropy(_)
        | Criterion::MinMse(_)
        | Criterion::Synflow(_)
        | Criterion::Slimming(_) => {}
        Criterion::Magnitude(_)
        | Criterion::Random(_)
        | Criterion::Taylor(_)
        | Criterion::Snip(_)
        | Criterion::Grasp(_)
        | Criterion::Lamp(_)
        | Criterion::SparseOpt(_)
        | Criterion::Movement(_) => return None,
    }
    let message = format!(
        "`{}` looks at what goes through the layers, and those of a TorchScript program are not known",
        criterion.name()
    );
    let fault = site.fault(Code::Program, site.choice(&["criterion"]), &message);
    Some(fault.label("needs the layers").help(format!(
        "choose one that looks at weights and gradients alone: magnitude, lamp, random, taylor, snip, grasp, sparse-opt, movement; {REMEDY}"
    )))
}

/// A program's units are not known, nor what it starts from.
pub(super) fn layers(site: &Site<'_>, prune: &Prune, network: Option<&Network>) -> Option<Fault> {
    network.filter(|network| network.is_program())?;
    let of_units = [
        (prune.granularity == Some(Granularity::Unit)).then(|| site.value(&["granularity"])),
        prune.remove.then(|| site.key(&["remove"])),
    ];
    if prune.reinitialise {
        let message =
            "`reinitialise` draws initial values, and those of a TorchScript program are not known";
        let fault = site.fault(Code::Program, site.key(&["reinitialise"]), message);
        return Some(fault.label("needs the layers").help(format!("leave it out; {REMEDY}")));
    }
    let place = of_units.into_iter().flatten().next()?;
    let message =
        "whole units are found by the layers, and those of a TorchScript program are not known";
    let fault = site.fault(Code::Program, place, message);
    Some(fault.label("needs the layers").help(format!("leave it out; {REMEDY}")))
}

/// A program's last layer cannot be replaced.
pub(super) fn finetune(
    site: &Site<'_>,
    finetune: &Finetune,
    network: Option<&Network>,
) -> Option<Fault> {
    let network = network.filter(|network| network.is_program())?;
    let (classes, needed) = (network.classes().ok()?, finetune.data.classes());
    if finetune.new_head {
        let message =
            "`new-head` replaces the last layer, and that of a TorchScript program is not known";
        let fault = site.fault(Code::Program, site.key(&["new-head"]), message);
        return Some(fault.label("needs the layers").help(format!("leave it out; {REMEDY}")));
    }
    if classes == needed || network.task().ok()? != finetune.data.task() {
        return None;
    }
    let name = finetune.data.name();
    let message = format!(
        "`{name}` has {needed} classes, and the network is a TorchScript program for {classes}, whose last layer cannot be replaced"
    );
    let fault = site.fault(Code::Program, site.choice(&["data"]), &message);
    let fault = fault.label(format!("{needed} classes"));
    let fault = fault.note(site.sources, site.value(&["from"]), format!("{classes} classes"));
    Some(fault.help(format!(
        "in Python, give it {needed} outputs, and import that with `data.{name}`; {REMEDY}"
    )))
}

/// Adaptation works on the input of the last layer.
pub(super) fn adapt(site: &Site<'_>, network: Option<&Network>) -> Option<Fault> {
    network.filter(|network| network.is_program())?;
    let message = "`adapt` compares what the last layer reads, and that of a TorchScript program is not known";
    let fault = site.fault(Code::Program, site.value(&["from"]), message);
    let fault = fault.label("its network is a program");
    Some(fault.help(format!("`finetune` it on labelled data; {REMEDY}")))
}

/// What takes more than a program.
pub(super) const REMEDY: &str =
    "or import its parameters as a safetensors file, with the `model` that they are for";
