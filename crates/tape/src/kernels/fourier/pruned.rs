//! A Fourier transform that computes the lowest modes alone.
//!
//! With n = c m, mode k is the sum over the m columns j of e^(-i theta k j) times mode k mod c of column j, whose
//! elements are x\[j\], x\[j + m\], x\[j + 2 m\], ... (Markel 1971; Sorensen & Burrus 1993, "transform decomposition").
//! Columns lie side by side in memory, so sixteen of them are transformed at once, by radices 8, 4 and 2. Column j of
//! the left half and column j of the right half are the real and imaginary part of one complex column. The synthesis
//! is the transpose, step by step.

use crate::float::Float;
use crate::kernels::fourier::root;
use crate::kernels::simd_kernel;
use crate::lane::Lane;

/// Columns that are transformed at once.
const LANES: usize = 16;
/// The longest column: sixteen complex ones should stay in the first-level cache.
const MAX_COLUMN: usize = 256;

/// The tables of a pruned transform.
pub(crate) struct Pruned<T> {
    n: usize,
    count: usize,
    /// The length of a column.
    column: usize,
    /// Columns of one half: the distance from a complex column's real to its imaginary part.
    half: usize,
    /// Blocks of [`LANES`] complex columns.
    blocks: usize,
    /// For each frequency of a column the place where the passes leave it.
    places: Vec<usize>,
    /// For each pass its radix, its block length and the start of its factors.
    passes: Vec<(usize, usize, usize)>,
    /// e^(-2 pi i q j / block length) for each pass, offset q within a sub-block and input j, as (cosine, sine).
    factors: Vec<[T; 2]>,
    /// cos(theta k j), then sin(theta k j), for each mode k and complex column j; `[count, 2, blocks * LANES]`.
    twiddles: Vec<T>,
    /// For each mode the factors by which the spectra of the complex column at k and at -k enter: `(1 - i c) / 2` and
    /// `(1 + i c) / 2` with c = e^(-i theta k half).
    parts: Vec<[T; 4]>,
}

/// The radices of the passes of a column.
fn radices(mut column: usize) -> Vec<usize> {
    let mut radices = Vec::new();
    while column > 1 {
        let radix = if column.is_multiple_of(8) { 8 } else { column.min(4) };
        radices.push(radix);
        column /= radix;
    }
    radices
}

impl<T: Float> Pruned<T> {
    /// The length of the columns that costs least, and its cost: nanoseconds for one signal as measured on a Zen 5 core
    /// with AVX-512; only ratios matter.
    pub fn best(n: usize, count: usize) -> (usize, f64) {
        /// Reading or writing a row of a block.
        const ROW: f64 = 2.0;
        /// A pass over a row.
        const PASS: f64 = 2.6;
        /// A mode in a block.
        const MODE: f64 = 5.0;
        /// What a mode costs once.
        const TOTAL: f64 = 10.0;
        let cost = |column: usize| {
            let blocks = (n / column).div_ceil(2).div_ceil(LANES) as f64;
            let passes = radices(column).len() as f64;
            blocks * (column as f64 * (ROW + PASS * passes) + MODE * count as f64) + TOTAL * count as f64
        };
        let mut best = (1, cost(1));
        let mut column = 2;
        while n.is_multiple_of(column) && column <= MAX_COLUMN {
            if cost(column) < best.1 {
                best = (column, cost(column));
            }
            column *= 2;
        }
        best
    }

    pub fn new(n: usize, count: usize, column: usize) -> Self {
        let half = (n / column).div_ceil(2);
        let blocks = half.div_ceil(LANES);
        let of = |(cos, sin): (f64, f64)| [T::of(cos), T::of(sin)];
        let (mut passes, mut factors) = (Vec::new(), Vec::new());
        let mut length = column;
        for radix in radices(column) {
            passes.push((radix, length, factors.len()));
            for q in 0..length / radix {
                factors.extend((0..radix).map(|j| of(root(q * j, length))));
            }
            length /= radix;
        }
        let places = (0..column)
            .map(|frequency| {
                let (mut rest, mut size, mut place) = (frequency, column, 0);
                for (radix, _, _) in &passes {
                    size /= radix;
                    place += rest % radix * size;
                    rest /= radix;
                }
                place
            })
            .collect();
        let mut twiddles = Vec::with_capacity(count * 2 * blocks * LANES);
        for k in 0..count {
            twiddles.extend((0..blocks * LANES).map(|j| T::of(root(k * j, n).0)));
            twiddles.extend((0..blocks * LANES).map(|j| T::of(root(k * j, n).1)));
        }
        let parts = (0..count)
            .map(|k| {
                // -i c = -sin - i cos
                let (cos, sin) = root(k * half, n);
                [(1.0 - sin) / 2.0, -cos / 2.0, (1.0 + sin) / 2.0, cos / 2.0].map(T::of)
            })
            .collect();
        Self { n, count, column, half, blocks, places, passes, factors, twiddles, parts }
    }

