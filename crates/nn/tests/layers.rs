//! Every layer passes its finite-difference check.

#[test]
fn every_layer_passes_its_check() {
    for layer in gradome_nn::check::layers() {
        let outcome = (layer.check)();
        assert!(outcome.passed(), "{}: {}", layer.name, outcome.failure.unwrap_or_default());
    }
}
