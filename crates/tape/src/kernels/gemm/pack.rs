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
    // copies of a known length are single instructions
    match height {
        8 => left_of::<T, 8>(a, rows, depth, packed),
        4 => left_of::<T, 4>(a, rows, depth, packed),
        _ => unreachable!("tiles have four or eight rows"),
    }
}

fn left_of<T: Float, const HEIGHT: usize>(a: MatrixRef<'_, T>, rows: Range<usize>, depth: usize, packed: &mut [T]) {
    /// Panels that are written at a time: their rows are read in runs of a few cache lines.
    const TOGETHER: usize = 8;
    let whole = if a.row_stride == 1 { rows.len() / HEIGHT * HEIGHT } else { 0 };
    for first in (0..whole).step_by(TOGETHER * HEIGHT) {
        let run = (TOGETHER * HEIGHT).min(whole - first);
        for k in 0..depth {
            let start = rows.start + first + k * a.col_stride;
            for (panel, values) in a.data[start..start + run].as_chunks::<HEIGHT>().0.iter().enumerate() {
                let at = (first + panel * HEIGHT) * depth + k * HEIGHT;
                packed[at..at + HEIGHT].copy_from_slice(values);
            }
        }
    }
    for row in (whole..rows.len()).step_by(HEIGHT) {
        for k in 0..depth {
            for i in 0..HEIGHT.min(rows.len() - row) {
                packed[row * depth + k * HEIGHT + i] = a.data[(rows.start + row + i) * a.row_stride + k * a.col_stride];
            }
        }
    }
}
