//! Checks of ops: gradients against finite differences, single against double precision.
//!
//! An op without a gradient must not pass one on; a surrogate is held to the gradient of what it stands for. The
//! checks are part of the library, so that a program can run them where it is installed.

use std::ops::Range;

use gradome_gradcheck::{Check, Input, Report};

use crate::elementwise::{ElementwiseRow, MAX_OPERANDS, MAX_PARAMETERS};
use crate::float::Float;
use crate::op::{Array, At, Draw, Grads, Op, Samples, Saved, Shapes};
use crate::registry::{Gradient, Listed};
use crate::rows::{CompiledRows, Fusible, RowFunction};
use crate::shape::Shape;
use crate::tape::Tape;
use crate::tensor::Tensor;
use crate::var::Var;

/// The largest relative error that a gradient in f64 may have.
const GRADIENT_TOLERANCE: f64 = 1e-6;
/// The largest error of an elementwise op in f32, in units of f32's spacing at max(1, |y|).
const ULP_TOLERANCE: f64 = 16.0;
/// The largest error of a coarse op in f32, relative to its largest output.
const SINGLE_TOLERANCE: f64 = 2e-5;
/// The largest difference between a formula's slope and its dual-number derivative, and between the gradients of a
/// surrogate and of what it stands for.
const DUAL_TOLERANCE: f64 = 1e-9;

/// What came out of checking one op, layer or operator.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was checked.
    pub name: &'static str,
    /// The largest relative error of a gradient element.
    pub max_rel_error: f64,
    /// Why it failed; nothing when it passed.
    pub failure: Option<String>,
}

impl Outcome {
    /// An outcome to which results are added with [`Outcome::add`] and [`Outcome::require`].
    pub fn new(name: &'static str) -> Self {
        Self { name, max_rel_error: 0.0, failure: None }
    }

    /// Whether nothing was wrong.
    pub fn passed(&self) -> bool {
        self.failure.is_none()
    }

    /// Takes in a gradient report; `case` says what it was about.
    pub fn add(&mut self, case: &str, report: &Report) {
        let error = report.max_rel_error();
        // NaN must not be lost in a maximum
        if error.is_nan() || error > self.max_rel_error {
            self.max_rel_error = error;
        }
        if !report.passed() {
            self.require(false, || format!("{case}:\n{report}"));
        }
    }

    /// Takes in any other condition; the first failure is kept.
    pub fn require(&mut self, holds: bool, failure: impl FnOnce() -> String) {
        if !holds && self.failure.is_none() {
            self.failure = Some(failure());
        }
    }

    /// f32 values against f64 ones, relative to the largest.
    fn require_single(&mut self, case: &str, single: &[f64], double: &[f64]) {
        let largest = double.iter().fold(1.0, |a: f64, b| a.max(b.abs()));
        for (s, d) in single.iter().zip(double) {
            self.require((s - d).abs() <= SINGLE_TOLERANCE * largest, || {
                format!("{case}: f32 gives {s}, f64 {d}; the largest output is {largest}")
            });
        }
    }
}

/// The check that ops are held to.
pub fn gradient_check() -> Check {
    Check::new().rtol(GRADIENT_TOLERANCE)
}

/// Numbers spread evenly over (0, 1): multiples of the golden ratio, without their integer part.
fn spread(index: usize) -> f64 {
    (0.5 + index as f64 * 0.618_033_988_749_894_9).fract()
}

