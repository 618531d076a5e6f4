//! LSTM and GRU: against PyTorch, against chains of small ops, with padding and reversal, and their bits.

use gradome_tape::{Float, RecurrentOptions, Shape, Tape, Tensor, Var};
use proptest::prelude::*;

// What PyTorch 2.15 gives in f64 for `nn.LSTM(2, 2, batch_first=True)` and `nn.GRU(..)`: value by value, the gradients
// those of the sum of squares of all h plus the sum of cubes of the last states. Parameter number k, in PyTorch's
// order, is sin(7 i + j + k) / 2 in row i and column j (biases have j = 0); h0 and c0 have k = 4 and 5; x is
// cos(1.3 index) of shape [2, 3, 2].
const LSTM: &[(&str, &[f64])] = &[
    (
        "every h",
        &[
            -0.18556978204285,
            -0.084265481627152,
            -0.231236536417607,
            0.081327561483266,
            -0.274626916749105,
            -0.198835894433773,
            -0.076332670710724,
            0.165218160500483,
            -0.318954355907651,
            -0.101060712436391,
            -0.230032823342954,
            -0.060649254132768,
        ],
    ),
    ("a last state", &[-0.274626916749105, -0.198835894433773, -0.230032823342954, -0.060649254132768]),
    ("a last state", &[-0.654983381492618, -0.326473894161262, -0.441728613067037, -0.100641023800214]),
    (
        "gradient of x",
        &[
            -0.007313620941364,
            0.052172136731262,
            -0.016109546693278,
            -0.015600748298774,
            -0.042418315744749,
            -0.301303705091754,
            -0.011853644858356,
            0.007180251539694,
            -0.023992452714193,
            0.049947986433966,
            -0.011876407342718,
            -0.114862533185372,
        ],
    ),
    (
        "gradient of the input weight",
        &[
            -0.119326489328767,
            -0.150748913961805,
            -0.013139994160963,
            -0.027301832783413,
            -0.080992940331628,
            -0.076880107341139,
            0.011607210861602,
            -0.01271200251535,
            0.317431301280652,
            0.349092509808086,
            0.035499330774823,
            -0.054104545402822,
            -0.001737525326046,
            0.078562342896239,
            0.016685362528918,
            0.009576677573902,
        ],
    ),
    (
        "gradient of the hidden weight",
        &[
            0.046310756322355,
            -0.012675525448535,
            -0.010500757526505,
            -0.006777814526555,
            0.030321614827146,
            -0.011701206972416,
            -0.00695898507945,
            -0.00597506641386,
            -0.100290791522096,
            0.058781610451165,
            -0.003135590629986,
            0.002194136406092,
            -0.049743394506185,
            -0.005001767876685,
            -0.017975067004056,
            -0.005384777409105,
        ],
    ),
    (
        "gradient of the input bias",
        &[
            -0.179763746498813,
            0.027062742082769,
            -0.125149435616694,
            0.009087189774549,
            0.441184845138581,
            -0.075811962881466,
            0.248795312023971,
            0.055036664703884,
        ],
    ),
    (
        "gradient of the hidden bias",
        &[
            -0.179763746498813,
            0.027062742082769,
            -0.125149435616694,
            0.009087189774549,
            0.441184845138581,
            -0.075811962881466,
            0.248795312023971,
            0.055036664703884,
        ],
    ),
    ("gradient of h0", &[0.052172136731262, 0.063691072497302, 0.007180251539694, 0.019612657785576]),
    ("gradient of c0", &[-0.079354051653295, -0.044001550333275, -0.032079136226303, 0.070629177201075]),
];
const GRU: &[(&str, &[f64])] = &[
    (
        "every h",
        &[
            -0.359498313751135,
            -0.428277574258326,
            -0.311855891301473,
            0.137284568947331,
            -0.526149475777019,
            -0.385286482895158,
            -0.226055637584742,
            0.099936926832386,
            -0.563718972708422,
            -0.27140041700556,
            -0.377712583334022,
            -0.228385418677433,
        ],
    ),
    ("a last state", &[-0.526149475777019, -0.385286482895158, -0.377712583334022, -0.228385418677433]),
    (
        "gradient of x",
        &[
            0.016608225922885,
            0.261784247656544,
            -0.107233174430004,
            0.086659128713503,
            -0.01641279674315,
            0.075902727984678,
            -0.090704767834605,
            0.095363073971453,
            -0.062756786126128,
            0.279841591016504,
            0.019348986828399,
            0.140158958795517,
        ],
    ),
    (
        "gradient of the input weight",
        &[
            -0.014258344009089,
            0.031623440776905,
            -0.062699560230445,
            -0.057957141421251,
            0.087857373244628,
            -0.157137669998081,
            0.053192698498283,
            -0.026175675416,
            0.050532525021088,
            0.441799675704792,
            -0.451483626248683,
            -0.730620845663026,
        ],
    ),
    (
        "gradient of the hidden weight",
        &[
            0.016072523949415,
            0.020230279947563,
            0.020345455141911,
            0.010419646819196,
            -0.00857960302409,
            -0.042021784161662,
            0.050862061826145,
            0.002970022344198,
            0.401953221478714,
            0.251938452289794,
            0.134154480189854,
            0.039732513849901,
        ],
    ),
    (
        "gradient of the input bias",
        &[
            -0.030274060575253,
            -0.05875294099534,
            -0.059981146467411,
            -0.158840871639323,
            -2.000510212807888,
            -0.678593420058942,
        ],
    ),
    (
        "gradient of the hidden bias",
        &[
            -0.030274060575253,
            -0.05875294099534,
            -0.059981146467411,
            -0.158840871639323,
            -1.071137568179037,
            -0.424223583942466,
        ],
    ),
    ("gradient of h0", &[-0.250425208702556, -0.162196461413892, -0.114027524721298, 0.193935621391369]),
];

