//! The configuration of a multi-omics VAE.

use gradome_nn::{Activation, Error, Norm, Result};
use serde::{Deserialize, Serialize};

/// How the values of a modality arise from the latent state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Likelihood {
    /// The squared error, which is no density; for comparison with models that use it.
    SquaredError,
    /// Normal with one variance a feature, for values that are not counts.
    Gaussian,
    /// Poisson counts.
    Poisson,
    /// Negative binomial counts with one dispersion a feature: RNA.
    NegativeBinomial,
    /// Negative binomial counts with extra zeros.
    ZeroInflatedNegativeBinomial,
    /// Background and foreground negative binomials: surface proteins (totalVI, Gayoso et al. 2021).
    NegativeBinomialMixture,
    /// Zeros and ones: open or closed chromatin.
    Bernoulli,
}

impl Likelihood {
    /// Every likelihood with the name it has in configurations.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::SquaredError, "squared-error"),
        (Self::Gaussian, "gaussian"),
        (Self::Poisson, "poisson"),
        (Self::NegativeBinomial, "negative-binomial"),
        (Self::ZeroInflatedNegativeBinomial, "zero-inflated-negative-binomial"),
        (Self::NegativeBinomialMixture, "negative-binomial-mixture"),
        (Self::Bernoulli, "bernoulli"),
    ];

    /// The name it has in configurations.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(likelihood, _)| *likelihood == self).map_or("", |(_, name)| name)
    }

    /// Whether values must be whole numbers of 0 or more.
    pub fn counts(self) -> bool {
        matches!(
            self,
            Self::Poisson | Self::NegativeBinomial | Self::ZeroInflatedNegativeBinomial | Self::NegativeBinomialMixture
        )
    }

    /// Whether the mean is a share of the cell's depth.
    pub fn scales_with_depth(self) -> bool {
        matches!(self, Self::Poisson | Self::NegativeBinomial | Self::ZeroInflatedNegativeBinomial)
    }

    /// Whether the depth of a cell (the sum of its values) means anything.
    pub fn has_depth(self) -> bool {
        self.counts() || self == Self::Bernoulli
    }
}

impl std::str::FromStr for Likelihood {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let short = match word {
            "nb" => "negative-binomial",
            "zinb" => "zero-inflated-negative-binomial",
            "nb-mixture" => "negative-binomial-mixture",
            other => other,
        };
        Self::ALL.iter().find(|(_, name)| *name == short).map(|(likelihood, _)| *likelihood).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|(_, name)| *name).collect();
            format!("'{word}' is no likelihood; there are {} (and nb, zinb, nb-mixture for short)", names.join(", "))
        })
    }
}

/// What an encoder sees of a modality's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transform {
    /// The values as they are.
    Identity,
    /// ln(1 + x).
    Log1p,
    /// ln(1 + x target / depth): counts brought to one depth, the median of the training cells.
    LogNormalized,
}

/// How an encoder's inputs are brought to one scale, by the mean and standard deviation of the training cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standardize {
    /// Not at all.
    None,
    /// Minus the mean.
    Centre,
    /// Minus the mean, divided by the standard deviation.
    ZScore,
}

/// A stack of hidden layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MlpConfig {
    /// Widths of the hidden layers; none makes the network linear.
    pub hidden: Vec<usize>,
    /// What normalises each hidden layer.
    pub norm: Norm,
    /// The nonlinearity of each hidden layer.
    pub activation: Activation,
    /// The share of hidden units dropped in training, 0..1.
    pub dropout: f64,
}

impl Default for MlpConfig {
    fn default() -> Self {
        Self { hidden: vec![128], norm: Norm::Batch, activation: Activation::Relu, dropout: 0.3 }
    }
}

/// The weight in training of open chromatin that was measured beside other modalities.
pub const SITES_WEIGHT: f64 = 0.3;

/// One modality of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModalityConfig {
    /// Its name, `rna`.
    pub name: String,
    /// How many features it has.
    pub features: usize,
    /// How its values arise.
    pub likelihood: Likelihood,
    /// What its encoder sees.
    pub transform: Transform,
    /// How the encoder's inputs are scaled.
    pub standardize: Standardize,
    /// Whether the encoder also sees ln(depth).
    pub depth_input: bool,
    /// The encoder's hidden layers.
    pub encoder: MlpConfig,
    /// The decoder's hidden layers.
    pub decoder: MlpConfig,
    /// Whether all features of a Gaussian modality share one variance: with linear networks the model is then
    /// probabilistic principal component analysis (Tipping & Bishop 1999).
    pub shared_variance: bool,
    /// Adds a linear path from the latent state to each head beside the decoder's hidden layers.
    pub linear_skip: bool,
    /// Multiplies this modality's log-likelihood; 1 is the ELBO.
    pub weight: f64,
    /// Augmentation: a training cell's counts are thinned for the encoder with a keep probability drawn from
    /// (1 - thinning)..1; 0 turns it off.
    pub thinning: f64,
    /// The share of an encoder's inputs dropped in training, 0..1.
    pub input_dropout: f64,
}

