//! Numbers that look random.

/// Numbers that look random, always the same for the same seed (xorshift64, G. Marsaglia,
/// 2003).
#[derive(Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// Begins with a seed, which is not zero.
    ///
    /// # Panics
    ///
    /// If it is.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        assert!(seed != 0, "all numbers would be zero");
        Self(seed)
    }

    /// Any number but zero.
    pub fn word(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below this one.
    pub fn below(&mut self, limit: u64) -> u64 {
        (self.word() >> 11) % limit
    }

    /// The place of one of so many things.
    pub fn place(&mut self, count: usize) -> usize {
        // It is below a `usize`, so it is one.
        self.below(count as u64) as usize
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        self.word().to_be_bytes()[0]
    }
}
