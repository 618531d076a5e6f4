//! Tasks of one or two ops.

use gradome_nn::Rng;
use gradome_tape::{AttentionOptions, Shape, Tape, Tensor};
use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;

/// Standard normal values; the same at every run.
pub(super) fn normal(shape: impl Into<Shape>, seed: u64) -> Tensor<f32> {
    let mut rng = Rng::seed_from_u64(seed);
    Tensor::from_fn(shape, |_| rng.sample::<f64, _>(StandardNormal) as f32)
}

pub(super) fn matrix_product() -> Box<dyn FnMut()> {
    let (a, b) = (normal([1024, 1024], 0), normal([1024, 1024], 1));
    let mut tape = Tape::new();
    Box::new(move || {
        tape.constant(&a).matmul(tape.constant(&b)).value();
        tape.reset();
    })
}

pub(super) fn elementwise() -> Box<dyn FnMut()> {
    let (x, w) = (normal([4_000_000], 0), normal([4_000_000], 1));
    let mut tape = Tape::new();
    Box::new(move || {
        {
            let (x, w) = (tape.variable(&x), tape.variable(&w));
            ((x * w + 1.0).tanh() * x.sigmoid()).sum().backward();
        }
        tape.reset();
    })
}

pub(super) fn layer_norm_softmax() -> Box<dyn FnMut()> {
    let x = normal([8192, 512], 0);
    let (scale, shift) = (Tensor::full([512], 1.0), Tensor::zeros([512]));
    let mut tape = Tape::new();
    Box::new(move || {
        {
            let (scale, shift) = (tape.variable(&scale), tape.variable(&shift));
            tape.variable(&x).layer_norm(scale, shift, 1e-5).softmax().square().sum().backward();
        }
        tape.reset();
    })
}

pub(super) fn attention() -> Box<dyn FnMut()> {
    let [q, k, v] = [0, 1, 2].map(|seed| normal([8, 4, 512, 32], seed));
    let mut tape = Tape::new();
    Box::new(move || {
        {
            let [q, k, v] = [&q, &k, &v].map(|x| tape.variable(x));
            q.attention(k, v, AttentionOptions::default()).sum().backward();
        }
        tape.reset();
    })
}

pub(super) fn spectral_convolution() -> Box<dyn FnMut()> {
    let x = normal([16, 32, 8192], 0);
    let [re, im] = [1, 2].map(|seed| normal([32, 32, 64], seed));
    let mut tape = Tape::new();
    Box::new(move || {
        {
            let [x, re, im] = [&x, &re, &im].map(|x| tape.variable(x));
            x.spectral_conv(re, im).square().sum().backward();
        }
        tape.reset();
    })
}