impl ModalityConfig {
    /// The defaults for a likelihood.
    pub fn new(name: impl Into<String>, features: usize, likelihood: Likelihood) -> Self {
        let decoder = MlpConfig { norm: Norm::None, dropout: 0.4, ..MlpConfig::default() };
        // thousands of sparse sites carry little each: a narrow encoder that sees few of them at a time learns what they
        // share, not the single cell's noise
        let sparse = likelihood == Likelihood::Bernoulli;
        let encoder = if sparse {
            MlpConfig { hidden: vec![32], dropout: 0.5, ..MlpConfig::default() }
        } else {
            MlpConfig::default()
        };
        Self {
            name: name.into(),
            features,
            likelihood,
            transform: match likelihood {
                _ if likelihood.scales_with_depth() => Transform::LogNormalized,
                Likelihood::NegativeBinomialMixture => Transform::Log1p,
                _ => Transform::Identity,
            },
            standardize: if likelihood.has_depth() { Standardize::Centre } else { Standardize::ZScore },
            depth_input: likelihood.has_depth(),
            encoder,
            decoder,
            shared_variance: false,
            linear_skip: false,
            weight: 1.0,
            thinning: if likelihood.has_depth() { 0.8 } else { 0.0 },
            input_dropout: if sparse { 0.6 } else { 0.0 },
        }
    }

    /// The defaults for modalities that were measured in the same cells, each a name, a number of features and a
    /// likelihood.
    ///
    /// Thousands of sparse sites, each with little to say, would outvote the genes: beside other modalities open
    /// chromatin weighs [`SITES_WEIGHT`], and all decoders are linear, which held-out cells of such data prefer.
    pub fn together(modalities: impl IntoIterator<Item = (String, usize, Likelihood)>) -> Vec<Self> {
        let mut all: Vec<Self> =
            modalities.into_iter().map(|(name, features, likelihood)| Self::new(name, features, likelihood)).collect();
        if all.len() > 1 && all.iter().any(|m| m.likelihood == Likelihood::Bernoulli) {
            for modality in &mut all {
                modality.decoder.hidden.clear();
                if modality.likelihood == Likelihood::Bernoulli {
                    modality.weight = SITES_WEIGHT;
                }
            }
        }
        all
    }
}

/// How modalities are weighed against each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModalityWeights {
    /// Each counts as its log-likelihood does: the ELBO.
    #[default]
    Elbo,
    /// Each counts 1 / modalities.
    Equal,
    /// A softmax of learned scores. A barrier `-balance * mean loss * mean(ln(modalities * weight))` keeps every weight
    /// from vanishing: without it (balance 0) the easiest modality takes all.
    Learnable {
        /// The barrier's strength; 1 keeps weights within about the inverse ratio of the losses.
        balance: f64,
    },
}

/// The configuration of a [`MultiOmicsVae`](crate::MultiOmicsVae).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MultiOmicsVaeConfig {
    /// The modalities, in order.
    pub modalities: Vec<ModalityConfig>,
    /// Names of the batches whose effects decoders take out; fewer than two mean no batches.
    pub batches: Vec<String>,
    /// Dimensions of the latent state.
    pub latent_dim: usize,
    /// Whether a standard normal joins the product of experts.
    pub prior_expert: bool,
    /// Added to the joint precision.
    pub precision_epsilon: f64,
    /// Added to an expert's variance.
    pub variance_floor: f64,
    /// Bound of an expert's log variance on both sides.
    pub max_ln_variance: f64,
    /// Added to means and dispersions inside logarithms of count likelihoods; 0 is exact.
    pub count_epsilon: f64,
    /// How modalities are weighed.
    pub modality_weights: ModalityWeights,
    /// Weight of the objective of each single modality beside the joint one; it calibrates the experts (Wu & Goodman
    /// 2018, section 2.3).
    pub single_modality_weight: f64,
    /// Whether the latent state of a single modality decodes every modality or only its own.
    pub cross_reconstruction: bool,
    /// Weight of the Kullback-Leibler term once warmed up; 1 is the ELBO.
    pub kl_weight: f64,
    /// Epochs over which that weight rises from 0.
    pub kl_warmup_epochs: f64,
}