fn draw(shape: &Shape, draw: &Draw, salt: usize) -> Tensor<f64> {
    let at = |i: usize| spread(1 + salt * 1009 + i);
    let within = |range: &Range<f64>, i| range.start + (range.end - range.start) * at(i);
    // the matrix, row and column of an element in the last two axes
    let n = shape.last_size();
    let place = |i: usize| (i / (n * n) * n * n, i / n % n, i % n);
    Tensor::from_fn(*shape, |i| match draw {
        Draw::Real(range) => within(range, i),
        Draw::Counts(max) => (f64::from(*max + 1) * at(i)).floor(),
        Draw::Symmetric(range) => {
            let (start, row, col) = place(i);
            within(range, start + row.max(col) * n + row.min(col))
        }
        Draw::Invertible => {
            let (_, row, col) = place(i);
            within(&(-1.0..1.0), i) + if col == (row + 1) % n { n as f64 } else { 0.0 }
        }
        Draw::PositiveDefinite => {
            // B B' / n + I / 2
            let (start, row, col) = place(i);
            let b = |row: usize, k| within(&(-1.5..1.5), start + row * n + k);
            let product: f64 = (0..n).map(|k| b(row, k) * b(col, k)).sum();
            product / n as f64 + if row == col { 0.5 } else { 0.0 }
        }
    })
}

