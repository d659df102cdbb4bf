//! Texts that no one writes by hand are read, or refused; by a method that compares each with each, most
//! of these tests would not end.

use std::fmt::Write;

use graftwork::experiment::{self, Alone, Checked, Faults};
use graftwork::plan::{self, Digests};

const DENSE: &str = "[stage.dense.pretrain]\nmodel.lenet5 = {}\ndata.mnist = {}\nepochs = 1\n";

/// Loads a text and shows its faults.
fn load(text: &str) -> Result<Checked, (Faults, String)> {
    experiment::load("large.toml", text, &[], &Alone).map_err(|faults| {
        let shown = faults.to_string();
        (faults, shown)
    })
}

/// A text of many lines, one for each number.
fn lines(start: &str, count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).fold(format!("name = \"large\"\n{start}"), |mut text, number| {
        writeln!(text, "{}", line(number)).unwrap();
        text
    })
}

fn finetune(name: &str, from: &str) -> String {
    format!("[stage.{name}.finetune]\nfrom = \"{from}\"\ndata.mnist = {{}}\nepochs = 1")
}

#[test]
fn a_long_chain_that_is_written_backwards_is_planned() {
    let count = 20_000;
    let text = lines("", count, |number| {
        let from =
            if number + 1 == count { "dense".to_owned() } else { format!("s{}", number + 1) };
        finetune(&format!("s{number}"), &from)
    });
    let checked = load(&(text + DENSE)).unwrap_or_else(|(_, shown)| panic!("{shown}"));
    let digests = Digests { data: &|_| Some(String::new()), files: &|_| None };
    let plan = plan::plan(&checked.trials(), digests);
    assert_eq!(plan.counts().distinct, count + 1);
}

#[test]
fn a_long_loop_is_one_fault() {
    let count = 3_000;
    let text = lines(DENSE, count, |number| {
        finetune(&format!("s{number}"), &format!("s{}", (number + 1) % count))
    });
    let (faults, _) = load(&text).unwrap_err();
    assert_eq!(faults.0.iter().map(|fault| fault.code).collect::<Vec<_>>(), ["E011"]);
}

#[test]
fn a_long_list_of_seeds_is_read() {
    let seeds = (0..90_000).map(|seed| seed.to_string()).collect::<Vec<_>>().join(", ");
    let checked = load(&format!("name = \"large\"\nseeds = [{seeds}]\n{DENSE}"));
    assert_eq!(checked.unwrap_or_else(|(_, shown)| panic!("{shown}")).trials().len(), 90_000);
}

#[test]
fn many_faults_are_all_shown() {
    let (faults, shown) =
        load(&lines(DENSE, 10_000, |number| format!("key{number} = 1"))).unwrap_err();
    assert_eq!(faults.0.len(), 10_000);
    assert!(shown.contains("--> large.toml:10005:1"), "{}", &shown[shown.len() - 500..]);
}

#[test]
fn the_first_faults_of_a_long_list_are_enough() {
    for seed in ["1", "-1"] {
        let seeds = vec![seed; 50_000].join(", ");
        let (faults, _) =
            load(&format!("name = \"large\"\nseeds = [{seeds}]\n{DENSE}")).unwrap_err();
        assert_eq!(faults.0.len(), 100, "{seed}");
    }
}

#[test]
fn many_stages_that_start_nowhere_are_not_listed_in_full_each_time() {
    let text = lines(DENSE, 5_000, |number| {
        finetune(&format!("s{number}"), &format!("nowhere-{number}-at-all"))
    });
    let (faults, shown) = load(&text).unwrap_err();
    assert_eq!(faults.0.len(), 5_000);
    assert!(shown.contains("s29, and 4970 more"), "{}", &shown[..2000]);
}

#[test]
fn many_open_brackets_are_faults_and_not_a_reading_each() {
    let (faults, shown) =
        load(&lines("", 5_000, |number| format!("key{number} = [1,"))).unwrap_err();
    assert!(faults.0.iter().any(|fault| fault.code == "E001"), "{shown}");
}
