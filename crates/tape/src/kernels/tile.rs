//! Products of small blocks that lie in the caches, on one thread: the inner loops of ops that work block by block.

use crate::float::Float;
use crate::kernels::gemm::MatrixRef;
use crate::kernels::{SimdLevel, simd_kernel, simd_level};
use crate::lane::Lane;

/// Elements in a cache line, which is also the widest register.
pub(crate) const fn line<T>() -> usize {
    64 / size_of::<T>()
}

/// Columns of a [`Panels`] panel: two of the widest registers.
pub(crate) const fn panel<T>() -> usize {
    2 * line::<T>()
}

/// A matrix `[k, n]` cut in panels of [`panel`] columns, each of which is row-major; the last is padded with zeros.
///
/// The rows of a panel follow each other in memory, so that a product streams through them.
#[derive(Clone, Copy)]
pub(crate) struct Panels<'a, T> {
    data: &'a [T],
    /// Elements from one panel to the next.
    stride: usize,
}

impl<'a, T: Float> Panels<'a, T> {
    /// How many elements the panels of a `[k, n]` matrix take.
    pub fn size(k: usize, n: usize) -> usize {
        k * n.next_multiple_of(panel::<T>())
    }

    /// Copies a `[k, n]` matrix times `factor` into panels.
    pub fn pack(source: MatrixRef<'_, T>, (k, n): (usize, usize), factor: T, room: &'a mut [T]) -> Self {
        let width = panel::<T>();
        let stride = k * width;
        for (index, panel) in room[..Self::size(k, n)].chunks_exact_mut(stride.max(1)).enumerate() {
            let start = index * width;
            let columns = width.min(n - start);
            if source.row_stride == 1 {
                // a transposed matrix is read along its rows in memory
                if columns < width {
                    panel.fill(T::ZERO);
                }
                for c in 0..columns {
                    let row = &source.data[(start + c) * source.col_stride..][..k];
                    row.iter().zip(panel[c..].iter_mut().step_by(width)).for_each(|(x, out)| *out = *x * factor);
                }
            } else {
                debug_assert_eq!(source.col_stride, 1);
                for (r, out) in panel.chunks_exact_mut(width).enumerate() {
                    let row = &source.data[r * source.row_stride + start..][..columns];
                    row.iter().zip(out.iter_mut()).for_each(|(x, out)| *out = *x * factor);
                    out[columns..].fill(T::ZERO);
                }
            }
        }
        Self { data: room, stride }
    }

    /// A matrix of `k` rows that was packed into `data`.
    pub fn of(data: &'a [T], k: usize) -> Self {
        Self { data, stride: k * panel::<T>() }
    }

    /// The matrix from row `k` on; its panels stay where they are.
    pub fn rows_from(self, k: usize) -> Self {
        Self { data: &self.data[k * panel::<T>()..], ..self }
    }

    /// The matrix from column `n`, the first of a panel, on.
    pub fn columns_from(self, n: usize) -> Self {
        debug_assert_eq!(n % panel::<T>(), 0);
        Self { data: &self.data[n / panel::<T>() * self.stride..], ..self }
    }
}

/// c = a b, or c += a b when `accumulate`; a is `[m, k]`, b `[k, n]`, and c `[m, n]` has rows of `c_stride` elements.
///
/// c is written up to the next full cache line after column n, where b is zero.
///
/// # Panics
/// When an operand is too short for its shape and strides.
pub(crate) fn block_product<T: Float>(
    (m, k, n): (usize, usize, usize),
    a: MatrixRef<'_, T>,
    b: Panels<'_, T>,
    c: &mut [T],
    c_stride: usize,
    accumulate: bool,
) {
    if m == 0 || n == 0 {
        return;
    }
    let columns = n.next_multiple_of(line::<T>());
    assert!(k == 0 || a.data.len() > (m - 1) * a.row_stride + (k - 1) * a.col_stride, "block: a is too short");
    assert!(b.data.len() >= (n - 1) / panel::<T>() * b.stride + k * panel::<T>(), "block: b is too short");
    assert!(columns <= c_stride && c.len() >= (m - 1) * c_stride + columns, "block: c is too short");
    let sizes = (m, k, columns);
    if simd_level() == SimdLevel::Avx512 {
        wide_tiles(sizes, a, b, c, c_stride, accumulate);
    } else {
        narrow_tiles(sizes, a, b, c, c_stride, accumulate);
    }
}

simd_kernel! {
    /// Tiles of 8 rows and a whole panel: 16 of the 32 registers of AVX-512 hold sums.
    fn wide_tiles [T, L](
        sizes: (usize, usize, usize), a: MatrixRef<'_, T>, b: Panels<'_, T>, c: &mut [T], c_stride: usize, accumulate: bool,
    ) {
        // SAFETY: `block_product` has bounded every operand.
        unsafe {
            if size_of::<T>() == 4 {
                tiles::<T, L, 8, 32, 16>(sizes, a, b, c, c_stride, accumulate)
            } else {
                tiles::<T, L, 8, 16, 8>(sizes, a, b, c, c_stride, accumulate)
            }
        }
    }
}

simd_kernel! {
    /// Tiles of 4 rows and half a panel: they fit the 16 registers of other instruction sets.
    fn narrow_tiles [T, L](
        sizes: (usize, usize, usize), a: MatrixRef<'_, T>, b: Panels<'_, T>, c: &mut [T], c_stride: usize, accumulate: bool,
    ) {
        // SAFETY: `block_product` has bounded every operand.
        unsafe {
            if size_of::<T>() == 4 {
                tiles::<T, L, 4, 16, 16>(sizes, a, b, c, c_stride, accumulate)
            } else {
                tiles::<T, L, 4, 8, 8>(sizes, a, b, c, c_stride, accumulate)
            }
        }
    }
}

