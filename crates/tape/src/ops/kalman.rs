//! The log-likelihood of a linear-Gaussian state space (Kalman 1960) as one op, differentiated through its filter.
//!
//! x(0) ~ N(m0, P0), x(t) = A x(t-1) + w with w ~ N(0, Q), y(t) = C x(t) + v with v ~ N(0, R). All is computed in double
//! precision with plain loops: the matrices are small.

use std::ops::Range;

use crate::float::Float;
use crate::kernels::{for_each_piece, split_pieces};
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::ops::hmm::groups;
use crate::shape::Shape;
use crate::var::Var;

/// The log-likelihood `[sequences]` of observations laid end to end.
///
/// Operands: A `[states, states]`, C `[outputs, states]`, Q `[states, states]`, R `[outputs, outputs]`, m0 `[states]`,
/// P0 `[states, states]` and y `[sum of lengths, outputs]`. Of Q, R and P0 the symmetric part is used, so that their
/// gradients are symmetric.
pub struct LinearGaussian {
    /// Steps of each sequence.
    pub lengths: Vec<usize>,
    /// `[sum of lengths, outputs]` which observations are there; empty when all are.
    pub observed: Vec<bool>,
}

/// A matrix as it is read: strides instead of a copy of the transpose.
#[derive(Clone, Copy)]
struct View<'a> {
    data: &'a [f64],
    rows: usize,
    columns: usize,
    strides: (usize, usize),
}

fn view(data: &[f64], rows: usize, columns: usize) -> View<'_> {
    View { data, rows, columns, strides: (columns, 1) }
}

impl View<'_> {
    fn t(self) -> Self {
        Self { rows: self.columns, columns: self.rows, strides: (self.strides.1, self.strides.0), ..self }
    }

    fn at(&self, i: usize, j: usize) -> f64 {
        self.data[i * self.strides.0 + j * self.strides.1]
    }
}

/// out += weight a b.
fn add_product(out: &mut [f64], weight: f64, a: View<'_>, b: View<'_>) {
    for i in 0..a.rows {
        for k in 0..a.columns {
            let factor = weight * a.at(i, k);
            for j in 0..b.columns {
                out[i * b.columns + j] += factor * b.at(k, j);
            }
        }
    }
}

fn product(a: View<'_>, b: View<'_>) -> Vec<f64> {
    let mut out = vec![0.0; a.rows * b.columns];
    add_product(&mut out, 1.0, a, b);
    out
}

fn symmetric(x: &[f64], n: usize) -> Vec<f64> {
    (0..n * n).map(|i| 0.5 * (x[i] + x[i % n * n + i / n])).collect()
}

/// The inverse and the log-determinant of a symmetric matrix, by Cholesky; NaN when it is not positive definite.
fn inverse_of_spd(s: &[f64], n: usize) -> (Vec<f64>, f64) {
    let mut l = vec![0.0; n * n];
    let mut log_determinant = 0.0;
    for i in 0..n {
        for j in 0..=i {
            let sum = s[i * n + j] - (0..j).map(|k| l[i * n + k] * l[j * n + k]).sum::<f64>();
            // the root of a negative number is NaN, and so is all that follows from it
            l[i * n + j] = if i == j { sum.sqrt() } else { sum / l[j * n + j] };
        }
        log_determinant += 2.0 * l[i * n + i].ln();
    }
    let mut inverse_l = vec![0.0; n * n];
    for j in 0..n {
        for i in j..n {
            let sum: f64 = (j..i).map(|k| l[i * n + k] * inverse_l[k * n + j]).sum();
            inverse_l[i * n + j] = (f64::from(u8::from(i == j)) - sum) / l[i * n + i];
        }
    }
    let inverse_l = view(&inverse_l, n, n);
    (product(inverse_l.t(), inverse_l), log_determinant)
}

/// The parameters in double precision.
struct Model {
    d: usize,
    outputs: usize,
    a: Vec<f64>,
    c: Vec<f64>,
    q: Vec<f64>,
    r: Vec<f64>,
    mean: Vec<f64>,
    covariance: Vec<f64>,
}

