//! Multi-head attention and the encoder layer of a transformer.

use gradome_tape::check::Outcome;
use gradome_tape::{AttentionOptions, Float, Var};
use rand::RngExt;

use super::{Activation, Dropout, LayerNorm, Linear, rotary, waves};
use crate::check::check_step;
use crate::init::Init;
use crate::store::{ParamStore, Scope, Step};

/// The size of a multi-head attention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionSize {
    /// Features of queries, of keys and values, and of the result.
    pub features: usize,
    /// Heads among which the features are divided.
    pub heads: usize,
    /// The share of weights dropped in training, in 0..1.
    pub dropout: f64,
    /// Whether queries and keys get rotary positions (Su et al. 2021).
    pub rotary: bool,
}

impl AttentionSize {
    /// Without dropout or positions.
    pub fn new(features: usize, heads: usize) -> Self {
        Self { features, heads, dropout: 0.0, rotary: false }
    }
}

/// Attention of several heads between linear maps (Vaswani et al. 2017, section 3.2.2).
///
/// PyTorch: `nn.MultiheadAttention(.., batch_first=True)`, whose `in_proj` holds the transposes of the weights of
/// `query`, `key` and `value` below each other. Starts as there: Xavier-uniform with biases of zero.
#[derive(Clone, Debug)]
pub struct MultiHeadAttention {
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    size: AttentionSize,
}

impl MultiHeadAttention {
    /// Adds the four maps `query`, `key`, `value` and `out`, each `[features, features]`.
    ///
    /// # Panics
    /// When the features are not a multiple of the heads.
    pub fn new<T: Float>(scope: &mut Scope<'_, T>, size: AttentionSize) -> Self {
        let AttentionSize { features, heads, .. } = size;
        assert!(heads > 0 && features % heads == 0, "multi-head attention: {features} features among {heads} heads");
        // one matrix of [features, 3 features] as far as Xavier's rule is concerned
        let projection = Init::Uniform((6.0 / (4 * features) as f64).sqrt());
        let mut linear =
            |name: &str, init| Linear::with_init(&mut scope.scope(name), features, features, init, Init::Constant(0.0));
        Self {
            query: linear("query", projection),
            key: linear("key", projection),
            value: linear("value", projection),
            out: linear("out", Init::FanIn),
            size,
        }
    }

    /// Attention of `x`, `[batch, n, features]`, to itself; the same shape.
    ///
    /// # Panics
    /// When the shapes or options do not fit.
    pub fn forward<'t, T: Float>(
        &self,
        step: Step<'_, 't, T>,
        x: Var<'t, T>,
        options: AttentionOptions<'t, T>,
    ) -> Var<'t, T> {
        self.cross(step, x, x, options)
    }

    /// Attention of `x`, `[batch, n, features]`, to `memory`, `[batch, m, features]`; the shape of `x`.
    ///
    /// A bias in the options broadcasts to `[batch, heads, n, m]`. In training the layer's own dropout replaces that of
    /// the options, with a seed from the step's generator.
    ///
    /// # Panics
    /// When the shapes or options do not fit.
    pub fn cross<'t, T: Float>(
        &self,
        step: Step<'_, 't, T>,
        x: Var<'t, T>,
        memory: Var<'t, T>,
        mut options: AttentionOptions<'t, T>,
    ) -> Var<'t, T> {
        let AttentionSize { features, heads, .. } = self.size;
        let split = |x: Var<'t, T>| {
            let shape = x.shape();
            x.reshape([shape[0], shape[1], heads, features / heads]).permute(&[0, 2, 1, 3])
        };
        let [q, k, v] =
            [(&self.query, x), (&self.key, memory), (&self.value, memory)].map(|(map, x)| split(map.forward(step, x)));
        let (q, k) = if self.size.rotary { (rotary(q), rotary(k)) } else { (q, k) };
        if step.training() && self.size.dropout > 0.0 {
            options.dropout = Some((self.size.dropout, step.with_rng(|rng| rng.random())));
        }
        let joined = q.attention(k, v, options).permute(&[0, 2, 1, 3]).reshape(x.shape());
        self.out.forward(step, joined)
    }
}

