//! The largest and the smallest elements along an axis, and where they are.

use std::marker::PhantomData;

use crate::float::Float;
use crate::kernels::{COLUMNS, fold_columns, for_each_block_run, for_each_column_run, larger, max_of, simd_kernel};
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::registry::Gradient;
use crate::shape::Shape;
use crate::var::Var;

/// Which end of the order is looked for.
pub trait End: Send + 'static {
    /// 1 for the largest, -1 for the smallest: the largest of the negatives.
    const SIGN: f64;
    /// Name and documentation of the op that gives the element.
    const VALUE: (&'static str, &'static str);
    /// Name and documentation of the op that gives its position.
    const POSITION: (&'static str, &'static str);
}

/// The largest.
pub struct Largest;
/// The smallest.
pub struct Smallest;

impl End for Largest {
    const SIGN: f64 = 1.0;
    const VALUE: (&'static str, &'static str) =
        ("max_axis", "Largest element along one axis, which is removed. PyTorch: `x.amax(axis)`.");
    const POSITION: (&'static str, &'static str) =
        ("argmax_axis", "Position of the largest element along one axis; no gradient. PyTorch: `x.argmax(axis)`.");
}

impl End for Smallest {
    const SIGN: f64 = -1.0;
    const VALUE: (&'static str, &'static str) =
        ("min_axis", "Smallest element along one axis, which is removed. PyTorch: `x.amin(axis)`.");
    const POSITION: (&'static str, &'static str) =
        ("argmin_axis", "Position of the smallest element along one axis; no gradient. PyTorch: `x.argmin(axis)`.");
}

/// The element at one end of the order along an axis, which is removed.
pub struct Extremum<E> {
    axis: usize,
    end: PhantomData<E>,
}

/// The position of that element, the first one at a tie.
pub struct Position<E> {
    axis: usize,
    end: PhantomData<E>,
}

/// The largest along an axis.
pub type MaxAxis = Extremum<Largest>;
/// The smallest along an axis.
pub type MinAxis = Extremum<Smallest>;
/// Where the largest is.
pub type ArgMax = Position<Largest>;
/// Where the smallest is.
pub type ArgMin = Position<Smallest>;

simd_kernel! {
    /// y = sign times the largest of sign times x, for neighbouring columns of n rows.
    fn extrema [T, L](x: &[T], y: &mut [T], n: usize, inner: usize, sign: T) {
        let sign = L::new(sign);
        if inner == 1 {
            y[0] = (sign * max_of([&x[..n]], |[x]: [L; 1]| sign * x)).get();
            return;
        }
        for (run, y) in y.chunks_mut(COLUMNS).enumerate() {
            let best = fold_columns(&x[run * COLUMNS..], (n, inner, y.len()), L::of(f64::NEG_INFINITY), |best, x, _| {
                larger(best, sign * x)
            });
            for (y, best) in y.iter_mut().zip(best) {
                *y = (sign * best).get();
            }
        }
    }
}

/// Whether an element is the one that was found, NaN included.
fn is<T: Float>(x: T, found: T) -> bool {
    x == found || x.to_f64().is_nan() && found.to_f64().is_nan()
}

/// Writes the extremum of every column of an operand of shape `[outer, n, inner]`.
fn extrema_of<T: Float>(x: &Array<'_, T>, axis: usize, sign: f64, y: &mut [T]) {
    let split = x.shape.split_at_axis(axis);
    for_each_column_run(y, split, |start, y| extrema(&x.data[start..], y, split.1, split.2, T::of(sign)));
}

/// The shape without the axis, which must have elements.
fn reduced(shape: &Shape, axis: usize, name: &str) -> Shapes {
    assert!(shape[axis] > 0, "{name}: axis {axis} of shape {shape} is empty");
    Shapes::from_elem(shape.without(axis), 1)
}

impl<T: Float, E: End> Op<T> for Extremum<E> {
    fn name(&self) -> &'static str {
        E::VALUE.0
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        reduced(&inputs[0], self.axis, E::VALUE.0)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], _: &mut Saved<T>) {
        extrema_of(&x[0], self.axis, E::SIGN, y[0]);
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let split = at.x[0].shape.split_at_axis(self.axis);
        let (_, n, inner) = split;
        let Some(grad) = grads.sum(0) else { return };
        for_each_block_run(grad, split, |first, grad| {
            // what is left to give: nothing once the first such element has got it
            let mut left = at.scratch(inner);
            for (block, grad) in grad.chunks_mut(n * inner).enumerate() {
                let outer = first + block;
                let (x, y) = (&at.x[0].data[outer * n * inner..], &at.y[0].data[outer * inner..][..inner]);
                left.copy_from_slice(&at.grad(0)[outer * inner..][..inner]);
                for (grad, x) in grad.chunks_mut(inner).zip(x.chunks(inner)) {
                    for (((grad, x), y), left) in grad.iter_mut().zip(x).zip(y).zip(left.iter_mut()) {
                        if is(*x, *y) {
                            *grad += std::mem::take(left);
                        }
                    }
                }
            }
        });
    }
}

