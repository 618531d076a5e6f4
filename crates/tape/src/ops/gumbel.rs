//! Relaxed draws of one of several categories.

use crate::float::Float;
use crate::kernels::{for_each_chunk, max_of, rows_per_chunk, simd_kernel};
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::registry::Gradient;
use crate::shape::Shape;
use crate::var::Var;

/// 1 at the largest element of each row and 0 elsewhere, with the gradient of the operand itself.
pub struct OneHotThrough;

simd_kernel! {
    fn one_hot_rows [T, L](x: &[T], y: &mut [T], width: usize) {
        for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
            let largest = max_of([x], |[x]: [L; 1]| x);
            match x.iter().position(|x| L::new(*x) == largest) {
                Some(at) => {
                    y.fill(T::ZERO);
                    y[at] = T::ONE;
                }
                // a row with NaN has no largest element and stays visible as NaN
                None => y.fill(largest.get()),
            }
        }
    }
}

impl<T: Float> Op<T> for OneHotThrough {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        let shape = inputs[0];
        assert!(shape.rank() > 0 && shape.last_size() > 0, "one_hot_through: shape {shape} has empty rows");
        Shapes::from_slice(inputs)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], _: &mut Saved<T>) {
        let width = x[0].shape.last_size();
        let size = rows_per_chunk(width) * width;
        for_each_chunk(y[0], size, |i, y| one_hot_rows(&x[0].data[i * size..i * size + y.len()], y, width));
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        grads.add_slice(0, at.grad(0));
    }
}

impl Samples for OneHotThrough {
    const NAME: &'static str = "one_hot_through";
    const DOC: &'static str = "1 at the largest element of each row and 0 elsewhere, with the gradient of the operand (straight-through). PyTorch: the hard branch of `F.gumbel_softmax`.";
    const GRADIENT: Gradient = Gradient::Surrogate("x");
    fn samples() -> Vec<Sample<Self>> {
        vec![
            Sample::new(Self, 0.0..1.0, &[&[4, 5]]),
            Sample::new(Self, 0.0..1.0, &[&[2, 3, 17]]),
            Sample::new(Self, 0.0..1.0, &[&[1]]),
            Sample::new(Self, 0.0..1.0, &[&[0, 3]]),
        ]
    }
    fn reference<'t>(&self, x: &[Var<'t, f64>]) -> Option<Vec<Var<'t, f64>>> {
        Some(x.to_vec())
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// 1 at the largest element of each row (last axis; the first one at a tie) and 0 elsewhere; all NaN where any is. The gradient is that
    /// of the operand itself: a straight-through estimator (Bengio, Leonard & Courville 2013).
    ///
    /// # Panics
    /// When the rows are empty.
    pub fn one_hot_through(self) -> Self {
        self.tape.record(OneHotThrough, &[self])[0]
    }

    /// A relaxed draw of one category for each row (last axis) of log-probabilities: softmax((x + noise) /
    /// temperature), with standard Gumbel noise given (Jang, Gu & Poole 2017; Maddison, Mnih & Teh 2017). PyTorch:
    /// `F.gumbel_softmax(x, tau=temperature)`.
    ///
    /// # Panics
    /// When the shapes do not broadcast or the rows are empty.
    pub fn gumbel_softmax(self, noise: Self, temperature: f64) -> Self {
        ((self + noise) / temperature).softmax()
    }

    /// A draw of one category for each row as one 1 among zeros, with the gradient of the relaxed draw. PyTorch:
    /// `F.gumbel_softmax(x, tau=temperature, hard=True)`.
    ///
    /// # Panics
    /// When the shapes do not broadcast or the rows are empty.
    pub fn gumbel_softmax_hard(self, noise: Self, temperature: f64) -> Self {
        self.gumbel_softmax(noise, temperature).one_hot_through()
    }
}
