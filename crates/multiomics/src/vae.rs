//! The multi-omics variational autoencoder: one encoder and one decoder a modality, joined by a product of experts.

use gradome_nn::distributions::{Normal, product_of_experts};
use gradome_nn::{Error, Init, Operator, ParamId, ParamStore, Result, Rng, Step};
use gradome_tape::{Float, Tape, Tensor, Var};
use rand::{RngExt, SeedableRng};

use crate::config::{Likelihood, MlpConfig, ModalityConfig, ModalityWeights, MultiOmicsVaeConfig, Transform};
use crate::data::{ModalityValues, MultiOmicsBatch, MultiOmicsData, check_batches, check_value};
use crate::decoder::{Decoded, Decoder};
use crate::encoder::{Encoder, depths};

/// A variational autoencoder of several omics of the same cells.
///
/// Each modality has an encoder, whose expert is a normal distribution over the latent state, and a decoder with a
/// likelihood of its own. The joint posterior is the product of the experts of the modalities that a cell has (Wu &
/// Goodman, "Multimodal generative models for scalable weakly-supervised learning", 2018); a cell that has none gets
/// the prior. Batches enter the decoders only, so that the latent state is free of them.
pub struct MultiOmicsVae {
    pub(crate) config: MultiOmicsVaeConfig,
    pub(crate) encoders: Vec<Encoder>,
    pub(crate) decoders: Vec<Decoder>,
    /// `[modalities]` scores of learned modality weights.
    weight_scores: Option<ParamId>,
}

/// One modality of some cells on a tape.
#[derive(Clone, Copy)]
pub struct ModalityInput<'t, T: Float> {
    /// `[cells, features]`; 0 where a value was not measured.
    pub values: Var<'t, T>,
    /// `[cells, features]` 1 where a value was measured, else 0; nothing when all were.
    pub measured: Option<Var<'t, T>>,
    /// `[cells, 1]` 1 where the cell has any measured value; nothing when all have.
    pub presence: Option<Var<'t, T>>,
    /// `[cells, 1]` the sum of the values, at least 1; the usual depth where the cell has no value.
    pub depth: Var<'t, T>,
}

/// Some cells on a tape.
pub struct MultiOmicsInput<'t, T: Float> {
    /// The modalities in the order of the configuration.
    pub modalities: Vec<ModalityInput<'t, T>>,
    /// `[cells, batches]` one-hot batches, when the model distinguishes them.
    pub batch: Option<Var<'t, T>>,
    /// `[cells, latent]` standard normal noise of the joint latent state.
    pub noise: Option<Var<'t, T>>,
    /// How far the Kullback-Leibler term has warmed up, 0..=1.
    pub kl_warmup: f64,
}

/// What the model says of some cells.
pub struct MultiOmicsOutput<'t, T: Float> {
    /// The joint posterior of the latent state `[cells, latent]`.
    pub posterior: Normal<'t, T>,
    /// A sample from it `[cells, latent]`.
    pub latent: Var<'t, T>,
    /// Each modality's distribution given that sample.
    pub decoded: Vec<Decoded<'t, T>>,
    /// For each modality the log-likelihood of each cell's measured values `[cells]`, in nats.
    pub ln_likelihoods: Vec<Var<'t, T>>,
    /// The Kullback-Leibler divergence from posterior to prior `[cells]`, in nats.
    pub kl: Var<'t, T>,
    /// The joint objective per cell: weighted log-likelihoods off the weighted divergence.
    pub joint_loss: Var<'t, T>,
    /// What training minimises: the joint objective and that of each single modality.
    pub loss: Var<'t, T>,
}

impl<'t, T: Float> MultiOmicsInput<'t, T> {
    fn assemble(
        tape: &'t Tape<T>,
        config: &MultiOmicsVaeConfig,
        arrays: Vec<(Tensor<T>, Option<Tensor<T>>)>,
        batch: &[u32],
    ) -> Self {
        let modalities = arrays
            .into_iter()
            .map(|(values, measured)| {
                let depth = depths(&values);
                let presence = measured.as_ref().and_then(presence);
                ModalityInput {
                    values: tape.constant(&values),
                    measured: measured.map(|m| tape.constant(&m)),
                    presence: presence.map(|p| tape.constant(&p)),
                    depth: tape.constant(&depth),
                }
            })
            .collect();
        let count = config.batch_count();
        let batch = (count > 0).then(|| {
            let one_hot = |i: usize| if batch[i / count] as usize == i % count { T::ONE } else { T::ZERO };
            tape.constant(&Tensor::from_fn([batch.len(), count], one_hot))
        });
        Self { modalities, batch, noise: None, kl_warmup: 1.0 }
    }

