//! Random graphs from bytes: any program is valid, values stay of moderate size, and early values are used again.

use gradome_gradcheck::{Check, Report};
use gradome_tape::check::check_function;
use gradome_tape::{Float, MAX_RANK, Padding, Span, Tape, Tensor, Var};

/// The most elements that an op may make from smaller operands.
const LARGEST: usize = 4096;

/// A wrong slope is off by far more; chains of dozens of ops bend too much for differences to be closer.
const TOLERANCE: f64 = 1e-4;

/// A program's bytes, one after the other; zeros once they have run out.
pub struct Choices<'a>(pub &'a [u8]);

impl Choices<'_> {
    /// A number below `n`, which is at most 256.
    pub fn below(&mut self, n: usize) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first) % n
    }

    fn pick<V: Copy>(&mut self, from: &[V]) -> V {
        from[(256 * self.below(256) + self.below(256)) % from.len()]
    }
}

/// Leaves that broadcast to `[rows, columns]`: two matrices, a row, a column and a number.
pub fn leaves<T: Float>(rows: usize, columns: usize) -> Vec<Tensor<T>> {
    let wave = |shape: &[usize], phase: f64| Tensor::from_fn(shape, |i| T::of((1.3 * i as f64 + phase).sin()));
    vec![
        wave(&[rows, columns], 0.1),
        wave(&[rows, columns], 0.5),
        wave(&[columns], 0.7),
        wave(&[rows, 1], 1.9),
        wave(&[], 2.3),
    ]
}

/// Whether a shape broadcasts to another one without changing it.
fn fits(shape: &[usize], to: &[usize]) -> bool {
    shape.len() <= to.len() && shape.iter().rev().zip(to.iter().rev()).all(|(&a, &b)| a == b || a == 1)
}

