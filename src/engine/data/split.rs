//! Carving the validation split from the training split, and a test split from what has none; a few examples
//! of each class of what is left.

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

/// A class that has fewer examples than are asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooFew {
    pub class: u32,
    pub has: usize,
}

/// Draws `per_class` examples of each class; their indices into `labels`, rising.
///
/// Each class has a stream of its own and is put in order as a whole, so that the examples of a smaller
/// `per_class` are among those of a larger one, and another class changes nothing.
///
/// # Errors
/// The first class that has fewer.
pub(super) fn few_of_each_class(
    labels: &[i64],
    classes: u32,
    per_class: usize,
    seed: u64,
) -> Result<Vec<i64>, TooFew> {
    let mut chosen = Vec::with_capacity(classes as usize * per_class);
    for class in 0..classes {
        let of_class = labels.iter().zip(0_i64..).filter(|(label, _)| **label == i64::from(class));
        let of_class: Vec<i64> = of_class.map(|(_, index)| index).collect();
        let mut rng = random::stream(seed, &format!("labels-per-class/{class}"), 0);
        let order = random::permutation(of_class.len(), &mut rng);
        let Some(order) = order.get(..per_class) else {
            return Err(TooFew { class, has: of_class.len() });
        };
        chosen.extend(order.iter().map(|&place| of_class[place as usize]));
    }
    chosen.sort_unstable();
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn few_labels_are_balanced_nested_and_the_seeds(
            labels in prop::collection::vec(0_i64..3, 0..60), fewer in 1_usize..4, more in 0_usize..4, seed in 0_u64..9,
        ) {
            let has = |class: i64| labels.iter().filter(|label| **label == class).count();
            let draw = |k| few_of_each_class(&labels, 3, k, seed);
            let smallest = (0..3).map(has).min().unwrap_or(0);
            match draw(fewer + more) {
                Err(few) => {
                    prop_assert!(smallest < fewer + more);
                    prop_assert_eq!(few.has, has(i64::from(few.class)));
                }
                Ok(chosen) => {
                    prop_assert!(smallest >= fewer + more && chosen.is_sorted());
                    let set: BTreeSet<i64> = chosen.iter().copied().collect();
                    for class in 0..3 {
                        let of_class = set.iter().filter(|index| labels[**index as usize] == class);
                        prop_assert_eq!(of_class.count(), fewer + more);
                    }
                    let few: BTreeSet<i64> = draw(fewer).unwrap().into_iter().collect();
                    prop_assert!(few.is_subset(&set));
                    prop_assert_eq!(draw(fewer + more), Ok(chosen));
                }
            }
        }
    }

    #[test]
    fn few_labels_are_drawn_by_the_seed_and_pinned_since_checkpoints_depend_on_them() {
        let labels: Vec<i64> = (0..40).map(|index| index % 2).collect();
        let draw = |seed| few_of_each_class(&labels, 2, 3, seed).unwrap();
        assert_eq!(draw(0), [7, 14, 17, 25, 28, 34]);
        assert_ne!(draw(1), draw(0));
        // Other examples of class 1 change none of class 0.
        let other: Vec<i64> = labels
            .iter()
            .enumerate()
            .map(|(i, l)| if i > 30 && i % 4 == 1 { 5 } else { *l })
            .collect();
        let zeros = |chosen: Vec<i64>| {
            chosen.into_iter().filter(|index| index % 2 == 0).collect::<Vec<_>>()
        };
        assert_eq!(zeros(few_of_each_class(&other, 2, 3, 0).unwrap()), zeros(draw(0)));
    }

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
