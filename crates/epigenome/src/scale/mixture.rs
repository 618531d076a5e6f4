//! A mixture of normal distributions as the prior of a latent state.

use gradome_nn::distributions::Normal;
use gradome_nn::{Init, ParamId, Scope, Step};
use gradome_tape::{Float, Tape, Tensor, Var};

/// ln(2 pi).
const LN_TWO_PI: f64 = 1.837_877_066_409_345_3;

/// A mixture of normal distributions with diagonal covariances.
#[derive(Clone, Copy)]
pub struct Mixture<'t, T: Float> {
    /// `[components]` weights.
    pub weights: Var<'t, T>,
    /// `[dimensions, components]` means.
    pub means: Var<'t, T>,
    /// `[dimensions, components]` variances.
    pub variances: Var<'t, T>,
}

/// The parameters of a mixture: weights and variances are what they must be by construction.
pub(crate) struct MixtureParameters {
    /// `[components]` scores of the weights.
    pub weight_scores: ParamId,
    /// `[dimensions, components]`
    pub means: ParamId,
    /// `[dimensions, components]`
    pub ln_variances: ParamId,
}

impl MixtureParameters {
    pub fn new<T: Float>(scope: &mut Scope<'_, T>, dimensions: usize, components: usize) -> Self {
        let shape = [dimensions, components];
        Self {
            weight_scores: scope.parameter("weight_scores", [components], Init::Constant(0.0)),
            // apart from each other, or they would learn the same
            means: scope.parameter("means", shape, Init::Normal(1.0)),
            ln_variances: scope.parameter("ln_variances", shape, Init::Constant(0.0)),
        }
    }

    pub fn mixture<'t, T: Float>(&self, step: Step<'_, 't, T>) -> Mixture<'t, T> {
        Mixture {
            weights: step.param(self.weight_scores).softmax(),
            means: step.param(self.means),
            variances: step.param(self.ln_variances).exp(),
        }
    }
}

/// Small numbers that the reference adds; all 0 in the exact form.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MixtureEpsilons {
    /// Added to each component's weighted density.
    pub density: f64,
    /// Added to variances where densities are computed.
    pub density_variance: f64,
    /// Added to variances in the divergence.
    pub divergence_variance: f64,
}

impl MixtureEpsilons {
    /// Those of SCALE's code.
    pub const SCALE: Self = Self { density: 1e-10, density_variance: 1e-8, divergence_variance: 2e-8 };
}

impl<'t, T: Float> Mixture<'t, T> {
    /// One component: the standard normal distribution.
    pub fn standard(tape: &'t Tape<T>, dimensions: usize) -> Self {
        let constant = |shape: &[usize], value| tape.constant(&Tensor::full(shape, value));
        Self {
            weights: constant(&[1], T::ONE),
            means: constant(&[dimensions, 1], T::ZERO),
            variances: constant(&[dimensions, 1], T::ONE),
        }
    }

    /// The probability of each component given latent states `[cells, dimensions]`: `[cells, components]`.
    ///
    /// Densities are compared as logarithms, so that states far from every component still have one that is nearest.
    pub fn responsibilities(&self, states: Var<'t, T>, epsilons: MixtureEpsilons) -> Var<'t, T> {
        let [cells, dimensions] = *states.shape() else { panic!("mixture: states of shape {}", states.shape()) };
        let variances = self.variances + epsilons.density_variance;
        let off = states.reshape([cells, dimensions, 1]) - self.means;
        let ln_p = (off.square() / variances + variances.ln() + LN_TWO_PI).sum_axis(1) * -0.5 + self.weights.ln();
        if epsilons.density == 0.0 {
            return ln_p.softmax();
        }
        // ln(p + epsilon) = ln epsilon + softplus(ln p - ln epsilon)
        let floor = epsilons.density.ln();
        ((ln_p - floor).softplus() + floor).softmax()
    }

    /// The divergence of a posterior over states and components from the mixture, for each cell, in nats `[cells]`.
    ///
    /// Jiang et al. 2017 (VaDE), eq. 12, without the reconstruction; `responsibilities` is `[cells, components]`.
    pub fn divergence(
        &self,
        posterior: Normal<'t, T>,
        responsibilities: Var<'t, T>,
        epsilons: MixtureEpsilons,
    ) -> Var<'t, T> {
        let [cells, dimensions] = *posterior.mean.shape() else { panic!("mixture: a posterior has two axes") };
        let wide = |x: Var<'t, T>| x.reshape([cells, dimensions, 1]);
        let variances = self.variances + epsilons.divergence_variance;
        let off = wide(posterior.mean) - self.means;
        let expected = (wide(posterior.ln_variance.exp()) + off.square()) / variances + variances.ln() + LN_TWO_PI;
        let cross = (responsibilities * expected.sum_axis(1)).sum_axis(1) * 0.5;
        let entropy = (posterior.ln_variance + (1.0 + LN_TWO_PI)).sum_axis(1) * 0.5;
        let components = (responsibilities * (ln_or_zero(responsibilities) - self.weights.ln())).sum_axis(1);
        cross - entropy + components
    }
}

/// ln x; 0 at 0, where x ln x is 0.
fn ln_or_zero<T: Float>(x: Var<'_, T>) -> Var<'_, T> {
    x.clamp(f64::from(f32::MIN_POSITIVE), f64::INFINITY).ln()
}
