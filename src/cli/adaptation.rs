//! `graftwork table --adaptation`.

use indexmap::IndexMap;
use serde::Deserialize as _;

use super::table::Format;
use super::{Context, Outcome, show};
use crate::experiment::label;
use crate::experiment::spec::{Adapt, Data, Keep, StageKind};
use crate::ledger::{AttemptId, Ledger, StageRecord, TrialResult};
use crate::table::adaptation::{Role, Run, compare};

/// Shows what the adaptations of the experiment's last run gained.
pub(super) fn run(experiment: &str, format: Format, context: &Context) -> anyhow::Result<Outcome> {
    let ledger = show::ledger(context)?;
    let experiment = show::experiment_name(experiment)?;
    let last = show::last_run(&ledger, &experiment)?;
    anyhow::ensure!(
        last.trials.iter().any(|trial| !targets(trial).is_empty()),
        "`{experiment}` has no `adapt` stage; `graftwork table {experiment}` shows what it has"
    );
    let mut runs = Vec::new();
    for trial in &last.trials {
        let targets = targets(trial);
        for (name, record) in &trial.stages {
            runs.extend(read(&ledger, trial, name, record, &targets)?);
        }
    }
    let table = compare(&experiment, &runs);
    format.write(
        |style| table.to_text(style),
        || table.to_markdown(),
        || table.to_csv(),
        || table.to_json(),
    )?;
    Ok(Outcome::Fine)
}

/// The domains that anything adapts to in a trial.
fn targets(trial: &TrialResult) -> Vec<String> {
    let records = trial.stages.values();
    records.filter_map(|record| Some(adapt(record)?.target.domain())).collect()
}

/// The settings of an adapt stage. Those that a recipe leaves out, as it has them in its own way, are of no
/// interest here.
fn adapt(record: &StageRecord) -> Option<Adapt> {
    let recipe = record.recipe.as_ref().filter(|recipe| recipe.kind == StageKind::Adapt)?;
    let mut spec = (*recipe.spec).clone();
    spec.as_object_mut()?.insert("from".to_owned(), "".into());
    Adapt::deserialize(spec).ok()
}

/// The domain on whose labels a stage trains.
fn trained_on(record: &StageRecord) -> Option<String> {
    let recipe = record.recipe.as_ref()?;
    if !matches!(recipe.kind, StageKind::Pretrain | StageKind::Finetune) {
        return None;
    }
    Some(Data::deserialize(recipe.spec.get("data")?).ok()?.domain())
}

/// A stage as the table takes it; none that neither adapts nor trains on a target's labels.
fn read(
    ledger: &Ledger,
    trial: &TrialResult,
    name: &str,
    record: &StageRecord,
    targets: &[String],
) -> anyhow::Result<Option<Run>> {
    let values = Values { ledger, attempt: record.good };
    let (target, role) = if let Some(adapt) = adapt(record) {
        let source = adapt.source.domain();
        let role = Role::Adapts {
            method: adapt.method.name().to_owned(),
            source_accuracy: values.accuracy(&source)?,
            source,
            chosen_by: chosen_by(&adapt),
            network: network(record),
            data: format!("{:?} {:?}", adapt.source, adapt.target),
        };
        (adapt.target.domain(), role)
    } else {
        let Some(domain) = trained_on(record).filter(|domain| targets.contains(domain)) else {
            return Ok(None);
        };
        (domain, Role::Bound)
    };
    let settings = trial.settings.iter().map(|(axis, value)| (axis.clone(), label(value)));
    Ok(Some(Run {
        settings: settings.collect::<IndexMap<_, _>>(),
        stage: name.to_owned(),
        seed: trial.seed,
        key: record.key.to_string(),
        role,
        target_accuracy: values.accuracy(&target)?,
        examples: values.last(&format!("{target}:test/examples"))?,
        seconds: values.sum("epoch-seconds")?,
        trained: values.last("trained-params")?,
        target,
    }))
}

/// The key of the network that a stage starts from.
fn network(record: &StageRecord) -> String {
    let inputs = record.recipe.iter().flat_map(|recipe| recipe.inputs.values());
    inputs.map(ToString::to_string).collect()
}

fn chosen_by(adapt: &Adapt) -> String {
    match adapt.keep {
        Keep::Last => "last epoch".to_owned(),
        Keep::Best => adapt.select.name().to_owned(),
        Keep::LowestLoss => "source-loss".to_owned(),
    }
}

/// What an attempt measured, if it ended well.
struct Values<'a> {
    ledger: &'a Ledger,
    attempt: Option<AttemptId>,
}

impl Values<'_> {
    fn series(&self, metric: &str) -> anyhow::Result<Vec<(u64, f64)>> {
        let Some(attempt) = self.attempt else { return Ok(Vec::new()) };
        Ok(self.ledger.series(attempt, metric)?)
    }

    fn accuracy(&self, domain: &str) -> anyhow::Result<Option<f64>> {
        self.last(&format!("{domain}:test/accuracy"))
    }

    fn last(&self, metric: &str) -> anyhow::Result<Option<f64>> {
        Ok(self.series(metric)?.last().map(|(_, value)| *value))
    }

    fn sum(&self, metric: &str) -> anyhow::Result<Option<f64>> {
        let series = self.series(metric)?;
        Ok((!series.is_empty()).then(|| series.iter().map(|(_, value)| value).sum()))
    }
}
