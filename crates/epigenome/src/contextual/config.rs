//! The configuration of a contextual model of the epigenome.

use gradome_nn::{Activation, Error, Result};
use serde::{Deserialize, Serialize};

/// What a head predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeadKind {
    /// Zeros and ones, or probabilities; the output is a logit.
    Binary,
    /// One class of several, numbered from 0; the outputs are their logits.
    MultiClass,
    /// A number; the output is its mean.
    Regression,
    /// A count; the output is the logarithm of its Poisson mean.
    Counts,
}

/// Where a head makes its predictions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// At each position.
    Position,
    /// Once a window.
    Window,
}

/// One task of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadConfig {
    /// Its name, `H3K27ac`.
    pub name: String,
    /// What it predicts.
    pub kind: HeadKind,
    /// Where.
    pub level: Level,
    /// How many values: classes of [`HeadKind::MultiClass`], targets of the others. Default 1.
    #[serde(default = "one")]
    pub outputs: usize,
    /// Multiplies its loss. Default 1.
    #[serde(default = "unit")]
    pub weight: f64,
}

fn one() -> usize {
    1
}

fn unit() -> f64 {
    1.0
}

impl HeadConfig {
    /// A head with one output and weight 1.
    pub fn new(name: impl Into<String>, kind: HeadKind, level: Level) -> Self {
        Self { name: name.into(), kind, level, outputs: 1, weight: 1.0 }
    }

    /// Numbers that one prediction is compared with: one class, or a target for each output.
    pub fn targets(&self) -> usize {
        if self.kind == HeadKind::MultiClass { 1 } else { self.outputs }
    }
}

/// How positions learn from each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Encoder {
    /// Self-attention and feed-forward layers (Vaswani et al. 2017), normalised before each part.
    Transformer {
        /// Layers; 0 leaves each position alone.
        layers: usize,
        /// Heads of the attention; they divide `hidden_dim`.
        heads: usize,
        /// Hidden features of the feed-forward parts.
        feed_forward: usize,
        /// Each position sees only those this near, in positions: work and memory are then linear in the length.
        /// Absent: it sees all.
        #[serde(default)]
        window: Option<usize>,
        /// Positions outside of the mask attend to the whole window evenly, as in DiffBio 0.1; otherwise to what is
        /// inside. Nothing inside ever sees them. Default false.
        #[serde(default)]
        even_padding: bool,
    },
    /// Residual dilated convolutions (Yu & Koltun 2016; Kelley 2020): work and memory linear in the length.
    Convolution {
        /// Layers; 0 leaves each position alone.
        layers: usize,
        /// Taps of a kernel, odd.
        kernel: usize,
        /// The dilation of layer i is this to the power of i, held to `max_dilation`. 1 dilates nothing.
        growth: usize,
        /// The largest dilation, in positions.
        max_dilation: usize,
    },
}

/// How the model knows where in a window a position stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Positions {
    /// It does not; convolutions and local attention need no more.
    #[default]
    None,
    /// Sines and cosines of fixed wavelengths are added (Vaswani et al. 2017, section 3.5).
    Sinusoidal,
    /// A learned table of `max_length` rows, which starts as the sines and cosines, is added.
    Learned,
    /// Queries and keys are turned by angles that grow with the position (Su et al. 2021).
    Rotary,
}

/// What the model makes of the two strands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strands {
    /// The forward strand as it is.
    #[default]
    Forward,
    /// In training half of the windows are replaced by their reverse complements.
    Augment,
    /// The mean of both strands' embeddings: the output of a reverse complement is the output in reverse, exactly.
    Average,
}

/// How the positions of a window become one vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// Their mean.
    #[default]
    Mean,
    /// A learned softmax over positions for each feature, which starts near a maximum (Avsec et al. 2021, attention
    /// pooling).
    Attention,
}

/// How embeddings are compared with chromatin contacts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContactMap {
    /// sigmoid(a cos + b) with learned a and b, which reaches any probability of contact.
    #[default]
    Scaled,
    /// sigmoid(cos), which stays within .27 and .73: DiffBio 0.1.
    Cosine,
}

