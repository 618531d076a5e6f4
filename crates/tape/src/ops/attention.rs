//! Scaled dot-product attention (Vaswani et al. 2017, eq. 1) in memory linear in the sequence's length.

use crate::float::Float;
use crate::kernels::attention::{Drop, Head, Outcome, Sight};
use crate::kernels::for_each_part;
use crate::kernels::operand::strided_offset;
use crate::kernels::reduce::add_summed_to;
use crate::kernels::tile::{line, scaled_rows};
use crate::op::{Array, At, Grads, Op, Sample, Samples, Saved, Shapes};
use crate::shape::Shape;
use crate::var::Var;

/// How [`Var::attention`] weighs keys; the default sees them all.
#[derive(Clone, Debug)]
pub struct AttentionOptions<'t, T: Float> {
    /// The factor of the products of queries and keys; 1 / sqrt(d) when absent.
    pub scale: Option<f64>,
    /// Whether query i sees only keys j <= i.
    pub causal: bool,
    /// How far query i sees: only keys with |i - j| <= window. Work and memory are then linear in the length.
    pub window: Option<usize>,
    /// For each entry of the first axis how many keys are valid; later keys are padding. One number for operands
    /// without leading axes.
    pub lengths: Option<Vec<usize>>,
    /// Added to the scores, for example a learned relative position: `[.., n, m]` or `[.., 1, m]`, leading axes
    /// broadcast; minus infinity hides a key. Where its gradient is wanted, that takes memory for `[.., n, m]`.
    pub bias: Option<Var<'t, T>>,
    /// A share of weights to set to zero, in 0..1 (the others are scaled up), and a seed. The same seed drops the same.
    pub dropout: Option<(f64, u64)>,
}

impl<T: Float> Default for AttentionOptions<'_, T> {
    fn default() -> Self {
        Self { scale: None, causal: false, window: None, lengths: None, bias: None, dropout: None }
    }
}

/// softmax(q k^T scale + bias) v.
pub struct Attention {
    scale: Option<f64>,
    causal: bool,
    window: Option<usize>,
    lengths: Option<Vec<usize>>,
    dropout: Option<(f64, u64)>,
}

/// With fewer heads than this, each head's queries or keys are shared out in several parts as well.
const TASKS: usize = 8;
/// A part has at least this many queries or keys, so that packing its operands pays.
const SMALLEST_PART: usize = 256;
/// A part of a local band has at most this many, so that its arrays stay small.
const LARGEST_BAND: usize = 2048;

/// The sizes of an attention.
#[derive(Clone, Copy)]
struct Sizes {
    heads: usize,
    /// Queries.
    n: usize,
    /// Keys.
    m: usize,
    d: usize,
    dv: usize,
}

impl Attention {
    fn sizes(&self, inputs: &[Shape]) -> Sizes {
        let [q, k, v] = [inputs[0], inputs[1], inputs[2]];
        let rank = q.rank();
        let fits = rank >= 2 && k.rank() == rank && v.rank() == rank && {
            let lead = |s: &Shape| Shape::new(&s[..rank - 2]);
            lead(&q) == lead(&k) && lead(&q) == lead(&v) && q[rank - 1] == k[rank - 1] && k[rank - 2] == v[rank - 2]
        };
        assert!(
            fits && q.last_size() > 0 && v.last_size() > 0,
            "attention: {q} x {k} x {v}: expected [.., n, d], [.., m, d], [.., m, dv] with d and dv above 0"
        );
        let sizes = Sizes {
            heads: q[..rank - 2].iter().product(),
            n: q[rank - 2],
            m: k[rank - 2],
            d: q[rank - 1],
            dv: v[rank - 1],
        };
        if let Some(bias) = inputs.get(3) {
            let (full, own) = (Self::score_shape(&q, &k), bias.rank());
            assert!(
                own >= 2 && own <= rank && bias[own - 1] == sizes.m && bias.broadcast(&full, Self::NAME) == full,
                "attention: the bias {bias} does not fit the scores {full}"
            );
        }
        if let Some(lengths) = &self.lengths {
            let batch = if rank > 2 { q[0] } else { 1 };
            assert!(
                lengths.len() == batch && lengths.iter().all(|&l| l <= sizes.m),
                "attention: {} lengths up to {} for {batch} batches of {} keys",
                lengths.len(),
                lengths.iter().max().unwrap_or(&0),
                sizes.m
            );
        }
        sizes
    }

    /// `[.., n, m]`
    fn score_shape(q: &Shape, k: &Shape) -> Shape {
        q.with(q.rank() - 1, k[k.rank() - 2])
    }

