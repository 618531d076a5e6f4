"""Times one task as gradome's `tasks` does, and prints the same JSON line."""
import argparse
import json
import statistics
import time


def resident(field):
    """A field of /proc/self/status in MB (2^20 bytes)."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--task", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--reps", type=int, default=15)
    return parser.parse_args()


def measure(options, step, warm_up=3):
    """Medians over `reps` steps after some to warm up; the peak is taken over all of them."""
    with open("/proc/self/clear_refs", "w") as clear:
        clear.write("5")  # forget the highest resident memory so far
    before = resident("VmRSS:")
    for _ in range(warm_up):
        step()
    times = []
    for _ in range(options.reps):
        start = time.perf_counter()
        step()
        times.append((time.perf_counter() - start) * 1e3)
    figures = {
        "task": options.task,
        "threads": options.threads,
        "median_ms": statistics.median(times),
        "min_ms": min(times),
        "peak_mb": resident("VmHWM:") - before,
    }
    print(json.dumps(figures))


def run(tasks):
    """Runs the task that the command line names; exit status 3 when there is none of that name."""
    options = arguments()
    if options.task not in tasks:
        raise SystemExit(3)
    measure(options, tasks[options.task]())
