//! `graftwork table --claims`.

use std::collections::HashMap;

use anyhow::Context as _;
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::prepare::Prepared;
use super::table::{Format, trials};
use super::{Context, Outcome, show};
use crate::experiment::spec::{self, Comparison};
use crate::ledger::{AttemptId, Ledger};
use crate::table::Trial;
use crate::table::claims::{Claim, Claims, Results, select};

/// The claims of an experiment's file, as the ledger keeps them.
pub(super) fn written(prepared: &Prepared) -> Vec<Value> {
    prepared.checked.experiment.claim.iter().map(|claim| json!(claim)).collect()
}

/// Shows what became of the claims that the experiment's last run had.
pub(super) fn run(experiment: &str, format: Format, context: &Context) -> anyhow::Result<Outcome> {
    let ledger = show::ledger(context)?;
    let experiment = show::experiment_name(experiment)?;
    let last = show::last_run(&ledger, &experiment)?;
    let (trials, makers) = trials(&ledger, &last.trials)?;
    let claims = judged(&ledger, &experiment, &trials, &makers)?;
    anyhow::ensure!(
        !claims.claims.is_empty(),
        "the last run of `{experiment}` had no claims; write `[[claim]]` into its file and run it again: what is cached stays"
    );
    format.write(
        |style| claims.to_text(style),
        || claims.to_markdown(),
        || claims.to_csv(),
        || claims.to_json(),
    )?;
    Ok(Outcome::Fine)
}

/// The claims of the last run of an experiment, judged by its results.
pub(super) fn judged(
    ledger: &Ledger,
    experiment: &str,
    trials: &[Trial],
    makers: &HashMap<String, AttemptId>,
) -> anyhow::Result<Claims> {
    let claims = claims(ledger, experiment)?;
    let selection = select(experiment, trials, &claims);
    let mut series = HashMap::new();
    let mut made = HashMap::new();
    for (key, metric) in selection.wanted() {
        let Some(&maker) = makers.get(key) else { continue };
        series.insert((key.to_owned(), metric.to_owned()), ledger.series(maker, metric)?);
        made.insert(key.to_owned(), ledger.ended(maker)?);
    }
    Ok(selection.judge(&series, &|key| made.get(key).copied().flatten()))
}

/// The claims of the last run, as the table takes them.
fn claims(ledger: &Ledger, experiment: &str) -> anyhow::Result<Vec<Claim>> {
    let claim = |(claim, since): (Value, i64)| {
        let stated = spec::Claim::deserialize(&claim).with_context(|| {
            format!(
                "another version of graftwork recorded the claim {claim}; run the experiment again"
            )
        })?;
        Ok(to_table(stated, since))
    };
    ledger.claims(experiment)?.into_iter().map(claim).collect()
}

fn to_table(stated: spec::Claim, since_ms: i64) -> Claim {
    let results = |results: spec::Results| Results { stage: results.stage, at: results.at };
    Claim {
        bounds: stated.bounds(),
        says: stated.says,
        source: stated.source,
        metric: stated.metric,
        of: results(stated.of),
        than: stated.than.map(results),
        is_ratio: stated.by == Comparison::Ratio,
        reported: stated.reported,
        since_ms,
    }
}
