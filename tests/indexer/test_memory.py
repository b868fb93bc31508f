"""Memory that may be used: the machine's, or less where a container or job is allowed less."""

import os
from pathlib import Path

from locatlas.indexer.memory import usable_memory


def test_a_limit_below_the_machines_memory_counts_and_one_above_or_none_does_not(tmp_path: Path) -> None:
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    low, high, without = tmp_path / "low", tmp_path / "high", tmp_path / "without"
    low.write_text("1048576\n")
    high.write_text(f"{2 * physical}\n")
    without.write_text("max\n")
    assert usable_memory([tmp_path / "absent", without, high]) == physical
    assert usable_memory([low, high]) == 1 << 20
