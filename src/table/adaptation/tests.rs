use super::super::text::Style;
use super::*;

/// A run of an experiment whose sweep has the axes `task` and `method`.
fn run(task: &str, label: &str, method: &str, seed: u64, accuracy: f64) -> Run {
    let settings = [("task", task), ("method", label)];
    let settings = settings.map(|(axis, label)| (axis.to_owned(), label.to_owned()));
    let (source, target) = if task == "there" { ("mnist", "usps") } else { ("usps", "mnist") };
    Run {
        settings: settings.into_iter().collect(),
        stage: "moved".to_owned(),
        seed,
        key: format!("{task} {label} {seed}"),
        role: Role::Adapts {
            method: method.to_owned(),
            source: source.to_owned(),
            source_accuracy: Some(0.95),
            chosen_by: "last epoch".to_owned(),
            network: "start".to_owned(),
            data: "plain".to_owned(),
        },
        target: target.to_owned(),
        target_accuracy: Some(accuracy),
        examples: Some(2007.0),
        seconds: Some(7.0),
        trained: Some(1000.0),
    }
}

/// The bound of that trial: all methods share it.
fn oracle(task: &str, label: &str, seed: u64, accuracy: f64) -> Run {
    let run = run(task, label, "", seed, accuracy);
    // What trains on labels does not count the examples of its test split.
    Run {
        stage: "oracle".to_owned(),
        key: format!("{task} oracle {seed}"),
        role: Role::Bound,
        examples: None,
        ..run
    }
}

/// Two methods and the control, two seeds: control 70 and 74 %, MCC 90 and 92 %, bound 95 and 97 %.
fn runs() -> Vec<Run> {
    let mut runs = Vec::new();
    for (seed, of_seed) in [(0, [0.70, 0.90, 0.69, 0.95]), (1, [0.74, 0.92, 0.70, 0.97])] {
        let [control, mcc, dann, bound] = of_seed;
        runs.push(run("there", "source-only", "source-only", seed, control));
        runs.push(run("there", "MCC", "mcc", seed, mcc));
        runs.push(run("there", "DANN", "dann", seed, dann));
        for label in ["source-only", "MCC", "DANN"] {
            runs.push(oracle("there", label, seed, bound));
        }
    }
    runs
}

fn row<'a>(table: &'a Adaptations, label: &str) -> &'a Row {
    let is_it = |row: &&Row| row.settings.get("method").is_some_and(|own| own == label);
    table.rows.iter().find(is_it).unwrap()
}

#[track_caller]
fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
}

#[test]
fn gains_are_paired_and_gaps_are_of_means() {
    let table = compare("digits", &runs());
    let mcc = row(&table, "MCC");
    // Differences .20 and .18: mean .19, deviation .01·√2. Gap (.91 − .72) / (.96 − .72).
    let gain = mcc.gain.unwrap();
    close(gain.mean, 0.19);
    close(gain.deviation.unwrap(), 0.01 * 2f64.sqrt());
    let Gap::Closed(share) = mcc.gap else { panic!("{:?}", mcc.gap) };
    close(share, 0.19 / 0.24);
    close(mcc.half_width.unwrap(), 1.96 * (0.91f64 * 0.09 / 2007.0).sqrt());
    // Differences −.01 and −.04: negative transfer stays negative.
    let dann = row(&table, "DANN");
    close(dann.gain.unwrap().mean, -0.025);
    assert!(matches!(dann.gap, Gap::Closed(share) if share < 0.0), "{:?}", dann.gap);
    let control = row(&table, "source-only");
    assert_eq!((control.gain, control.gap), (None, Gap::Unknown));
}

#[test]
fn a_bound_that_all_methods_share_is_one_row() {
    let table = compare("digits", &runs());
    let bounds: Vec<&Row> = table.rows.iter().filter(|row| row.method.is_none()).collect();
    let [bound] = bounds[..] else { panic!("{bounds:?}") };
    let accuracy = bound.target_accuracy.unwrap();
    assert_eq!((accuracy.n, bound.chosen_by.as_str()), (2, "target labels"));
    close(accuracy.mean, 0.96);
    assert_eq!(bound.settings.get("method"), None);
}

#[test]
fn a_gap_of_less_than_two_points_has_no_share() {
    let mut runs = runs();
    for run in runs.iter_mut().filter(|run| run.role == Role::Bound) {
        run.target_accuracy = Some(0.739);
    }
    assert_eq!(row(&compare("digits", &runs), "MCC").gap, Gap::TooSmall);
}

#[test]
fn the_control_is_of_the_same_domains_and_the_nearest_settings() {
    let mut runs = runs();
    runs.insert(0, run("back", "source-only", "source-only", 0, 0.1));
    // Another control between the same domains, which differs in more.
    let mut far = run("there", "source-only", "source-only", 0, 0.2);
    far.settings.insert("task".to_owned(), "elsewhere".to_owned());
    far.key = "far".to_owned();
    runs.insert(0, far);
    close(row(&compare("digits", &runs), "MCC").gain.unwrap().mean, 0.19);
}

