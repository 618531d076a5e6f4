//! Memory for time: a part of a computation whose intermediate values are computed again in the backward pass (Chen
//! et al. 2016, "Training deep nets with sublinear memory cost").

use std::cell::Cell;

use crate::float::Float;
use crate::op::{Array, At, Grads, Op, Saved, Shapes};
use crate::shape::Shape;
use crate::tape::Tape;
use crate::tensor::Tensor;
use crate::var::Var;

/// A function of its operands, recorded as one op.
struct Recompute<T: Float, F> {
    f: F,
    /// The value, until the op takes it over.
    value: Cell<Option<Tensor<T>>>,
    shape: Shape,
}

impl<T, F> Op<T> for Recompute<T, F>
where
    T: Float,
    F: for<'a> Fn(&'a Tape<T>, &[Var<'a, T>]) -> Var<'a, T> + Send + 'static,
{
    fn name(&self) -> &'static str {
        "recompute"
    }

    fn shapes(&self, _: &[Shape]) -> Shapes {
        Shapes::from_elem(self.shape, 1)
    }

    fn forward(&self, _: &[Array<'_, T>], y: &mut [&mut [T]], _: &mut Saved<T>) {
        let value = self.value.take().expect("an op is recorded once");
        y[0].copy_from_slice(value.data());
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let tape = Tape::with_pool(at.pool.clone());
        let operand = |(i, x): (usize, &Array<'_, T>)| {
            let mut data = at.scratch(x.data.len());
            data.copy_from_slice(x.data);
            let value = Tensor::from_buffer(x.shape, data);
            if grads.wanted(i) { tape.variable(&value) } else { tape.constant(&value) }
        };
        let operands: Vec<_> = at.x.iter().enumerate().map(operand).collect();
        let mut cotangent = at.scratch(self.shape.len());
        cotangent.copy_from_slice(at.grad(0));
        let y = (self.f)(&tape, &operands);
        let found = y.backward_with(&Tensor::from_buffer(self.shape, cotangent));
        for (i, operand) in operands.iter().enumerate() {
            if let Some(gradient) = found.of(*operand) {
                grads.add_slice(i, gradient.data());
            }
        }
    }
}

impl<T: Float> Tape<T> {
    /// Computes `f` without keeping its intermediate values; the backward pass computes them again. What `f` reads
    /// from outside must be among `inputs` for a gradient to reach it, and `f` must give the same result each time: it
    /// runs once now, and once in every backward pass, on a tape of its own.
    ///
    /// PyTorch: `torch.utils.checkpoint.checkpoint`.
    ///
    /// ```
    /// use gradome_tape::{Tape, Tensor};
    ///
    /// let tape = Tape::<f64>::new();
    /// let x = tape.variable(&Tensor::new([2], &[0.5, 1.0]));
    /// let y = tape.recompute(&[x], |_, x| (x[0].exp() + 1.0).ln());
    /// let gradients = y.sum().backward();
    /// assert!((gradients.of(x).unwrap().at(&[0]) - 1.0 / (1.0 + (-0.5f64).exp())).abs() < 1e-12);
    /// ```
    pub fn recompute<'t, F>(&'t self, inputs: &[Var<'t, T>], f: F) -> Var<'t, T>
    where
        F: for<'a> Fn(&'a Tape<T>, &[Var<'a, T>]) -> Var<'a, T> + Send + 'static,
    {
        let value = {
            let tape = Tape::with_pool(self.pool.clone());
            tape.inherit(self);
            let operands: Vec<_> = inputs.iter().map(|x| tape.constant(&x.value())).collect();
            let value = f(&tape, &operands).value();
            self.note(tape.anomaly());
            value
        };
        let shape = value.shape();
        self.custom(Recompute { f, value: Cell::new(Some(value)), shape }, inputs)[0]
    }
}
