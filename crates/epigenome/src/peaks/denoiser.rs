//! A variational autoencoder of a count track, window by window. Pileups averaged over bins are no whole numbers: for
//! them the laws of counts are taken as functions of real numbers.

use gradome_nn::distributions::{NegativeBinomial, Normal, Poisson};
use gradome_nn::{Error, Init, Linear, ParamId, ParamStore, Result, Step};
use gradome_tape::{Float, Tensor, Var};
use serde::{Deserialize, Serialize};

use crate::scale::{MixtureEpsilons, MixtureParameters};

/// The law of the counts of a track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CountLaw {
    /// Variance = mean.
    Poisson,
    /// Variance = mean + mean^2 / dispersion, with one learned dispersion.
    #[default]
    NegativeBinomial,
}

/// What the latent states of windows look like before their counts are seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LatentPrior {
    /// The standard normal distribution.
    #[default]
    StandardNormal,
    /// A learned mixture of normal distributions, as SCALE's ([`Mixture`](crate::scale::Mixture)): kinds of windows.
    Mixture {
        /// How many distributions.
        components: usize,
    },
}

/// The form of a denoiser.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DenoiserConfig {
    /// Positions of a window. Default 200.
    pub window: usize,
    /// Positions from one window to the next; where windows overlap, a position takes the mean of theirs, weighted
    /// towards the middle, so that there are no seams. Default 100. The reference's windows follow each other.
    pub step: usize,
    /// Dimensions of a window's latent state. Default 16.
    pub latent_dim: usize,
    /// Width of encoder and decoder. Default 64.
    pub hidden_dim: usize,
    /// The law of the counts.
    pub law: CountLaw,
    /// What latent states look like. Default the standard normal distribution.
    pub prior: LatentPrior,
    /// The weight of the Kullback-Leibler term in the loss. Default 1.
    pub kl_weight: f64,
}

impl Default for DenoiserConfig {
    fn default() -> Self {
        Self {
            window: 200,
            step: 100,
            latent_dim: 16,
            hidden_dim: 64,
            law: CountLaw::default(),
            prior: LatentPrior::default(),
            kl_weight: 1.0,
        }
    }
}

/// Log-variances and log-rates are held within this range.
const LOG_RANGE: f64 = 10.0;

impl DenoiserConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// When one is out of its range; the error names it.
    pub fn validate(&self) -> Result<()> {
        let sizes = [("window", self.window), ("latent_dim", self.latent_dim), ("hidden_dim", self.hidden_dim)];
        for (field, value) in sizes {
            if value == 0 {
                return Err(Error::config(format!("denoiser.{field}"), "0 is too small; give 1 or more"));
            }
        }
        if self.step == 0 || self.step > self.window {
            let problem =
                format!("{} is not in 1..={}, the window; positions would be left out", self.step, self.window);
            return Err(Error::config("denoiser.step", problem));
        }
        if self.prior == (LatentPrior::Mixture { components: 0 }) {
            return Err(Error::config("denoiser.prior.components", "0 is too small; give 1 or more"));
        }
        if !(self.kl_weight >= 0.0 && self.kl_weight.is_finite()) {
            return Err(Error::config("denoiser.kl_weight", format!("{} is not 0 or more", self.kl_weight)));
        }
        Ok(())
    }

    /// Windows of a track of this length; the last one may reach beyond it.
    pub fn windows(&self, length: usize) -> usize {
        1 + length.saturating_sub(self.window).div_ceil(self.step)
    }

    /// Positions of a track that its windows cover, at least its own.
    fn padded(&self, length: usize) -> usize {
        (self.windows(length) - 1) * self.step + self.window
    }
}

/// A denoised track.
pub struct Denoised<'t, T: Float> {
    /// `[stretches, length]` the expected counts.
    pub track: Var<'t, T>,
    /// The Kullback-Leibler divergence of all windows together, in nats.
    pub kl: Var<'t, T>,
    /// ln p of the counts of all windows together, in nats; the counts are taken as given.
    pub ln_likelihood: Var<'t, T>,
    /// What training minimises: the negative evidence lower bound per position.
    pub loss: Var<'t, T>,
}

/// The networks of a denoiser.
pub(crate) struct Denoiser {
    config: DenoiserConfig,
    encoder: Linear,
    mean: Linear,
    ln_variance: Linear,
    decoder: Linear,
    ln_rate: Linear,
    ln_dispersion: Option<ParamId>,
    prior: Option<MixtureParameters>,
}

