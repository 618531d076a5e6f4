//! From a latent state to the distribution of a modality's values.

use gradome_nn::distributions::{
    Bernoulli, NegativeBinomial, NegativeBinomialMixture, Normal, Poisson, ZeroInflatedNegativeBinomial,
};
use gradome_nn::{Init, Linear, ParamId, Rng, Scope, Step};
use gradome_tape::{Float, Shape, Tensor, Var};

use crate::config::{Likelihood, ModalityConfig};
use crate::network::Mlp;

/// Bounds of the log mean of a protein's background, so that no early step can overflow.
const BACKGROUND_BOUNDS: (f64, f64) = (-8.0, 12.0);

/// The decoder of one modality.
pub(crate) struct Decoder {
    likelihood: Likelihood,
    trunk: Mlp,
    heads: Vec<Linear>,
    /// Linear paths from the latent state to each head.
    skips: Vec<ParamId>,
    /// ln dispersion of counts, ln standard deviation of Gaussian values in units of their scale.
    ln_spread: Option<ParamId>,
    /// Mean and standard deviation of Gaussian features, in whose units the head works.
    units: Option<(ParamId, ParamId)>,
    /// How the log-odds of open chromatin rise with the log depth of a cell.
    depth_slope: Option<ParamId>,
    epsilon: f64,
}

/// The names of a likelihood's heads; the first one is the mean's.
fn head_names(likelihood: Likelihood) -> &'static [&'static str] {
    match likelihood {
        Likelihood::SquaredError | Likelihood::Gaussian => &["mean"],
        Likelihood::Poisson | Likelihood::NegativeBinomial => &["scale"],
        Likelihood::ZeroInflatedNegativeBinomial => &["scale", "dropout"],
        Likelihood::NegativeBinomialMixture => &["background", "foreground", "mixing"],
        Likelihood::Bernoulli => &["logits"],
    }
}

impl Decoder {
    pub fn new<T: Float>(scope: &mut Scope<'_, T>, inputs: usize, modality: &ModalityConfig, epsilon: f64) -> Self {
        let likelihood = modality.likelihood;
        let trunk = Mlp::new(&mut scope.scope("hidden"), inputs, &modality.decoder);
        let names = head_names(likelihood);
        let heads =
            names.iter().map(|name| Linear::new(&mut scope.scope(name), trunk.outputs, modality.features)).collect();
        let skips = if modality.linear_skip {
            let shape = [inputs, modality.features];
            names.iter().map(|name| scope.scope(name).parameter("skip", shape, Init::Constant(0.0))).collect()
        } else {
            Vec::new()
        };
        let spread_name = match likelihood {
            Likelihood::NegativeBinomial
            | Likelihood::ZeroInflatedNegativeBinomial
            | Likelihood::NegativeBinomialMixture => Some("ln_dispersion"),
            Likelihood::Gaussian => Some("ln_sd"),
            _ => None,
        };
        let spreads = if modality.shared_variance { 1 } else { modality.features };
        let ln_spread = spread_name.map(|name| scope.parameter(name, [spreads], Init::Constant(0.0)));
        let depth_slope =
            (likelihood == Likelihood::Bernoulli).then(|| scope.parameter("depth_slope", [1], Init::Constant(1.0)));
        let units = (likelihood == Likelihood::Gaussian).then(|| {
            let shape = Shape::new(&[modality.features]);
            let location = scope.constant("location", Tensor::zeros(shape));
            (location, scope.constant("scale", Tensor::full(shape, T::ONE)))
        });
        Self { likelihood, trunk, heads, skips, ln_spread, units, depth_slope, epsilon }
    }

    /// The bias of a head, by its place in [`head_names`].
    pub fn bias(&self, head: usize) -> ParamId {
        self.heads[head].bias
    }

    /// Where the mean and the standard deviation of Gaussian features are kept.
    pub fn units(&self) -> Option<(ParamId, ParamId)> {
        self.units
    }

    /// The distribution of the values of cells with latent states `z` `[cells, inputs]` and log depths `[cells, 1]`
    /// relative to the usual depth `ln_usual_depth`.
    pub fn forward<'t, T: Float>(
        &self,
        step: Step<'_, 't, T>,
        z: Var<'t, T>,
        ln_depth: Var<'t, T>,
        ln_usual_depth: Var<'t, T>,
    ) -> Decoded<'t, T> {
        let hidden = self.trunk.forward(step, z);
        let head = |i: usize| {
            let y = self.heads[i].forward(step, hidden);
            self.skips.get(i).map_or(y, |&skip| y + z.matmul(step.param(skip)))
        };
        let negative_binomial = |ln_mean| NegativeBinomial {
            ln_mean,
            ln_dispersion: step.param(self.ln_spread.expect("count likelihoods have a dispersion")),
            epsilon: self.epsilon,
        };
        match self.likelihood {
            Likelihood::SquaredError => Decoded::SquaredError(head(0)),
            Likelihood::Gaussian => {
                let (location, scale) = self.units.expect("a Gaussian has units");
                let (location, scale) = (step.param(location), step.param(scale));
                let ln_sd = step.param(self.ln_spread.expect("a Gaussian has a spread"));
                Decoded::Gaussian(Normal::new(head(0) * scale + location, (ln_sd + scale.ln()) * 2.0))
            }
            Likelihood::Poisson => {
                let ln_share = head(0).log_softmax();
                Decoded::Poisson { ln_share, counts: Poisson { ln_mean: ln_share + ln_depth } }
            }
            Likelihood::NegativeBinomial => {
                let ln_share = head(0).log_softmax();
                Decoded::NegativeBinomial { ln_share, counts: negative_binomial(ln_share + ln_depth) }
            }
            Likelihood::ZeroInflatedNegativeBinomial => {
                let ln_share = head(0).log_softmax();
                let counts = negative_binomial(ln_share + ln_depth);
                let counts = ZeroInflatedNegativeBinomial { counts, dropout_logits: head(1) };
                Decoded::ZeroInflatedNegativeBinomial { ln_share, counts }
            }
            Likelihood::NegativeBinomialMixture => {
                let background = head(0).clamp(BACKGROUND_BOUNDS.0, BACKGROUND_BOUNDS.1);
                // the foreground lies above the background by a factor of 1 + softplus
                let ln_mean_foreground = background + head(1).softplus().ln_1p();
                Decoded::Mixture(NegativeBinomialMixture {
                    background: negative_binomial(background),
                    ln_mean_foreground,
                    background_logits: head(2),
                })
            }
            Likelihood::Bernoulli => {
                let at_usual_depth = head(0);
                let slope = step.param(self.depth_slope.expect("chromatin has a depth slope"));
                let logits = at_usual_depth + slope * (ln_depth - ln_usual_depth);
                Decoded::Bernoulli { at_usual_depth, values: Bernoulli { logits } }
            }
        }
    }
}

