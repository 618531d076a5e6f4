//! Random graphs: fused evaluation gives the bits of eager evaluation, any number of threads gives the same bits, and
//! gradients agree with each other and with finite differences.

mod graph;

use gradome_tape::{Tape, Tensor};
use graph::{Choices, gradient_report, leaves, run};
use proptest::prelude::*;

/// Gradients differ from eager ones in the order of sums alone; relative to the largest of an array, or to 1.
const GRADIENT: f64 = 1e-11;

/// The bits of all values (when `read`) and of the result, and the gradient of each leaf.
struct Evaluation {
    values: Vec<Vec<u64>>,
    gradients: Vec<Option<Tensor<f64>>>,
}

impl Evaluation {
    fn gradient_bits(&self) -> Vec<Vec<u64>> {
        let bits = |tensor: &Tensor<f64>| tensor.data().iter().map(|v| v.to_bits()).collect();
        self.gradients.iter().flatten().map(bits).collect()
    }
}

fn evaluate(program: &[u8], count: usize, rows: usize, eager: bool, read: bool) -> Evaluation {
    let tape = Tape::new();
    tape.set_eager(eager);
    let vars: Vec<_> = leaves::<f64>(rows, 7).iter().map(|leaf| tape.variable(leaf)).collect();
    let (values, total) = run(&tape, &vars, &mut Choices(program), count, false);
    let gradients = total.backward();
    let mut bits = vec![vec![total.item().to_bits()]];
    if read {
        // last first: earlier values are then computed again or taken from where they were kept
        bits.extend(values.iter().rev().map(|v| v.value().data().iter().map(|x| x.to_bits()).collect()));
    }
    Evaluation { values: bits, gradients: vars.iter().map(|&leaf| gradients.of(leaf).cloned()).collect() }
}

fn with_threads(threads: usize, f: impl FnOnce() -> Evaluation + Send) -> Evaluation {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(f)
}

fn assert_same_gradients(fused: &Evaluation, eager: &Evaluation) {
    for (leaf, (fused, eager)) in fused.gradients.iter().zip(&eager.gradients).enumerate() {
        assert_eq!(fused.is_some(), eager.is_some(), "leaf {leaf} has a gradient in one way of evaluation only");
        let (Some(fused), Some(eager)) = (fused, eager) else { continue };
        let largest = eager.data().iter().fold(1.0, |a: f64, b| a.max(b.abs()));
        for (f, e) in fused.data().iter().zip(eager.data()) {
            assert!(f == e || (f - e).abs() <= GRADIENT * largest, "leaf {leaf}: {f} fused, {e} eager");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn fused_graphs_give_the_bits_of_eager_ones(
        program in prop::collection::vec(any::<u8>(), 0..700),
        count in 1usize..70,
        rows in prop::sample::select(vec![1, 2, 5, 200]),
        read in any::<bool>(),
    ) {
        let fused = evaluate(&program, count, rows, false, read);
        let eager = evaluate(&program, count, rows, true, read);
        prop_assert_eq!(&fused.values, &eager.values);
        assert_same_gradients(&fused, &eager);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_two_and_three_threads_give_the_same_bits(program in prop::collection::vec(any::<u8>(), 100..400)) {
        // 42,000 elements are more than one unit of work
        let [one, two, three] = [1, 2, 3].map(|n| with_threads(n, || evaluate(&program, 30, 6000, false, true)));
        for other in [two, three] {
            prop_assert!(one.values == other.values);
            prop_assert!(one.gradient_bits() == other.gradient_bits());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn gradients_of_smooth_graphs_agree_with_finite_differences(bytes in prop::collection::vec(any::<u8>(), 3..300)) {
        let report = gradient_report(&bytes);
        prop_assert!(report.passed(), "{}", report);
    }
}
