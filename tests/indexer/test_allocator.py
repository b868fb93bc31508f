"""Pages of a mapped file go back to the system, and are the same when they are read again."""

import sys
from pathlib import Path

import numpy as np
import pytest

from locatlas.indexer.allocator import give_pages_back


def mapped_mb() -> float:
    """Pages of files that are resident in this process."""
    (line,) = (x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("RssFile"))
    return int(line.split()[1]) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_pages_of_a_mapped_array_go_back_and_can_be_read_again(tmp_path: Path) -> None:
    whole = np.random.default_rng(0).standard_normal((1000, 4096), dtype=np.float32)
    np.save(tmp_path / "v.npy", whole)
    mapped = np.asarray(np.load(tmp_path / "v.npy", mmap_mode="c"))[1:]
    before = mapped_mb()
    total = float(mapped.sum())
    assert mapped_mb() - before > 12
    assert give_pages_back(mapped)
    assert mapped_mb() - before < 4
    assert float(mapped.sum()) == total
    np.testing.assert_array_equal(mapped, whole[1:])


def test_an_array_in_memory_stays_as_it_is() -> None:
    array = np.arange(9)
    assert not give_pages_back(array[2:])
    assert array.tolist() == list(range(9))
