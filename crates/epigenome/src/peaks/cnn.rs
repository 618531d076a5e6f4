//! The learned peak caller: convolutions of several widths over binned signals.

use gradome_nn::{Activation, Conv1d, ConvConfig, Dropout, Error, Operator, ParamStore, Result, Rng, Step};
use gradome_tape::{Float, Tape};
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use super::caller::{Caller, PeakOutput};
use super::decision::{Decision, DecisionConfig, Indicators};
use super::denoiser::{Denoised, Denoiser, DenoiserConfig};
use super::signal::{Entry, SignalBatch, SignalInput, SignalTransform};

/// The form of a [`PeakCaller`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PeakCallerConfig {
    /// Tracks of the input. Default 1.
    pub tracks: usize,
    /// What the network sees of their values. Default ln(1 + x).
    pub transform: SignalTransform,
    /// Channels of each width of the first convolutions, and of all that follow. Default 32.
    pub filters: usize,
    /// The widths of the first convolutions, in positions. Default 5, 11, 21.
    pub kernel_sizes: Vec<usize>,
    /// Dilations of the residual convolutions of width 3 that follow; none in the reference. Default 1, 2, 4, 8, 16, 32,
    /// which see 63 positions more to either side.
    pub dilations: Vec<usize>,
    /// The share of values that residual convolutions drop in training. Default 0.1.
    pub dropout: f64,
    /// How scores become decisions.
    pub decision: DecisionConfig,
    /// Replaces the first track by a denoised one, when given.
    pub denoiser: Option<DenoiserConfig>,
}

impl Default for PeakCallerConfig {
    fn default() -> Self {
        Self {
            tracks: 1,
            transform: SignalTransform::default(),
            filters: 32,
            kernel_sizes: vec![5, 11, 21],
            dilations: vec![1, 2, 4, 8, 16, 32],
            dropout: 0.1,
            decision: DecisionConfig::default(),
            denoiser: None,
        }
    }
}

impl PeakCallerConfig {
    /// The form of DiffBio's `DifferentiablePeakCaller` without its denoiser, whose windows follow each other
    /// (`step` = `window`) and have Poisson rates.
    pub fn diffbio() -> Self {
        Self {
            transform: SignalTransform::Identity,
            dilations: Vec::new(),
            dropout: 0.0,
            decision: DecisionConfig { indicators: Indicators::Sigmoid, ..DecisionConfig::default() },
            ..Self::default()
        }
    }

    /// Checks every field.
    ///
    /// # Errors
    /// When one is out of its range; the error names it.
    pub fn validate(&self) -> Result<()> {
        for (field, value) in [("tracks", self.tracks), ("filters", self.filters)] {
            if value == 0 {
                return Err(Error::config(field, "0 is too small; give 1 or more"));
            }
        }
        if self.kernel_sizes.is_empty() || self.kernel_sizes.contains(&0) {
            return Err(Error::config("kernel_sizes", "give at least one width, each of 1 position or more"));
        }
        if self.dilations.contains(&0) {
            return Err(Error::config("dilations", "0 is too small; give 1 or more"));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(Error::config("dropout", format!("{} is not in 0..1", self.dropout)));
        }
        self.decision.validate()?;
        self.denoiser.as_ref().map_or(Ok(()), DenoiserConfig::validate)
    }
}

/// Finds peaks in binned signals with convolutions of several widths.
///
/// The first track may be denoised by a variational autoencoder before. Widths, threshold and temperature as in DiffBio's
/// `DifferentiablePeakCaller`; tracks, residual convolutions and the denoiser's likelihood go beyond it.
pub struct PeakCaller {
    config: PeakCallerConfig,
    entry: Entry,
    widths: Vec<Conv1d>,
    mix: Conv1d,
    residual: Vec<Conv1d>,
    score: Conv1d,
    decision: Decision,
    denoiser: Option<Denoiser>,
}

impl PeakCaller {
    /// The configuration.
    pub fn config(&self) -> &PeakCallerConfig {
        &self.config
    }

    /// The denoised first track alone, where the model denoises.
    pub fn denoise<'t, T: Float>(&self, step: Step<'_, 't, T>, input: &SignalInput<'t, T>) -> Option<Denoised<'t, T>> {
        let [stretches, _, length] = *input.tracks.shape() else { unreachable!("tracks have three axes") };
        let track = input.tracks.narrow(1, 0, 1).reshape([stretches, length]);
        self.denoiser.as_ref().map(|denoiser| denoiser.forward(step, track, input.noise))
    }
}