impl<T: Float, E: End> Op<T> for Position<E> {
    fn name(&self) -> &'static str {
        E::POSITION.0
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        reduced(&inputs[0], self.axis, E::POSITION.0)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>) {
        let split = x[0].shape.split_at_axis(self.axis);
        let (_, n, inner) = split;
        assert_exact::<T>(n, E::POSITION.0);
        let mut best = saved.scratch(y[0].len());
        extrema_of(&x[0], self.axis, E::SIGN, &mut best);
        for (i, (y, best)) in y[0].iter_mut().zip(best.iter()).enumerate() {
            let start = i / inner * n * inner + i % inner;
            let found = (0..n).position(|k| is(x[0].data[start + k * inner], *best));
            *y = T::of(found.expect("the extremum is one of the elements") as f64);
        }
    }

    fn backward(&self, _: &At<'_, T>, _: &mut Grads<'_, T>) {}
}

/// Panics when positions along an axis of `n` elements are not whole numbers of the precision.
pub(super) fn assert_exact<T: Float>(n: usize, name: &str) {
    assert!(n as f64 <= 2.0 / T::EPSILON, "{name}: {} does not hold the positions along an axis of {n}", T::NAME);
}

impl<E: End> Samples for Extremum<E> {
    const NAME: &'static str = E::VALUE.0;
    const DOC: &'static str = E::VALUE.1;
    fn samples() -> Vec<Sample<Self>> {
        let sample = |axis, shape: &[usize]| Sample::new(Self { axis, end: PhantomData }, -1.0..1.0, &[shape]);
        vec![
            sample(0, &[4, 5]),
            sample(1, &[4, 5]),
            sample(1, &[2, 3, 4]),
            sample(0, &[3, 37]),
            sample(0, &[1]),
            sample(1, &[0, 3]),
        ]
    }
}

impl<E: End> Samples for Position<E> {
    const NAME: &'static str = E::POSITION.0;
    const DOC: &'static str = E::POSITION.1;
    const GRADIENT: Gradient = Gradient::None;
    fn samples() -> Vec<Sample<Self>> {
        let sample = |axis, shape: &[usize]| Sample::new(Self { axis, end: PhantomData }, -1.0..1.0, &[shape]);
        vec![sample(0, &[4, 5]), sample(1, &[2, 3, 4]), sample(0, &[1]), sample(1, &[0, 3])]
    }
}

impl<'t, T: Float> Var<'t, T> {
    fn extremum<E: End>(self, axis: isize) -> Self
    where
        Extremum<E>: crate::registry::Listed,
    {
        let axis = self.shape().axis(axis, E::VALUE.0);
        self.tape.record(Extremum::<E> { axis, end: PhantomData }, &[self])[0]
    }

    fn position<E: End>(self, axis: isize) -> Self
    where
        Position<E>: crate::registry::Listed,
    {
        let axis = self.shape().axis(axis, E::POSITION.0);
        self.tape.record(Position::<E> { axis, end: PhantomData }, &[self])[0]
    }

    /// The largest element along one axis (negative: from the back), which is removed; NaN if any is NaN. The first
    /// one has the gradient at a tie. PyTorch: `x.amax(axis)`, which shares it.
    ///
    /// # Panics
    /// When there is no such axis or it is empty.
    pub fn max_axis(self, axis: isize) -> Self {
        self.extremum::<Largest>(axis)
    }

    /// The smallest element along one axis (negative: from the back), which is removed; NaN if any is NaN. The first
    /// one has the gradient at a tie. PyTorch: `x.amin(axis)`, which shares it.
    ///
    /// # Panics
    /// When there is no such axis or it is empty.
    pub fn min_axis(self, axis: isize) -> Self {
        self.extremum::<Smallest>(axis)
    }

    /// The largest of all elements, a scalar; NaN if any is NaN. PyTorch: `x.max()`.
    ///
    /// # Panics
    /// When there are none.
    pub fn max(self) -> Self {
        self.reshape(self.shape().len()).max_axis(0)
    }

    /// The smallest of all elements, a scalar; NaN if any is NaN. PyTorch: `x.min()`.
    ///
    /// # Panics
    /// When there are none.
    pub fn min(self) -> Self {
        self.reshape(self.shape().len()).min_axis(0)
    }

    /// The position of the largest element along one axis, which is removed, as a number: the first one at a tie, the
    /// first NaN if there is any. It has no gradient. PyTorch: `x.argmax(axis)`.
    ///
    /// # Panics
    /// When there is no such axis, it is empty, or in f32 longer than 2^24.
    pub fn argmax_axis(self, axis: isize) -> Self {
        self.position::<Largest>(axis)
    }

    /// The position of the smallest element along one axis, which is removed, as a number: the first one at a tie, the
    /// first NaN if there is any. It has no gradient. PyTorch: `x.argmin(axis)`.
    ///
    /// # Panics
    /// When there is no such axis, it is empty, or in f32 longer than 2^24.
    pub fn argmin_axis(self, axis: isize) -> Self {
        self.position::<Smallest>(axis)
    }

    /// The position of the largest element of each row (last axis), the first one at a tie. It has no gradient.
    ///
    /// # Panics
    /// When the rows are empty, or in f32 longer than 2^24.
    pub fn argmax(self) -> Vec<usize> {
        self.argmax_axis(-1).value().data().iter().map(|at| at.to_f64() as usize).collect()
    }
}