/// Checks a function of variables on a tape: its vector-Jacobian product against finite differences.
///
/// `f` gets the tape, and a variable for each of `inputs`; it may be called many times.
pub fn check_function(
    check: &Check,
    inputs: &[(String, Tensor<f64>)],
    f: impl for<'t> Fn(&'t Tape<f64>, &[Var<'t, f64>]) -> Var<'t, f64>,
) -> Report {
    check_recorded(check, inputs, &f)
}

/// What records a function on a tape.
type Recorded<'a> = &'a dyn for<'t> Fn(&'t Tape<f64>, &[Var<'t, f64>]) -> Var<'t, f64>;

fn check_recorded(check: &Check, inputs: &[(String, Tensor<f64>)], f: Recorded<'_>) -> Report {
    let named: Vec<Input> =
        inputs.iter().map(|(name, value)| Input::new(name.as_str(), value.shape().to_vec(), value.data())).collect();
    let tensors = |values: &[Vec<f64>]| -> Vec<Tensor<f64>> {
        inputs.iter().zip(values).map(|((_, like), values)| Tensor::new(like.shape(), values)).collect()
    };
    check.vjp(
        named,
        |values| {
            let tape = Tape::new();
            let vars: Vec<_> = tensors(values).iter().map(|t| tape.variable(t)).collect();
            f(&tape, &vars).value().to_f64()
        },
        |values, cotangent| {
            let tape = Tape::new();
            let vars: Vec<_> = tensors(values).iter().map(|t| tape.variable(t)).collect();
            let y = f(&tape, &vars);
            let gradients = y.backward_with(&Tensor::new(y.shape(), cotangent));
            let zeros = |len| vec![0.0; len];
            vars.iter().map(|v| gradients.of(*v).map_or_else(|| zeros(v.shape().len()), |g| g.to_f64())).collect()
        },
    )
}

/// Checks an op, the library's or a user's own, at the given operands (all of which have a gradient).
pub fn check_op<O: Op<f64>>(check: &Check, op: impl Fn() -> O, inputs: &[(String, Tensor<f64>)]) -> Report {
    check_function(check, inputs, |tape, vars| joined(tape, &tape.custom(op(), vars)))
}

/// All outputs of an op side by side.
fn joined<'t, T: Float>(tape: &'t Tape<T>, outputs: &[Var<'t, T>]) -> Var<'t, T> {
    let flat: Vec<_> = outputs.iter().map(|y| y.reshape(y.shape().len())).collect();
    tape.concat(&flat, 0)
}

/// An op whose gradient is wrong by one part in a hundred: what a check must find.
struct Mutated(Box<dyn Op<f64>>);

impl Op<f64> for Mutated {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        self.0.shapes(inputs)
    }
    fn forward(&self, x: &[Array<'_, f64>], y: &mut [&mut [f64]], saved: &mut Saved<f64>) {
        self.0.forward(x, y, saved);
    }
    fn backward(&self, at: &At<'_, f64>, grads: &mut Grads<'_, f64>) {
        self.0.backward(at, grads);
        for slot in grads.slots.iter_mut().flatten().filter(|slot| !slot.fresh) {
            slot.data.iter_mut().for_each(|g| *g *= 1.01);
        }
    }
}

/// An elementwise op or a function of rows as a coarse op, so that its gradient can be made wrong.
struct Alone(Fusible<f64>, [f64; MAX_PARAMETERS]);

impl Op<f64> for Alone {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        Shapes::from_elem(inputs[0], 1)
    }
    fn forward(&self, x: &[Array<'_, f64>], y: &mut [&mut [f64]], _: &mut Saved<f64>) {
        self.0.forward(&slices(x), &self.1, x[0].shape.last_size(), y[0]);
    }
    fn backward(&self, at: &At<'_, f64>, grads: &mut Grads<'_, f64>) {
        for operand in 0..self.0.operands() {
            let Some(out) = grads.sum(operand) else { continue };
            let width = at.x[0].shape.last_size();
            self.0.backward(operand, &slices(at.x), &self.1, width, at.y[0].data, at.grad(0), out);
        }
    }
}

fn slices<'a>(x: &[Array<'a, f64>]) -> [&'a [f64]; MAX_OPERANDS] {
    std::array::from_fn(|i| x.get(i).map_or(&[][..], |x| x.data))
}

/// Whether a check finds the gradient of an elementwise op or function of rows when it is wrong.
fn finds_mutation(op: Fusible<f64>, parameters: [f64; MAX_PARAMETERS], ranges: &[Range<f64>]) -> bool {
    let operand = |(i, range): (usize, &Range<f64>)| {
        (format!("operand {i}"), draw(&Shape::new(&[3, 4]), &Draw::Real(range.clone()), i))
    };
    let inputs: Vec<_> = ranges.iter().enumerate().map(operand).collect();
    let sound = check_op(&gradient_check(), || Alone(op, parameters), &inputs);
    let wrong = check_op(&gradient_check(), || Mutated(Box::new(Alone(op, parameters))), &inputs);
    sound.passed() && !wrong.passed()
}

pub(crate) fn finds_mutation_of_elementwise(row: &ElementwiseRow) -> bool {
    finds_mutation(Fusible::Elementwise(row.double), row.parameters, row.ranges)
}

pub(crate) fn finds_mutation_of_rows<F: RowFunction>() -> bool {
    finds_mutation(Fusible::Rows(&<F as CompiledRows<f64>>::OP), F::PARAMETERS, &[F::RANGE])
}

/// Checks one of the library's coarse ops at its samples.
pub(crate) fn check_samples<O: Op<f32> + Op<f64> + Samples + Listed>(mutated: bool) -> Outcome {
    let mut outcome = Outcome::new(O::NAME);
    for (case, sample) in O::samples().into_iter().enumerate() {
        let op = || O::samples().swap_remove(case).op;
        let values: Vec<Tensor<f64>> =
            sample.inputs.iter().enumerate().map(|(i, (shape, how))| draw(shape, how, i)).collect();
        let smooth = |i: &usize| !matches!(sample.inputs[*i].1, Draw::Counts(_));
        let sampled = Sampled {
            differentiable: (0..values.len()).filter(smooth).collect(),
            case: values.iter().map(|v| v.shape().to_string()).collect::<Vec<_>>().join(" x "),
            values,
            gradient: O::GRADIENT,
            double: &|| Box::new(op()),
            single: &|| Box::new(op()),
            reference: &|x| op().reference(x),
        };
        sampled.check(mutated, &mut outcome);
    }
    outcome
}

/// An op of any type at one of its samples.
struct Sampled<'a> {
    /// The shapes of the operands, as failures name them.
    case: String,
    values: Vec<Tensor<f64>>,
    /// The operands that are not counts.
    differentiable: Vec<usize>,
    gradient: Gradient,
    double: &'a dyn Fn() -> Box<dyn Op<f64>>,
    single: &'a dyn Fn() -> Box<dyn Op<f32>>,
    reference: Reference<'a>,
}

/// What gives the values whose gradient a surrogate has.
type Reference<'a> = &'a dyn for<'t> Fn(&[Var<'t, f64>]) -> Option<Vec<Var<'t, f64>>>;

