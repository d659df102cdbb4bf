/// Whole batches of a training set without end.
///
/// The domain with fewer images is passed over several times in an epoch, each time in a new order.
/// The last batch of a pass is left out where it is smaller than the others: the methods compare
/// statistics of batches, and those of a few images are noise.
pub(super) struct Endless<'a, B> {
    /// Batches of a pass in the order of a random stream's number.
    pass: Box<dyn Fn(u64) -> B + 'a>,
    /// Batches that are taken from each pass.
    length: u64,
    /// Drawn when it is first asked for, as a method may not look at a domain at all.
    batches: Option<B>,
    taken: u64,
    epoch: u32,
    passes: u64,
}

impl<'a, B: Iterator> Endless<'a, B> {
    /// - images: how many the set has, at least one
    pub(super) fn new(images: usize, batch_size: u32, pass: impl Fn(u64) -> B + 'a) -> Self {
        Self {
            length: (images as u64 / u64::from(batch_size.max(1))).max(1),
            pass: Box::new(pass),
            batches: None,
            taken: 0,
            epoch: 0,
            passes: 0,
        }
    }

    /// Number of whole batches in one pass, at least one.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Starts the epoch's first pass, whatever was taken before.
    pub(super) fn begin_epoch(&mut self, epoch: u32) {
        self.epoch = epoch;
        self.passes = 0;
        self.batches = None;
    }

    pub(super) fn next(&mut self) -> B::Item {
        if self.taken == self.length {
            self.batches = None;
        }
        if self.batches.is_none() {
            self.batches = Some(self.next_pass());
        }
        self.taken += 1;
        let next = self.batches.as_mut().and_then(Iterator::next);
        next.expect("a pass has as many batches as there are whole ones")
    }

    /// The first pass draws what any stage's epoch of that number draws, further ones have numbers
    /// that no epoch reaches.
    fn next_pass(&mut self) -> B {
        let batches = (self.pass)(u64::from(self.epoch) | self.passes << 32);
        self.passes += 1;
        self.taken = 0;
        batches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seven images in batches of three; an image is its pass and its place.
    fn seven() -> Endless<'static, std::vec::IntoIter<(u64, Vec<u64>)>> {
        Endless::new(7, 3, |pass| {
            vec![(pass, vec![0, 1, 2]), (pass, vec![3, 4, 5]), (pass, vec![6])].into_iter()
        })
    }

    #[test]
    fn passes_follow_each_other_without_their_short_batch() {
        let mut batches = seven();
        batches.begin_epoch(5);
        let passes: Vec<u64> = (0..5).map(|_| batches.next().0).collect();
        let second = 5 | 1 << 32;
        assert_eq!(passes, [5, 5, second, second, 5 | 2 << 32]);
        assert_eq!(batches.length(), 2);
    }

    #[test]
    fn an_epoch_does_not_depend_on_the_one_before() {
        let mut batches = seven();
        batches.begin_epoch(1);
        batches.next();
        batches.begin_epoch(2);
        assert_eq!(batches.next(), (2, vec![0, 1, 2]));
    }

    #[test]
    fn a_set_smaller_than_a_batch_is_one_batch() {
        let mut batches = Endless::new(2, 64, std::iter::once);
        batches.begin_epoch(1);
        assert_eq!([batches.next(), batches.next()], [1, 1 | 1 << 32]);
    }
}
