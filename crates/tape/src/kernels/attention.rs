//! Attention of one head, block by block: memory stays linear in the number of queries and keys.
//!
//! Forward is the online softmax (Milakov & Gimelshein 2018), backward computes the scores again (Dao et al. 2022,
//! algorithms 1 and 4; Dao 2023).

use std::ops::Range;

use crate::float::Float;
use crate::kernels::buffer::Pool;
use crate::kernels::gemm::MatrixRef;
use crate::kernels::tile::{Panels, block_product, line, scaled_rows};
use crate::kernels::{max_of, simd_kernel, sum_of};

/// Queries in a block of scores of the forward pass.
const QUERIES: usize = 32;
/// Keys in such a block: whole panels of every instruction set, and scores that fill half of a first-level cache.
const KEYS: usize = 192;
/// Queries in a block of the backward pass.
const QUERIES_BACK: usize = 64;
/// Keys in a block of the backward pass, which holds two such blocks.
const KEYS_BACK: usize = 48;
/// Elements from one row of a block of scores to the next: not a power of two, so that columns spread over the cache.
const STRIDE: usize = KEYS + 16;

/// Which keys a query sees: an interval that moves up with the query.
#[derive(Clone, Copy)]
pub(crate) struct Sight {
    pub queries: usize,
    /// Keys from here on are padding.
    pub keys: usize,
    /// Whether keys after the query are hidden.
    pub causal: bool,
    /// How far from its own place a query sees.
    pub window: usize,
}

impl Sight {
    fn ahead(&self) -> usize {
        if self.causal { 0 } else { self.window }
    }

    /// The keys that some of the queries see.
    pub fn keys_of(&self, queries: Range<usize>) -> Range<usize> {
        if queries.is_empty() {
            return 0..0;
        }
        let end = queries.end.saturating_add(self.ahead()).min(self.keys);
        queries.start.saturating_sub(self.window).min(end)..end
    }

    /// The queries that see some of the keys.
    pub fn queries_of(&self, keys: Range<usize>) -> Range<usize> {
        let keys = keys.start..keys.end.min(self.keys);
        if keys.is_empty() {
            return 0..0;
        }
        let end = keys.end.saturating_add(self.window).min(self.queries);
        keys.start.saturating_sub(self.ahead()).min(end)..end
    }

    /// Whether every one of the queries sees every one of the keys.
    fn whole(&self, queries: Range<usize>, keys: &Range<usize>) -> bool {
        let (first, last) =
            (self.keys_of(queries.start..queries.start + 1), self.keys_of(queries.end - 1..queries.end));
        last.start <= keys.start && keys.end <= first.end
    }
}

/// Weights that are dropped at random: a share of `rate`, decided by a hash of seed, head, query and key.
#[derive(Clone, Copy)]
pub(crate) struct Drop {
    pub rate: f64,
    pub seed: u64,
}

/// One head: its operands and how scores come about.
#[derive(Clone, Copy)]
pub(crate) struct Head<'a, T: Float> {
    /// `[queries, d]`
    pub q: &'a [T],
    /// `[keys, d]`
    pub k: &'a [T],
    /// `[keys, dv]`
    pub v: &'a [T],
    pub d: usize,
    pub dv: usize,
    pub scale: T,
    pub sight: Sight,
    /// Added to the scores: `[queries, keys]`, and the elements from one row to the next (0: one row for all).
    pub bias: Option<(&'a [T], usize)>,
    pub drop: Option<Drop>,
}

simd_kernel! {
    /// Takes a block of scores into the running softmax: scores become weights relative to the new maximum, and the
    /// sums of weights and of weighted values so far are rescaled to it.
    fn online_softmax [T, L](
        scores: &mut [T], width: usize, max: &mut [T], sum: &mut [T], weighted: &mut [T], weighted_stride: usize,
    ) {
        let rows = scores.chunks_mut(STRIDE).zip(weighted.chunks_mut(weighted_stride));
        for ((scores, weighted), (max, sum)) in rows.zip(max.iter_mut().zip(sum)) {
            let scores = &mut scores[..width];
            let before = L::new(*max);
            let new = max_of([&scores[..width]], |[score]: [L; 1]| score).max(before);
            *max = new.get();
            // nothing seen so far: any finite shift leaves weights of zero
            let shift = L::select(new == L::of(f64::NEG_INFINITY), L::of(0.0), new);
            for score in scores.iter_mut() {
                *score = (L::new(*score) - shift).exp().get();
            }
            let total = sum_of([&scores[..width]], |[score]: [L; 1]| score);
            if before == new {
                *sum = (L::new(*sum) + total).get();
                continue;
            }
            let keep = (before - shift).exp();
            *sum = L::new(*sum).mul_add(keep, total).get();
            for weighted in weighted {
                *weighted = (L::new(*weighted) * keep).get();
            }
        }
    }
}

