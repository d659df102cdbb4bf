//! Any text that is an experiment can be planned: keys are made, the graph is drawn.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Some(checked) = fuzz::load(text, &[]) {
        fuzz::plan_and_draw(&checked);
    }
});
