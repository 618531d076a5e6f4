//! The whole real transform, by a mixed-radix or chirp FFT of any length.

use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealToComplex};

use crate::float::Float;
use crate::kernels::fourier::is_real;

/// A whole transform of which the lowest modes are kept.
pub(crate) struct Full<T> {
    n: usize,
    count: usize,
    forward: Arc<dyn RealToComplex<T>>,
    inverse: Arc<dyn ComplexToReal<T>>,
}

impl<T: Float> Full<T> {
    pub fn new(n: usize, count: usize) -> Self {
        Self { n, count, forward: T::plan_forward(n), inverse: T::plan_inverse(n) }
    }

    /// The cost of a signal, measured as that of [`Pruned::best`](super::pruned::Pruned::best).
    pub fn cost(n: usize) -> f64 {
        /// Per call.
        const CALL: f64 = 40.0;
        /// Per element and halving.
        const SMOOTH: f64 = 0.08;
        /// How much more a length with a large prime factor costs.
        const CHIRP: f64 = 5.0;
        let mut rest = n;
        for prime in [2_usize, 3, 5, 7, 11, 13] {
            while rest.is_multiple_of(prime) {
                rest /= prime;
            }
        }
        let factor = if rest == 1 { 1.0 } else { CHIRP };
        CALL + SMOOTH * factor * n as f64 * (n as f64).log2()
    }

    pub fn work(&self) -> usize {
        let scratch = self.forward.get_scratch_len().max(self.inverse.get_scratch_len());
        self.n.next_multiple_of(2) + 2 * (self.n / 2 + 1) + 2 * scratch
    }

    /// Parts of the scratch memory: a signal, its frequencies, and what a transform needs.
    fn parts<'a>(&self, work: &'a mut [T]) -> (&'a mut [T], &'a mut [Complex<T>], &'a mut [Complex<T>]) {
        let (signal, rest) = work.split_at_mut(self.n.next_multiple_of(2));
        let (frequencies, scratch) = complex(rest).split_at_mut(self.n / 2 + 1);
        (&mut signal[..self.n], frequencies, scratch)
    }

    pub fn analyse(&self, x: &[T], re: &mut [T], im: &mut [T], work: &mut [T]) {
        let (signal, frequencies, scratch) = self.parts(work);
        signal[..x.len()].copy_from_slice(x);
        signal[x.len()..].fill(T::ZERO);
        let scratch = &mut scratch[..self.forward.get_scratch_len()];
        self.forward
            .process_with_scratch(signal, frequencies, scratch)
            .expect("the arrays have the lengths that the plan asks for");
        for ((re, im), z) in re.iter_mut().zip(im).zip(frequencies.iter()) {
            (*re, *im) = (z.re, z.im);
        }
    }

    pub fn synthesise(&self, re: &[T], im: &[T], y: &mut [T], accumulate: bool, work: &mut [T]) {
        let (signal, frequencies, scratch) = self.parts(work);
        let half = T::of(0.5);
        for (k, z) in frequencies[..self.count].iter_mut().enumerate() {
            *z = if is_real(self.n, k) {
                Complex::new(re[k], T::ZERO)
            } else {
                Complex::new(re[k] * half, im[k] * half)
            };
        }
        frequencies[self.count..].fill(Complex::new(T::ZERO, T::ZERO));
        let scratch = &mut scratch[..self.inverse.get_scratch_len()];
        let out = if accumulate { &mut *signal } else { &mut *y };
        self.inverse
            .process_with_scratch(frequencies, out, scratch)
            .expect("the arrays have the lengths that the plan asks for");
        if accumulate {
            crate::kernels::sweep::add_assign(y, signal);
        }
    }
}

/// Pairs of floats seen as complex numbers; a last single float is left out.
fn complex<T: Float>(x: &mut [T]) -> &mut [Complex<T>] {
    // SAFETY: `Complex` is `repr(C)` with two fields of type T, so it has T's alignment and twice its size.
    unsafe { std::slice::from_raw_parts_mut(x.as_mut_ptr().cast(), x.len() / 2) }
}
