//! Convolutions in one dimension and their transposes (Dumoulin & Visin 2016).

use crate::float::Float;
use crate::kernels::activation::Activation;
use crate::kernels::buffer::{Buffer, Pool};
use crate::kernels::convolution::{After, Geometry, adjoint, forward, weight_gradient};
use crate::kernels::reduce::sum_middle;
use crate::kernels::{CHUNK, for_each_chunk};
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::shape::Shape;
use crate::var::Var;

/// How a kernel moves over a signal, and what follows; the default is a stride of 1 without padding.
///
/// ```
/// use gradome_tape::{Activation, Convolution, Tape, Tensor};
/// let tape = Tape::<f32>::new();
/// let x = tape.constant(&Tensor::full([1, 1, 5], 1.0));
/// let w = tape.constant(&Tensor::full([1, 1, 3], 1.0));
/// let y = x.conv1d(w, None, Convolution::new().padding(1).activation(Activation::Relu));
/// assert_eq!(y.value().data(), &[2.0, 3.0, 3.0, 3.0, 2.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    stride: usize,
    dilation: usize,
    groups: usize,
    padding: (usize, usize),
    output_padding: usize,
    activation: Activation,
}

impl Default for Convolution {
    fn default() -> Self {
        Self { stride: 1, dilation: 1, groups: 1, padding: (0, 0), output_padding: 0, activation: Activation::Identity }
    }
}

impl Convolution {
    /// The default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Positions from one output to the next.
    ///
    /// # Panics
    /// When it is 0.
    pub fn stride(self, stride: usize) -> Self {
        assert!(stride > 0, "convolution: the stride is 0");
        Self { stride, ..self }
    }

    /// Positions from one tap of the kernel to the next.
    ///
    /// # Panics
    /// When it is 0.
    pub fn dilation(self, dilation: usize) -> Self {
        assert!(dilation > 0, "convolution: the dilation is 0");
        Self { dilation, ..self }
    }

    /// Parts of the channels that do not mix; as many as there are channels make a depthwise convolution.
    ///
    /// # Panics
    /// When it is 0.
    pub fn groups(self, groups: usize) -> Self {
        assert!(groups > 0, "convolution: there are 0 groups");
        Self { groups, ..self }
    }

    /// Zeros at either end of the signal.
    pub fn padding(self, zeros: usize) -> Self {
        self.padding_at(zeros, zeros)
    }

    /// Zeros before and after the signal.
    pub fn padding_at(self, left: usize, right: usize) -> Self {
        Self { padding: (left, right), ..self }
    }

    /// For a transposed convolution: positions added at the end of its result, fewer than the stride.
    pub fn output_padding(self, positions: usize) -> Self {
        Self { output_padding: positions, ..self }
    }

    /// The nonlinearity that is applied to the result.
    pub fn activation(self, activation: Activation) -> Self {
        Self { activation, ..self }
    }

    /// The positions that the kernel covers.
    fn span(&self, kernel: usize) -> usize {
        (kernel - 1) * self.dilation + 1
    }

    /// The sizes of the convolution from `long` to `short`, which a transposed one runs backwards.
    fn geometry(&self, long: &Shape, short: &Shape, w: &Shape) -> Geometry {
        Geometry {
            batch: long[0],
            groups: self.groups,
            inputs: long[1] / self.groups,
            outputs: short[1] / self.groups,
            kernel: w[2],
            stride: self.stride,
            dilation: self.dilation,
            padding: self.padding.0,
            length: long[2],
            positions: short[2],
        }
    }

    fn check(&self, name: &str, inputs: &[Shape], channels: usize, bias: usize, fits: bool) {
        let (x, w) = (&inputs[0], &inputs[1]);
        let bias_fits = inputs.get(2).is_none_or(|b| **b == [bias]);
        let bias = inputs.get(2).map_or(String::new(), |b| format!(" + {b}"));
        assert!(
            fits && bias_fits && w[2] > 0 && channels.is_multiple_of(self.groups),
            "{name}: {x} x {w}{bias} with {self:?}: expected {}",
            if name == Conv1d::NAME {
                "[batch, in, length] x [out, in / groups, kernel] + [out]"
            } else {
                "[batch, in, length] x [in, out / groups, kernel] + [out]"
            }
        );
    }

    /// The gradient before the nonlinearity: an array of its own where there is one.
    fn before<T: Float>(&self, at: &At<'_, T>) -> Option<Buffer<T>> {
        if self.activation == Activation::Identity {
            return None;
        }
        let g = at.grad(0);
        let mut before = at.scratch(g.len());
        for_each_chunk(&mut before, CHUNK, |i, before| {
            let range = i * CHUNK..i * CHUNK + before.len();
            self.activation.grad(&at.y[0].data[range.clone()], &g[range], before);
        });
        Some(before)
    }
}

