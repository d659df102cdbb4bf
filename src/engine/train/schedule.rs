//! How the learning rate changes over a stage.

use std::f64::consts::PI;

use graftwork::experiment::spec::{OneCycle, Schedule};

/// The learning rate of a step, before the factors of the layers.
///
/// A warm-up multiplies by `(step + 1) / warm-up steps` until that is 1. The cosine falls over what
/// is left of the stage after its warm-up; the other schedules count from the start of the stage.
///
/// - step: optimizer step, 0-based
/// - total: optimizer steps of the whole stage
/// - base: the optimizer's learning rate
pub fn learning_rate(
    step: u64,
    steps_per_epoch: u64,
    total: u64,
    schedule: &Schedule,
    base: f64,
) -> f64 {
    let warmup = |epochs: f64| {
        let steps = epochs * steps_per_epoch as f64;
        let factor = (step + 1) as f64 / steps;
        // Without a warm-up the factor is infinite.
        (steps, factor.min(1.0))
    };
    let factor = match schedule {
        Schedule::Constant(settings) => warmup(settings.warmup_epochs).1,
        Schedule::Step(settings) => {
            let changes = step / steps_per_epoch.max(1) / u64::from(settings.every_epochs.max(1));
            warmup(settings.warmup_epochs).1 * settings.factor.powf(changes as f64)
        }
        Schedule::Cosine(settings) => {
            let (steps, rise) = warmup(settings.warmup_epochs);
            let left = total as f64 - steps;
            let progress = if left > 0.0 { (step as f64 - steps).max(0.0) / left } else { 0.0 };
            rise * 0.5 * (1.0 + (PI * progress).cos())
        }
        Schedule::OneCycle(settings) => one_cycle(step, total, settings),
        Schedule::InverseDecay(settings) => {
            let progress = step as f64 / total.max(1) as f64;
            warmup(settings.warmup_epochs).1 * (1.0 + 10.0 * progress).powf(-0.75)
        }
    };
    base * factor
}

/// PyTorch's `OneCycleLR` with two phases and cosine annealing, as a fraction of the largest
/// learning rate. The momentum is not cycled.
fn one_cycle(step: u64, total: u64, settings: &OneCycle) -> f64 {
    let start = 1.0 / settings.start_divisor;
    let end = start / settings.end_divisor;
    let step = step as f64;
    // Steps at which the two phases end, as in PyTorch; fractions of a step are meant.
    let top = settings.rise * total as f64 - 1.0;
    let last = total as f64 - 1.0;
    if step <= top || top >= last {
        anneal(start, 1.0, step, 0.0, top)
    } else {
        anneal(1.0, end, step, top, last)
    }
}

/// Half a cosine from one value to another, between two steps.
fn anneal(from: f64, to: f64, step: f64, first: f64, last: f64) -> f64 {
    // A phase of no length is over at once.
    let progress = if last > first { (step - first) / (last - first) } else { 1.0 };
    to + 0.5 * (from - to) * (1.0 + (PI * progress).cos())
}

#[cfg(test)]
mod tests {
    use graftwork::experiment::spec::{Step, Warmup};

    use super::*;

    /// The learning rates of a stage of 2 epochs of 4 steps with base 0.4.
    #[track_caller]
    fn check(schedule: &Schedule, expected: [f64; 8]) {
        for (step, expected) in (0..).zip(expected) {
            let rate = learning_rate(step, 4, 8, schedule, 0.4);
            assert!((rate - expected).abs() < 1e-9, "step {step}: {rate}, expected {expected}");
        }
    }

    #[test]
    fn constant_stays_after_its_warm_up() {
        check(&Schedule::Constant(Warmup::default()), [0.4; 8]);
        let warmup = Warmup { warmup_epochs: 1.0 };
        check(&Schedule::Constant(warmup), [0.1, 0.2, 0.3, 0.4, 0.4, 0.4, 0.4, 0.4]);
        // 2.5 steps: 0.4·1/2.5, 0.4·2/2.5.
        let warmup = Warmup { warmup_epochs: 0.625 };
        check(&Schedule::Constant(warmup), [0.16, 0.32, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4]);
    }

    #[test]
    fn step_changes_at_whole_epochs() {
        let schedule = Schedule::Step(Step { every_epochs: 1, factor: 0.5, warmup_epochs: 0.5 });
        check(&schedule, [0.2, 0.4, 0.4, 0.4, 0.2, 0.2, 0.2, 0.2]);
    }

    #[test]
    fn cosine_falls_over_what_the_warm_up_leaves() {
        // 0.2 (1 + cos(π k/8)).
        let expected = [
            0.4,
            0.384_775_906_5,
            0.341_421_356_2,
            0.276_536_686_5,
            0.2,
            0.123_463_313_5,
            0.058_578_643_8,
            0.015_224_093_5,
        ];
        check(&Schedule::Cosine(Warmup::default()), expected);
        // Four steps up, then 0.2 (1 + cos(π k/4)).
        let warmup = Warmup { warmup_epochs: 1.0 };
        let expected = [0.1, 0.2, 0.3, 0.4, 0.4, 0.341_421_356_2, 0.2, 0.058_578_643_8];
        check(&Schedule::Cosine(warmup), expected);
    }

    #[test]
    fn one_cycle_is_pytorchs() {
        // By the formula of `OneCycleLR(max_lr=0.4, total_steps=8, pct_start=0.5, div_factor=4,
        // final_div_factor=10)`: from 0.1 to 0.4 at step 3, then to 0.01 at step 7:
        // 0.4 - 0.15 (1 + cos(π k/3)), k = 0..3; 0.01 + 0.195 (1 + cos(π k/4)), k = 1..4.
        let schedule =
            Schedule::OneCycle(OneCycle { rise: 0.5, start_divisor: 4.0, end_divisor: 10.0 });
        let expected = [0.1, 0.175, 0.325, 0.4, 0.342_885_822_3, 0.205, 0.067_114_177_7, 0.01];
        check(&schedule, expected);
    }

    #[test]
    fn one_cycle_has_values_at_its_limits() {
        let rate = |rise, step, total| {
            let cycle = OneCycle { rise, ..OneCycle::default() };
            learning_rate(step, 1, total, &Schedule::OneCycle(cycle), 1.0)
        };
        assert!((rate(1.0, 7, 8) - 1.0).abs() < 1e-12, "the last step is the top");
        assert!((rate(0.0, 7, 8) - 1.0 / 25e4).abs() < 1e-12, "falls from the first step");
        for rise in [0.0, 0.125, 0.3, 1.0] {
            for total in [1, 2, 8] {
                assert!((0..total).all(|step| rate(rise, step, total).is_finite()));
            }
        }
    }

    #[test]
    fn inverse_decay_is_ganins() {
        // 0.4 (1 + 10 k/8)^-0.75.
        let expected = [
            0.4,
            0.217_732_4,
            0.156_318_0,
            0.124_319_7,
            0.104_339_0,
            0.090_532_9,
            0.080_351_8,
            0.072_494_7,
        ];
        for (step, expected) in (0..).zip(expected) {
            let schedule = Schedule::InverseDecay(Warmup::default());
            let rate = learning_rate(step, 4, 8, &schedule, 0.4);
            assert!((rate - expected).abs() < 1e-6, "step {step}: {rate}, expected {expected}");
        }
    }
}