#[test]
fn a_control_on_the_same_data_comes_before_one_of_the_same_network_and_that_before_equal_settings()
{
    let elsewhere =
        |method: &str, stage: &str, [own_network, own_data]: [&str; 2], accuracy: f64| {
            let mut run = run("there", "source-only", method, 0, accuracy);
            run.stage = stage.to_owned();
            run.key = stage.to_owned();
            if let Role::Adapts { network, data, .. } = &mut run.role {
                own_network.clone_into(network);
                own_data.clone_into(data);
            }
            run
        };
    let mut runs = runs();
    runs.extend([
        elsewhere("mcc", "augmented-mcc", ["augmented", "affine"], 0.93),
        elsewhere("shot", "later-shot", ["trained", "plain"], 0.81),
        elsewhere(CONTROL, "augmented-source", ["augmented", "affine"], 0.85),
        elsewhere(CONTROL, "elsewhere-source", ["trained", "affine"], 0.1),
    ]);
    let table = compare("digits", &runs);
    let gain = |stage: &str| {
        let row = table.rows.iter().find(|row| row.stage == stage).unwrap();
        row.gain.unwrap().mean
    };
    close(gain("augmented-mcc"), 0.08);
    // On the plain data there is the first control alone, whose accuracy with this seed is .70.
    close(gain("later-shot"), 0.11);
}

#[test]
fn without_control_or_bound_a_reader_is_told() {
    let runs: Vec<Run> = vec![run("there", "MCC", "mcc", 0, 0.9)];
    let table = compare("digits", &runs);
    assert_eq!((table.rows[0].gain, table.rows[0].gap), (None, Gap::Unknown));
    assert!(
        matches!(&table.notes[..], [note] if note.contains("`source-only`")),
        "{:?}",
        table.notes
    );
    let control = run("there", "source-only", "source-only", 0, 0.7);
    let table = compare("digits", &[runs[0].clone(), control]);
    assert!(
        matches!(&table.notes[..], [note] if note.contains("target's labels")),
        "{:?}",
        table.notes
    );
}

#[test]
fn a_value_that_is_not_there_counts_as_missing() {
    let mut runs = runs();
    runs[1].target_accuracy = None;
    let table = compare("digits", &runs);
    let mcc = row(&table, "MCC");
    assert_eq!(mcc.missing, [0]);
    close(mcc.gain.unwrap().mean, 0.18);
    let Gap::Closed(share) = mcc.gap else { panic!("{:?}", mcc.gap) };
    // Of the second seed alone.
    close(share, 0.18 / 0.23);
    let text = table.to_text(Style { width: None, bold: false });
    assert_eq!(text.matches("(n=1)").count(), 1, "{text}");
    assert!(table.notes.contains(&"1 value is not measured yet".to_owned()), "{:?}", table.notes);
}

#[test]
fn the_table_as_text() {
    let text = compare("digits", &runs()).to_text(Style { width: None, bold: false });
    expect_test::expect![[r#"
        digits: adaptation; accuracy on the test splits, %
        mean ± standard deviation, n = 2 (seeds 0, 1)

         method        chosen by             source       target   gain          gap     95 %      n   s   trained
        ───────────────────────────────────────────────────────────────────────────────────────────────────────────
         source-only   last epoch      95.00 ± 0.00   72.0 ± 2.8                          2.0   2007   7      1000
         MCC           last epoch      95.00 ± 0.00   91.0 ± 1.4   +19.0 ± 1.4   79 %     1.3   2007   7      1000
         DANN          last epoch      95.00 ± 0.00   69.5 ± 0.7   −2.5 ± 2.1    −10 %    2.0   2007   7      1000
         oracle        target labels                  96.0 ± 1.4                          0.9   2007   7      1000

        gain: over source-only, paired by seed; gap: its share of what training on the target's labels gains, n/a below 2 points
        95 %: half the interval that the number of test examples leaves an accuracy, over and above the seeds' deviation
    "#]].assert_eq(&text);
}

#[test]
fn the_table_for_programs_has_fractions() {
    let table = compare("digits", &runs());
    expect_test::expect![[r#"
        method,stage,adaptation,source,target,chosen_by,n,source_mean,source_std,target_mean,target_std,gain_mean,gain_std,gap_closed,half_width,test_examples,seconds,trained_params
        source-only,moved,source-only,mnist,usps,last epoch,2,0.95,0,0.72,0.028284271247461926,,,,0.019643897031469078,2007,7,1000
        MCC,moved,mcc,mnist,usps,last epoch,2,0.95,0,0.91,0.014142135623730963,0.19000000000000006,0.014142135623730963,0.791666666666667,0.012520576785808523,2007,7,1000
        DANN,moved,dann,mnist,usps,last epoch,2,0.95,0,0.695,0.007071067811865481,-0.025000000000000022,0.021213203435596444,-0.10416666666666677,0.020143025711227915,2007,7,1000
        ,oracle,,,usps,target labels,2,,,0.96,0.014142135623730963,,,,0.008573299532440515,2007,7,1000
    "#]].assert_eq(&table.to_csv());
    let json = table.to_json();
    let rows = json["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    close(rows[1]["gain"]["mean"].as_f64().unwrap(), 0.19);
    assert_eq!(rows[3]["method"], serde_json::Value::Null);
}
