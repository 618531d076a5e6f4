//! Sums in a fixed order, so that bits depend on shapes alone.

use crate::float::Float;
use crate::kernels::buffer::{Buffer, Pool};
use crate::kernels::sweep::{add_assign, sum_blocks, sum_slice};
use crate::kernels::{CHUNK, for_each_chunk, rows_per_chunk};
use crate::shape::Shape;

/// The sum of all elements: chunks in parallel, combined in order, with the bits of the sum of a fused group.
pub(crate) fn sum_all<T: Float>(x: &[T], pool: &Pool<T>) -> T {
    if x.len() <= CHUNK {
        return sum_blocks(x);
    }
    let mut partial = pool.take(x.len().div_ceil(CHUNK));
    for_each_chunk(&mut partial, 1, |chunk, partial| {
        partial[0] = sum_blocks(&x[chunk * CHUNK..x.len().min((chunk + 1) * CHUNK)]);
    });
    T::of(partial.iter().map(|p| p.to_f64()).sum())
}

/// out[o, i] = sum over n of x[o, n, i], for x of shape `[outer, n, inner]`.
pub(crate) fn sum_middle<T: Float>(x: &[T], (outer, n, inner): (usize, usize, usize), out: &mut [T], pool: &Pool<T>) {
    debug_assert_eq!(x.len(), outer * n * inner);
    if inner == 1 {
        let rows = rows_per_chunk(n);
        for_each_chunk(out, rows, |chunk, out| {
            for (row, out) in out.iter_mut().enumerate() {
                let start = (chunk * rows + row) * n;
                *out = sum_slice(&x[start..start + n]);
            }
        });
        return;
    }
    // rows of `inner` elements are added in order within a part, and parts in order
    let part = rows_per_chunk(inner);
    for (o, out) in out.chunks_mut(inner.max(1)).enumerate() {
        let x = &x[o * n * inner..(o + 1) * n * inner];
        let parts = n.div_ceil(part).max(1);
        if parts == 1 {
            sum_rows(x, inner, out);
            continue;
        }
        let mut partial = pool.take(parts * inner);
        for_each_chunk(&mut partial, inner, |p, partial| {
            sum_rows(&x[p * part * inner..n.min((p + 1) * part) * inner], inner, partial);
        });
        sum_rows(&partial, inner, out);
    }
}

fn sum_rows<T: Float>(x: &[T], width: usize, out: &mut [T]) {
    out.fill(T::ZERO);
    for row in x.chunks_exact(width.max(1)) {
        add_assign(out, row);
    }
}

/// Adds an array of shape `from` to `out` of the smaller shape `to`, summing over the axes that were broadcast: one run
/// of neighbours after the other, the innermost first.
pub(crate) fn add_summed_to<T: Float>(x: &[T], from: &Shape, out: &mut [T], to: &Shape, pool: &Pool<T>) {
    let lead = from.rank() - to.rank();
    let kept = |axis: usize| if axis < lead { 1 } else { to[axis - lead] };
    let mut shape = *from;
    let mut summed: Option<Buffer<T>> = None;
    while let Some(last) = (0..shape.rank()).rfind(|&axis| kept(axis) != shape[axis]) {
        let first = (0..last).rev().take_while(|&axis| kept(axis) == 1).last().unwrap_or(last);
        let outer = shape[..first].iter().product();
        let n = shape[first..=last].iter().product();
        let inner = shape[last + 1..].iter().product();
        let mut next = pool.take(outer * inner);
        sum_middle(summed.as_deref().unwrap_or(x), (outer, n, inner), &mut next, pool);
        summed = Some(next);
        shape = (first..=last).fold(shape, |shape, axis| shape.with(axis, 1));
    }
    add_assign(out, summed.as_deref().unwrap_or(x));
}
