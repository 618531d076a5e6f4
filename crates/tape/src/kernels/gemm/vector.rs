//! SIMD registers under one interface, so that each register tile is written once.

/// A register of floats.
///
/// # Safety
/// Every method needs the instruction set of its type, and loads and stores need valid memory for the lanes they touch.
#[allow(clippy::missing_safety_doc)]
pub(crate) unsafe trait Vector: Copy {
    /// What a lane holds.
    type Scalar: Copy + std::ops::AddAssign + 'static;
    /// How many lanes there are.
    const LANES: usize;
    /// Rows of the largest register tile: with three vectors a row, its accumulators and operands fill the registers.
    const ROWS: usize;

    unsafe fn zero() -> Self;
    unsafe fn splat(value: *const Self::Scalar) -> Self;
    unsafe fn load(from: *const Self::Scalar) -> Self;
    /// The first `len` lanes, zeros in the others; touches no memory beyond them.
    unsafe fn load_first(from: *const Self::Scalar, len: usize) -> Self;
    unsafe fn store(self, to: *mut Self::Scalar);
    unsafe fn store_first(self, to: *mut Self::Scalar, len: usize);
    unsafe fn add(self, other: Self) -> Self;
    /// `self * factor + addend`
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// 0 in lanes at or below 0.
    unsafe fn relu(self) -> Self;
    /// The sum of the lanes, added pairwise.
    unsafe fn sum(self) -> Self::Scalar;
}

/// A register without instructions of its own: loops that the compiler turns into what the baseline target has.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Plain<S, const LANES: usize>([S; LANES]);

