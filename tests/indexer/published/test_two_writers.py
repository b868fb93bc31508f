"""Two that write at one address: the second is refused, and nothing is published over what another published."""

import logging
from pathlib import Path
from typing import Any

import pytest

import locatlas
from locatlas.errors import AtlasLockedError, InputError
from locatlas.indexer.embed import reembed
from locatlas.indexer.index import index
from locatlas.indexer.published import lease, places, upload
from locatlas.indexer.published.objects import Objects
from locatlas.indexer.published.publish import RECORD
from locatlas.indexer.published.writing import writing
from locatlas.indexer.store.tables import Store
from tests.indexer.made import contents, id_of, write_field
from tests.indexer.published.stores import machine
from tests.indexer.published.test_writing import put_field
from tests.quick import some


def test_of_two_writers_the_second_is_told_who_writes(
    plain: None, source: Path, uri: str, tmp_path: Path, client: Any
) -> None:
    index(source, atlas=uri, dataset="opencell")
    with writing(uri, "index somewhere"):
        with machine(tmp_path / "other"), pytest.raises(AtlasLockedError, match="index somewhere") as error:
            index(source, atlas=uri, dataset="opencell")
        assert "\n" not in str(error.value)
        with pytest.MonkeyPatch.context() as patch:  # another process of this machine
            patch.setattr("locatlas.indexer.published.held._HELD", {})
            with pytest.raises(AtlasLockedError, match="another process of this machine"):
                reembed(atlas=uri)
        assert locatlas.open(uri).neighbors(id=id_of(2), k=3)
    with machine(tmp_path / "other"):
        assert index(source, atlas=uri, dataset="opencell").skipped == 6


def test_who_is_not_heard_of_is_taken_over_and_publishes_nothing_over_the_other(
    plain: None,
    source: Path,
    uri: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    index(source, atlas=uri, dataset="opencell")
    write_field(source, 11)

    def overtaken() -> None:
        with writing(uri, "index") as written:
            index(source, atlas=uri, dataset="opencell")
            assert Store.open(written.path).count("fovs") == 7
            write_field(source, 12)
            with machine(tmp_path / "other"), monkeypatch.context() as patch:
                patch.setattr(lease, "LEASE_S", -1)
                index(source, atlas=uri, dataset="opencell")
                theirs.append(contents(Store.open(Path(uri))))

    theirs: list[dict[str, Any]] = []
    with pytest.raises(AtlasLockedError, match="taken over by") as error:
        overtaken()
    assert "taken over from" in caplog.text
    assert str(places.working_folder(uri)) in str(error.value)
    assert contents(Store.open(Path(uri))) == theirs[0]
    write_field(source, 13)
    with caplog.at_level(logging.WARNING):
        index(source, atlas=uri, dataset="opencell")
    assert "had committed is kept in" in caplog.text
    (kept,) = places.working_folder(uri).glob("kept-*")
    assert Store.open(kept).count("fovs") == 7  # an atlas of its own
    assert Store.open(Path(uri)).count("fovs") == 9


@pytest.mark.slow
def test_a_lease_that_was_lost_costs_nothing_where_nobody_else_published(
    plain: None, source: Path, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index(source, atlas=uri, dataset="opencell")
    write_field(source, 11)

    def overtaken() -> None:
        with writing(uri, "index"):
            index(source, atlas=uri, dataset="opencell")
            with machine(tmp_path / "other"), monkeypatch.context() as patch:
                patch.setattr(lease, "LEASE_S", -1)
                reembed(atlas=uri)  # which finds nothing to do

    with pytest.raises(AtlasLockedError, match="goes on with it"):
        overtaken()
    assert Store.open(Path(uri)).count("fovs") == 6
    assert index(source, atlas=uri, dataset="opencell").embedded == 0  # and is published now
    assert Store.open(Path(uri)).count("fovs") == 7


def test_a_record_that_somebody_put_without_asking_is_not_written_over(
    plain: None, source: Path, uri: str, tmp_path: Path
) -> None:
    index(source, atlas=uri, dataset="opencell")
    write_field(source, 11)
    objects = Objects.at(uri)
    seen = objects.read(RECORD)
    assert seen is not None

    def overtaken() -> None:
        with writing(uri, "index"):
            index(source, atlas=uri, dataset="opencell")
            objects.write(RECORD, seen.data + b" ")

    with pytest.raises(AtlasLockedError, match="nothing of theirs was touched") as error:
        overtaken()
    after = objects.read(RECORD)
    assert after is not None
    assert after.data == seen.data + b" "
    (kept,) = places.working_folder(uri).glob("kept-*")
    assert str(kept) in str(error.value)
    assert Store.open(kept).count("fovs") == 7


@pytest.mark.parametrize(
    "late", some([False, True], 1), ids=["the first put arrives", "the first arrives after the second"]
)
def test_a_record_whose_answer_was_lost_is_known_for_our_own(
    plain: None, source: Path, uri: str, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    index(source, atlas=uri, dataset="opencell")
    real, puts = Objects.replace, list[bytes]()

    def lossy(self: Objects, name: str, data: bytes, *, tag: Any) -> Any:
        if name != RECORD:
            return real(self, name, data, tag=tag)
        puts.append(data)
        if len(puts) == 1 + late:
            real(self, name, puts[0], tag=tag)
        if len(puts) <= 1 + late:
            message = "connection lost"
            raise InputError(message)
        return real(self, name, data, tag=tag)

    made = list[upload.Uploads]()
    began = upload.Uploads.now_and_then
    monkeypatch.setattr(upload.Uploads, "now_and_then", lambda self: (made.append(self), began(self))[1])
    with writing(uri, "index") as written:
        monkeypatch.setattr(Objects, "replace", lossy)
        (uploads,) = made
        for n in range(1 + late):
            put_field(source, 21 + n)
            index(source, atlas=written.path, dataset="opencell")
            with pytest.raises(InputError, match="connection lost"):
                uploads.publish()
        put_field(source, 31)
        index(source, atlas=written.path, dataset="opencell")
    assert Store.open(Path(uri)).count("fovs") == 8 + late
    assert not [*places.working_folder(uri).glob("kept-*")]
    assert not [*places.working_folder(uri).glob("atlas/.published/publishing-*")]
