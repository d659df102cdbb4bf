//! Carving the validation split from the training split.

use crate::random;

/// Indices into the owner's training split, rising.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Split {
    pub train: Vec<i64>,
    pub val: Vec<i64>,
}

/// Draws `fraction` of `count` images for validation, rounded to whole images.
///
/// The choice depends on these three alone, so every stage that reads the dataset in the same way holds
/// out the same images. Labels are not asked, though classes would then be held out in equal shares:
/// the target of an adaptation goes through here too, and its labels must decide nothing.
pub(super) fn carve(count: usize, fraction: f64, seed: u64) -> Split {
    let mut rng = random::stream(seed, "val", 0);
    let mut train = random::permutation(count, &mut rng);
    let held_out = (count as f64 * fraction).round() as usize;
    let mut val: Vec<i64> = train.drain(..held_out.min(count)).collect();
    train.sort_unstable();
    val.sort_unstable();
    Split { train, val }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_held_out_and_every_image_is_in_one_split() {
        let split = carve(35, 0.2, 3);
        assert_eq!(split.val.len(), 7);
        let mut all = [split.train, split.val].concat();
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
        assert_eq!(carve(35, 0.2, 0).val, [5, 6, 16, 18, 19, 25, 26]);
    }

    #[test]
    fn a_fraction_of_zero_holds_out_nothing() {
        let split = carve(35, 0.0, 3);
        assert_eq!((split.train.len(), split.val.len()), (35, 0));
    }
}
