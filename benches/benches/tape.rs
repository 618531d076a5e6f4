//! Speed of the engine's kernels in one process; `cargo bench -p gradome-benches`.

use criterion::{Criterion, criterion_group, criterion_main};
use gradome_benches::tasks::TASKS;
use gradome_tape::{Tape, Tensor};

fn wave(shape: [usize; 2]) -> Tensor<f32> {
    Tensor::from_fn(shape, |i| (i as f32 * 0.37).sin())
}

fn products(c: &mut Criterion) {
    let mut group = c.benchmark_group("matmul");
    for n in [64, 256, 1024] {
        let (a, b) = (wave([n, n]), wave([n, n]));
        let mut tape = Tape::new();
        group.bench_function(format!("{n}"), |bench| {
            bench.iter(|| {
                tape.constant(&a).matmul(tape.constant(&b)).value();
                tape.reset();
            });
        });
    }
}

fn counts(c: &mut Criterion) {
    let counts = Tensor::from_fn([128, 2000], |i| if i % 9 == 0 { (i % 5) as f32 } else { 0.0 });
    let (mean, theta) = (wave([128, 2000]), Tensor::zeros([2000]));
    let mut tape = Tape::new();
    c.bench_function("negative_binomial, 128 x 2000, backward", |bench| {
        bench.iter(|| {
            {
                let (mean, theta) = (tape.variable(&mean), tape.variable(&theta));
                tape.constant(&counts).negative_binomial(mean, theta, 0.0).sum().backward();
            }
            tape.reset();
        });
    });
}

/// The work that is also timed in the peers.
fn tasks(c: &mut Criterion) {
    let mut group = c.benchmark_group("tasks");
    group.sample_size(20);
    for task in TASKS {
        let mut step = (task.prepare)();
        group.bench_function(task.name, |bench| bench.iter(&mut step));
    }
}

criterion_group!(benches, products, counts, tasks);
criterion_main!(benches);