    /// Puts some cells of a data set on a tape.
    pub(crate) fn from_data(
        tape: &'t Tape<T>,
        config: &MultiOmicsVaeConfig,
        data: &MultiOmicsData,
        cells: &[usize],
    ) -> Self {
        let arrays = (0..data.modalities.len()).map(|m| data.tensors(m, cells)).collect();
        let batch: Vec<u32> =
            if config.batch_count() > 0 { cells.iter().map(|&c| data.batch[c]).collect() } else { Vec::new() };
        Self::assemble(tape, config, arrays, &batch)
    }
}

/// 1 for each cell with any measured value; nothing when every cell has one.
fn presence<T: Float>(measured: &Tensor<T>) -> Option<Tensor<T>> {
    let features = measured.shape().last_size();
    let rows = measured.data().chunks_exact(features.max(1));
    let present: Vec<T> = rows.map(|row| if row.iter().any(|&v| v != T::ZERO) { T::ONE } else { T::ZERO }).collect();
    present.contains(&T::ZERO).then(|| Tensor::new([present.len(), 1], &present))
}

impl MultiOmicsVae {
    /// The configuration.
    pub fn config(&self) -> &MultiOmicsVaeConfig {
        &self.config
    }

    /// The expert of each modality.
    pub(crate) fn experts<'t, T: Float>(
        &self,
        step: Step<'_, 't, T>,
        input: &MultiOmicsInput<'t, T>,
    ) -> Vec<(Normal<'t, T>, Option<Var<'t, T>>)> {
        let pairs = self.encoders.iter().zip(&input.modalities);
        pairs.map(|(encoder, modality)| (encoder.forward(step, modality), modality.presence)).collect()
    }

    /// The posterior given some of the experts.
    pub(crate) fn posterior<'t, T: Float>(&self, experts: &[(Normal<'t, T>, Option<Var<'t, T>>)]) -> Normal<'t, T> {
        product_of_experts(experts, self.config.prior_expert, self.config.precision_epsilon)
    }

    /// The distribution of every modality given latent states.
    pub(crate) fn decode<'t, T: Float>(
        &self,
        step: Step<'_, 't, T>,
        latent: Var<'t, T>,
        input: &MultiOmicsInput<'t, T>,
    ) -> Vec<Decoded<'t, T>> {
        let z = input.batch.map_or(latent, |batch| step.tape.concat(&[latent, batch], 1));
        self.decoders
            .iter()
            .zip(&self.encoders)
            .zip(&input.modalities)
            .map(|((decoder, encoder), modality)| {
                let usual = step.param(encoder.usual_depth);
                // a cell without this modality has no depth of its own
                let depth = modality.presence.map_or(modality.depth, |present| present.choose(modality.depth, usual));
                decoder.forward(step, z, depth.ln(), usual.ln())
            })
            .collect()
    }

    /// ln p of each cell's measured values `[cells]`, for each modality.
    pub(crate) fn ln_likelihoods<'t, T: Float>(
        decoded: &[Decoded<'t, T>],
        input: &MultiOmicsInput<'t, T>,
    ) -> Vec<Var<'t, T>> {
        decoded
            .iter()
            .zip(&input.modalities)
            .map(|(decoded, modality)| {
                let ln_p = decoded.log_prob(modality.values);
                modality.measured.map_or(ln_p, |measured| ln_p * measured).sum_axis(1)
            })
            .collect()
    }

    /// The weight of each modality, and the barrier that keeps learned ones from vanishing.
    fn weights<'t, T: Float>(
        &self,
        step: Step<'_, 't, T>,
        ln_likelihoods: &[Var<'t, T>],
    ) -> (Vec<Option<Var<'t, T>>>, Option<Var<'t, T>>) {
        let count = self.config.modalities.len();
        let fixed = |i: usize| self.config.modalities[i].weight;
        let constant = |value: f64| (value != 1.0).then(|| step.tape.scalar(value));
        let scores = match (self.config.modality_weights, self.weight_scores) {
            (ModalityWeights::Equal, _) => {
                return ((0..count).map(|i| constant(fixed(i) / count as f64)).collect(), None);
            }
            (ModalityWeights::Learnable { balance }, Some(scores)) => (step.param(scores), balance),
            _ => return ((0..count).map(|i| constant(fixed(i))).collect(), None),
        };
        let (scores, balance) = scores;
        let weights = scores.softmax();
        let each = (0..count).map(|i| Some(weights.narrow(0, i, 1).reshape([]) * fixed(i))).collect();
        let barrier = (balance > 0.0).then(|| {
            let sizes: f64 = ln_likelihoods.iter().map(|l| l.mean().item().to_f64().abs()).sum();
            (scores.log_softmax() + (count as f64).ln()).mean() * (-balance * sizes / count as f64)
        });
        (each, barrier)
    }
}

