//! The lowest frequencies of real signals: a pruned transform where few are kept, a whole one elsewhere.
//!
//! With theta = 2 pi / n, the analysis of a signal x is X\[k\] = sum over t of x\[t\] e^(-i theta k t); the synthesis of
//! modes Z is y\[t\] = the real part of sum over k of Z\[k\] e^(i theta k t). Each is the other's adjoint.

pub(crate) mod full;
pub(crate) mod products;
pub(crate) mod pruned;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};

use self::full::Full;
use self::pruned::Pruned;
use crate::float::Float;
use crate::kernels::buffer::Pool;
use crate::kernels::{for_each_chunk, rows_per_chunk};

/// Plans kept by the process; when there are more, all are forgotten.
const MAX_PLANS: usize = 64;

/// Plans by length and number of modes.
pub type Plans<T> = Mutex<HashMap<(usize, usize), Arc<Modes<T>>>>;

/// The precisions that have Fourier transforms, each with its cache of plans.
pub trait Transforms: Sized + 'static {
    #[doc(hidden)]
    fn modes_cache() -> &'static Plans<Self>;
    #[doc(hidden)]
    fn plan_forward(n: usize) -> Arc<dyn RealToComplex<Self>>;
    #[doc(hidden)]
    fn plan_inverse(n: usize) -> Arc<dyn ComplexToReal<Self>>;
}

macro_rules! transforms {
    ($($type:ident),+) => {$(
        impl Transforms for $type {
            fn modes_cache() -> &'static Plans<Self> {
                static CACHE: LazyLock<Plans<$type>> = LazyLock::new(Mutex::default);
                &CACHE
            }
            fn plan_forward(n: usize) -> Arc<dyn RealToComplex<Self>> {
                RealFftPlanner::new().plan_fft_forward(n)
            }
            fn plan_inverse(n: usize) -> Arc<dyn ComplexToReal<Self>> {
                RealFftPlanner::new().plan_fft_inverse(n)
            }
        }
    )+};
}
transforms!(f32, f64);

/// How to take the `count` lowest frequencies of real signals of length `n`, and how to put them back.
pub struct Modes<T> {
    /// The length of a signal.
    pub(crate) n: usize,
    /// How many frequencies are kept, at most n / 2 + 1.
    pub(crate) count: usize,
    way: Way<T>,
}

enum Way<T> {
    Pruned(Pruned<T>),
    Full(Full<T>),
}

impl<T: Float> Modes<T> {
    /// The plan for a length and a number of modes, made once for the process.
    pub fn of(n: usize, count: usize) -> Arc<Self> {
        debug_assert!((1..=n / 2 + 1).contains(&count));
        let mut cache = T::modes_cache().lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = cache.get(&(n, count)) {
            return Arc::clone(plan);
        }
        if cache.len() >= MAX_PLANS {
            cache.clear();
        }
        let (columns, cost) = Pruned::<T>::best(n, count);
        let pruned = cost < Full::<T>::cost(n);
        let way = if pruned { Way::Pruned(Pruned::new(n, count, columns)) } else { Way::Full(Full::new(n, count)) };
        let plan = Arc::new(Self { n, count, way });
        cache.insert((n, count), Arc::clone(&plan));
        plan
    }

    /// The numbers that hold the modes of one signal: the real parts, then the imaginary parts.
    pub fn row(&self) -> usize {
        2 * self.count
    }

    /// How often mode k enters a real signal: twice (with its conjugate), but once at frequency 0 and at half the
    /// sampling rate, where the imaginary part has no effect.
    pub fn multiplicity(&self, k: usize) -> f64 {
        if is_real(self.n, k) { 1.0 } else { 2.0 }
    }

    /// The modes of each row of `x`, `[rows, n]` or shorter rows of `stored` elements that zeros continue.
    pub fn analyse(&self, x: &[T], stored: usize, modes: &mut [T], pool: &Pool<T>) {
        debug_assert_eq!(x.len() / stored.max(1), modes.len() / self.row());
        let rows = rows_per_chunk(self.n);
        for_each_chunk(modes, rows * self.row(), |chunk, modes| {
            let mut work = pool.take(self.work());
            for (i, modes) in modes.chunks_exact_mut(self.row()).enumerate() {
                let row = chunk * rows + i;
                let (re, im) = modes.split_at_mut(self.count);
                self.analyse_row(&x[row * stored..(row + 1) * stored], re, im, &mut work);
            }
        });
    }

    /// The modes of one signal, which may be shorter than `n`: zeros continue it.
    pub fn analyse_row(&self, x: &[T], re: &mut [T], im: &mut [T], work: &mut [T]) {
        match &self.way {
            Way::Pruned(plan) => pruned::analyse(plan, x, re, im, work),
            Way::Full(plan) => plan.analyse(x, re, im, work),
        }
        for k in [0, self.count - 1] {
            if is_real(self.n, k) {
                im[k] = T::ZERO;
            }
        }
    }

