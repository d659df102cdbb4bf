//! Carving the validation split from the training split.

use crate::random;

/// Indices into the owner's training split, rising.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Split {
    pub train: Vec<i64>,
    pub val: Vec<i64>,
}

/// Draws `fraction` of each class for validation, rounded to whole images.
///
/// The choice depends on the labels, the fraction and the seed alone, so every stage that reads the
/// dataset in the same way holds out the same images.
pub(super) fn stratified(labels: &[u8], fraction: f64, seed: u64) -> Split {
    let mut classes = vec![Vec::new(); 256];
    for (index, &label) in labels.iter().enumerate() {
        classes[usize::from(label)].push(index as i64);
    }
    let mut split = Split { train: Vec::new(), val: Vec::new() };
    for (class, members) in classes.iter().enumerate() {
        let mut rng = random::stream(seed, &format!("val/{class}"), 0);
        let order = random::permutation(members.len(), &mut rng);
        let count = (members.len() as f64 * fraction).round() as usize;
        let (val, train) = order.split_at(count.min(order.len()));
        split.val.extend(val.iter().map(|&place| members[place as usize]));
        split.train.extend(train.iter().map(|&place| members[place as usize]));
    }
    split.train.sort_unstable();
    split.val.sort_unstable();
    split
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Class 0 has 20 images, class 1 has 10, class 7 has 5, mixed.
    fn labels() -> Vec<u8> {
        (0..35).map(|index| [0, 1, 0, 7, 0, 1, 0][index % 7]).collect()
    }

    #[test]
    fn each_class_gives_its_share_and_every_image_is_in_one_split() {
        let labels = labels();
        let split = stratified(&labels, 0.2, 3);
        let count = |class| split.val.iter().filter(|&&at| labels[at as usize] == class).count();
        assert_eq!([count(0), count(1), count(7)], [4, 2, 1]);
        let mut all = [split.train, split.val].concat();
        all.sort_unstable();
        assert_eq!(all, (0..35).collect::<Vec<i64>>());
    }

    #[test]
    fn the_choice_is_the_seeds() {
        assert_eq!(stratified(&labels(), 0.4, 3), stratified(&labels(), 0.4, 3));
        assert_ne!(stratified(&labels(), 0.4, 3), stratified(&labels(), 0.4, 4));
    }

    #[test]
    fn the_choice_is_pinned_since_checkpoints_depend_on_it() {
        assert_eq!(stratified(&labels(), 0.2, 0).val, [3, 4, 8, 9, 13, 20, 22]);
    }

    #[test]
    fn a_fraction_of_zero_holds_out_nothing() {
        let split = stratified(&labels(), 0.0, 3);
        assert_eq!((split.train.len(), split.val.len()), (35, 0));
    }
}
