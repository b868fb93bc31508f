"""Write the folder that annotators work on: sheet, pictures, page, labels, and how they were chosen. I/O."""

import os
import shlex
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from locatlas.errors import InputError
from locatlas.indexer.annotation.pictures import CONTEXT, Picture, pictures
from locatlas.indexer.annotation.sheet import NOTHING, SHEET_COLUMNS
from locatlas.indexer.csv_cells import write_cells
from locatlas.indexer.store import encoders
from locatlas.indexer.store.tables import Store
from locatlas.models.crops import CropPlan, default_crop
from locatlas.query.annotation.gather import ChosenSheet, SheetRequest, choose_sheet
from locatlas.query.annotation.page import Shown, page
from locatlas.query.asking.selection import filters_of
from locatlas.query.atlas import Atlas

__all__ = ["export_sheet"]

SHEET, LABELS, PAGE, TOLD, FOLDER = "sheet.csv", "labels.txt", "index.html", "README.txt", "thumbnails"


def export_sheet(atlas: Atlas, out: str | Path, request: SheetRequest | None = None) -> dict[str, Any]:
    """Choose images and write them as a folder for annotators; the atlas stays as it is.

    Args:
        atlas: Where from.
        out: Folder to make; must be absent or empty, so that no filled-in sheet is ever overwritten.
        request: What and how; None for 200 cells at random.

    Returns:
        folder, sheet, level, choose, seed, n (written), eligible, left_out, pictures (by origin), labels (allowed).

    Raises:
        InputError: If `out` holds something, nothing can be chosen, or the request does not fit the atlas.
        UnknownNameError: If a column, an encoder or the vocabulary is not known.
    """
    request, out = request or SheetRequest(), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        message = f"{out}: exists and is not an empty folder; a sheet that is filled in is never overwritten"
        raise InputError(message)
    sheet = choose_sheet(atlas, request)
    crop = request.crop or _usual_crop(atlas.store)
    partial = out.with_name(f".{out.name}.partial-{os.getpid()}")
    (partial / FOLDER).mkdir(parents=True)
    try:
        origins, numbers = _write_pictures(atlas.store, sheet, crop, partial / FOLDER)
        _write_sheet(sheet, numbers, partial / SHEET)
        (partial / LABELS).write_text("".join(f"{name}\n" for name in sheet.allowed.labels), encoding="utf-8")
        told = _told(atlas.store, out, sheet, crop, origins)
        (partial / TOLD).write_text("\n\n".join(told) + "\n", encoding="utf-8")
        (partial / PAGE).write_text(_page(sheet, numbers, origins), encoding="utf-8")
        partial.replace(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    without = [p for p in origins.values() if p.png is None]
    return {
        "folder": str(out),
        "sheet": str(out / SHEET),
        "level": sheet.level,
        "choose": request.choose,
        "seed": request.seed,
        "n": len(numbers),
        "eligible": sheet.n_eligible,
        "left_out": {**sheet.left_out, **({f"no picture, e.g. {without[0].reason}": len(without)} if without else {})},
        "pictures": dict(Counter(p.origin for p in origins.values() if p.png is not None)),
        "labels": list(sheet.allowed.labels),
    }


def _usual_crop(store: Store) -> CropPlan:
    current = encoders.current(store, "cell")
    return (current.spec.crop if current is not None else None) or default_crop("")


def _write_pictures(
    store: Store, sheet: ChosenSheet, crop: CropPlan, folder: Path
) -> tuple[dict[str, Picture], dict[str, int]]:
    """Pictures (without their bytes) by id, and the numbers of those that could be made."""
    place = {i: n for n, i in enumerate(sheet.ids)}
    made = {}
    for picture in pictures(store, sheet.level, sheet.ids, crop=crop, edge_px=sheet.request.edge_px):
        if picture.png is not None:
            (folder / f"{place[picture.id]}.tmp").write_bytes(picture.png)
        made[picture.id] = Picture(picture.id, b"" if picture.png is not None else None, picture.origin, picture.reason)
    if all(p.png is None for p in made.values()):
        message = f"none of the {len(made)} images chosen has a picture: {next(iter(made.values())).reason}"
        raise InputError(message)
    numbers = {i: n for n, i in enumerate((i for i in sheet.ids if i in made and made[i].png is not None), start=1)}
    for image_id, number in numbers.items():
        (folder / f"{place[image_id]}.tmp").rename(folder / f"{number}.png")
    return made, numbers


def _picture(number: int) -> str:
    return f"{FOLDER}/{number}.png"


def _write_sheet(sheet: ChosenSheet, numbers: dict[str, int], path: Path) -> None:
    further = ("inherited", *(("vote", "margin") if sheet.votes else ())) if sheet.request.show_labels else ()
    # with a byte order mark, without which spreadsheet programs take UTF-8 for something else
    with path.open("w", encoding="utf-8-sig", newline="") as stream:
        write_cells(stream, [*SHEET_COLUMNS, *further])
        for image_id, number in numbers.items():
            values = {"inherited": ";".join(sheet.inherited[image_id])}
            if sheet.votes:
                value = sheet.votes.margins.get(image_id)
                values["vote"] = sheet.votes.predicted.get(image_id, "")
                values["margin"] = "" if value is None else f"{value:.3f}"
            line = [image_id, _picture(number), "", "", sheet.digests[image_id], *(values[c] for c in further)]
            write_cells(stream, line)


def _page(sheet: ChosenSheet, numbers: dict[str, int], made: dict[str, Picture]) -> str:
    items = []
    for image_id, number in numbers.items():
        remark = "stored thumbnail: the source could not be used" if made[image_id].origin == "thumbnail" else None
        labels: list[str] = []
        if sheet.request.show_labels:
            labels.append(f"inherited: {'; '.join(sheet.inherited[image_id]) or '–'}")
            if sheet.votes:
                labels.append(f"vote: {sheet.votes.predicted.get(image_id) or '–'}")
        items.append(Shown(number, image_id, _picture(number), remark, tuple(labels)))
    told = (
        f'Write what you see into the column localizations of {SHEET}, several joined by ";", as spelled in {LABELS}. '
        f'"{NOTHING}": you looked and none can be seen. Empty: you did not look. {TOLD} says more.',
    )
    return page(f"{len(items)} {sheet.level}s to annotate", told, items)


def _told(store: Store, out: Path, sheet: ChosenSheet, crop: CropPlan, made: dict[str, Picture]) -> list[str]:
    request = sheet.request
    how = {
        "random": "a simple random sample",
        "per-class": f"as many of each inherited localization as there are, within each mixed over {request.group}",
        "uncertain": "those on which the vote is least certain, the least certain first: the smallest margin between "
        f"the two best label sets (0: undecided, 1: certain; {sheet.votes.said if sheet.votes else ''})",
    }[request.choose]
    where = " and ".join(map(str, filters_of(request.where)))
    left_out = "; ".join(f"{n} {reason}" for reason, n in sheet.left_out.items())
    option = f" --vocabulary {request.vocabulary}" if request.vocabulary else ""
    lines = [
        f"{sum(p.png is not None for p in made.values())} {sheet.level}s of {store.folder.path}, chosen from "
        f"{sheet.n_eligible}: {how}; seed {request.seed}{f'; filter {where}' if where else ''}."
        + (f" Left out: {left_out}." if left_out else ""),
        f'Fill in: the column localizations of {SHEET}, several joined by ";"; {LABELS} has the spellings (letter '
        f'case does not matter). "{NOTHING}": looked at, none can be seen. Empty: not looked at. A note is free text. '
        "Leave id and source_digest as they are; further columns are passed over.",
        f"Then: locatlas annotate import {shlex.quote(str(out / SHEET))} --atlas {shlex.quote(str(store.folder.path))} "
        f"--annotator YOUR_NAME{option}",
        "Pictures: nucleus blue, protein green, microtubules red, ER weakly yellow, and beside it the protein alone in "
        "grey. Brightness runs from the 0.5th to the 99.8th percentile of the whole field (of the image, where a cell "
        "is an image of its own), channel by channel.",
    ]
    if sheet.level == "cell":
        lines.append(
            f"Cells that are cut out of a field: {crop.edge_px(None) if crop.size_px else crop.size_um} "
            f"{'px' if crop.size_px else 'um'} around the {crop.centre}, neighbors shown, the cell outlined "
            f"(a square of {CONTEXT:g} times the cell where the pixel size is not known)."
        )
    stored = [p for p in made.values() if p.origin == "thumbnail"]
    if stored:
        lines.append(
            f"{len(stored)} pictures are stored thumbnails, small and without the grey panel: {stored[0].reason}"
        )
    return lines
