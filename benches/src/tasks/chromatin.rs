//! The chromatin-state annotator in DiffBio's form: soft calls, or Gaussian values of cell types.

use gradome_epigenome::chromatin::{ChromatinStateAnnotator, ChromatinStatesConfig, ChromatinTracks};
use gradome_nn::{Operator, ParamStore, Step};
use gradome_tape::{HmmInferred, Tape, Tensor};

use super::kernels::normal;

const BINS: usize = 10_000;
const MARKS: usize = 10;
const STATES: usize = 15;
const CELL_TYPES: usize = 5;

/// One sequence of soft calls.
pub(super) fn shared() -> Box<dyn FnMut()> {
    steps(None)
}

/// One sequence of values that is a mixture of cell types.
pub(super) fn conditioned() -> Box<dyn FnMut()> {
    steps(Some(CELL_TYPES))
}

/// The mean squares of everything that the reference gives, and the gradient of all parameters. The reference's path is
/// the mean number of the filtered state.
fn steps(cell_types: Option<usize>) -> Box<dyn FnMut()> {
    let config = ChromatinStatesConfig::diffbio(STATES, MARKS, cell_types);
    let mut store = ParamStore::<f32>::new(0);
    let annotator = ChromatinStateAnnotator::new(&config, &mut store).expect("the configuration is valid");
    let observations = normal([BINS, MARKS], 1).to_f64();
    let tracks = ChromatinTracks {
        lengths: vec![BINS],
        observations,
        // weights that differ and add up to 1
        cell_types: cell_types
            .map_or(Vec::new(), |types| (1..=types).map(|i| 2.0 * i as f64 / (types * (types + 1)) as f64).collect()),
    };
    let arrays = annotator.arrays::<f32>(&tracks).expect("the tracks are valid");
    let numbers = Tensor::<f32>::from_fn([STATES, 1], |state| state as f32);
    let mut tape = Tape::<f32>::new();
    Box::new(move || {
        {
            let bound = store.bind(&tape);
            let output = annotator.forward(Step::eval(&tape, &bound), &arrays.on(&tape)).expect("the input fits");
            let HmmInferred { ln_likelihood, posteriors, filtered } = output.inference();
            let path = filtered.matmul(tape.constant(&numbers));
            let mut loss = posteriors.square().mean() + path.square().mean() + ln_likelihood.square().mean();
            if cell_types.is_some() {
                loss = loss + output.each_bin_alone().square().mean();
            }
            let gradients = loss.backward();
            let finite = |key| gradients.get(key).is_some_and(|g| g.data().iter().all(|g| g.is_finite()));
            assert!(gradients.keys().into_iter().all(finite), "a step without numbers is no step");
        }
        tape.reset();
    })
}
