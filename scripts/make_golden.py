"""Make a golden atlas: a few made images, indexed by the code of the time, packed with what that code answered.

    python scripts/make_golden.py 4 --commit HEAD

writes tests/data/golden/v4.tar.xz (atlas and images) and v4.json (rows, vectors and neighbors as the code of that
commit gave them), which `tests/indexer/test_golden.py` opens with the code of today from then on. Those that are there
were made from the commits in `COMMITS`, each the last of its schema version, with the packages of that day; they are
not made again, as it is their bytes that must stay readable. Needs git and the history of the repository.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDER = REPOSITORY / "tests" / "data" / "golden"

COMMITS = {1: "2db4f02", 2: "c2d1cd7", 3: "838a4d3"}
"""What the golden atlases were made with. Those of versions 1 and 2 are the last of their version."""

EDGE_PX = 64
FIELDS = (("a", "LMNB1", "nuclear_membrane"), ("b", "NPM1", "nucleoli"), ("c", "NPM1", "nucleoli;nucleoplasm"))

_ASK = """
import json, sys
from locatlas.indexer.store.schema import SCHEMA_VERSION
from locatlas.indexer.store.tables import Store
from locatlas.query.atlas import open_atlas
from pathlib import Path

atlas, store = open_atlas(Path(sys.argv[1])), Store.open(Path(sys.argv[1]))
said = {"schema_version": SCHEMA_VERSION, "rows": {}, "vectors": {}, "neighbors": {}}
columns = ["id", "protein", "localizations", "channels", "pixel_size_um", "source_digest", "height", "plate"]
for table in store.tables():
    if table.startswith("emb_"):
        held = store.read_vectors(table)
        said["vectors"][table] = {i: [float(x) for x in v] for i, v in zip(held.ids, held.vectors)}
    elif table in ("fovs", "cells"):
        said["rows"][table] = store.read(table, columns).to_pylist()
    else:
        said["rows"][table] = [{"id": r["id"]} for r in store.read(table, ["id"]).to_pylist()]
for table, level in (("fovs", "fov"), ("cells", "cell")):
    for row in said["rows"].get(table, []):
        hits = atlas.neighbors(id=row["id"], level=level, k=1, exclude="self").to_pylist()
        said["neighbors"][row["id"]] = [[h["id"], h["similarity"]] for h in hits]
print(json.dumps(said))
"""


def write_source(folder: Path, version: int) -> list[str]:
    """Images with a manifest; the options of `index` with which that schema version can take them.

    Args:
        folder: Is made.
        version: Schema version. From 2 on, cells are cut out of the fields; version 1 knew cells as images only.
    """
    folder.mkdir()
    rows = []
    y, x = np.mgrid[:EDGE_PX, :EDGE_PX]
    for n, (name, protein, localizations) in enumerate(FIELDS):
        nuclei = [(18 + 2 * n, 20), (44, 42 + 3 * n)]
        labels, planes = np.zeros((EDGE_PX, EDGE_PX), np.uint8), np.full((2, EDGE_PX, EDGE_PX), 40.0)
        for number, (cy, cx) in enumerate(nuclei, 1):
            r = np.hypot(y - cy, x - cx)
            labels[r < 14] = number
            size = 5 + n + 2 * number  # no cell is as another
            planes[0] += 900 * (r < size) * (1 + 0.1 * np.sin(x * number))
            planes[1] += 700 * np.exp(-(((r - size) / 2) ** 2)) if n == 0 else 300 * n * (r < 2 + number)
        tifffile.imwrite(folder / f"{name}.tif", planes.round().astype(np.uint16), compression="zlib")
        tifffile.imwrite(folder / f"{name}_cells.tif", labels, compression="zlib")
        mask = f"{name}_cells.tif" if version > 1 else ""
        rows.append((name, f"{name}.tif", "nucleus;protein", protein, localizations, f"P{n % 2}", "0.5", mask, "fov"))
    (folder / "broken.tif").write_bytes(b"II*\0not an image")
    rows.append(("broken", "broken.tif", "nucleus;protein", "TP53", "", "P0", "0.5", "", "fov"))
    if version == 1:
        cell = tifffile.imread(folder / "a.tif")[:, 4:36, 4:36]
        tifffile.imwrite(folder / "a_1.tif", cell, compression="zlib")
        rows += [("a_1", "a_1.tif", "nucleus;protein", "LMNB1", "", "P0", "0.5", "", "cell")]
        tifffile.imwrite(folder / "b_1.tif", cell[:, ::-1, ::2], compression="zlib")
        rows += [("b_1", "b_1.tif", "nucleus;protein", "NPM1", "nucleoli", "P1", "0.5", "", "cell")]
    columns = "id,path,channels,protein,localizations,plate,pixel_size_um,mask_path,level"
    (folder / "manifest.csv").write_text("\n".join([columns, *(",".join(row) for row in rows)]) + "\n")
    return [] if version == 1 else ["--level", "both", "--crop", "20px"]


def run(code: Path, *arguments: str) -> str:
    """What a Python of the code in a folder prints."""
    environment = {**os.environ, "PYTHONPATH": str(code), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=code, check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


def pack(folder: Path, to: Path) -> None:
    """Atlas and images as one file, which depends on their bytes alone."""
    with tarfile.open(to, "w:xz", preset=9) as tar:
        for path in sorted(folder.glob("atlas/**/*")) + sorted(folder.glob("source/*")):
            if path.is_file() and not path.name.startswith("."):
                data = path.read_bytes()
                entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
                entry.size, entry.mode = len(data), 0o644
                tar.addfile(entry, io.BytesIO(data))


def make(version: int, commit: str) -> None:
    """Make the golden atlas of a schema version by the code of a commit."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        work, code = Path(name), Path(name) / "code"
        code.mkdir()
        archive = subprocess.run(
            ["git", "archive", commit, "indexer", "locatlas", "models", "query", "pyproject.toml"],
            cwd=REPOSITORY, check=True, stdout=subprocess.PIPE,
        ).stdout  # fmt: skip
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(code, filter="tar")
        options = write_source(work / "source", version)
        atlas = work / "atlas"
        arguments = ["index", str(work / "source" / "manifest.csv"), "--atlas", str(atlas), "--dataset", "manifest"]
        plan = ["--encoder", "locatlas_pico.untrained", "--precision", "fp32", "--faiss", "flat"]
        run(code, "-m", "locatlas", *arguments, *plan, *options)
        said: dict[str, Any] = json.loads(run(code, "-c", _ASK, str(atlas)))
        if said["schema_version"] != version:
            message = f"commit {commit} has schema version {said['schema_version']}, not {version}"
            raise SystemExit(message)
        said |= {"commit": commit, "options": options}
        pack(work, FOLDER / f"v{version}.tar.xz")
        (FOLDER / f"v{version}.json").write_text(json.dumps(said, indent=1, sort_keys=True) + "\n")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version", type=int, help="schema version")
    parser.add_argument("--commit", help="whose code makes it; default: as it was made before")
    given = parser.parse_args()
    make(given.version, given.commit or COMMITS[given.version])


if __name__ == "__main__":
    main()
