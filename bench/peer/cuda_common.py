"""What the peers on the GPU have in common: cases in processes of their own, timing, arguments.

A case is a dict with "bench", "impl", "shape" and what its function needs. Cases of one group share a
process, so that importing and starting CUDA is paid once; whatever compiles has a group of its own and
a time limit.
"""

import argparse
import os
import re
import signal
import statistics
import sys
import time

from measure import emit


def arguments(doc):
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--only", default="", help='regular expression on "bench shape"')
    parser.add_argument("--seconds", type=float, default=0.1, help="timed seconds for each row")
    parser.add_argument("--limit", type=float, default=90, help="seconds allowed to a compiled case")
    parser.add_argument("--deadline", type=float, default=280,
                        help="seconds after which what is left is reported as skipped")
    return parser.parse_args()


def time_on_gpu(call, seconds):
    """Median milliseconds of five batches, as bench/cuda_bench.hpp takes them."""
    import torch

    def batch(calls):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(calls):
            call()
        torch.cuda.synchronize()
        return 1e3 * (time.perf_counter() - begin) / calls

    for _ in range(3):
        batch(1)
    first = batch(1)
    calls = min(max(int(1e3 * seconds / 5 / first), 1), 200)
    if first < 2:
        calls = max(calls, 20)
    torch.cuda.reset_peak_memory_stats()
    times = [batch(calls) for _ in range(5)]
    peak = torch.cuda.max_memory_allocated() / 2**20
    return {"ms": round(statistics.median(times), 4), "min_ms": round(min(times), 4),
            "calls": 5 * calls, "peak_mib": round(peak, 1)}


def reported(case):
    return {key: case[key] for key in ("bench", "impl", "shape")}


def run_group(args, group, function):
    """In the child: every case, each with a row of its own, failed or not."""
    import torch

    for case in group:
        try:
            emit(**reported(case), **time_on_gpu(function(case), args.seconds))
        except Exception as error:  # out of memory, or no kernel for it
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            emit(**reported(case), error=first[:200])
        torch.cuda.empty_cache()


def run_groups(args, groups, function):
    """`groups`: lists of cases, the ones that matter most first. Returns the exit code."""
    import torch  # before the forks, which then share it  # noqa: F401

    begin, ok = time.monotonic(), True
    for group in groups:
        group = [c for c in group
                 if re.search(args.only, f"{c['bench']} {c['shape']}")]
        if not group:
            continue
        left = args.deadline - (time.monotonic() - begin)
        if left < 5:
            for case in group:
                emit(**reported(case), error="skipped, out of time")
            ok = False
            continue
        compiles = any("compile" in c["impl"] for c in group)
        limit = min(left, args.limit if compiles else left)
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            os.setsid()  # with the compiler's own processes, to be ended together
            run_group(args, group, function)
            sys.stdout.flush()
            os._exit(0)
        problem = wait(child, limit)
        if problem:
            ok = False
            emit(**reported(group[-1]), error=problem)
    return 0 if ok else 1


def wait(child, limit):
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return None if status == 0 else f"the process ended with status {status}"
        time.sleep(0.02)
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return f"not done within {limit:.0f} s"


def dtype_of(name):
    import torch

    return torch.bfloat16 if name == "bf16" else torch.float32


def compiled(function, mode):
    """`mode`: default, or reduce-overhead (CUDA graphs)."""
    import torch

    return torch.compile(function, mode=None if mode == "default" else mode, dynamic=False)