macro_rules! plain {
    ($scalar:ident, $lanes:literal) => {
        // SAFETY: uses no instruction beyond the baseline.
        unsafe impl Vector for Plain<$scalar, $lanes> {
            type Scalar = $scalar;
            const LANES: usize = $lanes;
            const ROWS: usize = 4;
            #[inline(always)]
            unsafe fn zero() -> Self {
                Self([0.0; $lanes])
            }
            #[inline(always)]
            unsafe fn splat(value: *const $scalar) -> Self {
                // SAFETY: the caller's promise.
                Self([unsafe { *value }; $lanes])
            }
            #[inline(always)]
            unsafe fn load(from: *const $scalar) -> Self {
                // SAFETY: the caller's promise.
                Self(unsafe { from.cast::<[$scalar; $lanes]>().read_unaligned() })
            }
            #[inline(always)]
            unsafe fn load_first(from: *const $scalar, len: usize) -> Self {
                let mut lanes = [0.0; $lanes];
                for (i, lane) in lanes.iter_mut().enumerate().take(len) {
                    // SAFETY: the caller's promise.
                    *lane = unsafe { *from.add(i) };
                }
                Self(lanes)
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $scalar) {
                // SAFETY: the caller's promise.
                unsafe { to.cast::<[$scalar; $lanes]>().write_unaligned(self.0) }
            }
            #[inline(always)]
            unsafe fn store_first(self, to: *mut $scalar, len: usize) {
                for (i, lane) in self.0.iter().enumerate().take(len) {
                    // SAFETY: the caller's promise.
                    unsafe { *to.add(i) = *lane }
                }
            }
            #[inline(always)]
            unsafe fn add(mut self, other: Self) -> Self {
                for i in 0..$lanes {
                    self.0[i] += other.0[i];
                }
                self
            }
            #[inline(always)]
            unsafe fn mul_add(mut self, factor: Self, addend: Self) -> Self {
                for i in 0..$lanes {
                    self.0[i] = self.0[i] * factor.0[i] + addend.0[i];
                }
                self
            }
            #[inline(always)]
            unsafe fn relu(mut self) -> Self {
                for lane in &mut self.0 {
                    *lane = if *lane <= 0.0 { 0.0 } else { *lane };
                }
                self
            }
            #[inline(always)]
            unsafe fn sum(mut self) -> $scalar {
                let mut width = $lanes / 2;
                while width > 0 {
                    for i in 0..width {
                        self.0[i] += self.0[i + width];
                    }
                    width /= 2;
                }
                self.0[0]
            }
        }
    };
}
plain!(f32, 4);
plain!(f64, 2);

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Vector;

    macro_rules! avx512 {
        ($register:ident, $scalar:ident, $lanes:literal, $mask:ident: $zero:ident, $splat:ident, $load:ident,
         $load_first:ident, $store:ident, $store_first:ident, $add:ident, $fma:ident, $cmp:ident, $keep:ident, $sum:ident) => {
            // SAFETY: the trait's contract passes the need for AVX-512 on to the caller.
            unsafe impl Vector for $register {
                type Scalar = $scalar;
                const LANES: usize = $lanes;
                const ROWS: usize = 8;
                #[inline(always)]
                unsafe fn zero() -> Self {
                    // SAFETY: the trait's contract.
                    unsafe { $zero() }
                }
                #[inline(always)]
                unsafe fn splat(value: *const $scalar) -> Self {
                    // SAFETY: the trait's contract.
                    unsafe { $splat(*value) }
                }
                #[inline(always)]
                unsafe fn load(from: *const $scalar) -> Self {
                    // SAFETY: the trait's contract.
                    unsafe { $load(from) }
                }
                #[inline(always)]
                unsafe fn load_first(from: *const $scalar, len: usize) -> Self {
                    // SAFETY: the trait's contract; masked lanes are not touched.
                    unsafe { $load_first(((1_u32 << len) - 1) as $mask, from) }
                }
                #[inline(always)]
                unsafe fn store(self, to: *mut $scalar) {
                    // SAFETY: the trait's contract.
                    unsafe { $store(to, self) }
                }
                #[inline(always)]
                unsafe fn store_first(self, to: *mut $scalar, len: usize) {
                    // SAFETY: the trait's contract; masked lanes are not touched.
                    unsafe { $store_first(to, ((1_u32 << len) - 1) as $mask, self) }
                }
                #[inline(always)]
                unsafe fn add(self, other: Self) -> Self {
                    // SAFETY: the trait's contract.
                    unsafe { $add(self, other) }
                }
                #[inline(always)]
                unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
                    // SAFETY: the trait's contract.
                    unsafe { $fma(self, factor, addend) }
                }
                #[inline(always)]
                unsafe fn relu(self) -> Self {
                    // SAFETY: the trait's contract.
                    unsafe { $keep($cmp::<_CMP_NLE_UQ>(self, $zero()), self) }
                }
                #[inline(always)]
                unsafe fn sum(self) -> $scalar {
                    // SAFETY: the trait's contract.
                    unsafe { $sum(self) }
                }
            }
        };
    }
    avx512!(__m512, f32, 16, __mmask16: _mm512_setzero_ps, _mm512_set1_ps, _mm512_loadu_ps, _mm512_maskz_loadu_ps,
        _mm512_storeu_ps, _mm512_mask_storeu_ps, _mm512_add_ps, _mm512_fmadd_ps, _mm512_cmp_ps_mask,
        _mm512_maskz_mov_ps, _mm512_reduce_add_ps);
    avx512!(__m512d, f64, 8, __mmask8: _mm512_setzero_pd, _mm512_set1_pd, _mm512_loadu_pd, _mm512_maskz_loadu_pd,
        _mm512_storeu_pd, _mm512_mask_storeu_pd, _mm512_add_pd, _mm512_fmadd_pd, _mm512_cmp_pd_mask,
        _mm512_maskz_mov_pd, _mm512_reduce_add_pd);

    /// Eight set words, then eight clear ones: a window of it is the mask of the first lanes.
    static MASK32: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    static MASK64: [i64; 8] = [-1, -1, -1, -1, 0, 0, 0, 0];

    macro_rules! avx2 {
        ($register:ident, $scalar:ident, $lanes:literal, $masks:ident: $zero:ident, $splat:ident, $load:ident,
         $load_first:ident, $store:ident, $store_first:ident, $add:ident, $fma:ident, $cmp:ident, $and:ident,
         |$v:ident| $sum:expr) => {
            // SAFETY: the trait's contract passes the need for AVX2 and FMA on to the caller.
            unsafe impl Vector for $register {
                type Scalar = $scalar;
                const LANES: usize = $lanes;
                const ROWS: usize = 4;
                #[inline(always)]
                unsafe fn zero() -> Self {
                    // SAFETY: the trait's contract.
                    unsafe { $zero() }
                }
                #[inline(always)]
                unsafe fn splat(value: *const $scalar) -> Self {
                    // SAFETY: the trait's contract.
                    unsafe { $splat(*value) }
                }
                #[inline(always)]
                unsafe fn load(from: *const $scalar) -> Self {
                    // SAFETY: the trait's contract.
                    unsafe { $load(from) }
                }
                #[inline(always)]
                unsafe fn load_first(from: *const $scalar, len: usize) -> Self {
                    // SAFETY: the trait's contract; `len` is at most the number of lanes, so the window is inside.
                    unsafe { $load_first(from, _mm256_loadu_si256($masks.as_ptr().add($lanes - len).cast())) }
                }
                #[inline(always)]
                unsafe fn store(self, to: *mut $scalar) {
                    // SAFETY: the trait's contract.
                    unsafe { $store(to, self) }
                }
                #[inline(always)]
                unsafe fn store_first(self, to: *mut $scalar, len: usize) {
                    // SAFETY: as in `load_first`.
                    unsafe { $store_first(to, _mm256_loadu_si256($masks.as_ptr().add($lanes - len).cast()), self) }
                }
                #[inline(always)]
                unsafe fn add(self, other: Self) -> Self {
                    // SAFETY: the trait's contract.
                    unsafe { $add(self, other) }
                }
                #[inline(always)]
                unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
                    // SAFETY: the trait's contract.
                    unsafe { $fma(self, factor, addend) }
                }
                #[inline(always)]
                unsafe fn relu(self) -> Self {
                    // SAFETY: the trait's contract.
                    unsafe { $and($cmp::<_CMP_NLE_UQ>(self, $zero()), self) }
                }
                #[inline(always)]
                unsafe fn sum(self) -> $scalar {
                    let $v = self;
                    // SAFETY: the trait's contract.
                    unsafe { $sum }
                }
            }
        };
    }
    avx2!(__m256, f32, 8, MASK32: _mm256_setzero_ps, _mm256_set1_ps, _mm256_loadu_ps, _mm256_maskload_ps,
    _mm256_storeu_ps, _mm256_maskstore_ps, _mm256_add_ps, _mm256_fmadd_ps, _mm256_cmp_ps, _mm256_and_ps, |v| {
        let four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
    });
    avx2!(__m256d, f64, 4, MASK64: _mm256_setzero_pd, _mm256_set1_pd, _mm256_loadu_pd, _mm256_maskload_pd,
    _mm256_storeu_pd, _mm256_maskstore_pd, _mm256_add_pd, _mm256_fmadd_pd, _mm256_cmp_pd, _mm256_and_pd, |v| {
        let two = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd::<1>(v));
        _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)))
    });
}