impl Sampled<'_> {
    fn check(&self, mutated: bool, outcome: &mut Outcome) {
        let Self { case, values, gradient, .. } = self;
        match gradient {
            Gradient::Exact => {
                let inputs: Vec<(String, Tensor<f64>)> =
                    self.differentiable.iter().map(|&i| (format!("operand {i}"), values[i].clone())).collect();
                let report = check_function(&gradient_check(), &inputs, |tape, vars| {
                    let mut operands: Vec<_> = values.iter().map(|v| tape.constant(v)).collect();
                    for (&i, var) in self.differentiable.iter().zip(vars) {
                        operands[i] = *var;
                    }
                    let op = (self.double)();
                    let op = if mutated { Box::new(Mutated(op)) } else { op };
                    joined(tape, &tape.record_boxed(op, *gradient, &operands))
                });
                outcome.add(case, &report);
            }
            Gradient::None => {
                let tape = Tape::new();
                let operands: Vec<_> = values.iter().map(|v| tape.variable(v)).collect();
                let silent = tape.record_boxed((self.double)(), *gradient, &operands).iter().all(|y| !y.needs_grad());
                outcome.require(silent, || format!("{case}: it has no gradient but its result wants one"));
            }
            Gradient::Surrogate(_) => self.check_surrogate(outcome),
        }
        let double = evaluate((self.double)(), *gradient, values);
        let single = evaluate((self.single)(), *gradient, &values.iter().map(Tensor::cast).collect::<Vec<_>>());
        outcome.require_single(case, &single, &double);
    }

    /// The gradients of a surrogate against those of what it stands for, at a cotangent that differs from element to
    /// element.
    fn check_surrogate(&self, outcome: &mut Outcome) {
        let Self { case, values, .. } = self;
        let tape = Tape::new();
        let x: Vec<_> = values.iter().map(|v| tape.variable(v)).collect();
        let Some(reference) = (self.reference)(&x) else {
            return outcome.require(false, || "it is a surrogate but does not say of what".to_string());
        };
        let own = tape.record_boxed((self.double)(), self.gradient, &x);
        let [own, reference] = [joined(&tape, &own), joined(&tape, &reference)];
        if own.shape() != reference.shape() {
            return outcome.require(false, || format!("{case}: its outputs have other shapes than what it stands for"));
        }
        let cotangent = draw(&own.shape(), &Draw::Real(-1.0..1.0), values.len());
        let [own, reference] = [own.backward_with(&cotangent), reference.backward_with(&cotangent)];
        for &i in &self.differentiable {
            let zeros = Tensor::zeros(values[i].shape());
            let (own, reference) = (own.of(x[i]).unwrap_or(&zeros), reference.of(x[i]).unwrap_or(&zeros));
            let largest = reference.data().iter().fold(1.0, |a: f64, b| a.max(b.abs()));
            for (own, reference) in own.data().iter().zip(reference.data()) {
                let close = (own - reference).abs() <= DUAL_TOLERANCE * largest;
                outcome.require(close, || format!("{case}: gradient {own} of operand {i} should be {reference}"));
            }
        }
    }
}

fn evaluate<T: Float>(op: Box<dyn Op<T>>, gradient: Gradient, values: &[Tensor<T>]) -> Vec<f64> {
    let tape = Tape::<T>::new();
    let operands: Vec<_> = values.iter().map(|v| tape.constant(v)).collect();
    joined(&tape, &tape.record_boxed(op, gradient, &operands)).value().to_f64()
}