/// The weighted sum of per-cell terms.
fn weighted_sum<'t, T: Float>(terms: &[Var<'t, T>], weights: &[Option<Var<'t, T>>]) -> Var<'t, T> {
    let weighted = terms.iter().zip(weights).map(|(&term, weight)| weight.map_or(term, |w| term * w));
    weighted.reduce(|a, b| a + b).expect("a model has modalities")
}

impl Operator for MultiOmicsVae {
    const NAME: &'static str = "multiomics-vae";
    type Config = MultiOmicsVaeConfig;
    type Batch = MultiOmicsBatch;
    type Input<'t, T: Float> = MultiOmicsInput<'t, T>;
    type Output<'t, T: Float> = MultiOmicsOutput<'t, T>;

    fn new<T: Float>(config: &Self::Config, store: &mut ParamStore<T>) -> Result<Self> {
        config.validate()?;
        let inputs = config.latent_dim + config.batch_count();
        let mut encoders = Vec::new();
        let mut decoders = Vec::new();
        for modality in &config.modalities {
            let mut scope = store.scope(modality.name.clone());
            encoders.push(Encoder::new(&mut scope.scope("encoder"), modality, config));
            decoders.push(Decoder::new(&mut scope.scope("decoder"), inputs, modality, config.count_epsilon));
        }
        let weight_scores = matches!(config.modality_weights, ModalityWeights::Learnable { .. }).then(|| {
            store.scope("modality_weights").parameter("scores", [config.modalities.len()], Init::Constant(0.0))
        });
        Ok(Self { config: config.clone(), encoders, decoders, weight_scores })
    }

    fn sample(config: &Self::Config, seed: u64) -> Self::Batch {
        const CELLS: usize = 5;
        let mut rng = Rng::seed_from_u64(seed);
        let modalities = config
            .modalities
            .iter()
            .map(|modality| {
                let mut value = |i: usize| {
                    let uniform: f64 = rng.random();
                    match modality.likelihood {
                        // an unmeasured value, and in the last cell nothing measured
                        _ if i == 1 || i / modality.features == CELLS - 1 => f64::NAN,
                        Likelihood::SquaredError | Likelihood::Gaussian => 4.0 * uniform,
                        Likelihood::Bernoulli => uniform.round(),
                        _ => (uniform.powi(3) * 9.0).floor(),
                    }
                };
                ModalityValues { values: (0..CELLS * modality.features).map(&mut value).collect() }
            })
            .collect();
        let batches = config.batch_count() as u32;
        let batch = if batches > 0 { (0..CELLS as u32).map(|c| c % batches).collect() } else { Vec::new() };
        let noise = (0..CELLS * config.latent_dim).map(|_| rng.random::<f64>() * 2.0 - 1.0).collect();
        MultiOmicsBatch { cells: CELLS, modalities, batch, noise: Some(noise) }
    }

    fn input<'t, T: Float>(&self, tape: &'t Tape<T>, batch: &Self::Batch) -> Result<Self::Input<'t, T>> {
        let config = &self.config;
        if batch.modalities.len() != config.modalities.len() {
            let problem =
                format!("the model has {} modalities, the batch {}", config.modalities.len(), batch.modalities.len());
            return Err(Error::data("modalities", problem));
        }
        let mut arrays = Vec::new();
        for (given, modality) in batch.modalities.iter().zip(&config.modalities) {
            let shape = [batch.cells, modality.features];
            if given.values.len() != shape[0] * shape[1] {
                let problem =
                    format!("{} values do not make [{}, {}] cells x features", given.values.len(), shape[0], shape[1]);
                return Err(Error::data(&modality.name, problem));
            }
            for (i, &value) in given.values.iter().enumerate().filter(|(_, v)| !v.is_nan()) {
                check_value(value, modality.likelihood).map_err(|problem| {
                    let (cell, feature) = (i / modality.features + 1, i % modality.features + 1);
                    Error::data(&modality.name, format!("cell {cell} feature {feature} holds {value}: {problem}"))
                })?;
            }
            let known = |i: usize| !given.values[i].is_nan();
            let values = Tensor::from_fn(shape, |i| if known(i) { T::of(given.values[i]) } else { T::ZERO });
            let measured = given
                .values
                .iter()
                .any(|v| v.is_nan())
                .then(|| Tensor::from_fn(shape, |i| if known(i) { T::ONE } else { T::ZERO }));
            arrays.push((values, measured));
        }
        check_batches(&batch.batch, batch.cells, config)?;
        let mut input = MultiOmicsInput::assemble(tape, config, arrays, &batch.batch);
        if let Some(noise) = &batch.noise {
            let shape = [batch.cells, config.latent_dim];
            if noise.len() != shape[0] * shape[1] {
                return Err(Error::data(
                    "noise",
                    format!("{} values do not make [{}, {}]", noise.len(), shape[0], shape[1]),
                ));
            }
            input.noise = Some(tape.constant(&Tensor::from_f64(shape, noise)));
        }
        Ok(input)
    }

    fn forward<'t, T: Float>(&self, step: Step<'_, 't, T>, input: &Self::Input<'t, T>) -> Result<Self::Output<'t, T>> {
        let config = &self.config;
        let kl_weight = config.kl_weight * input.kl_warmup;
        let experts = self.experts(step, input);
        let posterior = self.posterior(&experts);
        let shape = posterior.mean.shape();
        let noise = input.noise.unwrap_or_else(|| step.normal(shape));
        let latent = posterior.sample(noise);
        let decoded = self.decode(step, latent, input);
        let ln_likelihoods = Self::ln_likelihoods(&decoded, input);
        let kl = posterior.kl_to_standard().sum_axis(1);
        let (weights, barrier) = self.weights(step, &ln_likelihoods);
        let joint_loss = kl * kl_weight - weighted_sum(&ln_likelihoods, &weights);
        let mut loss = joint_loss.mean();

        if config.single_modality_weight > 0.0 && experts.len() > 1 {
            for (i, expert) in experts.iter().enumerate() {
                let posterior = self.posterior(std::slice::from_ref(expert));
                let latent = posterior.sample(step.normal(shape));
                let decoded = self.decode(step, latent, input);
                let terms = Self::ln_likelihoods(&decoded, input);
                let explained = if config.cross_reconstruction {
                    weighted_sum(&terms, &weights)
                } else {
                    weighted_sum(&terms[i..=i], &weights[i..=i])
                };
                let mut single = posterior.kl_to_standard().sum_axis(1) * kl_weight - explained;
                if let Some(present) = expert.1 {
                    single = single * present.reshape(single.shape());
                }
                loss = loss + single.mean() * config.single_modality_weight;
            }
        }
        if let Some(barrier) = barrier {
            loss = loss + barrier;
        }
        Ok(MultiOmicsOutput { posterior, latent, decoded, ln_likelihoods, kl, joint_loss, loss })
    }
}

