//! Time and memory of sequence ops over lengths from a thousand to a million: value and gradient, f32.

use std::time::Instant;

use clap::Parser;
use gradome_benches::resident;
use gradome_tape::{AttentionOptions, SelectiveScan, Tape, Tensor};

/// An error of any kind, with its own text.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[derive(Parser)]
#[command(about = "Time and memory of sequence ops over their length")]
struct Arguments {
    /// Threads; all that the process may use when absent.
    #[arg(long)]
    threads: Option<usize>,
    /// The longest sequence.
    #[arg(long, default_value_t = 1_000_000)]
    longest: usize,
}

/// Prepares a step for a sequence of that length.
type Prepare = fn(usize) -> Box<dyn FnMut()>;

const OPS: [(&str, Prepare); 3] = [
    ("HMM log-likelihood, 15 states", hidden_markov_model),
    ("selective scan, 16 channels, 16 states", selective_scan),
    ("attention, 32 dimensions, band of 64 to each side", band),
];

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let threads = match arguments.threads {
        Some(threads) => threads,
        None => gradome_nn::available_threads()?,
    };
    gradome_nn::set_threads(threads)?;
    println!("| op, {threads} thread(s) | length | ms | ns a step of the sequence | peak MB | bytes a step |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for (name, prepare) in OPS {
        let mut length = 1000;
        while length <= arguments.longest {
            let mut step = prepare(length);
            let before = resident::forget_peak()?;
            let mut best = f64::INFINITY;
            for _ in 0..3 {
                let start = Instant::now();
                step();
                best = best.min(start.elapsed().as_secs_f64());
            }
            let peak = resident::peak()? - before;
            let a_step = |total: f64| total / length as f64;
            println!(
                "| {name} | {length} | {:.3} | {:.0} | {peak:.1} | {:.0} |",
                best * 1e3,
                a_step(best * 1e9),
                a_step(peak * 1024.0 * 1024.0)
            );
            length *= 10;
        }
    }
    Ok(())
}

fn waves(shape: &[usize], pace: f32) -> Tensor<f32> {
    Tensor::from_fn(shape, |i| (i as f32 * pace).sin())
}

fn hidden_markov_model(length: usize) -> Box<dyn FnMut()> {
    let states = 15;
    let (initial, transition) = (waves(&[states], 0.7), waves(&[states, states], 0.3));
    let emission = waves(&[length, states], 1.1);
    let mut tape = Tape::new();
    Box::new(move || {
        {
            let [initial, transition, emission] = [&initial, &transition, &emission].map(|x| tape.variable(x));
            let (initial, transition) = (initial.log_softmax(), transition.log_softmax());
            emission.hmm_log_likelihood(initial, transition, &[length]).sum().backward();
        }
        tape.reset();
    })
}

fn selective_scan(length: usize) -> Box<dyn FnMut()> {
    let (channels, states) = (16, 16);
    let (u, delta) = (waves(&[1, length, channels], 0.9), waves(&[1, length, channels], 0.4));
    let a = Tensor::from_fn([channels, states], |i| -1.0 - (i % states) as f32);
    let (b, c) = (waves(&[1, length, states], 0.6), waves(&[1, length, states], 1.3));
    let scan = SelectiveScan { skip: false, gate: false, bias: false, softplus: true, reverse: false };
    let mut tape = Tape::new();
    Box::new(move || {
        {
            let [u, delta, a, b, c] = [&u, &delta, &a, &b, &c].map(|x| tape.variable(x));
            let [y, _] = u.selective_scan(delta, a, [b, c], &[], scan);
            y.square().sum().backward();
        }
        tape.reset();
    })
}

fn band(length: usize) -> Box<dyn FnMut()> {
    let [q, k, v] = [0.9, 0.4, 0.6].map(|pace| waves(&[length, 32], pace));
    let mut tape = Tape::new();
    Box::new(move || {
        {
            let [q, k, v] = [&q, &k, &v].map(|x| tape.variable(x));
            let options = AttentionOptions { window: Some(64), ..AttentionOptions::default() };
            q.attention(k, v, options).sum().backward();
        }
        tape.reset();
    })
}
