//! What an op that is more than elementwise has to say: its shapes, its value and its gradient.

use std::ops::Range;

use smallvec::SmallVec;

use crate::float::Float;
use crate::kernels::buffer::{Buffer, Pool};
use crate::kernels::sweep::add_assign;
use crate::registry::Gradient;
use crate::shape::Shape;
use crate::var::Var;

/// The shapes of an op's outputs; most ops have one.
pub type Shapes = SmallVec<[Shape; 2]>;

/// An operand or result as an op sees it: a shape and row-major values.
#[derive(Clone, Copy)]
pub struct Array<'a, T> {
    /// The axis sizes.
    pub shape: Shape,
    /// The values, row-major.
    pub data: &'a [T],
}

/// A differentiable operation on whole arrays.
///
/// Configuration, integer inputs and masks are fields of the implementing struct. The library's own ops and a user's
/// ops (through [`Tape::custom`](crate::Tape::custom)) implement the same trait and pass the same check
/// ([`check_op`](crate::check::check_op)).
///
/// ```
/// use gradome_tape::{Array, At, Grads, Op, Saved, Shape, Shapes, Tape, Tensor};
///
/// /// y = x^3.
/// struct Cube;
/// impl Op<f64> for Cube {
///     fn name(&self) -> &'static str { "cube" }
///     fn shapes(&self, inputs: &[Shape]) -> Shapes { Shapes::from_slice(inputs) }
///     fn forward(&self, x: &[Array<f64>], y: &mut [&mut [f64]], _: &mut Saved<f64>) {
///         for (y, x) in y[0].iter_mut().zip(x[0].data) { *y = x * x * x }
///     }
///     fn backward(&self, at: &At<f64>, grads: &mut Grads<f64>) {
///         grads.add(0, |i| at.grad(0)[i] * 3.0 * at.x[0].data[i].powi(2));
///     }
/// }
///
/// let tape = Tape::new();
/// let x = tape.variable(&Tensor::new([2], &[1.0, 2.0]));
/// let gradients = tape.custom(Cube, &[x])[0].sum().backward();
/// assert_eq!(gradients.of(x).unwrap().data(), &[3.0, 12.0]);
/// ```
pub trait Op<T: Float>: Send + 'static {
    /// The name that errors and reports use.
    fn name(&self) -> &'static str;
    /// The shape of each output.
    ///
    /// # Panics
    /// When the operands do not fit; the message names the op and the shapes.
    fn shapes(&self, inputs: &[Shape]) -> Shapes;
    /// Writes every element of every output; may keep arrays for the backward pass in `saved`.
    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>);
    /// Adds the gradient of every operand that wants one, given the gradients of the outputs.
    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>);
}

/// Arrays that an op keeps from its forward pass for its backward pass.
pub struct Saved<T: Float> {
    pub(crate) kept: SmallVec<[Buffer<T>; 2]>,
    pub(crate) pool: Pool<T>,
}

impl<T: Float> Saved<T> {
    /// An array to fill now and read as `At::saved` in the backward pass; its initial values are arbitrary.
    pub fn keep(&mut self, len: usize) -> &mut [T] {
        self.kept.push(self.pool.take(len));
        self.kept.last_mut().expect("just pushed")
    }

    /// An array for the forward pass only; its initial values are arbitrary.
    pub fn scratch(&self, len: usize) -> Buffer<T> {
        self.pool.take(len)
    }
}

/// What a backward pass can look at.
pub struct At<'a, T: Float> {
    /// The operands.
    pub x: &'a [Array<'a, T>],
    /// The outputs.
    pub y: &'a [Array<'a, T>],
    /// What the forward pass kept, in order.
    pub saved: &'a [Buffer<T>],
    pub(crate) grads: &'a [Option<&'a [T]>],
    pub(crate) pool: &'a Pool<T>,
}

impl<T: Float> At<'_, T> {
    /// The gradient of an output.
    ///
    /// # Panics
    /// When none reached that output, which cannot happen for the only output of an op.
    pub fn grad(&self, output: usize) -> &[T] {
        self.grads[output].expect("an op's only output has a gradient in its backward pass")
    }

    /// The gradient of an output, or nothing when that output did not matter to the result.
    pub fn grad_if_any(&self, output: usize) -> Option<&[T]> {
        self.grads[output]
    }

    /// An array for this pass only; its initial values are arbitrary.
    pub fn scratch(&self, len: usize) -> Buffer<T> {
        self.pool.take(len)
    }
}

/// The gradients of an op's operands, to be added to.
pub struct Grads<'a, T: Float> {
    pub(crate) slots: &'a mut [Option<Slot<T>>],
}

