/// How strongly a method acts at a point of the stage: `2 / (1 + e^(−gamma·p)) − 1`, from 0 to
/// nearly 1; always 1 for a `gamma` of zero.
///
/// Early in the stage the features are still poor, and a domain classifier or a discrepancy has
/// nothing true to say about them (Ganin et al. 2016, section 5.2.2).
///
/// `progress` is the share of the stage's steps that is done, in 0..=1.
pub fn ramp(progress: f64, gamma: f64) -> f64 {
    if gamma == 0.0 { 1.0 } else { 2.0 / (1.0 + (-gamma * progress).exp()) - 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ramp_takes_the_published_values() {
        let published =
            [(0.0, 0.0), (0.1, 0.46212), (0.25, 0.84828), (0.5, 0.98661), (1.0, 0.99991)];
        for (progress, expected) in published {
            let actual = ramp(progress, 10.0);
            assert!((actual - expected).abs() < 5e-6, "at {progress}: {actual}");
        }
    }

    #[test]
    fn a_gamma_of_zero_is_constant() {
        for progress in [0.0, 0.3, 1.0] {
            assert!((ramp(progress, 0.0) - 1.0).abs() < f64::EPSILON);
        }
    }
}