/// A convolution of `[batch, in, length]` with `[out, in / groups, kernel]` and perhaps a bias `[out]`.
pub struct Conv1d(Convolution);

/// Its transpose, with weights `[in, out / groups, kernel]`.
pub struct ConvTranspose1d(Convolution);

/// Sums `[batch, channels, positions]` over all but the channels and adds that to an operand's gradient.
pub(super) fn bias_gradient<T: Float>(
    g: &[T],
    shape: &Shape,
    operand: usize,
    grads: &mut Grads<'_, T>,
    pool: &Pool<T>,
) {
    if grads.wanted(operand) {
        let (batch, channels, positions) = (shape[0], shape[1], shape[2]);
        let mut rows = pool.take(batch * channels);
        sum_middle(g, (batch * channels, positions, 1), &mut rows, pool);
        let mut summed = pool.take(channels);
        sum_middle(&rows, (1, batch, channels), &mut summed, pool);
        grads.add_slice(operand, &summed);
    }
}

pub(super) fn adding<'a, T>(accumulate: bool) -> After<'a, T> {
    After { accumulate, bias: None, activation: Activation::Identity }
}

impl<T: Float> Op<T> for Conv1d {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        let (x, w, c) = (&inputs[0], &inputs[1], &self.0);
        let fits = x.rank() == 3 && w.rank() == 3 && x[1] == w[1] * c.groups;
        let outputs = if w.rank() == 3 { w[0] } else { 0 };
        c.check(Self::NAME, inputs, outputs, outputs, fits);
        let padded = x[2] + c.padding.0 + c.padding.1;
        let span = c.span(w[2]);
        assert!(padded >= span, "conv1d: {x} x {w}: the kernel spans {span} positions, the padded signal has {padded}");
        Shapes::from_elem(Shape::new(&[x[0], w[0], (padded - span) / c.stride + 1]), 1)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], _: &mut Saved<T>) {
        let shapes: Vec<Shape> = x.iter().map(|x| x.shape).collect();
        let short = <Self as Op<T>>::shapes(self, &shapes)[0];
        let geometry = self.0.geometry(&shapes[0], &short, &shapes[1]);
        let bias = x.get(2).map(|bias| bias.data);
        let after = After { accumulate: false, bias, activation: self.0.activation };
        forward(&geometry, x[0].data, x[1].data, y[0], after);
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let geometry = self.0.geometry(&at.x[0].shape, &at.y[0].shape, &at.x[1].shape);
        let before = self.0.before(at);
        let g = before.as_deref().unwrap_or(at.grad(0));
        if let Some((grad, accumulate)) = grads.write(0) {
            adjoint(&geometry, g, at.x[1].data, grad, adding(accumulate), at.pool);
        }
        if let Some((grad, accumulate)) = grads.write(1) {
            weight_gradient(&geometry, at.x[0].data, g, grad, accumulate, at.pool);
        }
        if at.x.len() > 2 {
            bias_gradient(g, &at.y[0].shape, 2, grads, at.pool);
        }
    }
}

impl<T: Float> Op<T> for ConvTranspose1d {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        let (x, w, c) = (&inputs[0], &inputs[1], &self.0);
        let fits = x.rank() == 3 && w.rank() == 3 && x[1] == w[0];
        let outputs = if w.rank() == 3 { w[1] * c.groups } else { 0 };
        c.check(Self::NAME, inputs, if fits { x[1] } else { 0 }, outputs, fits);
        assert!(
            c.output_padding < c.stride,
            "conv_transpose1d: an output padding of {} is not below the stride {}",
            c.output_padding,
            c.stride
        );
        let whole = x[2].saturating_sub(1) * c.stride + c.span(w[2]) + c.output_padding;
        let cut = c.padding.0 + c.padding.1;
        assert!(
            x[2] > 0 && whole >= cut,
            "conv_transpose1d: {x} x {w}: nothing is left of {whole} positions less {cut}"
        );
        Shapes::from_elem(Shape::new(&[x[0], outputs, whole - cut]), 1)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>) {
        let shapes: Vec<Shape> = x.iter().map(|x| x.shape).collect();
        let long = <Self as Op<T>>::shapes(self, &shapes)[0];
        let geometry = self.0.geometry(&long, &shapes[0], &shapes[1]);
        let bias = x.get(2).map(|bias| bias.data);
        let after = After { accumulate: false, bias, activation: self.0.activation };
        adjoint(&geometry, x[0].data, x[1].data, y[0], after, &saved.pool);
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let geometry = self.0.geometry(&at.y[0].shape, &at.x[0].shape, &at.x[1].shape);
        let before = self.0.before(at);
        let g = before.as_deref().unwrap_or(at.grad(0));
        if let Some((grad, accumulate)) = grads.write(0) {
            forward(&geometry, g, at.x[1].data, grad, adding(accumulate));
        }
        if let Some((grad, accumulate)) = grads.write(1) {
            weight_gradient(&geometry, g, at.x[0].data, grad, accumulate, at.pool);
        }
        if at.x.len() > 2 {
            bias_gradient(g, &at.y[0].shape, 2, grads, at.pool);
        }
    }
}