/// Shapes at which elementwise ops of one, two and three operands are tried: equal, scalar, size 1, size 0, and
/// broadcast along the leading, the trailing and the middle axes.
const SHAPES: [&[[&[usize]; MAX_OPERANDS]]; MAX_OPERANDS] = [
    &[[&[3, 4], &[], &[]], [&[], &[], &[]], [&[1], &[], &[]], [&[0], &[], &[]]],
    &[
        [&[3, 4], &[3, 4], &[]],
        [&[3, 4], &[4], &[]],
        [&[3, 1], &[3, 4], &[]],
        [&[2, 1, 3], &[4, 1], &[]],
        [&[], &[5], &[]],
        [&[2, 3, 4], &[2, 1, 4], &[]],
        [&[1], &[1], &[]],
        [&[0, 2], &[2], &[]],
    ],
    &[
        [&[3, 4], &[3, 4], &[3, 4]],
        [&[3, 4], &[4], &[3, 1]],
        [&[], &[3], &[3]],
        [&[2, 1, 3], &[4, 1], &[2, 4, 3]],
        [&[0], &[0], &[0]],
    ],
];

pub(crate) fn check_elementwise(name: &'static str, gradient: Gradient, row: &ElementwiseRow) -> Outcome {
    let mut outcome = Outcome::new(name);
    if gradient == Gradient::Exact {
        check_gradients(row, &mut outcome);
    }
    check_slopes(row, &mut outcome);
    check_single(row, &mut outcome);
    check_lanes(row, &mut outcome);
    outcome
}

/// Gradients against finite differences, fused and one op at a time.
fn check_gradients(row: &ElementwiseRow, outcome: &mut Outcome) {
    let operands = row.double.operands;
    for shapes in SHAPES[operands - 1] {
        let inputs: Vec<(String, Tensor<f64>)> = (0..operands)
            .map(|i| {
                let values = draw(&Shape::new(shapes[i]), &Draw::Real(row.ranges[i].clone()), i);
                (format!("operand {i}"), values)
            })
            .collect();
        for eager in [false, true] {
            let report = check_function(&gradient_check(), &inputs, |tape, vars| {
                tape.set_eager(eager);
                tape.fusible(Fusible::Elementwise(row.double), vars, row.parameters)
            });
            outcome.add(&format!("shapes {:?}, eager {eager}", &shapes[..operands]), &report);
        }
    }
}

/// Slopes against dual numbers of the value or, for a surrogate, of what it stands for, at many points.
fn check_slopes(row: &ElementwiseRow, outcome: &mut Outcome) {
    for i in 0..64 {
        let mut x = [0.0; MAX_OPERANDS];
        for (operand, range) in row.ranges.iter().enumerate() {
            x[operand] = range.start + (range.end - range.start) * spread(1 + operand * 7919 + i);
        }
        for which in 0..row.double.operands {
            let (dual, slope) = (row.dual)(x, row.parameters, which);
            let close = (dual - slope).abs() <= DUAL_TOLERANCE * dual.abs().max(1.0);
            outcome.require(close, || format!("at {x:?}: the slope {slope} is not the derivative {dual} of the value"));
        }
    }
}

/// The vectorised f32 path against f64.
fn check_single(row: &ElementwiseRow, outcome: &mut Outcome) {
    const POINTS: usize = 1000;
    let shape = Shape::new(&[POINTS]);
    let single: Vec<Tensor<f32>> =
        row.ranges.iter().enumerate().map(|(i, range)| draw(&shape, &Draw::Real(range.clone()), i).cast()).collect();
    let tape = Tape::<f32>::new();
    let vars: Vec<_> = single.iter().map(|v| tape.constant(v)).collect();
    let y = tape.fusible(Fusible::Elementwise(row.single), &vars, row.parameters.map(|p| p as f32)).value();
    let tape = Tape::<f64>::new();
    let vars: Vec<_> = single.iter().map(|v| tape.constant(&v.cast())).collect();
    // parameters are rounded too
    let exact =
        tape.fusible(Fusible::Elementwise(row.double), &vars, row.parameters.map(|p| f64::from(p as f32))).value();
    for (i, (y, exact)) in y.data().iter().zip(exact.data()).enumerate() {
        let ulp = (f64::from(*y) - exact).abs() / (f64::from(f32::EPSILON) * exact.abs().max(1.0));
        outcome.require(ulp <= ULP_TOLERANCE, || format!("f32 gives {y}, f64 {exact} ({ulp:.1} ulp) at point {i}"));
    }
}