    fn head<'a, T: Float>(&self, x: &'a [Array<'_, T>], index: usize, sizes: Sizes) -> Head<'a, T> {
        let Sizes { heads, n, m, d, dv } = sizes;
        let valid = self.lengths.as_ref().map_or(m, |lengths| lengths[index * lengths.len() / heads]);
        let bias = x.get(3).map(|bias| {
            let full = Self::score_shape(&x[0].shape, &x[1].shape);
            let strides = bias.shape.strides_in(&full);
            let row = strides[full.rank() - 2];
            (&bias.data[strided_offset(index * n * m, &strides, &full)..], row)
        });
        Head {
            q: &x[0].data[index * n * d..(index + 1) * n * d],
            k: &x[1].data[index * m * d..(index + 1) * m * d],
            v: &x[2].data[index * m * dv..(index + 1) * m * dv],
            d,
            dv,
            scale: T::of(self.scale.unwrap_or(1.0 / (d as f64).sqrt())),
            sight: Sight { queries: n, keys: valid, causal: self.causal, window: self.window.unwrap_or(usize::MAX) },
            bias: if n * m == 0 { None } else { bias },
            drop: self.dropout.map(|(rate, seed)| Drop { rate, seed }),
        }
    }

    /// How many of `len` queries or keys of a head make one task; depends on shapes alone.
    fn part(&self, len: usize, heads: usize) -> usize {
        let part = len.div_ceil(TASKS.div_ceil(heads)).max(SMALLEST_PART);
        if self.window.is_some() { part.min(LARGEST_BAND) } else { part }
    }
}

impl<T: Float> Op<T> for Attention {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Shapes {
        let sizes = self.sizes(inputs);
        Shapes::from_elem(inputs[0].with(inputs[0].rank() - 1, sizes.dv), 1)
    }

    fn forward(&self, x: &[Array<'_, T>], y: &mut [&mut [T]], saved: &mut Saved<T>) {
        let shapes: Shapes = x.iter().map(|x| x.shape).collect();
        let sizes = self.sizes(&shapes);
        let Sizes { heads, n, dv, .. } = sizes;
        let pool = saved.pool.clone();
        let normalisers = saved.keep(heads * n * 2);
        if heads * n == 0 {
            return;
        }
        let part = self.part(n, heads);
        for_each_part(heads, [&mut *y[0], normalisers], [n * dv, n * 2], &|index, [out, normalisers]| {
            let head = self.head(x, index, sizes);
            for_each_part(n.div_ceil(part), [out, normalisers], [part * dv, part * 2], &|p, [out, normalisers]| {
                head.forward(index, p * part..n.min((p + 1) * part), out, normalisers, &pool);
            });
        });
    }

    fn backward(&self, at: &At<'_, T>, grads: &mut Grads<'_, T>) {
        let shapes: Shapes = at.x.iter().map(|x| x.shape).collect();
        let sizes = self.sizes(&shapes);
        let Sizes { heads, n, m, d, dv } = sizes;
        let scores = Self::score_shape(&at.x[0].shape, &at.x[1].shape);
        let with_bias = at.x.len() > 3 && grads.wanted(3);
        let mut d_bias = at.scratch(if with_bias { heads * n * m } else { 0 });
        d_bias.fill(T::ZERO);
        // an operand whose gradient is not wanted gets an array that is thrown away
        let mut unwanted: [_; 3] =
            std::array::from_fn(|i| at.scratch(if grads.wanted(i) { 0 } else { at.x[i].data.len() }));
        let mut accumulate = [false; 3];
        let mut targets =
            grads.write_all::<3>().into_iter().zip(&mut unwanted).enumerate().map(|(i, (wanted, spare))| {
                let (grad, before) = wanted.unwrap_or((&mut spare[..], false));
                accumulate[i] = before;
                grad
            });
        let [dq, dk, d_v] = std::array::from_fn(|_| targets.next().expect("there are three operands"));
        drop(targets);

        // keys are shared out; a part's queries are those that see some of its keys
        let part = if with_bias { m.max(1) } else { self.part(m, heads.max(1)) };
        let parts = m.div_ceil(part);
        let width = d.next_multiple_of(line::<T>());
        let work = |index: usize, [dq, dk, d_v, d_bias]: [&mut [T]; 4]| {
            let head = self.head(at.x, index, sizes);
            let keys_of = |p: usize| p * part..m.min((p + 1) * part);
            let reach = (0..parts).map(|p| head.sight.queries_of(keys_of(p)).len()).max().unwrap_or(0) * width;
            let mut partial = at.scratch(parts * reach);
            let after = Outcome {
                out: &at.y[0].data[index * n * dv..(index + 1) * n * dv],
                grad: &at.grad(0)[index * n * dv..(index + 1) * n * dv],
                normalisers: &at.saved[0][index * n * 2..(index + 1) * n * 2],
            };
            let sizes = [reach, part * d, part * dv, n * m];
            for_each_part(parts, [&mut partial, dk, d_v, d_bias], sizes, &|p, arrays| {
                head.backward(index, keys_of(p), after, arrays, [accumulate[1], accumulate[2]], at.pool);
            });
            if !accumulate[0] {
                dq.fill(T::ZERO);
            }
            for p in 0..parts {
                let queries = head.sight.queries_of(keys_of(p));
                let from = &partial[p * reach..p * reach + queries.len() * width];
                scaled_rows(from, width, head.scale, &mut dq[queries.start * d..queries.end * d], d, true);
            }
        };
        for_each_part(heads, [dq, dk, d_v, &mut d_bias], [n * d, m * d, m * dv, n * m], &work);
        if with_bias {
            let grad = grads.sum(3).expect("it is wanted");
            add_summed_to(&d_bias, &scores, grad, &at.x[3].shape, at.pool);
        }
    }
}

impl Samples for Attention {
    const NAME: &'static str = "attention";
    const DOC: &'static str = "Scaled dot-product attention in memory linear in the length (Vaswani et al. 2017; Dao \
                               et al. 2022). PyTorch: `F.scaled_dot_product_attention`.";

