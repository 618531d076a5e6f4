//! SCALE: cells of binarised scATAC-seq embedded, clustered and denoised at once.

use gradome_nn::distributions::Normal;
use gradome_nn::{Error, Linear, Operator, ParamStore, Result, Rng, Step};
use gradome_tape::{Float, Tape, Tensor, Var};
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use super::mixture::{Mixture, MixtureEpsilons, MixtureParameters};

/// The form of a [`Scale`] model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScaleConfig {
    /// Peaks of the input. Default 1,000.
    pub peaks: usize,
    /// Widths of the encoder's layers, with ReLU. Default 1024, 128.
    pub hidden: Vec<usize>,
    /// Dimensions of the latent state. Default 10.
    pub latent_dim: usize,
    /// Components of the mixture, which become clusters of cells. Default 30.
    pub components: usize,
}

impl Default for ScaleConfig {
    fn default() -> Self {
        Self { peaks: 1000, hidden: vec![1024, 128], latent_dim: 10, components: 30 }
    }
}

impl ScaleConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// When one is out of its range; the error names it.
    pub fn validate(&self) -> Result<()> {
        let sizes = [("peaks", self.peaks), ("latent_dim", self.latent_dim), ("components", self.components)];
        for (field, value) in sizes {
            if value == 0 {
                return Err(Error::config(field, "0 is too small; give 1 or more"));
            }
        }
        if self.hidden.is_empty() || self.hidden.contains(&0) {
            return Err(Error::config("hidden", "give at least one width, each of 1 or more"));
        }
        Ok(())
    }
}

/// Open chromatin of some cells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OpenChromatin {
    /// Cells.
    pub cells: usize,
    /// `[cells, peaks]` whether a peak is open.
    pub open: Vec<bool>,
    /// `[cells, latent]` standard normal noise; drawn in training when absent, and 0 outside of it.
    pub noise: Option<Vec<f64>>,
}

/// Open chromatin of some cells on a tape.
pub struct ScaleInput<'t, T: Float> {
    /// `[cells, peaks]` 0 or 1.
    pub open: Var<'t, T>,
    /// `[cells, latent]` noise.
    pub noise: Option<Var<'t, T>>,
}

/// What the model says of some cells.
pub struct ScaleOutput<'t, T: Float> {
    /// The posterior of the latent state `[cells, latent]`; its mean is the embedding.
    pub posterior: Normal<'t, T>,
    /// `[cells, components]` the probability of each cluster.
    pub responsibilities: Var<'t, T>,
    /// `[cells, peaks]` log-odds that a peak is open: the denoised data.
    pub logits: Var<'t, T>,
    /// `[cells]` ln p of the data, in nats.
    pub ln_likelihood: Var<'t, T>,
    /// `[cells]` the divergence from posterior to mixture, in nats.
    pub kl: Var<'t, T>,
    /// What training minimises: the negative evidence lower bound per cell.
    pub loss: Var<'t, T>,
}

/// A variational autoencoder of binarised chromatin whose prior is a mixture of normal distributions (Xiong et al.
/// 2019, "SCALE method for single-cell ATAC-seq analysis via latent feature extraction").
///
/// Unlike the reference, densities are compared as logarithms, weights and variances stay what they must be by
/// construction, and embedding and denoised data come from the posterior mean.
pub struct Scale {
    config: ScaleConfig,
    hidden: Vec<Linear>,
    mean: Linear,
    ln_variance: Linear,
    pub(super) decoder: Linear,
    pub(super) prior: MixtureParameters,
}

impl Scale {
    /// The configuration.
    pub fn config(&self) -> &ScaleConfig {
        &self.config
    }

    /// The prior.
    pub fn mixture<'t, T: Float>(&self, step: Step<'_, 't, T>) -> Mixture<'t, T> {
        self.prior.mixture(step)
    }

