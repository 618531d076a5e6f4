//! Register tiles: the innermost loops of all products, compiled for each instruction set.

use super::vector::{Plain, Vector};

/// Vectors in a row of the largest tile.
pub(crate) const VECTORS: usize = 3;
/// Rows of the largest tile of any instruction set.
pub(crate) const MAX_ROWS: usize = 8;
/// Rows of the largest tile of inner products of any instruction set.
pub(crate) const DOT_ROWS: usize = 4;
/// Its columns.
pub(crate) const DOT_COLS: usize = 6;

/// What is added to a finished product.
#[derive(Clone, Copy)]
pub(crate) enum Bias<S> {
    /// Nothing.
    None,
    /// One number for each row.
    Rows(*const S),
    /// One number for each column.
    Cols(*const S),
}

/// One register tile: out[i, j] = sum over k of left[i][k step] right[offsets[k] + j].
pub(crate) struct Tile<'a, S> {
    /// The rows of the left operand; those from `rows` on repeat the last one.
    pub left: [*const S; MAX_ROWS],
    /// The distance between neighbours in a row of the left operand.
    pub step: usize,
    pub right: *const S,
    /// Where row k of the right operand starts, from `right` on.
    pub offsets: &'a [u32],
    pub out: *mut S,
    /// The distance between rows of the output.
    pub out_step: usize,
    /// At most the instruction set's rows.
    pub rows: usize,
    /// At most the instruction set's columns.
    pub cols: usize,
    /// Whether the right operand may be read up to a whole vector beyond `cols`.
    pub padded: bool,
    /// Add to what is in `out`.
    pub accumulate: bool,
    pub bias: Bias<S>,
    /// Replace negative results by 0.
    pub relu: bool,
}

/// A tile of inner products: out[i, j] = sum over k of left[i][k] right[j][k].
pub(crate) struct Dots<S> {
    /// Those from `rows` on repeat the last one.
    pub left: [*const S; DOT_ROWS],
    /// Those from `cols` on repeat the last one.
    pub right: [*const S; DOT_COLS],
    pub len: usize,
    pub rows: usize,
    pub cols: usize,
    pub out: *mut S,
    pub out_step: usize,
    pub accumulate: bool,
}

/// The tiles of one instruction set.
pub(crate) struct Kernels<S: 'static> {
    /// Rows of the largest tile.
    pub rows: usize,
    /// Lanes of a vector.
    pub lanes: usize,
    /// Rows and columns of the largest tile of inner products.
    pub dots_size: (usize, usize),
    /// # Safety
    /// The CPU has the instruction set; the pointers are valid for the sizes.
    pub tile: unsafe fn(&Tile<'_, S>),
    /// # Safety
    /// As for `tile`.
    pub dots: unsafe fn(&Dots<S>),
}

impl<S> Kernels<S> {
    /// Columns of the largest tile.
    pub fn cols(&self) -> usize {
        VECTORS * self.lanes
    }
}

/// # Safety
/// The instruction set of `V` is there and the pointers of `t` are valid for its sizes.
#[inline(always)]
unsafe fn tile_of<V: Vector, const R: usize, const N: usize, const PART: bool>(t: &Tile<'_, V::Scalar>) {
    // SAFETY: the caller's promise covers every access: rows below `rows`, columns below `cols` (rounded up to whole
    // vectors where `padded`), k below the number of offsets.
    unsafe {
        let mut sums = [[V::zero(); N]; R];
        let mut left = [t.left[0]; R];
        left.copy_from_slice(&t.left[..R]);
        let mut at = 0;
        for &offset in t.offsets {
            let right = t.right.add(offset as usize);
            let mut b = [V::zero(); N];
            for (j, b) in b.iter_mut().enumerate() {
                *b = if PART { V::load_first(right, t.cols) } else { V::load(right.add(j * V::LANES)) };
            }
            for i in 0..R {
                let a = V::splat(left[i].add(at));
                for j in 0..N {
                    sums[i][j] = a.mul_add(b[j], sums[i][j]);
                }
            }
            at += t.step;
        }
        let plain = matches!(t.bias, Bias::None) && !t.relu;
        if plain && t.rows == R && t.cols == N * V::LANES {
            // loops of known length alone, so that the sums go from registers to the output
            if t.accumulate {
                for (i, sums) in sums.iter().enumerate() {
                    for (j, sum) in sums.iter().enumerate() {
                        let out = t.out.add(i * t.out_step + j * V::LANES);
                        sum.add(V::load(out)).store(out);
                    }
                }
            } else {
                for (i, sums) in sums.iter().enumerate() {
                    for (j, sum) in sums.iter().enumerate() {
                        sum.store(t.out.add(i * t.out_step + j * V::LANES));
                    }
                }
            }
            return;
        }
        // an array of its own, as one that is read at places not known beforehand cannot stay in registers
        let sums: [[V; N]; R] = std::array::from_fn(|i| std::array::from_fn(|j| sums[i][j]));
        for (i, sums) in sums.iter().enumerate() {
            if i == t.rows {
                break;
            }
            for (j, sum) in sums.iter().enumerate() {
                let start = j * V::LANES;
                let len = V::LANES.min(t.cols - start);
                let out = t.out.add(i * t.out_step + start);
                let mut value = *sum;
                match t.bias {
                    Bias::None => {}
                    Bias::Rows(bias) => value = value.add(V::splat(bias.add(i))),
                    Bias::Cols(bias) => value = value.add(V::load_first(bias.add(start), len)),
                }
                if len == V::LANES {
                    if t.accumulate {
                        value = value.add(V::load(out));
                    }
                    if t.relu {
                        value = value.relu();
                    }
                    value.store(out);
                } else {
                    if t.accumulate {
                        value = value.add(V::load_first(out, len));
                    }
                    if t.relu {
                        value = value.relu();
                    }
                    value.store_first(out, len);
                }
            }
        }
    }
}