impl Denoiser {
    pub fn new<T: Float>(config: &DenoiserConfig, store: &mut ParamStore<T>) -> Self {
        let DenoiserConfig { window, hidden_dim, latent_dim, .. } = *config;
        let mut scope = store.scope("denoiser");
        let mut linear = |name: &str, inputs, outputs| Linear::new(&mut scope.scope(name), inputs, outputs);
        let (encoder, mean) = (linear("encoder", window, hidden_dim), linear("mean", hidden_dim, latent_dim));
        let ln_variance = linear("ln_variance", hidden_dim, latent_dim);
        let (decoder, ln_rate) = (linear("decoder", latent_dim, hidden_dim), linear("ln_rate", hidden_dim, window));
        let ln_dispersion = (config.law == CountLaw::NegativeBinomial)
            .then(|| scope.parameter("ln_dispersion", [1], Init::Constant(0.0)));
        let prior = match config.prior {
            LatentPrior::StandardNormal => None,
            LatentPrior::Mixture { components } => {
                Some(MixtureParameters::new(&mut scope.scope("prior"), latent_dim, components))
            }
        };
        Self { config: config.clone(), encoder, mean, ln_variance, decoder, ln_rate, ln_dispersion, prior }
    }

    /// Denoises a track `[stretches, length]`; `noise` is `[windows, latent]`. Without noise the posterior mean is
    /// decoded, except in training, where noise is drawn.
    pub fn forward<'t, T: Float>(
        &self,
        step: Step<'_, 't, T>,
        track: Var<'t, T>,
        noise: Option<Var<'t, T>>,
    ) -> Denoised<'t, T> {
        let [stretches, length] = *track.shape() else { unreachable!("a track has two axes") };
        let DenoiserConfig { window, step: stride, latent_dim, .. } = self.config;
        let (count, padded) = (self.config.windows(length), self.config.padded(length));
        let edge = track.pad(&[(0, 0), (0, padded - length)], gradome_tape::Padding::Edge);
        let counts = edge.windows(1, window, stride, 1).reshape([stretches * count, window]);

        let h = self.encoder.forward(step, counts.abs().ln_1p()).relu();
        let ln_variance = self.ln_variance.forward(step, h).clamp(-LOG_RANGE, LOG_RANGE);
        let posterior = Normal::new(self.mean.forward(step, h), ln_variance);
        let shape = [stretches * count, latent_dim];
        let noise = noise.map(|noise| noise.reshape(shape)).or_else(|| step.training().then(|| step.normal(shape)));
        let z = noise.map_or(posterior.mean, |noise| posterior.sample(noise));
        let ln_rate = self.ln_rate.forward(step, self.decoder.forward(step, z).relu()).clamp(-LOG_RANGE, LOG_RANGE);

        let observed = counts.detach();
        let ln_p = match self.ln_dispersion {
            None => Poisson { ln_mean: ln_rate }.log_prob(observed),
            Some(dispersion) => {
                let ln_dispersion = step.param(dispersion).clamp(-LOG_RANGE, LOG_RANGE);
                NegativeBinomial { ln_mean: ln_rate, ln_dispersion, epsilon: 0.0 }.log_prob(observed)
            }
        };
        let kl = match &self.prior {
            None => posterior.kl_to_standard().sum(),
            Some(prior) => {
                let (mixture, exact) = (prior.mixture(step), MixtureEpsilons::default());
                mixture.divergence(posterior, mixture.responsibilities(z, exact), exact).sum()
            }
        };
        let ln_likelihood = ln_p.sum();
        let positions = (stretches * count * window) as f64;
        let loss = (kl * self.config.kl_weight - ln_likelihood) * (1.0 / positions);
        let rates = ln_rate.exp().reshape([stretches, count, window]);
        Denoised { track: self.join(step, rates, length), kl, ln_likelihood, loss }
    }

    /// Joins windows `[stretches, windows, window]` to a track `[stretches, length]`.
    fn join<'t, T: Float>(&self, step: Step<'_, 't, T>, rates: Var<'t, T>, length: usize) -> Var<'t, T> {
        let [stretches, count, window] = *rates.shape() else { unreachable!("windows have three axes") };
        let (stride, padded) = (self.config.step, self.config.padded(length));
        if stride == window {
            return rates.reshape([stretches, padded]).narrow(1, 0, length);
        }
        // triangles over the windows, divided by what they add up to at each position
        let weight = |at: usize| (at + 1).min(window - at) as f64;
        let mut total = vec![0.0; padded];
        for i in 0..count * window {
            total[i / window * stride + i % window] += weight(i % window);
        }
        let share =
            Tensor::from_fn([count, window], |i| T::of(weight(i % window) / total[i / window * stride + i % window]));
        let ids: Vec<u32> = (0..count * window).map(|i| (i / window * stride + i % window) as u32).collect();
        let weighted = (rates * step.tape.constant(&share)).reshape([stretches, count * window]);
        // positions lead, so that windows are summed position by position
        weighted.transpose().segment_sum(&ids.into(), padded).transpose().narrow(1, 0, length)
    }
}
