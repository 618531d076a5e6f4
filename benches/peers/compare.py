"""Runs every task in gradome and its peers, in turn and on the same cores, and prints one table. See README.md."""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent.parent / "target"))
CANDLE = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE / "candle/target"))
NO_SUCH_TASK = 3


def commands(python):
    return {
        "gradome": [str(TARGET / "release/tasks"), "--json"],
        "PyTorch": [python, str(HERE / "torch_tasks.py")],
        "JAX": [python, str(HERE / "jax_tasks.py")],
        "candle": [str(CANDLE / "release/candle-tasks")],
        "DiffBio": [python, str(HERE / "diffbio_tasks.py")],
    }


def run(command, task, threads):
    """The figures of one process, or why there are none."""
    variables = {"RAYON_NUM_THREADS": threads, "OMP_NUM_THREADS": threads, "JAX_PLATFORMS": "cpu"}
    environment = os.environ | {name: str(value) for name, value in variables.items()}
    cores = sorted(os.sched_getaffinity(0))[:threads]
    command = ["taskset", "-c", ",".join(map(str, cores)), *command, "--task", task, "--threads", str(threads)]
    if not pathlib.Path(command[3]).exists():
        return f"{command[3]} is not there"
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    if result.returncode == NO_SUCH_TASK:
        return "no such task"
    if result.returncode != 0:
        return (result.stderr.strip().splitlines() or ["failed"])[-1]
    return json.loads(result.stdout.strip().splitlines()[-1])


def figures(runs):
    """Medians over rounds; none when a round failed."""
    if any(isinstance(run, str) for run in runs):
        return None
    return {key: statistics.median(run[key] for run in runs) for key in ("median_ms", "min_ms", "peak_mb")}


def cell(figure):
    return "" if figure is None else f"{figure['median_ms']:.3g} ({figure['peak_mb']:.0f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3, help="processes of each kind a task; medians are shown")
    parser.add_argument("--task", action="append", help="this task alone; may be given more than once")
    parser.add_argument("--python", default=sys.executable, help="the Python that has torch, jax and diffbio")
    options = parser.parse_args()
    programs = commands(options.python)
    if not pathlib.Path(programs["gradome"][0]).exists():
        raise SystemExit("build gradome first: cargo build --release -p gradome-benches --bin tasks")
    listed = subprocess.run([programs["gradome"][0], "--list"], capture_output=True, text=True, check=True)
    tasks = options.task or [line.split()[0] for line in listed.stdout.splitlines()]

    print(f"Milliseconds a step (peak MB), medians of {options.rounds} processes, {options.threads} thread(s).\n")
    print("| task | " + " | ".join(programs) + " | ratio to the best peer | memory to PyTorch's or DiffBio's |")
    print("| --- |" + " --- |" * (len(programs) + 2))
    reasons = {}
    for task in tasks:
        runs = {name: [] for name in programs}
        for _ in range(options.rounds):
            for name, command in programs.items():
                if not runs[name] or not isinstance(runs[name][-1], str):
                    runs[name].append(run(command, task, options.threads))
        found = {name: figures(each) for name, each in runs.items()}
        for name, each in runs.items():
            if isinstance(each[-1], str):
                reasons.setdefault(f"{name}: {each[-1]}", []).append(task)
        own = found["gradome"]
        peers = [figure["median_ms"] for name, figure in found.items() if name != "gradome" and figure]
        ratio = f"{own['median_ms'] / min(peers):.3f}" if own and peers else ""
        peer = found["PyTorch"] or found["DiffBio"]
        memory = f"{own['peak_mb'] / peer['peak_mb']:.2f}" if own and peer else ""
        print(f"| {task} | " + " | ".join(cell(found[name]) for name in programs) + f" | {ratio} | {memory} |", flush=True)
    for reason, names in reasons.items():
        print(f"\n{reason} ({', '.join(names)})")


main()
