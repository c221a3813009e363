"""flr beside PyTorch on the GPU, from a file of JSON lines: python3 bench/peer/cuda_table.py FILE

One row for each benchmark and shape that both sides have. "ratio" is flr's time over the fastest of
PyTorch's, "memory" flr's peak over the smallest of PyTorch's: below 1, flr is better. `flr` is the best
of flr's own variants, which are named. Exit code 1 if there is no row.
"""

import json
import sys


def read(path):
    groups, failures = {}, []
    with open(path) as f:
        for line in f:
            try:
                row = json.loads(line)
                key = (row["bench"], row["shape"])
            except (ValueError, KeyError):
                failures.append(f"not a result: {line.strip()[:100]}")
                continue
            groups.setdefault(key, [])
            if "ms" in row:
                groups[key].append(row)
            else:
                failures.append(f"{row['bench']} {row['shape']} {row.get('impl', '?')}: "
                                f"{row.get('error', 'no time given')}")
    return groups, failures


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: cuda_table.py FILE")
    groups, failures = read(sys.argv[1])
    form = "{:<18} {:<38} {:>9} {:>10} {:>6}  {:<22} {:>8} {:>9} {:>6}  {:>6}  {}"
    print(form.format("bench", "shape", "flr ms", "torch ms", "ratio", "fastest peer", "flr MiB",
                      "torch MiB", "memory", "floor", "flr's variant"))
    compared = 0
    for (bench, shape), rows in groups.items():
        ours = [r for r in rows if r["impl"].startswith("flr")]
        peers = [r for r in rows if not r["impl"].startswith("flr")]
        if not ours or not peers:
            continue
        compared += 1
        own = min(ours, key=lambda r: r["ms"])
        peer = min(peers, key=lambda r: r["ms"])
        smallest = min(r["peak_mib"] for r in peers)
        floor = f"{100 * own['of_floor']:.0f}%" if own.get("of_floor") else "-"
        print(form.format(bench, shape, f"{own['ms']:.3f}", f"{peer['ms']:.3f}",
                          f"{own['ms'] / peer['ms']:.3f}", peer["impl"], f"{own['peak_mib']:.0f}",
                          f"{smallest:.0f}", f"{own['peak_mib'] / smallest:.2f}", floor,
                          own["impl"]))
    for failure in failures:
        print("failed: " + failure)
    return 0 if compared else 1


if __name__ == "__main__":
    sys.exit(main())