    /// The elements of scratch memory that a signal needs.
    pub fn work(&self) -> usize {
        self.blocks * self.block()
    }

    /// The elements of a block of columns.
    fn block(&self) -> usize {
        self.column * 2 * LANES
    }

    /// The rows of a block that hold frequencies k and -k.
    #[inline(always)]
    fn rows(&self, k: usize) -> (usize, usize) {
        let k = k % self.column;
        (self.places[k] * 2 * LANES, self.places[(self.column - k) % self.column] * 2 * LANES)
    }

    /// The cosines and sines of mode k in one block.
    #[inline(always)]
    fn twiddles(&self, k: usize, block: usize) -> (&[T; LANES], &[T; LANES]) {
        let width = self.blocks * LANES;
        let cos = &self.twiddles[2 * k * width + block * LANES..];
        let sin = &self.twiddles[(2 * k + 1) * width + block * LANES..];
        (cos.first_chunk().expect("a block has LANES columns"), sin.first_chunk().expect("a block has LANES columns"))
    }

    /// The first elements of the real and of the imaginary columns of a block in row `row` of a signal, and how many
    /// columns there are of each.
    #[inline(always)]
    fn columns(&self, block: usize, row: usize) -> [(usize, usize); 2] {
        let width = self.n / self.column;
        let first = block * LANES;
        let real = LANES.min(self.half - first);
        let imaginary = LANES.min((width - self.half).saturating_sub(first));
        [(row * width + first, real), (row * width + self.half + first, imaginary)]
    }
}

/// A complex number of lanes.
#[derive(Clone, Copy)]
struct Complex<L> {
    re: L,
    im: L,
}

impl<L: Lane> Complex<L> {
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        Self { re: self.re + other.re, im: self.im + other.im }
    }
    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        Self { re: self.re - other.re, im: self.im - other.im }
    }
    /// -i z, or i z in the inverse.
    #[inline(always)]
    fn quarter_turn(self, inverse: bool) -> Self {
        if inverse { Self { re: -self.im, im: self.re } } else { Self { re: self.im, im: -self.re } }
    }
    /// z e^(-i pi / 4), or z e^(i pi / 4) in the inverse.
    #[inline(always)]
    fn eighth_turn(self, inverse: bool) -> Self {
        let root = L::of(std::f64::consts::FRAC_1_SQRT_2);
        let turned = self.quarter_turn(inverse);
        Self { re: (self.re + turned.re) * root, im: (self.im + turned.im) * root }
    }
    /// z times cos - i sin.
    #[inline(always)]
    fn times(self, [cos, sin]: [L; 2]) -> Self {
        Self { re: self.re.mul_add(cos, self.im * sin), im: self.im.mul_add(cos, -(self.re * sin)) }
    }
}

/// The transform of two, four or eight numbers.
trait Butterfly {
    const RADIX: usize;
    fn transform<L: Lane>(x: &mut [Complex<L>; 8], inverse: bool);
}
struct Radix2;
struct Radix4;
struct Radix8;

#[inline(always)]
fn transform4<L: Lane>(x: [Complex<L>; 4], inverse: bool) -> [Complex<L>; 4] {
    let (sum02, difference02) = (x[0].plus(x[2]), x[0].minus(x[2]));
    let (sum13, difference13) = (x[1].plus(x[3]), x[1].minus(x[3]).quarter_turn(inverse));
    [sum02.plus(sum13), difference02.plus(difference13), sum02.minus(sum13), difference02.minus(difference13)]
}

impl Butterfly for Radix2 {
    const RADIX: usize = 2;
    #[inline(always)]
    fn transform<L: Lane>(x: &mut [Complex<L>; 8], _: bool) {
        (x[0], x[1]) = (x[0].plus(x[1]), x[0].minus(x[1]));
    }
}

impl Butterfly for Radix4 {
    const RADIX: usize = 4;
    #[inline(always)]
    fn transform<L: Lane>(x: &mut [Complex<L>; 8], inverse: bool) {
        [x[0], x[1], x[2], x[3]] = transform4([x[0], x[1], x[2], x[3]], inverse);
    }
}

