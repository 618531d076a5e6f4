//! Attention: against the chain of small ops it replaces, its masks, its extremes, its memory, its bits.

use gradome_tape::{AttentionOptions, Float, Tape, Tensor, Var};
use proptest::prelude::*;

fn wave<T: Float>(shape: &[usize], phase: f64) -> Tensor<T> {
    Tensor::from_fn(shape, |i| T::of((1.7 * i as f64 + phase).sin() * 1.3))
}

/// What a case hides, as plain data.
#[derive(Clone, Debug, Default)]
struct Case {
    batch: usize,
    heads: usize,
    n: usize,
    m: usize,
    d: usize,
    dv: usize,
    causal: bool,
    window: Option<usize>,
    lengths: Option<Vec<usize>>,
    bias: bool,
}

impl Case {
    fn visible(&self, batch: usize, i: usize, j: usize) -> bool {
        !(self.causal && j > i
            || self.window.is_some_and(|w| i.abs_diff(j) > w)
            || self.lengths.as_ref().is_some_and(|l| j >= l[batch]))
    }

    fn shapes(&self) -> Vec<Vec<usize>> {
        let (b, h) = (self.batch, self.heads);
        let mut shapes = vec![vec![b, h, self.n, self.d], vec![b, h, self.m, self.d], vec![b, h, self.m, self.dv]];
        if self.bias {
            shapes.push(vec![h, self.n, self.m]);
        }
        shapes
    }

    fn whole<'t>(&self, v: &[Var<'t, f64>]) -> Var<'t, f64> {
        let options = AttentionOptions {
            causal: self.causal,
            window: self.window,
            lengths: self.lengths.clone(),
            bias: v.get(3).copied(),
            ..Default::default()
        };
        v[0].attention(v[1], v[2], options)
    }

    /// exp of scores where visible, over their sum; zero for a query that sees nothing.
    fn composed<'t>(&self, tape: &'t Tape<f64>, v: &[Var<'t, f64>]) -> Var<'t, f64> {
        let mut scores = v[0].matmul_transposed(v[1]) * (1.0 / (self.d as f64).sqrt());
        if let Some(bias) = v.get(3) {
            scores = scores + *bias;
        }
        let at = |i: usize| (i / self.m % self.n, i % self.m, i / (self.heads * self.n * self.m));
        let seen = tape.constant(&Tensor::from_fn(scores.shape(), |i| {
            let (row, column, batch) = at(i);
            f64::from(u8::from(self.visible(batch, row, column)))
        }));
        let none = tape.constant(&Tensor::from_fn([self.batch, 1, self.n, 1], |i| {
            let row = i % self.n;
            f64::from(u8::from(!(0..self.m).any(|j| self.visible(i / self.n, row, j))))
        }));
        let weights = scores.exp() * seen;
        (weights / (weights.sum_axis(-1).unsqueeze(-1) + none)).matmul(v[2])
    }

    /// Value and gradients both ways.
    fn check(&self) {
        let inputs: Vec<Tensor<f64>> =
            self.shapes().iter().enumerate().map(|(k, shape)| wave(shape, k as f64 + 0.2)).collect();
        let run = |whole: bool| {
            let tape = Tape::new();
            let vars: Vec<_> = inputs.iter().map(|x| tape.variable(x)).collect();
            let y = if whole { self.whole(&vars) } else { self.composed(&tape, &vars) };
            let gradients = y.backward_with(&wave(&y.shape(), 0.9));
            let mut all = vec![y.value().to_f64()];
            all.extend(vars.iter().map(|&v| gradients.of(v).unwrap().to_f64()));
            all
        };
        for (k, (found, expected)) in run(true).iter().zip(run(false)).enumerate() {
            for (i, (f, e)) in found.iter().zip(&expected).enumerate() {
                assert!((f - e).abs() < 1e-10, "{self:?}: array {k}, element {i} is {f}, composed {e}");
            }
        }
    }
}

#[test]
fn attention_equals_products_and_a_softmax() {
    let base = Case { batch: 1, heads: 2, n: 5, m: 7, d: 3, dv: 4, ..Default::default() };
    base.check();
    for (n, m, d, dv) in
        [(1, 1, 1, 1), (1, 9, 8, 8), (9, 1, 16, 5), (64, 128, 32, 32), (65, 257, 33, 17), (200, 190, 40, 70)]
    {
        Case { n, m, d, dv, ..base.clone() }.check();
        Case { n, m, d, dv, causal: true, ..base.clone() }.check();
        Case { n, m, d, dv, bias: true, batch: 2, ..base.clone() }.check();
    }
}