/// The distribution of a modality's values in each cell.
#[derive(Clone, Copy, Debug)]
pub enum Decoded<'t, T: Float> {
    /// Only a mean; its log-probability is minus the squared error.
    SquaredError(Var<'t, T>),
    /// Normal values.
    Gaussian(Normal<'t, T>),
    /// Poisson counts, and the log share of each feature in the depth.
    Poisson {
        /// ln of the share of each feature in a cell's depth.
        ln_share: Var<'t, T>,
        /// The counts.
        counts: Poisson<'t, T>,
    },
    /// Negative binomial counts.
    NegativeBinomial {
        /// ln of the share of each feature in a cell's depth.
        ln_share: Var<'t, T>,
        /// The counts.
        counts: NegativeBinomial<'t, T>,
    },
    /// Counts with extra zeros.
    ZeroInflatedNegativeBinomial {
        /// ln of the share of each feature in a cell's depth.
        ln_share: Var<'t, T>,
        /// The counts.
        counts: ZeroInflatedNegativeBinomial<'t, T>,
    },
    /// Background and foreground of proteins.
    Mixture(NegativeBinomialMixture<'t, T>),
    /// Open or closed chromatin.
    Bernoulli {
        /// The log-odds in a cell of the usual depth.
        at_usual_depth: Var<'t, T>,
        /// The values.
        values: Bernoulli<'t, T>,
    },
}

/// Normalised counts add up to this in each cell.
pub const NORMALIZED_DEPTH: f64 = 1e4;

impl<'t, T: Float> Decoded<'t, T> {
    /// ln p of the values `[cells, features]`, element by element.
    pub fn log_prob(self, x: Var<'t, T>) -> Var<'t, T> {
        match self {
            Self::SquaredError(mean) => -(x - mean).square(),
            Self::Gaussian(values) => values.log_prob(x),
            Self::Poisson { counts, .. } => counts.log_prob(x),
            Self::NegativeBinomial { counts, .. } => counts.log_prob(x),
            Self::ZeroInflatedNegativeBinomial { counts, .. } => counts.log_prob(x),
            Self::Mixture(counts) => counts.log_prob(x),
            Self::Bernoulli { values, .. } => values.log_prob(x),
        }
    }

    /// The expected values `[cells, features]`.
    pub fn mean(self) -> Var<'t, T> {
        match self {
            Self::SquaredError(mean) => mean,
            Self::Gaussian(values) => values.mean,
            Self::Poisson { counts, .. } => counts.ln_mean.exp(),
            Self::NegativeBinomial { counts, .. } => counts.ln_mean.exp(),
            Self::ZeroInflatedNegativeBinomial { counts, .. } => {
                counts.counts.ln_mean.exp() * (1.0 - counts.dropout_logits.sigmoid())
            }
            Self::Mixture(counts) => counts.mean(),
            Self::Bernoulli { values, .. } => values.logits.sigmoid(),
        }
    }

    /// Values that compare between cells [cells, features]: counts per 10,000; the foreground of proteins; the
    /// probability of open chromatin at the usual depth; the mean of other values.
    pub fn normalized(self) -> Var<'t, T> {
        match self {
            Self::Poisson { ln_share, .. }
            | Self::NegativeBinomial { ln_share, .. }
            | Self::ZeroInflatedNegativeBinomial { ln_share, .. } => ln_share.exp() * NORMALIZED_DEPTH,
            Self::Mixture(counts) => counts.ln_mean_foreground.exp() * (1.0 - counts.background_logits.sigmoid()),
            Self::Bernoulli { at_usual_depth, .. } => at_usual_depth.sigmoid(),
            Self::SquaredError(_) | Self::Gaussian(_) => self.mean(),
        }
    }

    /// Values drawn from the distribution `[cells, features]`; the squared error has none and gives its mean.
    pub fn sample(self, rng: &mut Rng) -> Tensor<T> {
        match self {
            Self::SquaredError(mean) => mean.value(),
            Self::Gaussian(values) => {
                let shape = values.mean.shape();
                let noise = Tensor::from_fn(shape, |_| {
                    let noise: f64 = rand::RngExt::sample(rng, rand_distr::StandardNormal);
                    T::of(noise)
                });
                values.sample(values.mean.tape().constant(&noise)).value()
            }
            Self::Poisson { counts, .. } => counts.sample(rng),
            Self::NegativeBinomial { counts, .. } => counts.sample(rng),
            Self::ZeroInflatedNegativeBinomial { counts, .. } => counts.sample(rng),
            Self::Mixture(counts) => counts.sample(rng),
            Self::Bernoulli { values, .. } => values.sample(rng),
        }
    }
}