impl MultiOmicsVaeConfig {
    /// The model of DiffBio 0.1's `DifferentiableMultiOmicsVAE`: squared error on raw values, encoders on ln(1 + x), no
    /// prior expert, log variances within 10; `balance` 0 in learned weights.
    pub fn diffbio(features: &[usize], latent_dim: usize, hidden: usize, learnable_weights: bool) -> Self {
        let mlp = MlpConfig {
            hidden: vec![hidden, hidden],
            norm: gradome_nn::Norm::None,
            dropout: 0.0,
            ..Default::default()
        };
        let modality = |(i, &features): (usize, &usize)| ModalityConfig {
            transform: Transform::Log1p,
            standardize: crate::config::Standardize::None,
            encoder: mlp.clone(),
            decoder: mlp.clone(),
            ..ModalityConfig::new(format!("modality_{i}"), features, Likelihood::SquaredError)
        };
        Self {
            modalities: features.iter().enumerate().map(modality).collect(),
            latent_dim,
            prior_expert: false,
            precision_epsilon: 1e-8,
            modality_weights: if learnable_weights {
                ModalityWeights::Learnable { balance: 0.0 }
            } else {
                ModalityWeights::Equal
            },
            single_modality_weight: 0.0,
            kl_warmup_epochs: 0.0,
            ..Self::default()
        }
    }
}
