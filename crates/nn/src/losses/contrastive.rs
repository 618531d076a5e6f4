//! Losses that bring pairs together and push all others apart.

use gradome_tape::check::Outcome;
use gradome_tape::{Float, Tensor, Var};

use super::{CrossEntropy, or_one, same_shape};
use crate::check::check_step;
use crate::layers::waves;
use crate::store::ParamStore;

/// Rows of length 1; rows of zeros stay zeros.
fn unit_rows<T: Float>(x: Var<'_, T>) -> Var<'_, T> {
    x * or_one(x.square().sum_axis(-1), |_| 0.0).rsqrt().unsqueeze(-1)
}

fn check_operands<T: Float>(loss: &str, a: Var<'_, T>, b: Var<'_, T>, temperature: f64) -> usize {
    same_shape(loss, a, b);
    assert_eq!(a.shape().rank(), 2, "{loss}: {}: expected [samples, features]", a.shape());
    assert!(temperature > 0.0, "{loss}: temperature {temperature} is not above 0");
    a.shape()[0]
}

/// How well each query finds its key among all keys of the batch: InfoNCE (van den Oord et al. 2018, eq. 4), one number.
///
/// `queries` and `keys` are `[samples, features]`; row i of one belongs to row i of the other. The mean cross-entropy of
/// their cosine similarities over `temperature` against the diagonal. The symmetric loss of CLIP is the mean of this and
/// of the same with queries and keys exchanged. A row of zeros is equally far from all.
///
/// # Panics
/// When the shapes differ, or `temperature` is not above 0.
pub fn info_nce<'t, T: Float>(queries: Var<'t, T>, keys: Var<'t, T>, temperature: f64) -> Var<'t, T> {
    let samples = check_operands("InfoNCE", queries, keys, temperature);
    let similarity = unit_rows(queries).matmul_transposed(unit_rows(keys)) / temperature;
    let own: Vec<u32> = (0..samples as u32).collect();
    CrossEntropy::default().mean(similarity, &own)
}

/// NT-Xent, the loss of SimCLR (Chen et al. 2020, eq. 1), one number.
///
/// `first` and `second` are `[samples, features]`, two views of the same samples. Each of the 2 x samples views has to
/// find its other view among all views but itself, by cosine similarity over `temperature`. A row of zeros is equally
/// far from all.
///
/// # Panics
/// When the shapes differ, or `temperature` is not above 0.
pub fn nt_xent<'t, T: Float>(first: Var<'t, T>, second: Var<'t, T>, temperature: f64) -> Var<'t, T> {
    let samples = check_operands("NT-Xent", first, second, temperature);
    let tape = first.tape();
    let views = unit_rows(tape.concat(&[first, second], 0));
    let similarity = views.matmul_transposed(views) / temperature;
    // no other similarity is below -1 / temperature: e to the difference is 0
    let excluded = -1e4 - 2.0 / temperature;
    let all = 2 * samples;
    let others = Tensor::from_fn([all, all], |i| if i / all == i % all { T::ZERO } else { T::ONE });
    let similarity = tape.constant(&others).choose(similarity, tape.full([all, all], excluded));
    let partner: Vec<u32> = (0..all).map(|view| ((view + samples) % all) as u32).collect();
    CrossEntropy::default().mean(similarity, &partner)
}

pub(super) fn check_info_nce() -> Outcome {
    let mut outcome = Outcome::new("info-nce-loss");
    let inputs = [("queries", waves([4, 3], 0.3)), ("keys", waves([4, 3], 2.0))];
    check_step(&mut outcome, "[4, 3]", &ParamStore::new(1), &inputs, false, |_, x| info_nce(x[0], x[1], 0.5));
    outcome
}

pub(super) fn check_nt_xent() -> Outcome {
    let mut outcome = Outcome::new("nt-xent-loss");
    let inputs = [("first", waves([3, 4], 0.3)), ("second", waves([3, 4], 2.0))];
    check_step(&mut outcome, "[3, 4]", &ParamStore::new(1), &inputs, false, |_, x| nt_xent(x[0], x[1], 0.7));
    outcome
}
