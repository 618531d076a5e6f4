//! Rows picked by index: embeddings and sub-samples.

use std::sync::Arc;

use crate::float::Float;
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::shape::Shape;
use crate::var::Var;

/// Rows of the first axis in a given order, with repeats.
pub struct Gather {
    rows: Arc<[u32]>,
}

impl<T: Float> Op<T> for Gather {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        let shape = &inputs[0];
        assert!(shape.rank() > 0, "gather: a scalar has no rows");
        if let Some(row) = self.rows.iter().find(|&&row| row as usize >= shape[0]) {
            panic!("gather: row {row} of shape {shape}");
        }
        Shapes::from_elem(shape.with(0, self.rows.len()), 1)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], _: &mut Saved<T>) {
        let width: usize = x[0].shape[1..].iter().product();
        for (y, &row) in y[0].chunks_exact_mut(width.max(1)).zip(self.rows.iter()) {
            y.copy_from_slice(&x[0].data[row as usize * width..][..width]);
        }
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let width: usize = at.x[0].shape[1..].iter().product();
        let Some(grad) = grads.sum(0) else { return };
        // in order, so that repeated rows add up the same way every time
        for (g, &row) in at.grad(0).chunks_exact(width.max(1)).zip(self.rows.iter()) {
            grad[row as usize * width..][..width].iter_mut().zip(g).for_each(|(grad, g)| *grad += *g);
        }
    }
}

impl Samples for Gather {
    const NAME: &'static str = "gather";
    const DOC: &'static str = "Rows of the first axis by index, with repeats: embedding look-up. PyTorch: `x[rows]`.";
    fn samples() -> Vec<Sample<Self>> {
        let sample = |rows: &[u32], shape: &[usize]| Sample::new(Self { rows: rows.into() }, -1.0..1.0, &[shape]);
        vec![sample(&[2, 0, 2, 1], &[3, 4]), sample(&[0, 0], &[1, 2, 2]), sample(&[1], &[2]), sample(&[], &[2, 3])]
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// The rows of the first axis with the given indices, in that order. PyTorch: `x[rows]`, `F.embedding`.
    ///
    /// # Panics
    /// When an index is outside.
    pub fn gather(self, rows: &Arc<[u32]>) -> Self {
        self.tape.record(Gather { rows: Arc::clone(rows) }, &[self])[0]
    }
}
