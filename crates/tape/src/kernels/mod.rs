//! Loops over plain slices: SIMD dispatch, threads, matrix products. All `unsafe` of the engine is below here.

pub(crate) mod activation;
pub(crate) mod attention;
pub(crate) mod buffer;
pub(crate) mod convolution;
pub(crate) mod dense;
pub(crate) mod fourier;
pub(crate) mod gates;
pub(crate) mod gemm;
pub(crate) mod indexed;
pub(crate) mod markov;
pub(crate) mod math32;
pub(crate) mod operand;
pub(crate) mod reduce;
pub(crate) mod rows;
pub(crate) mod selective_scan;
pub(crate) mod strided;
pub(crate) mod sweep;
pub(crate) mod tile;
pub(crate) mod tiles;

use std::cell::Cell;
use std::sync::OnceLock;

/// The instruction set that kernels run with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SimdLevel {
    /// What the compiler's baseline target offers; no fused multiply-add is assumed.
    Portable,
    /// AVX2 with FMA (x86-64).
    Avx2,
    /// AVX-512 F, VL, BW and DQ (x86-64).
    Avx512,
}

/// The instruction set in use: the best the CPU has, or lower when `GRADOME_SIMD` says
/// `portable`, `avx2` or `avx512`.
///
/// # Panics
/// When `GRADOME_SIMD` holds another word.
pub fn simd_level() -> SimdLevel {
    static LEVEL: OnceLock<SimdLevel> = OnceLock::new();
    *LEVEL.get_or_init(|| {
        let best = detected();
        match std::env::var("GRADOME_SIMD").as_deref() {
            Err(_) | Ok("") => best,
            Ok("portable") => SimdLevel::Portable,
            Ok("avx2") => SimdLevel::Avx2.min(best),
            Ok("avx512") => SimdLevel::Avx512.min(best),
            Ok(word) => panic!("GRADOME_SIMD is '{word}'; it takes portable, avx2 or avx512"),
        }
    })
}

