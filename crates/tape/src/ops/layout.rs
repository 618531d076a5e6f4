//! Ops whose result is a view of the operand's memory: permuted axes, slices, windows, diagonals, repeated axes.

use std::ops::{Range, RangeFrom, RangeFull, RangeTo};

use smallvec::SmallVec;

use crate::float::Float;
use crate::kernels::reduce::add_summed_to;
use crate::kernels::strided::{View, covers, read, write};
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::shape::{MAX_RANK, Shape};
use crate::var::Var;

/// An op whose result is a view of its operand: forward reads the view, backward adds to it.
pub(crate) trait Viewed: Samples + Send + 'static {
    /// Where the result's elements lie in an operand of the given shape.
    fn view(&self, of: &Shape) -> View;
}

impl<T: Float, V: Viewed> Op<T> for V {
    fn name(&self) -> &'static str {
        Self::NAME
    }
    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        Shapes::from_elem(self.view(&inputs[0]).sizes, 1)
    }
    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], _: &mut Saved<T>) {
        read(x[0].data, &self.view(&x[0].shape), y[0], false);
    }
    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        add_through(&self.view(&at.x[0].shape), at.grad(0), (0, at.x[0].data.len()), grads);
    }
}

/// Adds the gradient of a view to that of an operand of some length.
pub(super) fn add_through<T: Float>(view: &View, g: &[T], (operand, length): (usize, usize), grads: &mut Grads<'_, T>) {
    if covers(view, length) {
        if let Some((grad, accumulate)) = grads.write(operand) {
            write(g, grad, view, accumulate);
        }
    } else if let Some(grad) = grads.sum(operand) {
        write(g, grad, view, true);
    }
}

/// Axes in another order.
pub struct Permute {
    order: SmallVec<[usize; MAX_RANK]>,
}

impl Viewed for Permute {
    fn view(&self, of: &Shape) -> View {
        let mut seen = [false; MAX_RANK];
        let distinct = self.order.iter().all(|&axis| axis < of.rank() && !std::mem::replace(&mut seen[axis], true));
        let order = &self.order;
        assert!(order.len() == of.rank() && distinct, "permute: {order:?} is no order of the axes of {of}");
        let own = of.strides();
        let (mut sizes, mut steps) = (*of, [0; MAX_RANK]);
        for (axis, &source) in self.order.iter().enumerate() {
            sizes = sizes.with(axis, of[source]);
            steps[axis] = own[source] as isize;
        }
        View { sizes, start: 0, steps }
    }
}

/// A part of an axis, for [`Var::slice`]: a range, of which every so many elements are taken.
///
/// ```
/// use gradome_tape::{Span, Tape, Tensor};
/// let tape = Tape::<f64>::new();
/// let x = tape.constant(&Tensor::new([6], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]));
/// assert_eq!(x.slice(&[Span::from(1..6).by(2)]).value().data(), &[1.0, 3.0, 5.0]);
/// assert_eq!(x.slice(&[Span::from(..4).by(-1)]).value().data(), &[3.0, 2.0, 1.0, 0.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: usize,
    end: Option<usize>,
    step: isize,
}

impl Span {
    /// The whole axis.
    pub const ALL: Self = Self { start: 0, end: None, step: 1 };

    /// Every `step`-th element of the range; a negative step starts at the range's last element and goes backwards.
    /// NumPy: `x[start:end][::step]`.
    pub fn by(self, step: isize) -> Self {
        Self { step, ..self }
    }
}

impl From<Range<usize>> for Span {
    fn from(range: Range<usize>) -> Self {
        Self { start: range.start, end: Some(range.end), step: 1 }
    }
}

impl From<RangeFrom<usize>> for Span {
    fn from(range: RangeFrom<usize>) -> Self {
        Self { start: range.start, ..Self::ALL }
    }
}

impl From<RangeTo<usize>> for Span {
    fn from(range: RangeTo<usize>) -> Self {
        Self { end: Some(range.end), ..Self::ALL }
    }
}

impl From<RangeFull> for Span {
    fn from(_: RangeFull) -> Self {
        Self::ALL
    }
}

/// A part of each axis.
pub struct Slice {
    /// One for each leading axis; the others are whole.
    spans: SmallVec<[Span; 2]>,
}