impl Operator for PeakCaller {
    const NAME: &'static str = "peak-caller";
    type Config = PeakCallerConfig;
    type Batch = SignalBatch;
    type Input<'t, T: Float> = SignalInput<'t, T>;
    type Output<'t, T: Float> = PeakOutput<'t, T>;

    fn new<T: Float>(config: &Self::Config, store: &mut ParamStore<T>) -> Result<Self> {
        config.validate()?;
        let same = ConvConfig::new().same_padding();
        let relu = same.activation(Activation::Relu);
        let filters = config.filters;
        let mut scope = store.scope("network");
        let mut conv = |name: String, inputs, outputs, kernel, config| {
            Conv1d::new(&mut scope.scope(name), inputs, outputs, kernel, config)
        };
        let sizes = config.kernel_sizes.iter().enumerate();
        let widths: Vec<_> =
            sizes.map(|(i, &kernel)| conv(format!("widths.{i}"), config.tracks, filters, kernel, relu)).collect();
        let mix = conv("mix".into(), widths.len() * filters, filters, 3, relu);
        let dilations = config.dilations.iter().enumerate();
        let residual = dilations
            .map(|(i, &dilation)| conv(format!("residual.{i}"), filters, filters, 3, relu.dilation(dilation)))
            .collect();
        let score = conv("score".into(), filters, 1, 1, same);
        Ok(Self {
            config: config.clone(),
            entry: Entry::new(config.transform, config.tracks, store),
            widths,
            mix,
            residual,
            score,
            decision: Decision::new(&config.decision, store),
            denoiser: config.denoiser.as_ref().map(|denoiser| Denoiser::new(denoiser, store)),
        })
    }

    fn sample(config: &Self::Config, seed: u64) -> Self::Batch {
        let mut batch = SignalBatch::sample(config.tracks, seed);
        if let Some(denoiser) = &config.denoiser {
            let mut rng = Rng::seed_from_u64(seed ^ 1);
            let count = denoiser.windows(batch.length) * batch.stretches * denoiser.latent_dim;
            batch.noise = Some((0..count).map(|_| rng.random::<f64>() * 2.0 - 1.0).collect());
        }
        batch
    }

    fn input<'t, T: Float>(&self, tape: &'t Tape<T>, batch: &Self::Batch) -> Result<Self::Input<'t, T>> {
        self.signals(tape, batch)
    }

    fn forward<'t, T: Float>(&self, step: Step<'_, 't, T>, input: &Self::Input<'t, T>) -> Result<Self::Output<'t, T>> {
        Ok(self.call(step, input))
    }
}

impl Caller for PeakCaller {
    fn tracks(config: &Self::Config) -> usize {
        config.tracks
    }

    fn standardise<T: Float>(&self, store: &mut ParamStore<T>, tracks: &[f32]) {
        self.entry.standardise(store, tracks);
    }

    fn signals<'t, T: Float>(&self, tape: &'t Tape<T>, batch: &SignalBatch) -> Result<SignalInput<'t, T>> {
        let mut input = batch.on_tape(tape, self.config.tracks)?;
        if let (Some(noise), Some(denoiser)) = (input.noise, &self.config.denoiser) {
            let windows = denoiser.windows(batch.length) * batch.stretches;
            if noise.shape().len() != windows * denoiser.latent_dim {
                let problem = format!(
                    "{} values do not make [{windows}, {}] windows x latent",
                    noise.shape().len(),
                    denoiser.latent_dim
                );
                return Err(Error::data("noise", problem));
            }
            input.noise = Some(noise.reshape([windows, denoiser.latent_dim]));
        }
        Ok(input)
    }

    fn call<'t, T: Float>(&self, step: Step<'_, 't, T>, input: &SignalInput<'t, T>) -> PeakOutput<'t, T> {
        let [stretches, tracks, length] = *input.tracks.shape() else { unreachable!("tracks have three axes") };
        let mut tracks_seen = input.tracks;
        let denoised = self.denoise(step, input);
        if let Some(denoised) = &denoised {
            let first = denoised.track.reshape([stretches, 1, length]);
            tracks_seen =
                if tracks == 1 { first } else { step.tape.concat(&[first, input.tracks.narrow(1, 1, tracks - 1)], 1) };
        }
        let x = self.entry.forward(step, tracks_seen);
        let widths: Vec<_> = self.widths.iter().map(|conv| conv.forward(step, x)).collect();
        let mut h = self.mix.forward(step, step.tape.concat(&widths, 1));
        let dropout = Dropout { rate: self.config.dropout };
        for conv in &self.residual {
            h = h + dropout.forward(step, conv.forward(step, h));
        }
        let scores = self.score.forward(step, h).reshape([stretches, length]);
        PeakOutput { scores, decisions: self.decision.forward(step, scores), denoised }
    }
}
