//! Carving the validation split from the training split, and a test split from what has none.

use crate::random;

/// Indices into what was split, rising.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Split {
    pub kept: Vec<i64>,
    pub held_out: Vec<i64>,
}

/// Draws `fraction` of `count` images for validation, rounded to whole images.
///
/// The choice depends on these three alone, so every stage that reads the dataset in the same way holds
/// out the same images. Labels are not asked, though classes would then be held out in equal shares:
/// the target of an adaptation goes through here too, and its labels must decide nothing.
pub(super) fn carve(count: usize, fraction: f64, seed: u64) -> Split {
    hold_out("val", count, fraction, seed)
}

/// Draws `fraction` of `count` rows for testing, rounded to whole rows, at least one.
pub(super) fn hold_out_test(count: usize, fraction: f64, seed: u64) -> Split {
    hold_out("test", count, fraction.max(1.0 / count.max(1) as f64), seed)
}

fn hold_out(stream: &str, count: usize, fraction: f64, seed: u64) -> Split {
    let mut rng = random::stream(seed, stream, 0);
    let mut kept = random::permutation(count, &mut rng);
    let share = (count as f64 * fraction).round() as usize;
    let mut held_out: Vec<i64> = kept.drain(..share.min(count)).collect();
    kept.sort_unstable();
    held_out.sort_unstable();
    Split { kept, held_out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_held_out_and_every_image_is_in_one_split() {
        let split = carve(35, 0.2, 3);
        assert_eq!(split.held_out.len(), 7);
        let mut all = [split.kept, split.held_out].concat();
        all.sort_unstable();
        assert_eq!(all, (0..35).collect::<Vec<i64>>());
    }

    #[test]
    fn the_choice_is_the_seeds() {
        assert_eq!(carve(35, 0.4, 3), carve(35, 0.4, 3));
        assert_ne!(carve(35, 0.4, 3), carve(35, 0.4, 4));
    }

    #[test]
    fn the_choice_is_pinned_since_checkpoints_depend_on_it() {
        assert_eq!(carve(35, 0.2, 0).held_out, [5, 6, 16, 18, 19, 25, 26]);
    }

    #[test]
    fn a_test_row_is_drawn_in_any_case_and_by_itself() {
        assert_eq!(hold_out_test(35, 0.001, 3).held_out.len(), 1);
        assert_ne!(hold_out_test(35, 0.4, 3), carve(35, 0.4, 3));
    }

    #[test]
    fn a_fraction_of_zero_holds_out_nothing() {
        let split = carve(35, 0.0, 3);
        assert_eq!((split.kept.len(), split.held_out.len()), (35, 0));
    }
}