impl Viewed for Slice {
    fn view(&self, of: &Shape) -> View {
        assert!(self.spans.len() <= of.rank(), "slice: {} spans for shape {of}", self.spans.len());
        let mut view = View::whole(of);
        for (axis, span) in self.spans.iter().enumerate() {
            let (start, end) = (span.start, span.end.unwrap_or(of[axis]));
            assert!(start <= end && end <= of[axis], "slice: {start}..{end} of axis {axis} of shape {of}");
            assert!(span.step != 0, "slice: a step of 0 along axis {axis} of shape {of}");
            let first = if span.step > 0 { start } else { end.max(1) - 1 };
            view.start += first * view.steps[axis] as usize;
            view.steps[axis] *= span.step;
            view.sizes = view.sizes.with(axis, (end - start).div_ceil(span.step.unsigned_abs()));
        }
        view
    }
}

/// Windows that slide along one axis, as a new last axis.
pub struct Windows {
    axis: usize,
    size: usize,
    step: usize,
    dilation: usize,
}

impl Viewed for Windows {
    fn view(&self, of: &Shape) -> View {
        let Self { axis, size, step, dilation } = *self;
        assert!(
            size > 0 && step > 0 && dilation > 0,
            "windows: size {size}, step {step}, dilation {dilation}: all > 0"
        );
        let reach = (size - 1) * dilation + 1;
        assert!(reach <= of[axis], "windows: {reach} elements do not fit axis {axis} of shape {of}");
        assert!(of.rank() < MAX_RANK, "windows: shape {of} has no place for a further axis");
        let mut view = View::whole(of);
        view.steps[of.rank()] = view.steps[axis] * dilation as isize;
        view.steps[axis] *= step as isize;
        view.sizes = of.with(axis, (of[axis] - reach) / step + 1).inserted(of.rank(), size);
        view
    }
}

/// A diagonal of the last two axes.
pub struct Diagonal {
    offset: isize,
}

/// The diagonal of the matrices `of[.., rows, columns]` that starts `offset` columns right of the first element, or
/// `-offset` rows below it.
pub(crate) fn diagonal_view(of: &Shape, offset: isize, op: &str) -> View {
    assert!(of.rank() >= 2, "{op}: shape {of} has fewer than two axes");
    let last = of.rank() - 1;
    let (right, below) = (offset.max(0) as usize, (-offset).max(0) as usize);
    let length = of[last - 1].saturating_sub(below).min(of[last].saturating_sub(right));
    let mut view = View::whole(of);
    view.start = below * of[last] + right;
    view.steps[last - 1] += 1;
    view.steps[last] = 0;
    view.sizes = of.without(last).with(last - 1, length);
    view
}

impl Viewed for Diagonal {
    fn view(&self, of: &Shape) -> View {
        diagonal_view(of, self.offset, Self::NAME)
    }
}

/// An array repeated along axes of size 1 and along new leading axes.
pub struct BroadcastTo {
    to: Shape,
}

impl<T: Float> Op<T> for BroadcastTo {
    fn name(&self) -> &'static str {
        Self::NAME
    }
    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        let common = inputs[0].broadcast(&self.to, Self::NAME);
        assert!(common == self.to, "broadcast_to: {} does not broadcast to {}", inputs[0], self.to);
        Shapes::from_elem(self.to, 1)
    }
    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], _: &mut Saved<T>) {
        let steps = x[0].shape.strides_in(&self.to).map(|stride| stride as isize);
        read(x[0].data, &View { sizes: self.to, start: 0, steps }, y[0], false);
    }
    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let Some(grad) = grads.sum(0) else { return };
        add_summed_to(at.grad(0), &self.to, grad, &at.x[0].shape, at.pool);
    }
}

impl Samples for Permute {
    const NAME: &'static str = "permute";
    const DOC: &'static str = "Axes in another order. PyTorch: `x.permute`.";
    fn samples() -> Vec<Sample<Self>> {
        let sample = |order: &[usize], shape: &[usize]| {
            Sample::new(Self { order: SmallVec::from_slice(order) }, -1.0..1.0, &[shape])
        };
        vec![
            sample(&[1, 0], &[3, 4]),
            sample(&[1, 0], &[17, 19]),
            sample(&[2, 0, 1], &[2, 3, 4]),
            sample(&[0, 2, 1], &[2, 3, 4]),
            sample(&[0], &[3]),
            sample(&[1, 0], &[0, 2]),
        ]
    }
}

