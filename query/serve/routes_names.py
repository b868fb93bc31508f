"""Routes that say what an atlas holds: status, suggestions, proteins, images."""

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from fastapi import Path as InPath

from locatlas.errors import UnknownNameError, one_line
from locatlas.indexer.store.encoders import stored_encoders
from locatlas.indexer.store.ledger import versions
from locatlas.query.asking.vocabulary import mixed
from locatlas.query.lacking import lacking_in_words
from locatlas.query.serve.asked import MOST_K
from locatlas.query.serve.catalogue import COLUMNS, Catalogue
from locatlas.query.serve.context import ERRORS, MOST_TEXT, Context
from locatlas.query.serve.documents import ApiStatus, ImageDocument, ProteinDocument, ProteinPage, Suggestion
from locatlas.query.serve.reading import Desk

__all__ = ["catalogue", "image_row", "names_router"]

_ENSEMBL = re.compile(r"ENSG\d{11}")
_OPENCELL_LINE = re.compile(r"CID\d{6}")

_IMAGE = (
    "id", "dataset", "protein", "ensembl_id", "antibody", "cell_line", "plate", "well", "channels", "pixel_size_um",
    "height", "width", "localizations", "graded", "groups", "metadata", "qc", "source_digest",
)  # fmt: skip
_OF_LEVEL = {"fov": ("n_cells",), "cell": ("fov_id", "box", "centroid", "annotated")}
_TABLE = {"fov": "fovs", "cell": "cells"}

Text = Annotated[str, Query(max_length=MOST_TEXT)]
Name = Annotated[str, InPath(max_length=MOST_TEXT)]


def catalogue(desk: Desk) -> Catalogue:
    """The names of the atlas, made once for each of its versions."""

    def make() -> Catalogue:
        return Catalogue.of(*(desk.store.read(table, COLUMNS) for table in ("fovs", "cells")))

    return desk.once("catalogue", make, size=lambda found: 0, tables=("fovs", "cells"))  # kept whatever its size


def image_row(
    desk: Desk, image_id: str, columns: Sequence[str] = (), *, further: Mapping[str, Sequence[str]] | None = None
) -> tuple[str, dict[str, Any]]:
    """Level and row of an image, looked up by its id and nothing else.

    Args:
        desk: The atlas.
        image_id: As a request has it.
        columns: Of both levels.
        further: Columns of a level.

    Raises:
        HTTPException: 404, if no image has the id.
    """
    wanted = unicodedata.normalize("NFC", image_id)
    if wanted.isprintable():  # no id has control characters, so no table is asked for one
        for level, table in _TABLE.items():
            if not desk.store.has(table):
                continue
            rows = desk.store.read_rows(table, [wanted], [*columns, *(further or {}).get(level, ())])
            if len(rows):
                return level, rows.to_pylist()[0]
    raise HTTPException(404, f"no image has the id {one_line(repr(image_id))}; `suggest` finds ids")


def names_router(context: Context) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/api/v1", tags=["names"], responses=ERRORS)
    desk = context.desk

    @router.get("/status", response_model=ApiStatus)
    async def status() -> Any:
        """What the atlas holds, how far its encoders cover it, and what the server takes."""
        return await context.document(_status, context)

    @router.get("/suggest", response_model=list[Suggestion])
    async def suggest(q: Text = "", limit: Annotated[int, Query(ge=1, le=100)] = 10) -> Any:
        """Names that begin with a text, whatever its case, then those that have it inside."""
        return await context.document(lambda: catalogue(desk).suggest(q, limit))

    @router.get("/proteins", response_model=ProteinPage)
    async def proteins(
        q: Text = "",
        localization: Annotated[str | None, Query(max_length=MOST_TEXT)] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    ) -> Any:
        """Proteins by name: all, or those with a text in their name, alias or Ensembl id, or in a localization."""

        def page() -> dict[str, Any]:
            found = catalogue(desk).page(q, localization)
            chosen = [one.to_dict() for one in found[offset : offset + limit]]
            return {"total": len(found), "offset": offset, "proteins": chosen}

        return await context.document(page)

    @router.get("/proteins/{name:path}", response_model=ProteinDocument)
    async def protein(
        name: Name,
        limit: Annotated[int, Query(ge=1, le=5000)] = 500,
        offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    ) -> Any:
        """One protein with its images, FOVs before cells, and its pages at OpenCell and HPA."""
        return await context.document(_protein, desk, name, limit, offset)

    @router.get("/images/{image_id:path}", response_model=ImageDocument)
    async def image(image_id: Name) -> Any:
        """One image by its id; no path of a file leads here."""
        level, row = await context.ask(image_row, desk, image_id, _IMAGE, further=_OF_LEVEL)
        return _image(level, row)

    return router


