//! Reductions over groups of rows: each row of the first axis belongs to a segment.

use std::sync::Arc;

use crate::float::Float;
use crate::kernels::indexed::{add_rows, for_each_indexed_row, pick_rows};
use crate::kernels::{for_each_chunk, rows_per_chunk, simd_kernel};
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::ops::gather::check_indices;
use crate::shape::Shape;
use crate::tensor::Tensor;
use crate::var::Var;

/// The sum of each segment's rows.
pub struct SegmentSum {
    ids: Arc<[u32]>,
    segments: usize,
}

/// The largest of each segment's rows, element by element.
pub struct SegmentMax {
    ids: Arc<[u32]>,
    segments: usize,
}

/// Softmax over the rows of each segment.
pub struct SegmentSoftmax {
    ids: Arc<[u32]>,
    segments: usize,
}

/// Checks that each row has a segment, and gives the shape of one row a segment.
fn segments_of(op: &str, ids: &[u32], segments: usize, shape: &Shape) -> Shape {
    assert!(shape.rank() > 0 && shape[0] == ids.len(), "{op}: {} segment ids for the rows of shape {shape}", ids.len());
    let out = shape.with(0, segments);
    check_indices(op, ids, 0, &out);
    out
}

/// The sizes of the result of a reduction, as `[1, segments, elements of a row]`.
fn sizes(shape: &Shape, segments: usize) -> (usize, usize, usize) {
    (1, segments, shape[1..].iter().product())
}

/// Runs `work(ids of some rows, first element of the first one, the rows)` over all rows of `out`.
fn for_each_rows<T: Float>(out: &mut [T], ids: &[u32], work: impl Fn(&[u32], usize, &mut [T]) + Sync + Send) {
    let width = out.len() / ids.len().max(1);
    if width == 0 {
        return;
    }
    let rows = rows_per_chunk(width);
    for_each_chunk(out, rows * width, |chunk, out| {
        let first = chunk * rows;
        work(&ids[first..first + out.len() / width], first * width, out);
    });
}

simd_kernel! {
    /// y = exp(x - table[id]) by rows.
    fn exp_of_difference [T, L](x: &[T], ids: &[u32], table: &[T], y: &mut [T]) {
        let width = y.len() / ids.len();
        for ((y, x), &id) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(ids) {
            let table = &table[id as usize * width..][..width];
            for i in 0..width {
                y[i] = x[i] - table[i];
            }
        }
        for y in y {
            *y = L::new(*y).exp().get();
        }
    }
}

simd_kernel! {
    /// y /= table[id] by rows.
    fn divide_rows [T, L](ids: &[u32], table: &[T], y: &mut [T]) {
        let width = y.len() / ids.len();
        for (y, &id) in y.chunks_exact_mut(width).zip(ids) {
            let table = &table[id as usize * width..][..width];
            for i in 0..width {
                y[i] = (L::new(y[i]) / L::new(table[i])).get();
            }
        }
    }
}

simd_kernel! {
    /// grad += y (g - table[id]) by rows.
    fn softmax_back [T, L](y: &[T], g: &[T], ids: &[u32], table: &[T], grad: &mut [T]) {
        let width = grad.len() / ids.len();
        for (row, (grad, &id)) in grad.chunks_exact_mut(width).zip(ids).enumerate() {
            let (y, g) = (&y[row * width..][..width], &g[row * width..][..width]);
            let table = &table[id as usize * width..][..width];
            for i in 0..width {
                let slope = L::new(g[i]) - L::new(table[i]);
                grad[i] = L::new(y[i]).mul_add(slope, L::new(grad[i])).get();
            }
        }
    }
}

/// Writes the largest of each segment's rows: minus infinity for an empty one, NaN where a row holds one.
fn largest<T: Float>(x: &[T], ids: &[u32], out: &mut [T], sizes: (usize, usize, usize)) {
    out.fill(T::of(f64::NEG_INFINITY));
    for_each_indexed_row(out, sizes, ids, |out, start| {
        for (out, &x) in out.iter_mut().zip(&x[start..]) {
            if x > *out || x.to_f64().is_nan() {
                *out = x;
            }
        }
    });
}

