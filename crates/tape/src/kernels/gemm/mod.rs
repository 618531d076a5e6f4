//! Matrix products: packed and blocked for caches as in BLIS (Van Zee & van de Geijn 2015), direct where small.
//!
//! The order in which an element's terms are added depends on the sizes alone: k in blocks of [`DEPTH`], each summed
//! in order. Threads share rows and columns of the output.

mod pack;
mod scratch;
mod tile;
mod vector;

use std::ops::Range;
use std::thread::LocalKey;

pub(crate) use self::scratch::{Shelf, with_scratch};
use self::tile::Kernels;
pub(crate) use self::tile::{Bias, Dots, MAX_ROWS, Tile};
use crate::float::Float;
use crate::kernels::activation::Activation;
use crate::kernels::{SimdLevel, for_each_index, simd_level};

/// What a precision brings to products: register tiles, and buffers that its threads keep.
pub trait Machine: Sized + 'static {
    #[doc(hidden)]
    #[allow(private_interfaces)]
    fn kernels() -> &'static Kernels<Self>;
    #[doc(hidden)]
    #[allow(private_interfaces)]
    fn shelf() -> &'static LocalKey<Shelf<Self>>
    where
        Self: Float;
}

macro_rules! machine {
    ($scalar:ident: $plain:ident, $avx2:ident, $avx512:ident) => {
        impl Machine for $scalar {
            #[allow(private_interfaces)]
            fn kernels() -> &'static Kernels<Self> {
                match simd_level() {
                    #[cfg(target_arch = "x86_64")]
                    SimdLevel::Avx512 => &tile::$avx512,
                    #[cfg(target_arch = "x86_64")]
                    SimdLevel::Avx2 => &tile::$avx2,
                    _ => &tile::$plain,
                }
            }
            #[allow(private_interfaces)]
            fn shelf() -> &'static LocalKey<Shelf<Self>> {
                thread_local!(static SHELF: Shelf<$scalar> = const { Shelf::new(Vec::new()) });
                &SHELF
            }
        }
    };
}
machine!(f32: PLAIN_F32, AVX2_F32, AVX512_F32);
machine!(f64: PLAIN_F64, AVX2_F64, AVX512_F64);

/// A matrix in memory: the first element and the strides of its two axes.
#[derive(Clone, Copy)]
pub(crate) struct MatrixRef<'a, T> {
    pub data: &'a [T],
    pub row_stride: usize,
    pub col_stride: usize,
}

impl<'a, T> MatrixRef<'a, T> {
    /// A row-major matrix with `cols` columns.
    pub fn row_major(data: &'a [T], cols: usize) -> Self {
        Self { data, row_stride: cols, col_stride: 1 }
    }

    /// The transpose, without a copy.
    pub fn transposed(self) -> Self {
        Self { row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }

    fn holds(&self, rows: usize, cols: usize) -> bool {
        rows == 0 || cols == 0 || self.data.len() > (rows - 1) * self.row_stride + (cols - 1) * self.col_stride
    }
}

/// What happens to the elements of a finished product.
#[derive(Clone, Copy)]
pub(crate) struct Finish<'a, T> {
    /// Add to what is in the output.
    pub accumulate: bool,
    /// Added to every row.
    pub bias: Option<&'a [T]>,
    pub activation: Activation,
}

/// Terms that are summed in registers before the output is touched: a block of the left operand of [`ROWS`] rows stays
/// in a cache of the second level.
const DEPTH: usize = 512;
/// Rows of the output in one unit of parallel work.
const ROWS: usize = 128;
/// Columns of the output in one unit of parallel work, a multiple of every tile's columns.
const COLS: usize = 480;
/// Products below this many multiply-adds are not shared among threads.
const SHARED_FROM: usize = 1 << 18;
/// Elements of the right operand up to which its rows are read where they are.
const DIRECT: usize = 1 << 14;
/// Rows of the output from which packing a right operand costs little beside the product.
const PACK_FROM_ROWS: usize = 64;

/// Rows of the output up to which inner products beat the packing of a transposed right operand, when they have at
/// least [`SHORTEST_DOTS`] terms, which outweigh their last steps.
const DOTS_ROWS: usize = 64;
/// See [`DOTS_ROWS`].
const SHORTEST_DOTS: usize = 256;
/// Terms of inner products that are summed at a time: their rows stay in the caches.
const DOTS_DEPTH: usize = 1024;

