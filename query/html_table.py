"""Tables as HTML for notebooks: pictures in cells, every text escaped, nothing from elsewhere. Pure."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

__all__ = ["Picture", "Pictures", "html_table"]

PICTURE_PX = 64

# inline, since notebooks may take style elements out; colours are left to the notebook, which may be dark
_CELL = "padding:2px 10px 2px 0;vertical-align:middle;text-align:{align}"
_HEAD = "padding:2px 10px 4px 0;border-bottom:1px solid;font-weight:600;text-align:{align}"
_KINDS = ((b"RIFF", "image/webp"), (b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"))


@dataclass(frozen=True, slots=True)
class Picture:
    """A small picture in a cell.

    Attributes:
        data: Of a WebP, PNG or JPEG file; None where there is none.
        title: What it is of.
    """

    data: bytes | None
    title: str


@dataclass(frozen=True, slots=True)
class Pictures:
    """Several of them in one cell."""

    shown: tuple[Picture, ...]


def html_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], notes: Sequence[str] = ()
) -> str:  # fmt: skip
    """A table with a line above and lines below.

    Args:
        title: Above.
        columns: Names.
        rows: Cells: text, numbers, lists of text, None, `Picture` or `Pictures`.
        notes: Below.
    """
    numeric = [all(_is_number(row[i]) or row[i] is None for row in rows) for i in range(len(columns))]
    align = ["right" if is_number else "left" for is_number in numeric]
    head = "".join(
        f'<th style="{_HEAD.format(align=a)}">{escape(name)}</th>' for name, a in zip(columns, align, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f'<td style="{_CELL.format(align=a)}">{_cell(value)}</td>' for value, a in zip(row, align, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    below = "".join(f'<div style="opacity:.75">{escape(note)}</div>' for note in notes)
    return (
        f'<div style="overflow-x:auto"><div>{escape(title)}</div>'
        f'<table style="border-collapse:collapse"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        f"{below}</div>"
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: Any) -> str:
    if isinstance(value, Picture):
        return _image(value)
    if isinstance(value, Pictures):
        return "".join(map(_image, value.shown))
    if value is None or value != value:
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}"
    return escape(", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value))


def _image(picture: Picture) -> str:
    data, name = picture.data or b"", escape(picture.title)
    kind = next((kind for begin, kind in _KINDS if data.startswith(begin)), None)
    if kind is None:
        return "–"
    source = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    style = f"max-width:{PICTURE_PX}px;max-height:{PICTURE_PX}px;margin-right:2px;background:#000"
    return f'<img src="{source}" alt="{name}" title="{name}" style="{style}">'
