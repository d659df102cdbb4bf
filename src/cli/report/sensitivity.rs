//! `graftwork report sensitivity`.

use super::super::{Context, Outcome, show};
use super::Selection;
use crate::experiment::spec::StageKind;
use crate::table::report::sensitivity::Report;

pub(super) fn run(selection: &Selection, context: &Context) -> anyhow::Result<Outcome> {
    let mut found = selection.read(StageKind::Sensitivity, context)?;
    let report = Report::new(std::mem::take(&mut found.variants));
    let stage = &selection.stage;
    if context.json {
        show::write_json(&found.json(stage, report.json()))?;
    } else {
        show::write(&(found.heading(stage) + &report.text(show::style())))?;
    }
    found.tell_missing();
    Ok(Outcome::Fine)
}
