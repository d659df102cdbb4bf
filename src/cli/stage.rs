//! Which stage is meant by a name or the first digits of a key.

use super::show;
use crate::ledger::{Ledger, StageState};
use crate::recipe::StageKey;
use crate::table;

/// The stage that is meant: a name in an experiment, or the beginning of a key.
pub(super) fn find(
    ledger: &Ledger,
    stage: &str,
    experiment: Option<&str>,
) -> anyhow::Result<StageKey> {
    let is_named = experiment.is_some();
    let experiment = match experiment {
        Some(named) => Some(show::experiment_name(named)?),
        None => ledger.experiments()?.into_iter().next(),
    };
    let last = experiment.as_deref().map(|name| show::last_run(ledger, name)).transpose();
    // Without an experiment of its own, a key is enough.
    let last = if is_named { last? } else { last.unwrap_or(None) };
    let nodes = last.as_ref().map(show::nodes).unwrap_or_default();
    let named: Vec<&show::Node> = nodes.iter().filter(|node| node.stage == stage).collect();
    let experiment = experiment.unwrap_or_default();
    match named.as_slice() {
        [] => {}
        [node] => return Ok(node.record.key),
        several => {
            let failed = |node: &&&show::Node| {
                matches!(node.record.state, StageState::Failed { .. } | StageState::Lost)
            };
            let failed: Vec<_> = several.iter().filter(failed).collect();
            if let [node] = failed.as_slice() {
                eprintln!("the only one of {} `{}` that failed:", several.len(), stage);
                return Ok(node.record.key);
            }
            let rows = several.iter().map(|node| {
                let state = node.record.state.as_str().to_owned();
                vec![node.record.key.short(), node.title(), node.seeds(), state]
            });
            let rows: Vec<Vec<String>> = rows.collect();
            let list =
                table::grid(&["key", "settings", "seeds", "state"], &rows, table::Style::default());
            anyhow::bail!(
                "{experiment} has {} results of `{}`; name one by the first digits of its key:\n\n{list}",
                several.len(),
                stage,
                list = list.trim_end(),
            );
        }
    }
    let prefix = stage.to_ascii_lowercase();
    let is_prefix =
        (1..=64).contains(&prefix.len()) && prefix.bytes().all(|digit| digit.is_ascii_hexdigit());
    let keys = if is_prefix { ledger.keys(&prefix)? } else { Vec::new() };
    match keys.as_slice() {
        [key] => Ok(*key),
        [] => {
            let mut names: Vec<&str> = nodes.iter().map(|node| node.stage).collect();
            names.dedup();
            anyhow::bail!(
                "`{}` is neither a stage of {experiment} nor the beginning of a key; its stages are: {}",
                stage,
                names.join(", ")
            )
        }
        several => {
            let mut rows = Vec::new();
            for key in several {
                let names = ledger.names(key)?;
                let names = names.iter().map(|(experiment, stage)| format!("{experiment} {stage}"));
                rows.push(vec![key.to_string(), names.collect::<Vec<_>>().join(", ")]);
            }
            let list = table::grid(&["key", "stage"], &rows, table::Style::default());
            anyhow::bail!(
                "{} keys begin with `{prefix}`; add digits:\n\n{}",
                several.len(),
                list.trim_end()
            )
        }
    }
}
