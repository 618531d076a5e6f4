//! Distributions of counts and of zeros and ones.

use gradome_tape::{Float, Tensor, Var};
use rand::RngExt;
use rand_distr::{Distribution, Gamma};

use crate::store::Rng;

/// Poisson counts.
#[derive(Clone, Copy, Debug)]
pub struct Poisson<'t, T: Float> {
    /// ln of the mean.
    pub ln_mean: Var<'t, T>,
}

impl<'t, T: Float> Poisson<'t, T> {
    /// ln p(x), element by element.
    pub fn log_prob(self, x: Var<'t, T>) -> Var<'t, T> {
        x.poisson(self.ln_mean)
    }
}

/// Negative binomial counts: variance = mean + mean^2 / dispersion (scvi-tools: `NegativeBinomial(mu, theta)`).
#[derive(Clone, Copy, Debug)]
pub struct NegativeBinomial<'t, T: Float> {
    /// ln of the mean.
    pub ln_mean: Var<'t, T>,
    /// ln of the inverse dispersion theta; broadcast to the mean.
    pub ln_dispersion: Var<'t, T>,
    /// Added to mean and dispersion inside logarithms: 0 is exact, 1e-8 the form of scvi-tools.
    pub epsilon: f64,
}

impl<'t, T: Float> NegativeBinomial<'t, T> {
    /// ln p(x), element by element.
    pub fn log_prob(self, x: Var<'t, T>) -> Var<'t, T> {
        x.negative_binomial(self.ln_mean, self.ln_dispersion, self.epsilon)
    }
}

/// Negative binomial counts of which a share is replaced by zero (Lopez et al. 2018; scvi-tools: `ZINB`).
#[derive(Clone, Copy, Debug)]
pub struct ZeroInflatedNegativeBinomial<'t, T: Float> {
    /// The counts before zeros are put in.
    pub counts: NegativeBinomial<'t, T>,
    /// The log-odds of a put-in zero.
    pub dropout_logits: Var<'t, T>,
}

impl<'t, T: Float> ZeroInflatedNegativeBinomial<'t, T> {
    /// ln p(x), element by element.
    pub fn log_prob(self, x: Var<'t, T>) -> Var<'t, T> {
        let kept = self.counts.log_prob(x) - self.dropout_logits;
        // x = 0: ln(pi + (1 - pi) NB(0)); x > 0: ln(1 - pi) + ln NB(x)
        x.choose(kept, kept.softplus()) - (-self.dropout_logits).softplus()
    }
}

/// A mixture of two negative binomials of one dispersion: the background and the foreground of surface proteins
/// (totalVI, Gayoso et al. 2021, eq. 6).
#[derive(Clone, Copy, Debug)]
pub struct NegativeBinomialMixture<'t, T: Float> {
    /// The background component.
    pub background: NegativeBinomial<'t, T>,
    /// ln of the foreground's mean.
    pub ln_mean_foreground: Var<'t, T>,
    /// The log-odds of the background.
    pub background_logits: Var<'t, T>,
}

impl<'t, T: Float> NegativeBinomialMixture<'t, T> {
    /// ln p(x), element by element.
    pub fn log_prob(self, x: Var<'t, T>) -> Var<'t, T> {
        let foreground = NegativeBinomial { ln_mean: self.ln_mean_foreground, ..self.background };
        let (back, fore) = (self.background.log_prob(x), foreground.log_prob(x));
        back.log_add_exp(fore - self.background_logits) - (-self.background_logits).softplus()
    }

    /// The mean: background and foreground weighted by their probabilities.
    pub fn mean(self) -> Var<'t, T> {
        let share = self.background_logits.sigmoid();
        self.background.ln_mean.exp() * share + self.ln_mean_foreground.exp() * (1.0 - share)
    }
}

/// Zeros and ones.
#[derive(Clone, Copy, Debug)]
pub struct Bernoulli<'t, T: Float> {
    /// The log-odds of a one.
    pub logits: Var<'t, T>,
}

impl<'t, T: Float> Bernoulli<'t, T> {
    /// ln p(x), element by element, for x in 0..=1.
    pub fn log_prob(self, x: Var<'t, T>) -> Var<'t, T> {
        x * self.logits - self.logits.softplus()
    }
}

/// Above this mean a Poisson variate is drawn from its normal approximation, whose error is then far below one count.
const NORMAL_ABOVE: f64 = 1e9;

/// Draws Poisson counts, one for each mean.
pub(crate) fn sample_poisson(mean: f64, rng: &mut Rng) -> f64 {
    if mean > NORMAL_ABOVE {
        let noise: f64 = rng.sample(rand_distr::StandardNormal);
        return (mean + mean.sqrt() * noise).round().max(0.0);
    }
    // a mean that is not positive has no distribution: it gives no counts
    rand_distr::Poisson::new(mean).map_or(0.0, |d| d.sample(rng))
}

impl<T: Float> Poisson<'_, T> {
    /// Counts drawn from the distribution; no gradient flows through them.
    pub fn sample(self, rng: &mut Rng) -> Tensor<T> {
        let ln_mean = self.ln_mean.value();
        Tensor::from_fn(ln_mean.shape(), |i| T::of(sample_poisson(ln_mean.data()[i].to_f64().exp(), rng)))
    }
}

impl<T: Float> NegativeBinomial<'_, T> {
    /// Counts drawn from the distribution as a Poisson of a Gamma; no gradient flows through them.
    pub fn sample(self, rng: &mut Rng) -> Tensor<T> {
        let ln_mean = self.ln_mean.value();
        let ln_theta = self.ln_dispersion.broadcast_to(ln_mean.shape()).value();
        Tensor::from_fn(ln_mean.shape(), |i| {
            let (mean, theta) = (ln_mean.data()[i].to_f64().exp(), ln_theta.data()[i].to_f64().exp());
            let rate = Gamma::new(theta, mean / theta).map_or(mean, |gamma| gamma.sample(rng));
            T::of(sample_poisson(rate, rng))
        })
    }
}

impl<T: Float> ZeroInflatedNegativeBinomial<'_, T> {
    /// Counts drawn from the distribution; no gradient flows through them.
    pub fn sample(self, rng: &mut Rng) -> Tensor<T> {
        let mut counts = self.counts.sample(rng);
        let dropped = self.dropout_logits.sigmoid().broadcast_to(counts.shape()).value();
        for (count, p) in counts.data_mut().iter_mut().zip(dropped.data()) {
            if rng.random::<f64>() < p.to_f64() {
                *count = T::ZERO;
            }
        }
        counts
    }
}

impl<T: Float> NegativeBinomialMixture<'_, T> {
    /// Counts drawn from the distribution; no gradient flows through them.
    pub fn sample(self, rng: &mut Rng) -> Tensor<T> {
        let mut counts = self.background.sample(rng);
        let foreground = NegativeBinomial { ln_mean: self.ln_mean_foreground, ..self.background }.sample(rng);
        let share = self.background_logits.sigmoid().broadcast_to(counts.shape()).value();
        for ((count, fore), p) in counts.data_mut().iter_mut().zip(foreground.data()).zip(share.data()) {
            if rng.random::<f64>() >= p.to_f64() {
                *count = *fore;
            }
        }
        counts
    }
}

impl<T: Float> Bernoulli<'_, T> {
    /// Zeros and ones drawn from the distribution; no gradient flows through them.
    pub fn sample(self, rng: &mut Rng) -> Tensor<T> {
        let p = self.logits.sigmoid().value();
        Tensor::from_fn(p.shape(), |i| if rng.random::<f64>() < p.data()[i].to_f64() { T::ONE } else { T::ZERO })
    }
}
