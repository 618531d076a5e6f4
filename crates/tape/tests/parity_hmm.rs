//! Hidden Markov models with Bernoulli marks against reference numbers: likelihood, posteriors, best path, expected counts
//! and the gradients of all logits.

use gradome_goldens::{Golden, goldens};
use gradome_tape::{Tape, Tensor};

const OUTPUT: f64 = 1e-9;
const GRADIENT: f64 = 1e-8;

fn tensor(golden: &Golden, name: &str, f: impl Fn(f64) -> f64) -> Tensor<f64> {
    let values: Vec<f64> = golden.get(name).iter().map(|&x| f(x)).collect();
    Tensor::new(golden.shape(name), &values)
}

#[test]
fn likelihood_posteriors_paths_counts_and_gradients_match_the_reference() {
    for golden in goldens("hmm") {
        let tape = Tape::new();
        // 2 is a mark that was not observed
        let on = tape.constant(&tensor(&golden, "obs", |x| if x == 1.0 { 1.0 } else { 0.0 }));
        let off = tape.constant(&tensor(&golden, "obs", |x| if x == 0.0 { 1.0 } else { 0.0 }));
        let [steps, _] = *golden.shape("obs") else { panic!("obs is [steps, marks]") };
        let marks = |ln_on, ln_off| on.matmul_transposed(ln_on) + off.matmul_transposed(ln_off);

        // the weights themselves, treated as free
        let free = ["init", "trans"].map(|name| tape.variable(&tensor(&golden, name, f64::ln)));
        let (ln_on, ln_off) = (
            tape.variable(&tensor(&golden, "emis", f64::ln)),
            tape.variable(&tensor(&golden, "emis", |p| (-p).ln_1p())),
        );
        let emission = marks(ln_on, ln_off);
        let value = emission.hmm_log_likelihood(free[0], free[1], &[steps]).sum();
        golden.assert_close("loglik", &[value.item()], OUTPUT, 0.0);
        let posteriors = emission.hmm_posteriors(free[0], free[1], &[steps]);
        golden.assert_close("post", &posteriors.value().to_f64(), OUTPUT, 0.0);
        let best = emission.viterbi(free[0], free[1], &[steps]);
        golden.assert_close("viterbi_logp", &best.log_weights, OUTPUT, 0.0);
        assert!(best.path.iter().zip(golden.get("viterbi_path")).all(|(found, path)| f64::from(*found) == *path));
        let counts = value.backward();
        for (name, var) in [("exp_init", free[0]), ("exp_trans", free[1]), ("exp_on", ln_on), ("exp_off", ln_off)] {
            golden.assert_close(name, counts.of(var).unwrap().data(), GRADIENT, 0.0);
        }

        // logits: softmax of starts and transitions, sigmoid of emissions
        let [initial, transition] = ["init", "trans"].map(|name| tape.variable(&tensor(&golden, name, f64::ln)));
        let logit = tape.variable(&tensor(&golden, "emis", |p| p.ln() - (-p).ln_1p()));
        let emission = marks(logit.log_sigmoid(), (-logit).log_sigmoid());
        let value = emission.hmm_log_likelihood(initial.log_softmax(), transition.log_softmax(), &[steps]).sum();
        golden.assert_close("loglik", &[value.item()], OUTPUT, 0.0);
        let slopes = value.backward();
        for (name, var) in [("init", initial), ("trans", transition), ("emis", logit)] {
            golden.assert_close(&format!("grad_logit_{name}"), slopes.of(var).unwrap().data(), GRADIENT, 0.0);
        }
    }
}
