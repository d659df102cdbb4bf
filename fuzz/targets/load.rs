//! Any text: `experiment::load` neither panics nor hangs, and what it refuses it explains.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    fuzz::load(text, &[]);
});
