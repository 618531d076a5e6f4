//! The finite-difference checks of everything that has a gradient.

use gradome_tape::check::Outcome;

/// One op, layer or operator with the check of its gradients.
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// `op`, `layer`, `loss` or `operator`.
    pub kind: &'static str,
    run: Box<dyn Fn() -> Outcome + Send + Sync>,
}

impl Check {
    /// Compares its gradients in f64 with finite differences.
    pub fn run(&self) -> Outcome {
        (self.run)()
    }
}

/// Every op of the tape, every layer, every loss and every operator of the crates that are switched on.
///
/// ```
/// let softplus = gradome::checks().into_iter().find(|check| check.name == "softplus");
/// assert!(softplus.is_some_and(|check| check.kind == "op" && check.run().passed()));
/// ```
pub fn checks() -> Vec<Check> {
    let op = |row: gradome_tape::Row| Check { name: row.name, kind: "op", run: Box::new(move || row.check()) };
    let all = gradome_tape::registry().into_iter().map(op);
    #[cfg(feature = "nn")]
    let all = all.chain(entries(gradome_nn::check::layers()));
    #[cfg(feature = "multiomics")]
    let all = all.chain(entries(gradome_multiomics::checks()));
    #[cfg(feature = "epigenome")]
    let all = all.chain(entries(gradome_epigenome::checks()));
    all.collect()
}

#[cfg(feature = "nn")]
fn entries(entries: Vec<gradome_nn::OperatorEntry>) -> impl Iterator<Item = Check> {
    entries.into_iter().map(|entry| Check { name: entry.name, kind: entry.kind, run: Box::new(entry.check) })
}