/// The configuration of a [`ContextualEpigenomics`](crate::contextual::ContextualEpigenomics).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContextualEpigenomicsConfig {
    /// Whether windows have DNA.
    pub dna: bool,
    /// Names of the signal tracks that the model sees; none is allowed.
    pub tracks: Vec<String>,
    /// Whether the model sees ln(1 + x) of the tracks.
    pub log_tracks: bool,
    /// Features of the context of a window, such as the activity of transcription factors; 0 for none.
    pub context_features: usize,
    /// Names of those features, to find them by in other files; none is allowed.
    pub context_names: Vec<String>,
    /// Weight of the loss that brings similarities of embeddings to chromatin contacts; 0 leaves contacts out.
    pub contact_weight: f64,
    /// How embeddings are compared with contacts.
    pub contact_map: ContactMap,
    /// Base pairs of DNA in one position: the maximum of the DNA's features over them goes on. Default 1.
    pub bin_size: usize,
    /// Base pairs that the first convolution of DNA sees, odd; above 1 a nonlinearity follows.
    pub dna_kernel: usize,
    /// Positions that the first convolution of tracks sees, odd; above 1 a nonlinearity follows.
    pub track_kernel: usize,
    /// Features of a position.
    pub hidden_dim: usize,
    /// How positions learn from each other.
    pub encoder: Encoder,
    /// How the model knows where a position stands.
    pub positions: Positions,
    /// The longest window of [`Positions::Learned`], in positions.
    pub max_length: usize,
    /// The nonlinearity.
    pub activation: Activation,
    /// The share of features dropped in training, 0..1; attention weights too.
    pub dropout: f64,
    /// What the model makes of the two strands.
    pub strands: Strands,
    /// How the positions of a window become one vector.
    pub pooling: Pooling,
    /// The tasks.
    pub heads: Vec<HeadConfig>,
    /// Whether the tasks are weighed by their learned noise (Kendall, Gal & Cipolla 2018).
    pub uncertainty_weighting: bool,
}

impl Default for ContextualEpigenomicsConfig {
    fn default() -> Self {
        Self {
            dna: true,
            tracks: Vec::new(),
            log_tracks: false,
            context_features: 0,
            context_names: Vec::new(),
            contact_weight: 0.0,
            contact_map: ContactMap::default(),
            bin_size: 1,
            dna_kernel: 19,
            track_kernel: 1,
            hidden_dim: 64,
            encoder: Encoder::Convolution { layers: 6, kernel: 5, growth: 2, max_dilation: 512 },
            positions: Positions::None,
            max_length: 512,
            activation: Activation::Gelu,
            dropout: 0.1,
            strands: Strands::Average,
            pooling: Pooling::Attention,
            heads: Vec::new(),
            uncertainty_weighting: false,
        }
    }
}

/// The most features, layers and outputs; beyond it a configuration is a mistake.
const MOST: usize = 65_536;

impl ContextualEpigenomicsConfig {
    /// The model of DiffBio 0.1's `ContextualEpigenomicsOperator`: DNA alone, a transformer with a trained table of
    /// positions, one head of `outputs` logits a position, contacts compared with sigmoid(cos).
    pub fn diffbio(context_features: usize, outputs: usize, hidden_dim: usize, encoder: Encoder) -> Self {
        let kind = if outputs == 1 { HeadKind::Binary } else { HeadKind::MultiClass };
        Self {
            context_features,
            contact_map: ContactMap::Cosine,
            dna_kernel: 1,
            hidden_dim,
            encoder,
            positions: Positions::Learned,
            dropout: 0.0,
            strands: Strands::Forward,
            pooling: Pooling::Mean,
            heads: vec![HeadConfig { outputs, ..HeadConfig::new("output", kind, Level::Position) }],
            ..Self::default()
        }
    }

    /// Whether the model sees chromatin contacts.
    pub fn has_contacts(&self) -> bool {
        self.contact_weight > 0.0
    }

