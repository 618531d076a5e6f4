//! The contextual model of the epigenome at DiffBio's size.

use gradome_epigenome::contextual::{ContextualEpigenomics, ContextualEpigenomicsConfig, ContextualWindows, Encoder};
use gradome_nn::{Operator, ParamStore, Step};
use gradome_tape::Tape;

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
    let waiting = Tape::new();
    let input = model.input(&waiting, &batch).expect("the batch is valid");
    let [dna, context, contacts] =
        [input.dna, input.context, input.contacts].map(|x| x.expect("the model takes all three").value());
    let mut tape = Tape::new();
    Box::new(move || {
        {
            let bound = store.bind(&tape);
            let input = gradome_epigenome::contextual::ContextualInput {
                dna: Some(tape.constant(&dna)),
                tracks: None,
                context: Some(tape.constant(&context)),
                contacts: Some(tape.constant(&contacts)),
                mask: None,
                targets: Vec::new(),
            };
            let output = model.forward(Step::eval(&tape, &bound), &input).expect("the input is valid");
            let guidance = output.contact_loss.expect("there are contacts");
            (output.heads[0].square().mean() + guidance.square()).backward();
        }
        tape.reset();
    })
}