simd_kernel! {
    /// Weights from scores, and the gradient of scores from that of weights: both in place.
    fn weights_and_grads [T, L](
        scores: &mut [T], grads: &mut [T], rows: usize, width: usize, normalisers: &[T], along: &[T],
    ) {
        let blocks = scores.chunks_mut(STRIDE).zip(grads.chunks_mut(STRIDE)).take(rows);
        for ((scores, grads), (normaliser, along)) in blocks.zip(normalisers.chunks_exact(2).zip(along)) {
            let (max, inverse_sum, along) = (L::new(normaliser[0]), L::new(normaliser[1]), L::new(*along));
            for (score, grad) in scores[..width].iter_mut().zip(&mut grads[..width]) {
                let weight = (L::new(*score) - max).exp() * inverse_sum;
                *score = weight.get();
                *grad = (weight * (L::new(*grad) - along)).get();
            }
        }
    }
}

simd_kernel! {
    /// The inner product of each pair of rows.
    fn row_products [T, L](a: &[T], b: &[T], width: usize, out: &mut [T]) {
        for ((a, b), out) in a.chunks_exact(width).zip(b.chunks_exact(width)).zip(out) {
            *out = sum_of([&a[..width], &b[..width]], |[a, b]: [L; 2]| a * b).get();
        }
    }
}

simd_kernel! {
    fn drop_row [T, L](row: &mut [T], key: u32, threshold: u32, kept: T) {
        for (i, x) in row.iter_mut().enumerate() {
            // the finaliser of a 32-bit hash: each bit of the counter reaches every bit of the result
            let mut h = key.wrapping_add((i as u32).wrapping_mul(0x9e37_79b9));
            h = (h ^ (h >> 16)).wrapping_mul(0x7feb_352d);
            h = (h ^ (h >> 15)).wrapping_mul(0x846c_a68b);
            h ^= h >> 16;
            *x = (L::new(*x) * L::select(h < threshold, L::of(0.0), L::new(kept))).get();
        }
    }
}