/// # Safety
/// As for [`tile_of`].
#[inline(always)]
unsafe fn tile_rows<V: Vector, const R: usize>(t: &Tile<'_, V::Scalar>) {
    // SAFETY: the caller's promise.
    unsafe {
        match t.cols.div_ceil(V::LANES) {
            3 => tile_of::<V, R, 3, false>(t),
            2 => tile_of::<V, R, 2, false>(t),
            _ if t.padded || t.cols == V::LANES => tile_of::<V, R, 1, false>(t),
            _ => tile_of::<V, R, 1, true>(t),
        }
    }
}

/// # Safety
/// As for [`tile_of`].
#[inline(always)]
unsafe fn tile<V: Vector>(t: &Tile<'_, V::Scalar>) {
    debug_assert!(t.rows <= V::ROWS && t.cols <= VECTORS * V::LANES);
    debug_assert!(t.padded || t.cols < V::LANES || t.cols.is_multiple_of(V::LANES));
    // SAFETY: the caller's promise.
    unsafe {
        match t.rows {
            1 => tile_rows::<V, 1>(t),
            2 => tile_rows::<V, 2>(t),
            3 | 4 => tile_rows::<V, 4>(t),
            _ if V::ROWS == 8 => tile_rows::<V, 8>(t),
            _ => unreachable!("a tile of this instruction set has at most four rows"),
        }
    }
}

/// # Safety
/// The instruction set of `V` is there and the pointers of `d` are valid for its sizes.
#[inline(always)]
unsafe fn dots_of<V: Vector, const R: usize, const C: usize>(d: &Dots<V::Scalar>) {
    // SAFETY: the caller's promise: every row has `len` elements.
    unsafe {
        let mut sums = [[V::zero(); C]; R];
        let mut left = [d.left[0]; R];
        left.copy_from_slice(&d.left[..R]);
        let mut right = [d.right[0]; C];
        right.copy_from_slice(&d.right[..C]);
        let whole = d.len / V::LANES * V::LANES;
        let mut at = 0;
        while at < whole {
            let mut a = [V::zero(); R];
            for (a, left) in a.iter_mut().zip(left) {
                *a = V::load(left.add(at));
            }
            for j in 0..C {
                let b = V::load(right[j].add(at));
                for i in 0..R {
                    sums[i][j] = a[i].mul_add(b, sums[i][j]);
                }
            }
            at += V::LANES;
        }
        if at < d.len {
            let mut a = [V::zero(); R];
            for (a, left) in a.iter_mut().zip(left) {
                *a = V::load_first(left.add(at), d.len - at);
            }
            for j in 0..C {
                let b = V::load_first(right[j].add(at), d.len - at);
                for i in 0..R {
                    sums[i][j] = a[i].mul_add(b, sums[i][j]);
                }
            }
        }
        // all sums at constant positions, so that they stay in registers
        let mut totals = [[sums[0][0].sum(); C]; R];
        for i in 0..R {
            for j in 0..C {
                totals[i][j] = sums[i][j].sum();
            }
        }
        for (i, totals) in totals.iter().enumerate().take(d.rows) {
            for (j, total) in totals.iter().enumerate().take(d.cols) {
                let out = d.out.add(i * d.out_step + j);
                if d.accumulate {
                    *out += *total;
                } else {
                    *out = *total;
                }
            }
        }
    }
}

/// # Safety
/// As for [`dots_of`].
#[inline(always)]
unsafe fn dots<V: Vector>(d: &Dots<V::Scalar>) {
    // SAFETY: the caller's promise.
    unsafe {
        match (V::ROWS, d.rows) {
            (8, 1) => dots_of::<V, 1, 6>(d),
            (8, _) => dots_of::<V, 4, 6>(d),
            (_, 1) => dots_of::<V, 1, 4>(d),
            _ => dots_of::<V, 3, 4>(d),
        }
    }
}

/// The kernels of one vector type, compiled with the features that it needs.
macro_rules! kernels {
    ($name:ident, $vector:ty, $dots:expr $(, #[$features:meta])?) => {
        pub(crate) static $name: Kernels<<$vector as Vector>::Scalar> = {
            /// # Safety
            /// As for [`tile_of`].
            $(#[$features])?
            unsafe fn run_tile(t: &Tile<'_, <$vector as Vector>::Scalar>) {
                // SAFETY: the caller's promise.
                unsafe { tile::<$vector>(t) }
            }
            /// # Safety
            /// As for [`dots_of`].
            $(#[$features])?
            unsafe fn run_dots(d: &Dots<<$vector as Vector>::Scalar>) {
                // SAFETY: the caller's promise.
                unsafe { dots::<$vector>(d) }
            }
            Kernels {
                rows: <$vector as Vector>::ROWS,
                lanes: <$vector as Vector>::LANES,
                dots_size: $dots,
                tile: run_tile,
                dots: run_dots,
            }
        };
    };
}

kernels!(PLAIN_F32, Plain<f32, 4>, (3, 4));
kernels!(PLAIN_F64, Plain<f64, 2>, (3, 4));
#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{__m256, __m256d, __m512, __m512d};

    use super::*;

    kernels!(AVX2_F32, __m256, (3, 4), #[target_feature(enable = "avx2,fma")]);
    kernels!(AVX2_F64, __m256d, (3, 4), #[target_feature(enable = "avx2,fma")]);
    kernels!(AVX512_F32, __m512, (4, 6), #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]);
    kernels!(AVX512_F64, __m512d, (4, 6), #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]);
}
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::*;