    fn samples() -> Vec<Sample<Self>> {
        let plain = || Self { scale: None, causal: false, window: None, lengths: None, dropout: None };
        let all = -1.5..1.5;
        vec![
            Sample::new(plain(), all.clone(), &[&[5, 3], &[7, 3], &[7, 2]]),
            Sample::new(plain(), all.clone(), &[&[2, 3, 4, 5], &[2, 3, 6, 5], &[2, 3, 6, 5]]),
            Sample::new(Self { causal: true, ..plain() }, all.clone(), &[&[2, 6, 3], &[2, 6, 3], &[2, 6, 3]]),
            Sample::new(Self { window: Some(1), ..plain() }, all.clone(), &[&[1, 7, 2], &[1, 7, 2], &[1, 7, 2]]),
            Sample::new(
                Self { lengths: Some(vec![2, 0]), scale: Some(0.7), ..plain() },
                all.clone(),
                &[&[2, 1, 3, 2], &[2, 1, 4, 2], &[2, 1, 4, 3]],
            ),
            Sample::new(plain(), all.clone(), &[&[2, 2, 3, 2], &[2, 2, 4, 2], &[2, 2, 4, 2], &[2, 3, 4]]),
            Sample::new(plain(), all.clone(), &[&[2, 3, 2], &[2, 4, 2], &[2, 4, 2], &[1, 4]]),
            Sample::new(
                Self { dropout: Some((0.4, 9)), causal: true, ..plain() },
                all.clone(),
                &[&[6, 3], &[6, 3], &[6, 2]],
            ),
            Sample::new(plain(), all.clone(), &[&[1, 1], &[1, 1], &[1, 1]]),
            Sample::new(plain(), all.clone(), &[&[0, 2], &[3, 2], &[3, 2]]),
            Sample::new(plain(), all, &[&[3, 2], &[0, 2], &[0, 2]]),
        ]
    }
}

impl<'t, T: Float> Var<'t, T> {
    /// Scaled dot-product attention (Vaswani et al. 2017, eq. 1): softmax(q k^T scale + bias) v, row by row.
    ///
    /// `self` holds the queries `[.., n, d]`, `keys` is `[.., m, d]`, `values` `[.., m, dv]`; the result is
    /// `[.., n, dv]`. Leading axes are batch and heads. No `[n, m]` array is made: memory is linear in n and m. A query
    /// that sees no key gives zeros and has no gradient. PyTorch: `F.scaled_dot_product_attention`.
    ///
    /// ```
    /// use gradome_tape::{AttentionOptions, Tape, Tensor};
    /// let tape = Tape::<f64>::new();
    /// let x = tape.constant(&Tensor::from_fn([3, 2], |i| i as f64));
    /// let y = x.attention(x, x, AttentionOptions { causal: true, ..Default::default() });
    /// // the first query sees the first key alone
    /// assert_eq!(y.value().data()[..2], [0.0, 1.0]);
    /// ```
    ///
    /// # Panics
    /// When the shapes, lengths or bias do not fit, or the share of dropout is not in 0..1.
    pub fn attention(self, keys: Self, values: Self, options: AttentionOptions<'t, T>) -> Self {
        let AttentionOptions { scale, causal, window, lengths, bias, dropout } = options;
        let dropout = dropout.filter(|(rate, _)| {
            assert!((0.0..1.0).contains(rate), "attention: a dropout of {rate} is not in 0..1");
            *rate > 0.0
        });
        let op = Attention { scale, causal, window, lengths, dropout };
        match bias {
            Some(bias) => self.tape.record(op, &[self, keys, values, bias])[0],
            None => self.tape.record(op, &[self, keys, values])[0],
        }
    }
}