fn parameter(rows: usize, columns: usize, k: usize) -> Tensor<f64> {
    Tensor::from_fn([rows, columns], |i| 0.5 * ((i / columns * 7 + i % columns + k) as f64).sin())
}

fn flat(x: Tensor<f64>) -> Tensor<f64> {
    Tensor::new(x.shape().len(), x.data())
}

/// The first is every h, the others are the last states.
fn recurrent<'t, T: Float>(v: &[Var<'t, T>], options: RecurrentOptions) -> Vec<Var<'t, T>> {
    let weights = [v[1], v[2], v[3], v[4]];
    if v.len() == 7 {
        v[0].lstm(weights, [v[5], v[6]], options).to_vec()
    } else {
        v[0].gru(weights, v[5], options).to_vec()
    }
}

fn assert_pytorch(gates: usize, expected: &[(&str, &[f64])]) {
    let tape = Tape::<f64>::new();
    let rows = 2 * gates;
    let mut inputs = vec![
        Tensor::from_fn([2, 3, 2], |i| (1.3 * i as f64).cos()),
        parameter(rows, 2, 0),
        parameter(rows, 2, 1),
        flat(parameter(rows, 1, 2)),
        flat(parameter(rows, 1, 3)),
        parameter(2, 2, 4),
    ];
    if gates == 4 {
        inputs.push(parameter(2, 2, 5));
    }
    let vars: Vec<_> = inputs.iter().map(|x| tape.variable(x)).collect();
    let out = recurrent(&vars, RecurrentOptions::default());
    let loss = out[1..].iter().fold(out[0].square().sum(), |sum, last| sum + (last.square() * *last).sum());
    let gradients = loss.backward();
    let mut found: Vec<Vec<f64>> = out.iter().map(|y| y.value().to_f64()).collect();
    found.extend(vars.iter().map(|v| gradients.of(*v).unwrap().to_f64()));
    assert_eq!(found.len(), expected.len());
    for (found, (name, expected)) in found.iter().zip(expected) {
        assert_eq!(found.len(), expected.len(), "{name}");
        for (i, (f, e)) in found.iter().zip(*expected).enumerate() {
            assert!((f - e).abs() < 1e-12, "{name}, element {i} is {f}, PyTorch {e}");
        }
    }
}

#[test]
fn lstm_gives_pytorchs_numbers() {
    assert_pytorch(4, LSTM);
}

#[test]
fn gru_gives_pytorchs_numbers() {
    assert_pytorch(3, GRU);
}

#[derive(Clone, Debug)]
struct Case {
    gates: usize,
    batch: usize,
    time: usize,
    inputs: usize,
    hidden: usize,
    options: RecurrentOptions,
}

