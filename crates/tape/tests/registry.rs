//! Every op in the registry passes its check.

use std::collections::HashSet;

#[test]
fn every_op_passes_its_check_and_has_a_name_of_its_own() {
    let mut names = HashSet::new();
    let mut failures = Vec::new();
    for row in gradome_tape::registry() {
        assert!(names.insert(row.name), "two ops are called {}", row.name);
        assert!(!row.doc.trim().is_empty(), "{} has no documentation", row.name);
        let outcome = row.check();
        if let Some(failure) = outcome.failure {
            failures.push(format!("{}: {failure}", row.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
