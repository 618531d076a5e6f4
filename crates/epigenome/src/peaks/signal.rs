//! Binned signals along the genome, as a network sees them.

use gradome_nn::{Error, ParamId, ParamStore, Result, Rng, Step};
use gradome_tape::{Float, Tape, Tensor, Var};
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

/// What a network sees of the values of a track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignalTransform {
    /// ln(1 + x): coverage spans orders of magnitude.
    #[default]
    LogPlusOne,
    /// The values themselves, as the reference has it.
    Identity,
}

impl SignalTransform {
    fn apply<T: Float>(self, x: Var<'_, T>) -> Var<'_, T> {
        match self {
            Self::LogPlusOne => x.ln_1p(),
            Self::Identity => x,
        }
    }
}

/// What a network sees of its tracks: their transformed values, each track divided by a spread of its own.
pub(crate) struct Entry {
    transform: SignalTransform,
    /// `[tracks, 1]`
    scale: ParamId,
}

impl Entry {
    /// An entry that leaves spreads as they are.
    pub fn new<T: Float>(transform: SignalTransform, tracks: usize, store: &mut ParamStore<T>) -> Self {
        let scale = store.scope("entry").constant("scale", Tensor::full([tracks, 1], T::ONE));
        Self { transform, scale }
    }

    /// `[stretches, tracks, length]` to the same shape.
    pub fn forward<'t, T: Float>(&self, step: Step<'_, 't, T>, tracks: Var<'t, T>) -> Var<'t, T> {
        self.transform.apply(tracks) * step.param(self.scale)
    }

    /// Divides each track by the standard deviation of its transformed values in tracks `[tracks, length]`.
    pub fn standardise<T: Float>(&self, store: &mut ParamStore<T>, tracks: &[f32]) {
        let count = store.get(self.scale).shape().len();
        let length = tracks.len() / count;
        let transformed = |x: f32| match self.transform {
            SignalTransform::LogPlusOne => f64::from(x).ln_1p(),
            SignalTransform::Identity => f64::from(x),
        };
        for (scale, track) in store.get_mut(self.scale).data_mut().iter_mut().zip(tracks.chunks_exact(length)) {
            let mean = track.iter().map(|x| transformed(*x)).sum::<f64>() / length as f64;
            let variance = track.iter().map(|x| (transformed(*x) - mean).powi(2)).sum::<f64>() / length as f64;
            // a track that never changes says nothing, whatever its scale
            *scale = if variance > 0.0 { T::of(variance.sqrt().recip()) } else { T::ONE };
        }
    }
}

/// Binned signals along some stretches of the genome, all of one length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SignalBatch {
    /// Stretches.
    pub stretches: usize,
    /// Positions of each.
    pub length: usize,
    /// `[stretches, tracks, length]` row-major values, 0 or more.
    pub tracks: Vec<f64>,
    /// `[windows, latent]` standard normal noise of the denoiser; drawn in training when absent, and 0 outside of it.
    pub noise: Option<Vec<f64>>,
}

/// Binned signals on a tape.
pub struct SignalInput<'t, T: Float> {
    /// `[stretches, tracks, length]`
    pub tracks: Var<'t, T>,
    /// `[windows, latent]` noise of the denoiser.
    pub noise: Option<Var<'t, T>>,
}

impl SignalBatch {
    /// Puts the signals on a tape after a look at every value.
    pub(crate) fn on_tape<'t, T: Float>(&self, tape: &'t Tape<T>, tracks: usize) -> Result<SignalInput<'t, T>> {
        let shape = [self.stretches, tracks, self.length];
        if self.tracks.len() != shape.iter().product::<usize>() || self.tracks.is_empty() {
            let problem = format!("{} values do not make [{}, {tracks}, {}]", self.tracks.len(), shape[0], shape[2]);
            return Err(Error::data("signal tracks", problem));
        }
        if let Some(i) = self.tracks.iter().position(|v| !(*v >= 0.0 && v.is_finite())) {
            let (stretch, track, at) = (i / (tracks * self.length), i / self.length % tracks, i % self.length);
            let problem = format!(
                "stretch {stretch}, track {track}, position {at} holds {}; signals are finite and 0 or more",
                self.tracks[i]
            );
            return Err(Error::data("signal tracks", problem));
        }
        let noise = self.noise.as_ref().map(|noise| tape.constant(&Tensor::from_f64([noise.len()], noise)));
        Ok(SignalInput { tracks: tape.constant(&Tensor::from_f64(shape, &self.tracks)), noise })
    }

    /// A small batch of counts, for the checks.
    pub(crate) fn sample(tracks: usize, seed: u64) -> Self {
        const SHAPE: (usize, usize) = (2, 23);
        let mut rng = Rng::seed_from_u64(seed);
        let values = (0..SHAPE.0 * tracks * SHAPE.1).map(|_| (rng.random::<f64>().powi(3) * 9.0).floor()).collect();
        Self { stretches: SHAPE.0, length: SHAPE.1, tracks: values, noise: None }
    }
}
