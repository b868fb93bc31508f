"""A repair takes out no more than it must, and what it took out is told until it is there again."""

import errno
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from locatlas.errors import StoreDamagedError
from locatlas.indexer.backup.run import backup
from locatlas.indexer.embed import embed, reembed
from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.importing.run import import_embeddings
from locatlas.indexer.index import index
from locatlas.indexer.maintain import maintain
from locatlas.indexer.store import encoders, file_digest
from locatlas.indexer.store.tables import Store
from locatlas.indexer.verify import files as files_module
from locatlas.indexer.verify import renew as renew_module
from locatlas.indexer.verify import repair as repair_module
from locatlas.indexer.verify.report import VerifyReport
from locatlas.indexer.verify.run import verify
from locatlas.models.crops import CropPlan
from tests.cli.asking import run
from tests.indexer.made import contents, write_collection
from tests.indexer.verify.whole import current, flip, newest
from tests.quick import some

OTHER = EncoderRequest(mapping="random", seed=3)


def damage(path: Path) -> None:
    flip(path, path.stat().st_size // 2, 3)


def vectors(atlas: Path) -> dict[str, dict[str, bytes]]:
    """All vectors, by table and id."""
    store = Store.open(atlas)
    held = {name: store.read_vectors(name) for name in store.tables() if name.startswith("emb_")}
    return {n: {i: v.tobytes() for i, v in zip(h.ids, h.vectors, strict=True)} for n, h in held.items()}


def index_again(atlas: Path, original: Path) -> None:
    request = EncoderRequest(crop=CropPlan(size_px=9))
    index(original.parent / "fields", atlas=atlas, dataset="manifest", level="both", request=request, commit_rows=2)


def told(report: VerifyReport) -> dict[str, int]:
    return {f.where: f.count for f in report.findings if f.kind == "rows taken out"}


def clean(report: VerifyReport) -> bool:
    return all(f.severity == "note" for f in report.findings)


@pytest.mark.parametrize("table", some(["fovs", "cells"], 0))
def test_a_table_of_images_that_is_away_takes_nothing_with_it(whole: Path, tmp_path: Path, table: str) -> None:
    """A disk that is not mounted, a link that leads nowhere."""
    before = contents(Store.open(whole))
    shutil.move(whole / "db" / f"{table}.lance", tmp_path / "away")
    for _ in range(2):
        report = verify(atlas=whole, repair=True)
        assert {f.kind for f in report.damage} == {"file missing"}
        assert f"put db/{table}.lance back where it was" in report.damage[0].do
        assert not any("deleted" in line for line in report.repaired)
    shutil.move(tmp_path / "away", whole / "db" / f"{table}.lance")
    assert clean(verify(atlas=whole))
    assert contents(Store.open(whole)) == before


@pytest.mark.parametrize("table", some(["fovs", "cells"], 1))
def test_rows_of_images_that_were_taken_out_leave_every_vector(whole: Path, original: Path, table: str) -> None:
    embed(atlas=whole, request=OTHER, levels=("fov",))
    before = vectors(whole)
    damage(newest(whole, table, "data"))
    for _ in range(2):
        report = verify(atlas=whole, repair=True)
        assert report.damage == []
        assert vectors(whole) == before
        assert table in told(report)
    index_again(whole, original)
    assert vectors(whole) == before
    report = verify(atlas=whole)
    assert told(report) == {}
    assert clean(report)


def test_an_error_of_the_system_takes_nothing_out(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(Store.open(whole))
    path = newest(whole, "fovs", "data")

    def stale(asked: Path, **options: Any) -> tuple[int, str]:
        if asked == path:
            raise OSError(errno.ESTALE, "Stale file handle")
        return file_digest.file_digest(asked, **options)

    monkeypatch.setattr(files_module, "file_digest", stale)
    monkeypatch.setattr(repair_module, "file_digest", stale)
    report = verify(atlas=whole, repair=True)
    assert [f.kind for f in report.damage] == ["file unreadable"]
    assert "Stale file handle" in report.damage[0].means
    monkeypatch.undo()
    assert clean(verify(atlas=whole))
    assert contents(Store.open(whole)) == before


def test_a_file_that_was_read_wrong_once_is_read_again_before_its_rows_go(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(Store.open(whole))
    path, wrong = newest(whole, "fovs", "data"), [(1, "0" * 32)]

    def once(asked: Path, **options: Any) -> tuple[int, str]:
        return wrong.pop() if asked == path and wrong else file_digest.file_digest(asked, **options)

    monkeypatch.setattr(files_module, "file_digest", once)
    assert verify(atlas=whole, repair=True).findings == []
    assert not wrong
    assert contents(Store.open(whole)) == before


@pytest.mark.parametrize("table", some(["encoders", "segmenters"], 0))
def test_the_newest_version_of_what_others_mean_nothing_without_is_not_given_up(whole: Path, table: str) -> None:
    embed(atlas=whole, request=OTHER)
    manifest = newest(whole, table, "_versions")
    data = manifest.read_bytes()
    damage(manifest)
    report = verify(atlas=whole, repair=True)
    assert f"restore db/{table}.lance from a backup" in next(f.do for f in report.damage if f.where.startswith("db/"))
    manifest.write_bytes(data)
    assert clean(verify(atlas=whole))


@pytest.mark.parametrize("level", ["fov", "cell"])
def test_vectors_of_a_version_that_gave_way_are_made_again(whole: Path, original: Path, level: str) -> None:
    before = vectors(whole)
    table = current(Store.open(whole), level).table
    damage(newest(whole, table, "_versions"))
    report = verify(atlas=whole, repair=True)
    if level == "cell":
        assert vectors(whole) == before
        assert clean(report)
    else:  # the fields were searched for cells, so that it is not known which of them had a vector
        assert any("run the same `locatlas index` again" in line for line in report.repaired)
        assert told(report) == {table: 1}
        index_again(whole, original)
        assert vectors(whole) == before
        assert clean(verify(atlas=whole))


def test_a_loss_is_paid_by_its_own_images_only(tmp_path: Path, plain: None) -> None:
    source, atlas = write_collection(tmp_path / "source", range(6)), tmp_path / "atlas"
    index(source, atlas=atlas, dataset="opencell", commit_rows=2)
    before = vectors(atlas)
    source.rename(tmp_path / "away")
    table = current(Store.open(atlas), "fov").table
    damage(newest(atlas, table, "data"))
    assert told(verify(atlas=atlas, repair=True)) == {table: 2}
    other = write_collection(tmp_path / "other", range(6, 12))
    index(other, atlas=atlas, dataset="opencell", name="other")
    report = verify(atlas=atlas, repair=True)
    assert told(report) == {table: 2}
    assert clean(verify(atlas=atlas)) is False
    (tmp_path / "away").rename(source)
    assert told(verify(atlas=atlas, repair=True)) == {}
    assert before[table].items() <= vectors(atlas)[table].items()


def test_annotations_and_imported_vectors_that_are_gone_are_told_until_it_is_accepted(
    whole: Path, tmp_path: Path
) -> None:
    np.savez(tmp_path / "v.npz", ids=["x/a", "x/b"], vectors=np.eye(2, dtype=np.float32))
    import_embeddings(tmp_path / "v.npz", atlas=whole, name="mine")
    imported = next(e for e in encoders.stored_encoders(Store.open(whole)) if e.is_imported).table
    damage(newest(whole, "annotations", "data"))
    damage(newest(whole, imported, "data"))
    verify(atlas=whole, repair=True)
    for report in (verify(atlas=whole), verify(atlas=whole, repair=True)):
        assert report.damage == []
        assert set(told(report)) == {"annotations", imported}
    import_embeddings(tmp_path / "v.npz", atlas=whole, name="mine")
    assert set(told(verify(atlas=whole))) == {"annotations"}
    assert verify(atlas=whole, accept_losses=True).repaired[0].startswith("annotations: ")
    assert clean(verify(atlas=whole))


@pytest.mark.parametrize("do", some([damage, Path.unlink], 0))
def test_what_is_known_of_losses_is_damage_where_it_is_damaged_or_gone(whole: Path, do: Callable[[Path], None]) -> None:
    damage(newest(whole, "annotations", "data"))
    verify(atlas=whole, repair=True)
    do(whole / "digests" / "taken-out.json")
    assert [f.kind for f in verify(atlas=whole).damage] == ["losses damaged"]
    verify(atlas=whole, accept_losses=True)
    assert clean(verify(atlas=whole))


@pytest.mark.slow
def test_a_table_that_comes_back_is_whole_though_the_journal_is_not(tmp_path: Path, plain: None) -> None:
    """Its manifests have the names of those that were deleted, and a journal with a bad line is only added to."""
    source, atlas = write_collection(tmp_path / "source", range(4)), tmp_path / "atlas"
    index(source, atlas=atlas, dataset="opencell")
    embed(atlas=atlas, request=OTHER)
    old = next(e for e in encoders.stored_encoders(Store.open(atlas)) if e.state == "superseded")
    journal = atlas / "digests" / "files.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    line = next(n for n, text in enumerate(lines) if b"runs.lance/_transactions" in text)
    flip(journal, sum(map(len, lines[:line])) + 20, 1)
    maintain(atlas=atlas, drop_superseded=True)
    reembed(atlas=atlas, encoder=old.fingerprint)
    assert [f.kind for f in verify(atlas=atlas).damage] == ["journal damaged"]
    lost = newest(atlas, old.table, "data")
    data = lost.read_bytes()
    lost.unlink()
    assert "file missing" in [f.kind for f in verify(atlas=atlas).damage]
    lost.write_bytes(data)
    assert verify(atlas=atlas, repair=True).damage == []
    backup(atlas=atlas, to=tmp_path / "backup")


def test_a_lost_journal_is_not_begun_again_by_a_command_that_only_writes(
    tmp_path: Path, plain: None, caplog: pytest.LogCaptureFixture
) -> None:
    source, atlas = write_collection(tmp_path / "source", range(4)), tmp_path / "atlas"
    index(source, atlas=atlas, dataset="opencell")
    (atlas / "digests" / "files.jsonl").unlink()
    index(write_collection(tmp_path / "more", range(4, 6)), atlas=atlas, dataset="opencell", name="more")
    assert "files.jsonl: is gone, and no digests are taken" in caplog.text
    assert [f.kind for f in verify(atlas=atlas).damage] == ["journal missing"]
    assert verify(atlas=atlas, repair=True).damage == []
    assert len(vectors(atlas)[current(Store.open(atlas), "fov").table]) == 6


@pytest.mark.parametrize(
    ("level", "request_"),
    [
        ("fov", EncoderRequest(mapping="random", seed=4)),
        ("fov", EncoderRequest(mapping="replicate", stains=("nucleus", "protein"), storage="float16")),
        ("cell", EncoderRequest(mapping="random", seed=4, crop=CropPlan(size_px=11, centre="nucleus", border="shift"))),
    ],
)
def test_vectors_that_stood_beside_the_current_ones_are_made_again_by_what_is_advised_and_stay_there(
    whole: Path, level: str, request_: EncoderRequest
) -> None:
    embed(atlas=whole, request=request_, levels=(level,), switch=False)
    store = Store.open(whole)
    aside = next(e for e in encoders.stored_encoders(store) if e.state == "beside")
    before = {e.fingerprint: (e.level, e.state) for e in encoders.stored_encoders(store)}
    made = vectors(whole)[aside.table]
    with store.folder.writer("a test"):
        store.delete(aside.table, [next(iter(made))])  # so that nothing tells which it had
    damage(newest(whole, aside.table, "data"))
    report = verify(atlas=whole, repair=True)
    line = next(line for line in report.repaired if "in the state beside" in line)
    assert "makes all of them, and leaves what is current" in line
    done = run(*shlex.split(line.split("`")[1])[1:])
    assert done.exit_code == 0, (done.output, done.exception)
    assert vectors(whole)[aside.table] == made
    assert {e.fingerprint: (e.level, e.state) for e in encoders.stored_encoders(Store.open(whole))} == before


def test_an_encoder_that_came_into_use_meanwhile_stays_in_use(
    tmp_path: Path, plain: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, atlas = write_collection(tmp_path / "source", range(6)), tmp_path / "atlas"
    index(source, atlas=atlas, dataset="opencell", commit_rows=2)
    before, old = vectors(atlas), current(Store.open(atlas), "fov")
    damage(newest(atlas, old.table, "data"))
    refill = renew_module.refill

    def late(**asked: Any) -> Any:
        embed(atlas=atlas, request=OTHER)  # another process, between the two locks of a repair
        return refill(**asked)

    monkeypatch.setattr(renew_module, "refill", late)
    report = verify(atlas=atlas, repair=True)
    assert report.damage == []
    assert current(Store.open(atlas), "fov").fingerprint != old.fingerprint
    assert vectors(atlas)[old.table] == before[old.table]


def test_what_a_repair_did_is_told_though_it_cannot_go_on(whole: Path) -> None:
    table = current(Store.open(whole), "cell").table
    damage(newest(whole, table, "data"))
    newest(whole, "encoders", "data").unlink()
    report = verify(atlas=whole, repair=True)
    assert any(line.startswith(f"{table}: ") and "taken out" in line for line in report.repaired)
    assert "not made again yet" in report.repaired[-1]
    assert "encoders" in {f.where.removeprefix("db/").removesuffix(".lance") for f in report.damage}
    with pytest.raises(StoreDamagedError):
        encoders.stored_encoders(Store.open(whole))
