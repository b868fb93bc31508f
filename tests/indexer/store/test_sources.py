"""Sources of images: one name from a record and from its row, and what tells a changed file."""

from pathlib import Path

import pytest

from locatlas.errors import ImageRejectedError
from locatlas.indexer.records import Source
from locatlas.indexer.store.rows import described
from locatlas.indexer.store.sources import root_of, row_source, source_name, source_stat
from tests.indexer.store.test_rows import record, root

__all__ = ["root"]


def test_the_first_root_that_holds_a_source_is_taken(root: Path) -> None:
    roots = {"whole": root, "part": root / "sub"}
    assert root_of(root / "sub" / "a.tif", roots) == "whole"
    assert root_of(root / "sub" / "a.tif", dict(reversed(roots.items()))) == "part"
    assert root_of(root.parent / "outside.tif", roots) is None


def test_size_and_time_tell_one_file_from_another_and_a_missing_one_by_name(root: Path) -> None:
    path = root / "sub" / "a.tif"
    before = source_stat([Source(path, ())])
    assert before == f"3:{path.stat().st_mtime_ns}"
    path.write_bytes(b"abcd")
    assert source_stat([Source(path, ())]) != before
    assert source_stat([Source(path, ()), Source(path, ())]).count(";") == 1
    with pytest.raises(ImageRejectedError, match=r"none\.tif: No such file"):
        source_stat([Source(root / "none.tif", ())])


def test_a_source_is_called_the_same_from_its_record_and_from_its_row(root: Path) -> None:
    (root / "link.tif").symlink_to(root / "sub" / "a.tif")
    for name, number in (("sub/a.tif", None), ("link.tif", None), ("sub/a.tif", 7)):
        one = record(root / name, row=number)
        name += f"[{number}]" if number else ""
        assert source_name(one, {"r": root}) == name == row_source(described(one, roots={"r": root}))
    outside = root.parent / "outside.tif"
    assert source_name(record(outside), {"r": root}) == str(outside)
