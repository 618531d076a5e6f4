//! Speed of the engine's kernels in one process; `cargo bench -p gradome-benches`.

use criterion::{Criterion, criterion_group, criterion_main};
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

fn chains(c: &mut Criterion) {
    let x = wave([2000, 2000]);
    let (w, b) = (Tensor::full([2000], 0.5_f32), Tensor::full([2000], 1.0_f32));
    let mut tape = Tape::new();
    c.bench_function("tanh(x w + b) sigmoid(x), sum, backward, 4 M", |bench| {
        bench.iter(|| {
            {
                let (x, w, b) = (tape.variable(&x), tape.constant(&w), tape.constant(&b));
                ((x * w + b).tanh() * x.sigmoid()).sum().backward();
            }
            tape.reset();
        });
    });
}

fn rows(c: &mut Criterion) {
    let x = wave([8192, 512]);
    let (scale, shift) = (Tensor::full([512], 1.0_f32), Tensor::zeros([512]));
    let mut tape = Tape::new();
    c.bench_function("layer_norm and softmax, 8192 x 512, backward", |bench| {
        bench.iter(|| {
            {
                let (scale, shift) = (tape.variable(&scale), tape.variable(&shift));
                tape.variable(&x).layer_norm(scale, shift, 1e-5).softmax().square().sum().backward();
            }
            tape.reset();
        });
    });
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

criterion_group!(benches, products, chains, rows, counts);
criterion_main!(benches);
