//! Tables from made-up trials.

use expect_test::{Expect, expect};
use serde_json::json;

use super::*;

/// Test accuracies by criterion, sparsity and seed.
type Values<'a> = &'a [(&'a str, f64, &'a [(u64, f64)])];

const STUDY: Values = &[
    ("magnitude", 0.5, &[(0, 0.98), (1, 0.97), (2, 0.96)]),
    ("magnitude", 0.9, &[(0, 0.90), (1, 0.80), (2, 0.70)]),
    ("random", 0.5, &[(0, 0.96), (1, 0.96), (2, 0.93)]),
    ("random", 0.9, &[(0, 0.50), (1, 0.45), (2, 0.40)]),
];

fn stage(key: &str, inputs: &[&str], accuracy: bool) -> Stage {
    let metrics: &[&str] =
        if accuracy { &["mnist:test/accuracy", "train/loss"] } else { &["sparsity"] };
    Stage {
        key: key.to_owned(),
        inputs: inputs.iter().map(|&input| input.to_owned()).collect(),
        dataset: Some("mnist".to_owned()),
        state: State::Measured,
        metrics: metrics.iter().map(|&metric| metric.to_owned()).collect(),
    }
}

/// `dense → thin → tuned`, `dense` shared by all that have its seed.
fn trials(values: Values) -> Vec<Trial> {
    let coordinate = |label: String, value| Coordinate { label, value };
    let mut trials = Vec::new();
    for (criterion, sparsity, seeds) in values {
        for (seed, _) in *seeds {
            let (dense, thin) = (format!("d{seed}"), format!("t-{criterion}-{sparsity}-{seed}"));
            let tuned = format!("u-{criterion}-{sparsity}-{seed}");
            let mut choice = serde_json::Map::new();
            choice.insert((*criterion).to_owned(), json!({}));
            trials.push(Trial {
                settings: IndexMap::from([
                    (
                        "thin.criterion".to_owned(),
                        coordinate((*criterion).to_owned(), choice.into()),
                    ),
                    ("thin.sparsity".to_owned(), coordinate(sparsity.to_string(), json!(sparsity))),
                ]),
                seed: *seed,
                stages: IndexMap::from([
                    ("dense".to_owned(), stage(&dense, &[], true)),
                    ("thin".to_owned(), stage(&thin, &[&dense], false)),
                    ("tuned".to_owned(), stage(&tuned, &[&thin], true)),
                ]),
            });
        }
    }
    trials
}

fn series(values: Values) -> std::collections::HashMap<(String, String), Vec<(u64, f64)>> {
    let mut series = std::collections::HashMap::new();
    for (criterion, sparsity, seeds) in values {
        for (seed, value) in *seeds {
            let key = format!("u-{criterion}-{sparsity}-{seed}");
            let metric = "mnist:test/accuracy".to_owned();
            series.insert((key, metric), vec![(1, value / 2.0), (2, *value)]);
            series.insert(
                (format!("u-{criterion}-{sparsity}-{seed}"), "train/loss".to_owned()),
                vec![(1, 1.0 - value)],
            );
            let dense = (format!("d{seed}"), "mnist:test/accuracy".to_owned());
            series.insert(dense, vec![(1, 0.99 - 0.01 * *seed as f64)]);
            let thin = (format!("t-{criterion}-{sparsity}-{seed}"), "sparsity".to_owned());
            series.insert(thin, vec![(0, *sparsity)]);
        }
    }
    series
}

fn request() -> Request {
    Request { experiment: "digits".to_owned(), ..Request::default() }
}

