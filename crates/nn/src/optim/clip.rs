//! The size of all gradients together, and the factor that bounds it.

use gradome_tape::{Float, Gradients};
use rayon::prelude::*;

/// Elements that one thread works on at a time.
const CHUNK: usize = 32 * 1024;
use crate::store::ParamId;

/// The Euclidean norm of all parameters' gradients together, summed in f64 in an order that depends on shapes alone.
pub fn global_norm<T: Float>(gradients: &Gradients<T>) -> f64 {
    norm_of_keys(gradients, gradients.keys().into_iter())
}

/// The Euclidean norm of the gradients of some parameters together; those without a gradient count 0.
pub fn norm_of<T: Float>(gradients: &Gradients<T>, parameters: &[ParamId]) -> f64 {
    norm_of_keys(gradients, parameters.iter().map(|id| id.key()))
}

fn norm_of_keys<T: Float>(gradients: &Gradients<T>, keys: impl Iterator<Item = usize>) -> f64 {
    keys.map(|key| gradients.get(key).map_or(0.0, |g| square_sum(g.data()))).sum::<f64>().sqrt()
}

/// The factor, at most 1, that brings gradients of norm `norm` to norm `max_norm` (Pascanu et al. 2013, algorithm 1).
///
/// PyTorch: `clip_grad_norm_`, with its 1e-6 in the denominator.
pub fn clip_factor(norm: f64, max_norm: f64) -> f64 {
    (max_norm / (norm + 1e-6)).min(1.0)
}

fn square_sum<T: Float>(values: &[T]) -> f64 {
    if values.len() > CHUNK && rayon::current_num_threads() > 1 {
        // collected in order, then added in order
        values.par_chunks(CHUNK).map(chunk_square_sum).collect::<Vec<f64>>().into_iter().sum()
    } else {
        values.chunks(CHUNK).map(chunk_square_sum).sum()
    }
}

fn chunk_square_sum<T: Float>(values: &[T]) -> f64 {
    // independent sums, so that additions need not wait for each other
    const LANES: usize = 8;
    let mut sums = [0.0; LANES];
    let (blocks, rest) = values.as_chunks::<LANES>();
    for block in blocks {
        for (sum, value) in sums.iter_mut().zip(block) {
            *sum += value.to_f64() * value.to_f64();
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(|v| v.to_f64() * v.to_f64()).sum::<f64>()
}
