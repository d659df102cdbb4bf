//! Reports from made-up values.

use expect_test::{Expect, expect};

use super::*;

/// A result of a pruning of two layers; the values of seeds differ a little.
fn pruned(seed: u64, criterion: &str) -> Measured {
    let shift = seed as f64;
    let has_data = criterion == "min-mse";
    let mut metrics: Vec<(&str, f64)> = vec![
        // Not in alphabetical order: layers are shown as they were recorded.
        ("layer/fc1/params", 235_200.0),
        ("layer/fc1/nonzero", 17_000.0 + 100.0 * shift),
        ("layer/fc1/sparsity", 1.0 - (17_000.0 + 100.0 * shift) / 235_200.0),
        ("layer/fc1/macs", 235_200.0),
        ("layer/fc1/nonzero-macs", 17_000.0 + 100.0 * shift),
        ("layer/conv.1/params", 1000.0),
        ("layer/conv.1/nonzero", 500.0),
        ("layer/conv.1/sparsity", 0.5),
        ("layer/conv.1/macs", 25_000.0),
        ("layer/conv.1/nonzero-macs", 12_500.0),
    ];
    if has_data {
        metrics.push(("layer/fc1/reconstruction-error", 0.012_34 * (1.0 + shift)));
        metrics.push(("layer/conv.1/reconstruction-error", 3.21e-5));
        metrics.push(("fashion-mnist:test/accuracy", 0.85 + 0.01 * shift));
    } else {
        metrics.push(("layer/fc1/cut-off", 0.047_21));
    }
    metrics.extend([
        ("params", 236_310.0),
        ("nonzero-params", 17_610.0 + 100.0 * shift),
        ("macs", 260_200.0),
        ("nonzero-macs", 29_500.0 + 100.0 * shift),
        ("before/params", 236_310.0),
        ("before/macs", 260_200.0),
        ("bytes/dense", 945_240.0),
        ("bytes/csr", 140_000.0),
        ("bytes/bitmask", 100_000.0),
        // Not a matter of this report.
        ("size-bytes", 1.0),
    ]);
    let metrics = metrics.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let key = format!("{criterion}-{seed}");
    Measured { key, seeds: vec![seed], metrics, latency: IndexMap::new() }
}

fn variant(criterion: &str, seeds: &[u64]) -> Variant {
    Variant {
        title: format!("criterion {criterion}"),
        settings: IndexMap::from([("thin.criterion".to_owned(), json!({ criterion: {} }))]),
        results: seeds.iter().map(|&seed| pruned(seed, criterion)).collect(),
    }
}

fn timed(mut variant: Variant, speed_up: bool) -> Variant {
    for result in &mut variant.results {
        let mut metrics = IndexMap::from([
            ("latency/median-ms".to_owned(), 0.123_4),
            ("latency/iqr-ms".to_owned(), 0.01),
            ("latency/beside/median-ms".to_owned(), 0.1),
            ("latency/beside/iqr-ms".to_owned(), 0.02),
        ]);
        if speed_up {
            metrics.insert("latency/speed-up".to_owned(), 1.234);
        }
        result.latency.insert("timed".to_owned(), metrics);
    }
    variant
}

/// The text above what all reports end with.
#[track_caller]
fn check(variants: Vec<Variant>, expect: &Expect) {
    let text = prune::Report::new(variants).text(Style::default());
    let (above, _) = text.split_once("MACs: multiply-accumulates").unwrap();
    expect.assert_eq(above);
}

