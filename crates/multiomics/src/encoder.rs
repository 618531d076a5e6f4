//! From a modality's values to its expert: a normal distribution over the latent state.

use gradome_nn::distributions::Normal;
use gradome_nn::{Dropout, Linear, ParamId, Rng, Scope, Step};
use gradome_tape::{Float, Shape, Tensor, Var};
use rand::RngExt;
use rand_distr::{Binomial, Distribution};

use crate::config::{Likelihood, ModalityConfig, MultiOmicsVaeConfig, Transform};
use crate::network::Mlp;
use crate::vae::ModalityInput;

/// The encoder of one modality.
pub(crate) struct Encoder {
    likelihood: Likelihood,
    transform: Transform,
    depth_input: bool,
    thinning: f64,
    input_dropout: Dropout,
    max_ln_variance: f64,
    variance_floor: f64,
    /// The depth that is usual: the median of the training cells.
    pub usual_depth: ParamId,
    /// Taken off the transformed values, `[features]`.
    pub offset: ParamId,
    /// Multiplies them then, `[features]`.
    pub inverse_scale: ParamId,
    hidden: Mlp,
    mean: Linear,
    ln_variance: Linear,
}

impl Encoder {
    pub fn new<T: Float>(scope: &mut Scope<'_, T>, modality: &ModalityConfig, config: &MultiOmicsVaeConfig) -> Self {
        let inputs = modality.features + usize::from(modality.depth_input);
        let hidden = Mlp::new(&mut scope.scope("hidden"), inputs, &modality.encoder);
        let shape = Shape::new(&[modality.features]);
        Self {
            likelihood: modality.likelihood,
            transform: modality.transform,
            depth_input: modality.depth_input,
            thinning: modality.thinning,
            input_dropout: Dropout { rate: modality.input_dropout },
            max_ln_variance: config.max_ln_variance,
            variance_floor: config.variance_floor,
            usual_depth: scope.constant("usual_depth", Tensor::full([1], T::ONE)),
            offset: scope.constant("offset", Tensor::zeros(shape)),
            inverse_scale: scope.constant("inverse_scale", Tensor::full(shape, T::ONE)),
            mean: Linear::new(&mut scope.scope("mean"), hidden.outputs, config.latent_dim),
            ln_variance: Linear::new(&mut scope.scope("ln_variance"), hidden.outputs, config.latent_dim),
            hidden,
        }
    }

    /// What the encoder sees before scaling, `[cells, features]`.
    pub fn transformed<'t, T: Float>(&self, values: Var<'t, T>, depth: Var<'t, T>, usual: Var<'t, T>) -> Var<'t, T> {
        match self.transform {
            Transform::Identity => values,
            Transform::Log1p => values.ln_1p(),
            Transform::LogNormalized => (values * (usual / depth)).ln_1p(),
        }
    }

    /// The expert of this modality for every cell.
    pub fn forward<'t, T: Float>(&self, step: Step<'_, 't, T>, input: &ModalityInput<'t, T>) -> Normal<'t, T> {
        let (values, depth) = if step.training() && self.thinning > 0.0 {
            let values = step.with_rng(|rng| self.thinned(&input.values.value(), rng));
            let depth = depths(&values);
            (step.tape.constant(&values), step.tape.constant(&depth))
        } else {
            (input.values, input.depth)
        };
        let usual = step.param(self.usual_depth);
        let mut x = self.transformed(values, depth, usual);
        x = (x - step.param(self.offset)) * step.param(self.inverse_scale);
        if let Some(measured) = input.measured {
            x = x * measured;
        }
        x = self.input_dropout.forward(step, x);
        if self.depth_input {
            x = step.tape.concat(&[x, (depth / usual).ln()], 1);
        }
        let hidden = self.hidden.forward(step, x);
        let bound = self.max_ln_variance;
        let mut ln_variance = self.ln_variance.forward(step, hidden).clamp(-bound, bound);
        if self.variance_floor > 0.0 {
            ln_variance = (ln_variance.exp() + self.variance_floor).ln();
        }
        Normal::new(self.mean.forward(step, hidden), ln_variance)
    }

    /// Each cell's values with a random share of the reads (or of the open sites) left out.
    fn thinned<T: Float>(&self, values: &Tensor<T>, rng: &mut Rng) -> Tensor<T> {
        let features = values.shape().last_size();
        let mut thin = values.clone();
        for row in thin.data_mut().chunks_exact_mut(features.max(1)) {
            let keep = 1.0 - self.thinning * rng.random::<f64>();
            for value in row.iter_mut().filter(|v| **v != T::ZERO) {
                *value = T::of(thin_count(value.to_f64(), keep, self.likelihood, rng));
            }
        }
        thin
    }
}

/// Below this many reads each is kept or left out by a draw of its own.
const DRAW_SINGLY: f64 = 16.0;

fn thin_count(value: f64, keep: f64, likelihood: Likelihood, rng: &mut Rng) -> f64 {
    if likelihood == Likelihood::Bernoulli {
        return if rng.random::<f64>() < keep { value } else { 0.0 };
    }
    if value < DRAW_SINGLY {
        return (0..value as u32).filter(|_| rng.random::<f64>() < keep).count() as f64;
    }
    // a probability outside of 0..=1 cannot arise: 1 - thinning * u with both in 0..=1
    Binomial::new(value as u64, keep).map_or(value, |draw| draw.sample(rng) as f64)
}

/// The sum of each row `[cells, 1]`, at least 1 so that cells without reads stay defined.
pub(crate) fn depths<T: Float>(values: &Tensor<T>) -> Tensor<T> {
    let features = values.shape().last_size();
    let cells = values.shape()[0];
    let row = |cell: usize| &values.data()[cell * features..(cell + 1) * features];
    Tensor::from_fn([cells, 1], |cell| {
        let depth: f64 = row(cell).iter().map(|v| v.to_f64()).sum();
        T::of(depth.max(1.0))
    })
}