#[test]
fn a_long_head_is_shared_out_without_a_change_of_its_value() {
    // more than one part of queries and of keys
    let base = Case { batch: 1, heads: 1, n: 700, m: 640, d: 4, dv: 3, ..Default::default() };
    base.check();
    Case { causal: true, ..base.clone() }.check();
    Case { window: Some(37), ..base.clone() }.check();
    Case { window: Some(37), causal: true, lengths: Some(vec![500]), ..base }.check();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn masks_bands_and_lengths_equal_the_composed_form(
        (batch, heads) in (1usize..3, 1usize..3),
        (n, m, d, dv) in (1usize..90, 1usize..150, 1usize..20, 1usize..20),
        (causal, bias) in (any::<bool>(), any::<bool>()),
        window in proptest::option::of(0usize..100),
        padded in proptest::option::of(0usize..150),
    ) {
        let lengths = padded.map(|l| (0..batch).map(|b| (l + 31 * b) % (m + 1)).collect());
        Case { batch, heads, n, m, d, dv, causal, window, lengths, bias }.check();
    }
}

#[test]
fn a_query_that_sees_nothing_gives_zeros_and_has_no_gradient() {
    let tape = Tape::<f64>::new();
    let [q, k, v] = [0.1, 0.2, 0.3].map(|phase| tape.variable(&wave(&[2, 3, 4], phase)));
    let options = AttentionOptions { lengths: Some(vec![0, 3]), ..Default::default() };
    let y = q.attention(k, v, options);
    assert!(y.value().data()[..12].iter().all(|&y| y == 0.0));
    assert!(y.value().data()[12..].iter().all(|&y| y != 0.0));
    let gradients = y.square().sum().backward();
    for x in [q, k, v] {
        let gradient = gradients.of(x).unwrap();
        assert!(gradient.data()[..12].iter().all(|&g| g == 0.0));
        assert!(gradient.data()[12..].iter().any(|&g| g != 0.0));
    }
    // minus infinity as a bias hides as well
    let hidden = tape.constant(&Tensor::from_fn([3, 3], |i| if i < 3 { f64::NEG_INFINITY } else { 0.0 }));
    let y = q.attention(k, v, AttentionOptions { bias: Some(hidden), ..Default::default() });
    assert!(y.value().data()[..4].iter().all(|&y| y == 0.0));
    assert!(y.sum().backward().of(q).unwrap().data()[..4].iter().all(|&g| g == 0.0));
}

#[test]
fn large_scores_do_not_overflow() {
    let tape = Tape::<f32>::new();
    let q = tape.variable(&Tensor::full([2, 1], 1e4));
    let k = tape.variable(&Tensor::new([3, 1], &[1e4, -1e4, 1e4]));
    let v = tape.variable(&Tensor::new([3, 1], &[1.0, 5.0, 3.0]));
    let y = q.attention(k, v, AttentionOptions::default());
    assert_eq!(y.value().data(), &[2.0, 2.0]);
    let gradients = y.sum().backward();
    assert_eq!(gradients.of(v).unwrap().data(), &[1.0, 0.0, 1.0]);
}

#[test]
fn a_nan_reaches_the_rows_that_see_it_and_no_others() {
    let tape = Tape::<f64>::new();
    let mut with_nan = wave::<f64>(&[4, 2], 0.4);
    with_nan.data_mut()[4] = f64::NAN;
    let (x, k) = (tape.constant(&wave(&[4, 2], 0.1)), tape.constant(&with_nan));
    let y = x.attention(k, x, AttentionOptions { causal: true, ..Default::default() }).value();
    assert!(y.data()[..4].iter().all(|y| y.is_finite()) && y.data()[4..].iter().all(|y| y.is_nan()));
}

#[test]
fn the_scale_multiplies_the_scores() {
    let tape = Tape::<f64>::new();
    let [q, k, v] = [0.1, 0.2, 0.3].map(|phase| tape.variable(&wave(&[5, 4], phase)));
    let scaled = q.attention(k, v, AttentionOptions { scale: Some(0.25), ..Default::default() }).value();
    let by_hand = (q * 0.5).attention(k, v, AttentionOptions::default()).value();
    scaled.data().iter().zip(by_hand.data()).for_each(|(a, b)| assert!((a - b).abs() < 1e-14));
}

