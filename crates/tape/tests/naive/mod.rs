//! What ops that move elements should do, said one element at a time.

use gradome_tape::{Tape, Tensor, Var};
use proptest::prelude::*;

/// Shapes of up to `rank` axes, some of them empty.
pub fn shapes(rank: usize) -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop::sample::select(vec![0, 1, 1, 2, 2, 3, 3, 3, 4, 5, 4, 2]), 0..=rank)
}

/// A stream of numbers that a seed fixes (the golden-ratio generator of Steele, Lea & Flood 2014).
pub struct Draw(pub u64);

impl Draw {
    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        ((mixed ^ (mixed >> 27)) % n as u64) as usize
    }
}

/// Calls `f` with every index of a shape, in row-major order.
pub fn for_each_index(shape: &[usize], mut f: impl FnMut(&[usize])) {
    if shape.contains(&0) {
        return;
    }
    let mut index = vec![0; shape.len()];
    loop {
        f(&index);
        let Some(axis) = (0..shape.len()).rfind(|&axis| index[axis] + 1 < shape[axis]) else { return };
        index[axis] += 1;
        index[axis + 1..].fill(0);
    }
}

/// The row-major place of an index.
pub fn place(shape: &[usize], index: &[usize]) -> usize {
    assert!(index.len() == shape.len() && index.iter().zip(shape).all(|(i, n)| i < n), "{index:?} in {shape:?}");
    index.iter().zip(shape).fold(0, |place, (i, n)| place * n + i)
}

/// Checks an op that moves elements: its result has the shape `to`, its element at an index is that of the operand and
/// index that `source` names (or `border`), and its gradient flows back to there.
///
/// All numbers are small integers, so that sums are exact in any order. The op is recorded twice, so that a gradient is
/// both written and added to.
pub fn assert_moves(
    shapes: &[Vec<usize>],
    op: impl for<'t> Fn(&'t Tape<f64>, &[Var<'t, f64>]) -> Var<'t, f64>,
    to: &[usize],
    border: f64,
    source: impl Fn(&[usize]) -> Option<(usize, Vec<usize>)>,
) {
    let tape = Tape::new();
    let inputs: Vec<Tensor<f64>> = shapes
        .iter()
        .enumerate()
        .map(|(k, shape)| Tensor::from_fn(&shape[..], |i| (1 + k * 10_000 + i) as f64))
        .collect();
    let vars: Vec<_> = inputs.iter().map(|x| tape.variable(x)).collect();
    let (y, again) = (op(&tape, &vars), op(&tape, &vars));
    assert_eq!(&*y.shape(), to);
    let cotangent = |i: usize| (i * 7 % 23) as f64 - 11.0;
    let mut expected: Vec<Vec<f64>> = inputs.iter().map(|x| vec![0.0; x.data().len()]).collect();
    let (mut at, value) = (0, y.value());
    for_each_index(to, |index| {
        let element = match source(index) {
            None => border,
            Some((operand, from)) => {
                let place = place(&shapes[operand], &from);
                expected[operand][place] += 3.0 * cotangent(at);
                inputs[operand].data()[place]
            }
        };
        assert_eq!(value.data()[at], element, "element {index:?}");
        at += 1;
    });
    let both = tape.concat(&[y.reshape(at), again.reshape(at) * 2.0], 0);
    let gradients = both.backward_with(&Tensor::from_fn(2 * at, |i| cotangent(i % at)));
    for (operand, (var, expected)) in vars.iter().zip(expected).enumerate() {
        match gradients.of(*var) {
            Some(gradient) => assert_eq!(gradient.data(), expected, "gradient of operand {operand}"),
            None => assert!(expected.iter().all(|e| *e == 0.0), "operand {operand} has no gradient"),
        }
    }
}
