//! The contextual model of the epigenome at DiffBio's size.

use gradome_epigenome::contextual::{
    ContextualEpigenomics, ContextualEpigenomicsConfig, ContextualInput, ContextualWindows, Encoder,
};
use gradome_nn::parts::Parts;
use gradome_nn::trainer::Loss;
use gradome_nn::{Operator, ParamStore, Rng};
use gradome_tape::{Tape, Tensor};
use rand::SeedableRng;

use super::kernels::normal;

/// DiffBio's defaults with chromatin guidance: the sum of the mean squares of logits and guidance loss, and the gradient
/// of every parameter, the trained table of positions included.
pub(super) fn diffbio() -> Box<dyn FnMut()> {
    let (windows, length, factors) = (8, 512, 8);
    let encoder = Encoder::Transformer { layers: 2, heads: 4, feed_forward: 256, window: None, even_padding: false };
    let config = ContextualEpigenomicsConfig {
        max_length: length,
        contact_weight: 0.1,
        ..ContextualEpigenomicsConfig::diffbio(factors, 1, 64, encoder)
    };
    let mut store = ParamStore::<f32>::new(0);
    let model = ContextualEpigenomics::new(&config, &mut store).expect("the configuration is valid");
    let noise = normal([windows * length * length], 1);
    let batch = ContextualWindows {
        windows,
        length,
        dna: noise.data()[..windows * length].iter().map(|x| (x.abs() * 1e3) as u8 % 4).collect(),
        context: normal([windows * factors], 2).data().to_vec(),
        contacts: noise.data().iter().map(|x| 1.0 / (1.0 + x.exp())).collect(),
        ..ContextualWindows::default()
    };
    // the peers' arrays wait in memory as well: what is timed begins with them
    let waiting = |window: usize| {
        let tape = Tape::new();
        let input = model.input(&tape, &batch.select(&[window])).expect("the batch is valid");
        [input.dna, input.context, input.contacts].map(|x| x.expect("the model takes all three").value())
    };
    let waiting: Vec<[Tensor<f32>; 3]> = (0..windows).map(waiting).collect();
    let parts = Parts::default();
    Box::new(move || {
        // both means are over windows of one size
        let share = 1.0 / windows as f64;
        let found = parts.function_of_sums(
            &store,
            windows,
            &Rng::seed_from_u64(0),
            |step, window| {
                let [dna, context, contacts] = waiting[window].each_ref().map(|x| Some(step.tape.constant(x)));
                let (tracks, mask, targets, known) = (None, None, Vec::new(), None);
                let input = ContextualInput { dna, tracks, context, contacts, mask, targets, known };
                let output = model.forward(step, &input)?;
                let guidance = output.contact_loss.expect("there are contacts");
                Ok(vec![output.heads[0].square().mean() * share, guidance * share])
            },
            |_, totals| Ok(Loss::new(totals[0] + totals[1].square())),
        );
        std::hint::black_box(found.expect("the loss is a number").numbers);
    })
}
