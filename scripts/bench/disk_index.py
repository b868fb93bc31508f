"""An index on disk against codes in memory and the exact search: what building and asking take, and what is held.

    python scripts/bench/disk_index.py --n 200000
    python scripts/bench/disk_index.py --n 1000000 --codes-alone

Made clustered vectors in an atlas, a copy of it for each index. Every build and every round of questions is a process
of its own; the ways take turns. A question is one cell's ten nearest with its own protein left out, as `neighbors` asks
by default; recall@10 is against the exact search. Memory is what is resident and no page of a file (`RssAnon`, Linux
only), above what it was before the atlas was opened: then, and after the questions; of a build, the most that a look
every 10 ms found.

`--codes-alone` makes no atlas: a table of Lance's, the codes on disk, and questions for 200 candidates that nobody
ranks, to see what is held of more codes than Lance's cache is given.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from lookup import K, write_atlas
from scale import bytes_below
from sweep import clustered

WAYS = ("exact", "ivfpq", "lance-ivfrq")
MIB = 1 << 20


def anonymous() -> int:
    """Bytes of this process that no file backs."""
    said = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(said["RssAnon"].split()[0]) * 1024


def build(atlas: Path, kind: str) -> dict[str, Any]:
    """Build an index, and tell what it took."""
    import faiss  # noqa: F401
    import lance  # noqa: F401

    from locatlas.indexer.indices.refresh import refresh

    before = most = anonymous()
    over = threading.Event()

    def look() -> None:
        nonlocal most
        while not over.wait(0.01):
            most = max(most, anonymous())

    looking = threading.Thread(target=look)
    looking.start()
    began, core = time.perf_counter(), time.process_time()
    said = refresh(atlas, kind, levels=("cell",))["cell"]
    seconds, core_seconds = time.perf_counter() - began, time.process_time() - core
    over.set()
    looking.join()
    return {"s": seconds, "core_s": core_seconds, "MiB": (most - before) / MIB, "said": said}


def ask(atlas: Path, way: str, rows: list[int]) -> dict[str, Any]:
    """Open an atlas, ask, and tell what it took."""
    import locatlas
    from locatlas.query.asking.lookup import Queries, look_up
    from locatlas.query.asking.shelf import Shelf

    before = anonymous()
    began = time.perf_counter()
    loaded = Shelf(locatlas.open(atlas).store).load("cell", None)
    opened, opening = anonymous(), time.perf_counter() - began
    index = None if way == "exact" else loaded.index
    assert way == "exact" or (index is not None and index.sidecar.kind == way), loaded.index_state
    found, ms, core = [], [], []
    for row in rows:
        began, core_began = time.perf_counter(), time.process_time()
        query = Queries.from_rows(loaded.view, np.array([row]))
        found.append(look_up(query, loaded.view, k=K, exclude="protein", index=index)[0].indices[0].tolist())
        ms.append(1000 * (time.perf_counter() - began))
        core.append(1000 * (time.process_time() - core_began))
    memory = {"before": before / MIB, "opened": (opened - before) / MIB, "asked": (anonymous() - before) / MIB}
    spent = {"first_ms": ms[0], "ms": statistics.median(ms[1:]), "core_ms": statistics.median(core[1:])}
    return {"found": found, **spent, "opening_s": opening, "MiB": memory}


def ask_codes(folder: Path, n_list: int) -> dict[str, Any]:
    """Open codes, ask for candidates of 400 vectors, and tell what it took."""
    import lance  # noqa: F401

    from locatlas.indexer.indices.disk import DiskCodes, disk_params

    asked, before = np.load(folder / "asked.npy"), anonymous()
    codes = DiskCodes(folder / "index", n_list=n_list)
    n_probe = disk_params(codes.ntotal, asked.shape[1])["n_probe"]
    ms, held = [], []
    for query in asked:
        began = time.perf_counter()
        codes.search(query[None], 200, n_probe, None)
        ms.append(1000 * (time.perf_counter() - began))
        held.append((anonymous() - before) / MIB)
    return {"first_ms": ms[0], "ms": statistics.median(ms[1:]), "MiB": {n: held[n - 1] for n in (1, 100, len(held))}}


def measure_codes(n: int, d: int, folder: Path) -> None:
    """Build codes alone, and print what they and questions to them take."""
    import lance
    import pyarrow as pa

    from locatlas.indexer.indices.disk import disk_params, write_codes
    from locatlas.indexer.store.table_reads import TableVectors

    vectors, _, _ = clustered(n, d, max(20, n // 40), 0)
    ids = pa.array([f"{i:09d}" for i in range(n)])
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), d)
    table = lance.write_dataset(pa.table({"id": ids, "vector": column}), str(folder / "table.lance"))
    (folder / "index").mkdir()
    params = disk_params(n, d)
    began, core = time.perf_counter(), time.process_time()
    held = TableVectors("table", int(table.version), ids, ids, vectors)
    write_codes(folder / "table.lance", held, params, folder / "index")
    print(
        f"{n} x {d}: built in {time.perf_counter() - began:.1f} s ({time.process_time() - core:.1f} core s), "
        f"{bytes_below(folder / 'index' / 'codes.lance') / 1e6:.1f} MB of codes, {params}"
    )
    np.save(folder / "asked.npy", vectors[np.random.default_rng(0).choice(n, 400, replace=False)])
    told = apart("--ask-codes", str(folder), str(params["n_list"]))
    memory = ", ".join(f"{mib:.1f} MiB after {n} questions" for n, mib in told["MiB"].items())
    print(f"first question {told['first_ms']:.1f} ms, then {told['ms']:.1f} ms; {memory}")


def apart(*asked: str) -> dict[str, Any]:
    """What this script, in a process of its own, tells of one step."""
    done = subprocess.run([sys.executable, __file__, *asked], check=True, stdout=subprocess.PIPE, text=True)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def main() -> None:
    """Measure and print; with --json also write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=200_000)
    parser.add_argument("--d", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--build", nargs=2, metavar=("ATLAS", "KIND"), help=argparse.SUPPRESS)
    parser.add_argument("--ask", nargs=3, metavar=("ATLAS", "WAY", "ROWS"), help=argparse.SUPPRESS)
    parser.add_argument("--codes-alone", action="store_true", help="without an atlas, and without ranking")
    parser.add_argument("--ask-codes", nargs=2, metavar=("FOLDER", "N_LIST"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.ask_codes:
        print(json.dumps(ask_codes(Path(given.ask_codes[0]), int(given.ask_codes[1]))))
        return
    if given.codes_alone:
        with tempfile.TemporaryDirectory() as name:
            measure_codes(given.n, given.d, Path(name))
        return
    if given.build:
        print(json.dumps(build(Path(given.build[0]), given.build[1])))
        return
    if given.ask:
        print(json.dumps(ask(Path(given.ask[0]), given.ask[1], json.loads(given.ask[2]))))
        return
    vectors, protein, _ = clustered(given.n, given.d, max(20, given.n // 40), 0)
    order = np.random.default_rng(2).permutation(given.n)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_atlas(folder, vectors[order], protein[order])
        (folder / "v.npz").unlink()
        atlases = {"exact": folder / "atlas"}
        built: dict[str, Any] = {}
        for kind in WAYS[1:]:
            atlases[kind] = folder / kind
            shutil.copytree(folder / "atlas", atlases[kind])
            shutil.rmtree(atlases[kind] / "indices", ignore_errors=True)
            built[kind] = apart("--build", str(atlases[kind]), kind)
            built[kind]["MB"] = bytes_below(atlases[kind] / "indices") / 1e6
        told: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
        hits: dict[str, list[float]] = {way: [] for way in WAYS}
        for number in range(given.rounds):
            rows = np.random.default_rng(number).choice(given.n, given.questions, replace=False).tolist()
            for way in WAYS:
                told[way].append(apart("--ask", str(atlases[way]), way, json.dumps(rows)))
                exact = told["exact"][-1]["found"]
                pairs = zip(exact, told[way][-1]["found"], strict=True)
                hits[way] += [len({*truth} & {*found}) / K for truth, found in pairs]
    print(f"{given.n} x {given.d}: {vectors.nbytes / 1e6:.0f} MB of vectors")
    for kind, one in built.items():
        print(
            f"built {kind:12s} {one['s']:7.1f} s ({one['core_s']:.1f} core s), {one['MB']:.1f} MB on disk, "
            f"{one['MiB']:.0f} MiB held at most; {one['said']}"
        )
    titles = ("opened in s", "first ms", "then ms", "core ms", "recall@10", "MiB opened", "MiB asked")
    print(" " * 12 + "".join(f"{title:>13s}" for title in titles))
    for way, rounds in told.items():
        spent = [statistics.median(one[what] for one in rounds) for what in ("opening_s", "first_ms", "ms", "core_ms")]
        held = [statistics.median(one["MiB"][what] for one in rounds) for what in ("opened", "asked")]
        print(f"{way:12s}" + "".join(f"{x:13.3f}" for x in (*spent, statistics.mean(hits[way]), *held)))
    if given.json:
        for one in [one for rounds in told.values() for one in rounds]:
            del one["found"]
        given.json.write_text(json.dumps({"n": given.n, "d": given.d, "built": built, "asked": told}, indent=2) + "\n")


if __name__ == "__main__":
    main()
