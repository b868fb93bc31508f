"""The journal of digests: what is kept of it while others write, and what of its damage commands leave to be found."""

from pathlib import Path

import numpy as np
import pytest

from locatlas.indexer import tidy_limits
from locatlas.indexer.digest_lines import FORMAT, sealed
from locatlas.indexer.digests import read_journal
from locatlas.indexer.store import Store
from locatlas.indexer.tidy import remove_old_versions
from locatlas.indexer.verify.run import verify

A, B = "a" * 12, "b" * 12


def put(store: Store, fingerprint: str, n: int) -> None:
    with store.folder.writer("test"):
        store.put_embeddings("fov", fingerprint, [f"x/{n}"], ["d"], np.full((1, 64), 0.5, np.float32))


def tidied(store: Store, fingerprint: str) -> None:
    with store.folder.writer("test"):
        remove_old_versions(store, f"emb_fov_{fingerprint}")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An atlas with vectors of two encoders, in three versions each, which may go at once."""
    monkeypatch.setattr(tidy_limits, "SUPERSEDED_FOR_S", 0.0)
    made = Store.create(tmp_path / "atlas")
    for n in range(3):
        put(made, A, n)
        put(made, B, n)
    return made


def found(store: Store) -> set[str]:
    """What is wrong, but for vectors of images that are none."""
    report = verify(atlas=store.folder.path)
    return {f"{f.severity}: {f.kind}" for f in report.findings if "vectors" not in f.kind}


def replace_in_place(store: Store, data: bytes) -> None:
    """Under the number of the file that is replaced, as ext4 gives it to the next one but one."""
    with store.folder.journal_path.open("r+b") as f:
        f.write(data)
        f.truncate()


def test_a_journal_that_was_written_anew_under_the_same_file_number_is_read_from_its_beginning(store: Store) -> None:
    other = Store.open(store.folder.path)
    tidied(other, A)
    tidied(other, B)
    anew = store.folder.journal_path.read_bytes()
    store.digests.settle()  # knows one generation, and the other writes the next
    known = read_journal(store.folder)
    assert known is not None
    lines = anew.splitlines(keepends=True)
    first = sealed({"format": FORMAT, "generation": known.generation + 1, "since": known.since})
    store.digests.take([f"emb_fov_{A}"])
    replace_in_place(store, b"".join([first, *reversed(lines[1:])]))
    for n in range(10, 18):
        put(other, A, n)
    put(store, B, 50)
    tidied(store, B)
    after = read_journal(store.folder)
    assert after is not None
    assert after.generation > known.generation + 1
    assert found(store) == set()
