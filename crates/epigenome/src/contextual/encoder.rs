//! From DNA and signals to one vector a position that knows its surroundings.

use gradome_nn::{
    Activation, AttentionSize, Conv1d, ConvConfig, Dropout, Init, LayerNorm, Linear, MultiHeadAttention, ParamId,
    Scope, Step, sinusoidal_positions,
};
use gradome_tape::{AttentionOptions, Float, Pool1d, Tape, Tensor, Var};

use super::config::{ContextualEpigenomicsConfig, Encoder, Positions};

/// Added to variances by every layer norm, as in flax.
const NORM_EPSILON: f64 = 1e-6;

/// What may be masked, as the layers need it.
#[derive(Clone, Copy)]
pub(crate) struct Mask<'t, T: Float> {
    /// `[windows, length]` 1 inside, 0 outside.
    pub inside: Var<'t, T>,
    /// `[windows, 1, 1, length]` what is added to the scores of keys: 0 inside, minus infinity outside.
    pub hidden_keys: Var<'t, T>,
}

impl<'t, T: Float> Mask<'t, T> {
    /// The mask that holds these values.
    pub fn new(tape: &'t Tape<T>, inside: &Tensor<T>) -> Self {
        let shape = inside.shape();
        let hide = |i: usize| if inside.data()[i] == T::ZERO { T::of(f64::NEG_INFINITY) } else { T::ZERO };
        Self {
            inside: tape.constant(inside),
            hidden_keys: tape.constant(&Tensor::from_fn([shape[0], 1, 1, shape[1]], hide)),
        }
    }

    /// `[windows, length, 1]`
    pub fn rows(self) -> Var<'t, T> {
        self.inside.unsqueeze(-1)
    }

    /// The mask of the reverse strand.
    pub fn flip(self) -> Self {
        Self { inside: self.inside.flip(&[1]), hidden_keys: self.hidden_keys.flip(&[3]) }
    }
}

/// The first convolutions, the context and the positions.
pub(crate) struct Stem {
    dna: Option<Conv1d>,
    tracks: Option<Conv1d>,
    /// `[tracks]` what is taken off signals, and what they are multiplied by.
    pub scale: Option<(ParamId, ParamId)>,
    /// Factor and shift of the features by the context.
    context: Option<(Linear, Linear)>,
    table: Option<ParamId>,
    bin_size: usize,
    hidden: usize,
    log_tracks: bool,
    sinusoidal: bool,
    activation: Activation,
    dropout: Dropout,
    /// Whether a nonlinearity follows the first convolution of DNA.
    dna_motifs: bool,
    track_motifs: bool,
}

impl Stem {
    pub fn new<T: Float>(scope: &mut Scope<'_, T>, config: &ContextualEpigenomicsConfig) -> Self {
        let (hidden, tracks, context) = (config.hidden_dim, config.tracks.len(), config.context_features);
        let mut conv = |name: &str, inputs, kernel| {
            Conv1d::new(&mut scope.scope(name), inputs, hidden, kernel, ConvConfig::new().same_padding())
        };
        let dna = config.dna.then(|| conv("dna", 4, config.dna_kernel));
        let track_conv = (tracks > 0).then(|| conv("tracks", tracks, config.track_kernel));
        let scale = (tracks > 0).then(|| {
            let mut scope = scope.scope("track_scale");
            let fill = |value| Tensor::full([tracks], value);
            (scope.constant("centre", fill(T::ZERO)), scope.constant("factor", fill(T::ONE)))
        });
        let context = (context > 0).then(|| {
            let mut linear = |name: &str| Linear::new(&mut scope.scope(name), context, hidden);
            (linear("context_factor"), linear("context_shift"))
        });
        let table = (config.positions == Positions::Learned).then(|| {
            let start = sinusoidal_positions(&Tape::<T>::new(), config.max_length, hidden).value();
            scope.parameter_from("positions", start)
        });
        Self {
            dna,
            tracks: track_conv,
            scale,
            context,
            table,
            bin_size: config.bin_size,
            hidden,
            log_tracks: config.log_tracks,
            sinusoidal: config.positions == Positions::Sinusoidal,
            activation: config.activation,
            dropout: Dropout { rate: config.dropout },
            dna_motifs: config.dna_kernel > 1 || config.bin_size > 1,
            track_motifs: config.track_kernel > 1,
        }
    }

    /// `[windows, length, hidden]` from one-hot DNA `[windows, length * bin_size, 4]`, signals `[windows, length,
    /// tracks]` and context `[windows, features]`.
    pub fn forward<'t, T: Float>(
        &self,
        step: Step<'_, 't, T>,
        dna: Option<Var<'t, T>>,
        tracks: Option<Var<'t, T>>,
        context: Option<Var<'t, T>>,
        mask: Option<Mask<'t, T>>,
    ) -> Var<'t, T> {
        let mut parts = Vec::new();
        if let (Some(conv), Some(dna)) = (&self.dna, dna) {
            let mut dna = dna;
            // with a kernel of 1 nothing outside of the mask is seen from inside
            if let Some(mask) = mask.filter(|_| self.dna_motifs) {
                let shape = mask.inside.shape();
                let bases = mask.rows().broadcast_to([shape[0], shape[1], self.bin_size]);
                dna = dna * bases.reshape([shape[0], shape[1] * self.bin_size, 1]);
            }
            let mut h = conv.forward(step, dna.permute(&[0, 2, 1]));
            if self.dna_motifs {
                h = self.activation.apply(h);
            }
            if self.bin_size > 1 {
                h = h.max_pool1d(Pool1d::new(self.bin_size));
            }
            parts.push(h);
        }
        if let (Some(conv), Some(tracks), Some((centre, factor))) = (&self.tracks, tracks, self.scale) {
            let x = if self.log_tracks { tracks.ln_1p() } else { tracks };
            let mut x = (x - step.param(centre)) * step.param(factor);
            if let Some(mask) = mask {
                x = mask.rows().choose(x, step.tape.scalar(0.0));
            }
            let h = conv.forward(step, x.permute(&[0, 2, 1]));
            parts.push(if self.track_motifs { self.activation.apply(h) } else { h });
        }
        let h = parts.into_iter().reduce(|a, b| a + b).expect("a model has DNA or tracks");
        let mut h = h.permute(&[0, 2, 1]);
        if let (Some((factor, shift)), Some(context)) = (&self.context, context) {
            let rows = |layer: &Linear| layer.forward(step, context).unsqueeze(1);
            h = h * (rows(factor).tanh() + 1.0) + rows(shift);
        }
        let length = h.shape()[1];
        if let Some(table) = self.table {
            h = h + step.param(table).narrow(0, 0, length);
        } else if self.sinusoidal {
            h = h + sinusoidal_positions(step.tape, length, self.hidden);
        }
        self.dropout.forward(step, h)
    }
}