impl Butterfly for Radix8 {
    const RADIX: usize = 8;
    #[inline(always)]
    fn transform<L: Lane>(x: &mut [Complex<L>; 8], inverse: bool) {
        let even = transform4([x[0], x[2], x[4], x[6]], inverse);
        let odd = transform4([x[1], x[3], x[5], x[7]], inverse);
        let odd = [
            odd[0],
            odd[1].eighth_turn(inverse),
            odd[2].quarter_turn(inverse),
            odd[3].quarter_turn(inverse).eighth_turn(inverse),
        ];
        *x = [
            even[0].plus(odd[0]),
            even[1].plus(odd[1]),
            even[2].plus(odd[2]),
            even[3].plus(odd[3]),
            even[0].minus(odd[0]),
            even[1].minus(odd[1]),
            even[2].minus(odd[2]),
            even[3].minus(odd[3]),
        ];
    }
}

/// One pass over a block: butterflies within sub-blocks of `length` rows, with factors after them, or before them
/// (and conjugated) in the inverse.
#[inline(always)]
fn pass<T: Float, L: Lane<Scalar = T>, B: Butterfly>(
    block: &mut [T],
    length: usize,
    factors: &[[T; 2]],
    inverse: bool,
) {
    const ROW: usize = 2 * LANES;
    let step = length / B::RADIX;
    for sub_block in block.chunks_exact_mut(length * ROW) {
        for (q, factors) in factors.chunks_exact(B::RADIX).take(step).enumerate() {
            let mut z = [[T::ZERO; ROW]; 8];
            let mut w = [[L::of(1.0), L::of(0.0)]; 8];
            for j in 0..B::RADIX {
                let at = (q + j * step) * ROW;
                z[j].copy_from_slice(&sub_block[at..at + ROW]);
                w[j] = factors[j].map(L::new);
                if inverse {
                    w[j][1] = -w[j][1];
                }
            }
            for lane in 0..LANES {
                let mut x = [Complex { re: L::of(0.0), im: L::of(0.0) }; 8];
                for j in 0..B::RADIX {
                    x[j] = Complex { re: L::new(z[j][lane]), im: L::new(z[j][LANES + lane]) };
                    if inverse && j > 0 {
                        x[j] = x[j].times(w[j]);
                    }
                }
                B::transform(&mut x, inverse);
                for j in 0..B::RADIX {
                    if !inverse && j > 0 {
                        x[j] = x[j].times(w[j]);
                    }
                    z[j][lane] = x[j].re.get();
                    z[j][LANES + lane] = x[j].im.get();
                }
            }
            for (j, z) in z.iter().enumerate().take(B::RADIX) {
                let at = (q + j * step) * ROW;
                sub_block[at..at + ROW].copy_from_slice(z);
            }
        }
    }
}

#[inline(always)]
fn any_pass<T: Float, L: Lane<Scalar = T>>(
    block: &mut [T],
    plan: &Pruned<T>,
    (radix, length, start): (usize, usize, usize),
    inverse: bool,
) {
    let factors = &plan.factors[start..];
    match radix {
        8 => pass::<T, L, Radix8>(block, length, factors, inverse),
        4 => pass::<T, L, Radix4>(block, length, factors, inverse),
        _ => pass::<T, L, Radix2>(block, length, factors, inverse),
    }
}

simd_kernel! {
    /// The kept modes of one signal; a signal shorter than the plan's is continued by zeros.
    pub(crate) fn analyse [T, L](plan: &Pruned<T>, x: &[T], re: &mut [T], im: &mut [T], work: &mut [T]) {
        for (b, block) in work.chunks_exact_mut(plan.block()).take(plan.blocks).enumerate() {
            for (row, out) in block.chunks_exact_mut(2 * LANES).enumerate() {
                for ((start, len), out) in plan.columns(b, row).into_iter().zip(out.chunks_exact_mut(LANES)) {
                    if let (LANES, Some(x)) = (len, x.get(start..start + LANES)) {
                        out.copy_from_slice(x);
                        continue;
                    }
                    let end = x.len().min(start + len);
                    let x = &x[start.min(end)..end];
                    out[..x.len()].copy_from_slice(x);
                    out[x.len()..].fill(T::ZERO);
                }
            }
            for which in &plan.passes {
                any_pass::<T, L>(block, plan, *which, false);
            }
        }
        for k in 0..plan.count {
            let (above, below) = plan.rows(k);
            // sums of the spectra at k and of the conjugate ones at -k, each turned to its column
            let mut sums = [[T::ZERO; LANES]; 4];
            for b in 0..plan.blocks {
                let (cos, sin) = plan.twiddles(k, b);
                let block = &work[b * plan.block()..];
                let (z, w) = (&block[above..above + 2 * LANES], &block[below..below + 2 * LANES]);
                for lane in 0..LANES {
                    let (cos, sin) = (L::new(cos[lane]), L::new(sin[lane]));
                    let (z_re, z_im) = (L::new(z[lane]), L::new(z[LANES + lane]));
                    let (w_re, w_im) = (L::new(w[lane]), L::new(w[LANES + lane]));
                    let sum = |i: usize| L::new(sums[i][lane]);
                    let next = [
                        z_re.mul_add(cos, z_im.mul_add(sin, sum(0))),
                        z_im.mul_add(cos, (-z_re).mul_add(sin, sum(1))),
                        w_re.mul_add(cos, (-w_im).mul_add(sin, sum(2))),
                        (-w_im).mul_add(cos, (-w_re).mul_add(sin, sum(3))),
                    ];
                    for i in 0..4 {
                        sums[i][lane] = next[i].get();
                    }
                }
            }
            let [u_re, u_im, v_re, v_im] = plan.parts[k].map(L::new);
            let mut total = [[L::of(0.0); LANES]; 2];
            for lane in 0..LANES {
                let [p_re, p_im, q_re, q_im] = [0, 1, 2, 3].map(|i| L::new(sums[i][lane]));
                total[0][lane] = p_re * u_re - p_im * u_im + (q_re * v_re - q_im * v_im);
                total[1][lane] = p_re * u_im + p_im * u_re + (q_re * v_im + q_im * v_re);
            }
            let mut width = LANES / 2;
            while width > 0 {
                for lane in 0..width {
                    for total in &mut total {
                        total[lane] = total[lane] + total[lane + width];
                    }
                }
                width /= 2;
            }
            re[k] = total[0][0].get();
            im[k] = total[1][0].get();
        }
    }
}