impl Samples for Slice {
    const NAME: &'static str = "slice";
    const DOC: &'static str = "A part of each axis, with steps, also backwards. PyTorch: `x[1:5:2]`.";
    fn samples() -> Vec<Sample<Self>> {
        let sample = |spans: &[Span], shape: &[usize]| Sample::new(Self { spans: spans.into() }, -1.0..1.0, &[shape]);
        vec![
            sample(&[Span::from(1..3)], &[4, 3]),
            sample(&[Span::ALL, Span::from(..1)], &[4, 3]),
            sample(&[Span::ALL.by(2), Span::from(1..).by(-1), Span::ALL.by(-2)], &[3, 3, 4]),
            sample(&[Span::ALL.by(-1)], &[1]),
            sample(&[Span::from(2..2)], &[3]),
        ]
    }
}

impl Samples for Windows {
    const NAME: &'static str = "windows";
    const DOC: &'static str = "Windows that slide along one axis, as a new last axis. PyTorch: `x.unfold`.";
    fn samples() -> Vec<Sample<Self>> {
        let sample = |axis, size, step, dilation, shape: &[usize]| {
            Sample::new(Self { axis, size, step, dilation }, -1.0..1.0, &[shape])
        };
        vec![
            sample(0, 3, 1, 1, &[7]),
            sample(1, 2, 2, 1, &[2, 6]),
            sample(1, 3, 1, 2, &[2, 7, 2]),
            sample(0, 2, 3, 2, &[8, 2]),
            sample(0, 1, 1, 1, &[1]),
            sample(1, 2, 1, 1, &[0, 3]),
        ]
    }
}

impl Samples for Diagonal {
    const NAME: &'static str = "diagonal";
    const DOC: &'static str = "A diagonal of the last two axes. PyTorch: `torch.linalg.diagonal`.";
    fn samples() -> Vec<Sample<Self>> {
        let sample = |offset, shape: &[usize]| Sample::new(Self { offset }, -1.0..1.0, &[shape]);
        vec![
            sample(0, &[3, 3]),
            sample(1, &[2, 3, 4]),
            sample(-2, &[2, 4, 3]),
            sample(0, &[1, 1]),
            sample(3, &[3, 3]),
            sample(0, &[2, 0, 3]),
        ]
    }
}

impl Samples for BroadcastTo {
    const NAME: &'static str = "broadcast_to";
    const DOC: &'static str = "An array repeated along axes of size 1 and new leading axes. PyTorch: `x.expand`.";
    fn samples() -> Vec<Sample<Self>> {
        let sample = |to: &[usize], from: &[usize]| Sample::new(Self { to: Shape::new(to) }, -1.0..1.0, &[from]);
        vec![
            sample(&[3, 4], &[4]),
            sample(&[3, 4], &[3, 1]),
            sample(&[2, 3, 4], &[2, 1, 4]),
            sample(&[2, 3, 2], &[1, 3, 1]),
            sample(&[2, 3], &[]),
            sample(&[0, 3], &[1, 3]),
        ]
    }
}

impl<'t, T: Float> Var<'t, T> {
    fn viewed(self, op: impl Viewed) -> Self {
        let view = op.view(&self.shape());
        self.tape.record_view(op, view, self)
    }

    /// The axes in the given order. PyTorch: `x.permute`.
    ///
    /// # Panics
    /// When `order` does not name each axis once.
    pub fn permute(self, order: &[usize]) -> Self {
        self.viewed(Permute { order: SmallVec::from_slice(order) })
    }

    /// The last two axes exchanged. PyTorch: `x.mT`.
    ///
    /// # Panics
    /// When there are fewer than two axes.
    pub fn transpose(self) -> Self {
        let rank = self.shape().rank();
        assert!(rank >= 2, "transpose: shape {} has fewer than two axes", self.shape());
        let mut order: SmallVec<[usize; MAX_RANK]> = (0..rank).collect();
        order.swap(rank - 2, rank - 1);
        self.permute(&order)
    }

    /// A part of each leading axis, the other axes whole; see [`Span`]. PyTorch: `x[1:5, ::2]`.
    ///
    /// # Panics
    /// When there are more spans than axes, a span leaves its axis, or a step is 0.
    pub fn slice(self, spans: &[Span]) -> Self {
        self.viewed(Slice { spans: spans.into() })
    }

