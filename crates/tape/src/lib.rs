//! Reverse-mode automatic differentiation for CPUs: a tape, fused elementwise kernels, and one list of checked ops.
//!
//! A [`Tape`] records; [`Var`] handles are copied freely, so models read like formulas; [`Var::backward`] walks the
//! record once and returns [`Gradients`]. Training runs in f32, checks run in f64, from one source.
//!
//! ```
//! use gradome_tape::{Tape, Tensor};
//!
//! let mut tape = Tape::<f32>::new();
//! let mut w = Tensor::new([2, 1], &[0.0, 0.0]);
//! let x = Tensor::new([3, 2], &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
//! let target = Tensor::new([3, 1], &[2.0, -1.0, 1.0]);
//! for _ in 0..200 {
//!     let gradients = {
//!         let prediction = tape.constant(&x).matmul(tape.parameter(0, &w));
//!         (prediction - tape.constant(&target)).square().mean().backward()
//!     };
//!     tape.reset();
//!     let step = gradients.get(0).expect("the loss depends on w");
//!     w.data_mut().iter_mut().zip(step.data()).for_each(|(w, g)| *w -= 0.5 * g);
//! }
//! assert!((w.at(&[0, 0]) - 2.0).abs() < 1e-3 && (w.at(&[1, 0]) + 1.0).abs() < 1e-3);
//! ```
//!
//! Results are the same bits at any number of threads, on one kind of CPU. `GRADOME_SIMD=portable|avx2|avx512` lowers
//! the instruction set.

mod backward;
pub mod check;
mod csr;
mod elementwise;
mod float;
mod fuse;
mod kernels;
mod lane;
mod op;
mod ops;
mod recompute;
mod registry;
mod rows;
mod shape;
pub mod special;
mod tape;
mod tensor;
mod update;
mod var;

pub use backward::Gradients;
pub use csr::{Csr, CsrError};
pub use float::Float;
pub use kernels::activation::Activation;
pub use kernels::buffer::Pool;
pub use kernels::dense::Triangle;
pub use kernels::{SimdLevel, on_this_thread, simd_level};
pub use lane::{Dual, Fused, Lane};
pub use op::{Array, At, Draw, Grads, Op, Sample, Samples, Saved, Shapes};
pub use ops::attention::AttentionOptions;
pub use ops::convolution::Convolution;
pub use ops::fft_conv::ConvEnds;
pub use ops::fourier::FftNorm;
pub use ops::hmm_inference::HmmInferred;
pub use ops::join::Padding;
pub use ops::kalman::StateSpace;
pub use ops::layout::Span;
pub use ops::pooling::Pool1d;
pub use ops::recurrent::RecurrentOptions;
pub use ops::selective_scan::SelectiveScan;
pub use ops::viterbi::ViterbiPath;
pub use registry::{Gradient, Row};
pub use shape::{MAX_RANK, Shape};
pub use tape::Tape;
pub use tensor::Tensor;
pub use update::{UpdateRule, update};
pub use var::{Keep, Var};

registry::registry! {
    tables: arithmetic, activation, relaxation, covariance;
    rows: softmax::Softmax, softmax::LogSoftmax, layer_norm::Standardise;
    ops: convolution::Conv1d, convolution::ConvTranspose1d,
        matmul::MatMul, linear::Linear, log_sum_exp::LogSumExp, batch_norm::BatchNorm,
        reduce::SumAxis, extremum::MaxAxis, extremum::MinAxis,
        extremum::ArgMax, extremum::ArgMin, norm::L2NormAxis,
        scan::CumSum, scan::CumLogSumExp, scan::CumProd, sort::Sort, sort::ArgSort,
        gumbel::OneHotThrough, quantile::Quantile,
        attention::Attention, recurrent::Lstm, recurrent::Gru,
        cholesky::Cholesky, cholesky::SpdSolve, cholesky::SpdLogDet, triangular_solve::TriangularSolve,
        inverse::Inverse, inverse::LogDet, eigh::Eigh,
        sparse::SparseMatMul, sparse::MatMulSparse, distance::SquaredDistances, distance::CosineSimilarity,
        pwm_scan::PwmScan, gp::GpLogLikelihood, gp::GpLogLikelihoodShared,
        layout::Permute, layout::Slice, layout::Windows, layout::Diagonal, layout::BroadcastTo,
        join::Concat, join::Pad, join::DiagonalEmbed, triangle::Triangle,
        gather::IndexSelect, gather::Gather, gather::ScatterAdd,
        segment::SegmentSum, segment::SegmentMax, segment::SegmentSoftmax,
        counts::NegativeBinomial, counts::Poisson,
        hmm::HmmLogLikelihood, hmm::HmmPosteriors, hmm_filter::HmmFilter, hmm_inference::HmmInference, crf::PathLogWeight,
        fourier::Rfft, fourier::Irfft, spectral_conv::SpectralConv, fft_conv::FftConv1d,
        pooling::MaxPool1d, pooling::AvgPool1d, group_norm::GroupNorm, rms_norm::RmsNorm,
        kalman::LinearGaussian, selective_scan::SelectiveScan,
}
