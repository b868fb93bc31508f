"""Where the time of a command goes: shares of the functions of locatlas in what a sampling profiler wrote.

    pip install py-spy
    py-spy record --native -r 250 -f raw -o samples.txt -- python scripts/bench/sweep.py --alone --rounds 6
    python scripts/bench/shares.py samples.txt --within search_coarse

Time of threads that compute, added up; threads that wait are not sampled. A sample counts for the innermost function of
locatlas that it is in, whatever library that called, and with `--below` for every function that it is in.
"""

import argparse
import re
from collections import Counter
from pathlib import Path

_OWN = re.compile(r"(\S+) \(.*?(locatlas/\S+\.py):\d+\)")  # as py-spy names a frame: "function (file:line)"


def shares(lines: list[str], within: str | None, *, below: bool) -> tuple[int, Counter[str]]:
    """Samples in all, and those of each function.

    Args:
        lines: "frame;frame;...;frame number", the outermost first.
        within: Only samples that are in a function of this name.
        below: Count a sample for every function that it is in, not the innermost alone.
    """
    counted: Counter[str] = Counter()
    total = 0
    for line in lines:
        stack, number = line.rsplit(" ", 1)
        if within is not None and within not in stack:
            continue
        total += int(number)
        own = [f"{match[2]} {match[1]}" for frame in stack.split(";") if (match := _OWN.match(frame))]
        for name in set(own) if below else own[-1:] or ["(elsewhere)"]:
            counted[name] += int(number)
    return total, counted


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("samples", type=Path, help="what `py-spy record -f raw` wrote")
    parser.add_argument("--within", help="only what runs in a function of this name")
    parser.add_argument("--below", action="store_true", help="with what a function calls")
    parser.add_argument("--top", type=int, default=25)
    asked = parser.parse_args()
    total, counted = shares(asked.samples.read_text().splitlines(), asked.within, below=asked.below)
    print(f"{total} samples")
    for name, number in counted.most_common(asked.top):
        print(f"{100 * number / max(1, total):5.1f} %  {name}")


if __name__ == "__main__":
    main()