impl Samples for Conv1d {
    const NAME: &'static str = "conv1d";
    const DOC: &'static str = "Convolution (cross-correlation) in one dimension with stride, dilation, groups, zero padding, bias and \
         nonlinearity. PyTorch: `F.conv1d`.";

    fn samples() -> Vec<Sample<Self>> {
        let sample = |c: Convolution, shapes: &[&[usize]]| Sample::new(Self(c), -1.0..1.0, shapes);
        let plain = Convolution::new;
        vec![
            sample(plain(), &[&[2, 3, 7], &[4, 3, 3], &[4]]),
            sample(plain().padding(2), &[&[1, 2, 5], &[1, 2, 5]]),
            sample(plain().stride(2).padding_at(1, 0), &[&[2, 2, 9], &[3, 2, 4], &[3]]),
            sample(plain().stride(3).dilation(2).padding(3), &[&[1, 2, 11], &[2, 2, 3], &[2]]),
            sample(plain().groups(2).padding(1), &[&[2, 4, 6], &[6, 2, 3], &[6]]),
            sample(plain().groups(3).padding(1).dilation(2), &[&[2, 3, 8], &[3, 1, 3], &[3]]),
            sample(plain().padding(1).activation(Activation::Tanh), &[&[2, 3, 6], &[2, 3, 3], &[2]]),
            sample(plain(), &[&[1, 1, 1], &[1, 1, 1], &[1]]),
            sample(plain(), &[&[0, 2, 4], &[3, 2, 3], &[3]]),
        ]
    }
}

impl Samples for ConvTranspose1d {
    const NAME: &'static str = "conv_transpose1d";
    const DOC: &'static str =
        "Transposed convolution in one dimension, the adjoint of `conv1d`. PyTorch: `F.conv_transpose1d`.";

    fn samples() -> Vec<Sample<Self>> {
        let sample = |c: Convolution, shapes: &[&[usize]]| Sample::new(Self(c), -1.0..1.0, shapes);
        let plain = Convolution::new;
        vec![
            sample(plain(), &[&[2, 3, 4], &[3, 2, 3], &[2]]),
            sample(plain().stride(2).padding(1).output_padding(1), &[&[2, 2, 5], &[2, 3, 3], &[3]]),
            sample(plain().stride(3).dilation(2).padding_at(0, 1), &[&[1, 2, 3], &[2, 2, 2]]),
            sample(plain().stride(2).groups(2), &[&[1, 4, 3], &[4, 3, 4], &[6]]),
            sample(plain().stride(2).activation(Activation::Sigmoid), &[&[1, 2, 3], &[2, 2, 3], &[2]]),
        ]
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// The convolution of a signal `[batch, in, length]` with a kernel `[out, in / groups, kernel]`, plus a bias
    /// `[out]`: `[batch, out, positions]` with floor((length + padding - dilation (kernel - 1) - 1) / stride) + 1
    /// positions. PyTorch: `F.conv1d`.
    ///
    /// # Panics
    /// When the sizes do not fit, or the kernel is longer than the padded signal.
    pub fn conv1d(self, weight: Self, bias: Option<Self>, convolution: Convolution) -> Self {
        match bias {
            Some(bias) => self.tape.record(Conv1d(convolution), &[self, weight, bias])[0],
            None => self.tape.record(Conv1d(convolution), &[self, weight])[0],
        }
    }

    /// The transposed convolution of `[batch, in, length]` with a kernel `[in, out / groups, kernel]`, plus a bias
    /// `[out]`: `[batch, out, positions]` with (length - 1) stride - padding + dilation (kernel - 1) + 1 + output
    /// padding positions. PyTorch: `F.conv_transpose1d`.
    ///
    /// # Panics
    /// When the sizes do not fit.
    pub fn conv_transpose1d(self, weight: Self, bias: Option<Self>, convolution: Convolution) -> Self {
        match bias {
            Some(bias) => self.tape.record(ConvTranspose1d(convolution), &[self, weight, bias])[0],
            None => self.tape.record(ConvTranspose1d(convolution), &[self, weight])[0],
        }
    }
}
