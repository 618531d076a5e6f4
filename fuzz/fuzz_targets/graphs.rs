//! Any bytes as a small graph of smooth ops; its gradient is compared with finite differences.
#![no_main]

#[path = "../../crates/tape/tests/graph/mod.rs"]
mod graph;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let report = graph::gradient_report(bytes);
    assert!(report.passed(), "{report}");
});