/// A layer of a transformer's encoder, normalised before each part (Vaswani et al. 2017; Xiong et al. 2020):
/// x + attention(norm(x)), then x + feed-forward(norm(x)).
///
/// PyTorch: `nn.TransformerEncoderLayer(.., batch_first=True, norm_first=True)`.
#[derive(Clone, Debug)]
pub struct TransformerEncoderLayer {
    attention: MultiHeadAttention,
    norm_attention: LayerNorm,
    norm_feed_forward: LayerNorm,
    widen: Linear,
    narrow: Linear,
    activation: Activation,
    dropout: Dropout,
}

impl TransformerEncoderLayer {
    /// Adds the attention, two norms and a feed-forward part of `hidden` features. The attention's share of dropout
    /// also holds for the results of both parts and for the hidden features.
    ///
    /// # Panics
    /// When the features are not a multiple of the heads.
    pub fn new<T: Float>(scope: &mut Scope<'_, T>, size: AttentionSize, hidden: usize, activation: Activation) -> Self {
        Self {
            attention: MultiHeadAttention::new(&mut scope.scope("attention"), size),
            norm_attention: LayerNorm::new(&mut scope.scope("norm_attention"), size.features, 1e-5),
            norm_feed_forward: LayerNorm::new(&mut scope.scope("norm_feed_forward"), size.features, 1e-5),
            widen: Linear::new(&mut scope.scope("widen"), size.features, hidden),
            narrow: Linear::new(&mut scope.scope("narrow"), hidden, size.features),
            activation,
            dropout: Dropout { rate: size.dropout },
        }
    }

    /// `[batch, n, features]` to the same shape.
    ///
    /// # Panics
    /// When the shapes or options do not fit.
    pub fn forward<'t, T: Float>(
        &self,
        step: Step<'_, 't, T>,
        x: Var<'t, T>,
        options: AttentionOptions<'t, T>,
    ) -> Var<'t, T> {
        let attended = self.attention.forward(step, self.norm_attention.forward(step, x), options);
        let x = x + self.dropout.forward(step, attended);
        let hidden = self.activation.apply(self.widen.forward(step, self.norm_feed_forward.forward(step, x)));
        x + self.dropout.forward(step, self.narrow.forward(step, self.dropout.forward(step, hidden)))
    }
}

pub(super) fn check_attention() -> Outcome {
    let mut outcome = Outcome::new("multi-head-attention-layer");
    for rotary in [false, true] {
        let mut store = ParamStore::new(1);
        let size = AttentionSize { rotary, dropout: 0.2, ..AttentionSize::new(4, 2) };
        let layer = MultiHeadAttention::new(&mut store.scope("layer"), size);
        let inputs = [("x", waves([2, 3, 4], 0.1)), ("memory", waves([2, 5, 4], 0.5)), ("bias", waves([2, 3, 5], 0.9))];
        check_step(&mut outcome, "cross, padded, with a bias", &store, &inputs, true, |step, v| {
            let options = AttentionOptions { bias: Some(v[2]), lengths: Some(vec![5, 2]), ..Default::default() };
            layer.cross(step, v[0], v[1], options)
        });
        check_step(&mut outcome, "to itself, causal", &store, &inputs[..1], false, |step, v| {
            layer.forward(step, v[0], AttentionOptions { causal: true, ..Default::default() })
        });
    }
    outcome
}

pub(super) fn check_transformer() -> Outcome {
    let mut outcome = Outcome::new("transformer-encoder-layer");
    for training in [true, false] {
        let mut store = ParamStore::new(1);
        let size = AttentionSize { dropout: 0.2, ..AttentionSize::new(4, 2) };
        let layer = TransformerEncoderLayer::new(&mut store.scope("layer"), size, 6, Activation::Gelu);
        let case = if training { "training" } else { "evaluation" };
        check_step(&mut outcome, case, &store, &[("x", waves([2, 3, 4], 0.1))], training, |step, v| {
            layer.forward(step, v[0], AttentionOptions { window: Some(1), ..Default::default() })
        });
    }
    outcome
}