#[test]
fn dropout_drops_its_share_and_keeps_the_mean() {
    // all scores are equal and the values are ones: an output is the share of kept weights over 1 - rate
    let tape = Tape::<f64>::new();
    let (n, m) = (300, 400);
    let (q, k) = (tape.constant(&Tensor::zeros([n, 2])), tape.constant(&Tensor::zeros([m, 2])));
    let v = tape.constant(&Tensor::full([m, 1], 1.0));
    let run = |seed| q.attention(k, v, AttentionOptions { dropout: Some((0.3, seed)), ..Default::default() }).value();
    let y = run(7);
    let mean = y.data().iter().sum::<f64>() / n as f64;
    // the standard error of the mean is sqrt(0.3 / 0.7 / 120,000)
    assert!((mean - 1.0).abs() < 5.0 * (0.3f64 / 0.7 / (n * m) as f64).sqrt(), "{mean}");
    let spread = (y.data().iter().map(|y| (y - mean).powi(2)).sum::<f64>() / n as f64 * m as f64).sqrt();
    assert!((spread - (0.3f64 / 0.7).sqrt()).abs() < 0.1, "rows are independent: {spread}");
    assert_eq!(run(7), y);
    assert_ne!(run(8), y);
}

/// The bytes of all buffers that forward and backward over n positions made.
fn bytes(n: usize, window: Option<usize>) -> u64 {
    let rows = wave::<f32>(&[1, 2, n, 8], 0.3);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let info = pool.install(|| {
        allocation_counter::measure(|| {
            let tape = Tape::<f32>::new();
            let x = tape.variable(&rows);
            x.attention(x, x, AttentionOptions { window, ..Default::default() }).sum().backward();
        })
    });
    info.bytes_max
}

#[test]
fn memory_is_linear_in_the_length() {
    for (window, lengths) in [(None, [512, 1024, 2048]), (Some(16), [1024, 4096, 16_384])] {
        let per_position = lengths.map(|n| bytes(n, window) as f64 / n as f64);
        // fixed blocks of scores weigh less and less
        assert!(per_position[2] <= per_position[0] * 1.15, "{window:?}: {per_position:?} bytes a position");
        assert!(per_position[2] < 2000.0, "{window:?}: {per_position:?} bytes a position");
    }
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    fn bits<T: Float>(threads: usize) -> Vec<u64> {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
            let mut all = Vec::new();
            for (shape, window) in [([1, 1, 1500, 9], Some(40)), ([1, 2, 600, 9], None), ([3, 4, 70, 33], None)] {
                let tape = Tape::<T>::new();
                let [q, k, v] = [0.1, 0.2, 0.3].map(|phase| tape.variable(&wave(&shape, phase)));
                let y = q.attention(k, v, AttentionOptions { window, ..Default::default() });
                let gradients = y.square().sum().backward();
                all.extend(y.value().to_f64());
                [q, k, v].iter().for_each(|x| all.extend(gradients.of(*x).unwrap().to_f64()));
            }
            all.into_iter().map(f64::to_bits).collect()
        })
    }
    assert!(bits::<f32>(1) == bits::<f32>(2) && bits::<f32>(1) == bits::<f32>(4));
    assert!(bits::<f64>(1) == bits::<f64>(2) && bits::<f64>(1) == bits::<f64>(4));
}

#[test]
fn single_precision_follows_double_precision() {
    fn run<T: Float>() -> Vec<Vec<f64>> {
        let tape = Tape::<T>::new();
        let [q, k, v] = [0.1, 0.2, 0.3].map(|phase| tape.variable(&wave(&[2, 150, 48], phase)));
        let y = q.attention(k, v, AttentionOptions { causal: true, ..Default::default() });
        let gradients = y.square().sum().backward();
        let mut all = vec![y.value().to_f64()];
        all.extend([q, k, v].map(|x| gradients.of(x).unwrap().to_f64()));
        all
    }
    for (single, double) in run::<f32>().iter().zip(run::<f64>()) {
        let largest = double.iter().fold(1.0, |a: f64, b| a.max(b.abs()));
        single.iter().zip(&double).for_each(|(s, d)| assert!((s - d).abs() < 1e-5 * largest, "{s} {d}"));
    }
}

#[test]
#[should_panic(expected = "attention: [2, 3] x [2, 4] x [2, 4]")]
fn operands_that_do_not_fit_are_named() {
    let tape = Tape::<f64>::new();
    let (q, k) = (tape.constant(&Tensor::zeros([2, 3])), tape.constant(&Tensor::zeros([2, 4])));
    q.attention(k, k, AttentionOptions::default());
}

#[test]
#[should_panic(expected = "attention: 2 lengths up to 4 for 1 batches of 3 keys")]
fn lengths_that_do_not_fit_are_named() {
    let tape = Tape::<f64>::new();
    let x = tape.constant(&Tensor::zeros([3, 2]));
    x.attention(x, x, AttentionOptions { lengths: Some(vec![1, 4]), ..Default::default() });
}
