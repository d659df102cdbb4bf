//! Any text with any `--set`s: lines that begin with `--set ` are these, the others are the file.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let (sets, lines): (Vec<&str>, Vec<&str>) =
        text.split('\n').partition(|line| line.starts_with("--set "));
    let sets: Vec<String> = sets.iter().map(|line| line["--set ".len()..].to_owned()).collect();
    if let Some(checked) = fuzz::load(&lines.join("\n"), &sets) {
        fuzz::plan_and_draw(&checked);
    }
});