/// What one step of the filter computes.
struct FilterStep {
    /// The observations that are there.
    seen: Vec<usize>,
    mean: Vec<f64>,
    covariance: Vec<f64>,
    /// Rows of C that are seen.
    c: Vec<f64>,
    /// Predicted covariance times C^T.
    h: Vec<f64>,
    /// The inverse of the innovation's covariance.
    w: Vec<f64>,
    /// w times the innovation.
    z: Vec<f64>,
    log_likelihood: f64,
}

impl Model {
    fn new<T: Float>(x: &[Array<'_, T>]) -> Self {
        let wide = |i: usize| -> Vec<f64> { x[i].data.iter().map(|v: &T| v.to_f64()).collect() };
        let (outputs, d) = (x[1].shape[0], x[1].shape[1]);
        Self {
            d,
            outputs,
            a: wide(0),
            c: wide(1),
            q: symmetric(&wide(2), d),
            r: symmetric(&wide(3), outputs),
            mean: wide(4),
            covariance: symmetric(&wide(5), d),
        }
    }

    /// Predicts from the state before, or starts, and compares with the observations of a step.
    fn predict<T: Float>(&self, before: Option<(&[f64], &[f64])>, y: &[T], observed: Option<&[bool]>) -> FilterStep {
        let d = self.d;
        let (mean, covariance) = match before {
            None => (self.mean.clone(), self.covariance.clone()),
            Some((mean, covariance)) => {
                let a = view(&self.a, d, d);
                let mut next = self.q.clone();
                let half = product(a, view(covariance, d, d));
                add_product(&mut next, 1.0, view(&half, d, d), a.t());
                (product(a, view(mean, d, 1)), symmetric(&next, d))
            }
        };
        let seen: Vec<usize> = (0..self.outputs).filter(|&i| observed.is_none_or(|observed| observed[i])).collect();
        let n = seen.len();
        let c: Vec<f64> = seen.iter().flat_map(|&i| &self.c[i * d..(i + 1) * d]).copied().collect();
        let h = product(view(&covariance, d, d), view(&c, n, d).t());
        let mut s: Vec<f64> =
            seen.iter().flat_map(|&i| seen.iter().map(move |&j| self.r[i * self.outputs + j])).collect();
        add_product(&mut s, 1.0, view(&c, n, d), view(&h, d, n));
        let (w, log_determinant) = inverse_of_spd(&s, n);
        let mut innovation: Vec<f64> = seen.iter().map(|&i| y[i].to_f64()).collect();
        add_product(&mut innovation, -1.0, view(&c, n, d), view(&mean, d, 1));
        let z = product(view(&w, n, n), view(&innovation, n, 1));
        let distance: f64 = z.iter().zip(&innovation).map(|(z, e)| z * e).sum();
        let constant = n as f64 * std::f64::consts::TAU.ln();
        FilterStep {
            seen,
            mean,
            covariance,
            c,
            h,
            w,
            z,
            log_likelihood: -0.5 * (constant + log_determinant + distance),
        }
    }

    /// The state after the step's observations: mean + H z, covariance - H W H^T.
    fn update(&self, step: &FilterStep) -> (Vec<f64>, Vec<f64>) {
        let (d, n) = (self.d, step.seen.len());
        let h = view(&step.h, d, n);
        let (mut mean, mut covariance) = (step.mean.clone(), step.covariance.clone());
        add_product(&mut mean, 1.0, h, view(&step.z, n, 1));
        let gain = product(h, view(&step.w, n, n));
        add_product(&mut covariance, -1.0, view(&gain, d, n), h.t());
        (mean, symmetric(&covariance, d))
    }
}

/// The gradients of the parameters, in the order of the operands.
struct ModelGrads {
    a: Vec<f64>,
    c: Vec<f64>,
    q: Vec<f64>,
    r: Vec<f64>,
    mean: Vec<f64>,
    covariance: Vec<f64>,
}

impl ModelGrads {
    fn new(model: &Model) -> Self {
        let (d, outputs) = (model.d, model.outputs);
        Self {
            a: vec![0.0; d * d],
            c: vec![0.0; outputs * d],
            q: vec![0.0; d * d],
            r: vec![0.0; outputs * outputs],
            mean: vec![0.0; d],
            covariance: vec![0.0; d * d],
        }
    }

    fn all(&self) -> [&[f64]; 6] {
        [&self.a, &self.c, &self.q, &self.r, &self.mean, &self.covariance]
    }