/// A pointer that tasks may share because they write disjoint elements.
#[derive(Clone, Copy)]
pub(crate) struct Shared<T>(*mut T);
// SAFETY: each task writes its own elements only.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// A pointer to the first element.
    pub fn new(out: &mut [T]) -> Self {
        Self(out.as_mut_ptr())
    }

    /// # Safety
    /// The offset lies within the memory that the pointer was made from.
    pub unsafe fn at(&self, offset: usize) -> *mut T {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(offset) }
    }
}

/// out = a b, or out += a b when `accumulate`; a is `[m, k]`, b is `[k, n]`, out is row-major `[m, n]`.
///
/// # Panics
/// When an operand is too short for its shape and strides.
pub(crate) fn gemm<T: Float>(
    sizes: (usize, usize, usize),
    a: MatrixRef<'_, T>,
    b: MatrixRef<'_, T>,
    out: &mut [T],
    accumulate: bool,
) {
    gemm_with(sizes, a, b, out, Finish { accumulate, bias: None, activation: Activation::Identity });
}

/// The product of [`gemm`] with a bias of n elements and a nonlinearity at its end.
///
/// # Panics
/// When an operand is too short for its shape and strides.
pub(crate) fn gemm_with<T: Float>(
    (m, k, n): (usize, usize, usize),
    a: MatrixRef<'_, T>,
    b: MatrixRef<'_, T>,
    out: &mut [T],
    finish: Finish<'_, T>,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(out.len() >= m * n, "gemm: the output is too short");
    assert!(a.holds(m, k), "gemm: the left operand is too short");
    assert!(b.holds(k, n), "gemm: the right operand is too short");
    assert!(finish.bias.is_none_or(|bias| bias.len() >= n), "gemm: the bias is too short");
    let out = &mut out[..m * n];
    if n == 1 && m > 1 && finish.bias.is_none() {
        // a column is written as a row: its elements are the lanes
        return product((1, k, m), b.transposed(), a.transposed(), out, finish);
    }
    product((m, k, n), a, b, out, finish);
}

fn product<T: Float>(
    (m, k, n): (usize, usize, usize),
    a: MatrixRef<'_, T>,
    b: MatrixRef<'_, T>,
    out: &mut [T],
    finish: Finish<'_, T>,
) {
    let kernels = T::kernels();
    let along = a.col_stride == 1 && b.row_stride == 1;
    let few = m < kernels.rows && k >= kernels.lanes || m <= DOTS_ROWS && k >= SHORTEST_DOTS;
    if along && b.col_stride != 1 && few && finish.bias.is_none() {
        return inner_products((m, k, n), a, b, out, finish);
    }
    let shared = m * k.max(1) * n >= SHARED_FROM;
    let direct = b.col_stride == 1 && (m < PACK_FROM_ROWS || k * n <= DIRECT) && k * b.row_stride < 1 << 32;
    let direct_left = a.col_stride == 1 || m * k <= DIRECT;
    let width = kernels.cols();
    let (row_stride, col_stride) = (a.row_stride, a.col_stride);
    let target = Shared::new(out);
    let mut start = 0;
    // at least one pass: a product without terms still has a bias
    loop {
        let depth = DEPTH.min(k - start);
        let last = start + depth == k;
        let mut offsets = [0_u32; DEPTH];
        let step = if direct { b.row_stride } else { width };
        offsets[..depth].iter_mut().enumerate().for_each(|(i, offset)| *offset = (i * step) as u32);
        let block = Block {
            kernels,
            offsets: &offsets[..depth],
            direct,
            n,
            accumulate: finish.accumulate || start > 0,
            bias: if last { finish.bias } else { None },
            activation: if last { finish.activation } else { Activation::Identity },
            out: target,
        };
        let a = MatrixRef { data: a.data.get(start * a.col_stride..).unwrap_or(&[]), ..a };
        let b = MatrixRef { data: b.data.get(start * b.row_stride..).unwrap_or(&[]), ..b };
        let tasks = |right: &[T]| {
            let (row_blocks, col_blocks) = (m.div_ceil(ROWS), n.div_ceil(COLS));
            let task = |task: usize| {
                let rows = (task / col_blocks * ROWS)..(task / col_blocks * ROWS + ROWS).min(m);
                let cols = (task % col_blocks * COLS)..(task % col_blocks * COLS + COLS).min(n);
                if direct_left {
                    let a = &a.data[rows.start * a.row_stride..];
                    let left = Left { data: a, panel: kernels.rows * row_stride, row: row_stride, step: col_stride };
                    return block.run(left, right, rows, cols);
                }
                with_scratch(rows.len().next_multiple_of(kernels.rows) * depth, |packed: &mut [T]| {
                    pack::left(a, rows.clone(), depth, kernels.rows, packed);
                    let left = Left { data: packed, panel: kernels.rows * depth, row: 1, step: kernels.rows };
                    block.run(left, right, rows, cols);
                });
            };
            if shared {
                for_each_index(row_blocks * col_blocks, task);
            } else {
                (0..row_blocks * col_blocks).for_each(task);
            }
        };
        if direct {
            tasks(b.data);
        } else {
            with_scratch(n.div_ceil(width) * width * depth, |packed: &mut [T]| {
                pack::right(b, (depth, n), width, packed, shared);
                tasks(packed);
            });
        }
        start += depth;
        if last {
            break;
        }
    }
}