    /// A part of one axis (negative: from the back); see [`Span`].
    ///
    /// # Panics
    /// When there is no such axis, the span leaves it, or the step is 0.
    pub fn slice_axis(self, axis: isize, span: impl Into<Span>) -> Self {
        let mut spans = smallvec::smallvec![Span::ALL; self.shape().axis(axis, Slice::NAME) + 1];
        *spans.last_mut().expect("one span at least") = span.into();
        self.viewed(Slice { spans })
    }

    /// The elements `start..start + len` of one axis (negative: from the back). PyTorch: `x.narrow`.
    ///
    /// # Panics
    /// When the range leaves the axis.
    pub fn narrow(self, axis: isize, start: usize, len: usize) -> Self {
        self.slice_axis(axis, start..start + len)
    }

    /// The given axes (negative: from the back) in reverse. PyTorch: `x.flip`.
    ///
    /// # Panics
    /// When there is no such axis.
    pub fn flip(self, axes: &[isize]) -> Self {
        let shape = self.shape();
        let mut spans: SmallVec<[Span; 2]> = smallvec::smallvec![Span::ALL; shape.rank()];
        for &axis in axes {
            spans[shape.axis(axis, "flip")] = Span::ALL.by(-1);
        }
        self.viewed(Slice { spans })
    }

    /// Windows of `size` elements, `dilation` apart, that start every `step` elements of one axis (negative: from the
    /// back): the axis then counts windows, and a new last axis holds each window's elements. PyTorch: `x.unfold` (with
    /// dilation 1).
    ///
    /// # Panics
    /// When there is no such axis, a window does not fit, or a number is 0.
    pub fn windows(self, axis: isize, size: usize, step: usize, dilation: usize) -> Self {
        let axis = self.shape().axis(axis, Windows::NAME);
        self.viewed(Windows { axis, size, step, dilation })
    }

    /// A diagonal of each matrix `[.., rows, columns]`: `offset` columns right of the main one, or `-offset` rows below
    /// it; empty when it lies outside. PyTorch: `torch.linalg.diagonal`.
    ///
    /// # Panics
    /// When there are fewer than two axes.
    pub fn diagonal(self, offset: isize) -> Self {
        self.viewed(Diagonal { offset })
    }

    /// The array repeated along axes of size 1 and along new leading axes. PyTorch: `x.expand`.
    ///
    /// # Panics
    /// When the shapes do not broadcast.
    pub fn broadcast_to(self, shape: impl Into<Shape>) -> Self {
        self.tape.record(BroadcastTo { to: shape.into() }, &[self])[0]
    }

    /// The same elements without an axis of size 1 (negative: from the back). PyTorch: `x.squeeze(axis)`.
    ///
    /// # Panics
    /// When there is no such axis or its size is not 1.
    pub fn squeeze(self, axis: isize) -> Self {
        let shape = self.shape();
        let at = shape.axis(axis, "squeeze");
        assert!(shape[at] == 1, "squeeze: axis {at} of shape {shape} has not size 1");
        self.reshape(shape.without(at))
    }

    /// Sections of the given sizes along one axis (negative: from the back). PyTorch: `x.split`.
    ///
    /// # Panics
    /// When there is no such axis or the sizes do not add up to its size.
    pub fn split(self, axis: isize, sizes: &[usize]) -> Vec<Self> {
        let shape = self.shape();
        let at = shape.axis(axis, "split");
        assert!(
            sizes.iter().sum::<usize>() == shape[at],
            "split: {sizes:?} do not add up to axis {at} of shape {shape}"
        );
        let mut start = 0;
        let section = |&size: &usize| {
            start += size;
            self.narrow(at as isize, start - size, size)
        };
        sizes.iter().map(section).collect()
    }

    /// `count` sections along one axis (negative: from the back) whose sizes differ by one at most, the larger first.
    /// PyTorch: `x.tensor_split`, NumPy: `np.array_split`.
    ///
    /// # Panics
    /// When there is no such axis or `count` is 0.
    pub fn chunk(self, axis: isize, count: usize) -> Vec<Self> {
        let shape = self.shape();
        let size = shape[shape.axis(axis, "chunk")];
        assert!(count > 0, "chunk: no sections of shape {shape}");
        let sizes: Vec<usize> = (0..count).map(|i| size / count + usize::from(i < size % count)).collect();
        self.split(axis, &sizes)
    }
}