impl Default for MultiOmicsVaeConfig {
    fn default() -> Self {
        Self {
            modalities: Vec::new(),
            batches: Vec::new(),
            latent_dim: 10,
            prior_expert: true,
            precision_epsilon: 0.0,
            variance_floor: 0.0,
            max_ln_variance: 10.0,
            count_epsilon: 0.0,
            modality_weights: ModalityWeights::Elbo,
            single_modality_weight: 1.0,
            cross_reconstruction: true,
            kl_weight: 1.0,
            kl_warmup_epochs: 30.0,
        }
    }
}

impl MultiOmicsVaeConfig {
    /// A model of the given modalities with defaults.
    pub fn of(modalities: Vec<ModalityConfig>) -> Self {
        Self { modalities, ..Self::default() }
    }

    /// How many batches decoders distinguish: 0, or 2 and more.
    pub fn batch_count(&self) -> usize {
        if self.batches.len() < 2 { 0 } else { self.batches.len() }
    }

    /// Looks for fields that make no sense.
    ///
    /// # Errors
    /// When there is one; the error names it and says what is expected.
    pub fn validate(&self) -> Result<()> {
        let require = |holds: bool, field: &str, problem: &str| {
            if holds { Ok(()) } else { Err(Error::config(field, problem)) }
        };
        let share = |value: f64| (0.0..1.0).contains(&value);
        let weight = |value: f64| value >= 0.0 && value.is_finite();
        require(!self.modalities.is_empty(), "modalities", "the model needs at least one modality")?;
        require((1..=4096).contains(&self.latent_dim), "latent_dim", "must be in 1..=4096")?;
        require(weight(self.precision_epsilon), "precision_epsilon", "must be 0 or more")?;
        require(weight(self.variance_floor), "variance_floor", "must be 0 or more")?;
        require(weight(self.count_epsilon), "count_epsilon", "must be 0 or more")?;
        require((0.1..=30.0).contains(&self.max_ln_variance), "max_ln_variance", "must be in 0.1..=30")?;
        require(weight(self.single_modality_weight), "single_modality_weight", "must be 0 or more")?;
        require(weight(self.kl_weight), "kl_weight", "must be 0 or more")?;
        require(weight(self.kl_warmup_epochs), "kl_warmup_epochs", "must be 0 or more")?;
        if let ModalityWeights::Learnable { balance } = self.modality_weights {
            require(weight(balance), "modality_weights.balance", "must be 0 or more")?;
        }
        for (i, modality) in self.modalities.iter().enumerate() {
            let field = |name: &str| format!("modalities.{i} ('{}').{name}", modality.name);
            require(!modality.name.is_empty(), &field("name"), "must not be empty")?;
            let twin = self.modalities[..i].iter().any(|m| m.name == modality.name);
            require(!twin, &field("name"), "another modality has this name")?;
            let plain = modality.name.chars().all(|c| c.is_alphanumeric() || "_-".contains(c));
            require(plain, &field("name"), "may hold letters, digits, '_' and '-' only")?;
            require(modality.features > 0, &field("features"), "must be 1 or more")?;
            require(weight(modality.weight), &field("weight"), "must be 0 or more")?;
            require((0.0..=1.0).contains(&modality.thinning), &field("thinning"), "must be in 0..=1")?;
            require(share(modality.input_dropout), &field("input_dropout"), "must be in 0..1")?;
            for (mlp, name) in [(&modality.encoder, "encoder"), (&modality.decoder, "decoder")] {
                require(share(mlp.dropout), &field(&format!("{name}.dropout")), "must be in 0..1")?;
                let widths = mlp.hidden.iter().all(|w| (1..=65_536).contains(w));
                require(widths, &field(&format!("{name}.hidden")), "widths must be in 1..=65536")?;
            }
            let depth = modality.likelihood.has_depth();
            require(
                depth || modality.thinning == 0.0,
                &field("thinning"),
                "only counts and zeros and ones can be thinned",
            )?;
            let normalized = modality.transform == Transform::LogNormalized;
            let gaussian = modality.likelihood == Likelihood::Gaussian;
            require(gaussian || !modality.shared_variance, &field("shared_variance"), "only gaussian values have one")?;
            require(depth || !normalized, &field("transform"), "log-normalized needs counts")?;
            require(depth || !modality.depth_input, &field("depth_input"), "only counts have a depth")?;
        }
        Ok(())
    }
}