    /// Looks for fields that make no sense.
    ///
    /// # Errors
    /// When there is one; the error names it and says what is expected.
    pub fn validate(&self) -> Result<()> {
        let require = |holds: bool, field: &str, problem: &str| {
            if holds { Ok(()) } else { Err(Error::config(field, problem)) }
        };
        let size = |value: usize| (1..=MOST).contains(&value);
        let weight = |value: f64| value >= 0.0 && value.is_finite();
        require(self.dna || !self.tracks.is_empty(), "tracks", "the model needs DNA, tracks or both")?;
        for (i, name) in self.tracks.iter().enumerate() {
            require(!name.is_empty(), &format!("tracks.{i}"), "must have a name")?;
            require(!self.tracks[..i].contains(name), &format!("tracks.{i}"), "another track has this name")?;
        }
        require(self.context_features <= MOST, "context_features", "must be at most 65536")?;
        let named = self.context_names.is_empty() || self.context_names.len() == self.context_features;
        require(named, "context_names", "must be as many as context_features, or none")?;
        require(weight(self.contact_weight), "contact_weight", "must be 0 or more")?;
        require(size(self.bin_size), "bin_size", "must be in 1..=65536 base pairs")?;
        for (field, kernel) in [("dna_kernel", self.dna_kernel), ("track_kernel", self.track_kernel)] {
            require(size(kernel) && kernel % 2 == 1, field, "must be odd, in 1..=65535")?;
        }
        require(size(self.hidden_dim), "hidden_dim", "must be in 1..=65536")?;
        require((0.0..1.0).contains(&self.dropout), "dropout", "must be in 0..1")?;
        require(size(self.max_length), "max_length", "must be in 1..=65536")?;
        let table = matches!(self.positions, Positions::Sinusoidal | Positions::Learned);
        require(!table || self.hidden_dim.is_multiple_of(2), "hidden_dim", "must be even for sines and cosines")?;
        match &self.encoder {
            Encoder::Transformer { layers, heads, feed_forward, .. } => {
                require(*layers <= 1000, "encoder.layers", "must be at most 1000")?;
                require(size(*feed_forward), "encoder.feed_forward", "must be in 1..=65536")?;
                let divides = *heads > 0 && self.hidden_dim.is_multiple_of(*heads);
                require(divides, "encoder.heads", "must divide hidden_dim")?;
                let even = (self.hidden_dim / heads).is_multiple_of(2);
                require(
                    even || self.positions != Positions::Rotary,
                    "encoder.heads",
                    "rotary positions need an even number of features a head",
                )?;
            }
            Encoder::Convolution { layers, kernel, growth, max_dilation } => {
                require(*layers <= 1000, "encoder.layers", "must be at most 1000")?;
                require(size(*kernel) && kernel % 2 == 1, "encoder.kernel", "must be odd, in 1..=65535")?;
                require(size(*growth), "encoder.growth", "must be in 1..=65536")?;
                require(size(*max_dilation), "encoder.max_dilation", "must be in 1..=65536")?;
                require(self.positions != Positions::Rotary, "positions", "rotary ones belong to a transformer")?;
            }
        }
        require(!self.heads.is_empty(), "heads", "the model needs at least one task")?;
        for (i, head) in self.heads.iter().enumerate() {
            let field = |name: &str| format!("heads.{i} ('{}').{name}", head.name);
            let plain = head.name.chars().all(|c| c.is_alphanumeric() || "_-".contains(c)) && !head.name.is_empty();
            require(plain, &field("name"), "may hold letters, digits, '_' and '-' only, at least one")?;
            let twin = self.heads[..i].iter().any(|other| other.name == head.name);
            require(!twin, &field("name"), "another head has this name")?;
            let least = if head.kind == HeadKind::MultiClass { 2 } else { 1 };
            require((least..=MOST).contains(&head.outputs), &field("outputs"), "1 or more values, 2 or more classes")?;
            require(weight(head.weight), &field("weight"), "must be 0 or more")?;
        }
        Ok(())
    }
}
