//! Times the tasks that the peers' scripts time, under the same names; one process a task, so that the peak of
//! resident memory is the task's own.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::Parser;
use gradome_benches::{resident, tasks};

/// An error of any kind, with its own text.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[derive(Parser)]
#[command(about = "Times the tasks of the peers' scripts: median and minimum of a step, peak resident memory")]
struct Arguments {
    /// The task; all of them, each in a process of its own, when absent.
    #[arg(long)]
    task: Option<String>,
    /// Threads; all that the process may use when absent.
    #[arg(long)]
    threads: Option<usize>,
    /// Timed steps, after three to warm up; as many as fit in two seconds, at least eleven, when absent.
    #[arg(long)]
    reps: Option<usize>,
    /// One JSON object a line instead of a table.
    #[arg(long)]
    json: bool,
    /// Lists the tasks.
    #[arg(long)]
    list: bool,
}

const WARM_UP: usize = 3;
const LEAST_STEPS: usize = 11;
const BUDGET: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    if arguments.list {
        for task in tasks::TASKS {
            println!("{:32}  {}", task.name, task.about);
        }
        return Ok(());
    }
    let Some(name) = &arguments.task else { return run_each(arguments) };
    let task = tasks::find(name).ok_or_else(|| format!("there is no task '{name}'; --list names them"))?;
    let threads = match arguments.threads {
        Some(threads) => threads,
        None => gradome_nn::available_threads()?,
    };
    gradome_nn::set_threads(threads)?;
    let measured = measure(task, arguments.reps)?;
    if arguments.json {
        println!(
            r#"{{"task":"{name}","threads":{threads},"median_ms":{:.4},"min_ms":{:.4},"peak_mb":{:.1}}}"#,
            measured.median_ms, measured.min_ms, measured.peak_mb
        );
    } else {
        let Measured { median_ms, min_ms, peak_mb } = measured;
        println!("{name:32} {threads:>2} threads {median_ms:>10.3} ms median {min_ms:>10.3} min {peak_mb:>8.1} MB");
    }
    Ok(())
}

fn run_each(arguments: &Arguments) -> Result<()> {
    let program = std::env::current_exe()?;
    for task in tasks::TASKS {
        let mut command = Command::new(&program);
        command.args(["--task", task.name]);
        if let Some(threads) = arguments.threads {
            command.args(["--threads", &threads.to_string()]);
        }
        if let Some(reps) = arguments.reps {
            command.args(["--reps", &reps.to_string()]);
        }
        if arguments.json {
            command.arg("--json");
        }
        let status = command.status()?;
        if !status.success() {
            return Err(format!("task {} failed: {status}", task.name).into());
        }
    }
    Ok(())
}

struct Measured {
    median_ms: f64,
    min_ms: f64,
    peak_mb: f64,
}

fn measure(task: &tasks::Task, reps: Option<usize>) -> Result<Measured> {
    let mut step = (task.prepare)();
    let before = resident::forget_peak()?;
    for _ in 0..WARM_UP {
        step();
    }
    let mut times = Vec::new();
    let begun = Instant::now();
    let enough = |steps: usize| match reps {
        Some(reps) => steps >= reps.max(1),
        None => steps >= LEAST_STEPS && begun.elapsed() > BUDGET,
    };
    while !enough(times.len()) {
        let start = Instant::now();
        step();
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let peak_mb = resident::peak()? - before;
    times.sort_by(f64::total_cmp);
    let middle = times.len() / 2;
    let median_ms = if times.len() % 2 == 1 { times[middle] } else { (times[middle - 1] + times[middle]) / 2.0 };
    Ok(Measured { median_ms, min_ms: times[0], peak_mb })
}
