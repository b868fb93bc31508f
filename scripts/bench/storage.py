"""What storing vectors as float16 changes: neighbors, macro F1, bytes on disk, seconds to read.

Run as `python scripts/bench/storage.py --n 100000` for made clustered vectors of 384 numbers, or with `--atlas FOLDER`
for those of an atlas, e.g. of real cells (level, group and encoder as `locatlas sweep` takes them). The same vectors go
into two atlases, one of each storage; everything is asked of these two. Overlap@10 is the mean share of the exact ten
nearest by float32 that are among the exact ten by float16, own group left out.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import locatlas
from locatlas.indexer.store.encoders import current
from locatlas.indexer.store.tables import Store
from locatlas.query.asking.lookup import Queries, look_up
from locatlas.query.asking.shelf import Shelf

sys.path.insert(0, str(Path(__file__).parent))
from sweep import clustered

KS = (1, 5, 10, 20, 50)
K = 10


def made(n: int, d: int) -> dict[str, NDArray[Any]]:
    """Columns of a file of made vectors."""
    vectors, protein, where = clustered(n, d, max(20, n // 40), 0)
    return {
        "ids": np.array([f"{i:07d}" for i in range(n)]),
        "vectors": vectors,
        "group_asked": np.array([f"P{p}" for p in protein]),
        "localizations": np.array([f"class {c}" for c in where]),
    }


def of_atlas(path: Path, level: str | None, group: str, encoder: str | None) -> dict[str, NDArray[Any]]:
    """Columns of a file of an atlas' own vectors, those stored as float32."""
    view = locatlas.open(path).view(level, encoder=encoder)
    return {
        "ids": np.array([name.replace("/", ":") for name in view.ids]),
        "vectors": np.asarray(view.vectors),
        "group_asked": np.array([name or "" for name in view.names(group)]),
        "localizations": np.array([";".join(sorted(names)) for names in view.localizations]),
    }


def main() -> None:
    """Measure and print; with --json also write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--d", type=int, default=384)
    parser.add_argument("--atlas", type=Path, help="take the vectors of this atlas instead")
    parser.add_argument("--level")
    parser.add_argument("--encoder")
    parser.add_argument("--group", default="protein")
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    columns = made(given.n, given.d)
    if given.atlas is not None:
        columns = of_atlas(given.atlas, given.level, given.group, given.encoder)
    n = len(columns["ids"])
    asked = np.sort(np.random.default_rng(1).choice(n, min(n, given.queries), replace=False))
    found: dict[str, dict[str, Any]] = {}
    neighbors: dict[str, NDArray[np.int64]] = {}
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "v.npz"
        np.savez(file, **columns)
        stores = {}
        for storage in ("float32", "float16"):
            atlas = Path(name) / storage
            locatlas.import_embeddings(file, atlas=atlas, name="vectors", level="cell", storage=storage)
            locatlas.maintain(atlas=atlas)
            store = stores[storage] = Store.open(atlas)
            encoder = current(store, "cell")
            assert encoder is not None
            swept = locatlas.open(atlas).sweep(ks=KS, group="asked", exclude="self", sample=min(n, 10_000))
            view = Shelf(store).load("cell", None).view
            neighbors[storage] = look_up(Queries.from_rows(view, asked), view, k=K, exclude="asked")[0].indices
            newest = store._dataset(encoder.table)
            files = {file.path for f in newest.get_fragments() for file in f.data_files()}
            data = store.folder.db / f"{encoder.table}.lance" / "data"
            found[storage] = {
                "table_mb": round(sum((data / file).stat().st_size for file in files) / 1e6, 1),
                "macro_f1": {r["k"]: r["macro_f1"] for r in swept.to_dict()["results"]},
            }
        spent: dict[str, list[float]] = {storage: [] for storage in stores}
        for _ in range(given.rounds):
            for storage, store in stores.items():
                table = next(t for t in store.tables() if t.startswith("emb_"))
                start = time.perf_counter()
                store.read_vectors(table)
                spent[storage].append(time.perf_counter() - start)
        for storage, seconds in spent.items():
            found[storage]["read_ms"] = round(1000 * statistics.median(seconds))
    pairs = zip(neighbors["float32"], neighbors["float16"], strict=True)
    overlap = float(np.mean([len(set(a[a >= 0]) & set(b)) / max(1, int((a >= 0).sum())) for a, b in pairs]))
    change = max(abs(found["float16"]["macro_f1"][k] - found["float32"]["macro_f1"][k]) for k in KS)
    print(f"{n} x {columns['vectors'].shape[1]}, {len(asked)} queries: overlap@10 {overlap:.4f}")
    print(f"macro F1, largest change at k = {', '.join(map(str, KS))}: {change:.4f}")
    for storage, one in found.items():
        print(f"  {storage}: table {one['table_mb']} MB, read in {one['read_ms']} ms, macro F1 {one['macro_f1']}")
    if given.json:
        document = {"n": n, "overlap_at_10": overlap, "macro_f1_change": change, **found}
        given.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
