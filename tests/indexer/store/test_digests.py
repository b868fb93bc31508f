"""The journal of digests: what is kept of it while others write, and what of its damage commands leave to be found."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from locatlas.indexer.store import tidy_limits
from locatlas.indexer.store.digest_lines import FORMAT, Journal, journal_bytes, parse, removal_line, sealed
from locatlas.indexer.store.digests import read_journal
from locatlas.indexer.store.tables import Store
from locatlas.indexer.store.tidy import old_versions, remove_versions
from locatlas.indexer.verify.run import verify

A, B = "a" * 12, "b" * 12


def put(store: Store, fingerprint: str, n: int) -> None:
    with store.folder.writer("test"):
        store.put_embeddings("fov", fingerprint, [f"x/{n}"], ["d"], np.full((1, 64), 0.5, np.float32))


def tidied(store: Store, fingerprint: str) -> None:
    with store.folder.writer("test"):
        table = f"emb_fov_{fingerprint}"
        assert remove_versions(store, table, old_versions(store, table))[0]


@pytest.mark.parametrize("end", [b"\n", b""], ids=["whole", "without its newline"])
def test_damaged_lines_are_numbered_from_the_beginning_however_the_journal_is_read(end: bytes) -> None:
    good, bad = removal_line("db/a.lance/", "now"), b'{"path": "x", "seal": "0"}'
    first, second = [journal_bytes(1, "now", []), good, good], [good, bad + end]
    journal = parse(b"".join(second), into=parse(b"".join(first)))
    assert journal.bad == parse(b"".join(first + second)).bad == ([5] if end else [])


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


def line_of(store: Store, victim: Path) -> int:
    lines = store.folder.journal_path.read_bytes().splitlines()
    return next(n for n, line in enumerate(lines) if victim.name.encode() in line)


def change_line(store: Store, n: int) -> None:
    lines = store.folder.journal_path.read_bytes().splitlines(keepends=True)
    lines[n] = lines[n].replace(b'"bytes":', b'"byteS":')
    store.folder.journal_path.write_bytes(b"".join(lines))


def cut_line(store: Store, n: int) -> None:
    lines = store.folder.journal_path.read_bytes().splitlines(keepends=True)
    store.folder.journal_path.write_bytes(b"".join(lines[:n]))


def lose_head(store: Store, _: int) -> None:
    store.folder.head_path.unlink()


DAMAGES = {"journal damaged": change_line, "journal truncated": cut_line, "head damaged": lose_head}


@pytest.mark.parametrize("kind", DAMAGES)
def test_commands_leave_a_damaged_journal_to_be_found_until_it_is_repaired(
    kind: str, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    victim = sorted((store.folder.db / f"emb_fov_{A}.lance" / "data").iterdir())[-1]
    DAMAGES[kind](store, line_of(store, victim))
    assert f"damage: {kind}" in found(store)
    for n in range(20, 23):
        other = Store.open(store.folder.path)
        with other.folder.writer("test"):
            other.take_late_digests()
        put(other, A, n)
        put(other, B, n)  # two versions always stay
        tidied(other, B)
        assert f"damage: {kind}" in found(store), f"after command {n}"
    assert "`locatlas verify --atlas" in caplog.text
    report = verify(atlas=store.folder.path, repair=True)
    assert report.damage == []
    again = "note: digests begun again" in found(store)
    assert again == (kind != "head damaged")
    put(store, A, 30)
    tidied(store, A)
    assert ("note: digests begun again" in found(store)) == again


def test_whether_a_deletion_was_begun_is_looked_up_and_not_compared_with_every_other() -> None:
    class LookedUp(set[str]):
        def __iter__(self) -> Iterator[str]:
            pytest.fail("gone through")

    journal = Journal(removing=LookedUp({"db/a.lance/", "db/b.lance/data/1.lance"}))
    assert journal.is_removing("db/a.lance/data/1.lance")
    assert journal.is_removing("db/b.lance/data/1.lance")
    assert not journal.is_removing("db/b.lance/data/1.lance2")
    assert not journal.is_removing("db/a.lance2/data/1.lance")
    assert not journal.is_removing("db/a.lance")
