"""Print flr beside PyTorch from a file of JSON lines: python3 bench/peer/table.py FILE

One row for each benchmark, shape and number of threads. "ratio" is the fastest PyTorch time over flr's,
"memory" the smallest PyTorch peak over flr's: above 1, flr is better. A mode that failed is named below
the table. Exit code 1 if a row lacks either side or there is no row.
"""

import json
import sys


def number(value, digits=2):
    return f"{value:.{digits}f}" if value is not None else "-"


def read(path):
    """Rows by (threads, bench, shape), and what failed."""
    groups, notes = {}, []
    with open(path) as f:
        for line in f:
            try:
                row = json.loads(line)
                key = (row["threads"], row["bench"], row["shape"])
            except (ValueError, KeyError, TypeError):
                # The header line that describes the machine has no shape; anything else is damage.
                if '"machine"' not in line:
                    notes.append(f"not a result: {line.strip()[:100]}")
                continue
            # A program that failed as a whole reports under the shape "all".
            if row["shape"] != "all":
                groups.setdefault(key, []).append(row)
            if "ms" not in row:
                notes.append(f"{row['bench']} {row['shape']}, {row['threads']} threads, "
                             f"{row.get('impl', '?')}: {row.get('error', 'no time given')}")
    return groups, notes


def memory(rows):
    sizes = [row.get("rss_steady_mib", row.get("rss_mib")) for row in rows]
    sizes = [s for s in sizes if s is not None]
    return min(sizes) if sizes else None


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: table.py FILE")
    groups, notes = read(sys.argv[1])
    form = "{:>7} {:<14} {:<26} {:>10} {:>10} {:>6}  {:<16} {:>9} {:>9} {:>6}"
    print(form.format("threads", "bench", "shape", "flr ms", "torch ms", "ratio", "fastest peer",
                      "flr MiB", "torch MiB", "memory"))
    complete = bool(groups)
    for (threads, bench, shape), rows in groups.items():
        timed = [r for r in rows if "ms" in r]
        ours = min((r for r in timed if r.get("impl") == "flr"), key=lambda r: r["ms"], default=None)
        peers = [r for r in timed if r.get("impl") != "flr"]
        peer = min(peers, key=lambda r: r["ms"], default=None)
        complete = complete and ours is not None and peer is not None
        ratio = peer["ms"] / ours["ms"] if ours and peer else None
        own, other = memory([ours] if ours else []), memory(peers)
        share = other / own if own and other is not None else None
        print(form.format(threads, bench, shape, number(ours and ours["ms"]),
                          number(peer and peer["ms"]), number(ratio), peer.get("impl", "?") if peer else "-",
                          number(own, 1), number(other, 1), number(share)))
    for note in notes:
        print("failed: " + note)
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