/// One op on values picked among `values`. With `smooth`, only ops that have a slope everywhere.
fn node<'t, T: Float>(choices: &mut Choices<'_>, values: &[Var<'t, T>], smooth: bool) -> Var<'t, T> {
    let a = choices.pick(values);
    let shape = a.shape();
    // a second and a third operand that broadcast with the first, which always does
    let mut partner = || {
        let partners: Vec<_> = values.iter().copied().filter(|v| fits(&v.shape(), &shape)).collect();
        choices.pick(&partners)
    };
    let (b, c) = (partner(), partner());
    match choices.below(4) {
        0 | 1 => elementwise(choices, [a, b, c], smooth),
        2 => reduction(choices, a, smooth),
        _ if choices.below(2) == 0 => moved(choices, a),
        _ => product(choices, a, values),
    }
}

fn elementwise<'t, T: Float>(choices: &mut Choices<'_>, [a, b, c]: [Var<'t, T>; 3], smooth: bool) -> Var<'t, T> {
    match choices.below(if smooth { 11 } else { 16 }) {
        0 => (a + b) * 0.5,
        1 => (a - b).tanh(),
        2 => (b * a).tanh(),
        3 => a / (b.square() + 1.0),
        4 => a.sigmoid(),
        5 => a.sin(),
        6 => a.softplus() - 0.7,
        7 => a.times_plus(b, c).tanh(),
        8 => b.log_add_exp(a).tanh(),
        9 => 1.0 - a.cos(),
        10 => (-a.square()).exp(),
        11 => a.maximum(b),
        12 => (-a).exp().minimum(b + 1.0).tanh(),
        13 => b.clamp(0.0, 1.0).choose(a, c),
        // a read in the middle ends a group
        14 => {
            a.value();
            a * 0.9
        }
        _ => (1.0 - a).clamp(-0.6, 0.8),
    }
}

fn reduction<'t, T: Float>(choices: &mut Choices<'_>, a: Var<'t, T>, smooth: bool) -> Var<'t, T> {
    let shape = a.shape();
    if shape.rank() == 0 || shape.is_empty() {
        return a.sum().tanh();
    }
    let axis = choices.below(shape.rank()) as isize;
    match choices.below(if smooth { 8 } else { 9 }) {
        0 => a.sum().tanh(),
        1 => a.mean(),
        2 => a.sum_axis(axis).tanh(),
        3 => a.mean_axis(axis),
        4 => a.variance_axis(axis),
        5 => a.softmax() * 2.0,
        6 => a.log_softmax().tanh(),
        7 => a.log_sum_exp().tanh(),
        _ => a.max_axis(axis),
    }
}

fn moved<'t, T: Float>(choices: &mut Choices<'_>, a: Var<'t, T>) -> Var<'t, T> {
    let shape = a.shape();
    let (rank, len) = (shape.rank(), shape.len());
    if rank == 0 || len == 0 {
        return a.reshape(1).broadcast_to([3, 1]);
    }
    let axis = choices.below(rank);
    let n = shape[axis];
    let ids = |count: usize, below: usize| (0..count).map(|i| (i * 7 % 5 % below) as u32).collect::<Vec<u32>>().into();
    match choices.below(9) {
        0 => a.reshape(len),
        1 => {
            let mut order: Vec<usize> = (0..rank).collect();
            order.rotate_left(axis);
            a.permute(&order)
        }
        2 if rank < MAX_RANK && 2 * len <= LARGEST => a.unsqueeze(0).broadcast_to(shape.inserted(0, 2)),
        3 => a.slice_axis(axis as isize, Span::from(n / 3..).by(2)),
        4 => a.flip(&[axis as isize]),
        5 if 2 * len <= LARGEST => a.tape().concat(&[a, a.sin()], axis as isize),
        6 if n > 1 && len / n * (n + 2) <= LARGEST => {
            let mut widths = vec![(0, 0); rank];
            widths[axis] = (1, 1);
            a.pad(&widths, Padding::Reflect)
        }
        7 => a.index_select(axis as isize, &ids(n, n)),
        _ => a.segment_sum(&ids(shape[0], 3), 3).tanh(),
    }
}

/// The product of two values as matrices of rows of one size.
fn product<'t, T: Float>(choices: &mut Choices<'_>, a: Var<'t, T>, values: &[Var<'t, T>]) -> Var<'t, T> {
    let width = a.shape().last_size();
    let rows = |v: &Var<'t, T>| v.shape().len() / width.max(1);
    let fit = |v: &&Var<'t, T>| width > 0 && v.shape().last_size() == width && rows(&a) * rows(v) <= LARGEST;
    let partners: Vec<_> = values.iter().filter(fit).copied().collect();
    if partners.is_empty() {
        return a * 0.8;
    }
    let b = choices.pick(&partners);
    let (a, b) = (a.reshape([rows(&a), width]), b.reshape([rows(&b), width]));
    (a.matmul(b.transpose()) * (1.0 / width as f64)).tanh()
}

/// Runs a program of `count` ops; returns every value, the leaves first, and a number that depends on the last ones.
pub fn run<'t, T: Float>(
    tape: &'t Tape<T>,
    leaves: &[Var<'t, T>],
    choices: &mut Choices<'_>,
    count: usize,
    smooth: bool,
) -> (Vec<Var<'t, T>>, Var<'t, T>) {
    let mut values = leaves.to_vec();
    for _ in 0..count {
        let value = node(choices, &values, smooth);
        values.push(value);
    }
    let last = values.iter().rev().take(4);
    let total = last.zip(1..).fold(tape.scalar(0.0), |sum, (v, weight)| sum + (*v * (0.4 * f64::from(weight))).sum());
    (values, total)
}

/// Compares the gradient of the small smooth graph that some bytes describe with finite differences.
pub fn gradient_report(bytes: &[u8]) -> Report {
    let mut choices = Choices(bytes);
    let (rows, columns, count) = (1 + choices.below(4), 1 + choices.below(4), 1 + choices.below(24));
    let program = choices.0;
    let inputs: Vec<_> =
        leaves(rows, columns).into_iter().enumerate().map(|(i, leaf)| (format!("leaf {i}"), leaf)).collect();
    check_function(&Check::new().rtol(TOLERANCE).atol(TOLERANCE), &inputs, |tape, vars| {
        run(tape, vars, &mut Choices(program), count, true).1
    })
}