fn table(trials: &[Trial], values: Values, request: &Request) -> Table {
    select(trials, request).unwrap().fill(&series(values))
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[track_caller]
fn check(request: &Request, expect: &Expect) {
    let table = table(&trials(STUDY), STUDY, request);
    expect.assert_eq(&table.to_text(Style::default()));
}

#[track_caller]
fn check_error(request: &Request, expect: &Expect) {
    expect.assert_eq(&select(&trials(STUDY), request).unwrap_err().to_string());
}

#[test]
fn the_last_axis_is_columns_and_the_best_of_a_column_is_marked() {
    check(
        &request(),
        &expect![[r#"
            digits: mnist:test/accuracy, %; stage `tuned`
            mean ± standard deviation, n = 3 (seeds 0, 1, 2)

             criterion   sparsity 0.5   sparsity 0.9
            ─────────────────────────────────────────
             magnitude    97.0 ± 1.0*   80.0 ± 10.0*
             random       95.0 ± 1.7     45.0 ± 5.0

            * best in its column
        "#]],
    );
}

#[test]
fn a_cell_is_the_mean_and_the_sample_deviation() {
    let table = table(&trials(STUDY), STUDY, &request());
    let cell = table.cells[0][1].as_ref().unwrap();
    let summary = cell.summary.unwrap();
    assert!((summary.mean - 0.8).abs() < 1e-12);
    assert!((summary.deviation.unwrap() - 0.1).abs() < 1e-12);
    assert_eq!(summary.n, 3);
    assert!(cell.best);
    assert_eq!(cell.readings[2].key, "u-magnitude-0.9-2");
}

#[test]
fn differences_are_paired_by_seed() {
    // random − magnitude at 0.5: −0.02, −0.01, −0.03; at 0.9: −0.40, −0.35, −0.30.
    let request = Request { baseline: Some("magnitude".to_owned()), ..request() };
    let table = table(&trials(STUDY), STUDY, &request);
    let delta = |row: usize, col: usize| table.cells[row][col].as_ref().unwrap().delta.clone();
    assert_eq!(delta(0, 0), None, "the baseline has no difference to itself");
    for (col, mean, deviation) in [(0, -0.02, 0.01), (1, -0.35, 0.05)] {
        let summary = delta(1, col).unwrap().summary;
        assert!((summary.mean - mean).abs() < 1e-12);
        assert!((summary.deviation.unwrap() - deviation).abs() < 1e-12);
    }
    check(
        &request,
        &expect![[r#"
            digits: mnist:test/accuracy, %; stage `tuned`
            mean ± standard deviation, n = 3 (seeds 0, 1, 2)
            Δ: difference to thin.criterion = magnitude, paired by seed

             criterion    sparsity 0.5     sparsity 0.9
            ────────────────────────────────────────────
             magnitude     97.0 ± 1.0*     80.0 ± 10.0*
             random        95.0 ± 1.7       45.0 ± 5.0
                         Δ −2.0 ± 1.0    Δ −35.0 ± 5.0

            * best in its column
        "#]],
    );
}

#[test]
fn markdown_csv_and_json_hold_the_same_cells() {
    let request = Request { baseline: Some("magnitude".to_owned()), ..request() };
    let few = &STUDY[1..4];
    let table = table(&trials(few), few, &request);
    expect![[r#"
        digits: mnist:test/accuracy, %; stage `tuned`  
        mean ± standard deviation, n = 3 (seeds 0, 1, 2)  
        Δ: difference to thin.criterion = magnitude, paired by seed

        | criterion | sparsity 0.9 | sparsity 0.5 |
        | --- | ---: | ---: |
        | magnitude | **80.0 ± 10.0** | – |
        | random | 45.0 ± 5.0 (Δ −35.0 ± 5.0) | 95.0 ± 1.7 |
    "#]]
    .assert_eq(&table.to_markdown());
    expect![[r#"
        thin.criterion,thin.sparsity,stage,metric,n,mean,std,delta_n,delta_mean,delta_std,best,seeds,missing_seeds,keys
        magnitude,0.9,tuned,mnist:test/accuracy,3,0.8000000000000002,0.10000000000000003,0,,,true,0 1 2,,u-magnitude-0.9-0 u-magnitude-0.9-1 u-magnitude-0.9-2
        random,0.9,tuned,mnist:test/accuracy,3,0.45,0.04999999999999999,3,-0.3499999999999999,0.050000000000000044,false,0 1 2,,u-random-0.9-0 u-random-0.9-1 u-random-0.9-2
        random,0.5,tuned,mnist:test/accuracy,3,0.9500000000000001,0.017320508075688724,0,,,false,0 1 2,,u-random-0.5-0 u-random-0.5-1 u-random-0.5-2
    "#]].assert_eq(&table.to_csv());
    let json = serde_json::to_string_pretty(&table.to_json()).unwrap();
    expect![[r#"
        {
          "baseline": {
            "axis": "thin.criterion",
            "label": "magnitude"
          },
          "cells": [
            {
              "at": {
                "thin.criterion": {
                  "magnitude": {}
                },
                "thin.sparsity": 0.9
              },
              "best": true,
              "mean": 0.8000000000000002,
              "metric": "mnist:test/accuracy",
              "missing-seeds": [],
              "n": 3,
              "readings": [
                {
                  "key": "u-magnitude-0.9-0",
                  "seeds": [
                    0
                  ],
                  "value": 0.9
                },
                {
                  "key": "u-magnitude-0.9-1",
                  "seeds": [
                    1
                  ],
                  "value": 0.8
                },
                {
                  "key": "u-magnitude-0.9-2",
                  "seeds": [
                    2
                  ],
                  "value": 0.7
                }
              ],
              "stage": "tuned",
              "std": 0.10000000000000003
            },
            {
              "at": {
                "thin.criterion": {
                  "random": {}
                },
                "thin.sparsity": 0.9
              },
              "best": false,
              "delta": {
                "mean": -0.3499999999999999,
                "n": 3,
                "std": 0.050000000000000044,
                "unpaired-seeds": []
              },
              "mean": 0.45,
              "metric": "mnist:test/accuracy",
              "missing-seeds": [],
              "n": 3,
              "readings": [
                {
                  "key": "u-random-0.9-0",
                  "seeds": [
                    0
                  ],
                  "value": 0.5
                },
                {
                  "key": "u-random-0.9-1",
                  "seeds": [
                    1
                  ],
                  "value": 0.45
                },
                {
                  "key": "u-random-0.9-2",
                  "seeds": [
                    2
                  ],
                  "value": 0.4
                }
              ],
              "stage": "tuned",
              "std": 0.04999999999999999
            },
            {
              "at": {
                "thin.criterion": {
                  "random": {}
                },
                "thin.sparsity": 0.5
              },
              "best": false,
              "mean": 0.9500000000000001,
              "metric": "mnist:test/accuracy",
              "missing-seeds": [],
              "n": 3,
              "readings": [
                {
                  "key": "u-random-0.5-0",
                  "seeds": [
                    0
                  ],
                  "value": 0.96
                },
                {
                  "key": "u-random-0.5-1",
                  "seeds": [
                    1
                  ],
                  "value": 0.96
                },
                {
                  "key": "u-random-0.5-2",
                  "seeds": [
                    2
                  ],
                  "value": 0.93
                }
              ],
              "stage": "tuned",
              "std": 0.017320508075688724
            }
          ],
          "columns": [
            "thin.sparsity"
          ],
          "experiment": "digits",
          "fixed": {},
          "metrics": [
            "mnist:test/accuracy"
          ],
          "notes": [],
          "reduce": "last",
          "rows": [
            "thin.criterion"
          ],
          "seeds": [
            0,
            1,
            2
          ],
          "stages": [
            "tuned"
          ]
        }"#]]
    .assert_eq(&json);
}

#[test]
fn a_terminal_gets_bold_letters_and_lines_that_fit() {
    let table = table(&trials(STUDY), STUDY, &request());
    let text = table.to_text(Style { width: Some(44), bold: true });
    assert!(text.contains("\u{1b}[1m80.0 ± 10.0\u{1b}[0m"), "{text:?}");
    assert!(!text.contains('*'));
    let plain = table.to_text(Style { width: Some(44), bold: false });
    assert!(!plain.contains('\u{1b}'));
}

#[test]
fn a_stage_that_no_axis_reaches_is_one_row() {
    check(
        &Request { stages: names(&["dense"]), ..request() },
        &expect![[r#"
            digits: mnist:test/accuracy, %; stage `dense`
            mean ± standard deviation, n = 3 (seeds 0, 1, 2)

             stage   mnist:test/accuracy
            ─────────────────────────────
             dense            98.0 ± 1.0

            `thin.criterion`, `thin.sparsity` do not change what is shown here
        "#]],
    );
}

#[test]
fn stages_and_metrics_are_columns_when_there_are_several() {
    check(
        &Request { stages: names(&["dense", "tuned"]), ..request() },
        &expect![[r#"
            digits: mnist:test/accuracy, %; stages `dense`, `tuned`
            mean ± standard deviation, n = 3 (seeds 0, 1, 2)

             criterion   sparsity        dense          tuned
            ──────────────────────────────────────────────────
             magnitude   0.5        98.0 ± 1.0    97.0 ± 1.0*
             magnitude   0.9        98.0 ± 1.0   80.0 ± 10.0
             random      0.5        98.0 ± 1.0    95.0 ± 1.7
             random      0.9        98.0 ± 1.0    45.0 ± 5.0

            * best in its column
        "#]],
    );
    let metrics = names(&["accuracy", "train/loss"]);
    check(
        &Request { metrics, ..request() },
        &expect![[r#"
            digits: mnist:test/accuracy, %; train/loss; stage `tuned`
            mean ± standard deviation, n = 3 (seeds 0, 1, 2)

             criterion   sparsity       accuracy       train/loss
            ──────────────────────────────────────────────────────
             magnitude   0.5         97.0 ± 1.0*   0.030 ± 0.010*
             magnitude   0.9        80.0 ± 10.0    0.200 ± 0.100
             random      0.5         95.0 ± 1.7    0.050 ± 0.017
             random      0.9         45.0 ± 5.0    0.550 ± 0.050

            * best in its column
        "#]],
    );
}

#[test]
fn axes_that_are_not_named_join_the_rows() {
    let cols = names(&["seed"]);
    check(
        &Request { cols, ..request() },
        &expect![[r#"
            digits: mnist:test/accuracy, %; stage `tuned`
            single values

             criterion   sparsity   seed 0   seed 1   seed 2
            ─────────────────────────────────────────────────
             magnitude   0.5        98.00*   97.00*   96.00*
             magnitude   0.9        90.00    80.00    70.00
             random      0.5        96.00    96.00    93.00
             random      0.9        50.00    45.00    40.00

            * best in its column
        "#]],
    );
    let rows = names(&["thin.sparsity"]);
    check(
        &Request { rows, ..request() },
        &expect![[r#"
            digits: mnist:test/accuracy, %; stage `tuned`
            mean ± standard deviation, n = 3 (seeds 0, 1, 2)

             sparsity      magnitude        random
            ───────────────────────────────────────
             0.5         97.0 ± 1.0*   95.0 ± 1.7*
             0.9        80.0 ± 10.0    45.0 ± 5.0

            * best in its column
        "#]],
    );
}

#[test]
fn a_filter_fixes_an_axis() {
    let filters = vec![("sparsity".to_owned(), "0.9".to_owned())];
    check(
        &Request { filters, ..request() },
        &expect![[r#"
            digits: mnist:test/accuracy, %; stage `tuned`; thin.sparsity = 0.9
            mean ± standard deviation, n = 3 (seeds 0, 1, 2)

             criterion   mnist:test/accuracy
            ─────────────────────────────────
             magnitude          80.0 ± 10.0*
             random              45.0 ± 5.0

            * best in its column
        "#]],
    );
}

#[test]
fn low_is_good_where_it_is_said_or_known() {
    let metrics = names(&["loss"]);
    check(
        &Request { metrics, reduce: Reduce::Best, ..request() },
        &expect![[r#"
            digits: train/loss (best over steps); stage `tuned`
            mean ± standard deviation, n = 3 (seeds 0, 1, 2)

             criterion     sparsity 0.5     sparsity 0.9
            ─────────────────────────────────────────────
             magnitude   0.030 ± 0.010*   0.200 ± 0.100*
             random      0.050 ± 0.017    0.550 ± 0.050

            * best in its column
        "#]],
    );
    let stages = names(&["thin"]);
    let metrics = names(&["sparsity"]);
    let better = Some(Direction::Lower);
    check(
        &Request { stages, metrics, better, ..request() },
        &expect![[r#"
            digits: sparsity, %; stage `thin`
            mean ± standard deviation, n = 3 (seeds 0, 1, 2)

             criterion   sparsity 0.5   sparsity 0.9
            ─────────────────────────────────────────
             magnitude   50.00 ± 0.00   90.00 ± 0.00
             random      50.00 ± 0.00   90.00 ± 0.00
        "#]],
    );
}

#[test]
fn what_is_missing_is_named() {
    let mut trials = trials(STUDY);
    // random 0.9 seed 2 fails in `thin`; random 0.5 seed 1 is not run; magnitude 0.5 seed 0 diverged.
    trials[11].stages["thin"].state = State::Failed("out of memory".to_owned());
    for trial in [11, 7] {
        trials[trial].stages["tuned"].state = State::Absent;
        trials[trial].stages["tuned"].metrics.clear();
    }
    let mut series = series(STUDY);
    let strange = ("u-magnitude-0.5-0".to_owned(), "mnist:test/accuracy".to_owned());
    series.insert(strange, vec![(1, f64::NAN)]);
    let request = Request { baseline: Some("criterion=magnitude".to_owned()), ..request() };
    let table = select(&trials, &request).unwrap().fill(&series);
    expect![[r#"
        digits: mnist:test/accuracy, %; stage `tuned`
        mean ± standard deviation, n = 3 (seeds 0, 1, 2)
        Δ: difference to thin.criterion = magnitude, paired by seed

         criterion       sparsity 0.5           sparsity 0.9
        ─────────────────────────────────────────────────────
         magnitude                NaN           80.0 ± 10.0*
         random      94.5 ± 2.1 (n=2)      47.5 ± 3.5 (n=2)
                          Δ NaN (n=2)   Δ −37.5 ± 3.5 (n=2)

        * best in its column
        no pair for seed 1 of criterion random, sparsity 0.5
        no pair for seed 2 of criterion random, sparsity 0.9
        `thin` failed (criterion random, sparsity 0.9; seed 2): out of memory
        1 of 12 values are not measured yet
        seed 0 of criterion magnitude, sparsity 0.5 is NaN
    "#]]
    .assert_eq(&table.to_text(Style::default()));
}

#[test]
fn a_checkpoint_that_seeds_share_counts_once() {
    let mut trials = trials(&STUDY[..1]);
    for trial in &mut trials {
        trial.stages["tuned"].key = "u-magnitude-0.5-0".to_owned();
    }
    let request = request();
    let table = select(&trials, &request).unwrap().fill(&series(STUDY));
    expect![[r#"
        digits: mnist:test/accuracy, %; stage `tuned`; thin.criterion = magnitude; thin.sparsity = 0.5
        seeds 0, 1, 2

         stage   mnist:test/accuracy
        ─────────────────────────────
         tuned                 98.00

        in one cell, seeds share a checkpoint, which counts once
    "#]].assert_eq(&table.to_text(Style::default()));
}

#[test]
fn one_seed_has_no_spread() {
    let one: Values = &[("magnitude", 0.5, &[(7, 0.975)]), ("random", 0.5, &[(7, 0.961)])];
    let table = table(&trials(one), one, &request());
    expect![[r#"
        digits: mnist:test/accuracy, %; stage `tuned`; thin.sparsity = 0.5
        seed 7, so no spread is known

         criterion   mnist:test/accuracy
        ─────────────────────────────────
         magnitude                97.50*
         random                   96.10

        * best in its column
    "#]]
    .assert_eq(&table.to_text(Style::default()));
}

#[test]
fn the_other_domain_is_mentioned() {
    let mut trials = trials(&STUDY[..1]);
    let mut series = series(STUDY);
    for trial in &mut trials {
        let stage = &mut trial.stages["tuned"];
        stage.dataset = Some("usps".to_owned());
        stage.metrics.insert("usps:test/accuracy".to_owned());
        series.insert((stage.key.clone(), "usps:test/accuracy".to_owned()), vec![(1, 0.6)]);
    }
    let request = request();
    let table = select(&trials, &request).unwrap().fill(&series);
    expect![[r#"
        digits: usps:test/accuracy, %; stage `tuned`; thin.criterion = magnitude; thin.sparsity = 0.5
        mean ± standard deviation, n = 3 (seeds 0, 1, 2)

         stage   usps:test/accuracy
        ────────────────────────────
         tuned         60.00 ± 0.00

        `tuned` is shown with usps:test/accuracy; it also has mnist:test/accuracy
    "#]].assert_eq(&table.to_text(Style::default()));
}

#[test]
fn wrong_names_list_the_right_ones() {
    let stages = names(&["tunde"]);
    check_error(
        &Request { stages, ..request() },
        &expect!["there is no stage `tunde`; did you mean `tuned`? there are: dense, thin, tuned"],
    );
    let metrics = names(&["test/acuracy"]);
    check_error(
        &Request { metrics, ..request() },
        &expect![
            "stage `tuned` has no metric `test/acuracy`; did you mean `mnist:test/accuracy`? there are: mnist:test/accuracy, train/loss"
        ],
    );
    check_error(
        &Request { rows: names(&["criterio"]), ..request() },
        &expect![
            "there is no axis `criterio`; did you mean `thin.criterion`? there are: thin.criterion, thin.sparsity, stage, metric, seed"
        ],
    );
    check_error(
        &Request { baseline: Some("magnitud".to_owned()), ..request() },
        &expect![
            "there is no row or column `magnitud`; did you mean `magnitude`? there are: magnitude, random, 0.5, 0.9"
        ],
    );
    check_error(
        &Request { baseline: Some("sparsity=0.7".to_owned()), ..request() },
        &expect!["there is no value `0.7`; there are: 0.5, 0.9"],
    );
    let (rows, cols) = (names(&["criterion"]), names(&["thin.criterion"]));
    check_error(
        &Request { rows, cols, ..request() },
        &expect![
            "axis `thin.criterion` is asked for twice; an axis is shown as rows or as columns"
        ],
    );
    let filters = vec![("sparsity".to_owned(), "0.8".to_owned())];
    check_error(
        &Request { filters, ..request() },
        &expect!["there is no value `0.8`; there are: 0.5, 0.9"],
    );
    let (stages, metrics) = (names(&["thin"]), names(&["sparsity"]));
    let request = Request { stages, metrics, reduce: Reduce::Best, ..request() };
    check_error(
        &request,
        &expect![
            "whether high or low values of `sparsity` are good is not known, so it has no best step; use --reduce min or max, or add --lower-is-better or --higher-is-better"
        ],
    );
}