/// Numbers at the edges of f32, and none at all.
const EDGES: [f32; 10] =
    [0.0, -0.0, 1e-40, -1e-40, f32::MIN_POSITIVE, 1e30, -1e30, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];

/// The vectorised f32 path against the formula one number at a time, on every length up to 67: the same bits as with
/// fused multiply-add one by one, or without; and within the tolerance of the latter on numbers of the op's range.
fn check_lanes(row: &ElementwiseRow, outcome: &mut Outcome) {
    let p = row.parameters.map(|p| p as f32);
    for len in 0..=67 {
        let edge = |operand: usize, i: usize| (i * 7 + operand * 3 + len).is_multiple_of(4);
        let x: Vec<Vec<f32>> = row
            .ranges
            .iter()
            .enumerate()
            .map(|(operand, range)| {
                let value = |i: usize| match edge(operand, i) {
                    true => EDGES[(i * 3 + operand * 5 + len) % EDGES.len()],
                    false => {
                        (range.start + (range.end - range.start) * spread(1 + len * 71 + operand * 7919 + i)) as f32
                    }
                };
                (0..len).map(value).collect()
            })
            .collect();
        let slices = std::array::from_fn(|operand| x.get(operand).map_or(&[][..], |x| x));
        let mut y = vec![0.0; len];
        (row.single.forward)(&slices, &p, &mut y);
        for (i, &y) in y.iter().enumerate() {
            let x = std::array::from_fn(|operand| x.get(operand).map_or(0.0, |x| x[i]));
            let [plain, fused] = row.one_by_one.map(|value| value(x, p));
            let same = |one: f32| y.to_bits() == one.to_bits() || (y.is_nan() && one.is_nan());
            outcome.require(same(plain) || same(fused), || {
                format!("length {len}, at {x:?}: {y} in a loop, {plain} or {fused} one by one")
            });
            let usual = (0..row.ranges.len()).all(|operand| !edge(operand, i));
            let ulp = f64::from((y - plain).abs()) / (f64::from(f32::EPSILON) * f64::from(plain.abs().max(1.0)));
            outcome.require(!usual || ulp <= ULP_TOLERANCE, || format!("at {x:?}: {y} is {ulp:.1} ulp from {plain}"));
        }
    }
}

/// Shapes at which row functions are tried: rows shorter and longer than a register, of one element, and none.
const ROW_SHAPES: [&[usize]; 5] = [&[4, 5], &[2, 3, 17], &[37], &[2, 1], &[0, 3]];

pub(crate) fn check_rows<F: RowFunction>() -> Outcome {
    let mut outcome = Outcome::new(F::NAME);
    for shape in ROW_SHAPES {
        let x = draw(&Shape::new(shape), &Draw::Real(F::RANGE), 0);
        for eager in [false, true] {
            let report = check_function(&gradient_check(), &[("x".to_owned(), x.clone())], |tape, vars| {
                tape.set_eager(eager);
                vars[0].rows::<F>(F::PARAMETERS)
            });
            outcome.add(&format!("shape {shape:?}, eager {eager}"), &report);
        }
        let double = Tape::new().constant(&x).rows::<F>(F::PARAMETERS).value();
        let single = Tape::new().constant(&x.cast::<f32>()).rows::<F>(F::PARAMETERS).value();
        outcome.require_single(&format!("shape {shape:?}"), &single.to_f64(), double.data());
    }
    for width in 1..=67 {
        let x = draw(&Shape::new(&[3, width]), &Draw::Real(F::RANGE), width);
        let double = Tape::new().constant(&x).rows::<F>(F::PARAMETERS).value();
        let single = Tape::new().constant(&x.cast::<f32>()).rows::<F>(F::PARAMETERS).value();
        outcome.require_single(&format!("width {width}"), &single.to_f64(), double.data());
    }
    outcome
}