impl<T: Float> Op<T> for SegmentSum {
    fn name(&self) -> &'static str {
        Self::NAME
    }
    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        Shapes::from_elem(segments_of(Self::NAME, &self.ids, self.segments, &inputs[0]), 1)
    }
    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], _: &mut Saved<T>) {
        y[0].fill(T::ZERO);
        add_rows(x[0].data, &self.ids, y[0], sizes(&x[0].shape, self.segments));
    }
    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let Some((grad, accumulate)) = grads.write(0) else { return };
        pick_rows(at.grad(0), sizes(&at.x[0].shape, self.segments), &self.ids, grad, accumulate);
    }
}

impl<T: Float> Op<T> for SegmentMax {
    fn name(&self) -> &'static str {
        Self::NAME
    }
    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        Shapes::from_elem(segments_of(Self::NAME, &self.ids, self.segments, &inputs[0]), 1)
    }
    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], _: &mut Saved<T>) {
        largest(x[0].data, &self.ids, y[0], sizes(&x[0].shape, self.segments));
    }
    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let (x, y) = (at.x[0].data, at.y[0].data);
        let sizes = sizes(&at.x[0].shape, self.segments);
        let Some(grad) = grads.sum(0) else { return };
        // each of several largest elements has an equal share
        let mut ties = at.scratch(y.len());
        ties.fill(T::ZERO);
        let mut share = at.scratch(y.len());
        share.copy_from_slice(at.grad(0));
        let width = sizes.2;
        for_each_indexed_row(&mut ties, sizes, &self.ids, |ties, start| {
            let segment = self.ids[start / width] as usize * width;
            for (i, ties) in ties.iter_mut().enumerate() {
                if x[start + i] == y[segment + i] {
                    *ties += T::ONE;
                }
            }
        });
        for (share, ties) in share.iter_mut().zip(ties.iter()) {
            *share /= *ties;
        }
        for_each_rows(grad, &self.ids, |ids, start, grad| {
            for ((row, grad), &id) in grad.chunks_exact_mut(width).enumerate().zip(ids) {
                let (x, segment) = (&x[start + row * width..], id as usize * width);
                for (i, grad) in grad.iter_mut().enumerate() {
                    if x[i] == y[segment + i] {
                        *grad += share[segment + i];
                    }
                }
            }
        });
    }
}

impl<T: Float> Op<T> for SegmentSoftmax {
    fn name(&self) -> &'static str {
        Self::NAME
    }
    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        segments_of(Self::NAME, &self.ids, self.segments, &inputs[0]);
        Shapes::from_slice(inputs)
    }
    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>) {
        let sizes = sizes(&x[0].shape, self.segments);
        let mut table = saved.scratch(sizes.1 * sizes.2);
        largest(x[0].data, &self.ids, &mut table, sizes);
        for_each_rows(y[0], &self.ids, |ids, start, y| {
            exp_of_difference(&x[0].data[start..start + y.len()], ids, &table, y);
        });
        table.fill(T::ZERO);
        add_rows(y[0], &self.ids, &mut table, sizes);
        for_each_rows(y[0], &self.ids, |ids, _, y| divide_rows(ids, &table, y));
    }
    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let (y, g) = (at.y[0].data, at.grad(0));
        let sizes = sizes(&at.x[0].shape, self.segments);
        let Some(grad) = grads.sum(0) else { return };
        let mut along = at.scratch(sizes.1 * sizes.2);
        along.fill(T::ZERO);
        for_each_indexed_row(&mut along, sizes, &self.ids, |along, start| {
            for (i, along) in along.iter_mut().enumerate() {
                *along += y[start + i] * g[start + i];
            }
        });
        for_each_rows(grad, &self.ids, |ids, start, grad| {
            let range = start..start + grad.len();
            softmax_back(&y[range.clone()], &g[range], ids, &along, grad);
        });
    }
}

impl Samples for SegmentSum {
    const NAME: &'static str = "segment_sum";
    const DOC: &'static str = "The sum of the rows of each segment. JAX: `jax.ops.segment_sum`.";
    fn samples() -> Vec<Sample<Self>> {
        let sample = |ids: &[u32], segments, shape: &[usize]| {
            Sample::new(Self { ids: ids.into(), segments }, -1.0..1.0, &[shape])
        };
        vec![
            sample(&[0, 0, 2, 2, 2], 4, &[5, 3]),
            sample(&[2, 0, 1, 0], 3, &[4]),
            sample(&[1, 0], 2, &[2, 2, 3]),
            sample(&[], 2, &[0, 2]),
        ]
    }
}

