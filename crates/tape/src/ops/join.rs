//! Ops that write their operands into parts of a larger array: joined, padded, set on a diagonal.

use std::sync::Arc;

use crate::float::Float;
use crate::kernels::strided::{View, read, write};
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::ops::gather::IndexSelect;
use crate::ops::layout::diagonal_view;
use crate::shape::{MAX_RANK, Shape};
use crate::tape::Tape;
use crate::var::Var;

/// Arrays joined along one axis.
pub struct Concat {
    axis: usize,
}

/// An array with a border of one value.
pub struct Pad {
    /// Elements before and after each axis.
    widths: [(usize, usize); MAX_RANK],
    value: f64,
}

/// Matrices that are zero but for one diagonal.
pub struct DiagonalEmbed {
    offset: isize,
}

/// What stands in the border of a padded array.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Padding {
    /// One value.
    Constant(f64),
    /// The element at the edge. PyTorch: `replicate`.
    Edge,
    /// The elements beside the edge, mirrored at it; the edge itself is not repeated.
    Reflect,
    /// The elements from the other end.
    Circular,
}

/// The block of an array `whole` that starts at `start` and has the given sizes.
fn part(whole: &Shape, sizes: &Shape, start: impl Fn(usize) -> usize) -> View {
    let strides = whole.strides();
    let start = (0..whole.rank()).map(|axis| start(axis) * strides[axis]).sum();
    View { sizes: *sizes, start, ..View::whole(whole) }
}

/// Adds to an operand's gradient that of the elements it was written to.
fn read_back<T: Float>(at: &At<'_, T>, grads: &mut Grads<'_, T>, operand: usize, view: &View) {
    if let Some((grad, accumulate)) = grads.write(operand) {
        read(at.grad(0), view, grad, accumulate);
    }
}

impl Concat {
    /// Where each operand lies in the result.
    fn views(&self, whole: Shape, operands: impl Iterator<Item = Shape>) -> impl Iterator<Item = View> {
        let (joined, mut start) = (self.axis, 0);
        operands.map(move |sizes| {
            start += sizes[joined];
            part(&whole, &sizes, |axis| if axis == joined { start - sizes[joined] } else { 0 })
        })
    }
}

impl<T: Float> Op<T> for Concat {
    fn name(&self) -> &'static str {
        Self::NAME
    }
    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        let first = &inputs[0];
        let total = inputs
            .iter()
            .map(|shape| {
                assert!(
                    shape.rank() == first.rank() && shape.with(self.axis, 0) == first.with(self.axis, 0),
                    "concat: {first} and {shape} differ beside axis {}",
                    self.axis
                );
                shape[self.axis]
            })
            .sum();
        Shapes::from_elem(first.with(self.axis, total), 1)
    }
    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], _: &mut Saved<T>) {
        let total = x.iter().map(|x| x.shape[self.axis]).sum();
        let whole = x[0].shape.with(self.axis, total);
        for (x, view) in x.iter().zip(self.views(whole, x.iter().map(|x| x.shape))) {
            write(x.data, y[0], &view, false);
        }
    }
    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        for (operand, view) in self.views(at.y[0].shape, at.x.iter().map(|x| x.shape)).enumerate() {
            read_back(at, grads, operand, &view);
        }
    }
}

impl Pad {
    fn padded(&self, shape: &Shape) -> Shape {
        let sizes = shape.iter().zip(&self.widths).map(|(size, (before, after))| before + size + after);
        Shape::new(&sizes.collect::<smallvec::SmallVec<[usize; MAX_RANK]>>())
    }

    fn view(&self, shape: &Shape) -> View {
        part(&self.padded(shape), shape, |axis| self.widths[axis].0)
    }
}

impl<T: Float> Op<T> for Pad {
    fn name(&self) -> &'static str {
        Self::NAME
    }
    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        Shapes::from_elem(self.padded(&inputs[0]), 1)
    }
    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], _: &mut Saved<T>) {
        y[0].fill(T::of(self.value));
        write(x[0].data, y[0], &self.view(&x[0].shape), false);
    }
    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        read_back(at, grads, 0, &self.view(&at.x[0].shape));
    }
}

