//! Forward-backward sweeps along one sequence of mark combinations, in memory that grows with length / [`BLOCK`].
//!
//! A backward sweep keeps one row a block; a forward sweep then fills block after block with both recursions and hands
//! it to a visitor. Rows are arrays of a fixed width, so that the compiler turns them into vector instructions. Both
//! recursions are scaled by the sum of the row before, which keeps the division off the chain of dependent operations.

use std::ops::Range;

/// Bins between two rows that are kept; a block of rows of both recursions stays in the first-level cache.
pub(super) const BLOCK: usize = 128;

/// The weights of a chain, padded with states that cannot be reached.
pub(super) struct Chain<const W: usize> {
    /// Probability of each state at the first bin.
    pub initial: [f64; W],
    /// `[from][to]`
    pub transitions: Box<[[f64; W]; W]>,
    /// `[to][from]`
    pub transposed: Box<[[f64; W]; W]>,
    /// `[patterns]` rows of the probability of a combination in each state, divided by the largest of them.
    pub emissions: Vec<[f64; W]>,
}

/// The filter after some bin: joint weights of states, their sum, and one over it.
#[derive(Clone, Copy)]
pub(super) struct Filtered<const W: usize> {
    pub row: [f64; W],
    pub total: f64,
    pub inverse: f64,
}

impl<const W: usize> Filtered<W> {
    /// Before the first bin.
    pub const START: Self = Self { row: [0.0; W], total: 0.0, inverse: 0.0 };

    fn of(row: [f64; W]) -> Self {
        let total = sum(&row);
        Self { row, total, inverse: 1.0 / total }
    }
}

/// Both recursions over the bins of a block.
pub(super) struct Block<const W: usize> {
    /// `[bins + 1]` the filter before the block and after each of its bins; each row sums to what its bin adds to the
    /// likelihood, given all before.
    pub filtered: Vec<Filtered<W>>,
    /// `[bins]` the weight of all later bins given the state, up to a factor a bin.
    pub later: Vec<[f64; W]>,
}

impl<const W: usize> Block<W> {
    pub fn new() -> Self {
        Self { filtered: Vec::with_capacity(BLOCK + 1), later: vec![[0.0; W]; BLOCK] }
    }
}

/// The sum of a row, by halves so that the additions do not wait for each other.
pub(super) fn sum<const W: usize>(row: &[f64; W]) -> f64 {
    let mut sums = [0.0; 2];
    for pair in row.as_chunks::<2>().0 {
        sums[0] += pair[0];
        sums[1] += pair[1];
    }
    sums[0] + sums[1]
}

pub(super) fn times<const W: usize>(a: &[f64; W], b: &[f64; W]) -> [f64; W] {
    let mut product = *a;
    for (p, b) in product.iter_mut().zip(b) {
        *p *= b;
    }
    product
}

pub(super) fn plus<const N: usize>(a: &[f64; N], b: &[f64; N]) -> [f64; N] {
    let mut sum = *a;
    for (s, b) in sum.iter_mut().zip(b) {
        *s += b;
    }
    sum
}

pub(super) fn scaled<const W: usize>(row: &[f64; W], factor: f64) -> [f64; W] {
    let mut product = *row;
    for p in &mut product {
        *p *= factor;
    }
    product
}

/// Row vector times matrix, `C` columns at a time with two partial sums each.
#[inline(always)]
fn advance<const W: usize, const C: usize>(row: &[f64; W], matrix: &[[f64; W]; W]) -> [f64; W] {
    let mut product = [0.0; W];
    for (chunk, product) in product.as_chunks_mut::<C>().0.iter_mut().enumerate() {
        let (mut even, mut odd) = ([0.0; C], [0.0; C]);
        for (weights, rows) in row.as_chunks::<2>().0.iter().zip(matrix.as_chunks::<2>().0) {
            let (first, second) = (&rows[0].as_chunks::<C>().0[chunk], &rows[1].as_chunks::<C>().0[chunk]);
            for c in 0..C {
                even[c] += weights[0] * first[c];
                odd[c] += weights[1] * second[c];
            }
        }
        for c in 0..C {
            product[c] = even[c] + odd[c];
        }
    }
    product
}

/// The blocks of a sequence of so many bins.
pub(super) fn blocks(bins: usize) -> impl DoubleEndedIterator<Item = Range<usize>> + ExactSizeIterator + Clone {
    (0..bins.div_ceil(BLOCK)).map(move |block| block * BLOCK..(block * BLOCK + BLOCK).min(bins))
}

impl<const W: usize> Chain<W> {
    /// The filter after one more bin.
    #[inline(always)]
    fn filter<const C: usize>(&self, before: &Filtered<W>, first: bool, pattern: u32) -> Filtered<W> {
        let emission = &self.emissions[pattern as usize];
        if first {
            return Filtered::of(times(&self.initial, emission));
        }
        let scaled = scaled(emission, before.inverse);
        Filtered::of(times(&advance::<W, C>(&before.row, &self.transitions), &scaled))
    }

    /// The backward recursion at one bin earlier.
    #[inline(always)]
    fn earlier<const C: usize>(&self, later: &[f64; W], pattern: u32) -> [f64; W] {
        let weights = times(later, &self.emissions[pattern as usize]);
        scaled(&advance::<W, C>(&weights, &self.transposed), 1.0 / sum(later))
    }

    /// The backward recursion at the last bin of each block.
    pub fn later_rows<const C: usize>(&self, patterns: &[u32]) -> Vec<[f64; W]> {
        let mut rows = vec![[1.0; W]; blocks(patterns.len()).len()];
        let mut row = [1.0; W];
        for (block, range) in blocks(patterns.len()).enumerate().rev() {
            rows[block] = row;
            for &pattern in patterns[range].iter().rev() {
                row = self.earlier::<C>(&row, pattern);
            }
        }
        rows
    }

    /// The filter before each block, as a sweep through [`Chain::fill`] has it.
    pub fn filtered_rows<const C: usize>(&self, patterns: &[u32]) -> Vec<Filtered<W>> {
        let mut filtered = Filtered::START;
        let mut rows = Vec::with_capacity(blocks(patterns.len()).len());
        for range in blocks(patterns.len()) {
            rows.push(filtered);
            for bin in range {
                filtered = self.filter::<C>(&filtered, bin == 0, patterns[bin]);
            }
        }
        rows
    }

    /// Runs both recursions through a block, from the filter before it and the backward row at its last bin.
    pub fn fill<const C: usize>(
        &self,
        patterns: &[u32],
        range: Range<usize>,
        before: Filtered<W>,
        after: [f64; W],
        block: &mut Block<W>,
    ) {
        let first = range.start == 0;
        let patterns = &patterns[range];
        let mut row = after;
        for (later, &pattern) in block.later[..patterns.len()].iter_mut().zip(patterns).rev() {
            *later = row;
            row = self.earlier::<C>(&row, pattern);
        }
        block.filtered.clear();
        block.filtered.push(before);
        let mut filtered = before;
        for (bin, &pattern) in patterns.iter().enumerate() {
            filtered = self.filter::<C>(&filtered, first && bin == 0, pattern);
            block.filtered.push(filtered);
        }
    }
}
