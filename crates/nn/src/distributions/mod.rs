//! Distributions with log-probabilities, reparameterised samples and divergences.
//!
//! Means and dispersions of counts are given by their logarithms, so that nothing overflows and zero means are
//! possible. Log-probabilities come element by element, all constants included.

mod counts;
mod normal;

pub use counts::{Bernoulli, NegativeBinomial, NegativeBinomialMixture, Poisson, ZeroInflatedNegativeBinomial};
pub use normal::{Normal, product_of_experts};