impl DiagonalEmbed {
    fn matrices(&self, shape: &Shape) -> Shape {
        assert!(shape.rank() > 0, "diagonal_embed: a scalar is no diagonal");
        assert!(shape.rank() < MAX_RANK, "diagonal_embed: shape {shape} has no place for a further axis");
        let (last, size) = (shape.rank() - 1, shape.last_size() + self.offset.unsigned_abs());
        shape.with(last, size).inserted(last, size)
    }

    fn view(&self, shape: &Shape) -> View {
        diagonal_view(&self.matrices(shape), self.offset, Self::NAME)
    }
}

impl<T: Float> Op<T> for DiagonalEmbed {
    fn name(&self) -> &'static str {
        Self::NAME
    }
    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        Shapes::from_elem(self.matrices(&inputs[0]), 1)
    }
    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], _: &mut Saved<T>) {
        y[0].fill(T::ZERO);
        write(x[0].data, y[0], &self.view(&x[0].shape), false);
    }
    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        read_back(at, grads, 0, &self.view(&at.x[0].shape));
    }
}

impl Samples for Concat {
    const NAME: &'static str = "concat";
    const DOC: &'static str = "Arrays joined along one axis. PyTorch: `torch.cat`.";
    fn samples() -> Vec<Sample<Self>> {
        vec![
            Sample::new(Self { axis: 0 }, -1.0..1.0, &[&[2, 3], &[1, 3]]),
            Sample::new(Self { axis: 1 }, -1.0..1.0, &[&[2, 3], &[2, 1], &[2, 2]]),
            Sample::new(Self { axis: 1 }, -1.0..1.0, &[&[2, 1, 4], &[2, 2, 4]]),
            Sample::new(Self { axis: 0 }, -1.0..1.0, &[&[2], &[0]]),
        ]
    }
}

impl Samples for Pad {
    const NAME: &'static str = "pad";
    const DOC: &'static str = "A border around an array. PyTorch: `F.pad`.";
    fn samples() -> Vec<Sample<Self>> {
        let sample = |given: &[(usize, usize)], shape: &[usize]| {
            let mut widths = [(0, 0); MAX_RANK];
            widths[..given.len()].copy_from_slice(given);
            Sample::new(Self { widths, value: 0.3 }, -1.0..1.0, &[shape])
        };
        vec![
            sample(&[(1, 2)], &[3]),
            sample(&[(0, 1), (2, 0)], &[2, 3]),
            sample(&[(1, 1), (0, 0), (0, 2)], &[2, 2, 2]),
            sample(&[(2, 1)], &[0]),
            sample(&[], &[]),
        ]
    }
}

impl Samples for DiagonalEmbed {
    const NAME: &'static str = "diagonal_embed";
    const DOC: &'static str = "Matrices that are zero but for one diagonal. PyTorch: `torch.diag_embed`.";
    fn samples() -> Vec<Sample<Self>> {
        let sample = |offset, shape: &[usize]| Sample::new(Self { offset }, -1.0..1.0, &[shape]);
        vec![sample(0, &[3]), sample(1, &[2, 3]), sample(-2, &[2, 2, 1]), sample(0, &[1]), sample(1, &[2, 0])]
    }
}

