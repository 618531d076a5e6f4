//! Products of small blocks that lie in the caches, on one thread: the inner loops of ops that work block by block.

use crate::float::Float;
use crate::kernels::gemm::{Bias, MatrixRef, Tile};
use crate::kernels::simd_kernel;

/// Elements in a cache line, which is also the widest register.
pub(crate) const fn line<T>() -> usize {
    64 / size_of::<T>()
}

/// Columns of a panel of a matrix of n columns: those of the largest register tile, or all of them where they are fewer.
fn panel<T: Float>(n: usize) -> usize {
    let kernels = T::kernels();
    kernels.cols().min(n.max(1).next_multiple_of(kernels.lanes))
}

/// A matrix `[k, n]` cut in panels of columns, each of which is row-major; the last is padded with zeros.
///
/// The rows of a panel follow each other in memory, so that a product streams through them.
#[derive(Clone, Copy)]
pub(crate) struct Panels<'a, T> {
    data: &'a [T],
    /// Columns of a panel.
    pub width: usize,
    /// Elements from one panel to the next.
    stride: usize,
}

impl<'a, T: Float> Panels<'a, T> {
    /// How many elements the panels of a `[k, n]` matrix take.
    pub fn size(k: usize, n: usize) -> usize {
        k * n.next_multiple_of(panel::<T>(n))
    }

    /// Copies a `[k, n]` matrix times `factor` into panels.
    pub fn pack(source: MatrixRef<'_, T>, (k, n): (usize, usize), factor: T, room: &'a mut [T]) -> Self {
        let width = panel::<T>(n);
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
        Self { data: room, width, stride }
    }

    /// A `[k, n]` matrix that was packed into `data`.
    pub fn of(data: &'a [T], (k, n): (usize, usize)) -> Self {
        let width = panel::<T>(n);
        Self { data, width, stride: k * width }
    }

    /// The matrix from row `k` on; its panels stay where they are.
    pub fn rows_from(self, k: usize) -> Self {
        Self { data: &self.data[k * self.width..], ..self }
    }

    /// The matrix from column `n`, the first of a panel, on.
    pub fn columns_from(self, n: usize) -> Self {
        debug_assert_eq!(n % self.width, 0);
        Self { data: &self.data[n / self.width * self.stride..], ..self }
    }
}

/// Terms that are summed in registers before the output is touched.
const DEPTH: usize = 256;

/// c = a b, or c += a b when `accumulate`; a is `[m, k]`, b `[k, n]`, and c `[m, n]` has rows of `c_stride` elements.
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
    assert!(k == 0 || a.data.len() > (m - 1) * a.row_stride + (k - 1) * a.col_stride, "block: a is too short");
    assert!(b.data.len() >= (n - 1) / b.width * b.stride + k * b.width, "block: b is too short");
    assert!(n <= c_stride && c.len() >= (m - 1) * c_stride + n, "block: c is too short");
    let kernels = T::kernels();
    // at least one pass: a product without terms is zero
    for start in (0..k.max(1)).step_by(DEPTH) {
        let depth = DEPTH.min(k - start);
        let mut offsets = [0; DEPTH];
        offsets[..depth].iter_mut().enumerate().for_each(|(p, offset)| *offset = (p * b.width) as u32);
        for column in (0..n).step_by(b.width) {
            for row in (0..m).step_by(kernels.rows) {
                let rows = kernels.rows.min(m - row);
                // rows beyond the last repeat it
                let left = |r: usize| (row + r.min(rows - 1)) * a.row_stride + start * a.col_stride;
                // SAFETY: the operands hold all rows, columns and terms, as asserted; panels are padded to whole vectors.
                unsafe {
                    (kernels.tile)(&Tile {
                        left: std::array::from_fn(|r| a.data.as_ptr().wrapping_add(left(r))),
                        step: a.col_stride,
                        right: b.data.as_ptr().wrapping_add(column / b.width * b.stride + start * b.width),
                        offsets: &offsets[..depth],
                        out: c.as_mut_ptr().add(row * c_stride + column),
                        out_step: c_stride,
                        rows,
                        cols: b.width.min(n - column),
                        padded: true,
                        accumulate: accumulate || start > 0,
                        bias: Bias::None,
                        relu: false,
                    });
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn products_match_the_definition<T: Float>() {
        for (m, k, n) in [(1, 1, 1), (8, 32, 64), (13, 5, 33), (7, 40, 16), (3, 0, 5), (20, 9, 50), (9, 600, 100)] {
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
