//! Chance that can be had again.

/// SplitMix64 ("Fast splittable pseudorandom number generators", OOPSLA 2014).
pub(super) struct Random(u64);

impl Random {
    /// The stream of a case under a seed.
    pub(super) fn new(seed: u64, case: u64) -> Self {
        let mut random = Self(seed);
        random.0 = random.next() ^ case.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        random
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// 0 up to and without `n`, which is above 0.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// 0 up to and without 1.
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