impl Case {
    fn shapes(&self) -> Vec<Shape> {
        let rows = self.gates * self.hidden;
        let state = Shape::new(&[self.batch, self.hidden]);
        let mut shapes = vec![
            Shape::new(&[self.batch, self.time, self.inputs]),
            Shape::new(&[rows, self.inputs]),
            Shape::new(&[rows, self.hidden]),
            Shape::new(&[rows]),
            Shape::new(&[rows]),
            state,
        ];
        if self.gates == 4 {
            shapes.push(state);
        }
        shapes
    }

    /// The same from small ops, one step after the other; held states are a choice by a mask.
    fn composed<'t>(&self, tape: &'t Tape<f64>, v: &[Var<'t, f64>]) -> Vec<Var<'t, f64>> {
        let n = self.hidden;
        let (mut h, mut c) = (v[5], v.get(6).copied().unwrap_or(v[5]));
        let mut outputs = vec![h; self.time];
        for step in 0..self.time {
            let t = if self.options.reverse { self.time - 1 - step } else { step };
            let x = v[0].narrow(1, t, 1).reshape([self.batch, self.inputs]);
            let (a, b) = (x.matmul_transposed(v[1]) + v[3], h.matmul_transposed(v[2]) + v[4]);
            let gate = |of: Var<'t, f64>, i: usize| of.narrow(1, i * n, n);
            let (new_h, new_c) = if self.gates == 4 {
                let both = a + b;
                let new_c = gate(both, 1).sigmoid() * c + gate(both, 0).sigmoid() * gate(both, 2).tanh();
                (gate(both, 3).sigmoid() * new_c.tanh(), new_c)
            } else {
                let (r, z) = ((gate(a, 0) + gate(b, 0)).sigmoid(), (gate(a, 1) + gate(b, 1)).sigmoid());
                let candidate = (gate(a, 2) + r * gate(b, 2)).tanh();
                ((1.0 - z) * candidate + z * h, c)
            };
            let valid = tape.constant(&Tensor::from_fn([self.batch, 1], |row| {
                f64::from(u8::from(self.options.lengths.as_ref().is_none_or(|l| t < l[row])))
            }));
            h = valid * new_h + (1.0 - valid) * h;
            c = valid * new_c + (1.0 - valid) * c;
            outputs[t] = (valid * h).unsqueeze(1);
        }
        let mut all = vec![tape.concat(&outputs, 1), h];
        if self.gates == 4 {
            all.push(c);
        }
        all
    }

    fn values_and_gradients(&self, whole: bool) -> Vec<Vec<f64>> {
        let tape = Tape::<f64>::new();
        let wave = |shape: Shape, k: usize| Tensor::from_fn(shape, |i| (1.7 * i as f64 + k as f64).sin() * 0.8);
        let vars: Vec<_> = self.shapes().into_iter().enumerate().map(|(k, s)| tape.variable(&wave(s, k))).collect();
        let out = if whole { recurrent(&vars, self.options.clone()) } else { self.composed(&tape, &vars) };
        let weighed = out.iter().enumerate().map(|(k, y)| (*y * tape.constant(&wave(y.shape(), 11 + k))).sum());
        let loss = weighed.reduce(|a, b| a + b).unwrap();
        let gradients = loss.backward();
        let mut all: Vec<Vec<f64>> = out.iter().map(|y| y.value().to_f64()).collect();
        all.extend(vars.iter().map(|&v| {
            // an input of padding alone reaches nothing in the composed form
            gradients.of(v).map_or_else(|| vec![0.0; v.shape().len()], |g| g.to_f64())
        }));
        all
    }

    fn check(&self) {
        let (found, expected) = (self.values_and_gradients(true), self.values_and_gradients(false));
        for (k, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let largest = expected.iter().fold(1.0, |a: f64, b| a.max(b.abs()));
            for (i, (f, e)) in found.iter().zip(expected).enumerate() {
                assert!((f - e).abs() < 1e-10 * largest, "{self:?}: array {k}, element {i} is {f}, composed {e}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn recurrent_layers_are_chains_of_small_ops(
        gates in 3usize..5,
        (batch, time, inputs, hidden) in (1usize..12, 1usize..6, 1usize..7, 1usize..20),
        reverse in any::<bool>(),
        padded in any::<bool>(),
    ) {
        let lengths = padded.then(|| (0..batch).map(|b| (b * 5 + 2) % (time + 1)).collect());
        Case { gates, batch, time, inputs, hidden, options: RecurrentOptions { reverse, lengths } }.check();
    }
}

#[test]
fn padding_changes_nothing_before_it() {
    let options = |lengths| RecurrentOptions { reverse: false, lengths };
    for gates in [3, 4] {
        let case = Case { gates, batch: 2, time: 5, inputs: 3, hidden: 4, options: options(None) };
        let tape = Tape::<f64>::new();
        let vars: Vec<_> = case
            .shapes()
            .into_iter()
            .enumerate()
            .map(|(k, s)| tape.constant(&Tensor::from_fn(s, |i| (1.3 * i as f64 + k as f64).sin())))
            .collect();
        let whole = recurrent(&vars, options(None))[0].value();
        let cut = recurrent(&vars, options(Some(vec![3, 5])));
        assert_eq!(cut[0].value().data()[..12], whole.data()[..12]);
        assert!(cut[0].value().data()[12..20].iter().all(|&y| y == 0.0));
        assert_eq!(cut[0].value().data()[20..], whole.data()[20..]);
        // the last state is that of the last valid time
        assert_eq!(cut[1].value().data()[..4], whole.data()[8..12]);
    }
}

#[test]
fn saturated_gates_stay_finite() {
    let tape = Tape::<f32>::new();
    let x = tape.variable(&Tensor::from_fn([1, 3, 1], |i| if i == 1 { -1e30 } else { 1e30 }));
    for gates in [3, 4] {
        let w = |shape: &[usize]| tape.variable(&Tensor::full(shape, 1.0));
        let mut v = vec![x, w(&[gates, 1]), w(&[gates, 1]), w(&[gates]), w(&[gates]), w(&[1, 1])];
        if gates == 4 {
            v.push(w(&[1, 1]));
        }
        let y = recurrent(&v, RecurrentOptions::default())[0];
        let gradients = y.sum().backward();
        assert!(y.value().data().iter().all(|y| y.is_finite()));
        v.iter().for_each(|v| assert!(gradients.of(*v).unwrap().data().iter().all(|g| g.is_finite())));
    }
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    fn bits<T: Float>(threads: usize) -> Vec<u64> {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
            let mut all = Vec::new();
            for gates in [3, 4] {
                let options = RecurrentOptions { reverse: true, lengths: None };
                // a step is shared out: the hidden size makes tasks of eight sequences
                let case = Case { gates, batch: 37, time: 4, inputs: 33, hidden: 200, options };
                let tape = Tape::<T>::new();
                let wave = |s: Shape, k: usize| Tensor::from_fn(s, |i| T::of((1.7 * i as f64 + k as f64).sin() * 0.1));
                let v: Vec<_> =
                    case.shapes().into_iter().enumerate().map(|(k, s)| tape.variable(&wave(s, k))).collect();
                let out = recurrent(&v, case.options);
                let gradients = (out[0].square().sum() + out[1].sum()).backward();
                all.extend(out[0].value().to_f64());
                v.iter().for_each(|v| all.extend(gradients.of(*v).unwrap().to_f64()));
            }
            all.into_iter().map(f64::to_bits).collect()
        })
    }
    assert!(bits::<f32>(1) == bits::<f32>(2) && bits::<f32>(1) == bits::<f32>(4));
    assert!(bits::<f64>(1) == bits::<f64>(2) && bits::<f64>(1) == bits::<f64>(4));
}

#[test]
#[should_panic(expected = "lstm: [1, 2, 3] with weights [8, 4] and [8, 2]: expected [8, 3] and [8, 2]")]
fn weights_that_do_not_fit_are_named() {
    let tape = Tape::<f64>::new();
    let w = |shape: &[usize]| tape.constant(&Tensor::zeros(shape));
    let weights = [w(&[8, 4]), w(&[8, 2]), w(&[8]), w(&[8])];
    w(&[1, 2, 3]).lstm(weights, [w(&[1, 2]), w(&[1, 2])], RecurrentOptions::default());
}
