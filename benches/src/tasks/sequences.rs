//! Tasks along a sequence.

use gradome_tape::{SelectiveScan, Tape, Tensor};

use super::kernels::normal;

pub(super) fn hidden_markov_model() -> Box<dyn FnMut()> {
    let (bins, states, marks) = (10_000, 15, 10);
    let present = Tensor::from_fn([bins, marks], {
        let noise = normal([bins, marks], 0);
        move |i| f32::from(noise.data()[i] > 0.0)
    });
    let absent = Tensor::from_fn([bins, marks], |i| 1.0 - present.data()[i]);
    let (initial, transition, emission) =
        (normal([states], 1), normal([states, states], 2), normal([states, marks], 3));
    let mut tape = Tape::new();
    Box::new(move || {
        {
            let [initial, transition, emission] = [&initial, &transition, &emission].map(|x| tape.variable(x));
            let present = tape.constant(&present).matmul_transposed(emission.log_sigmoid());
            let absent = tape.constant(&absent).matmul_transposed((-emission).log_sigmoid());
            let log_emission = present + absent;
            log_emission.hmm_log_likelihood(initial.log_softmax(), transition.log_softmax(), &[bins]).sum().backward();
        }
        tape.reset();
    })
}

pub(super) fn selective_scan() -> Box<dyn FnMut()> {
    let (length, channels, states) = (2000, 256, 16);
    let (u, delta) = (normal([1, length, channels], 0), normal([1, length, channels], 1));
    let a = Tensor::from_fn([channels, states], {
        let noise = normal([channels, states], 2);
        move |i| -noise.data()[i].abs()
    });
    let (b, c) = (normal([1, length, states], 3), normal([1, length, states], 4));
    let scan = SelectiveScan { skip: false, gate: false, bias: false, softplus: true, reverse: false };
    let mut tape = Tape::new();
    Box::new(move || {
        {
            let [u, delta, a, b, c] = [&u, &delta, &a, &b, &c].map(|x| tape.variable(x));
            let [y, _] = u.selective_scan(delta, a, [b, c], &[], scan);
            y.square().sum().backward();
        }
        tape.reset();
    })
}
