//! Random numbers that depend on their place in a run alone, so that resuming needs no generator's state.

use rand::SeedableRng;
use rand::seq::SliceRandom;

use crate::store::Rng;

/// What random numbers are for; each purpose has a stream of its own.
pub(crate) enum Purpose {
    Order,
    Noise,
}

/// The generator of a purpose in an epoch and step.
pub(crate) fn stream(seed: u64, epoch: usize, step: usize, purpose: Purpose) -> Rng {
    let mut key = [0; 32];
    for (bytes, word) in key.as_chunks_mut::<8>().0.iter_mut().zip([seed, epoch as u64, step as u64, purpose as u64]) {
        *bytes = word.to_le_bytes();
    }
    Rng::from_seed(key)
}

/// The numbers `0..rows` in the order of an epoch, which `shuffle` makes a random one.
pub(crate) fn epoch_order(rows: usize, shuffle: bool, seed: u64, epoch: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rows).collect();
    if shuffle {
        order.shuffle(&mut stream(seed, epoch, 0, Purpose::Order));
    }
    order
}
