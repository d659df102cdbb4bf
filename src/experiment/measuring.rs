//! What settings of the stages that measure contradict each other: `sensitivity`, and `evaluate` with
//! `latency`.

use super::check::Name;
use super::fault::{Code, Fault};
use super::networks::{Input, Site};
use super::spec::{Criterion, Sensitivity};
use crate::network::{Extents, Network};

/// A criterion of one layer alone: of single weights, without training.
pub(super) fn criterion(site: &Site<'_>, stage: &Sensitivity) -> Option<Fault> {
    let name = stage.criterion.name();
    let (message, label) = match stage.criterion {
        Criterion::MaxEntropy(_) | Criterion::Slimming(_) => (
            format!(
                "`{name}` removes whole units, which reach into other layers; `sensitivity` prunes one layer alone"
            ),
            "of units",
        ),
        Criterion::SparseOpt(_) | Criterion::Movement(_) => (
            format!("`{name}` trains all layers, and `sensitivity` prunes one layer alone"),
            "trains",
        ),
        Criterion::Magnitude(_)
        | Criterion::Random(_)
        | Criterion::Taylor(_)
        | Criterion::Snip(_)
        | Criterion::Grasp(_)
        | Criterion::Synflow(_)
        | Criterion::Lamp(_)
        | Criterion::MinMse(_) => return None,
    };
    let fault = site.fault(Code::Contradiction, site.choice(&["criterion"]), &message);
    Some(fault.label(label).help(
        "choose a criterion of weights: magnitude, lamp, random, taylor, snip, grasp, synflow, min-mse",
    ))
}

/// Two networks whose latency is compared take the same input.
pub(super) fn beside(
    site: &Site<'_>,
    input: Option<&Input<'_>>,
    from: Option<&Network>,
) -> Option<Fault> {
    let (input, from) = (input?, from?);
    let (theirs, ours) = (input.network.as_deref()?.input_shape(), from.input_shape());
    if theirs == ours {
        return None;
    }
    let Name { text, span, .. } = input.reference;
    let (theirs, ours) = (Extents(theirs), Extents(ours));
    let message = format!("`{text}` takes an input of {theirs}, and the measured network {ours}");
    let fault = site.fault(Code::Shape, *span, &message).label(format!("takes {theirs}"));
    let fault = fault.note(site.sources, site.value(&["from"]), format!("takes {ours}"));
    Some(fault.help("both are timed on the same batch: name a stage whose network takes it"))
}

/// What is chosen by a sensitivity is chosen on the validation split.
pub(super) fn sensitivity_split(site: &Site<'_>, stage: &Sensitivity) -> Option<Fault> {
    if stage.data.batching().val_fraction > 0.0 {
        return None;
    }
    let name = stage.data.name();
    let place = site.key(&["data", name, "val-fraction"]);
    let message = format!("`sensitivity` needs a validation split, and `{name}` has none");
    let fault = site.fault(Code::NoValidation, place, &message);
    let fault = fault.label("leaves no validation split");
    Some(fault.help(format!(
        "set `data.{name}.val-fraction` above 0 (0.1 is the default); what is chosen by a sensitivity may not be chosen on test data"
    )))
}
