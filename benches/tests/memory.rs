//! A steady step of every task that times the engine allocates no array.

use allocation_counter::measure;
use gradome_benches::tasks::TASKS;

/// Bytes that a step may allocate in all: lists of nodes and of pieces of work, but no array of a task.
const MOST: u64 = 32 * 1024;
/// Operators of the domains have ops of their own, which are not held to this.
const OPERATORS: [&str; 6] = ["peak", "peak_vae", "fno", "chromatin", "chromatin_cond", "contextual"];

#[test]
fn a_steady_step_of_every_task_of_the_engine_allocates_no_array() {
    // how many scratch arrays are out at a time depends on how threads meet
    rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(|| {
        for task in TASKS.iter().filter(|task| !OPERATORS.contains(&task.name)) {
            let mut step = (task.prepare)();
            (0..3).for_each(|_| step());
            let found = measure(&mut step);
            let steps = if task.name == "tiny_mlp_x50" { 50 } else { 1 };
            println!("{}: {} bytes in {} allocations", task.name, found.bytes_total, found.count_total);
            assert!(found.bytes_total <= MOST * steps, "{}: {found:?}", task.name);
        }
    });
}
