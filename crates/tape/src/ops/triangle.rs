//! Triangular parts of matrices.

use std::ops::Range;

use crate::float::Float;
use crate::kernels::strided::put_row;
use crate::kernels::{for_each_chunk, rows_per_chunk};
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::shape::Shape;
use crate::var::Var;

/// The last two axes on one side of a diagonal, 0 on the other.
pub struct Triangle {
    upper: bool,
    /// The diagonal, which belongs to the triangle: columns right of the main one.
    offset: isize,
}

impl Triangle {
    /// The columns that a row keeps.
    fn kept(&self, row: usize, columns: usize) -> Range<usize> {
        let edge = row as isize + self.offset;
        let within = |column: isize| column.clamp(0, columns as isize) as usize;
        if self.upper { within(edge)..columns } else { 0..within(edge + 1) }
    }

    /// Runs `work(row of out, its columns kept, its start)` for every row of `[.., rows, columns]`.
    fn for_each_row<T: Float>(
        &self,
        out: &mut [T],
        shape: &Shape,
        work: impl Fn(&mut [T], Range<usize>, usize) + Sync + Send,
    ) {
        if out.is_empty() {
            return;
        }
        let (rows, columns) = (shape[shape.rank() - 2], shape.last_size());
        let many = rows_per_chunk(columns);
        for_each_chunk(out, many * columns, |chunk, out| {
            for (i, out) in out.chunks_exact_mut(columns).enumerate() {
                let row = chunk * many + i;
                work(out, self.kept(row % rows, columns), row * columns);
            }
        });
    }
}

impl<T: Float> Op<T> for Triangle {
    fn name(&self) -> &'static str {
        Self::NAME
    }
    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        assert!(inputs[0].rank() >= 2, "triangle: shape {} has fewer than two axes", inputs[0]);
        Shapes::from_slice(inputs)
    }
    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], _: &mut Saved<T>) {
        self.for_each_row(y[0], &x[0].shape, |y, kept, start| {
            y[..kept.start].fill(T::ZERO);
            y[kept.end..].fill(T::ZERO);
            y[kept.clone()].copy_from_slice(&x[0].data[start + kept.start..start + kept.end]);
        });
    }
    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let Some(grad) = grads.sum(0) else { return };
        self.for_each_row(grad, &at.x[0].shape, |grad, kept, start| {
            put_row::<T, true>(&mut grad[kept.clone()], &at.grad(0)[start + kept.start..start + kept.end]);
        });
    }
}

impl Samples for Triangle {
    const NAME: &'static str = "triangle";
    const DOC: &'static str =
        "The triangle of the last two axes below (`tril`) or above (`triu`) a diagonal. PyTorch: `x.tril`, `x.triu`.";
    fn samples() -> Vec<Sample<Self>> {
        let sample = |upper, offset, shape: &[usize]| Sample::new(Self { upper, offset }, -1.0..1.0, &[shape]);
        vec![
            sample(false, 0, &[3, 3]),
            sample(true, 1, &[2, 3, 4]),
            sample(false, -1, &[4, 2]),
            sample(true, -9, &[1, 1]),
            sample(true, 0, &[2, 0, 3]),
        ]
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// The part of each matrix `[.., rows, columns]` on and below the diagonal that lies `offset` columns right of the
    /// main one; 0 above it, whatever stands there. PyTorch: `x.tril`.
    ///
    /// # Panics
    /// When there are fewer than two axes.
    pub fn tril(self, offset: isize) -> Self {
        self.tape.record(Triangle { upper: false, offset }, &[self])[0]
    }

    /// The part of each matrix `[.., rows, columns]` on and above the diagonal that lies `offset` columns right of the
    /// main one; 0 below it, whatever stands there. PyTorch: `x.triu`.
    ///
    /// # Panics
    /// When there are fewer than two axes.
    pub fn triu(self, offset: isize) -> Self {
        self.tape.record(Triangle { upper: true, offset }, &[self])[0]
    }
}
