//! How parameters start.

use gradome_tape::{Float, Shape, Tensor};
use rand::RngExt;
use rand_distr::StandardNormal;

use crate::store::Rng;

/// A rule for a parameter's first values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// One value everywhere.
    Constant(f64),
    /// Uniform between minus and plus the bound.
    Uniform(f64),
    /// Normal with mean 0 and the given standard deviation.
    Normal(f64),
    /// Uniform with variance 2 / (inputs + outputs) (Glorot & Bengio 2010, eq. 16).
    XavierUniform,
    /// Normal with variance 2 / (inputs + outputs) (Glorot & Bengio 2010).
    XavierNormal,
    /// Uniform with variance 2 / inputs, for ReLU networks (He et al. 2015, eq. 10).
    KaimingUniform,
    /// Uniform between -1/sqrt(inputs) and 1/sqrt(inputs): the default of PyTorch's linear layers.
    FanIn,
}

impl Init {
    /// Draws the values of a parameter; `inputs` and `outputs` are its fan-in and fan-out.
    pub(crate) fn draw<T: Float>(self, shape: Shape, inputs: usize, outputs: usize, rng: &mut Rng) -> Tensor<T> {
        let (inputs, both) = (inputs.max(1) as f64, (inputs + outputs).max(1) as f64);
        let mut uniform = |bound: f64| Tensor::from_fn(shape, |_| T::of((rng.random::<f64>() * 2.0 - 1.0) * bound));
        match self {
            Self::Constant(value) => Tensor::full(shape, T::of(value)),
            Self::Uniform(bound) => uniform(bound),
            Self::XavierUniform => uniform((6.0 / both).sqrt()),
            Self::KaimingUniform => uniform((6.0 / inputs).sqrt()),
            Self::FanIn => uniform((1.0 / inputs).sqrt()),
            Self::Normal(sd) => normal(shape, sd, rng),
            Self::XavierNormal => normal(shape, (2.0 / both).sqrt(), rng),
        }
    }
}

fn normal<T: Float>(shape: Shape, sd: f64, rng: &mut Rng) -> Tensor<T> {
    Tensor::from_fn(shape, |_| T::of(sd * rng.sample::<f64, _>(StandardNormal)))
}