/// Rows of a left operand: row r starts at `r / R * panel + r % R * row`, where R is the rows of a tile.
#[derive(Clone, Copy)]
struct Left<'a, T> {
    data: &'a [T],
    panel: usize,
    row: usize,
    /// The distance between neighbours in a row.
    step: usize,
}

/// One block of k of a product.
struct Block<'a, T: 'static> {
    kernels: &'a Kernels<T>,
    offsets: &'a [u32],
    /// Whether the right operand is read where it is, rather than from panels of a tile's columns.
    direct: bool,
    n: usize,
    accumulate: bool,
    bias: Option<&'a [T]>,
    activation: Activation,
    out: Shared<T>,
}

impl<T: Float> Block<'_, T> {
    /// Computes the given rows and columns of the output; `left` starts at the first of the rows, `right` is whole.
    fn run(&self, left: Left<'_, T>, right: &[T], rows: Range<usize>, cols: Range<usize>) {
        let (kernels, depth) = (self.kernels, self.offsets.len());
        let mut j = cols.start;
        while j < cols.end {
            let mut width = kernels.cols().min(cols.end - j);
            if self.direct && width > kernels.lanes {
                // whole vectors, then the rest, which must not be read beyond
                width = width / kernels.lanes * kernels.lanes;
            }
            let right_at = if self.direct { j } else { j * depth };
            let mut i = 0;
            while i < rows.len() {
                let height = kernels.rows.min(rows.len() - i);
                let mut starts = [left.data.as_ptr(); MAX_ROWS];
                for (r, start) in starts.iter_mut().enumerate() {
                    let row = i + r.min(height - 1);
                    let offset = row / kernels.rows * left.panel + row % kernels.rows * left.row;
                    *start = left.data.as_ptr().wrapping_add(offset);
                }
                // SAFETY: `gemm_with` checked that operands and output hold all rows, columns and terms; rows beyond
                // the last repeat it; panels are padded to whole vectors, and without panels `width` is either whole
                // vectors or less than one. Tasks write disjoint elements.
                unsafe {
                    (kernels.tile)(&Tile {
                        left: starts,
                        step: left.step,
                        right: right.as_ptr().wrapping_add(right_at),
                        offsets: self.offsets,
                        out: self.out.at((rows.start + i) * self.n + j),
                        out_step: self.n,
                        rows: height,
                        cols: width,
                        padded: !self.direct,
                        accumulate: self.accumulate,
                        bias: self.bias.map_or(Bias::None, |bias| Bias::Cols(bias[j..].as_ptr())),
                        relu: self.activation == Activation::Relu,
                    });
                }
                i += height;
            }
            j += width;
        }
        for i in rows {
            // SAFETY: this task alone writes these elements.
            let row = unsafe { std::slice::from_raw_parts_mut(self.out.at(i * self.n + cols.start), cols.len()) };
            self.activation.finish(row);
        }
    }
}

