//! Sums of products of spectra: the mixing of channels, one matrix product for each frequency.

use crate::kernels::simd_kernel;

/// Spectra at equal distances in memory.
#[derive(Clone, Copy)]
pub(crate) struct Spectra<'a, T> {
    /// The real parts, from the first spectrum on.
    pub re: &'a [T],
    /// The imaginary parts, from the first spectrum on.
    pub im: &'a [T],
    /// From one spectrum to the next.
    pub stride: usize,
}

impl<'a, T> Spectra<'a, T> {
    /// Rows of real parts followed by imaginary parts, from row `first` on, every `step`-th.
    pub fn rows(data: &'a [T], row: usize, first: usize, step: usize) -> Self {
        let start = first * row;
        Self { re: &data[start..], im: &data[start + row / 2..], stride: step * row }
    }
}

simd_kernel! {
    /// out\[k\] = factor\[k\] times the sum over the `terms` first spectra of a\[k\] b\[k\], or of conj(a\[k\]) b\[k\];
    /// `out` holds the real parts, then the imaginary parts.
    pub(crate) fn sum_of_products [T, L](
        out: &mut [T], factor: &[T], terms: usize, a: Spectra<'_, T>, conjugate: bool, b: Spectra<'_, T>,
    ) {
        let count = factor.len();
        let (out_re, out_im) = out.split_at_mut(count);
        out_re.fill(T::ZERO);
        out_im.fill(T::ZERO);
        let sign = L::of(if conjugate { -1.0 } else { 1.0 });
        for term in 0..terms {
            let (a_re, a_im) = (&a.re[term * a.stride..][..count], &a.im[term * a.stride..][..count]);
            let (b_re, b_im) = (&b.re[term * b.stride..][..count], &b.im[term * b.stride..][..count]);
            for k in 0..count {
                let (a_re, a_im) = (L::new(a_re[k]), L::new(a_im[k]) * sign);
                let (b_re, b_im) = (L::new(b_re[k]), L::new(b_im[k]));
                out_re[k] = a_re.mul_add(b_re, (-a_im).mul_add(b_im, L::new(out_re[k]))).get();
                out_im[k] = a_re.mul_add(b_im, a_im.mul_add(b_re, L::new(out_im[k]))).get();
            }
        }
        for k in 0..count {
            out_re[k] = (L::new(out_re[k]) * L::new(factor[k])).get();
            out_im[k] = (L::new(out_im[k]) * L::new(factor[k])).get();
        }
    }
}
