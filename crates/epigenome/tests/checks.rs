//! The operators pass their finite-difference checks.

#[test]
fn every_operator_passes_its_check() {
    for operator in gradome_epigenome::checks() {
        let outcome = (operator.check)();
        assert!(outcome.passed(), "{}: {}", operator.name, outcome.failure.unwrap_or_default());
        assert!(outcome.max_rel_error > 0.0, "{} checked nothing", operator.name);
    }
}
