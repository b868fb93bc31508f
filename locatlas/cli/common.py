"""What commands share: options, JSON and tables on stdout, notices on stderr."""

import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

if TYPE_CHECKING:
    from locatlas.indexer.published.held import Written

__all__ = [
    "atlas_option",
    "emit_json",
    "interval",
    "json_option",
    "name_list",
    "notice",
    "number_list",
    "point",
    "print_table",
    "shown",
    "trained_on_line",
    "write_csv",
    "written",
]

atlas_option = click.option(
    "--atlas",
    "-a",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder of the atlas, or its address in an object store (s3://BUCKET/PREFIX).",
    metavar="FOLDER",
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


def emit_json(document: Any) -> None:
    """Print one JSON document on stdout."""
    from locatlas.query.plain import plain

    click.echo(json.dumps(plain(document), indent=2, ensure_ascii=False, allow_nan=False))


def notice(text: str) -> None:
    """Say something on stderr."""
    click.echo(text, err=True)


@contextmanager
def written(atlas: Path, command: str) -> Iterator["Written"]:
    """Write an atlas for the length of a block, as `writing`, and say afterwards what was sent, if anything.

    One for all that a command does: what it calls would publish each time by itself.

    Args:
        atlas: Folder, or address in an object store.
        command: What is done, told to whoever wants to write as well.
    """
    from locatlas.indexer.published.writing import writing

    with writing(atlas, command) as found:
        yield found
    if (sent := found.sent) is not None:
        what = f"{sent.objects} new objects, {sent.bytes / 1e6:.1f} MB" if sent.states else "nothing new to publish"
        notice(f"published: {what}")


def shown(atlas: Path) -> str:
    """How an atlas is named: a path has lost a slash of an address in an object store."""
    from locatlas.indexer.published.objects import uri_of

    return uri_of(atlas) or str(atlas)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str = "") -> None:
    """Print a table on stdout; numbers are right-aligned, floats with three decimals."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if title:
        click.echo(title)
    cells = [[_cell(value) for value in row] for row in rows]
    longest = [max(map(len, (column, *column_of))) for column, *column_of in zip(columns, *cells, strict=True)]
    numeric = [all(row[i] in (None, "") or _is_number(row[i]) for row in rows) for i in range(len(columns))]
    # a pipe has no width: wide enough that nothing is folded, unless one is asked for
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 2000
    console = Console(width=width, highlight=False)

    def fits(whole: Sequence[bool]) -> bool:
        needed = (size if keep else min(size, _READABLE) for size, keep in zip(longest, whole, strict=True))
        return sum(needed) + 3 * len(columns) <= console.width

    # where there is room, numbers stay in one piece, and so does what is copied or searched for; the rest folds
    names = [
        column in ("id", "fingerprint", "encoder") or number for column, number in zip(columns, numeric, strict=True)
    ]
    whole = next((kept for kept in (names, numeric) if fits(kept)), [False] * len(columns))
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column, number, keep in zip(columns, numeric, whole, strict=True):
        table.add_column(column, justify="right" if number else "left", overflow="fold", no_wrap=keep)
    for row_of in cells:
        table.add_row(*map(Text, row_of))
    console.print(table)


_READABLE = 12  # characters of a line of text

_IN_NUMBERS = str.maketrans("", "", ".,")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or (
        isinstance(value, str) and value.translate(_IN_NUMBERS).lstrip("-").isdigit()
    )


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def interval(bounds: Sequence[float] | None) -> str | None:
    """Bounds as a table shows them; None where there are too few groups for any."""
    return " – ".join(f"{bound:.3f}" for bound in bounds) if bounds else None


def trained_on_line(said: dict[str, Any]) -> str:
    """What an encoder was trained on of what is evaluated, in one line.

    Args:
        said: As in `trained_on_document.TrainedOn`.
    """
    met = (
        f"trained on ({said['encoder']}, {said['objective']}): {said['n_seen_rows']} of {said['n_rows']} rows, "
        f"{said['n_seen_groups']} of {said['n_groups']} groups ({said['group']})"
    )
    if not said["n_seen_rows"]:
        return f"{met}; nothing that is evaluated was seen in training"
    if said["evaluated"] == "held-out":
        return f"{met}; scores are of the other {said['n_evaluated_rows']} rows, {said['n_evaluated_groups']} groups"
    return f"{met}; they are scored as if they were new: no measure of how it does on new images"


def name_list(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Option callback: "a,b" to ("a", "b")."""
    return tuple(part.strip() for part in (value or "").split(",") if part.strip())


def number_list(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """Option callback: "1,3,5" to (1, 3, 5), ascending without repeats."""
    if value is None:
        return None
    try:
        numbers = tuple(sorted({int(part) for part in value.split(",") if part.strip()}))
    except ValueError:
        message = f"{value!r}: whole numbers joined by commas needed, e.g. 1,3,5"
        raise click.BadParameter(message, ctx=ctx, param=param) from None
    if not numbers or numbers[0] < 1:
        message = f"{value!r}: numbers of at least 1 needed"
        raise click.BadParameter(message, ctx=ctx, param=param)
    return numbers


def point(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, float] | None:
    """Option callback: "120,340.5" to (120.0, 340.5)."""
    if value is None:
        return None
    try:
        y, x = (float(part) for part in value.split(","))
    except ValueError:
        message = f"{value!r}: two numbers Y,X in pixels needed, e.g. 120,340"
        raise click.BadParameter(message, ctx=ctx, param=param) from None
    return y, x


def write_csv(table: Any, path: Path) -> None:
    """Write a table; lists are joined by semicolons, as CSV has none, and no text is a formula (`csv_cells`)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from locatlas.indexer.csv_cells import write_cells

    for i, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            table = table.set_column(i, field.name, pc.binary_join(table[field.name], ";"))
    with path.open("w", encoding="utf-8", newline="") as stream:
        write_cells(stream, table.column_names)
        for row in zip(*(column.to_pylist() for column in table.columns), strict=True):
            write_cells(stream, [str(cell).lower() if isinstance(cell, bool) else cell for cell in row])
    notice(f"written: {path}")
