"""Tables of a grid of channel plans, from the summary.csv and comparisons.csv that `locatlas benchmark` writes."""

import csv
from collections.abc import Sequence
from pathlib import Path

VOTES = ("uniform", "distance", "softmax")
AT_K = "5"


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def scores(summary: Sequence[dict[str, str]]) -> str:
    """Macro F1 of every plan: at every k with uniform votes; interval, other votes and accuracy at k = `AT_K`."""
    plans: dict[tuple[str, ...], dict[tuple[str, str], dict[str, str]]] = {}
    for row in summary:
        plan = tuple(row[name] for name in ("encoder", "mapping", "passes", "stains"))
        plans.setdefault(plan, {})[row["k"], row["votes"]] = row
    ks = sorted({row["k"] for row in summary}, key=int)
    lines = []
    for plan, cells in sorted(plans.items(), key=lambda one: -float(one[1][AT_K, "uniform"]["macro_f1"])):
        at = cells[AT_K, "uniform"]
        lines.append([
            _words(plan),
            *(f"{float(cells[k, 'uniform']['macro_f1']):.3f}" for k in ks),
            f"{float(at['macro_f1_ci95_low']):.3f} – {float(at['macro_f1_ci95_high']):.3f}",
            *(f"{float(cells[AT_K, votes]['macro_f1']):.3f}" for votes in VOTES[1:]),
            f"{float(at['accuracy']):.3f}",
        ])  # fmt: skip
    heads = ["plan", *(f"k = {k}" for k in ks), "95 % interval", *VOTES[1:], "accuracy"]
    return _table(heads, lines)


def differences(comparisons: Sequence[dict[str, str]]) -> str:
    """Every comparison of two plans that a grid made."""
    heads = ["first", "second", "difference", "95 % interval", "p (Holm)"]
    lines = [
        [
            _short(row["first"]),
            _short(row["second"]),
            f"{float(row['difference']):+.3f}",
            f"{float(row['ci95_low']):.3f} – {float(row['ci95_high']):.3f}",
            f"{float(row['p_holm']):.3f}",
        ]
        for row in comparisons
    ]
    return _table(heads, lines)


def _words(plan: Sequence[str]) -> str:
    encoder, mapping, passes, stains = plan
    better = "better reading: " if encoder.endswith("-cells") else ""
    return f"{better}{mapping}, {passes}" + (f", {stains} only" if stains else "")


def _short(words: str) -> str:
    encoder, _, plan = words.partition(", ")
    return ("better reading: " if encoder.endswith("-cells") else "") + plan


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = ["| " + " | ".join(row) + " |" for row in (heads, *lines)]
    return "\n".join([rows[0], "|---" * len(heads) + "|", *rows[1:]])