#[cfg(target_arch = "x86_64")]
fn detected() -> SimdLevel {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq");
    match (avx2, avx512) {
        (true, true) => SimdLevel::Avx512,
        (true, false) => SimdLevel::Avx2,
        _ => SimdLevel::Portable,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detected() -> SimdLevel {
    SimdLevel::Portable
}

/// Defines a function whose body is compiled once for each [`SimdLevel`] and chosen at run time.
///
/// The body is generic over a lane type named in the brackets: `T` itself, or `T::Fused` (with fused multiply-add)
/// where the CPU has it. Written as scalar loops, it is vectorised by the compiler at each level's width.
macro_rules! simd_kernel {
    ($(#[$meta:meta])* $vis:vis fn $name:ident [$T:ident, $L:ident $(, $P:ident : $bound:path)*]
        ($($arg:ident : $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name<$T: $crate::float::Float $(, $P: $bound)*>($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn body<$T: $crate::float::Float, $L: $crate::lane::Lane<Scalar = $T> $(, $P: $bound)*>(
                $($arg: $ty),*
            ) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            fn avx512<$T: $crate::float::Float $(, $P: $bound)*>($($arg: $ty),*) $(-> $ret)? {
                body::<$T, $T::Fused $(, $P)*>($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            fn avx2<$T: $crate::float::Float $(, $P: $bound)*>($($arg: $ty),*) $(-> $ret)? {
                body::<$T, $T::Fused $(, $P)*>($($arg),*)
            }

            match $crate::kernels::simd_level() {
                // SAFETY: `simd_level` found these features on this CPU.
                #[cfg(target_arch = "x86_64")]
                $crate::kernels::SimdLevel::Avx512 => unsafe { avx512::<$T $(, $P)*>($($arg),*) },
                // SAFETY: `simd_level` found these features on this CPU.
                #[cfg(target_arch = "x86_64")]
                $crate::kernels::SimdLevel::Avx2 => unsafe { avx2::<$T $(, $P)*>($($arg),*) },
                _ => body::<$T, $T $(, $P)*>($($arg),*),
            }
        }
    };
}
pub(crate) use simd_kernel;

/// Elements in one unit of work. Sums are taken within a chunk and chunks are combined in order,
/// so the partition, and with it every bit of a result, depends on shapes alone.
pub(crate) const CHUNK: usize = 32 * 1024;

/// Rows of `width` elements that make up about one [`CHUNK`].
pub(crate) fn rows_per_chunk(width: usize) -> usize {
    (CHUNK / width.max(1)).max(1)
}

thread_local! {
    /// Whether kernels that this thread calls stay on it.
    static ALONE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` with all its kernels on this thread, for callers that give each thread a computation of its own. The
/// results have the same bits either way.
pub fn on_this_thread<R>(work: impl FnOnce() -> R) -> R {
    /// Puts back what was before, also when `work` panics.
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            ALONE.set(self.0);
        }
    }
    let _restore = Restore(ALONE.replace(true));
    work()
}

/// Threads that a kernel shares its work among.
pub(crate) fn threads() -> usize {
    if ALONE.get() { 1 } else { rayon::current_num_threads() }
}

/// Runs `work` once for every index below `count`, on the current rayon pool when there is more than one.
pub(crate) fn for_each_index(count: usize, work: impl Fn(usize) + Sync) {
    let nothing: [&mut [()]; 0] = [];
    for_each_part(count, nothing, [], &|index, []| work(index));
}

/// Splits `out` in pieces of `size` elements and runs `work(index, piece)` on each.
pub(crate) fn for_each_chunk<T: Send>(out: &mut [T], size: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    let size = size.max(1);
    for_each_part(out.len().div_ceil(size), [out], [size], &|index, [piece]| work(index, piece));
}

/// Splits two arrays in matching pieces and runs `work(index, piece_a, piece_b)` on each pair.
pub(crate) fn for_each_chunk2<T: Send>(
    a: &mut [T],
    size_a: usize,
    b: &mut [T],
    size_b: usize,
    work: impl Fn(usize, &mut [T], &mut [T]) + Sync,
) {
    let (size_a, size_b) = (size_a.max(1), size_b.max(1));
    let count = a.len().div_ceil(size_a).min(b.len().div_ceil(size_b));
    for_each_part(count, [a, b], [size_a, size_b], &|index, [a, b]| work(index, a, b));
}

/// Splits several arrays in `count` matching pieces, each of its own size (the last may be shorter), and runs
/// `work(index, pieces)` on each set.
pub(crate) fn for_each_part<T: Send, const N: usize>(
    count: usize,
    arrays: [&mut [T]; N],
    sizes: [usize; N],
    work: &(impl Fn(usize, [&mut [T]; N]) + Sync),
) {
    // neighbouring pieces that one thread works on: few enough to share the work evenly
    let grain = match threads() {
        1 => count,
        threads => count.div_ceil(8 * threads),
    };
    parts(0..count, grain, arrays, sizes, work);
}

/// The pieces of a range of indices. `work` is called through a pointer, so that what rayon needs to share work is
/// compiled once for all kernels.
fn parts<T: Send, const N: usize>(
    range: std::ops::Range<usize>,
    grain: usize,
    mut arrays: [&mut [T]; N],
    sizes: [usize; N],
    work: &(dyn Fn(usize, [&mut [T]; N]) + Sync),
) {
    if range.len() > grain {
        let middle = range.start + range.len() / 2;
        let before = split_front(&mut arrays, sizes, middle - range.start);
        rayon::join(
            || parts(range.start..middle, grain, before, sizes, work),
            || parts(middle..range.end, grain, arrays, sizes, work),
        );
    } else {
        for index in range {
            work(index, split_front(&mut arrays, sizes, 1));
        }
    }
}

/// Takes the first `count` pieces off several arrays.
fn split_front<'a, T, const N: usize>(
    arrays: &mut [&'a mut [T]; N],
    sizes: [usize; N],
    count: usize,
) -> [&'a mut [T]; N] {
    std::array::from_fn(|i| {
        let at = arrays[i].len().min(count * sizes[i]);
        arrays[i].split_off_mut(..at).expect("it ends within the array")
    })
}

/// Splits an array in consecutive pieces of the given sizes.
pub(crate) fn split_pieces<T>(mut data: &mut [T], sizes: impl Iterator<Item = usize>) -> Vec<&mut [T]> {
    sizes.map(|size| data.split_off_mut(..size).expect("the sizes add up to the array's")).collect()
}

/// Runs `work(index, piece)` on every piece of a partition.
pub(crate) fn for_each_piece<P: Send>(pieces: Vec<P>, work: impl Fn(usize, P) + Sync) {
    let mut pieces: Vec<Option<P>> = pieces.into_iter().map(Some).collect();
    for_each_chunk(&mut pieces, 1, |index, piece| work(index, piece[0].take().expect("each piece is taken once")));
}

/// Asks for memory that is needed soon, to be read or written, while there is other work.
pub(crate) fn prefetch<T>(data: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for line in data.chunks(64 / size_of::<T>()) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint about memory that `data` holds; it changes nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = data;
}

/// Accumulators of a fold in strict order: independent partial results that fill the widest registers twice.
pub(crate) const PARTIALS: usize = 32;

/// The sum of `term` over the elements of arrays of one length, in [`PARTIALS`] interleaved partial sums that are then
/// added pairwise.
///
/// The order is fixed, so that the value does not depend on the instruction set's width.
#[inline(always)]
pub(crate) fn sum_of<L: crate::lane::Lane, const N: usize>(x: [&[L::Scalar]; N], term: impl Fn([L; N]) -> L) -> L {
    fold_of(x, L::of(0.0), |a, b| a + b, term)
}

/// The largest `value` of the elements of arrays of one length (NaN if any is NaN); negative infinity when there is
/// none.
#[inline(always)]
pub(crate) fn max_of<L: crate::lane::Lane, const N: usize>(x: [&[L::Scalar]; N], value: impl Fn([L; N]) -> L) -> L {
    fold_of(x, L::of(f64::NEG_INFINITY), larger, value)
}

/// The larger of two; NaN if either is.
#[inline(always)]
#[allow(clippy::eq_op)]
pub(crate) fn larger<L: crate::lane::Lane>(best: L, value: L) -> L {
    L::select(value > best || value != value, value, best)
}

#[inline(always)]
fn fold_of<L: crate::lane::Lane, const N: usize>(
    x: [&[L::Scalar]; N],
    nothing: L,
    join: impl Fn(L, L) -> L,
    value: impl Fn([L; N]) -> L,
) -> L {
    let len = x[0].len();
    let blocks = x.map(|x| x[..len].as_chunks::<PARTIALS>());
    let mut partial = [nothing; PARTIALS];
    for block in 0..len / PARTIALS {
        let x: [&[L::Scalar; PARTIALS]; N] = std::array::from_fn(|k| &blocks[k].0[block]);
        for (lane, partial) in partial.iter_mut().enumerate() {
            *partial = join(*partial, value(std::array::from_fn(|k| L::new(x[k][lane]))));
        }
    }
    // the rest as a block of its own: an index that is not known beforehand would keep `partial` out of registers
    let rest = len % PARTIALS;
    if rest > 0 {
        let mut x = [[L::of(0.0).get(); PARTIALS]; N];
        for (x, (_, tail)) in x.iter_mut().zip(blocks) {
            x[..rest].copy_from_slice(tail);
        }
        for (lane, partial) in partial.iter_mut().enumerate() {
            let joined = join(*partial, value(std::array::from_fn(|k| L::new(x[k][lane]))));
            *partial = L::select(lane < rest, joined, *partial);
        }
    }
    let mut width = PARTIALS / 2;
    while width > 0 {
        for lane in 0..width {
            partial[lane] = join(partial[lane], partial[lane + width]);
        }
        width /= 2;
    }
    partial[0]
}

/// Columns that are reduced side by side.
pub(crate) const COLUMNS: usize = 32;

/// Folds up to [`COLUMNS`] neighbouring columns of `n` rows: `step(state, element, column)`.
///
/// `x` starts at the first column's first element, and rows are `stride` elements apart.
#[inline(always)]
pub(crate) fn fold_columns<L: crate::lane::Lane>(
    x: &[L::Scalar],
    (n, stride, columns): (usize, usize, usize),
    start: L,
    step: impl Fn(L, L, usize) -> L,
) -> [L; COLUMNS] {
    let mut state = [start; COLUMNS];
    for row in 0..n {
        let row = &x[row * stride..row * stride + columns];
        for (column, (state, x)) in state.iter_mut().zip(row).enumerate() {
            *state = step(*state, L::new(*x), column);
        }
    }
    state
}

/// Fills `out` of shape `[outer, inner]` from an operand of shape `[outer, n, inner]`: `work(start, out)` gets runs of
/// neighbouring columns and the position in the operand of the first one's first element.
pub(crate) fn for_each_column_run<T: Send>(
    out: &mut [T],
    (_, n, inner): (usize, usize, usize),
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    if inner == 0 {
        return;
    }
    let run = rows_per_chunk(n).max(COLUMNS);
    if run < inner {
        for (outer, out) in out.chunks_mut(inner).enumerate() {
            for_each_chunk(out, run, |i, out| work(outer * n * inner + i * run, out));
        }
    } else {
        let rows = rows_per_chunk(n * inner);
        for_each_chunk(out, rows * inner, |i, out| {
            for (row, out) in out.chunks_mut(inner).enumerate() {
                work((i * rows + row) * n * inner, out);
            }
        });
    }
}

/// Splits an array of shape `[outer, n, inner]` in runs of whole `[n, inner]` blocks: `work(first block, run)`.
pub(crate) fn for_each_block_run<T: Send>(
    out: &mut [T],
    (_, n, inner): (usize, usize, usize),
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    if n * inner > 0 {
        let blocks = rows_per_chunk(n * inner);
        for_each_chunk(out, blocks * n * inner, |i, out| work(i * blocks, out));
    }
}
