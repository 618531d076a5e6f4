//! The operator passes its finite-difference check.

#[test]
fn every_operator_passes_its_check() {
    for operator in gradome_multiomics::checks() {
        let outcome = (operator.check)();
        assert!(outcome.passed(), "{}: {}", operator.name, outcome.failure.unwrap_or_default());
        assert!(outcome.max_rel_error > 0.0, "{} checked nothing", operator.name);
    }
}
