//! A steady step of every timed task allocates no array.

use allocation_counter::measure;
use gradome_benches::tasks::TASKS;

/// Bytes that a step may allocate in all: lists of nodes, of pieces of work, and of the positions along one axis.
const MOST: u64 = 128 * 1024;

#[test]
fn a_steady_step_of_every_task_allocates_no_array() {
    // how many scratch arrays are out at a time depends on how threads meet
    rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(|| {
        let mut above = Vec::new();
        for task in TASKS {
            let mut step = (task.prepare)();
            (0..3).for_each(|_| step());
            let found = measure(&mut step);
            let steps = if task.name == "tiny_mlp_x50" { 50 } else { 1 };
            println!("{}: {} bytes in {} allocations", task.name, found.bytes_total, found.count_total);
            if found.bytes_total > MOST * steps {
                above.push((task.name, found.bytes_total));
            }
        }
        assert!(above.is_empty(), "bytes: {above:?}");
    });
}
