"""Small atlases with a file of every kind, and ways to damage them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import lance
import pyarrow as pa

from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.index import index
from locatlas.indexer.indices.build import build
from locatlas.indexer.store import encoders
from locatlas.indexer.store.schema import ANNOTATIONS
from locatlas.indexer.store.tables import Store
from locatlas.indexer.verify.report import VerifyReport
from locatlas.models.crops import CropPlan
from tests.indexer.masked import write_masked

CELL = "manifest/a/250"


def make_whole(folder: Path) -> Path:
    """An atlas of fields and cells with vectors, annotations, a deleted row, an index and old versions."""
    folder.mkdir(parents=True, exist_ok=True)
    fields, atlas = write_masked(folder / "fields"), folder / "atlas"
    request = EncoderRequest(crop=CropPlan(size_px=9))
    index(fields, atlas=atlas, dataset="manifest", level="both", request=request, commit_rows=2)
    store = Store.open(atlas)
    with store.folder.writer("annotate"):
        store.upsert("annotations", pa.concat_tables([annotation("a"), annotation("b")]))
        store.delete("annotations", [f"{CELL}|b"])
        build(store, current(store, "fov"), "flat")
    return atlas


def annotation(who: str) -> pa.Table:
    row = {
        "id": f"{CELL}|{who}",
        "image_id": CELL,
        "level": "cell",
        "annotator": who,
        "localizations": ["nucleoplasm"],
        "at": 0,
        "source_digest": "0f" * 16,
        "note": None,
    }
    return pa.Table.from_pylist([row], schema=ANNOTATIONS)


def current(store: Store, level: str) -> encoders.StoredEncoder:
    found = encoders.current(store, level)
    assert found is not None
    return found


def files_of(atlas: Path) -> Iterator[Path]:
    """Every file with contents, sorted."""
    yield from sorted(p for p in atlas.rglob("*") if p.is_file() and p.stat().st_size)


def kind_of(atlas: Path, path: Path) -> str:
    """What sort of file it is."""
    below = path.relative_to(atlas).as_posix()
    if below.startswith("db/"):
        part = below.split("/")[2]
        return "hint" if path.suffix == ".json" else part
    return below if not below.startswith("indices/") else f"index{path.suffix}"


def flip(path: Path, position: int, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << bit
    path.write_bytes(data)


def newest(atlas: Path, table: str, part: str) -> Path:
    """The file of a table that was written last."""
    found = [p for p in (atlas / "db" / f"{table}.lance" / part).iterdir() if p.suffix != ".json"]
    if part == "_versions":
        return min(found, key=lambda p: p.name)
    return max(found, key=lambda p: p.stat().st_mtime_ns)


def copied(original: Path, path: Path) -> Path:
    return Path(shutil.copytree(original, path))


def kinds(report: VerifyReport, severity: str = "damage") -> list[str]:
    return sorted({f.kind for f in report.findings if f.severity == severity})


def add_rows(store: Store, table: str, rows: pa.Table) -> None:
    """Past every check, as a foreign program would; with digests, so that only the rows tell."""
    lance.write_dataset(rows, str(store.folder.db / f"{table}.lance"), mode="append")
    store.digests.take([table])


def rows_of(store: Store, table: str) -> pa.Table:
    return lance.dataset(str(store.folder.db / f"{table}.lance")).to_table()


def changed(rows: pa.Table, **columns: object) -> pa.Table:
    first = rows.slice(0, 1).to_pylist()[0]
    return pa.Table.from_pylist([{**first, **columns}], schema=rows.schema)
