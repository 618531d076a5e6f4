//! Copies of operands in the order in which register tiles read them.

use std::ops::Range;

use super::MatrixRef;
use crate::float::Float;
use crate::kernels::{for_each_chunk, simd_kernel};

/// Rows and columns of the blocks in which a matrix is transposed.
const SQUARE: usize = 4;

simd_kernel! {
    /// out[i, j] = x[j, i] for a block of `rows` x `cols` of the output, with the given distances between rows.
    fn transpose [T, L](x: &[T], x_step: usize, out: &mut [T], out_step: usize, rows: usize, cols: usize) {
        // a formula has lanes; a copy has none
        let _ = L::of(0.0);
        let (whole_rows, whole_cols) = (rows / SQUARE * SQUARE, cols / SQUARE * SQUARE);
        for i in (0..whole_rows).step_by(SQUARE) {
            for j in (0..whole_cols).step_by(SQUARE) {
                let mut square = [[T::ZERO; SQUARE]; SQUARE];
                for (c, column) in square.iter_mut().enumerate() {
                    column.copy_from_slice(&x[(j + c) * x_step + i..][..SQUARE]);
                }
                for r in 0..SQUARE {
                    let row: [T; SQUARE] = [square[0][r], square[1][r], square[2][r], square[3][r]];
                    out[(i + r) * out_step + j..][..SQUARE].copy_from_slice(&row);
                }
            }
        }
        for i in 0..rows {
            for j in if i < whole_rows { whole_cols } else { 0 }..cols {
                out[i * out_step + j] = x[j * x_step + i];
            }
        }
    }
}

/// Panels of `width` columns of a right operand of `depth` rows: each row of a panel is contiguous, zeros fill the last.
pub(super) fn right<T: Float>(
    b: MatrixRef<'_, T>,
    (depth, n): (usize, usize),
    width: usize,
    packed: &mut [T],
    shared: bool,
) {
    if depth == 0 {
        return;
    }
    let pack_panel = |panel: usize, out: &mut [T]| {
        let first = panel * width;
        let cols = width.min(n - first);
        if b.row_stride == 1 {
            transpose(&b.data[first * b.col_stride..], b.col_stride, out, width, depth, cols);
        } else {
            for (i, out) in out.chunks_exact_mut(width).enumerate() {
                let start = i * b.row_stride + first * b.col_stride;
                if b.col_stride == 1 {
                    out[..cols].copy_from_slice(&b.data[start..start + cols]);
                } else {
                    out[..cols].iter_mut().enumerate().for_each(|(j, out)| *out = b.data[start + j * b.col_stride]);
                }
            }
        }
        if cols < width {
            out.chunks_exact_mut(width).for_each(|row| row[cols..].fill(T::ZERO));
        }
    };
    let size = width * depth;
    if shared {
        for_each_chunk(packed, size, pack_panel);
    } else {
        packed.chunks_exact_mut(size).enumerate().for_each(|(panel, out)| pack_panel(panel, out));
    }
}

/// Panels of `height` rows of a left operand of `depth` columns: each column of a panel is contiguous.
///
/// What stands beyond the last row is arbitrary.
pub(super) fn left<T: Float>(a: MatrixRef<'_, T>, rows: Range<usize>, depth: usize, height: usize, packed: &mut [T]) {
    /// Panels that are written at a time, so that their columns stay in the cache.
    const TOGETHER: usize = 4;
    for first in (0..rows.len()).step_by(TOGETHER * height) {
        for k in 0..depth {
            for row in (first..rows.len().min(first + TOGETHER * height)).step_by(height) {
                let count = height.min(rows.len() - row);
                let out = &mut packed[row * depth + k * height..][..count];
                let start = (rows.start + row) * a.row_stride + k * a.col_stride;
                if a.row_stride == 1 && count == height {
                    out.copy_from_slice(&a.data[start..start + height]);
                } else {
                    out.iter_mut().enumerate().for_each(|(i, out)| *out = a.data[start + i * a.row_stride]);
                }
            }
        }
    }
}
