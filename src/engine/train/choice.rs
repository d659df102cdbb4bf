//! Which epoch is kept, and when training ends early: pure decisions on validation values.

use graftwork::experiment::spec::{EarlyStopping, Keep};
use serde::{Deserialize, Serialize};

/// What the validation values so far amount to; saved with the progress.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct History {
    /// The epoch that `keep` prefers, the first of equals, and its validation accuracy or the negative of its
    /// loss.
    best: Option<(u32, f64)>,
    /// The lowest validation loss that counted as lower.
    lowest: Option<f64>,
    /// Epochs since then.
    waited: u32,
}

impl History {
    /// Takes in how good an epoch is; says whether it is the best so far. A NaN never is.
    pub(super) fn is_best(&mut self, epoch: u32, value: f64) -> bool {
        let better = match self.best {
            Some((_, best)) => value > best,
            None => !value.is_nan(),
        };
        if better {
            self.best = Some((epoch, value));
        }
        better
    }

    /// Takes an epoch's loss in. A NaN is not lower.
    pub(super) fn wait(&mut self, stopping: &EarlyStopping, loss: f64) {
        let lower = match self.lowest {
            Some(lowest) => loss < lowest - stopping.min_delta,
            None => !loss.is_nan(),
        };
        if lower {
            self.lowest = Some(loss);
            self.waited = 0;
        } else {
            self.waited += 1;
        }
    }

    /// Whether the loss has not fallen for so long that training ends.
    pub(super) fn is_over(&self, stopping: Option<&EarlyStopping>) -> bool {
        stopping.is_some_and(|stopping| self.waited >= stopping.patience)
    }

    /// The epoch that is kept after `last` epochs.
    pub(super) fn kept(&self, keep: Keep, last: u32) -> u32 {
        match (keep, self.best) {
            (Keep::Best | Keep::LowestLoss, Some((epoch, _))) => epoch,
            _ => last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_accuracies_is_kept() {
        let mut history = History::default();
        let accuracies = [(1, f64::NAN), (2, 0.5), (3, 0.7), (4, 0.7), (5, 0.6)];
        let best = accuracies.map(|(epoch, accuracy)| history.is_best(epoch, accuracy));
        assert_eq!(best, [false, true, true, false, false]);
        assert_eq!(history.kept(Keep::Best, 5), 3);
        assert_eq!(history.kept(Keep::Last, 5), 5);
        assert_eq!(History::default().kept(Keep::Best, 5), 5, "no accuracy was ever known");
    }

    #[test]
    fn training_ends_when_the_loss_has_not_fallen_for_the_patience() {
        let check = |min_delta, losses: &[f64]| {
            let stopping = EarlyStopping { patience: 2, min_delta };
            let mut history = History::default();
            losses.iter().position(|&loss| {
                history.wait(&stopping, loss);
                history.is_over(Some(&stopping))
            })
        };
        assert_eq!(check(0.0, &[1.0, 0.9, 0.9, 0.8, 0.85, 0.81]), Some(5));
        assert_eq!(check(0.0, &[1.0, 0.99, 0.98, 0.97]), None);
        assert_eq!(check(0.1, &[1.0, 0.99, 0.98, 0.97]), Some(2));
        assert_eq!(check(0.0, &[1.0, f64::NAN, f64::NAN]), Some(2));
        assert!(!History::default().is_over(None));
    }
}