/// Layers in which positions see each other.
pub(crate) enum Layer {
    Attend { attention: MultiHeadAttention, norms: [LayerNorm; 2], widen: Linear, narrow: Linear },
    Convolve { norm: LayerNorm, wide: Conv1d, mix: Conv1d },
}

/// All layers and the last norm.
pub(crate) struct Layers {
    layers: Vec<Layer>,
    norm: LayerNorm,
    window: Option<usize>,
    even_padding: bool,
    activation: Activation,
    dropout: Dropout,
}

impl Layers {
    pub fn new<T: Float>(scope: &mut Scope<'_, T>, config: &ContextualEpigenomicsConfig) -> Self {
        let hidden = config.hidden_dim;
        let mut layers = Vec::new();
        let (mut near, mut even) = (None, false);
        match config.encoder {
            Encoder::Transformer { layers: count, heads, feed_forward, window, even_padding } => {
                (near, even) = (window, even_padding);
                let size = AttentionSize {
                    dropout: config.dropout,
                    rotary: config.positions == Positions::Rotary,
                    ..AttentionSize::new(hidden, heads)
                };
                for i in 0..count {
                    let mut scope = scope.scope(i);
                    let attention = MultiHeadAttention::new(&mut scope.scope("attention"), size);
                    let mut norm = |name: &str| LayerNorm::new(&mut scope.scope(name), hidden, NORM_EPSILON);
                    let norms = [norm("norm_attention"), norm("norm_feed_forward")];
                    let mut linear = |name: &str, inputs, outputs| {
                        let (weight, bias) = (Init::XavierUniform, Init::Constant(0.0));
                        Linear::with_init(&mut scope.scope(name), inputs, outputs, weight, bias)
                    };
                    let (widen, narrow) =
                        (linear("widen", hidden, feed_forward), linear("narrow", feed_forward, hidden));
                    layers.push(Layer::Attend { attention, norms, widen, narrow });
                }
            }
            Encoder::Convolution { layers: count, kernel, growth, max_dilation } => {
                for i in 0..count {
                    let dilation = growth.saturating_pow(i as u32).min(max_dilation);
                    let mut scope = scope.scope(i);
                    let norm = LayerNorm::new(&mut scope.scope("norm"), hidden, NORM_EPSILON);
                    let mut conv = |name: &str, kernel, dilation| {
                        let shape = ConvConfig::new().same_padding().dilation(dilation);
                        Conv1d::new(&mut scope.scope(name), hidden, hidden, kernel, shape)
                    };
                    let (wide, mix) = (conv("wide", kernel, dilation), conv("mix", 1, 1));
                    layers.push(Layer::Convolve { norm, wide, mix });
                }
            }
        }
        Self {
            layers,
            norm: LayerNorm::new(&mut scope.scope("norm"), hidden, NORM_EPSILON),
            window: near,
            even_padding: even,
            activation: config.activation,
            dropout: Dropout { rate: config.dropout },
        }
    }

    /// `[windows, length, hidden]` to the same shape.
    pub fn forward<'t, T: Float>(&self, step: Step<'_, 't, T>, x: Var<'t, T>, mask: Option<Mask<'t, T>>) -> Var<'t, T> {
        let x = self.layers.iter().fold(x, |x, layer| match layer {
            Layer::Attend { attention, norms, widen, narrow } => {
                let seen = norms[0].forward(step, x);
                let options = AttentionOptions {
                    window: self.window,
                    bias: mask.map(|mask| mask.hidden_keys),
                    ..AttentionOptions::default()
                };
                let mut attended = attention.forward(step, seen, options);
                if let Some(mask) = mask.filter(|_| self.even_padding) {
                    // a single key gets all the weight: attention to the mean is even attention to all
                    let mean = seen.mean_axis(1).unsqueeze(1);
                    let even = attention.cross(step, mean, mean, AttentionOptions::default());
                    attended = mask.rows().choose(attended, even);
                }
                let x = x + self.dropout.forward(step, attended);
                let wide = self.activation.apply(widen.forward(step, norms[1].forward(step, x)));
                x + self.dropout.forward(step, narrow.forward(step, self.dropout.forward(step, wide)))
            }
            Layer::Convolve { norm, wide, mix } => {
                let mut seen = norm.forward(step, x);
                if let Some(mask) = mask {
                    seen = seen * mask.rows();
                }
                let h = self.activation.apply(wide.forward(step, seen.permute(&[0, 2, 1])));
                x + self.dropout.forward(step, mix.forward(step, h).permute(&[0, 2, 1]))
            }
        });
        self.norm.forward(step, x)
    }
}
