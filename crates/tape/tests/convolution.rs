//! Convolutions against their definition, and transposed ones as the adjoint.

use gradome_tape::{Activation, Convolution, Float, Tape, Tensor, Var};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
struct Case {
    batch: usize,
    groups: usize,
    inputs: usize,
    outputs: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    padding: (usize, usize),
    length: usize,
}

impl Case {
    fn span(&self) -> usize {
        (self.kernel - 1) * self.dilation + 1
    }
    fn positions(&self) -> usize {
        (self.length + self.padding.0 + self.padding.1 - self.span()) / self.stride + 1
    }
    fn convolution(&self) -> Convolution {
        Convolution::new()
            .stride(self.stride)
            .dilation(self.dilation)
            .groups(self.groups)
            .padding_at(self.padding.0, self.padding.1)
    }
    fn x_shape(&self) -> [usize; 3] {
        [self.batch, self.groups * self.inputs, self.length]
    }
    fn w_shape(&self) -> [usize; 3] {
        [self.groups * self.outputs, self.inputs, self.kernel]
    }
    /// Calls `f(y, w, x)` with the positions in memory of every term of the definition.
    fn terms(&self, mut f: impl FnMut(usize, usize, usize)) {
        for b in 0..self.batch {
            for o in 0..self.groups * self.outputs {
                for p in 0..self.positions() {
                    for c in 0..self.inputs {
                        for t in 0..self.kernel {
                            let q = (p * self.stride + t * self.dilation).wrapping_sub(self.padding.0);
                            if q < self.length {
                                let channel = o / self.outputs * self.inputs + c;
                                f(
                                    (b * self.groups * self.outputs + o) * self.positions() + p,
                                    (o * self.inputs + c) * self.kernel + t,
                                    (b * self.groups * self.inputs + channel) * self.length + q,
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let sizes = (1_usize..3, 1_usize..4, 1_usize..12, 1_usize..12, 1_usize..6);
    let steps = (1_usize..4, 1_usize..4, 0_usize..8, 0_usize..8, 0_usize..67);
    (sizes, steps).prop_map(|((batch, groups, inputs, outputs, kernel), (stride, dilation, left, right, length))| {
        let span = (kernel - 1) * dilation + 1;
        let length = length.max(span.saturating_sub(left + right));
        Case { batch, groups, inputs, outputs, kernel, stride, dilation, padding: (left, right), length }
    })
}

/// Small whole numbers: their sums are exact, in whatever order.
fn numbers<T: Float>(shape: &[usize], salt: usize) -> Tensor<T> {
    Tensor::from_fn(shape, |i| T::of(((i * 7 + salt * 5) % 11) as f64 - 5.0))
}

fn check<T: Float>(case: Case) {
    let tape = Tape::<T>::new();
    let (x, w) = (numbers::<T>(&case.x_shape(), 1), numbers::<T>(&case.w_shape(), 2));
    let outputs = case.groups * case.outputs;
    let bias = numbers::<T>(&[outputs], 3);
    let vars = [tape.variable(&x), tape.variable(&w), tape.variable(&bias)];
    let y = vars[0].conv1d(vars[1], Some(vars[2]), case.convolution());
    assert_eq!(*y.shape(), [case.batch, outputs, case.positions()]);

    let mut expected: Vec<f64> =
        (0..y.shape().len()).map(|i| bias.data()[i / case.positions() % outputs].to_f64()).collect();
    case.terms(|y, at_w, at_x| expected[y] += w.data()[at_w].to_f64() * x.data()[at_x].to_f64());
    assert_eq!(y.value().to_f64(), expected);

    let g = numbers::<T>(&y.shape(), 4);
    let (mut to_x, mut to_w) = (vec![0.0; x.shape().len()], vec![0.0; w.shape().len()]);
    case.terms(|y, at_w, at_x| {
        to_x[at_x] += w.data()[at_w].to_f64() * g.data()[y].to_f64();
        to_w[at_w] += x.data()[at_x].to_f64() * g.data()[y].to_f64();
    });
    let gradients = y.backward_with(&g);
    assert_eq!(gradients.of(vars[0]).unwrap().to_f64(), to_x);
    assert_eq!(gradients.of(vars[1]).unwrap().to_f64(), to_w);
    let mut to_bias = vec![0.0; outputs];
    g.to_f64().iter().enumerate().for_each(|(i, g)| to_bias[i / case.positions() % outputs] += g);
    assert_eq!(gradients.of(vars[2]).unwrap().to_f64(), to_bias);
}

/// <conv(x), z> = <x, conv_transpose(z)>.
fn check_adjoint(case: Case) {
    let tape = Tape::<f64>::new();
    let x = tape.constant(&numbers(&case.x_shape(), 1));
    let w = tape.constant(&numbers(&case.w_shape(), 2));
    let y = x.conv1d(w, None, case.convolution());
    let z = tape.constant(&numbers(&y.shape(), 3));
    let back = (case.positions() - 1) * case.stride + case.span();
    let padded = case.length + case.padding.0 + case.padding.1;
    // a window that the stride left out is an output padding
    let turned = z.conv_transpose1d(w, None, case.convolution().output_padding(padded - back));
    assert_eq!(turned.shape(), x.shape());
    let dot = |a: Var<'_, f64>, b: Var<'_, f64>| -> f64 {
        a.value().data().iter().zip(b.value().data()).map(|(a, b)| a * b).sum()
    };
    assert_eq!(dot(y, z), dot(x, turned));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn convolutions_and_their_gradients_match_the_definition(case in cases()) {
        check::<f32>(case);
        check::<f64>(case);
    }

    #[test]
    fn a_transposed_convolution_is_the_adjoint(case in cases()) {
        check_adjoint(case);
    }
}

#[test]
fn signals_of_many_tiles_match_the_definition() {
    let plain = Case {
        batch: 2,
        groups: 1,
        inputs: 5,
        outputs: 9,
        kernel: 7,
        stride: 1,
        dilation: 1,
        padding: (3, 3),
        length: 2500,
    };
    check::<f32>(plain);
    check::<f32>(Case { stride: 2, dilation: 3, ..plain });
    check::<f32>(Case { groups: 4, inputs: 1, outputs: 1, ..plain });
}

/// Of some lengths the signal is read where it is, of others a tile is copied.
#[test]
fn convolutions_of_width_1_match_the_definition_at_every_length() {
    for length in [1, 15, 16, 17, 40, 48, 63, 64, 95, 1040, 1048, 2100] {
        for (batch, groups, inputs, outputs) in [(2, 1, 5, 9), (1, 2, 3, 4), (1, 1, 7, 1)] {
            let case =
                Case { batch, groups, inputs, outputs, kernel: 1, stride: 1, dilation: 1, padding: (0, 0), length };
            check::<f64>(case);
            check::<f32>(case);
        }
    }
}

#[test]
fn a_fused_nonlinearity_gives_what_the_separate_op_gives() {
    let case = Case {
        batch: 2,
        groups: 1,
        inputs: 3,
        outputs: 10,
        kernel: 3,
        stride: 1,
        dilation: 1,
        padding: (1, 1),
        length: 50,
    };
    type Separate = for<'t> fn(Var<'t, f64>) -> Var<'t, f64>;
    let kinds: [(Activation, Separate); 3] =
        [(Activation::Relu, |x| x.relu()), (Activation::Tanh, |x| x.tanh()), (Activation::Sigmoid, |x| x.sigmoid())];
    for (activation, separate) in kinds {
        for outputs in [1, 10] {
            let case = Case { outputs, ..case };
            let run = |fused: bool| {
                let tape = Tape::<f64>::new();
                let x = tape.variable(&Tensor::from_fn(case.x_shape(), |i| (i as f64).sin()));
                let w = tape.variable(&Tensor::from_fn(case.w_shape(), |i| (1.3 * i as f64).cos()));
                let y = if fused {
                    x.conv1d(w, None, case.convolution().activation(activation))
                } else {
                    separate(x.conv1d(w, None, case.convolution()))
                };
                let gradients = y.square().sum().backward();
                [y.value(), gradients.of(x).unwrap().clone(), gradients.of(w).unwrap().clone()].map(|t| t.to_f64())
            };
            for (fused, apart) in run(true).iter().flatten().zip(run(false).iter().flatten()) {
                assert!((fused - apart).abs() < 1e-12 * apart.abs().max(1.0), "{activation:?}: {fused} {apart}");
            }
        }
    }
}

#[test]
#[should_panic(expected = "conv1d: [1, 3, 8] x [2, 4, 3]")]
fn channels_that_do_not_fit_are_named() {
    let tape = Tape::<f32>::new();
    let x = tape.constant(&Tensor::zeros([1, 3, 8]));
    x.conv1d(tape.constant(&Tensor::zeros([2, 4, 3])), None, Convolution::new());
}