pub(crate) struct Slot<T: Float> {
    pub data: Buffer<T>,
    /// Whether nothing was added yet: the values are arbitrary and must all be written.
    pub fresh: bool,
}

impl<T: Float> Grads<'_, T> {
    /// Whether the operand's gradient is wanted at all.
    pub fn wanted(&self, operand: usize) -> bool {
        self.slots[operand].is_some()
    }

    /// Adds `value(i)` to element `i` of an operand's gradient.
    pub fn add(&mut self, operand: usize, value: impl Fn(usize) -> T) {
        let Some(slot) = &mut self.slots[operand] else { return };
        if slot.fresh {
            slot.data.iter_mut().enumerate().for_each(|(i, g)| *g = value(i));
        } else {
            slot.data.iter_mut().enumerate().for_each(|(i, g)| *g += value(i));
        }
        slot.fresh = false;
    }

    /// An operand's gradient to add to, zero at first; nothing when it is not wanted.
    pub fn sum(&mut self, operand: usize) -> Option<&mut [T]> {
        let slot = self.slots[operand].as_mut()?;
        if slot.fresh {
            slot.data.fill(T::ZERO);
            slot.fresh = false;
        }
        Some(&mut slot.data)
    }

    /// An operand's gradient together with whether to add (`true`) or to overwrite every element (`false`).
    pub fn write(&mut self, operand: usize) -> Option<(&mut [T], bool)> {
        let slot = self.slots[operand].as_mut()?;
        let accumulate = !slot.fresh;
        slot.fresh = false;
        Some((&mut slot.data, accumulate))
    }

    /// The gradients of the first N operands at once, each as [`Grads::write`] gives it.
    pub fn write_all<const N: usize>(&mut self) -> [Option<(&mut [T], bool)>; N] {
        let mut slots = self.slots.iter_mut();
        std::array::from_fn(|_| {
            let slot = slots.next()?.as_mut()?;
            let accumulate = !std::mem::take(&mut slot.fresh);
            Some((&mut slot.data[..], accumulate))
        })
    }

    /// Adds a whole array to an operand's gradient.
    pub fn add_slice(&mut self, operand: usize, values: &[T]) {
        if let Some((grad, accumulate)) = self.write(operand) {
            if accumulate { add_assign(grad, values) } else { grad.copy_from_slice(values) }
        }
    }
}

/// How the values of a sample's operand are drawn.
#[derive(Clone, Debug)]
pub enum Draw {
    /// Real numbers from a range.
    Real(Range<f64>),
    /// Counts from 0 to the given one; an operand that has no gradient.
    Counts(u32),
    /// Symmetric matrices in the last two axes, with elements from a range.
    Symmetric(Range<f64>),
    /// Symmetric positive definite matrices in the last two axes, with eigenvalues of at least 1/2.
    PositiveDefinite,
    /// Invertible matrices in the last two axes that are not symmetric; one element a row dominates, off the diagonal.
    Invertible,
}

/// One way to try an op in the checks: its configuration, and for each operand a shape and how to draw its values.
pub struct Sample<O> {
    /// The op as configured for this sample.
    pub op: O,
    /// For each operand its shape and how its values are drawn.
    pub inputs: Vec<(Shape, Draw)>,
}

impl<O> Sample<O> {
    /// A sample whose operands are all drawn from one range.
    pub fn new(op: O, range: Range<f64>, shapes: &[&[usize]]) -> Self {
        Self { op, inputs: shapes.iter().map(|s| (Shape::new(s), Draw::Real(range.clone()))).collect() }
    }

    /// A sample whose operands are drawn each in its own way.
    pub fn drawn(op: O, inputs: &[(&[usize], Draw)]) -> Self {
        Self { op, inputs: inputs.iter().map(|(shape, draw)| (Shape::new(shape), draw.clone())).collect() }
    }
}

/// What the registry needs of one of the library's coarse ops.
pub trait Samples: Sized {
    /// The op's name in the list of ops.
    const NAME: &'static str;
    /// One sentence on what the op computes, with its equivalent elsewhere.
    const DOC: &'static str;
    /// How the op behaves under differentiation. The outputs of an op of kind [`Gradient::None`] want no gradient, so
    /// that its `backward` is never called.
    const GRADIENT: Gradient = Gradient::Exact;
    /// Inputs at which the op is checked.
    fn samples() -> Vec<Sample<Self>>;
    /// What a [`Gradient::Surrogate`] takes its gradient from: for each output the value whose gradient the op has.
    fn reference<'t>(&self, _x: &[Var<'t, f64>]) -> Option<Vec<Var<'t, f64>>> {
        None
    }
}
