//! Claims, from the file to their verdicts: real runs of programs, through the command line.

use std::fs;

use expect_test::{Expect, expect};
use serde_json::Value;

use crate::engine::Place;

/// Three seeds of two methods; `plain` is there beside them.
const HOUSE: &str = r#"
name = "house"
seeds = [0, 1, 2]

[[sweep.method]]
label = "old"

[[sweep.method]]
label = "new"
"fit.params.gain" = 0.04

[stage.plain.command]
program = ["sh", "{script}", "0.8", "{seed}", "{out}"]
files   = { script = "fit.sh" }
metrics = "m.jsonl"

[stage.fit.command]
program = ["sh", "{script}", "{gain}", "{seed}", "{out}"]
files   = { script = "fit.sh" }
params  = { gain = 0.01 }
metrics = "m.jsonl"

[[claim]]
says     = "the new method gains three points"
source   = "A paper, table 1"
of       = { stage = "fit", where = { method = "new" } }
than     = { stage = "fit", where = { method = "old" } }
reported = 0.03
within   = 0.001

[[claim]]
says     = "the new method reaches 5 %"
of       = { stage = "fit", where = { method = "new" } }
at-least = 0.05

[[claim]]
says    = "the old method stays under 0.5 %"
of      = { stage = "fit", where = { method = "old" } }
at-most = 0.005

[[claim]]
says     = "the new method is four times as good as the old"
of       = { stage = "fit", where = { method = "new" } }
than     = { stage = "fit", where = { method = "old" } }
by       = "ratio"
reported = 4.0
at-least = 2.0

[[claim]]
says     = "the old method is the better one"
of       = { stage = "fit", where = { method = "old" } }
than     = { stage = "fit", where = { method = "new" } }
at-least = 0.0

[[claim]]
says     = "of a metric that nobody measured"
metric   = "loss"
of       = { stage = "plain" }
at-most  = 1.0
"#;

/// The gain and a hundredth for each seed: of seeds 0, 1, 2 the mean is one hundredth above the gain.
const FIT: &str = r#"printf '{"name": "accuracy", "step": 1, "value": %s}\n' \
  "$(awk "BEGIN { print $1 + 0.01 * $2 }")" > "$3/m.jsonl"
"#;

fn house() -> Place {
    let place = Place::new(HOUSE);
    fs::write(place.folder().join("fit.sh"), FIT).unwrap();
    place
}

#[track_caller]
fn said(place: &Place, args: &[&str], expect: &Expect) {
    let output = place.graftwork_without_engine(args);
    assert_eq!(output.code, 0, "{}", output.stderr);
    expect.assert_eq(&output.stdout);
}

#[track_caller]
fn ran(place: &Place, args: &[&str]) {
    let output = place.graftwork_without_engine(args);
    assert_eq!(output.code, 0, "{}", output.stderr);
}