    fn add(&mut self, other: &Self) {
        let own = [&mut self.a, &mut self.c, &mut self.q, &mut self.r, &mut self.mean, &mut self.covariance];
        for (own, other) in own.into_iter().zip(other.all()) {
            own.iter_mut().zip(other).for_each(|(sum, x)| *sum += x);
        }
    }

    /// Reverses one step: from the gradients of the filtered mean and covariance to those of the predicted ones, of the
    /// parameters and of the observations. `g` is the gradient of the log-likelihood.
    fn reverse_update<T: Float>(
        &mut self,
        model: &Model,
        step: &FilterStep,
        g: f64,
        (by_mean, by_covariance): (&mut Vec<f64>, &mut [f64]),
        by_y: &mut [T],
    ) {
        let (d, n) = (model.d, step.seen.len());
        let (h, w, z) = (view(&step.h, d, n), view(&step.w, n, n), view(&step.z, n, 1));
        let c = view(&step.c, n, d);
        let m = view(by_mean, d, 1);
        let gain = product(h, w);
        let gain = view(&gain, d, n);
        let p = view(by_covariance, d, d);
        // mean + H z, covariance - H W H^T (by_covariance is symmetric)
        let mut by_h = product(m, z.t());
        add_product(&mut by_h, -2.0, p, gain);
        let by_z = product(h.t(), m);
        let by_innovation = product(w, view(&by_z, n, 1));
        let mut by_s = product(gain.t(), view(&product(p, gain), d, n));
        add_product(&mut by_s, -1.0, view(&by_innovation, n, 1), z.t());
        // -(ln |S| + e^T W e) / 2
        add_product(&mut by_s, 0.5 * g, z, z.t());
        by_s.iter_mut().zip(&step.w).for_each(|(s, w)| *s -= 0.5 * g * w);
        let by_innovation: Vec<f64> = by_innovation.iter().zip(&step.z).map(|(e, z)| e - g * z).collect();
        let by_s = symmetric(&by_s, n);
        let s = view(&by_s, n, n);
        let e = view(&by_innovation, n, 1);
        // S = C H + R, H = covariance C^T, innovation = y - C mean
        add_product(&mut by_h, 1.0, c.t(), s);
        let by_h = view(&by_h, d, n);
        let mut by_c = product(s, h.t());
        add_product(&mut by_c, 1.0, by_h.t(), view(&step.covariance, d, d));
        add_product(&mut by_c, -1.0, e, view(&step.mean, 1, d));
        let through = product(by_h, c);
        let by_old_mean = std::mem::take(by_mean);
        *by_mean = by_old_mean;
        add_product(by_mean, -1.0, c.t(), e);
        by_covariance.iter_mut().zip(symmetric(&through, d)).for_each(|(p, x)| *p += x);
        for (k, &i) in step.seen.iter().enumerate() {
            by_y[i] = T::of(by_innovation[k]);
            for j in 0..d {
                self.c[i * d + j] += by_c[k * d + j];
            }
            for (l, &j) in step.seen.iter().enumerate() {
                self.r[i * model.outputs + j] += by_s[k * n + l];
            }
        }
    }

    /// Reverses a prediction: mean = A m, covariance = A P A^T + Q.
    fn reverse_predict(
        &mut self,
        model: &Model,
        (mean, covariance): (&[f64], &[f64]),
        by_mean: &mut Vec<f64>,
        by_covariance: &mut Vec<f64>,
    ) {
        let d = model.d;
        let a = view(&model.a, d, d);
        add_product(&mut self.a, 1.0, view(by_mean, d, 1), view(mean, 1, d));
        let half = product(view(by_covariance, d, d), a);
        add_product(&mut self.a, 2.0, view(&half, d, d), view(covariance, d, d));
        self.q.iter_mut().zip(by_covariance.iter()).for_each(|(q, p)| *q += p);
        let before = product(a.t(), view(by_mean, d, 1));
        *by_mean = before;
        let before = product(a.t(), view(&half, d, d));
        *by_covariance = symmetric(&before, d);
    }
}

impl LinearGaussian {
    fn observed(&self, step: usize, outputs: usize) -> Option<&[bool]> {
        (!self.observed.is_empty()).then(|| &self.observed[step * outputs..(step + 1) * outputs])
    }

