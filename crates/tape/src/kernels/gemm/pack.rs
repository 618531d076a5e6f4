//! Copies of operands in the order in which register tiles read them.

use std::ops::Range;

use super::MatrixRef;
use crate::float::Float;
use crate::kernels::{SimdLevel, for_each_chunk, simd_level};

/// Rows and columns of the squares in which a matrix is transposed.
const SQUARE: usize = 8;

/// out[i, j] = x[j, i] for a block of `rows` x `cols` of the output, with the given distances between rows.
fn transpose<T: Float>(x: &[T], x_step: usize, out: &mut [T], out_step: usize, rows: usize, cols: usize) {
    let (whole_rows, whole_cols) = (rows / SQUARE * SQUARE, cols / SQUARE * SQUARE);
    for i in (0..whole_rows).step_by(SQUARE) {
        for j in (0..whole_cols).step_by(SQUARE) {
            transpose_square(&x[j * x_step + i..], x_step, &mut out[i * out_step + j..], out_step);
        }
    }
    for i in 0..rows {
        for j in if i < whole_rows { whole_cols } else { 0 }..cols {
            out[i * out_step + j] = x[j * x_step + i];
        }
    }
}

fn transpose_square<T: Float>(x: &[T], x_step: usize, out: &mut [T], out_step: usize) {
    #[cfg(target_arch = "x86_64")]
    if size_of::<T>() == size_of::<f32>() && simd_level() >= SimdLevel::Avx2 {
        let last = SQUARE - 1;
        assert!(x.len() >= last * x_step + SQUARE && out.len() >= last * out_step + SQUARE);
        // SAFETY: the CPU has AVX, both arrays hold the square's last row, and T is as wide as f32.
        unsafe { avx_transpose_square(x.as_ptr().cast(), x_step, out.as_mut_ptr().cast(), out_step) };
        return;
    }
    for i in 0..SQUARE {
        for j in 0..SQUARE {
            out[i * out_step + j] = x[j * x_step + i];
        }
    }
}

/// Transposes a square of 8 x 8 numbers in registers; the compiler makes 64 moves of it.
///
/// # Safety
/// Needs AVX, and 8 rows of 8 numbers behind both pointers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx")]
unsafe fn avx_transpose_square(x: *const f32, x_step: usize, out: *mut f32, out_step: usize) {
    use std::arch::x86_64::*;
    // SAFETY: the caller's promise.
    let row = |j: usize| unsafe { _mm256_loadu_ps(x.add(j * x_step)) };
    // numbers of two rows side by side, then of four, then of eight
    let pairs = |j: usize| [_mm256_unpacklo_ps(row(j), row(j + 1)), _mm256_unpackhi_ps(row(j), row(j + 1))];
    let fours = |j: usize| {
        let ([a, b], [c, d]) = (pairs(j), pairs(j + 2));
        [
            _mm256_shuffle_ps::<0x44>(a, c),
            _mm256_shuffle_ps::<0xee>(a, c),
            _mm256_shuffle_ps::<0x44>(b, d),
            _mm256_shuffle_ps::<0xee>(b, d),
        ]
    };
    let (upper, lower) = (fours(0), fours(4));
    for i in 0..SQUARE / 2 {
        let (first, fifth) =
            (_mm256_permute2f128_ps::<0x20>(upper[i], lower[i]), _mm256_permute2f128_ps::<0x31>(upper[i], lower[i]));
        // SAFETY: the caller's promise.
        unsafe {
            _mm256_storeu_ps(out.add(i * out_step), first);
            _mm256_storeu_ps(out.add((i + SQUARE / 2) * out_step), fifth);
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
