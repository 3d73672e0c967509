//! How many items a chunk has.

/// How long a chunk is to take, in nanoseconds.
const NANOS: f64 = 4e6;
/// How long it takes at least, though all workers are to end at the same time.
const LEAST_NANOS: f64 = 1e5;
/// By how much a chunk may be larger than the one before.
const GROWTH: u32 = 8;
/// The most items of a chunk.
const MOST: u32 = 1 << 17;

/// The size of the chunks of a map: fixed, or by how long items take.
#[derive(Debug)]
pub(super) struct ChunkSize {
    /// How many items a chunk has, if that is fixed.
    fixed: Option<u32>,
    /// The most items of a chunk: no more than a worker is given.
    most: u32,
    /// How many items the last chunk had.
    last: u32,
}

impl ChunkSize {
    /// The size, if it is fixed, and the most items for a worker, if they are limited.
    pub(super) fn new(fixed: Option<usize>, share: Option<u64>) -> Self {
        let within = |size: u64| u32::try_from(size).unwrap_or(MOST).clamp(1, MOST);
        let most = share.map_or(MOST, within);
        Self { fixed: fixed.map(|size| within(size as u64).min(most)), most, last: 0 }
    }

    /// The number of items of the next chunk, if each takes so long in nanoseconds, for
    /// so many workers, and at most so many are left.
    pub(super) fn next(&self, nanos: Option<f64>, workers: u64, left: Option<usize>) -> u32 {
        if let Some(size) = self.fixed {
            return size;
        }
        let Some(nanos) = nanos else { return 1 };
        let most = self.last.saturating_mul(GROWTH).clamp(1, self.most);
        // The last chunks are smaller, so that all workers end at the same time.
        let share = left.map_or(u64::MAX, |left| (left as u64).div_ceil(workers * 4).max(1));
        let items_in = |time: f64| (time / nanos.max(1.0)) as u32;
        let share = u32::try_from(share).unwrap_or(u32::MAX).max(items_in(LEAST_NANOS));
        items_in(NANOS).clamp(1, most).min(share)
    }

    /// Notes that a chunk of this size was made.
    pub(super) fn made(&mut self, size: u32) {
        self.last = size;
    }
}

#[cfg(test)]
mod tests {
    use super::{ChunkSize, MOST};

    #[test]
    fn a_chunk_grows_to_what_is_wanted_and_shrinks_at_the_end() {
        let mut size = ChunkSize::new(None, None);
        assert_eq!(size.next(None, 2, None), 1, "nothing is known yet");
        size.made(1);
        assert_eq!(size.next(Some(100.0), 2, None), 8, "not at once");
        size.made(30_000);
        assert_eq!(size.next(Some(100.0), 2, None), 40_000);
        assert_eq!(size.next(Some(1e4), 2, Some(800)), 100, "a part for each worker");
        assert_eq!(size.next(Some(1e4), 2, Some(8)), 10, "what is worth a message");
        assert_eq!(size.next(Some(1e12), 2, Some(800)), 1);
        assert_eq!(size.next(Some(0.0), 2, None), MOST);
    }

    #[test]
    fn a_fixed_size_stays_within_the_share_of_a_worker() {
        assert_eq!(ChunkSize::new(Some(7), None).next(Some(1.0), 2, Some(1)), 7);
        assert_eq!(ChunkSize::new(Some(0), None).next(None, 2, None), 1);
        assert_eq!(ChunkSize::new(Some(7), Some(5)).next(None, 2, None), 5);
        let mut size = ChunkSize::new(None, Some(5));
        size.made(1);
        assert_eq!(size.next(Some(1.0), 1, None), 5);
    }
}