    /// The gradients of one sequence, weighted by `g`; `kept` holds its filtered means and covariances.
    fn reverse<T: Float>(
        &self,
        model: &Model,
        steps: Range<usize>,
        (y, kept, g): (&[T], &[T], f64),
        by_y: &mut [T],
        grads: &mut ModelGrads,
    ) {
        let (d, outputs) = (model.d, model.outputs);
        let size = d + d * d;
        let (mut by_mean, mut by_covariance) = (vec![0.0; d], vec![0.0; d * d]);
        by_y.fill(T::ZERO);
        for k in (0..steps.len()).rev() {
            let before: Option<Vec<f64>> =
                k.checked_sub(1).map(|k| kept[k * size..(k + 1) * size].iter().map(|x| x.to_f64()).collect());
            let before = before.as_ref().map(|before| before.split_at(d));
            let row = k * outputs..(k + 1) * outputs;
            let step = model.predict(before, &y[row.clone()], self.observed(steps.start + k, outputs));
            grads.reverse_update(model, &step, g, (&mut by_mean, &mut by_covariance), &mut by_y[row]);
            match before {
                Some(before) => grads.reverse_predict(model, before, &mut by_mean, &mut by_covariance),
                None => {
                    grads.mean.iter_mut().zip(&by_mean).for_each(|(sum, x)| *sum += x);
                    grads.covariance.iter_mut().zip(&by_covariance).for_each(|(sum, x)| *sum += x);
                }
            }
        }
    }
}

impl<T: Float> Op<T> for LinearGaussian {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        let [a, c, q, r, m0, p0, y] = [0, 1, 2, 3, 4, 5, 6].map(|i| inputs[i]);
        let steps = self.lengths.iter().sum::<usize>();
        let (outputs, d) = (c.first().copied().unwrap_or(0), c.last_size());
        assert!(
            *a == [d, d]
                && *c == [outputs, d]
                && q == a
                && *r == [outputs, outputs]
                && *m0 == [d]
                && p0 == a
                && *y == [steps, outputs],
            "linear_gaussian: A {a}, C {c}, Q {q}, R {r}, m0 {m0}, P0 {p0}, y {y} for {steps} steps: sizes differ"
        );
        let mask = self.observed.len();
        assert!(mask == 0 || mask == y.len(), "linear_gaussian: a mask of {mask} observations for y {y}");
        Shapes::from_elem(Shape::new(&[self.lengths.len()]), 1)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>) {
        let model = Model::new(x);
        let (d, outputs) = (model.d, model.outputs);
        let size = d + d * d;
        let groups = groups(&self.lengths);
        let kept = saved.keep(x[6].shape[0] * size);
        let kept = split_pieces(kept, groups.iter().map(|(_, steps)| steps.len() * size));
        let values = split_pieces(y[0], groups.iter().map(|(sequences, _)| sequences.len()));
        let data = x[6].data;
        for_each_piece(groups.iter().zip(kept).zip(values).collect(), |_, (((sequences, steps), kept), values)| {
            let mut step = steps.start;
            let mut kept = kept.chunks_exact_mut(size.max(1));
            for (&length, value) in self.lengths[sequences.clone()].iter().zip(values) {
                let mut total = 0.0;
                let mut state: Option<(Vec<f64>, Vec<f64>)> = None;
                for at in step..step + length {
                    let before = state.as_ref().map(|(mean, covariance)| (&mean[..], &covariance[..]));
                    let now = model.predict(before, &data[at * outputs..], self.observed(at, outputs));
                    total += now.log_likelihood;
                    let (mean, covariance) = model.update(&now);
                    if let Some(kept) = kept.next() {
                        let all = mean.iter().chain(&covariance);
                        kept.iter_mut().zip(all).for_each(|(slot, value)| *slot = T::of(*value));
                    }
                    state = Some((mean, covariance));
                }
                *value = T::of(total);
                step += length;
            }
        });
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let model = Model::new(at.x);
        let (d, outputs) = (model.d, model.outputs);
        let size = d + d * d;
        let groups = groups(&self.lengths);
        let g = at.grad(0);
        let mut by_y = at.scratch(at.x[6].data.len());
        let mut shared: Vec<ModelGrads> = groups.iter().map(|_| ModelGrads::new(&model)).collect();
        let pieces = split_pieces(&mut by_y, groups.iter().map(|(_, steps)| steps.len() * outputs));
        for_each_piece(
            groups.iter().zip(pieces).zip(&mut shared).collect(),
            |_, (((sequences, steps), by_y), grads)| {
                let mut start = steps.start;
                for sequence in sequences.clone() {
                    let range = start..start + self.lengths[sequence];
                    let y = &at.x[6].data[range.start * outputs..range.end * outputs];
                    let kept = &at.saved[0][range.start * size..range.end * size];
                    let rows = (range.start - steps.start) * outputs..(range.end - steps.start) * outputs;
                    self.reverse(&model, range.clone(), (y, kept, g[sequence].to_f64()), &mut by_y[rows], grads);
                    start = range.end;
                }
            },
        );
        let mut total = ModelGrads::new(&model);
        shared.iter().for_each(|part| total.add(part));
        for (operand, values) in total.all().into_iter().enumerate() {
            grads.add(operand, |i| T::of(values[i]));
        }
        grads.add_slice(6, &by_y);
    }
}

