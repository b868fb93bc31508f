"""What has been fetched, and the table of it that `locatlas index` takes. Reads and writes files."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fetching.run import Outcome
from fetching.verify import is_proved
from locatlas.errors import InputError
from locatlas.indexer.datasets.registry import read_records
from locatlas.indexer.records import ImageRecord
from locatlas.indexer.store.atomic import write_atomically

__all__ = ["MANIFEST", "RECEIPT", "noted_sizes", "write_manifest", "write_receipt"]

RECEIPT = "fetched.json"
MANIFEST = "manifest.csv"


def write_receipt(folder: Path, outcome: Outcome, about: Mapping[str, Any]) -> Path:
    """Note where each file came from, in `fetched.json`; files of earlier runs that are still here are kept.

    Args:
        folder: That was filled.
        outcome: What became of the plan.
        about: Source, licence and what was asked for.
    """
    path = folder / RECEIPT
    files = {name: noted for name, noted in _noted(path).items() if (folder / name).is_file()}
    fetched = {file.path for file in outcome.fetched}
    for file in outcome.here:
        place = folder / file.path
        if file.path in fetched:
            proved = file.path in outcome.proved
        elif known := files.get(file.path):  # checked before, and reading all of them again would take long
            proved = known["proved"]
        else:
            proved = is_proved(place, file.digest)
        files[file.path] = {
            "url": file.url, "bytes": place.stat().st_size, "digest": file.digest, "proved": proved,
        }  # fmt: skip
    document = {**about, "files": dict(sorted(files.items())), "not_at_the_source": [f.url for f in outcome.missing]}
    write_atomically(path, json.dumps(document, indent=1, ensure_ascii=False).encode())
    return path


def noted_sizes(folder: Path) -> dict[str, int]:
    """Bytes that each file had when it came, by path; empty where nothing has been noted.

    Raises:
        InputError: If the note is not one of `write_receipt`.
    """
    return {name: noted["bytes"] for name, noted in _noted(folder / RECEIPT).items()}


def _noted(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
        return {
            str(name): {**noted, "proved": bool(noted["proved"]), "bytes": int(noted["bytes"])}
            for name, noted in files.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not what was written here; remove it ({error!r})") from error


def write_manifest(folder: Path, dataset: str) -> tuple[Path, int, list[str]]:
    """Write `manifest.csv` of the images that the data set's own reader finds in a folder (docs/manifest.md).

    Returns:
        The table, its rows, and what the reader could not use, with the reason.
    """
    folder = folder.resolve()
    rows, rejected = [], []
    for item in read_records(dataset, folder):
        if isinstance(item, ImageRecord):
            rows.append(_row(item, folder))
        else:
            rejected.append(f"{item.source}: {item.reason}")
    columns = sorted({name for row in rows for name in row}, key=lambda name: (name != "id", name))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(folder / MANIFEST, text.getvalue().encode())
    return folder / MANIFEST, len(rows), rejected


def _row(record: ImageRecord, folder: Path) -> dict[str, str]:
    """A row of a manifest; the id without the data set's name, which indexing puts in front again."""
    row = {"id": record.id.partition("/")[2], "localizations": ";".join(record.localizations)}
    if len(record.sources) == 1:
        only = record.sources[0]
        row |= {"path": only.path.relative_to(folder).as_posix(), "channels": ";".join(only.channels)}
    else:
        for source in record.sources:
            row[f"path_{source.channels[0]}"] = source.path.relative_to(folder).as_posix()
    for name in ("protein", "ensembl_id", "antibody", "cell_line", "plate", "well"):
        if value := getattr(record, name):
            row[name] = value
    if record.pixel_size_um:
        row["pixel_size_um"] = f"{record.pixel_size_um:g}"
    return row