impl Drop {
    /// Zeroes the dropped elements of a block and scales the others up. `head` is part of the counter.
    fn apply<T: Float>(&self, block: &mut [T], head: usize, queries: Range<usize>, keys: Range<usize>) {
        let threshold = (self.rate * 2f64.powi(32)) as u32;
        let kept = T::of(1.0 / (1.0 - self.rate));
        for (i, row) in queries.zip(block.chunks_mut(STRIDE)) {
            let mut h = self.seed ^ ((head as u64) << 40) ^ i as u64;
            h = (h ^ (h >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            h = (h ^ (h >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let key = ((h ^ (h >> 31)) as u32).wrapping_add((keys.start as u32).wrapping_mul(0x9e37_79b9));
            drop_row(&mut row[..keys.len()], key, threshold, kept);
        }
    }
}

impl<T: Float> Head<'_, T> {
    /// Scores of a block, with bias, minus infinity where a key is hidden. `keys_t` starts at the first of `keys`.
    fn scores(&self, queries: Range<usize>, keys: Range<usize>, keys_t: Panels<'_, T>, out: &mut [T]) {
        let d = self.d;
        let q = MatrixRef::row_major(&self.q[queries.start * d..queries.end * d], d);
        block_product((queries.len(), d, keys.len()), q, keys_t, out, STRIDE, false);
        if let Some((bias, stride)) = self.bias {
            for (i, out) in queries.clone().zip(out.chunks_mut(STRIDE)) {
                let bias = &bias[i * stride..][keys.clone()];
                out.iter_mut().zip(bias).for_each(|(score, bias)| *score += *bias);
            }
        }
        if !self.sight.whole(queries.clone(), &keys) {
            for (i, out) in queries.zip(out.chunks_mut(STRIDE)) {
                let seen = self.sight.keys_of(i..i + 1);
                let (from, to) = (seen.start.clamp(keys.start, keys.end), seen.end.clamp(keys.start, keys.end));
                out[..from - keys.start].fill(T::of(f64::NEG_INFINITY));
                out[to.max(from) - keys.start..keys.len()].fill(T::of(f64::NEG_INFINITY));
            }
        }
    }

    /// Outputs `[queries, dv]` of some queries, and what turns their scores into weights, `[queries, 2]`: the largest
    /// score and 1 / the sum of exponentials. `index` is the head's number.
    pub fn forward(&self, index: usize, queries: Range<usize>, out: &mut [T], normalisers: &mut [T], pool: &Pool<T>) {
        let (d, dv) = (self.d, self.dv);
        let seen = self.sight.keys_of(queries.clone());
        let count = seen.len();
        let (mut room_k, mut room_v) =
            (pool.take(Panels::<T>::size(d, count)), pool.take(Panels::<T>::size(count, dv)));
        let k = MatrixRef::row_major(&self.k[seen.start * d..], d).transposed();
        let keys_t = Panels::pack(k, (d, count), self.scale, &mut room_k);
        let values = MatrixRef::row_major(&self.v[seen.start * dv..], dv);
        let values = Panels::pack(values, (count, dv), T::ONE, &mut room_v);

        let width_v = dv.next_multiple_of(line::<T>());
        let (mut scores, mut weighted) = (pool.take(QUERIES * STRIDE), pool.take(QUERIES * width_v));
        let (mut max, mut sum) = (pool.take(QUERIES), pool.take(QUERIES));
        for start in queries.clone().step_by(QUERIES) {
            let block = start..queries.end.min(start + QUERIES);
            let rows = block.len();
            weighted.fill(T::ZERO);
            max.fill(T::of(f64::NEG_INFINITY));
            sum.fill(T::ZERO);
            let keys = self.sight.keys_of(block.clone());
            // blocks of keys start with a panel
            let first = keys.start - (keys.start - seen.start) % keys_t.width;
            for from in (first..keys.end).step_by(KEYS) {
                let keys = from..keys.end.min(from + KEYS);
                let (at, width) = (from - seen.start, keys.len());
                self.scores(block.clone(), keys.clone(), keys_t.columns_from(at), &mut scores);
                online_softmax(&mut scores[..rows * STRIDE], width, &mut max, &mut sum, &mut weighted, width_v);
                if let Some(drop) = self.drop {
                    drop.apply(&mut scores, index, block.clone(), keys);
                }
                let weights = MatrixRef::row_major(&scores, STRIDE);
                block_product((rows, width, dv), weights, values.rows_from(at), &mut weighted, width_v, true);
            }
            let at = start - queries.start;
            for row in 0..rows {
                // a query that sees nothing has no weights: its output is zero, and so are all weights in backward
                let none = sum[row] == T::ZERO;
                let factor = if none { T::ZERO } else { T::ONE / sum[row] };
                normalisers[2 * (at + row)] = if none { T::ZERO } else { max[row] };
                normalisers[2 * (at + row) + 1] = factor;
                let out = &mut out[(at + row) * dv..][..dv];
                scaled_rows(&weighted[row * width_v..][..dv], dv, factor, out, dv, false);
            }
        }
    }
}

/// What the backward pass of a head starts from.
#[derive(Clone, Copy)]
pub(crate) struct Outcome<'a, T> {
    /// `[queries, dv]`
    pub out: &'a [T],
    /// `[queries, dv]`: the gradient of `out`.
    pub grad: &'a [T],
    /// `[queries, 2]`, as the forward pass left them.
    pub normalisers: &'a [T],
}

impl<T: Float> Head<'_, T> {
    /// Gradients by some keys: `dk`, `dv` of those keys, and what they add to `dq` of the queries that see them
    /// (before the scale, in rows padded to a cache line). `d_bias` takes the gradient of the scores, `[queries, keys]`.
    pub fn backward(
        &self,
        index: usize,
        keys: Range<usize>,
        after: Outcome<'_, T>,
        [dq, dk, dv, d_bias]: [&mut [T]; 4],
        accumulate: [bool; 2],
        pool: &Pool<T>,
    ) {
        let (d, width_out) = (self.d, self.dv);
        let (pad_d, pad_v) = (d.next_multiple_of(line::<T>()), width_out.next_multiple_of(line::<T>()));
        let seeing = self.sight.queries_of(keys.clone());
        let count = seeing.len();
        let take = |k: usize, n: usize| pool.take(Panels::<T>::size(k, n));
        let (mut room_q, mut room_g) = (take(count, d), take(count, width_out));
        let grad = &after.grad[seeing.start * width_out..seeing.end * width_out];
        let queries = MatrixRef::row_major(&self.q[seeing.start * d..], d);
        let queries = Panels::pack(queries, (count, d), T::ONE, &mut room_q);
        let grads = Panels::pack(MatrixRef::row_major(grad, width_out), (count, width_out), T::ONE, &mut room_g);
        let mut along = pool.take(count);
        row_products(&after.out[seeing.start * width_out..seeing.end * width_out], grad, width_out, &mut along);
        dq[..count * pad_d].fill(T::ZERO);

        let (mut room_kt, mut room_k, mut room_vt) =
            (take(d, KEYS_BACK), take(KEYS_BACK, d), take(width_out, KEYS_BACK));
        let (mut weights, mut slopes) = (pool.take(QUERIES_BACK * STRIDE), pool.take(QUERIES_BACK * STRIDE));
        let (mut own_k, mut own_v) = (pool.take(KEYS_BACK * pad_d), pool.take(KEYS_BACK * pad_v));
        for from in keys.clone().step_by(KEYS_BACK) {
            let some = from..keys.end.min(from + KEYS_BACK);
            let width = some.len();
            let k = MatrixRef::row_major(&self.k[from * d..], d);
            let keys_t = Panels::pack(k.transposed(), (d, width), self.scale, &mut room_kt);
            let k = Panels::pack(k, (width, d), T::ONE, &mut room_k);
            let v = MatrixRef::row_major(&self.v[from * width_out..], width_out).transposed();
            let values_t = Panels::pack(v, (width_out, width), T::ONE, &mut room_vt);
            own_k.fill(T::ZERO);
            own_v.fill(T::ZERO);
            let seeing_some = self.sight.queries_of(some.clone());
            for start in seeing_some.clone().step_by(QUERIES_BACK) {
                let block = start..seeing_some.end.min(start + QUERIES_BACK);
                let (rows, at) = (block.len(), start - seeing.start);
                self.scores(block.clone(), some.clone(), keys_t, &mut weights);
                let g = MatrixRef::row_major(&grad[at * width_out..], width_out);
                block_product((rows, width_out, width), g, values_t, &mut slopes, STRIDE, false);
                if let Some(drop) = self.drop {
                    drop.apply(&mut slopes, index, block.clone(), some.clone());
                }
                let normalisers = &after.normalisers[2 * block.start..2 * block.end];
                weights_and_grads(&mut weights, &mut slopes, rows, width, normalisers, &along[at..]);
                if let Some(drop) = self.drop {
                    drop.apply(&mut weights, index, block.clone(), some.clone());
                }
                if !d_bias.is_empty() {
                    let all = self.k.len() / d;
                    for (i, slopes) in block.zip(slopes.chunks(STRIDE)) {
                        d_bias[i * all..][some.clone()].copy_from_slice(&slopes[..width]);
                    }
                }
                let slopes = MatrixRef::row_major(&slopes, STRIDE);
                let weights_t = MatrixRef::row_major(&weights, STRIDE).transposed();
                block_product((width, rows, width_out), weights_t, grads.rows_from(at), &mut own_v, pad_v, true);
                block_product((width, rows, d), slopes.transposed(), queries.rows_from(at), &mut own_k, pad_d, true);
                block_product((rows, width, d), slopes, k, &mut dq[at * pad_d..], pad_d, true);
            }
            let at = from - keys.start;
            let (dk, dv) = (&mut dk[at * d..][..width * d], &mut dv[at * width_out..][..width * width_out]);
            scaled_rows(&own_k, pad_d, self.scale, dk, d, accumulate[0]);
            scaled_rows(&own_v, pad_v, T::ONE, dv, width_out, accumulate[1]);
        }
    }
}
