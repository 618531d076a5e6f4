//! Matrix products over strided operands, split by shape alone.

use crate::float::Float;
use crate::kernels::for_each_index;

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
}

/// Multiply-adds in one unit of parallel work: small enough to share, large enough to pay for packing.
const WORK_PER_TASK: usize = 8 << 20;
/// At most this many tasks, because each packs the right-hand side again.
const MAX_TASKS: usize = 8;
/// Task heights are multiples of this, the largest register tile.
const TILE: usize = 48;

/// A pointer that tasks may share because they write disjoint rows.
#[derive(Clone, Copy)]
struct Shared<T>(*mut T);
// SAFETY: each task writes its own rows only.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// # Safety
    /// The offset lies within the memory that the pointer was made from.
    unsafe fn at(&self, offset: usize) -> *mut T {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(offset) }
    }
}

/// out = a b, or out += a b when `accumulate`; a is `[m, k]`, b is `[k, n]`, out is row-major `[m, n]`.
///
/// # Panics
/// When an operand is too short for its shape and strides.
pub(crate) fn gemm<T: Float>(
    (m, k, n): (usize, usize, usize),
    a: MatrixRef<'_, T>,
    b: MatrixRef<'_, T>,
    out: &mut [T],
    accumulate: bool,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(out.len() >= m * n, "gemm: the output is too short");
    if k == 0 {
        if !accumulate {
            out[..m * n].fill(T::ZERO);
        }
        return;
    }
    assert!(a.data.len() > (m - 1) * a.row_stride + (k - 1) * a.col_stride, "gemm: the left operand is too short");
    assert!(b.data.len() > (k - 1) * b.row_stride + (n - 1) * b.col_stride, "gemm: the right operand is too short");

    // split the longer side of the output; the split depends on the shape alone
    let tasks = (m * n * k / WORK_PER_TASK).clamp(1, MAX_TASKS);
    let by_rows = m >= n;
    let side = if by_rows { m } else { n };
    let size = side.div_ceil(tasks).next_multiple_of(TILE);
    let target = Shared(out.as_mut_ptr());
    for_each_index(side.div_ceil(size), |task| {
        let start = task * size;
        let len = size.min(side - start);
        let (rows, cols) = if by_rows { (start..start + len, 0..n) } else { (0..m, start..start + len) };
        // SAFETY: the asserts above bound every read; tasks write disjoint parts of `out`, which outlives them.
        unsafe {
            gemm::gemm(
                rows.len(),
                cols.len(),
                k,
                target.at(rows.start * n + cols.start),
                1,
                n as isize,
                accumulate,
                a.data.as_ptr().add(rows.start * a.row_stride),
                a.col_stride as isize,
                a.row_stride as isize,
                b.data.as_ptr().add(cols.start * b.col_stride),
                b.col_stride as isize,
                b.row_stride as isize,
                T::ONE,
                T::ONE,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_transposed_operands_match_the_definition() {
        for (m, k, n) in [(1, 1, 1), (3, 5, 2), (17, 33, 9), (200, 7, 130), (5, 0, 4), (1, 300, 1)] {
            let a: Vec<f64> = (0..m * k).map(|i| ((i * 7) % 11) as f64 - 5.0).collect();
            let b: Vec<f64> = (0..k * n).map(|i| ((i * 5) % 13) as f64 - 6.0).collect();
            let bt: Vec<f64> = (0..k * n).map(|i| b[(i % k.max(1)) * n + i / k.max(1)]).collect();
            let mut plain = vec![1.0; m * n];
            let mut turned = vec![1.0; m * n];
            gemm((m, k, n), MatrixRef::row_major(&a, k), MatrixRef::row_major(&b, n), &mut plain, false);
            gemm((m, k, n), MatrixRef::row_major(&a, k), MatrixRef::row_major(&bt, k).transposed(), &mut turned, true);
            for i in 0..m {
                for j in 0..n {
                    let sum: f64 = (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum();
                    assert_eq!(plain[i * n + j], sum);
                    assert_eq!(turned[i * n + j], sum + 1.0);
                }
            }
        }
    }
}
