"""Timing and memory of the peers, and the JSON lines they print. Needs no PyTorch."""

import json
import resource
import statistics
import time


def status_mib(key):
    """A line of /proc/self/status in MiB, or None where the kernel does not give it."""
    try:
        with open("/proc/self/status") as f:
            for line in f:
                if line.startswith(key + ":"):
                    return int(line.split()[1]) / 1024
    except OSError:
        pass
    return None


def peak_mib():
    peak = status_mib("VmHWM")
    return peak if peak is not None else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def reset_peak():
    """Start the peak anew at the present resident size; False where the kernel refuses."""
    try:
        with open("/proc/self/clear_refs", "w") as f:
            f.write("5")
        return True
    except OSError:
        return False


def time_calls(call, seconds, at_least=5, cap=8.0, keep_long_warmup=True):
    """Milliseconds of each call: at least `at_least` calls and `seconds`, but no more than `cap` s.

    The first call is dropped, unless it took more than 2 s: what it pays extra is small beside
    that, and another would cost too much. A call that compiles is always dropped.
    """
    begin = time.perf_counter()
    call()
    spent = time.perf_counter() - begin
    times = [spent] if spent > 2.0 and keep_long_warmup else []
    total = sum(times)
    while not times or (total < cap and (len(times) < at_least or total < seconds)):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
        total += times[-1]
    return [1e3 * t for t in times]


def summary(times):
    return {"ms": round(statistics.median(times), 4), "min_ms": round(min(times), 4),
            "steps": len(times)}


def emit(**fields):
    print(json.dumps(fields), flush=True)