/// By hand: accuracies of `new` are .04, .05, .06, of `old` .01, .02, .03; all differences are .03. The mean
/// of `new` is .05 with deviation .01, so its interval is .05 ± 4.3027 · .01 / √3 = .05 ± .0248; that of
/// `old` is .02 ± .0248. The ratios are 4, 2.5 and 2: mean 2.833, deviation 1.041, interval ± 2.586.
#[test]
fn claims_are_judged_by_what_was_measured() {
    let place = house();
    ran(&place, &["run", "house.toml"]);
    said(
        &place,
        &["table", "house", "--claims"],
        &expect![[r#"
            house: 6 claims: 1 holds, 1 does not hold, 3 undecided, 1 not measured
            mean ± standard deviation over seeds; undecided: a bound lies within the 95 % confidence interval of the mean

             claim                                             measured                      reported    holds if                     verdict
            ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
             the new method gains three points                 +3.000 ± 0.000 points (n=3)   +3 points   +2.9 points to +3.1 points   holds
             the new method reaches 5 %                        5.00 ± 1.00 % (n=3)           –           at least 5 %                 undecided
             the old method stays under 0.5 %                  2.0 ± 1.0 % (n=3)             –           at most 0.5 %                undecided
             the new method is four times as good as the old   2.8 ± 1.0 (n=3)               4           at least 2                   undecided
             the old method is the better one                  −3.000 ± 0.000 points (n=3)   –           at least 0 points            does not hold
             of a metric that nobody measured                  –                             –           at most 1                    not measured
        "#]],
    );
    said(
        &place,
        &["table", "house.toml", "--claims", "--format", "markdown"],
        &expect![[r#"
            house: 6 claims: 1 holds, 1 does not hold, 3 undecided, 1 not measured  
            mean ± standard deviation over seeds; undecided: a bound lies within the 95 % confidence interval of the mean

            | claim | measured | reported | holds if | verdict |
            | --- | ---: | ---: | --- | --- |
            | the new method gains three points (A paper, table 1) | +3.000 ± 0.000 points (n=3) | +3 points | +2.9 points to +3.1 points | holds |
            | the new method reaches 5 % | 5.00 ± 1.00 % (n=3) | – | at least 5 % | undecided |
            | the old method stays under 0.5 % | 2.0 ± 1.0 % (n=3) | – | at most 0.5 % | undecided |
            | the new method is four times as good as the old | 2.8 ± 1.0 (n=3) | 4 | at least 2 | undecided |
            | the old method is the better one | −3.000 ± 0.000 points (n=3) | – | at least 0 points | does not hold |
            | of a metric that nobody measured | – | – | at most 1 | not measured |
        "#]],
    );
    said(
        &place,
        &["table", "house", "--claims", "--format", "csv"],
        &expect![[r#"
            claim,source,metric,n,mean,std,low,high,reported,at_least,at_most,verdict,known_before
            the new method gains three points,"A paper, table 1",accuracy,3,0.03,0.0000000000000000024532694666933987,0.029999999999999992,0.030000000000000006,0.03,0.028999999999999998,0.031,holds,0
            the new method reaches 5 %,,accuracy,3,0.049999999999999996,0.009999999999999998,0.025158622882496668,0.07484137711750333,,0.05,,undecided,0
            the old method stays under 0.5 %,,accuracy,3,0.02,0.01,-0.004841377117503331,0.04484137711750333,,,0.005,undecided,0
            the new method is four times as good as the old,,accuracy,3,2.8333333333333335,1.0408329997330663,0.24776082706219915,5.418905839604468,4,2,,undecided,0
            the old method is the better one,,accuracy,3,-0.03,0.0000000000000000024532694666933987,-0.030000000000000006,-0.029999999999999992,,0,,does not hold,0
            of a metric that nobody measured,,loss,0,,,,,,,1,not measured,0
        "#]],
    );
    said(
        &place,
        &["table", "house", "--stage", "fit"],
        &expect![[r#"
            house: accuracy, %; stage `fit`
            mean ± standard deviation, n = 3 (seeds 0, 1, 2)

             method     accuracy
            ─────────────────────
             old      2.0 ± 1.0
             new      5.0 ± 1.0*

            * best in its column
            6 claims: 1 holds, 1 does not hold, 3 undecided, 1 not measured; see --claims
        "#]],
    );
}

#[test]
fn programs_get_every_value_and_the_way_to_the_figure() {
    let place = house();
    ran(&place, &["run", "house.toml"]);
    let output = place.graftwork_without_engine(&["table", "house", "--claims", "--json"]);
    let json: Value = serde_json::from_str(&output.stdout).unwrap();
    let first = &json["claims"][0];
    assert_eq!(first["values"].as_array().unwrap().len(), 3);
    assert_eq!(first["of"]["where"]["method"], "new");
    assert!(first["from-reported"].as_f64().unwrap().abs() < 1e-12);
    let low = json["claims"][1]["interval"][0].as_f64().unwrap();
    // scipy.stats.t.interval(0.95, 2, 0.05, 0.01 / 3**0.5)
    assert!((low - 0.025_158_622_881_562_474).abs() < 1e-9, "{low}");
}

#[test]
fn a_claim_that_is_written_after_its_results_says_so() {
    let place = house();
    let claim = HOUSE.find("[[claim]]").unwrap();
    fs::write(place.folder().join("house.toml"), &HOUSE[..claim]).unwrap();
    ran(&place, &["run", "house.toml"]);
    let none = place.graftwork_without_engine(&["table", "house", "--claims"]);
    assert_eq!(none.code, 2);
    expect![[r#"
        error: the last run of `house` had no claims; write `[[claim]]` into its file and run it again: what is cached stays
    "#]].assert_eq(&none.stderr);
    // Nothing is computed, but that the claims are there now is recorded.
    fs::write(place.folder().join("house.toml"), HOUSE).unwrap();
    ran(&place, &["run", "house.toml"]);
    ran(&place, &["run", "house.toml"]);
    let judged = place.graftwork_without_engine(&["table", "house", "--claims"]).stdout;
    let afterwards = judged.lines().filter(|line| line.ends_with(", stated afterwards"));
    assert_eq!(afterwards.count(), 5, "all but the one without results: {judged}");
    // The run that has nothing new to record is not recorded.
    let runs =
        place.graftwork_without_engine(&["query", "SELECT count(*) AS n FROM run", "--json"]);
    assert!(runs.stdout.contains(": 2"), "{}", runs.stdout);
}

#[test]
fn claims_of_what_a_set_takes_away_go_with_it() {
    let place = house();
    ran(&place, &["run", "house.toml", "--set", "fit.params.gain=0.04"]);
    // The claims name the axis by a label, so that none of them is about these results.
    said(
        &place,
        &["table", "house", "--claims"],
        &expect![[r#"
            house: 1 claim, not measured
            mean ± standard deviation over seeds; undecided: a bound lies within the 95 % confidence interval of the mean

             claim                              measured   reported   holds if    verdict
            ───────────────────────────────────────────────────────────────────────────────────
             of a metric that nobody measured          –          –   at most 1   not measured
        "#]],
    );
}
