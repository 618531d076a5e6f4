//! Quantiles along an axis, exact and smooth.

use crate::float::Float;
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::ops::extremum::assert_exact;
use crate::ops::sort::{position, with_keys};
use crate::shape::Shape;
use crate::tensor::Tensor;
use crate::var::Var;

/// A quantile along one axis, which is removed, by linear interpolation between order statistics.
pub struct Quantile {
    axis: usize,
    q: f64,
}

impl Quantile {
    /// The lower of the two order statistics and the share of the upper one.
    fn place(&self, n: usize) -> (usize, f64) {
        let place = (n - 1) as f64 * self.q;
        (place.floor() as usize, place.fract())
    }
}

fn require_share(q: f64) {
    assert!((0.0..=1.0).contains(&q), "quantile: {q} is not between 0 and 1");
}

impl<T: Float> Op<T> for Quantile {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        assert!(inputs[0][self.axis] > 0, "quantile: axis {} of shape {} is empty", self.axis, inputs[0]);
        Shapes::from_elem(inputs[0].without(self.axis), 1)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>) {
        let (_, n, inner) = x[0].shape.split_at_axis(self.axis);
        assert_exact::<T>(n, Self::NAME);
        let (lower, share) = self.place(n);
        // positions of the two order statistics of each line
        let ends = saved.keep(2 * y[0].len());
        for ((line, y), ends) in y[0].iter_mut().enumerate().zip(ends.chunks_exact_mut(2)) {
            let start = line / inner * n * inner + line % inner;
            let at = |position: usize| x[0].data[start + position * inner];
            let [low, high, last] = with_keys(x[0].data, (start, n, inner), false, |keys| {
                let (_, &mut low, above) = keys.select_nth_unstable(lower);
                let high = if share > 0.0 { above.iter().copied().min().unwrap_or(low) } else { low };
                // NaN, if there is any, is among the last
                let last = above.iter().copied().max().unwrap_or(low);
                [low, high, last].map(position)
            });
            ends.copy_from_slice(&[T::of(low as f64), T::of(high as f64)]);
            *y = if at(last).to_f64().is_nan() {
                at(last)
            } else if share > 0.0 {
                at(low) + T::of(share) * (at(high) - at(low))
            } else {
                at(low)
            };
        }
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let (_, n, inner) = at.x[0].shape.split_at_axis(self.axis);
        let (_, share) = self.place(n);
        let Some(grad) = grads.sum(0) else { return };
        for ((line, g), ends) in at.grad(0).iter().enumerate().zip(at.saved[0].chunks_exact(2)) {
            let start = line / inner * n * inner + line % inner;
            grad[start + ends[0].to_f64() as usize * inner] += T::of(1.0 - share) * *g;
            grad[start + ends[1].to_f64() as usize * inner] += T::of(share) * *g;
        }
    }
}

impl Samples for Quantile {
    const NAME: &'static str = "quantile_axis";
    const DOC: &'static str = "Quantile along one axis, which is removed, interpolated linearly between order statistics. NumPy: `numpy.quantile(x, q, axis)`.";
    fn samples() -> Vec<Sample<Self>> {
        let sample = |axis, q, shape: &[usize]| Sample::new(Self { axis, q }, -1.0..1.0, &[shape]);
        vec![
            sample(0, 0.5, &[6]),
            sample(1, 0.9, &[4, 5]),
            sample(1, 0.25, &[2, 5, 4]),
            sample(0, 1.0, &[5, 3]),
            sample(0, 0.3, &[1]),
            sample(1, 0.3, &[0, 3]),
        ]
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// The quantile 0 <= `q` <= 1 along one axis (negative: from the back), which is removed: linear interpolation at
    /// place (n - 1) q among the sorted elements, which share the gradient; NaN if any is NaN. NumPy:
    /// `numpy.quantile(x, q, axis)`.
    ///
    /// # Panics
    /// When there is no such axis, it is empty (or in f32 longer than 2^24), or `q` is not between 0 and 1.
    pub fn quantile_axis(self, q: f64, axis: isize) -> Self {
        require_share(q);
        let axis = self.shape().axis(axis, Quantile::NAME);
        self.tape.record(Quantile { axis, q }, &[self])[0]
    }

    /// The median along one axis (negative: from the back), which is removed; the mean of the middle two when their
    /// number is even. NumPy: `numpy.median(x, axis)`.
    ///
    /// # Panics
    /// When there is no such axis or it is empty (or in f32 longer than 2^24).
    pub fn median_axis(self, axis: isize) -> Self {
        self.quantile_axis(0.5, axis)
    }

    /// A smooth quantile along one axis (negative: from the back), which is removed: the mean of all sorted elements,
    /// weighted by a Gaussian kernel around `q` in their ranks, sum_k w_k x_(k) with w_k proportional to
    /// exp(-((k - 1/2) / n - q)^2 / (2 temperature^2)) for k = 1..n (Sheather & Marron, Kernel quantile estimators,
    /// JASA 85, 1990). `temperature` is a share of the elements: at 0.05 a twentieth of them on either side matters.
    /// Every element has a gradient; as `temperature` falls the value tends to the nearest order statistic.
    ///
    /// # Panics
    /// When there is no such axis, it is empty (or in f32 longer than 2^24), `q` is not between 0 and 1, or
    /// `temperature` is not positive.
    pub fn soft_quantile_axis(self, q: f64, temperature: f64, axis: isize) -> Self {
        require_share(q);
        assert!(temperature > 0.0, "soft_quantile: the temperature {temperature} is not positive");
        let shape = self.shape();
        let at = shape.axis(axis, "soft_quantile_axis");
        let n = shape[at];
        assert!(n > 0, "soft_quantile_axis: axis {at} of shape {shape} is empty");
        let exponent = |k: usize| -0.5 * (((k as f64 + 0.5) / n as f64 - q) / temperature).powi(2);
        // relative to the largest, so that they cannot all vanish
        let largest = (0..n).map(exponent).fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = (0..n).map(|k| (exponent(k) - largest).exp()).sum();
        let mut along = Shape::new(&vec![1; shape.rank()]);
        along = along.with(at, n);
        let weights = Tensor::from_fn(along, |k| T::of((exponent(k) - largest).exp() / total));
        (self.sort(at as isize) * self.tape.constant(&weights)).sum_axis(at as isize)
    }
}
