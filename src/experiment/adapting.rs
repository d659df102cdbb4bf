//! What settings of an adaptation contradict each other, and whether its domains fit together.

use super::fault::{Code, Fault, list};
use super::networks::{Site, with_classes};
use super::spec::{Adapt, Content, Data, Keep, Validator};
use crate::network::{Network, Op};

/// What an adaptation asks for that cannot be.
pub(super) fn check(site: &Site<'_>, adapt: &Adapt, faults: &mut Vec<Fault>) {
    faults.extend(one_domain(site, adapt));
    faults.extend(joint_and_specific(site, adapt));
    faults.extend(joint_for_nothing(site, adapt));
    faults.extend(loss_for_nothing(site, adapt));
    faults.extend(perturbed_words(site, adapt));
    faults.extend(nothing_to_select(site, adapt));
    faults.extend(optimised(site, adapt));
}

/// The data on whose validation split the best epoch is chosen, and its key.
pub(super) fn chosen_on(adapt: &Adapt) -> (&'static str, &Data) {
    match (adapt.keep, adapt.select) {
        (Keep::Best, validator) if validator != Validator::SourceAccuracy => {
            ("target", &adapt.target)
        }
        _ => ("source", &adapt.source),
    }
}

/// A network can be adapted to another domain only.
fn one_domain(site: &Site<'_>, adapt: &Adapt) -> Option<Fault> {
    let domain = adapt.source.domain();
    if domain != adapt.target.domain() {
        return None;
    }
    let message = format!("source and target are one domain, `{domain}`");
    let fault = site.fault(Code::Domain, site.choice(&["target"]), &message);
    let fault = fault.label(format!("the same {}", adapt.target.what()));
    let fault = fault.note(site.sources, site.choice(&["source"]), "the source");
    Some(fault.help(match adapt.target.content() {
        Content::Images(..) => "choose another dataset, or another `size` of this one",
        Content::Recordings(_) => "choose other `speakers`",
        Content::Bags(_) => "choose another `category`",
        Content::Texts(_) => "choose other `groups`",
        Content::Scenes(_) => "choose other `digits` or `photographs`",
        Content::Folder(_) | Content::Masks(_) => "give one of them another `domain`",
        Content::Rows(_) => "choose the rows of another `domain`",
    }))
}

/// A layer that each domain has its own copy of cannot take both domains in one batch.
fn joint_and_specific(site: &Site<'_>, adapt: &Adapt) -> Option<Fault> {
    if !adapt.joint_batches || adapt.specific.is_empty() {
        return None;
    }
    let message = "`joint-batches` sends both domains through the same layers";
    let fault = site.fault(Code::Contradiction, site.key(&["joint-batches"]), message);
    let fault = fault.label("one batch of both domains");
    let fault = fault.note(site.sources, site.key(&["specific"]), "layers of each domain's own");
    Some(fault.help("leave out `joint-batches` or `specific`"))
}

/// A method that has no two batches at once cannot send them as one.
fn joint_for_nothing(site: &Site<'_>, adapt: &Adapt) -> Option<Fault> {
    if !adapt.joint_batches || adapt.method.compares_batches() {
        return None;
    }
    let message = format!(
        "`joint-batches` sends both domains as one batch, and `{}` sends each by itself",
        adapt.method.name()
    );
    let fault = site.fault(Code::Contradiction, site.key(&["joint-batches"]), &message);
    let fault = fault.label("does nothing here");
    let fault = fault.note(site.sources, site.choice(&["method"]), "the method");
    Some(fault.help("leave out `joint-batches`"))
}

/// A method that does not learn the source's labels has no loss on them.
fn loss_for_nothing(site: &Site<'_>, adapt: &Adapt) -> Option<Fault> {
    if adapt.method.has_task_loss() || !site.is_stated(&["loss"]) {
        return None;
    }
    let message = format!(
        "`loss` is that on the source's labels, and `{}` does not learn them",
        adapt.method.name()
    );
    let fault = site.fault(Code::Contradiction, site.choice(&["loss"]), &message);
    let fault = fault.label("does nothing here");
    let fault = fault.note(site.sources, site.choice(&["method"]), "the method");
    Some(fault.help("leave out `loss`, and set it in the stage that learns the source's labels"))
}