simd_kernel! {
    /// out = x factor or out += x factor, by rows of `width` elements of x, which has a stride.
    pub(crate) fn scaled_rows [T, L](x: &[T], stride: usize, factor: T, out: &mut [T], width: usize, accumulate: bool) {
        for (x, out) in x.chunks(stride).zip(out.chunks_exact_mut(width)) {
            for (x, out) in x.iter().zip(out) {
                let before = if accumulate { L::new(*out) } else { L::of(0.0) };
                *out = L::new(*x).mul_add(L::new(factor), before).get();
            }
        }
    }
}

/// Covers c by tiles of `ROWS` x `WIDE`, with smaller ones at its edges.
///
/// # Safety
/// The operands are as long as [`block_product`] asserts; columns are a multiple of `LINE`.
#[inline(always)]
unsafe fn tiles<T: Float, L: Lane<Scalar = T>, const ROWS: usize, const WIDE: usize, const LINE: usize>(
    (m, k, columns): (usize, usize, usize),
    a: MatrixRef<'_, T>,
    b: Panels<'_, T>,
    c: &mut [T],
    c_stride: usize,
    accumulate: bool,
) {
    let mut column = 0;
    while column < columns {
        let width = if columns - column >= WIDE { WIDE } else { LINE };
        let b = &b.data[column / panel::<T>() * b.stride + column % panel::<T>()..];
        let mut row = 0;
        while row < m {
            let height = if m - row >= ROWS { ROWS } else { 1 };
            let a = MatrixRef { data: &a.data[row * a.row_stride..], ..a };
            let c = &mut c[row * c_stride + column..];
            // SAFETY: the tile lies within the block.
            unsafe {
                match (height == ROWS, width == WIDE) {
                    (true, true) => tile::<T, L, ROWS, WIDE>(k, a, b, c, c_stride, accumulate),
                    (true, false) => tile::<T, L, ROWS, LINE>(k, a, b, c, c_stride, accumulate),
                    (false, true) => tile::<T, L, 1, WIDE>(k, a, b, c, c_stride, accumulate),
                    (false, false) => tile::<T, L, 1, LINE>(k, a, b, c, c_stride, accumulate),
                }
            }
            row += height;
        }
        column += width;
    }
}

/// One tile of c; its sums stay in registers.
///
/// # Safety
/// a holds `ROWS` rows of k elements by its strides, b k rows of a panel, c `ROWS` rows of `COLUMNS`.
#[inline(always)]
unsafe fn tile<T: Float, L: Lane<Scalar = T>, const ROWS: usize, const COLUMNS: usize>(
    k: usize,
    a: MatrixRef<'_, T>,
    b: &[T],
    c: &mut [T],
    c_stride: usize,
    accumulate: bool,
) {
    let mut sums = [[L::of(0.0); COLUMNS]; ROWS];
    for p in 0..k {
        // SAFETY: the caller's promise.
        let b = unsafe { &*b.as_ptr().add(p * panel::<T>()).cast::<[T; COLUMNS]>() };
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            let a = L::new(unsafe { *a.data.as_ptr().add(row * a.row_stride + p * a.col_stride) });
            for (b, sum) in b.iter().zip(sums) {
                *sum = L::new(*b).mul_add(a, *sum);
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        // SAFETY: the caller's promise.
        let c = unsafe { &mut *c.as_mut_ptr().add(row * c_stride).cast::<[T; COLUMNS]>() };
        for (c, sum) in c.iter_mut().zip(sums) {
            *c = if accumulate { (L::new(*c) + *sum).get() } else { sum.get() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn products_match_the_definition<T: Float>() {
        for (m, k, n) in [(1, 1, 1), (8, 32, 64), (13, 5, 33), (7, 40, 16), (3, 0, 5), (20, 9, 50)] {
            let value = |i: usize, modulus: usize| T::of((i * 7 % modulus) as f64 - 4.0);
            let a: Vec<T> = (0..m * k).map(|i| value(i, 11)).collect();
            let b: Vec<T> = (0..k * n).map(|i| value(i, 13)).collect();
            let bt: Vec<T> = (0..k * n).map(|i| b[(i % k.max(1)) * n + i / k.max(1)]).collect();
            let stride = n.next_multiple_of(line::<T>()) + 16;
            let mut room = vec![T::ONE; Panels::<T>::size(k, n)];
            let half = T::of(0.5);
            for turned in [false, true] {
                let source =
                    if turned { MatrixRef::row_major(&bt, k).transposed() } else { MatrixRef::row_major(&b, n) };
                let b_panels = Panels::pack(source, (k, n), half, &mut room);
                let mut c = vec![T::ONE; m * stride];
                block_product((m, k, n), MatrixRef::row_major(&a, k), b_panels, &mut c, stride, turned);
                for i in 0..m {
                    for j in 0..n {
                        let sum: T = (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum();
                        let before = if turned { T::ONE } else { T::ZERO };
                        assert!(c[i * stride + j] == sum * half + before, "{m} {k} {n} at {i}, {j}");
                    }
                }
            }
        }
    }

    #[test]
    fn block_products_match_the_definition() {
        products_match_the_definition::<f32>();
        products_match_the_definition::<f64>();
    }
}