    /// The signal of each row of modes; added to `y` when `accumulate`.
    pub fn synthesise(&self, modes: &[T], y: &mut [T], accumulate: bool, pool: &Pool<T>) {
        let rows = rows_per_chunk(self.n);
        for_each_chunk(y, rows * self.n, |chunk, y| {
            let mut work = pool.take(self.work());
            for (i, y) in y.chunks_exact_mut(self.n).enumerate() {
                let start = (chunk * rows + i) * self.row();
                let (re, im) = modes[start..start + self.row()].split_at(self.count);
                self.synthesise_row(re, im, y, accumulate, &mut work);
            }
        });
    }

    /// The signal of one row of modes; imaginary parts that have no effect are ignored.
    pub fn synthesise_row(&self, re: &[T], im: &[T], y: &mut [T], accumulate: bool, work: &mut [T]) {
        match &self.way {
            Way::Pruned(plan) => pruned::synthesise(plan, re, im, y, accumulate, work),
            Way::Full(plan) => plan.synthesise(re, im, y, accumulate, work),
        }
    }

    /// The elements of scratch memory that a row needs.
    pub fn work(&self) -> usize {
        match &self.way {
            Way::Pruned(plan) => plan.work(),
            Way::Full(plan) => plan.work(),
        }
    }
}

/// Whether mode k of a real signal is a real number.
fn is_real(n: usize, k: usize) -> bool {
    k == 0 || 2 * k == n
}

/// The cosine and sine of 2 pi `numerator` / n.
fn root(numerator: usize, n: usize) -> (f64, f64) {
    let (sin, cos) = (std::f64::consts::TAU * (numerator % n) as f64 / n as f64).sin_cos();
    (cos, sin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(n: usize, phase: f64) -> Vec<f64> {
        (0..n).map(|i| (1.3 * i as f64 + phase).sin() + 0.2).collect()
    }

    /// Analysis and synthesis by their definitions, for both ways of computing them.
    fn check(n: usize, count: usize) {
        let x = wave(n, 0.3);
        let (re, im) = (wave(count, 0.7), wave(count, 2.0));
        let best = Pruned::<f64>::best(n, count).0;
        let mut columns = vec![1, best];
        columns.extend([2, 4, 8, 16, 32].into_iter().filter(|c| n.is_multiple_of(*c)));
        let mut ways: Vec<Way<f64>> = columns.iter().map(|&c| Way::Pruned(Pruned::new(n, count, c))).collect();
        ways.push(Way::Full(Full::new(n, count)));
        for way in ways {
            let plan = Modes { n, count, way };
            let mut work = vec![f64::NAN; plan.work()];
            let (mut found_re, mut found_im) = (vec![0.0; count], vec![0.0; count]);
            plan.analyse_row(&x, &mut found_re, &mut found_im, &mut work);
            let mut y = vec![1.0; n];
            work.fill(f64::NAN);
            plan.synthesise_row(&re, &im, &mut y, true, &mut work);
            for k in 0..count {
                let (mut want_re, mut want_im) = (0.0, 0.0);
                for (t, x) in x.iter().enumerate() {
                    let (cos, sin) = root(k * t, n);
                    want_re += x * cos;
                    want_im -= x * sin;
                }
                let error = (found_re[k] - want_re).abs().max((found_im[k] - want_im).abs());
                assert!(error < 1e-12 * n as f64, "{n}: mode {k} of {count} is off by {error}");
            }
            for (t, y) in y.iter().enumerate() {
                let mut want = 1.0;
                for k in 0..count {
                    let (cos, sin) = root(k * t, n);
                    want += re[k] * cos - if is_real(n, k) { 0.0 } else { im[k] * sin };
                }
                assert!((y - want).abs() < 1e-12 * n as f64, "{n}, {count} modes: element {t} is {y}, not {want}");
            }
        }
    }

    #[test]
    fn every_way_matches_the_definition_at_lengths_1_to_40_and_some_larger() {
        for n in 1..=40 {
            for count in [1, n / 4 + 1, n / 2 + 1] {
                check(n, count);
            }
        }
        for (n, count) in [(97, 20), (127, 64), (128, 17), (256, 64), (320, 100), (511, 3), (1000, 33)] {
            check(n, count);
        }
    }

    #[test]
    fn few_modes_are_pruned_and_many_are_not() {
        assert!(matches!(Modes::<f32>::of(8192, 64).way, Way::Pruned(_)));
        assert!(matches!(Modes::<f32>::of(10_000, 16).way, Way::Pruned(_)));
        assert!(matches!(Modes::<f32>::of(8192, 4097).way, Way::Full(_)));
    }
}
