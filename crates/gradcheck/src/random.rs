//! A tiny seeded generator, so that a check asks for the same directions on every machine.

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014, figure 15).
pub(crate) struct SplitMix64(u64);

impl SplitMix64 {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number of either sign with magnitude in [0.5, 1.5): never near zero, so that every
    /// element of a random direction counts.
    pub(crate) fn weight(&mut self) -> f64 {
        let bits = self.next();
        let magnitude = 0.5 + (bits >> 11) as f64 / (1_u64 << 53) as f64;
        if bits & 1 == 0 { magnitude } else { -magnitude }
    }

    pub(crate) fn weights(&mut self, len: usize) -> Vec<f64> {
        (0..len).map(|_| self.weight()).collect()
    }

    /// An index below `len`, which is not zero; the bias of the remainder does not matter here.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        (self.next() % len as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::SplitMix64;

    #[test]
    fn stream_is_the_published_one() {
        // First outputs for seed 1234567, as printed by the reference C program splitmix64.c.
        let mut random = SplitMix64::new(1_234_567);
        let expected = [6_457_827_717_110_365_317_u64, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!([random.next(), random.next(), random.next()], expected);
    }
}
