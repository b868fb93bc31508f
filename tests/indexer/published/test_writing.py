"""An atlas in an object store that is written there: a real S3 server, several machines, machines that die."""

import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import locatlas
from locatlas.errors import AtlasLockedError, InputError
from locatlas.indexer.embed import embed, reembed
from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.importing.run import import_embeddings
from locatlas.indexer.index import index
from locatlas.indexer.maintain import maintain
from locatlas.indexer.published import lease, places, upload
from locatlas.indexer.published.objects import Objects
from locatlas.indexer.published.publish import RECORD
from locatlas.indexer.published.writing import writing
from locatlas.indexer.store.layout import AtlasFolder
from locatlas.indexer.store.tables import Store
from tests.indexer.made import contents, id_of, vectors, versions, write_field
from tests.indexer.published.stores import Death, Killed, held_by, keys, machine, put_back
from tests.quick import THOROUGH

OTHER = EncoderRequest(stains=("protein",))


def put_field(source: Path, n: int, at: int = 1, array: Any = None) -> Path:
    """Write a field; files that are the same were written at the same time."""
    path = write_field(source, n, array)
    os.utime(path, (at, at))
    return path


def everything(source: Path, atlas: str | Path, tmp_path: Path) -> None:
    """Commands that write, one after the other."""
    put_field(source, 2)
    index(source, atlas=atlas, dataset="opencell", commit_rows=4)
    put_field(source, 11)
    index(source, atlas=atlas, dataset="opencell")
    embed(atlas=atlas, request=OTHER)
    put_field(source, 2, 2, np.full((2, 40, 40), 7, np.uint16) + np.arange(40, dtype=np.uint16))
    index(source, atlas=atlas, dataset="opencell")
    reembed(atlas=atlas)
    np.savez(tmp_path / "made.npz", ids=np.array([id_of(n) for n in (0, 1)]), vectors=np.eye(2, 5, dtype="f4"))
    import_embeddings(tmp_path / "made.npz", atlas=atlas, name="made")
    maintain(atlas=atlas, drop_superseded=True)


def test_the_same_commands_make_the_same_atlas_as_in_a_folder(
    plain: None, source: Path, uri: str, tmp_path: Path
) -> None:
    everything(source, tmp_path / "atlas", tmp_path)
    put_field(source, 11).unlink()
    everything(source, uri, tmp_path)
    here, there = locatlas.open(tmp_path / "atlas"), locatlas.open(uri)
    assert contents(there.store) == contents(here.store)
    assert there.store.tables() == here.store.tables()
    table = next(name for name in here.store.tables() if name.startswith("emb_fov"))
    assert vectors(there.store, table) == vectors(here.store, table)
    assert there.neighbors(id=id_of(2), k=3).equals(here.neighbors(id=id_of(2), k=3))


def test_a_second_run_puts_nothing_and_leaves_the_record_as_it_was(
    plain: None, source: Path, uri: str, client: Any
) -> None:
    index(source, atlas=uri, dataset="opencell")
    before, at = keys(client, uri), versions(Store.open(Path(uri)))
    watch = Death()
    with watch.waiting():
        assert index(source, atlas=uri, dataset="opencell").embedded == 0
    after = keys(client, uri)
    assert {name: tag for name, tag in after.items() if name != lease.LOCK} == {
        name: tag for name, tag in before.items() if name != lease.LOCK
    }
    assert versions(Store.open(Path(uri))) == at
    # three puts and a deletion that try the conditions, and two of the lease
    assert watch.requests == 6


def test_only_what_is_new_is_sent_and_another_machine_goes_on_from_it(
    plain: None, source: Path, uri: str, client: Any, tmp_path: Path
) -> None:
    index(source, atlas=uri, dataset="opencell")
    before = keys(client, uri)
    write_field(source, 11)
    with machine(tmp_path / "other"):
        summary = index(source, atlas=uri, dataset="opencell")
        assert (summary.embedded, summary.skipped) == (1, 6)
        assert Store.open(Path(uri)).count("fovs") == 7
    new = keys(client, uri).keys() - before.keys()
    assert 0 < len(new) < len(before)
    write_field(source, 12)
    # the first machine, whose copy is of the state before
    assert index(source, atlas=uri, dataset="opencell").embedded == 1
    folder = tmp_path / "atlas"
    index(source, atlas=folder, dataset="opencell")
    assert contents(Store.open(Path(uri))) == contents(Store.open(folder))


def test_a_block_within_another_is_a_part_of_it(plain: None, source: Path, uri: str) -> None:
    """One lease, one state that is published at the end, and what is asked for within is done then."""
    index(source, atlas=uri, dataset="opencell")
    put_field(source, 11)
    with writing(uri, "all of it") as outer:
        published = Objects.at(uri).read(RECORD)
        index(source, atlas=uri, dataset="opencell")
        with writing(uri, "a part") as inner:
            assert inner is outer
        who = lease.writer_at(Objects.at(uri))
        assert (who and who.command) == "all of it"
        assert maintain(atlas=uri).to_dict()
        assert Objects.at(uri).read(RECORD) == published
        assert (outer.sent and outer.sent.states, outer.cleaned) == (0, None)
    assert outer.sent
    assert outer.sent.states == 1
    assert outer.cleaned is not None
    assert Store.open(Path(uri)).count("fovs") == 7


def test_another_thread_waits_as_another_process_does(plain: None, source: Path, uri: str) -> None:
    """It would go on writing the copy when the first gives the lease back, and nothing of it would be published."""
    index(source, atlas=uri, dataset="opencell")
    put_field(source, 11)
    with ThreadPoolExecutor(1) as other:
        with writing(uri, "index"), pytest.raises(AtlasLockedError, match="another thread of this process writes it"):
            other.submit(index, source, atlas=uri, dataset="opencell").result()
        assert other.submit(index, source, atlas=uri, dataset="opencell").result().embedded == 1
    assert Store.open(Path(uri)).count("fovs") == 7