impl<T: Float> Tape<T> {
    /// Joins arrays along one axis (negative: from the back). PyTorch: `torch.cat`.
    ///
    /// # Panics
    /// When the list is empty or the shapes differ beside that axis.
    pub fn concat<'t>(&'t self, parts: &[Var<'t, T>], axis: isize) -> Var<'t, T> {
        assert!(!parts.is_empty(), "concat: nothing to join");
        let axis = parts[0].shape().axis(axis, Concat::NAME);
        self.record(Concat { axis }, parts)[0]
    }

    /// Joins arrays of one shape along a new axis, before position `axis` of theirs (negative: from the back, -1
    /// appends). PyTorch: `torch.stack`.
    ///
    /// # Panics
    /// When the list is empty or the shapes differ.
    pub fn stack<'t>(&'t self, parts: &[Var<'t, T>], axis: isize) -> Var<'t, T> {
        let parts: Vec<Var<'t, T>> = parts.iter().map(|p| p.unsqueeze(axis)).collect();
        self.concat(&parts, axis)
    }
}

/// For each position of an axis of `size` elements with a border the position that stands there.
fn border_source(size: usize, (before, after): (usize, usize), padding: Padding) -> Arc<[u32]> {
    let source = |at: usize| match padding {
        Padding::Edge => at.clamp(before, before + size - 1) - before,
        // below `size` either way, so that one reflection is enough
        Padding::Reflect if at < before => before - at,
        Padding::Reflect if at >= before + size => 2 * (size - 1) - (at - before),
        _ => (at + size * before.div_ceil(size) - before) % size,
    };
    (0..before + size + after).map(|at| u32::try_from(source(at)).expect("an axis below 2^32")).collect()
}

impl<'t, T: Float> Var<'t, T> {
    /// A border of `(before, after)` elements along each axis. NumPy: `np.pad`, PyTorch: `F.pad` (which starts from the
    /// last axis).
    ///
    /// ```
    /// use gradome_tape::{Padding, Tape, Tensor};
    /// let tape = Tape::<f64>::new();
    /// let x = tape.constant(&Tensor::new([3], &[1.0, 2.0, 3.0]));
    /// assert_eq!(x.pad(&[(2, 1)], Padding::Reflect).value().data(), &[3.0, 2.0, 1.0, 2.0, 3.0, 2.0]);
    /// ```
    ///
    /// # Panics
    /// When there is not one pair for each axis, an axis has nothing to repeat, or a reflected border is not shorter
    /// than its axis.
    pub fn pad(self, widths: &[(usize, usize)], padding: Padding) -> Self {
        let shape = self.shape();
        assert!(widths.len() == shape.rank(), "pad: {} pairs for shape {shape}", widths.len());
        if let Padding::Constant(value) = padding {
            let mut all = [(0, 0); MAX_RANK];
            all[..widths.len()].copy_from_slice(widths);
            return self.tape.record(Pad { widths: all, value }, &[self])[0];
        }
        let mut padded = self;
        for (axis, &(before, after)) in widths.iter().enumerate().filter(|(_, width)| **width != (0, 0)) {
            let size = shape[axis];
            assert!(size > 0, "pad: axis {axis} of shape {shape} is empty");
            assert!(
                padding != Padding::Reflect || before.max(after) < size,
                "pad: a reflected border of {before} and {after} for axis {axis} of shape {shape}"
            );
            let indices = border_source(size, (before, after), padding);
            padded = self.tape.record(IndexSelect { axis, indices }, &[padded])[0];
        }
        padded
    }

    /// The elements of one axis (negative: from the back) moved `shift` places up; those that leave the end enter at
    /// the start. PyTorch: `x.roll`.
    ///
    /// # Panics
    /// When there is no such axis.
    pub fn roll(self, axis: isize, shift: isize) -> Self {
        let shape = self.shape();
        let axis = shape.axis(axis, "roll");
        let size = shape[axis] as isize;
        let indices = (0..size).map(|at| (at - shift).rem_euclid(size) as u32).collect();
        self.tape.record(IndexSelect { axis, indices }, &[self])[0]
    }

    /// The whole array as many times along each axis as `counts` says. NumPy: `np.tile`, PyTorch: `x.repeat`.
    ///
    /// # Panics
    /// When there is not one count for each axis.
    pub fn repeat(self, counts: &[usize]) -> Self {
        let mut repeated = self;
        assert!(counts.len() == self.shape().rank(), "repeat: {} counts for shape {}", counts.len(), self.shape());
        for (axis, &count) in counts.iter().enumerate().filter(|(_, count)| **count != 1) {
            let shape = repeated.shape();
            let (outer, n, inner) = shape.split_at_axis(axis);
            let copies = repeated.reshape([outer, 1, n * inner]).broadcast_to([outer, count, n * inner]);
            repeated = copies.reshape(shape.with(axis, count * n));
        }
        repeated
    }

    /// Matrices `[.., n, n]` whose diagonal is the last axis, `offset` columns right of the main one or `-offset` rows
    /// below it, and which are 0 elsewhere; n is the last size plus the offset's magnitude. PyTorch:
    /// `torch.diag_embed`.
    ///
    /// # Panics
    /// When it is a scalar.
    pub fn diagonal_embed(self, offset: isize) -> Self {
        self.tape.record(DiagonalEmbed { offset }, &[self])[0]
    }
}
