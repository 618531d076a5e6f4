//! Losses that look at how predictions follow observations, whatever their units.

use gradome_tape::check::Outcome;
use gradome_tape::{Float, Var};

use super::{or_one, same_shape};
use crate::check::check_step;
use crate::layers::waves;
use crate::store::ParamStore;

/// Mean, variance (biased) and covariance of two arrays along one axis.
struct Moments<'t, T: Float> {
    means: [Var<'t, T>; 2],
    variances: [Var<'t, T>; 2],
    covariance: Var<'t, T>,
}

impl<'t, T: Float> Moments<'t, T> {
    fn new(loss: &str, x: Var<'t, T>, y: Var<'t, T>, axis: isize) -> Self {
        same_shape(loss, x, y);
        let at = x.shape().axis(axis, loss) as isize;
        let means = [x.mean_axis(at), y.mean_axis(at)];
        let (x, y) = (x - means[0].unsqueeze(at), y - means[1].unsqueeze(at));
        let variances = [x.square().mean_axis(at), y.square().mean_axis(at)];
        Self { means, variances, covariance: (x * y).mean_axis(at) }
    }

    /// The largest variance that rounding of the mean alone can make: values that are all equal have one of about
    /// (epsilon mean)^2.
    fn rounding(&self, side: usize) -> Vec<f64> {
        const ROUNDINGS: f64 = 16.0;
        self.means[side].value().data().iter().map(|mean| (ROUNDINGS * T::EPSILON * mean.to_f64()).powi(2)).collect()
    }

    /// A standard deviation's reciprocal; 1 where all values are equal.
    fn inverse_sd(&self, side: usize) -> Var<'t, T> {
        let rounding = self.rounding(side);
        or_one(self.variances[side], |i| rounding[i]).rsqrt()
    }
}

/// 1 - Pearson's correlation along one axis (negative: from the back), which is removed; from 0 to 2.
///
/// Where one side is constant the correlation is not defined: it counts as 0, the loss as 1, and the gradient is that of
/// minus the covariance over the other side's standard deviation, which leads out of the constant.
///
/// # Panics
/// When the shapes differ or there is no such axis.
pub fn pearson_loss<'t, T: Float>(predicted: Var<'t, T>, observed: Var<'t, T>, axis: isize) -> Var<'t, T> {
    let moments = Moments::new("pearson loss", predicted, observed, axis);
    // one root for each side: the product of two variances underflows before they do
    let correlation = moments.covariance * moments.inverse_sd(0) * moments.inverse_sd(1);
    -correlation + 1.0
}

/// 1 - Lin's concordance correlation along one axis (negative: from the back), which is removed; from 0 to 2.
///
/// 2 cov / (var + var + (difference of means)^2), with biased moments (Lin 1989, eq. 2): unlike Pearson's it wants
/// predictions of the same mean and spread. Where one side is constant the loss is 1. Where both are constant and equal
/// it is not defined and counts as 1, with a gradient of about 0.
///
/// # Panics
/// When the shapes differ or there is no such axis.
pub fn concordance_loss<'t, T: Float>(predicted: Var<'t, T>, observed: Var<'t, T>, axis: isize) -> Var<'t, T> {
    let moments = Moments::new("concordance loss", predicted, observed, axis);
    let shift = (moments.means[0] - moments.means[1]).square();
    let rounding = [moments.rounding(0), moments.rounding(1)];
    let spread = or_one(moments.variances[0] + moments.variances[1] + shift, |i| rounding[0][i] + rounding[1][i]);
    -(moments.covariance * 2.0 / spread) + 1.0
}

type Correlation = for<'t> fn(Var<'t, f64>, Var<'t, f64>, isize) -> Var<'t, f64>;

fn check(name: &'static str, loss: Correlation) -> Outcome {
    let mut outcome = Outcome::new(name);
    for (shape, axis) in [(&[5, 3][..], 0), (&[2, 4, 2], 1), (&[6], -1)] {
        let inputs = [("predicted", waves(shape, 0.3)), ("observed", waves(shape, 2.0))];
        check_step(&mut outcome, &format!("{shape:?}"), &ParamStore::new(1), &inputs, false, |_, x| {
            loss(x[0], x[1] * 2.0 + 0.5, axis)
        });
    }
    outcome
}

pub(super) fn check_pearson() -> Outcome {
    check("pearson-loss", pearson_loss)
}

pub(super) fn check_concordance() -> Outcome {
    check("concordance-loss", concordance_loss)
}
