//! Rows and elements picked by index, and added up by index.
//!
//! Arrays are `[outer, n, inner]`, and indices name positions of the middle axis. Sums are taken in the order of the
//! indices whatever the number of threads: threads share the places that are written, not the indices.

use crate::float::Float;
use crate::kernels::strided::put_row;
use crate::kernels::{CHUNK, for_each_chunk, rows_per_chunk, threads};

/// out[o, k, :] = x[o, indices[k], :], or added to it.
pub(crate) fn pick_rows<T: Float>(
    x: &[T],
    (_, n, inner): (usize, usize, usize),
    indices: &[u32],
    out: &mut [T],
    accumulate: bool,
) {
    if accumulate {
        pick_rows_as::<T, true>(x, n, inner, indices, out);
    } else {
        pick_rows_as::<T, false>(x, n, inner, indices, out);
    }
}

fn pick_rows_as<T: Float, const ADD: bool>(x: &[T], n: usize, inner: usize, indices: &[u32], out: &mut [T]) {
    if out.is_empty() {
        return;
    }
    let (m, rows) = (indices.len(), rows_per_chunk(inner));
    for_each_chunk(out, rows * inner, |chunk, mut out| {
        let (mut o, mut k) = (chunk * rows / m, chunk * rows % m);
        while !out.is_empty() {
            // neighbours that stay neighbours are moved in one run
            let longest = (m - k).min(out.len() / inner);
            let first = indices[k] as usize;
            let mut run = 1;
            while run < longest && indices[k + run] as usize == first + run {
                run += 1;
            }
            let start = (o * n + first) * inner;
            let (now, later) = out.split_at_mut(run * inner);
            match now {
                [out] if ADD => *out += x[start],
                [out] => *out = x[start],
                out => put_row::<T, ADD>(out, &x[start..start + out.len()]),
            }
            out = later;
            k += run;
            if k == m {
                (o, k) = (o + 1, 0);
            }
        }
    });
}

/// Splits `out` among threads by whole blocks of the outer axis or, when there is only one, by ranges of its rows:
/// `work(block, first_row, rows)`. `len` is the number of elements that will be read.
fn for_each_range<T: Float>(
    out: &mut [T],
    (outer, n, inner): (usize, usize, usize),
    len: usize,
    work: impl Fn(usize, usize, &mut [T]) + Sync + Send,
) {
    if out.is_empty() {
        return;
    }
    if len <= CHUNK {
        out.chunks_mut(n * inner).enumerate().for_each(|(o, out)| work(o, 0, out));
    } else if outer > 1 {
        for_each_chunk(out, n * inner, |o, out| work(o, 0, out));
    } else {
        // each part looks at every index, so there are no more parts than threads; the bits do not depend on them
        let rows = n.div_ceil(threads());
        for_each_chunk(out, rows * inner, |part, out| work(0, part * rows, out));
    }
}

/// Meets row `k` of each block of `m` rows, in order, with the row of `out` that `indices[k]` names:
/// `work(out_row, start of row k in an array [outer, m, inner])`.
pub(crate) fn for_each_indexed_row<T: Float>(
    out: &mut [T],
    sizes: (usize, usize, usize),
    indices: &[u32],
    work: impl Fn(&mut [T], usize) + Sync + Send,
) {
    let (outer, _, inner) = sizes;
    let m = indices.len();
    for_each_range(out, sizes, outer * m * inner, |o, first, out| {
        let count = out.len() / inner;
        for (k, &index) in indices.iter().enumerate() {
            // an index below the range wraps to a number above it
            let row = (index as usize).wrapping_sub(first);
            if row < count {
                work(&mut out[row * inner..(row + 1) * inner], (o * m + k) * inner);
            }
        }
    });
}

/// out[o, indices[k], :] += x[o, k, :].
pub(crate) fn add_rows<T: Float>(x: &[T], indices: &[u32], out: &mut [T], sizes: (usize, usize, usize)) {
    for_each_indexed_row(out, sizes, indices, |out, start| match out {
        [out] => *out += x[start],
        out => put_row::<T, true>(out, &x[start..start + out.len()]),
    });
}

/// out[o, k, i] = x[o, indices[o, k, i], i], or added to it; `m` is the size of the middle axis of `out`.
pub(crate) fn pick_elements<T: Float>(
    x: &[T],
    (_, n, inner): (usize, usize, usize),
    indices: &[u32],
    m: usize,
    out: &mut [T],
    accumulate: bool,
) {
    if out.is_empty() {
        return;
    }
    let rows = rows_per_chunk(inner);
    for_each_chunk(out, rows * inner, |chunk, out| {
        let start = chunk * rows * inner;
        let indices = &indices[start..start + out.len()];
        let (mut o, mut k) = (chunk * rows / m, chunk * rows % m);
        for (out, indices) in out.chunks_exact_mut(inner).zip(indices.chunks_exact(inner)) {
            let x = &x[o * n * inner..(o + 1) * n * inner];
            for (i, (out, &index)) in out.iter_mut().zip(indices).enumerate() {
                let value = x[index as usize * inner + i];
                *out = if accumulate { *out + value } else { value };
            }
            k += 1;
            if k == m {
                (o, k) = (o + 1, 0);
            }
        }
    });
}

/// out[o, indices[o, k, i], i] += x[o, k, i]; `m` is the size of the middle axis of `x`.
pub(crate) fn add_elements<T: Float>(x: &[T], indices: &[u32], m: usize, out: &mut [T], sizes: (usize, usize, usize)) {
    let inner = sizes.2;
    for_each_range(out, sizes, x.len(), |o, first, out| {
        let count = out.len() / inner;
        let block = o * m * inner..(o + 1) * m * inner;
        for (x, indices) in x[block.clone()].chunks_exact(inner).zip(indices[block].chunks_exact(inner)) {
            for (i, (&x, &index)) in x.iter().zip(indices).enumerate() {
                let row = (index as usize).wrapping_sub(first);
                if row < count {
                    out[row * inner + i] += x;
                }
            }
        }
    });
}
