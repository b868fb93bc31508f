"""Vectors are read without a second copy of them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from locatlas.indexer.store.tables import Store

READ = """
import sys
from pathlib import Path
from locatlas.indexer.store.tables import Store

def most():
    (line,) = (x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) * 1024

store = Store.open(Path(sys.argv[1]))
(table,) = [t for t in store.tables() if t.startswith("emb_")]
store.read(table, ["id"])
before = most()
held = store.read_vectors(table)
print((most() - before) / held.vectors.nbytes)
"""


@pytest.mark.slow  # writes 400 MB
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_all_vectors_are_read_without_holding_them_twice(tmp_path: Path) -> None:
    store, n, dim = Store.create(tmp_path / "atlas"), 96_000, 1024
    vectors = np.random.default_rng(0).standard_normal((n // 4, dim), dtype=np.float32)
    with store.folder.writer("a test"):
        for part in range(4):
            ids = [f"d/{part}-{i:06d}" for i in range(len(vectors))]
            store.put_embeddings("cell", "0" * 64, ids, ["x"] * len(ids), vectors)
    done = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path / "atlas")], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 2  # 1.6; 2.4 where the batches are kept
