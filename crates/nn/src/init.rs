//! How parameters start.

use faer::Mat;
use gradome_tape::{Float, Shape, Tensor};
use rand::RngExt;
use rand_distr::StandardNormal;

use crate::store::Rng;

/// A rule for a parameter's first values. The last axis of a parameter is its fan-out, the others are its fan-in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// One value everywhere.
    Constant(f64),
    /// Uniform between minus and plus the bound.
    Uniform(f64),
    /// Normal with mean 0 and the given standard deviation.
    Normal(f64),
    /// Normal with mean 0, values beyond the bound drawn again. PyTorch: `nn.init.trunc_normal_(std=sd, a=-bound,
    /// b=bound)`.
    TruncatedNormal {
        /// The standard deviation before the ends are cut, above 0.
        sd: f64,
        /// No value is further from 0 than this; at least a tenth of `sd`.
        bound: f64,
    },
    /// Uniform with variance 2 / (inputs + outputs) (Glorot & Bengio 2010, eq. 16).
    XavierUniform,
    /// Normal with variance 2 / (inputs + outputs) (Glorot & Bengio 2010).
    XavierNormal,
    /// Uniform with variance 2 / inputs, for ReLU networks (He et al. 2015, eq. 10).
    KaimingUniform,
    /// Normal with variance 2 / inputs, for ReLU networks (He et al. 2015, eq. 10).
    KaimingNormal,
    /// Uniform between -1/sqrt(inputs) and 1/sqrt(inputs): the default of PyTorch's linear layers.
    FanIn,
    /// Variance gain^2 / fan: the family of the four above. PyTorch: `nn.init.kaiming_uniform_` and its siblings with
    /// `mode` and `gain`; JAX: `variance_scaling`.
    Scaled {
        /// sqrt(2) before ReLU, 5/3 before tanh, 1 before a linear layer; PyTorch: `nn.init.calculate_gain`.
        gain: f64,
        /// What the variance is divided by.
        fan: Fan,
        /// The law.
        law: Law,
    },
    /// Orthonormal rows or columns, whichever are fewer, times the gain (Saxe et al. 2014): Q of the QR decomposition of
    /// normal numbers with the signs of R's diagonal, which makes it uniform over such matrices (Mezzadri 2007).
    /// PyTorch: `nn.init.orthogonal_`.
    Orthogonal(f64),
}

/// The number of connections by which [`Init::Scaled`] divides its variance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fan {
    /// Inputs: values keep their size on the way forward.
    In,
    /// Outputs: gradients keep their size on the way back.
    Out,
    /// The mean of both.
    Mean,
}

/// The law from which [`Init::Scaled`] draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// Uniform around 0.
    Uniform,
    /// Normal around 0.
    Normal,
}

impl Init {
    /// Draws the values of a parameter; `inputs` and `outputs` are its fan-in and fan-out.
    pub(crate) fn draw<T: Float>(self, shape: Shape, inputs: usize, outputs: usize, rng: &mut Rng) -> Tensor<T> {
        let scaled = |gain, fan, law| Self::Scaled { gain, fan, law };
        let relu = std::f64::consts::SQRT_2;
        match self {
            Self::Constant(value) => Tensor::full(shape, T::of(value)),
            Self::Uniform(bound) => Tensor::from_fn(shape, |_| T::of((rng.random::<f64>() * 2.0 - 1.0) * bound)),
            Self::Normal(sd) => Tensor::from_fn(shape, |_| T::of(sd * normal(rng))),
            Self::TruncatedNormal { sd, bound } => {
                // below a tenth the wait for a draw within the bound grows without end
                assert!(sd > 0.0 && bound >= sd / 10.0, "truncated normal: sd {sd}, bound {bound}: too narrow");
                let mut draw = || std::iter::repeat_with(|| sd * normal(rng)).find(|x| x.abs() <= bound);
                Tensor::from_fn(shape, |_| T::of(draw().expect("the draws do not end")))
            }
            Self::XavierUniform => scaled(1.0, Fan::Mean, Law::Uniform).draw(shape, inputs, outputs, rng),
            Self::XavierNormal => scaled(1.0, Fan::Mean, Law::Normal).draw(shape, inputs, outputs, rng),
            Self::KaimingUniform => scaled(relu, Fan::In, Law::Uniform).draw(shape, inputs, outputs, rng),
            Self::KaimingNormal => scaled(relu, Fan::In, Law::Normal).draw(shape, inputs, outputs, rng),
            Self::FanIn => scaled((1.0_f64 / 3.0).sqrt(), Fan::In, Law::Uniform).draw(shape, inputs, outputs, rng),
            Self::Scaled { gain, fan, law } => {
                let fan = match fan {
                    Fan::In => inputs as f64,
                    Fan::Out => outputs as f64,
                    Fan::Mean => (inputs + outputs) as f64 / 2.0,
                };
                let sd = gain / fan.max(1.0).sqrt();
                match law {
                    // the variance of a uniform number is a third of its squared bound
                    Law::Uniform => Self::Uniform(sd * 3.0_f64.sqrt()).draw(shape, inputs, outputs, rng),
                    Law::Normal => Self::Normal(sd).draw(shape, inputs, outputs, rng),
                }
            }
            Self::Orthogonal(gain) => orthogonal(shape, inputs, outputs, gain, rng),
        }
    }
}

fn normal(rng: &mut Rng) -> f64 {
    rng.sample(StandardNormal)
}

fn orthogonal<T: Float>(shape: Shape, inputs: usize, outputs: usize, gain: f64, rng: &mut Rng) -> Tensor<T> {
    let (long, short) = (inputs.max(outputs), inputs.min(outputs));
    if short == 0 {
        return Tensor::zeros(shape);
    }
    let qr = Mat::from_fn(long, short, |_, _| normal(rng)).qr();
    let (q, r) = (qr.compute_thin_Q(), qr.thin_R());
    let entry = |row: usize, column: usize| gain * q[(row, column)] * r[(column, column)].signum();
    Tensor::from_fn(shape, |i| {
        let (input, output) = (i / outputs, i % outputs);
        T::of(if inputs >= outputs { entry(input, output) } else { entry(output, input) })
    })
}
