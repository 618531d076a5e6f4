//! A batch in parts, each computed by one thread.

use std::sync::{Mutex, PoisonError};

use gradome_tape::{Float, Gradients, Pool, Tape, Tensor, Var, on_this_thread};

use crate::error::{Error, Result};
use crate::store::{ParamStore, Rng, Step};
use crate::trainer::Loss;

/// Losses of the parts of a batch and their gradients.
///
/// Each part has a tape of its own and stays on one thread, and parts run side by side: work of many small kernels
/// scales with the threads, and values stay in a core's cache. Sums are taken in an order that depends on the number of
/// parts alone, so threads do not change a bit of them.
///
/// | the loss is | call | memory |
/// | --- | --- | --- |
/// | a weighted sum of the parts' losses | [`Parts::sum`] | that of one part for each thread |
/// | a function of sums over the parts | [`Parts::function_of_sums`] | that of the whole batch |
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

/// The forward passes of some parts.
struct Recorded<T: Float> {
    /// For each part its tape and the numbers of its terms there.
    tapes: Vec<(Tape<T>, Vec<usize>)>,
    /// The terms' sums.
    totals: Vec<f64>,
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
        let one = |part| {
            let tape = self.tape();
            on_this_thread(|| {
                with_step(&tape, store, rng, part, |step| {
                    let (loss, weight) = loss(step, part)?;
                    let numbers = loss.numbers().map(|(name, value)| (name, weight * value)).collect();
                    let gradients = loss.total.backward_with(&Tensor::full(loss.total.shape(), T::of(weight)));
                    Ok(Summed { numbers, gradients })
                })
            })
        };
        tree(0, count, &one, &|mut sum: Summed<T>, after| {
            for ((name, sum), (other, value)) in sum.numbers.iter_mut().zip(after.numbers) {
                if *name != other {
                    let problem = format!("one part of the batch reports '{name}', another '{other}'");
                    return Err(Error::data("loss", problem));
                }
                *sum += value;
            }
            sum.gradients.add(after.gradients);
            Ok(sum)
        })
    }

    /// A function of sums over `count` parts, with its gradient: `terms(step, part)` gives a part's terms, each one
    /// number, and `loss(step, totals)` makes a loss of their sums. Part k draws its noise from the k-th stream of
    /// `rng`, `loss` from the stream behind the last part's.
    ///
    /// All forward passes run first and keep their values, so memory is that of the whole batch; then each part's
    /// backward pass starts from its terms, weighted by the slopes of the loss. Where the loss is a sum over parts
    /// [`Parts::sum`] needs less.
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
    /// store.set(layer.weight, Tensor::full([1, 1], 2.0));
    /// store.set(layer.bias, Tensor::zeros([1]));
    /// // the square of the sum of w x over x = 0, 1, 2
    /// let found = Parts::default().function_of_sums(
    ///     &store,
    ///     3,
    ///     &Rng::seed_from_u64(0),
    ///     |step, part| {
    ///         let x = step.tape.constant(&Tensor::full([1, 1], part as f64));
    ///         Ok(vec![layer.forward(step, x).sum()])
    ///     },
    ///     |_, totals| Ok(Loss::new(totals[0].square())),
    /// )?;
    /// assert_eq!(found.numbers[0].1, 36.0);
    /// assert_eq!(found.gradients.get(layer.weight.key()).unwrap().item(), 2.0 * 6.0 * 3.0);
    /// # Ok::<(), gradome_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// When terms or loss fail, parts differ in their number of terms, or a layer keeps batch statistics, which want
    /// the whole batch.
    ///
    /// # Panics
    /// When `count` is 0, or a term is not one number.
    pub fn function_of_sums(
        &self,
        store: &ParamStore<T>,
        count: usize,
        rng: &Rng,
        terms: impl for<'t> Fn(Step<'_, 't, T>, usize) -> Result<Vec<Var<'t, T>>> + Sync,
        loss: impl for<'t> FnOnce(Step<'_, 't, T>, &[Var<'t, T>]) -> Result<Loss<'t, T>>,
    ) -> Result<Summed<T>> {
        let forward = |part| {
            let tape = self.tape();
            let (numbers, totals) = on_this_thread(|| {
                with_step(&tape, store, rng, part, |step| {
                    let terms = terms(step, part)?;
                    let totals = terms.iter().map(|term| term.item().to_f64()).collect();
                    Ok((terms.into_iter().map(Var::number).collect(), totals))
                })
            })?;
            Ok(Recorded { tapes: vec![(tape, numbers)], totals })
        };
        let Recorded { tapes, totals } = tree(0, count, &forward, &|mut all: Recorded<T>, after| {
            if all.totals.len() != after.totals.len() {
                let problem = format!("one part of the batch has {}, another {}", all.totals.len(), after.totals.len());
                return Err(Error::data("terms", problem));
            }
            all.totals.iter_mut().zip(after.totals).for_each(|(sum, value)| *sum += value);
            all.tapes.extend(after.tapes);
            Ok(all)
        })?;

        let tape = Tape::new();
        let (numbers, own, slopes) = with_step(&tape, store, rng, count, |step| {
            let totals: Vec<_> =
                totals.iter().map(|&total| step.tape.variable(&Tensor::scalar(T::of(total)))).collect();
            let loss = loss(step, &totals)?;
            let gradients = loss.total.backward();
            let slope = |total: &Var<'_, T>| gradients.of(*total).map_or(0.0, |slope| slope.item().to_f64());
            let slopes: Vec<f64> = totals.iter().map(slope).collect();
            Ok((loss.numbers().collect(), gradients, slopes))
        })?;

        let tapes: Vec<_> = tapes.into_iter().map(|recorded| Mutex::new(Some(recorded))).collect();
        let backward = |part: usize| {
            let recorded = tapes[part].lock().unwrap_or_else(PoisonError::into_inner).take();
            let (tape, numbers) = recorded.expect("each part goes back once");
            on_this_thread(|| {
                let weighted = numbers.iter().zip(&slopes).map(|(&number, &slope)| tape.at(number).sum() * slope);
                let total = weighted.reduce(|a, b| a + b).unwrap_or_else(|| tape.scalar(0.0));
                Ok(total.backward())
            })
        };
        let mut gradients = tree(0, count, &backward, &|mut sum: Gradients<T>, after| {
            sum.add(after);
            Ok(sum)
        })?;
        gradients.add(own);
        Ok(Summed { numbers, gradients })
    }

    /// The first part of [`Parts::sum`] in which an op makes a value that is not finite, and what [`Tape::anomaly`] says
    /// of it. Parts run one after the other, with the noise that they have there.
    ///
    /// # Errors
    /// When a loss fails.
    pub fn anomaly(
        &self,
        store: &ParamStore<T>,
        count: usize,
        rng: &Rng,
        loss: impl for<'t> Fn(Step<'_, 't, T>, usize) -> Result<(Loss<'t, T>, f64)>,
    ) -> Result<Option<(usize, String)>> {
        for part in 0..count {
            let tape = self.tape();
            tape.detect_anomaly(true);
            with_step(&tape, store, rng, part, |step| loss(step, part).map(drop))?;
            if let Some(anomaly) = tape.anomaly() {
                return Ok(Some((part, anomaly)));
            }
        }
        Ok(None)
    }

    /// A tape with the memory of this thread's tapes.
    fn tape(&self) -> Tape<T> {
        let pool = rayon::current_thread_index().and_then(|thread| self.pools.get(thread)).cloned();
        pool.map_or_else(Tape::new, Tape::with_pool)
    }
}

/// Runs `work` on a training step of one part.
fn with_step<'t, T: Float, R>(
    tape: &'t Tape<T>,
    store: &ParamStore<T>,
    rng: &Rng,
    part: usize,
    work: impl FnOnce(Step<'_, 't, T>) -> Result<R>,
) -> Result<R> {
    let mut rng = rng.clone();
    rng.set_stream(part as u64);
    let bound = store.bind(tape);
    let result = work(Step::train(tape, &bound, rng))?;
    if !bound.into_updates().is_empty() {
        let problem = "the model keeps batch statistics, which want the whole batch; give 1";
        return Err(Error::config("parts", problem));
    }
    Ok(result)
}

/// The sum of `one` over `first..first + count`, as a balanced tree of sums.
fn tree<R: Send>(
    first: usize,
    count: usize,
    one: &(dyn Fn(usize) -> Result<R> + Sync),
    add: &(dyn Fn(R, R) -> Result<R> + Sync),
) -> Result<R> {
    assert!(count > 0, "a batch has at least one part");
    if count == 1 {
        return one(first);
    }
    let half = count / 2;
    let (before, after) = rayon::join(|| tree(first, half, one, add), || tree(first + half, count - half, one, add));
    add(before?, after?)
}
