"""Copies of a published atlas: which files of an earlier copy serve for the next."""

from pathlib import Path

import pytest

from locatlas.indexer.backup.record import BackedFile
from locatlas.indexer.indices.sidecar import blake2b
from locatlas.indexer.published.fetch import _is_here

MANIFEST, DATA = "db/cells.lance/_versions/18446744073709551608.manifest", "db/cells.lance/data/0123.lance"


@pytest.mark.parametrize(("path", "then", "linked"), [
    (MANIFEST, b"seven", True),
    (MANIFEST, b"SEVEN", False),
    (DATA, b"seven", True),
    (DATA, b"SEVEN", False),
    (DATA, b"shorter", False),
    ("atlas.json", b"seven", True),
    ("atlas.json", b"SEVEN", False),
])  # fmt: skip
def test_files_are_taken_from_an_earlier_copy_where_their_bytes_are_the_same(
    tmp_path: Path, path: str, then: bytes, linked: bool
) -> None:
    (tmp_path / "earlier" / path).parent.mkdir(parents=True)
    (tmp_path / "earlier" / path).write_bytes(then)
    wanted = BackedFile(path, 5, blake2b(b"seven"))
    assert _is_here(wanted, tmp_path / "new", [tmp_path / "earlier"]) is linked
    assert (tmp_path / "new" / path).exists() is linked