impl Samples for SegmentMax {
    const NAME: &'static str = "segment_max";
    const DOC: &'static str =
        "The largest of the rows of each segment; ties share the gradient. JAX: `jax.ops.segment_max`.";
    fn samples() -> Vec<Sample<Self>> {
        let sample = |ids: &[u32], segments, shape: &[usize]| {
            Sample::new(Self { ids: ids.into(), segments }, -1.0..1.0, &[shape])
        };
        vec![
            sample(&[0, 0, 1, 1, 1], 2, &[5, 3]),
            sample(&[2, 0, 1, 0], 3, &[4]),
            sample(&[1, 0], 2, &[2, 2, 3]),
            sample(&[], 0, &[0, 2]),
        ]
    }
}

impl Samples for SegmentSoftmax {
    const NAME: &'static str = "segment_softmax";
    const DOC: &'static str = "Softmax over the rows of each segment. PyTorch Geometric: `softmax(x, index)`.";
    fn samples() -> Vec<Sample<Self>> {
        let sample = |ids: &[u32], segments, shape: &[usize]| {
            Sample::new(Self { ids: ids.into(), segments }, -3.0..3.0, &[shape])
        };
        vec![
            sample(&[0, 0, 2, 2, 2], 4, &[5, 3]),
            sample(&[2, 0, 1, 0, 0, 2], 3, &[6]),
            sample(&[1, 1, 1], 2, &[3, 2, 2]),
            sample(&[], 2, &[0, 2]),
        ]
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// The sum of each segment's rows: `[rows, ..]` to `[segments, ..]`, where row `i` belongs to segment `ids[i]`, in
    /// any order; 0 for an empty segment. JAX: `jax.ops.segment_sum`.
    ///
    /// # Panics
    /// When there is not one id for each row or an id is not below `segments`.
    pub fn segment_sum(self, ids: &Arc<[u32]>, segments: usize) -> Self {
        self.tape.record(SegmentSum { ids: Arc::clone(ids), segments }, &[self])[0]
    }

    /// The mean of each segment's rows, as [`Var::segment_sum`]; 0 for an empty segment.
    ///
    /// # Panics
    /// When there is not one id for each row or an id is not below `segments`.
    pub fn segment_mean(self, ids: &Arc<[u32]>, segments: usize) -> Self {
        let sum = self.segment_sum(ids, segments);
        let mut weights = self.tape.pool.take_zeroed(segments);
        ids.iter().for_each(|&id| weights[id as usize] += T::ONE);
        weights.iter_mut().for_each(|count| *count = T::ONE / if *count > T::ONE { *count } else { T::ONE });
        let mut sizes = [1; crate::shape::MAX_RANK];
        sizes[0] = segments;
        let weights = Tensor::from_buffer(Shape::new(&sizes[..sum.shape().rank()]), weights);
        sum * self.tape.constant(&weights)
    }

    /// The largest of each segment's rows, element by element, as [`Var::segment_sum`]: minus infinity for an empty
    /// segment, NaN where a row holds one. Several largest elements share the gradient equally. JAX:
    /// `jax.ops.segment_max`.
    ///
    /// # Panics
    /// When there is not one id for each row or an id is not below `segments`.
    pub fn segment_max(self, ids: &Arc<[u32]>, segments: usize) -> Self {
        self.tape.record(SegmentMax { ids: Arc::clone(ids), segments }, &[self])[0]
    }

    /// Softmax over the rows of each segment, element by element; the shape stays `[rows, ..]`, and row `i` belongs to
    /// segment `ids[i]`. PyTorch Geometric: `softmax(x, index)`.
    ///
    /// # Panics
    /// When there is not one id for each row or an id is not below `segments`.
    pub fn segment_softmax(self, ids: &Arc<[u32]>, segments: usize) -> Self {
        self.tape.record(SegmentSoftmax { ids: Arc::clone(ids), segments }, &[self])[0]
    }
}
