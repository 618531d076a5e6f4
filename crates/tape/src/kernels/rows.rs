//! Functions of rows, with narrow rows padded to a register's size.

use crate::float::Float;
use crate::kernels::PARTIALS;
use crate::lane::Lane;

/// What is done with rows of K arrays; its bodies are inlined into a kernel.
///
/// It is given several rows at a time: a loop over all of them for each step of the work waits less for what adds up or
/// compares a whole row than one loop over all steps.
pub(crate) trait RowKernel<T: Float, const K: usize> {
    /// What the operands of a narrow row are padded with: it must not change the row's own results.
    const FILL: [f64; K];
    /// Whether results are added to what is there; written anew otherwise.
    const ADDS: bool;
    /// At most [`ROWS`] rows, the first of them with that index.
    fn rows<L: Lane<Scalar = T>, X: AsRef<[T]>, Y: AsMut<[T]>>(&self, first: usize, x: [&[X]; K], y: &mut [Y]);
}

/// The most rows that a kernel is given at a time.
pub(crate) const ROWS: usize = 8;

/// Runs a row kernel on every row.
///
/// Narrow rows of single precision are copied to arrays of a register's size, so that loops over them need no scalar
/// tail; in double precision exponentials are scalar anyway, and padding would be more work. The bits are those of the
/// row by itself where sums are taken by [`sum_of`](super::sum_of).
#[inline(always)]
pub(crate) fn map_rows<T: Float, L: Lane<Scalar = T>, const K: usize, F: RowKernel<T, K>>(
    kernel: F,
    x: [&[T]; K],
    y: &mut [T],
    width: usize,
) {
    match width {
        1..=8 if size_of::<T>() == 4 => map_padded::<T, L, K, 8, F>(kernel, x, y, width),
        9..=16 if size_of::<T>() == 4 => map_padded::<T, L, K, 16, F>(kernel, x, y, width),
        17..PARTIALS if size_of::<T>() == 4 => map_padded::<T, L, K, PARTIALS, F>(kernel, x, y, width),
        _ => {
            for (index, y) in y.chunks_exact_mut(width).enumerate() {
                let x = x.map(|x| [&x[index * width..(index + 1) * width]]);
                kernel.rows::<L, _, _>(index, x.each_ref().map(|x| &x[..]), &mut [y]);
            }
        }
    }
}

#[inline(always)]
fn map_padded<T: Float, L: Lane<Scalar = T>, const K: usize, const N: usize, F: RowKernel<T, K>>(
    kernel: F,
    x: [&[T]; K],
    y: &mut [T],
    width: usize,
) {
    let all = y.len() / width;
    let (mut padded, mut new) = ([[[T::ZERO; N]; ROWS]; K], [[T::ZERO; N]; ROWS]);
    for first in (0..all).step_by(ROWS) {
        let count = ROWS.min(all - first);
        for row in 0..count {
            let start = (first + row) * width;
            for k in 0..K {
                load_padded(x[k], start, width, T::of(F::FILL[k]), &mut padded[k][row]);
            }
            if F::ADDS {
                load_padded(y, start, width, T::ZERO, &mut new[row]);
            }
        }
        kernel.rows::<L, _, _>(first, padded.each_ref().map(|rows| &rows[..count]), &mut new[..count]);
        for (row, new) in new[..count].iter().enumerate() {
            let start = (first + row) * width;
            if let Some(y) = y.get_mut(start..start + N) {
                for j in 0..N {
                    // what goes over into the next row is written afterwards, unless it is added to
                    y[j] = if F::ADDS && j >= width { y[j] } else { new[j] };
                }
            } else {
                y[start..start + width].copy_from_slice(&new[..width]);
            }
        }
    }
}

/// The `width` elements of `x` from `start` on, then `fill`.
#[inline(always)]
fn load_padded<T: Float, const N: usize>(x: &[T], start: usize, width: usize, fill: T, row: &mut [T; N]) {
    if let Some(x) = x.get(start..start + N) {
        for j in 0..N {
            row[j] = if j < width { x[j] } else { fill };
        }
    } else {
        row.fill(fill);
        row[..width].copy_from_slice(&x[start..start + width]);
    }
}
