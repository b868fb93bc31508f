"""One page of what grids came to, beside what has been published. Pure.

The tables are those of the documents that `locatlas benchmark --json` prints.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from locatlas.query.benchmark.paired import plan_words
from locatlas.query.benchmark.tables import by_condition, how_many_seeds

__all__ = ["page"]

_DIFFERENCES = (
    "Macro F1 of the first less that of the second, on the same groups; p by permutation, corrected over all of the "
    "grid by Holm; detectable: the difference that would be found with a power of 80 % after that correction"
)
_SCORES = (
    "Macro F1: mean over seeds ± SD, with the 95 % interval of a bootstrap over groups below; all other numbers are in "
    "results/, with those of each class."
)
_VERDICTS = "What others say of which does better, and what was measured here"


def page(documents: Sequence[Mapping[str, Any]], *, about: str, commands: Sequence[str]) -> str:
    """The page in Markdown.

    Args:
        documents: One of each grid, in order.
        about: What was measured, and what it can and cannot show; paragraphs under the title.
        commands: What was run.
    """
    parts = ["# Reproduced", about, "```\n" + "\n".join(commands) + "\n```"]
    for document in documents:
        parts += _grid(document)
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def _grid(document: Mapping[str, Any]) -> list[str]:
    grid = document["grid"]
    parts = [
        f"## {grid['title']}",
        grid["question"],
        f"*When it misleads.* {grid['caution']}" if grid["caution"] else "",
    ]
    for condition, rows in by_condition(document["summaries"]).items():
        parts += [f"**{condition}**", _SCORES, _scores(rows)]
    if document["published"]:
        parts += ["Published", _published(document["published"])]
    if document["orderings"]:
        parts += [_VERDICTS, _orderings(document["orderings"])]
    if document["comparisons"]:
        parts += [
            _DIFFERENCES,
            _comparisons(document["comparisons"]),
        ]
    notes = [*document["notes"], *(f"not measured: {n} ({why})" for why, n in document["left_out"].items())]
    notes += [f"left out: {n} rows ({why})" for why, n in document["left_out_rows"].items()]
    parts.append("\n".join(f"- {note}" for note in notes))
    return parts


def _scores(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line for each encoder, plan and way to classify; k-NN has a column for each k."""
    ks = sorted({row["k"] for row in rows if row["k"] is not None})
    lines: dict[tuple[str, ...], dict[int | None, str]] = {}
    for row in rows:
        by = row["classifier"] if row["k"] is None else f"k-NN {row['votes']}"
        key = (plan_words(row), by, f"{row['fraction']:g}", how_many_seeds(row))
        mean = _mean_sd(row["macro_f1"], row["macro_f1_sd"])
        lines.setdefault(key, {})[row["k"]] = "<br>".join(filter(None, [mean, _interval(row["macro_f1_ci95"])]))
    heads = any(None in found for found in lines.values())
    columns: list[int | None] = [*([None] if heads else []), *ks]
    return _table(
        ("encoder and plan", "by", "fraction", "seeds", *("head" if k is None else f"k = {k}" for k in columns)),
        [(*key, *(found.get(k, "") for k in columns)) for key, found in lines.items()],
    )


def _published(rows: Sequence[Mapping[str, Any]]) -> str:
    return _table(
        ("number", "condition", "source"),
        [
            (
                f"{'at least ' if one['at_least'] else ''}{one['value']:g}"
                + (f" ± {one['spread']:g}" if one["spread"] else ""),
                one["condition"],
                one["source"],
            )
            for one in rows
        ],
    )


def _orderings(rows: Sequence[Mapping[str, Any]]) -> str:
    return _table(
        ("published as better", "than", "by", "protocol", "difference", "95 % interval", "here"),
        [
            (
                one["better"], one["worse"], _by(one), one["protocol"], f"{one['difference']:+.3f}",
                _interval(one["ci95"]), one["verdict"],
            )
            for one in rows
        ],
    )  # fmt: skip


def _comparisons(rows: Sequence[Mapping[str, Any]]) -> str:
    return _table(
        ("first", "second", "by", "protocol", "fraction", "difference", "95 % interval", "detectable", "p (Holm)"),
        [
            (
                one["first"], one["second"], _by(one), one["protocol"], f"{one['fraction']:g}",
                f"{one['difference']:+.3f}", _interval(one["ci95"]), _number(one["detectable"]), _p(one["p_holm"]),
            )
            for one in rows
        ],
    )  # fmt: skip


def _by(row: Mapping[str, Any]) -> str:
    return str(row["classifier"]) if row["k"] is None else f"{row['k']}-NN"


def _mean_sd(mean: float, sd: float | None) -> str:
    return f"{mean:.3f}" if sd is None else f"{mean:.3f} ± {sd:.3f}"


def _interval(bounds: Sequence[float] | None) -> str:
    return "" if bounds is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
