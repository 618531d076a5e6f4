//! Every op in the registry passes its check.

use std::collections::HashSet;

use gradome_tape::Gradient;

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

#[test]
fn a_wrong_gradient_of_any_op_is_found() {
    for row in gradome_tape::registry() {
        // ops without a gradient have none to be wrong; surrogates are held to what they stand for
        if row.gradient == Gradient::Exact {
            assert!(row.finds_mutation(), "{}: a gradient that is wrong by 1 % passes", row.name);
        }
    }
}

#[test]
fn every_op_passes_with_every_instruction_set() {
    for level in ["portable", "avx2", "avx512"] {
        let check = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "every_op_passes_its_check_and_has_a_name_of_its_own", "--nocapture"])
            .env("GRADOME_SIMD", level)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&check.stdout) + String::from_utf8_lossy(&check.stderr);
        assert!(check.status.success() && said.contains("1 passed"), "{level}: {said}");
    }
}
