//! The Fourier peak caller: a neural operator over binned signals, at any resolution.

use gradome_nn::{Activation, Conv1d, ConvConfig, Error, Fno1d, FnoConfig, Operator, ParamStore, Result, Step};
use gradome_tape::{Float, Tape};
use serde::{Deserialize, Serialize};

use super::caller::{Caller, PeakOutput};
use super::decision::{Decision, DecisionConfig};
use super::signal::{Entry, SignalBatch, SignalInput, SignalTransform};

/// The form of the operator's blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FnoForm {
    /// Lifting and projection through networks, and a gated network of each position in every block, as neuraloperator
    /// has it.
    #[default]
    Networks,
    /// Li et al.'s first form, which DiffBio has: a linear map beside each spectral convolution, and no more.
    Plain,
}

/// The form of an [`FnoPeakCaller`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FnoPeakCallerConfig {
    /// Tracks of the input. Default 1.
    pub tracks: usize,
    /// What the network sees of their values. Default ln(1 + x).
    pub transform: SignalTransform,
    /// Channels between the blocks. Default 32.
    pub hidden: usize,
    /// Frequencies that a block keeps, 0 included. Default 16.
    pub modes: usize,
    /// Blocks. Default 4.
    pub blocks: usize,
    /// The form of the blocks.
    pub form: FnoForm,
    /// Whether the position within the stretch, from 0 up to but not including 1, is one more track. Default false: a
    /// genome has no such coordinate.
    pub grid: bool,
    /// Zeros that follow the signal through the blocks, in positions, so that its ends do not meet. Default 64.
    pub padding: usize,
    /// Widths, in positions, of convolutions beside the operator, which see peaks that are narrower than the shortest
    /// kept wave; none in the reference. Default 5, 11, 21.
    pub local_kernels: Vec<usize>,
    /// How scores become decisions.
    pub decision: DecisionConfig,
}

impl Default for FnoPeakCallerConfig {
    fn default() -> Self {
        Self {
            tracks: 1,
            transform: SignalTransform::default(),
            hidden: 32,
            modes: 16,
            blocks: 4,
            form: FnoForm::default(),
            grid: false,
            padding: 64,
            local_kernels: vec![5, 11, 21],
            decision: DecisionConfig { learnable_temperature: false, ..DecisionConfig::default() },
        }
    }
}

impl FnoPeakCallerConfig {
    /// The form of DiffBio's `FNOPeakCaller`.
    pub fn diffbio() -> Self {
        Self {
            transform: SignalTransform::Identity,
            form: FnoForm::Plain,
            padding: 0,
            local_kernels: Vec::new(),
            ..Self::default()
        }
    }

    /// Checks every field.
    ///
    /// # Errors
    /// When one is out of its range; the error names it.
    pub fn validate(&self) -> Result<()> {
        let sizes = [("tracks", self.tracks), ("hidden", self.hidden), ("modes", self.modes), ("blocks", self.blocks)];
        for (field, value) in sizes {
            if value == 0 {
                return Err(Error::config(field, "0 is too small; give 1 or more"));
            }
        }
        if self.local_kernels.contains(&0) {
            return Err(Error::config("local_kernels", "0 is too small; give widths of 1 position or more"));
        }
        self.decision.validate()
    }

    /// The operator's own form.
    fn operator(&self) -> FnoConfig {
        let Self { hidden, modes, blocks, .. } = *self;
        let tracks = self.tracks + if self.local_kernels.is_empty() { 0 } else { hidden };
        let form = match self.form {
            FnoForm::Networks => FnoConfig::new(tracks, 1, hidden, modes, blocks),
            FnoForm::Plain => FnoConfig::plain(tracks, 1, hidden, modes, blocks),
        };
        FnoConfig { grid: self.grid, padding: self.padding, ..form }
    }
}

/// Finds peaks in binned signals with a Fourier neural operator (Li et al. 2021), which can be applied at another
/// resolution than it was trained at; convolutions beside it see narrow peaks. DiffBio: `FNOPeakCaller`.
pub struct FnoPeakCaller {
    config: FnoPeakCallerConfig,
    entry: Entry,
    local: Vec<Conv1d>,
    merge: Option<Conv1d>,
    network: Fno1d,
    decision: Decision,
}

impl FnoPeakCaller {
    /// The configuration.
    pub fn config(&self) -> &FnoPeakCallerConfig {
        &self.config
    }
}

impl Operator for FnoPeakCaller {
    const NAME: &'static str = "fno-peak-caller";
    type Config = FnoPeakCallerConfig;
    type Batch = SignalBatch;
    type Input<'t, T: Float> = SignalInput<'t, T>;
    type Output<'t, T: Float> = PeakOutput<'t, T>;

    fn new<T: Float>(config: &Self::Config, store: &mut ParamStore<T>) -> Result<Self> {
        config.validate()?;
        let mut scope = store.scope("local");
        let same = ConvConfig::new().same_padding().activation(Activation::Relu);
        let mut conv =
            |name: String, inputs, kernel| Conv1d::new(&mut scope.scope(name), inputs, config.hidden, kernel, same);
        let sizes = config.local_kernels.iter().enumerate();
        let local: Vec<_> = sizes.map(|(i, &kernel)| conv(format!("widths.{i}"), config.tracks, kernel)).collect();
        let merge = (!local.is_empty()).then(|| conv("merge".into(), local.len() * config.hidden, 3));
        Ok(Self {
            config: config.clone(),
            entry: Entry::new(config.transform, config.tracks, store),
            local,
            merge,
            network: Fno1d::new(&mut store.scope("fno"), config.operator()),
            decision: Decision::new(&config.decision, store),
        })
    }

    fn sample(config: &Self::Config, seed: u64) -> Self::Batch {
        SignalBatch::sample(config.tracks, seed)
    }

    fn input<'t, T: Float>(&self, tape: &'t Tape<T>, batch: &Self::Batch) -> Result<Self::Input<'t, T>> {
        self.signals(tape, batch)
    }

    fn forward<'t, T: Float>(&self, step: Step<'_, 't, T>, input: &Self::Input<'t, T>) -> Result<Self::Output<'t, T>> {
        Ok(self.call(step, input))
    }
}

impl Caller for FnoPeakCaller {
    fn tracks(config: &Self::Config) -> usize {
        config.tracks
    }

    fn standardise<T: Float>(&self, store: &mut ParamStore<T>, tracks: &[f32]) {
        self.entry.standardise(store, tracks);
    }

    fn signals<'t, T: Float>(&self, tape: &'t Tape<T>, batch: &SignalBatch) -> Result<SignalInput<'t, T>> {
        batch.on_tape(tape, self.config.tracks)
    }

    fn call<'t, T: Float>(&self, step: Step<'_, 't, T>, input: &SignalInput<'t, T>) -> PeakOutput<'t, T> {
        let [stretches, _, length] = *input.tracks.shape() else { unreachable!("tracks have three axes") };
        let mut x = self.entry.forward(step, input.tracks);
        if let Some(merge) = &self.merge {
            let widths: Vec<_> = self.local.iter().map(|conv| conv.forward(step, x)).collect();
            x = step.tape.concat(&[x, merge.forward(step, step.tape.concat(&widths, 1))], 1);
        }
        let scores = self.network.forward(step, x).reshape([stretches, length]);
        PeakOutput { scores, decisions: self.decision.forward(step, scores), denoised: None }
    }
}