def test_who_forgets_the_atlas_is_told_as_python_does() -> None:
    with pytest.raises(TypeError, match=r"maintain\(\) takes 0 positional arguments but 1 was given"):
        maintain("atlas")  # type: ignore[misc]


def test_what_is_committed_is_published_while_a_command_goes_on(
    plain: None, source: Path, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "UPLOAD_EVERY_S", 1.0)
    with writing(uri, "index"):
        index(source, atlas=uri, dataset="opencell")
        with machine(tmp_path / "other"):
            for _ in range(600):  # a state that is published earlier may have fewer
                if Objects.at(uri).read(RECORD) is not None and Store.open(Path(uri)).count("fovs") == 6:
                    break
                time.sleep(0.2)
            else:
                pytest.fail("nothing was published")


def test_a_command_that_fails_publishes_nothing_and_what_it_committed_goes_with_the_next(
    plain: None, source: Path, uri: str, caplog: pytest.LogCaptureFixture
) -> None:

    def fail() -> None:
        with writing(uri, "index"):
            index(source, atlas=uri, dataset="opencell")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert "not all that was committed is published" in caplog.text
    caplog.clear()
    with pytest.raises(InputError, match="no atlas is there"):
        locatlas.open(uri)
    assert index(source, atlas=uri, dataset="opencell").embedded == 0
    assert Store.open(Path(uri)).count("fovs") == 6
    with pytest.raises(InputError, match="no such file"):
        index(source / "none", atlas=uri, dataset="opencell")
    assert "published" not in caplog.text  # for there is nothing


def test_what_was_published_and_is_gone_is_begun_anew_and_the_copy_is_kept(
    plain: None, source: Path, uri: str, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    index(source, atlas=uri, dataset="opencell")
    put_back(client, uri, {})
    assert index(source, atlas=uri, dataset="opencell").embedded == 6
    assert "what was published there is gone" in caplog.text
    (kept,) = places.working_folder(uri).glob("kept-*")
    assert Store.open(kept).count("fovs") == Store.open(Path(uri)).count("fovs") == 6


def killed_at(n: int, *, after: bool, work: Callable[[], object]) -> bool:
    """Whether a kill at the n-th request came before the work was done."""
    death = Death(n, after=after)
    with death.waiting():
        try:
            work()
        except Killed:
            return True
    return False


@pytest.mark.parametrize(
    ("elsewhere", "after"),
    [
        pytest.param(False, True, id="after a request, and here again"),
        pytest.param(True, False, id="before a request, and on another machine again"),
        pytest.param(False, False, id="before a request, and here again", marks=pytest.mark.slow),
        pytest.param(True, True, id="after a request, and on another machine again", marks=pytest.mark.slow),
    ],
)
def test_a_kill_at_any_request_leaves_a_whole_state_and_the_same_command_goes_on(
    plain: None, source: Path, uri: str, client: Any, tmp_path: Path, home: Path, elsewhere: bool, after: bool
) -> None:
    def run() -> None:
        index(source, atlas=uri, dataset="opencell")

    run()
    objects, copies, watch = held_by(client, uri), tmp_path / "copies", Death()
    first = contents(Store.open(Path(uri)))
    shutil.copytree(home, copies, symlinks=True)
    write_field(source, 11)
    with watch.waiting():
        run()
    second = contents(Store.open(Path(uri)))
    last, done = watch.requests, 0
    assert last > 10
    # after the trial, and where the record is put
    for n in range(1, last + 1) if THOROUGH else (5, last - 1, last):
        put_back(client, uri, objects)
        shutil.rmtree(home)
        shutil.copytree(copies, home, symlinks=True)
        assert killed_at(n, after=after, work=run)
        with machine(tmp_path / "reader"):
            found = contents(Store.open(Path(uri)))
        assert found in (first, second)
        done += found == second
        with pytest.MonkeyPatch.context() as patch, machine(tmp_path / "other") if elsewhere else nullcontext():
            if elsewhere:  # after the time for which a lease holds
                patch.setattr(lease, "LEASE_S", -1)
            run()
        assert contents(Store.open(Path(uri))) == second
        assert not [*places.working_folder(uri).glob("kept-*")]
    # the last requests put the record, and release the lease
    assert done == (2 if after else 1)


def test_what_is_only_read_is_not_written(
    plain: None, source: Path, uri: str, tmp_path: Path, monkeypatch: Any
) -> None:
    index(source, atlas=uri, dataset="opencell")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="only read"):
        AtlasFolder.create(Path(f"{uri}/new"), {})
    with pytest.raises(InputError, match="only read"), AtlasFolder.open(Path(uri)).writer("index"):
        pass
    assert not (tmp_path / "s3:").exists()


def test_notes_are_no_temporary_files_that_a_writer_of_the_copy_removes(
    plain: None, source: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    index(source, atlas=uri, dataset="opencell")
    put_field(source, 21)
    publish = upload.Uploads.publish
    real = Path.replace

    def meanwhile(path: Path, target: Path) -> Path:
        for left in places.working_folder(uri).glob("atlas/.*.tmp"):
            left.unlink()  # as a command that takes the writer lock now does
        return real(path, target)

    def published(self: upload.Uploads) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", meanwhile)
            publish(self)

    monkeypatch.setattr(upload.Uploads, "publish", published)
    index(source, atlas=uri, dataset="opencell")
    assert Store.open(Path(uri)).count("fovs") == 7
