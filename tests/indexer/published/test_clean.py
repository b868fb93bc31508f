"""Objects that no state needs: noted, and removed once nobody can be fetching them."""

import json
from pathlib import Path
from typing import Any

import pytest

from locatlas.errors import AtlasLockedError
from locatlas.indexer.backup.record import BackupRecord, now
from locatlas.indexer.index import index
from locatlas.indexer.indices.refresh import refresh
from locatlas.indexer.maintain import maintain
from locatlas.indexer.published import clean as cleaning
from locatlas.indexer.published import lease
from locatlas.indexer.published.clean import NOTED, Cleaned, clean
from locatlas.indexer.published.lease import Lease
from locatlas.indexer.published.objects import Objects
from locatlas.indexer.published.publish import RECORD, name_of
from locatlas.indexer.published.writing import writing
from locatlas.indexer.store.tables import Store
from tests.indexer.made import contents, write_field
from tests.indexer.published.stores import keys, machine
from tests.quick import some

ORPHAN = "files/ab/" + "ab" * 16


def maintained(uri: str) -> Cleaned:
    with writing(uri, "maintain", cleaning=True) as written:
        maintain(atlas=uri)
    assert written.cleaned is not None
    return written.cleaned


@pytest.fixture
def two_states(plain: None, source: Path, uri: str, client: Any) -> set[str]:
    """An atlas that was written twice, and what a killed run had sent; objects of the first state alone, and that."""
    index(source, atlas=uri, dataset="opencell")
    first = keys(client, uri).keys()
    write_field(source, 11)
    index(source, atlas=uri, dataset="opencell")
    Objects.at(uri).write(ORPHAN, b"sent by a run that was killed")
    needed = needed_at(uri)
    return {name for name in {*first, ORPHAN} if name.startswith("files/") and name not in needed}


def needed_at(uri: str) -> set[str]:
    """The objects of the state that is published."""
    found = Objects.at(uri).read(RECORD)
    assert found is not None
    return {name_of(file.digest) for file in BackupRecord.from_json(found.data.decode(), where="there").files}


def test_objects_that_no_state_needs_are_removed_by_a_later_run_once_they_were_noted_for_long_enough(
    two_states: set[str], uri: str, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = maintained(uri)
    assert found.removed == 0
    assert found.unneeded >= len(two_states) > 2
    assert keys(client, uri).keys() > two_states
    assert maintained(uri).removed == 0  # too early
    whole = contents(Store.open(Path(uri)))
    monkeypatch.setattr(cleaning, "UNNEEDED_S", -1)
    again = maintained(uri)
    assert again.removed == found.unneeded
    assert again.removed_bytes == found.unneeded_bytes > 0
    left = {name for name in keys(client, uri) if name.startswith("files/")}
    assert left == needed_at(uri)
    assert not left & two_states
    with machine(tmp_path / "other"):
        assert contents(Store.open(Path(uri))) == whole


NOTHING = BackupRecord(
    at=now(), locatlas="", atlas="", schema_version=1, with_indices=True, tables={}, files=(), number=1
)
"""A state that needs no object."""


def test_what_a_later_state_needs_again_is_noted_anew_when_that_is_over(
    plain: None, source: Path, uri: str, client: Any
) -> None:
    """An index of the same bytes is not sent again: only the note could tell since when nobody needs it."""
    index(source, atlas=uri, dataset="opencell")

    def with_index(kind: str) -> set[str]:
        with writing(uri, "index") as written:
            refresh(written.path, kind, levels=["fov"])
        return needed_at(uri)

    flat, hnsw = with_index("flat"), with_index("hnsw")
    maintained(uri)
    noted = Objects.at(uri).read(NOTED)
    assert noted is not None
    mine = flat - hnsw & json.loads(noted.data).keys()
    assert mine
    assert with_index("flat") & mine
    noted = Objects.at(uri).read(NOTED)
    assert noted is not None
    assert not json.loads(noted.data).keys() & needed_at(uri)


def test_an_object_that_was_put_again_begins_anew(uri: str, client: Any) -> None:
    objects, other = Objects.at(uri), ORPHAN.replace("ab", "cd")
    for name in (ORPHAN, other):
        objects.write(name, b"x")
    with Lease.taken(objects, "maintain", token="a") as held:
        assert clean(objects, NOTHING, held).unneeded == 2
        noted = objects.read(NOTED)
        assert noted is not None
        long_ago = "2020-01-01T00:00:00+00:00"
        said = {name: (put, long_ago) for name, (put, _) in json.loads(noted.data).items()}
        said[ORPHAN] = (long_ago, long_ago)  # another was there then
        objects.write(NOTED, json.dumps(said).encode())
        done = clean(objects, NOTHING, held)
    assert (done.removed, done.unneeded) == (1, 1)
    assert [name for name in keys(client, uri) if name.startswith("files/")] == [ORPHAN]


@pytest.mark.parametrize("said", some([b"", b"[]", b'{"a": 3}', b'{"a": ["x", "never"]}'], 0, 3))
def test_a_note_that_cannot_be_read_counts_for_nothing(uri: str, client: Any, said: bytes) -> None:
    objects = Objects.at(uri)
    objects.write(ORPHAN, b"x")
    objects.write(NOTED, said)
    with Lease.taken(objects, "maintain", token="a") as held:
        assert clean(objects, NOTHING, held) == Cleaned(unneeded=1, unneeded_bytes=1)
    assert ORPHAN in keys(client, uri)


def test_who_lost_the_lease_deletes_nothing(uri: str, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = Objects.at(uri)
    objects.write(ORPHAN, b"x")
    monkeypatch.setattr(cleaning, "UNNEEDED_S", -1)
    with Lease.taken(objects, "maintain", token="a") as held:
        monkeypatch.setattr(lease, "LEASE_S", -1)
        with Lease.taken(objects, "index", token="b"), pytest.raises(AtlasLockedError, match="taken over"):
            clean(objects, NOTHING, held)
    assert ORPHAN in keys(client, uri)
