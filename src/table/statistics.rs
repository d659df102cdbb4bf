//! Mean and sample standard deviation.

/// The mean; not-a-number for no values.
pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The sample standard deviation `√(Σ(x − x̄)² / (n − 1))`; absent for fewer than two values.
pub(super) fn deviation(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

/// The median; absent for no values.
pub(super) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        length if length % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-15, "{a} {b}");
        close(mean(&[0.9, 0.8, 0.7]), 0.8);
        close(deviation(&[0.9, 0.8, 0.7]).unwrap(), 0.1);
        // Deviations from 5: −3 −1 −1 −1 0 0 2 4; squares 32; 32 / 7.
        close(deviation(&[2., 4., 4., 4., 5., 5., 7., 9.]).unwrap(), (32.0f64 / 7.0).sqrt());
        assert_eq!(deviation(&[0.5]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![3.0, 1.0]), Some(2.0));
        assert!(mean(&[1.0, f64::NAN]).is_nan());
    }
}