/// Numbers of words are no quantities.
fn perturbed_words(site: &Site<'_>, adapt: &Adapt) -> Option<Fault> {
    adapt.method.perturbation()?;
    let Content::Texts(_) = adapt.target.content() else { return None };
    let message = format!(
        "`{}` perturbs the target's examples, and numbers of words cannot be",
        adapt.method.name()
    );
    let fault = site.fault(Code::Contradiction, site.choice(&["method"]), &message);
    let fault = fault.label("adds noise to its examples");
    let fault = fault.note(site.sources, site.choice(&["target"]), "numbers of words");
    Some(fault.help("choose another method, such as `mcc`, or data that counts words"))
}

/// A method that works by batch-norm needs one.
pub(super) fn batch_norm(site: &Site<'_>, adapt: &Adapt, from: Option<&Network>) -> Option<Fault> {
    let network = from.filter(|network| !network.is_program())?;
    let has_norm = network.nodes.iter().any(|node| matches!(node.op, Op::BatchNorm(_)));
    if !adapt.method.needs_batch_norm() || has_norm {
        return None;
    }
    let method = adapt.method.name();
    let message = format!("`{method}` works by batch-norm, and the network has none");
    let fault = site.fault(Code::Contradiction, site.choice(&["method"]), &message);
    let fault = fault.label("has nothing to adapt");
    let fault = fault.note(site.sources, site.value(&["from"]), "no `batch-norm` in its network");
    Some(fault.help("give the network `batch-norm` layers, or choose another method"))
}

/// `select` is what `keep = "best"` goes by, and nothing else does.
fn nothing_to_select(site: &Site<'_>, adapt: &Adapt) -> Option<Fault> {
    if !site.is_stated(&["select"]) || adapt.keep == Keep::Best {
        return None;
    }
    let message = "`select` says what `keep = \"best\"` goes by, and another epoch is kept";
    let fault = site.fault(Code::Contradiction, site.key(&["select"]), message);
    let fault = if site.is_stated(&["keep"]) {
        fault.note(site.sources, site.value(&["keep"]), "does not go by it")
    } else {
        fault.label("the last epoch is kept")
    };
    Some(fault.help("set `keep = \"best\"`, or leave `select` out"))
}

/// A score that the method itself drives up says how far it has driven it, and not how good the network is.
fn optimised(site: &Site<'_>, adapt: &Adapt) -> Option<Fault> {
    if !adapt.method.optimises(adapt.select) {
        return None;
    }
    let (method, validator) = (adapt.method.name(), adapt.select.name());
    let message = format!("`{method}` drives `{validator}` up itself");
    let fault = site.fault(Code::Contradiction, site.value(&["select"]), &message);
    let fault = fault.label("tells how long it trained, not how good it is");
    let fault = fault.note(site.sources, site.choice(&["method"]), "the method");
    let honest = Validator::ALL.into_iter().filter(|other| !adapt.method.optimises(*other));
    let honest = list(honest.map(Validator::name));
    Some(fault.help(format!("choose what the method does not optimise: {honest}")))
}

/// Source, target and network tell the same classes apart.
pub(super) fn classes(
    site: &Site<'_>,
    adapt: &Adapt,
    from: Option<&Network>,
    faults: &mut Vec<Fault>,
) {
    let (source, target) = (&adapt.source, &adapt.target);
    if source.classes() != target.classes() {
        let message = format!(
            "`{}` has {} classes and `{}` has {}; adaptation needs the same classes in both",
            source.name(),
            source.classes(),
            target.name(),
            target.classes()
        );
        let fault = site.fault(Code::Classes, site.choice(&["target"]), &message);
        let fault = fault.label(format!("{} classes", target.classes()));
        let note = format!("{} classes", source.classes());
        let fault = fault.note(site.sources, site.choice(&["source"]), note);
        faults.push(fault.help(with_classes("a target", source.classes())));
    }
    let Some(classes) = from.and_then(|from| from.classes().ok()) else { return };
    if classes != source.classes() {
        let message = format!(
            "the network tells {classes} classes apart, and `{}` has {}",
            source.name(),
            source.classes()
        );
        let fault = site.fault(Code::Classes, site.choice(&["source"]), &message);
        let fault = fault.label(format!("{} classes", source.classes()));
        let fault = fault.note(site.sources, site.value(&["from"]), format!("{classes} classes"));
        faults.push(fault.help(format!(
            "finetune it on `{}` first (`finetune` replaces the last layer), and adapt that stage",
            source.name()
        )));
    }
}