def _status(context: Context) -> dict[str, Any]:
    desk = context.desk
    said = desk.once("status", desk.atlas.status, size=lambda found: 100_000)
    names = catalogue(desk)
    vectors = {e["level"] for e in said["encoders"] if e["state"] == "current"}
    imported = {e.fingerprint for e in stored_encoders(desk.store) if e.is_imported}
    present = {name: Path(folder).is_dir() for name, folder in desk.store.folder.info()["roots"].items()}
    limits = context.limits
    return {
        "name": desk.name,
        "locatlas": versions().get("locatlas", "not installed"),
        "version": hashlib.blake2b(repr(desk.store.stamp()).encode(), digest_size=8).hexdigest(),
        "levels": [
            {
                "level": level,
                "images": sum(said["datasets"][level].values()),
                "labelled": sum(said["labelled"][level].values()),
                "vectors": level in vectors,
            }
            for level in ("fov", "cell")
        ],
        "proteins": len(names.proteins),
        "localizations": names.localizations,
        "label_map": mixed(names.localizations),
        "encoders": [{**e, "imported": e["fingerprint"] in imported} for e in said["encoders"]],
        "datasets": _datasets(desk, said, names, present),
        "stale": [
            *(line for e in said["encoders"] if (line := lacking_in_words(e))),
            *(
                f"{e['stale']} vectors of {e['name']} ({e['level']}) were made of other pixels than those there now"
                for e in said["encoders"]
                if e["stale"]
            ),
        ],
        "stored": {"maps": said["maps"], "benchmarks": desk.store.count("benchmarks")},
        "being_written": desk.store.folder.is_being_written(),
        "limits": {"upload_bytes": limits.upload_bytes, "upload_files": limits.upload_files, "k": MOST_K},
    }


def _datasets(desk: Desk, said: dict[str, Any], names: Catalogue, present: dict[str, bool]) -> list[dict[str, Any]]:
    """The data sets, with whether the folders that their images lie in are there."""

    def make() -> dict[str, set[str]]:
        roots: dict[str, set[str]] = {}
        for table in ("fovs", "cells"):
            pairs = desk.store.read(table, ["dataset", "root"]).group_by(["dataset", "root"]).aggregate([])
            for row in pairs.to_pylist():
                roots.setdefault(row["dataset"], set()).update([row["root"]] if row["root"] else ())
        return roots

    roots = desk.once("roots", make, size=lambda found: 1000, tables=("fovs", "cells"))
    known = sorted({*said["datasets"]["fov"], *said["datasets"]["cell"]})
    return [
        {
            "name": name,
            "fovs": said["datasets"]["fov"].get(name, 0),
            "cells": said["datasets"]["cell"].get(name, 0),
            "channels": names.channels.get(name, []),
            "images": bool(roots.get(name)),
            "images_at_hand": bool(roots.get(name)) and all(present.get(root, False) for root in roots[name]),
        }
        for name in known
    ]


def _protein(desk: Desk, name: str, limit: int, offset: int) -> dict[str, Any]:
    names = catalogue(desk)
    wanted = unicodedata.normalize("NFC", name)
    if wanted not in names.proteins:
        raise UnknownNameError("protein", name, names.proteins)
    one = names.proteins[wanted]
    images: list[dict[str, Any]] = []
    lines: set[str] = set()
    n_before = 0
    for level, table in _TABLE.items():
        n_here = one.n_fovs if level == "fov" else one.n_cells
        if not n_here:
            continue
        # the page is cut after the ids alone were read: a protein may have ten thousand cells
        first, last = max(0, offset - n_before), max(0, offset + limit - n_before)
        n_before += n_here
        ids = desk.store.read_rows(table, [wanted], ["id"], key="protein")["id"].to_pylist()[first:last]
        if ids:
            rows = desk.store.read_rows(table, ids, [*_IMAGE, *_OF_LEVEL[level]]).to_pylist()
            images += [_image(level, row) for row in rows]
            lines |= {p["value"] for row in rows for p in row["metadata"] if p["name"] == "cell_line_id"}
    return {**one.to_dict(), "images": images, "offset": offset, "links": _links(one.ensembl, lines)}


def _links(ensembl: Sequence[str], lines: set[str]) -> dict[str, str | None]:
    """Pages of a protein: of OpenCell by the number of the cell line, of HPA by the Ensembl id."""
    line = next((one for one in sorted(lines) if _OPENCELL_LINE.fullmatch(one)), None)
    gene = next((one for one in ensembl if _ENSEMBL.fullmatch(one)), None)
    return {
        "opencell": None if line is None else f"https://opencell.czbiohub.org/target/{line}",
        "hpa": None if gene is None else f"https://www.proteinatlas.org/{gene}",
    }


def _image(level: str, row: dict[str, Any]) -> dict[str, Any]:
    """An image as its document has it."""
    said = {name: row.get(name) for name in (*_IMAGE, "n_cells", "fov_id", "box", "centroid", "annotated")}
    for name in ("metadata", "groups"):
        said[name] = {pair["name"]: pair["value"] for pair in row[name]}
    said["digest"] = said.pop("source_digest")
    return {**said, "level": level}