    /// What the model says of cells under a given prior.
    pub fn under<'t, T: Float>(
        &self,
        step: Step<'_, 't, T>,
        input: &ScaleInput<'t, T>,
        mixture: Mixture<'t, T>,
        epsilons: MixtureEpsilons,
    ) -> ScaleOutput<'t, T> {
        let h = self.hidden.iter().fold(input.open, |h, layer| layer.forward(step, h).relu());
        let posterior = Normal::new(self.mean.forward(step, h), self.ln_variance.forward(step, h));
        let noise = input.noise.or_else(|| step.training().then(|| step.normal(posterior.mean.shape())));
        let states = noise.map_or(posterior.mean, |noise| posterior.sample(noise));
        let responsibilities = mixture.responsibilities(states, epsilons);
        let kl = mixture.divergence(posterior, responsibilities, epsilons);
        let logits = self.decoder.forward(step, states);
        // ln p = x ln sigmoid(l) + (1 - x) ln(1 - sigmoid(l))
        let ln_likelihood = (input.open * logits - logits.softplus()).sum_axis(1);
        let loss = (kl - ln_likelihood).mean();
        ScaleOutput { posterior, responsibilities, logits, ln_likelihood, kl, loss }
    }
}

impl Operator for Scale {
    const NAME: &'static str = "scale";
    type Config = ScaleConfig;
    type Batch = OpenChromatin;
    type Input<'t, T: Float> = ScaleInput<'t, T>;
    type Output<'t, T: Float> = ScaleOutput<'t, T>;

    fn new<T: Float>(config: &Self::Config, store: &mut ParamStore<T>) -> Result<Self> {
        config.validate()?;
        let mut encoder = store.scope("encoder");
        let mut hidden = Vec::new();
        let mut width = config.peaks;
        for (i, &next) in config.hidden.iter().enumerate() {
            hidden.push(Linear::new(&mut encoder.scope(i), width, next));
            width = next;
        }
        let mean = Linear::new(&mut encoder.scope("mean"), width, config.latent_dim);
        let ln_variance = Linear::new(&mut encoder.scope("ln_variance"), width, config.latent_dim);
        let decoder = Linear::new(&mut store.scope("decoder"), config.latent_dim, config.peaks);
        let prior = MixtureParameters::new(&mut store.scope("mixture"), config.latent_dim, config.components);
        Ok(Self { config: config.clone(), hidden, mean, ln_variance, decoder, prior })
    }

    fn sample(config: &Self::Config, seed: u64) -> Self::Batch {
        const CELLS: usize = 4;
        let mut rng = Rng::seed_from_u64(seed);
        let open = (0..CELLS * config.peaks).map(|_| rng.random::<f64>() < 0.3).collect();
        let noise = (0..CELLS * config.latent_dim).map(|_| rng.random::<f64>() * 2.0 - 1.0).collect();
        OpenChromatin { cells: CELLS, open, noise: Some(noise) }
    }

    fn input<'t, T: Float>(&self, tape: &'t Tape<T>, batch: &Self::Batch) -> Result<Self::Input<'t, T>> {
        let ScaleConfig { peaks, latent_dim, .. } = self.config;
        if batch.open.len() != batch.cells * peaks || batch.cells == 0 {
            let problem = format!("{} values do not make [{}, {peaks}] cells x peaks", batch.open.len(), batch.cells);
            return Err(Error::data("open chromatin", problem));
        }
        let noise = match &batch.noise {
            Some(noise) if noise.len() != batch.cells * latent_dim => {
                let problem = format!("{} values do not make [{}, {latent_dim}]", noise.len(), batch.cells);
                return Err(Error::data("noise", problem));
            }
            noise => noise.as_ref().map(|noise| tape.constant(&Tensor::from_f64([batch.cells, latent_dim], noise))),
        };
        let value = |i: usize| if batch.open[i] { T::ONE } else { T::ZERO };
        Ok(ScaleInput { open: tape.constant(&Tensor::from_fn([batch.cells, peaks], value)), noise })
    }

    fn forward<'t, T: Float>(&self, step: Step<'_, 't, T>, input: &Self::Input<'t, T>) -> Result<Self::Output<'t, T>> {
        Ok(self.under(step, input, self.mixture(step), MixtureEpsilons::default()))
    }
}
