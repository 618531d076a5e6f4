//! Normal distributions with diagonal covariance.

use gradome_tape::{Float, Var};

/// ln(2 pi).
const LN_TWO_PI: f64 = 1.837_877_066_409_345_3;

/// Independent normal variables, given by mean and log variance.
#[derive(Clone, Copy, Debug)]
pub struct Normal<'t, T: Float> {
    /// The means.
    pub mean: Var<'t, T>,
    /// The natural logarithms of the variances; broadcast to the means.
    pub ln_variance: Var<'t, T>,
}

impl<'t, T: Float> Normal<'t, T> {
    /// Means and log variances, which broadcast.
    pub fn new(mean: Var<'t, T>, ln_variance: Var<'t, T>) -> Self {
        Self { mean, ln_variance }
    }

    /// ln p(x), element by element.
    pub fn log_prob(self, x: Var<'t, T>) -> Var<'t, T> {
        let z = (x - self.mean) * (self.ln_variance * -0.5).exp();
        (z.square() + self.ln_variance + LN_TWO_PI) * -0.5
    }

    /// mean + sd * noise: a sample through which gradients flow (Kingma & Welling 2014, section 2.4).
    ///
    /// `noise` is standard normal, of the shape of the mean.
    pub fn sample(self, noise: Var<'t, T>) -> Var<'t, T> {
        self.mean + (self.ln_variance * 0.5).exp() * noise
    }

    /// The Kullback-Leibler divergence from this to the standard normal, element by element.
    pub fn kl_to_standard(self) -> Var<'t, T> {
        (self.mean.square() + self.ln_variance.exp() - self.ln_variance - 1.0) * 0.5
    }

    /// The Kullback-Leibler divergence from this to another normal, element by element.
    pub fn kl_to(self, other: Self) -> Var<'t, T> {
        let ratio = self.ln_variance - other.ln_variance;
        let shift = (self.mean - other.mean).square() * (-other.ln_variance).exp();
        (ratio.exp() + shift - 1.0 - ratio) * 0.5
    }
}

/// The normalised product of normal densities (Hinton 2002; Wu & Goodman 2018, eq. 3): precisions add up, the mean is
/// weighted by precision.
///
/// `experts` holds for each one its distribution `[cells, dimensions]` and its presence `[cells, 1]` (1 or 0), or nothing
/// when it is present in every cell. `prior` adds a standard normal expert; without it a cell that no expert has seen
/// still gets the standard normal. `epsilon` is added to the precision before it divides.
///
/// # Panics
/// When there is no expert or the shapes do not broadcast.
pub fn product_of_experts<'t, T: Float>(
    experts: &[(Normal<'t, T>, Option<Var<'t, T>>)],
    prior: bool,
    epsilon: f64,
) -> Normal<'t, T> {
    let ((first, first_presence), rest) = experts.split_first().expect("a product needs at least one expert");
    let precision = |expert: &Normal<'t, T>, presence: Option<Var<'t, T>>| {
        let precision = (-expert.ln_variance).exp();
        presence.map_or(precision, |p| precision * p)
    };
    let own = precision(first, *first_presence);
    let (mut total, mut weighted) = (own, first.mean * own);
    // 1 in cells that nothing has seen
    let mut unseen = first_presence.map(|p| 1.0 - p);
    for (expert, presence) in rest {
        let own = precision(expert, *presence);
        total = total + own;
        weighted = weighted + expert.mean * own;
        unseen = unseen.zip(*presence).map(|(unseen, p)| unseen * (1.0 - p));
    }
    if prior {
        total = total + 1.0;
    } else if let Some(unseen) = unseen {
        total = total + unseen;
    }
    if epsilon != 0.0 {
        total = total + epsilon;
    }
    Normal::new(weighted / total, -total.ln())
}
