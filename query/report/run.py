"""Write the report of an atlas: a page, figures and tables, all in one folder. I/O."""

import datetime as dt
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from locatlas.indexer.store.schema import image_table
from locatlas.indexer.store.tables import Store
from locatlas.query.atlas import Atlas
from locatlas.query.figures import check_matplotlib
from locatlas.query.report.figures import draw_figures, write_tables
from locatlas.query.report.folder import CONTENTS, check_free, made_whole
from locatlas.query.report.gather import Told, gather
from locatlas.query.report.page import PlacedFigure, data_uri, page
from locatlas.query.report.request import ReportRequest

__all__ = ["report"]

PAGE = "index.html"


def report(
    atlas: Atlas,
    out: str | Path,
    request: ReportRequest | None = None,
    *,
    overwrite: bool = False,
    today: dt.date | None = None,
    progress: Told | None = None,
) -> dict[str, Any]:
    """Write a folder that tells an atlas: `index.html`, figures (SVG, PNG), their numbers and all tables (CSV).

    The atlas stays as it is. The same atlas and request give the same files on the same day, with the same versions of
    what is named in them.

    Args:
        atlas: Which.
        out: Folder to make. It appears when it is complete.
        request: What is told; None for all as usual.
        overwrite: Replace a report that is there; a folder that holds anything else is refused in any case.
        today: Date on the page; None for that of today (UTC).
        progress: Told of what goes on.

    Returns:
        What the page says, as `ReportDocument`; it stands in `report.json`, too.

    Raises:
        InputError: If matplotlib is not installed, the folder may not be written, or as `Atlas.sweep`.
        UnknownNameError: If a column, protein or encoder is not in the atlas.
        LeakageError: As `Atlas.sweep`.
    """
    request, out = request or ReportRequest(), Path(out)
    check_matplotlib()
    check_free(out, overwrite=overwrite)
    found = gather(atlas, request, told=progress)
    with made_whole(out, overwrite=overwrite) as folder:
        drawn = draw_figures(found, folder)
        tables = write_tables(found.document, folder)
        paths = [path for group in drawn.values() for path in group] + tables
        document = found.document | {
            "folder": str(out),
            "page": str(out / PAGE),
            # names only: the page is attached to papers, and whose folders these are is nobody's business
            "atlas": atlas.store.folder.path.name,
            "made_on": (today or dt.datetime.now(dt.UTC).date()).isoformat(),
            "command": request.command(atlas.store.folder.path.name, out.name),
            "files": sorted([PAGE, CONTENTS, *(path.name for path in paths)]),
        }
        document = _without_nan(document)
        figures = {name: _placed(group) for name, group in drawn.items()}
        pictures = _thumbnails(atlas.store, document["level"], found.pictured)
        (folder / PAGE).write_text(page(document, figures, pictures), encoding="utf-8")
        kept = document | {"folder": out.name, "page": f"{out.name}/{PAGE}"}
        text = json.dumps(kept, indent=1, ensure_ascii=False, allow_nan=False)
        (folder / CONTENTS).write_text(text + "\n", encoding="utf-8")
    return document


def _placed(paths: Sequence[Path]) -> PlacedFigure:
    svg = next(path for path in paths if path.suffix == ".svg")
    return PlacedFigure(data_uri(svg.read_bytes(), "image/svg+xml"), tuple(path.name for path in paths))


def _thumbnails(store: Store, level: str, ids: Sequence[str]) -> dict[str, str]:
    rows = store.read_rows(image_table(level), list(ids), ["id", "thumbnail"]).to_pylist() if ids else []
    return {row["id"]: data_uri(row["thumbnail"], "image/webp") for row in rows if row["thumbnail"] is not None}


def _without_nan(value: Any) -> Any:
    """JSON has no NaN: numbers that do not exist become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _without_nan(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return value
