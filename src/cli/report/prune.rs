//! `graftwork report prune`.

use super::super::{Context, Outcome, show};
use super::Selection;
use crate::experiment::spec::StageKind;
use crate::table::report::prune::Report;

pub(super) fn run(selection: &Selection, context: &Context) -> anyhow::Result<Outcome> {
    let mut found = selection.read(StageKind::Prune, context)?;
    let report = Report::new(std::mem::take(&mut found.variants));
    let stage = &selection.stage;
    if context.json {
        show::write_json(&found.json(stage, report.json()))?;
    } else {
        show::write(&(found.heading(stage) + &report.text(show::style())))?;
    }
    found.tell_missing();
    if report.lacks_values() {
        eprintln!(
            "a result was made before all of this was measured; `{} --force {stage}` makes it again",
            found.command
        );
    }
    Ok(Outcome::Fine)
}
