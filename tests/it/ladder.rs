//! The arithmetic of the lottery ladder: how much `experiments/pruning/lottery.toml` leaves in each round.

use toml::Table;

/// Weights of LeNet-300-100: of the hidden layers, and of the output layer.
const HIDDEN: f64 = (784 * 300 + 300 * 100) as f64;
const OUTPUT: f64 = (100 * 10) as f64;

/// What is left after some rounds that take 20 % of the hidden layers' and 10 % of the output layer's weights.
fn left(rounds: i32) -> (f64, f64) {
    ((HIDDEN * 0.8f64.powi(rounds)).round(), (OUTPUT * 0.9f64.powi(rounds)).round())
}

/// Weights that a sparsity leaves of so many, as the engine rounds it.
fn kept(of: f64, sparsity: &toml::Value) -> f64 {
    of - (of * sparsity.as_float().unwrap()).round()
}

fn ladder() -> Table {
    std::fs::read_to_string("experiments/pruning/lottery.toml").unwrap().parse().unwrap()
}

/// Whether settings leave what so many rounds do.
#[track_caller]
fn check(rounds: i32, sparsity: &toml::Value, layers: &toml::Value) {
    let (hidden, output) = left(rounds);
    assert!((kept(HIDDEN + OUTPUT, sparsity) - (hidden + output)).abs() < 0.5, "round {rounds}");
    assert!((kept(OUTPUT, &layers["fc3"]) - output).abs() < 0.5, "round {rounds}");
    assert_eq!(layers.as_table().unwrap().len(), 1);
}

#[test]
fn every_round_takes_a_fifth_of_the_hidden_and_a_tenth_of_the_output_layer() {
    let ladder = ladder();
    for round in 1..=18 {
        let stage = &ladder["stage"][&format!("round{round}")]["prune"];
        check(round, &stage["sparsity"], &stage["layer-sparsity"]);
        let from = if round == 1 { "dense".to_owned() } else { format!("train{}", round - 1) };
        assert_eq!(stage["from"].as_str(), Some(&*from));
        assert_eq!(stage["scope"].as_str(), Some("layer"));
        if round < 18 {
            let next = &ladder["stage"][&format!("train{round}")]["finetune"];
            assert_eq!(next["from"].as_str(), Some(&*format!("round{round}")));
        }
    }
}

#[test]
fn the_rungs_of_the_table_are_the_papers() {
    let ladder = ladder();
    let rungs = ladder["sweep"]["remaining"].as_array().unwrap();
    let expected = [(3, "51.28 %"), (7, "21.07 %"), (9, "13.52 %"), (15, "3.58 %"), (18, "1.85 %")];
    assert_eq!(rungs.len(), expected.len());
    for (rung, (round, label)) in rungs.iter().zip(expected) {
        assert_eq!(rung["label"].as_str(), Some(label));
        assert_eq!(rung["start.from"].as_str(), Some(&*format!("round{round}")));
        check(round, &rung["start.sparsity"], &rung["start.layer-sparsity"]);
        let weights = kept(HIDDEN + OUTPUT, &rung["start.sparsity"]);
        assert_eq!(format!("{:.2} %", 100.0 * weights / (HIDDEN + OUTPUT)), label);
    }
}
