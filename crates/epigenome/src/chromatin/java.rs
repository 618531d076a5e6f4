//! The generator behind ChromHMM's seeds, so that a seed means the same here.

/// The linear congruential generator of `java.util.Random`, as its documentation specifies it.
#[derive(Clone, Debug)]
pub struct JavaRandom {
    state: u64,
}

const MULTIPLIER: u64 = 0x5_DEEC_E66D;
const INCREMENT: u64 = 0xB;
const MASK: u64 = (1 << 48) - 1;

impl JavaRandom {
    /// A generator with a seed.
    pub fn new(seed: i64) -> Self {
        Self { state: (seed as u64 ^ MULTIPLIER) & MASK }
    }

    fn next(&mut self, bits: u32) -> u64 {
        self.state = (self.state.wrapping_mul(MULTIPLIER) + INCREMENT) & MASK;
        self.state >> (48 - bits)
    }

    /// A number in 0..1 with 53 random bits.
    pub fn next_double(&mut self) -> f64 {
        let bits = (self.next(26) << 27) + self.next(27);
        bits as f64 / (1u64 << 53) as f64
    }

    /// A whole number below `bound`, each with the same probability.
    pub(super) fn next_below(&mut self, bound: u32) -> u32 {
        let bound = u64::from(bound);
        if bound.is_power_of_two() {
            return ((bound * self.next(31)) >> 31) as u32;
        }
        loop {
            let bits = self.next(31);
            let value = bits % bound;
            // a last range that is not whole would favour small numbers
            if bits - value + (bound - 1) < 1 << 31 {
                return value as u32;
            }
        }
    }

    /// The order in which ChromHMM visits so many files, sorted by name: by one number drawn for each.
    pub fn visiting_order(&mut self, files: usize) -> Vec<usize> {
        let keys: Vec<f64> = (0..files).map(|_| self.next_double()).collect();
        let mut order: Vec<usize> = (0..files).collect();
        order.sort_by(|&a, &b| keys[a].total_cmp(&keys[b]));
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_java() {
        // `new java.util.Random(42).nextDouble()`, twice, from the JDK
        let mut random = JavaRandom::new(42);
        assert_eq!(random.next_double(), 0.727_563_680_032_868_1);
        assert_eq!(random.next_double(), 0.683_223_471_759_845_4);
    }
}
