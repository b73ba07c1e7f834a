use rand::{RngExt, SeedableRng, rngs::StdRng};

/// Shuffles a stream in a buffer of `size` items: each output is drawn from a random slot of the
/// buffer, which the next item of the stream then fills.
///
/// The order depends only on the seed and the stream. An item moves forward by at most `size`
/// positions; its delay is not bounded. Errors are returned immediately.
pub(super) struct Shuffle<I, T> {
    items: std::iter::Fuse<I>,
    buffer: Vec<T>,
    size: usize,
    rng: StdRng,
}

impl<T, E, I: Iterator<Item = Result<T, E>>> Shuffle<I, T> {
    /// Shuffles a stream; a buffer of 0 or 1 items keeps its order.
    pub fn new(items: I, size: usize, seed: u64) -> Self {
        Self {
            items: items.fuse(),
            buffer: Vec::new(),
            size: size.max(1),
            rng: StdRng::seed_from_u64(seed),
        }
    }
}

impl<T, E, I: Iterator<Item = Result<T, E>>> Iterator for Shuffle<I, T> {
    type Item = Result<T, E>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.buffer.len() < self.size {
            match self.items.next() {
                Some(Ok(item)) => self.buffer.push(item),
                Some(Err(error)) => return Some(Err(error)),
                None => break,
            }
        }
        if self.buffer.is_empty() {
            return None;
        }
        let chosen = self.rng.random_range(0..self.buffer.len());
        Some(Ok(self.buffer.swap_remove(chosen)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shuffled(size: usize, seed: u64) -> Vec<usize> {
        let items = (0..200).map(Ok::<usize, ()>);
        Shuffle::new(items, size, seed)
            .map(Result::unwrap)
            .collect()
    }

    #[test]
    fn the_order_is_that_of_the_seed() {
        assert_eq!(shuffled(20, 1), shuffled(20, 1));
        assert_ne!(shuffled(20, 1), shuffled(20, 2));
        assert_eq!(shuffled(1, 1), Vec::from_iter(0..200));
        assert_eq!(shuffled(0, 1), Vec::from_iter(0..200));
    }

    #[test]
    fn every_item_comes_once_and_not_before_it_is_in_the_buffer() {
        let order = shuffled(20, 3);
        assert!(order.iter().enumerate().all(|(i, &item)| item < i + 20));
        let mut sorted = order;
        sorted.sort_unstable();
        assert_eq!(sorted, Vec::from_iter(0..200));
    }

    #[test]
    fn errors_come_through() {
        let items = [Ok(1), Err("bad"), Ok(2)].into_iter();
        let mut all: Vec<_> = Shuffle::new(items, 10, 0).collect();
        assert_eq!(all.remove(0), Err("bad"));
        assert_eq!(all.len(), 2);
    }
}