simd_kernel! {
    /// The signal of the given modes, the transpose of [`analyse`]; added to `y` when `accumulate`.
    pub(crate) fn synthesise [T, L](
        plan: &Pruned<T>, re: &[T], im: &[T], y: &mut [T], accumulate: bool, work: &mut [T],
    ) {
        let block = &mut work[..plan.block()];
        for b in 0..plan.blocks {
            block.fill(T::ZERO);
            for k in 0..plan.count {
                let (above, below) = plan.rows(k);
                let (cos, sin) = plan.twiddles(k, b);
                let [u_re, u_im, v_re, v_im] = plan.parts[k].map(L::new);
                let (z_re, z_im) = (L::new(re[k]), if super::is_real(plan.n, k) { L::of(0.0) } else { L::new(im[k]) });
                // z conj(u) at k; conj(z) v at -k
                let (p_re, p_im) = (z_re * u_re + z_im * u_im, z_im * u_re - z_re * u_im);
                let (q_re, q_im) = (z_re * v_re + z_im * v_im, z_re * v_im - z_im * v_re);
                add_turned::<T, L>(&mut block[above..above + 2 * LANES], (p_re, p_im), cos, sin, false);
                add_turned::<T, L>(&mut block[below..below + 2 * LANES], (q_re, q_im), cos, sin, true);
            }
            for which in plan.passes.iter().rev() {
                any_pass::<T, L>(block, plan, *which, true);
            }
            for (row, out) in block.chunks_exact(2 * LANES).enumerate() {
                for ((start, len), out) in plan.columns(b, row).into_iter().zip(out.chunks_exact(LANES)) {
                    let y = &mut y[start..start + len];
                    if accumulate {
                        for (y, out) in y.iter_mut().zip(out) {
                            *y = (L::new(*y) + L::new(*out)).get();
                        }
                    } else if len == LANES {
                        y.copy_from_slice(&out[..LANES]);
                    } else {
                        y.copy_from_slice(&out[..len]);
                    }
                }
            }
        }
    }
}

/// Adds a number times cos + i sin, or times cos - i sin when `back`, to a row.
#[inline(always)]
fn add_turned<T: Float, L: Lane<Scalar = T>>(
    row: &mut [T],
    (re, im): (L, L),
    cos: &[T; LANES],
    sin: &[T; LANES],
    back: bool,
) {
    let (re_sin, im_sin) = if back { (im, -re) } else { (-im, re) };
    // local copies, so that the compiler need not ask whether the arrays overlap
    let (cos, sin) = (*cos, *sin);
    let mut sums = [T::ZERO; 2 * LANES];
    sums.copy_from_slice(row);
    for lane in 0..LANES {
        let (cos, sin) = (L::new(cos[lane]), L::new(sin[lane]));
        sums[lane] = re.mul_add(cos, re_sin.mul_add(sin, L::new(sums[lane]))).get();
        sums[LANES + lane] = im.mul_add(cos, im_sin.mul_add(sin, L::new(sums[LANES + lane]))).get();
    }
    row.copy_from_slice(&sums);
}
