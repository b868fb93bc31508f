"""`verify` of an atlas in an object store: its objects there, the atlas they make, and what either side can mend."""

from pathlib import Path
from typing import Any

import pytest

from locatlas.errors import InputError, StoreDamagedError
from locatlas.indexer.backup.record import BackupRecord
from locatlas.indexer.index import index
from locatlas.indexer.published.objects import Objects
from locatlas.indexer.published.places import mirrors_of, states_in, working_folder
from locatlas.indexer.published.publish import RECORD, name_of
from locatlas.indexer.store.tables import Store
from locatlas.indexer.verify.run import verify
from tests.indexer.made import contents
from tests.indexer.published.stores import changed, machine, removed
from tests.quick import some


@pytest.fixture
def written(plain: None, source: Path, uri: str) -> BackupRecord:
    """An atlas of six fields; its record."""
    index(source, atlas=uri, dataset="opencell")
    found = Objects.at(uri).read(RECORD)
    assert found is not None
    return BackupRecord.from_json(found.data.decode(), where="there")


def object_of(record: BackupRecord, part: str) -> str:
    """The object of the first file whose path has this in it."""
    return name_of(next(file.digest for file in record.files if part in file.path))


def kinds(uri: str, **how: Any) -> list[str]:
    return [finding.kind for finding in verify(atlas=uri, **how).damage]


def test_an_atlas_that_is_whole_is_said_to_be(written: BackupRecord, uri: str) -> None:
    report = verify(atlas=uri)
    assert (report.findings, report.path) == ([], uri)
    assert report.bytes_read >= written.bytes
    assert verify(atlas=uri, quick=True).findings == []


def test_a_flipped_bit_of_any_object_is_found_in_the_store_though_a_copy_is_whole(
    written: BackupRecord, uri: str, client: Any, tmp_path: Path
) -> None:
    assert kinds(uri) == []  # there is a whole copy here now
    for file in written.files:
        changed(client, uri, name_of(file.digest), at=file.size // 2)
        report = verify(atlas=uri)
        (found,) = report.damage
        assert found.kind == "object changed"
        assert found.examples[0].startswith(name_of(file.digest))
        assert file.path in " ".join(found.examples)
        changed(client, uri, name_of(file.digest), at=file.size // 2)
    name = object_of(written, "/data/")
    changed(client, uri, name)
    with machine(tmp_path / "other"):  # without any copy: the atlas in the objects is not looked at, which is said
        report = verify(atlas=uri)
        assert [finding.kind for finding in report.findings] == ["object changed", "not looked at"]
        with pytest.raises(StoreDamagedError, match="verify"):
            Store.open(Path(uri))


def test_a_missing_object_and_one_that_is_cut_are_found_by_a_quick_look(
    written: BackupRecord, uri: str, client: Any
) -> None:
    objects, name = Objects.at(uri), object_of(written, "/data/")
    whole = objects.read(name)
    assert whole is not None
    removed(client, uri, name)
    assert kinds(uri, quick=True) == ["object missing"]
    objects.write(name, whole.data[:-1])
    assert kinds(uri, quick=True) == ["object changed"]


def test_a_record_that_is_damaged_is_found_and_one_that_is_gone_is_no_atlas(
    written: BackupRecord, uri: str, client: Any
) -> None:
    changed(client, uri, RECORD, at=40)
    assert kinds(uri) == ["record damaged"]
    removed(client, uri, RECORD)
    with pytest.raises(InputError, match="no atlas is there"):
        verify(atlas=uri)


@pytest.mark.parametrize("part", some(["/data/", "atlas.json", "digests/files.jsonl", "/_versions/"], 0, 2))
def test_a_repair_sends_again_what_this_machine_has(written: BackupRecord, uri: str, client: Any, part: str) -> None:
    before = contents(Store.open(Path(uri)))
    changed(client, uri, object_of(written, part))
    report = verify(atlas=uri, repair=True)
    assert report.damage == []
    assert "sent again" in report.repaired[0]
    assert kinds(uri) == []
    assert contents(Store.open(Path(uri))) == before


def test_a_repair_fetches_again_what_the_copy_that_is_written_lost(
    written: BackupRecord, uri: str, tmp_path: Path
) -> None:
    before = contents(Store.open(Path(uri)))
    file = next(file for file in written.files if "/data/" in file.path and "emb_" in file.path)
    path = working_folder(uri) / "atlas" / file.path
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    report = verify(atlas=uri, repair=True)
    assert any("fetched again" in line for line in report.repaired)
    assert path.read_bytes() == data
    with machine(tmp_path / "other"):
        assert contents(Store.open(Path(uri))) == before


def test_a_copy_that_is_read_and_was_damaged_is_fetched_anew(written: BackupRecord, uri: str) -> None:
    (mirror,) = states_in(Store.open(Path(uri)).folder.path.parent)
    assert mirror.parent == mirrors_of(uri)
    file = next(file for file in written.files if "/data/" in file.path and "fovs" in file.path)
    data = (mirror / file.path).read_bytes()
    (mirror / file.path).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert verify(atlas=uri).findings == []
    assert (mirror / file.path).read_bytes() == data
