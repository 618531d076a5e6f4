//! A batch in parts, each computed by one thread.

use gradome_tape::{Float, Gradients, Pool, Tape, Tensor, on_this_thread};

use crate::error::{Error, Result};
use crate::store::{ParamStore, Rng, Step};
use crate::trainer::Loss;

/// Losses of the parts of a batch and their gradients.
///
/// Each part has a tape of its own and stays on one thread, and parts run side by side: work of many small kernels
/// scales with the threads, values stay in a core's cache, and memory is that of one part for each thread. Sums are taken
/// in an order that depends on the number of parts alone, so threads do not change a bit of them.
pub struct Parts<T: Float> {
    /// The memory of each thread's tapes.
    pools: Vec<Pool<T>>,
}

/// The sum over parts.
pub struct Summed<T: Float> {
    /// The loss, then its parts by name, as [`Loss`] has them.
    pub numbers: Vec<(String, f64)>,
    /// The gradient of the loss.
    pub gradients: Gradients<T>,
}

impl<T: Float> Default for Parts<T> {
    fn default() -> Self {
        Self { pools: (0..rayon::current_num_threads()).map(|_| Pool::default()).collect() }
    }
}

impl<T: Float> Parts<T> {
    /// The sum over `count` parts of each part's loss times its weight, with its gradient: `loss(step, part)` gives a
    /// part's loss and weight. Part k draws its noise from the k-th stream of `rng`.
    ///
    /// ```
    /// use gradome_nn::parts::Parts;
    /// use gradome_nn::trainer::Loss;
    /// use gradome_nn::{Linear, ParamStore, Rng};
    /// use gradome_tape::Tensor;
    /// use rand::SeedableRng;
    ///
    /// let mut store = ParamStore::<f64>::new(7);
    /// let layer = Linear::new(&mut store.scope("layer"), 1, 1);
    /// let summed = Parts::default().sum(&store, 3, &Rng::seed_from_u64(0), |step, part| {
    ///     let x = step.tape.constant(&Tensor::full([1, 1], part as f64));
    ///     Ok((Loss::new(layer.forward(step, x).sum()), 0.5))
    /// })?;
    /// let slope = summed.gradients.get(layer.weight.key()).unwrap().item();
    /// assert_eq!(slope, 0.5 * (0.0 + 1.0 + 2.0));
    /// # Ok::<(), gradome_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// When a loss fails, the parts' numbers have different names, or a layer keeps batch statistics, which want the
    /// whole batch.
    ///
    /// # Panics
    /// When `count` is 0.
    pub fn sum(
        &self,
        store: &ParamStore<T>,
        count: usize,
        rng: &Rng,
        loss: impl for<'t> Fn(Step<'_, 't, T>, usize) -> Result<(Loss<'t, T>, f64)> + Sync,
    ) -> Result<Summed<T>> {
        assert!(count > 0, "a batch has at least one part");
        self.range(0, count, &|part| {
            let pool = rayon::current_thread_index().and_then(|thread| self.pools.get(thread)).cloned();
            on_this_thread(|| {
                let tape = pool.map_or_else(Tape::new, Tape::with_pool);
                let mut rng = rng.clone();
                rng.set_stream(part as u64);
                let bound = store.bind(&tape);
                let (loss, weight) = loss(Step::train(&tape, &bound, rng), part)?;
                let numbers = loss.numbers().map(|(name, value)| (name, weight * value)).collect();
                let gradients = loss.total.backward_with(&Tensor::full(loss.total.shape(), T::of(weight)));
                if !bound.into_updates().is_empty() {
                    let problem = "the model keeps batch statistics, which want the whole batch; give 1";
                    return Err(Error::config("parts", problem));
                }
                Ok(Summed { numbers, gradients })
            })
        })
    }

    /// The sum over parts `first..first + count`, as a balanced tree of sums.
    fn range(
        &self,
        first: usize,
        count: usize,
        one: &(dyn Fn(usize) -> Result<Summed<T>> + Sync),
    ) -> Result<Summed<T>> {
        if count == 1 {
            return one(first);
        }
        let half = count / 2;
        let (before, after) =
            rayon::join(|| self.range(first, half, one), || self.range(first + half, count - half, one));
        let (mut sum, after) = (before?, after?);
        for ((name, sum), (other, value)) in sum.numbers.iter_mut().zip(after.numbers) {
            if *name != other {
                return Err(Error::data("loss", format!("one part of the batch reports '{name}', another '{other}'")));
            }
            *sum += value;
        }
        sum.gradients.add(after.gradients);
        Ok(sum)
    }
}