#[test]
fn a_line_for_each_layer_and_each_network() {
    check(
        vec![variant("magnitude", &[0]), timed(variant("min-mse", &[0, 1]), false)],
        &expect![[r#"
            layers, criterion magnitude; seed 0

             layer    params   nonzero   sparsity, %     MACs   nonzero MACs   cut-off
            ───────────────────────────────────────────────────────────────────────────
             fc1      235200     17000         92.77   235200          17000    0.0472
             conv.1     1000       500         50.00    25000          12500         –

            layers, criterion min-mse; mean ± standard deviation, n = 2 (seeds 0, 1)

             layer    params      nonzero    sparsity, %     MACs   nonzero MACs   reconstruction error
            ────────────────────────────────────────────────────────────────────────────────────────────
             fc1      235200   17050 ± 71   92.75 ± 0.03   235200     17050 ± 71       0.0185 ± 0.00873
             conv.1     1000          500          50.00    25000          12500                3.21e-5

            networks

             network               fashion-mnist:test accuracy, %   params      nonzero     MACs   nonzero MACs   bytes dense      CSR   bitmask
            ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
             criterion magnitude                                –   236310        17610   260200          29500        945240   140000    100000
             criterion min-mse                       85.50 ± 0.71   236310   17660 ± 71   260200     29550 ± 71        945240   140000    100000

            latency

             measured by                  median, ms   IQR, ms   beside: median, ms   IQR, ms
            ──────────────────────────────────────────────────────────────────────────────────
             `timed`, criterion min-mse        0.123    0.0100                0.100    0.0200

        "#]],
    );
}

#[test]
fn what_nobody_measured_has_no_column() {
    let mut only = variant("magnitude", &[3]);
    only.title = String::new();
    check(
        vec![timed(only, true)],
        &expect![[r#"
        layers; seed 3

         layer    params   nonzero   sparsity, %     MACs   nonzero MACs   cut-off
        ───────────────────────────────────────────────────────────────────────────
         fc1      235200     17300         92.64   235200          17300    0.0472
         conv.1     1000       500         50.00    25000          12500         –

        networks

         params   nonzero     MACs   nonzero MACs   bytes dense      CSR   bitmask
        ───────────────────────────────────────────────────────────────────────────
         236310     17910   260200          29800        945240   140000    100000

        latency

         measured by   median, ms   IQR, ms   beside: median, ms   IQR, ms   speed-up
        ──────────────────────────────────────────────────────────────────────────────
         `timed`            0.123    0.0100                0.100    0.0200       1.23

    "#]],
    );
}

#[test]
fn what_was_there_before_is_shown_where_units_were_taken_out() {
    let mut smaller = variant("magnitude", &[0]);
    smaller.results[0].metrics.insert("before/params".to_owned(), 431_080.0);
    smaller.results[0].metrics.insert("before/macs".to_owned(), 500_000.0);
    let text = prune::Report::new(vec![smaller]).text(Style::default());
    for told in ["params before", "431080", "MACs before", "500000"] {
        assert!(text.contains(told), "{told} in {text}");
    }
}

#[test]
fn what_is_not_shown_is_not_explained() {
    let told = |criterion: &str, is_timed: bool| {
        let variant = variant(criterion, &[0]);
        let variant = if is_timed { timed(variant, false) } else { variant };
        let text = prune::Report::new(vec![variant]).text(Style::default());
        ["reconstruction error: ", "cut-off: ", "latency: "].map(|what| text.contains(what))
    };
    assert_eq!(told("magnitude", false), [false, true, false]);
    assert_eq!(told("min-mse", false), [true, false, false]);
    assert_eq!(told("min-mse", true), [true, false, true]);
}

#[test]
fn a_mean_of_some_seeds_says_of_how_many() {
    let mut some = timed(variant("min-mse", &[0, 1, 2]), true);
    some.results[1].latency["timed"].shift_remove("latency/speed-up");
    let text = prune::Report::new(vec![some]).text(Style::default());
    assert!(text.contains("1.23 (n=2)"), "{text}");
}

#[test]
fn programs_get_means_deviations_and_numbers() {
    let json = prune::Report::new(vec![timed(variant("min-mse", &[0, 1]), true)]).json();
    let layer = &json["variants"][0]["layers"][0];
    assert_eq!(layer["layer"], "fc1");
    assert_eq!(layer["params"], json!({ "mean": 235_200.0, "std": 0.0, "n": 2 }));
    // 0.01234 and 0.02468: the deviation is half the difference times √2.
    let error = &layer["reconstruction-error"];
    assert!((error["mean"].as_f64().unwrap() - 0.018_51).abs() < 1e-12);
    assert!((error["std"].as_f64().unwrap() - 0.006_17 * 2f64.sqrt()).abs() < 1e-12);
    assert_eq!(layer.get("cut-off"), None);
    let variant = &json["variants"][0];
    assert_eq!(variant["settings"], json!({ "thin.criterion": { "min-mse": {} } }));
    assert_eq!(variant["keys"], json!(["min-mse-0", "min-mse-1"]));
    assert_eq!(variant["network"]["bytes/csr"]["mean"], 140_000.0);
    assert_eq!(json["latency"][0]["latency/speed-up"]["n"], 2);
}

#[test]
fn a_result_of_before_is_known_by_what_it_lacks() {
    let mut old = variant("magnitude", &[0]);
    assert!(!prune::Report::new(vec![old.clone()]).lacks_values());
    old.results[0].metrics.shift_remove("bytes/dense");
    assert!(prune::Report::new(vec![old]).lacks_values());
}

#[test]
fn sensitivities_are_layers_by_sparsities() {
    let values = [
        ("mnist:val/accuracy", 0.9, 0.88),
        ("sensitivity/fc1/0.9/accuracy", 0.5, 0.48),
        ("sensitivity/fc1/0.75/accuracy", 0.7, 0.7),
        ("sensitivity/conv.1/0.75/accuracy", 0.8, 0.8),
    ];
    let result = |seed: u64| Measured {
        key: format!("s{seed}"),
        seeds: vec![seed],
        metrics: values
            .iter()
            .map(|(name, a, b)| ((*name).to_owned(), if seed == 0 { *a } else { *b }))
            .collect(),
        latency: IndexMap::new(),
    };
    let variant = Variant {
        title: "sparsity 0.5".to_owned(),
        settings: IndexMap::new(),
        results: vec![result(0), result(1)],
    };
    let report = sensitivity::Report::new(vec![variant]);
    expect![[r#"
        sensitivity, sparsity 0.5; mean ± standard deviation, n = 2 (seeds 0, 1)
        mnist:val accuracy as it came: 89.00 ± 1.41 %

         layer    at 0.75         at 0.9
        ─────────────────────────────────
         fc1        70.00   49.00 ± 1.41
         conv.1     80.00              –

        accuracy on the validation split, in %, when the layer alone is pruned to the sparsity and no other is touched; – where the layer was sparser already
    "#]].assert_eq(&report.text(Style::default()));
    let json = report.json();
    let layers = &json["variants"][0]["layers"];
    assert_eq!(layers[1]["layer"], "conv.1");
    assert_eq!(
        layers[1]["accuracy"],
        json!({ "0.75": { "mean": 0.8, "std": 0.0, "n": 2 }, "0.9": null })
    );
    assert_eq!(json["variants"][0]["whole"]["mean"], 0.89);
}

#[test]
fn three_digits_are_significant() {
    let check = |value: f64, expected: &str| assert_eq!(significant(value), expected);
    check(0.0, "0");
    check(0.047_21, "0.0472");
    check(0.001_234, "0.00123");
    check(0.000_123_4, "1.23e-4");
    check(123.4, "123");
    check(12_345.0, "12345");
    check(1_234_567.0, "1.23e6");
    check(-2.345, "-2.35");
}
