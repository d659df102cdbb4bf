//! The losses of an epoch: kept on the device, read a few times a second at most.

use tch::{Kind, Tensor};

use super::Terms;
use crate::stage::StageError;

/// What the batches of one epoch add up to.
///
/// Sums are taken in 64 bits in the order of the steps, so that they do not depend on when the
/// losses were read.
pub(super) struct Tally {
    epoch: u32,
    /// Steps of the stage before the first that is pending.
    before: u64,
    /// Steps that were read.
    count: u64,
    /// Losses not read yet: the total, and the named ones in order.
    pending: Vec<Vec<Tensor>>,
    names: Vec<&'static str>,
    /// As the columns of `pending`.
    sums: Vec<f64>,
}

impl Tally {
    /// - before: steps of the stage before this epoch
    pub(super) fn new(epoch: u32, before: u64) -> Self {
        Self { epoch, before, count: 0, pending: Vec::new(), names: Vec::new(), sums: Vec::new() }
    }

    /// Takes a step's loss in, without reading it.
    pub(super) fn add(&mut self, terms: Terms) {
        if self.sums.is_empty() {
            self.names = terms.named.iter().map(|(name, _)| *name).collect();
            self.sums = vec![0.0; 1 + self.names.len()];
            self.pending.resize_with(self.sums.len(), Vec::new);
        }
        debug_assert!(
            self.names.iter().copied().eq(terms.named.iter().map(|(name, _)| *name)),
            "a stage names the same terms in every step"
        );
        let values =
            std::iter::once(terms.total).chain(terms.named.into_iter().map(|(_, value)| value));
        for (pending, value) in self.pending.iter_mut().zip(values) {
            pending.push(value.detach());
        }
    }

    /// Reads what is pending.
    ///
    /// # Errors
    /// [`StageError::Diverged`] with the first step whose loss is not finite.
    pub(super) fn read(&mut self) -> Result<(), StageError> {
        let steps = self.pending.first().map_or(0, Vec::len) as u64;
        if steps == 0 {
            return Ok(());
        }
        for (place, pending) in self.pending.iter_mut().enumerate() {
            let values = read(pending);
            pending.clear();
            let bad = values.iter().zip(self.before..).find(|(value, _)| !value.is_finite());
            if let (0, Some((&value, step))) = (place, bad) {
                return Err(StageError::Diverged {
                    what: "the loss".to_owned(),
                    value,
                    step,
                    epoch: self.epoch,
                });
            }
            self.sums[place] = values.iter().fold(self.sums[place], |sum, value| sum + value);
        }
        self.before += steps;
        self.count += steps;
        Ok(())
    }

    /// Mean loss of the steps that were read.
    pub(super) fn loss(&self) -> Option<f64> {
        Some(self.sums.first()? / self.count as f64)
    }

    /// The epoch's means: `train/loss` first, then the named terms.
    pub(super) fn means(mut self) -> Result<Vec<(String, f64)>, StageError> {
        self.read()?;
        let names = std::iter::once("loss").chain(self.names);
        let means = self.sums.iter().map(|sum| sum / self.count as f64);
        Ok(names.map(|name| format!("train/{name}")).zip(means).collect())
    }
}

/// Brings scalars to the CPU, all at once.
pub(super) fn read(scalars: &[Tensor]) -> Vec<f64> {
    let values = Tensor::stack(scalars, 0).to_kind(Kind::Double);
    Vec::try_from(&values).expect("scalars in a row are a vector")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(total: f32, accuracy: f32) -> Terms {
        let scalar = |value: f32| Tensor::from(value);
        Terms { total: scalar(total), named: vec![("accuracy", scalar(accuracy))] }
    }

    #[test]
    fn means_do_not_depend_on_when_they_are_read() {
        let means = |read_after: &[usize]| {
            let mut tally = Tally::new(1, 0);
            for (step, total) in [0.1, 0.7, 1e6, 0.3].into_iter().enumerate() {
                tally.add(terms(total, 0.5));
                if read_after.contains(&step) {
                    tally.read().unwrap();
                }
            }
            tally.means().unwrap()
        };
        let all = means(&[]);
        assert_eq!(all[0].0, "train/loss");
        assert_eq!(all[1], ("train/accuracy".to_owned(), 0.5));
        assert!((all[0].1 - 1_000_001.1 / 4.0).abs() < 1e-6);
        assert_eq!(means(&[0, 2]), all);
    }

    #[test]
    fn the_first_bad_step_is_named() {
        let mut tally = Tally::new(3, 20);
        tally.add(terms(1.0, 0.0));
        tally.read().unwrap();
        for total in [0.5, f32::INFINITY, f32::NAN] {
            tally.add(terms(total, 0.0));
        }
        let error = tally.read().unwrap_err().to_string();
        assert!(error.starts_with("the loss became inf at step 22 (epoch 3)"), "{error}");
    }
}