impl Samples for LinearGaussian {
    const NAME: &'static str = "linear_gaussian";
    const DOC: &'static str = "Log-likelihood of a linear-Gaussian state space by the Kalman filter. \
         statsmodels: `KalmanFilter.loglike`.";
    fn samples() -> Vec<Sample<Self>> {
        use crate::op::Draw;
        // one output: its noise makes the innovation's variance positive for any P0 and Q that are small
        let sample = |lengths: &[usize], d: usize, observed: &[bool]| {
            let steps = lengths.iter().sum();
            let op = Self { lengths: lengths.to_vec(), observed: observed.to_vec() };
            let small = Draw::Real(-0.1..0.1);
            let wide = Draw::Real(-1.0..1.0);
            let inputs = vec![
                (Shape::new(&[d, d]), Draw::Real(-0.6..0.6)),
                (Shape::new(&[1, d]), wide.clone()),
                (Shape::new(&[d, d]), small.clone()),
                (Shape::new(&[1, 1]), Draw::Real(2.0..3.0)),
                (Shape::new(&[d]), wide.clone()),
                (Shape::new(&[d, d]), small),
                (Shape::new(&[steps, 1]), wide),
            ];
            Sample { op, inputs }
        };
        vec![
            sample(&[4, 0, 1], 2, &[]),
            sample(&[3], 1, &[true, false, true]),
            sample(&[3, 2], 3, &[]),
            sample(&[], 2, &[]),
        ]
    }
}

/// The operands of [`Var::linear_gaussian`] besides the observations.
#[derive(Clone, Copy)]
pub struct StateSpace<'t, T: Float> {
    /// `[states, states]` from one state to the next.
    pub a: Var<'t, T>,
    /// `[outputs, states]` from state to observation.
    pub c: Var<'t, T>,
    /// `[states, states]` covariance of the states' noise.
    pub q: Var<'t, T>,
    /// `[outputs, outputs]` covariance of the observations' noise.
    pub r: Var<'t, T>,
    /// `[states]` mean of the first state.
    pub mean: Var<'t, T>,
    /// `[states, states]` covariance of the first state.
    pub covariance: Var<'t, T>,
}

impl<'t, T: Float> Var<'t, T> {
    /// The log-likelihood `[sequences]` of these observations, `[sum of lengths, outputs]` with sequences end to end,
    /// under a linear-Gaussian state space.
    ///
    /// `observed` (`[sum of lengths, outputs]`, or empty when all are there) says which are not missing; values of missing
    /// ones are not looked at. Of the covariances the symmetric part is used; where an innovation's covariance is not
    /// positive definite the result is NaN. statsmodels: `KalmanFilter.loglike`.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn linear_gaussian(self, model: StateSpace<'t, T>, lengths: &[usize], observed: &[bool]) -> Self {
        let op = LinearGaussian { lengths: lengths.to_vec(), observed: observed.to_vec() };
        let StateSpace { a, c, q, r, mean, covariance } = model;
        self.tape.record(op, &[a, c, q, r, mean, covariance, self])[0]
    }
}