/// The product as inner products of rows of both operands.
fn inner_products<T: Float>(
    (m, k, n): (usize, usize, usize),
    a: MatrixRef<'_, T>,
    b: MatrixRef<'_, T>,
    out: &mut [T],
    finish: Finish<'_, T>,
) {
    let kernels = T::kernels();
    let (rows, cols) = kernels.dots_size;
    let target = Shared::new(out);
    let tasks = n.div_ceil(COLS);
    let task = |task: usize| {
        let columns = || (task * COLS..n.min((task + 1) * COLS)).step_by(cols);
        let tiles = |start| columns().flat_map(move |j| (0..m).step_by(rows).map(move |i| (start, i, j)));
        for (start, i, j) in (0..k).step_by(DOTS_DEPTH).flat_map(tiles) {
            let (height, width) = (rows.min(m - i), cols.min(n - j));
            let at =
                |matrix: &MatrixRef<'_, T>, row: usize, stride: usize| matrix.data[row * stride + start..].as_ptr();
            // SAFETY: `gemm_with` checked that the operands hold all rows of k terms, which are contiguous, and
            // the output all elements; tasks write disjoint columns.
            unsafe {
                (kernels.dots)(&Dots {
                    left: std::array::from_fn(|r| at(&a, i + r.min(height - 1), a.row_stride)),
                    right: std::array::from_fn(|r| at(&b, j + r.min(width - 1), b.col_stride)),
                    len: DOTS_DEPTH.min(k - start),
                    rows: height,
                    cols: width,
                    out: target.at(i * n + j),
                    out_step: n,
                    accumulate: finish.accumulate || start > 0,
                });
            }
        }
    };
    if m * k * n >= SHARED_FROM {
        for_each_index(tasks, task)
    } else {
        (0..tasks).for_each(task)
    }
    finish.activation.whole(out);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers(len: usize, salt: usize) -> Vec<f64> {
        (0..len).map(|i| ((i * 7 + salt * 13) % 17) as f64 - 8.0).collect()
    }

    /// A matrix stored with gaps and perhaps transposed, and its elements row by row.
    fn stored<T: Float>(rows: usize, cols: usize, turned: bool, gap: usize, salt: usize) -> (Vec<T>, usize, Vec<f64>) {
        let values = numbers(rows * cols, salt);
        let (outer, inner) = if turned { (cols, rows) } else { (rows, cols) };
        let mut data = vec![T::of(f64::NAN); outer * (inner + gap)];
        for i in 0..rows {
            for j in 0..cols {
                let (o, p) = if turned { (j, i) } else { (i, j) };
                data[o * (inner + gap) + p] = T::of(values[i * cols + j]);
            }
        }
        (data, inner + gap, values)
    }

    /// Small whole numbers have exact products, so that every order of summation gives the same.
    fn compare<T: Float>((m, k, n): (usize, usize, usize), turned: [bool; 2], gaps: [usize; 2], accumulate: bool) {
        let (a, a_stride, a_values) = stored::<T>(m, k, turned[0], gaps[0], 1);
        let (b, b_stride, b_values) = stored::<T>(k, n, turned[1], gaps[1], 2);
        let mut a = MatrixRef::row_major(&a, a_stride);
        let mut b = MatrixRef::row_major(&b, b_stride);
        if turned[0] {
            a = a.transposed();
        }
        if turned[1] {
            b = b.transposed();
        }
        let bias: Vec<T> = numbers(n, 3).iter().map(|v| T::of(*v)).collect();
        for (with_bias, activation) in
            [(false, Activation::Identity), (true, Activation::Relu), (true, Activation::Identity)]
        {
            let mut out = vec![T::of(5.0); m * n];
            let finish = Finish { accumulate, bias: with_bias.then_some(&bias[..]), activation };
            gemm_with((m, k, n), a, b, &mut out, finish);
            for i in 0..m {
                for j in 0..n {
                    let mut sum: f64 = (0..k).map(|l| a_values[i * k + l] * b_values[l * n + j]).sum();
                    sum += if accumulate { 5.0 } else { 0.0 } + if with_bias { bias[j].to_f64() } else { 0.0 };
                    sum = if activation == Activation::Relu { sum.max(0.0) } else { sum };
                    assert_eq!(out[i * n + j].to_f64(), sum, "[{i}, {j}] of {m} x {k} x {n}, {turned:?} {with_bias}");
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn products_of_strided_and_transposed_operands_match_the_definition(
            m in 0_usize..67, k in 0_usize..67, n in 0_usize..67,
            turned in any::<[bool; 2]>(), gaps in [0_usize..4, 0_usize..4], accumulate in any::<bool>(),
        ) {
            compare::<f32>((m, k, n), turned, gaps, accumulate);
            compare::<f64>((m, k, n), turned, gaps, accumulate);
        }
    }

    #[test]
    fn products_of_many_blocks_match_the_definition() {
        for sizes in
            [(150, 600, 500), (70, 1100, 30), (3, 1300, 7), (30, 300, 20), (1, 2000, 500), (600, 9, 1), (1, 700, 1)]
        {
            for turned in [[false, false], [true, false], [false, true], [true, true]] {
                compare::<f32>(sizes, turned, [0, 1], false);
            }
        }
        compare::<f64>((150, 600, 500), [true, true], [1, 0], true);
    }
}
