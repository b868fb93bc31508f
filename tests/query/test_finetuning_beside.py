"""Fine-tuning beside others who train, write and embed; what could not be trained leaves nothing behind."""

import threading
from pathlib import Path
from typing import Any

import pytest

from locatlas.errors import AtlasLockedError, InputError
from locatlas.indexer.store import encoders
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.locks import NotedLock
from locatlas.indexer.store.tables import Store
from locatlas.indexer.training import begin as finetune_begin
from locatlas.indexer.training import run as training
from locatlas.indexer.training.folder import TrainingRun, runs_folder
from locatlas.indexer.training.request import FinetuneRequest
from locatlas.indexer.training.result import FinetuneResult
from locatlas.models import registry
from locatlas.query.finetuning import finetune
from tests.query.made_training import TINY, draw_nothing, make_atlas
from tests.quick import some

SHORT: dict[str, Any] = {"steps": 2, "batch_size": 6, "validation": 0.3}
WAIT_S = 60


@pytest.fixture
def atlas(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    draw_nothing(monkeypatch)
    return make_atlas(tmp_path)


def done(atlas: Path, how: dict[str, Any] | None = None, **asked: Any) -> FinetuneResult:
    found = finetune(atlas=atlas, request=FinetuneRequest(**{**SHORT, **asked}), device="cpu", **(how or {}))
    assert found is not None
    return found


def test_trainings_begun_at_the_same_moment_have_a_name_each(atlas: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, drawn = Store.open(atlas), threading.Barrier(2, timeout=WAIT_S)
    parts, begun, lock = finetune_begin._parts, [], threading.Lock()

    def at_once(*arguments: Any) -> Any:
        found = parts(*arguments)
        drawn.wait()
        return found

    monkeypatch.setattr(finetune_begin, "_parts", at_once)
    rows = training_rows_of(store)

    def begin(seed: int) -> None:
        request = FinetuneRequest(**SHORT, seed=seed)
        free = {"device": "cpu", "workers": 1, "tensorboard": False}
        run, is_new = finetune_begin.find_or_begin(store, request, rows, name=None, folder=None, free=free)
        with lock:
            begun.append((run.name, run.request["seed"], is_new))

    threads = [threading.Thread(target=begin, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert {name for name, _, _ in begun} == {f"{TINY}-supervised-1", f"{TINY}-supervised-2"}
    for name, seed, is_new in begun:
        there = TrainingRun.read(runs_folder() / name)
        assert there is not None
        assert (there.request["seed"], is_new) == (seed, True)


def training_rows_of(store: Store) -> Any:
    from locatlas.query.training_rows import training_rows

    return lambda opened, level: training_rows(opened, level, group="protein")


@pytest.mark.parametrize(
    "wrong", some([{"blocks": 99}, {"where": ("protein=P1",), "hold_out": 0.0, "validation": 0.0}], 1)
)
def test_what_could_not_be_trained_does_not_keep_the_name(atlas: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"from 1 to 4 can be|only one localization"):
        done(atlas, {"name": "mine"}, **wrong)
    assert not (runs_folder() / "mine").exists()
    assert done(atlas, {"name": "mine", "follow": False}).encoder.name == "mine"


def test_an_atlas_that_cannot_be_written_is_told_before_the_training(
    atlas: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (atlas / ".lock").unlink(missing_ok=True)
    (atlas / ".lock").mkdir()  # nobody can open it for writing, not even root
    monkeypatch.setattr(training, "_train", lambda *_: pytest.fail("it trained"))
    with pytest.raises(InputError, match="cannot be written"):
        done(atlas, {"name": "mine"})
    assert not (runs_folder() / "mine").exists()


def test_what_is_trained_is_told_to_be_there_before_a_re_embedding_that_is_refused(atlas: Path) -> None:
    told: list[str] = []
    with Store.open(atlas).folder.reembedding("reembed"), pytest.raises(AtlasLockedError):
        done(atlas, {"name": "mine", "tell": told.append})
    assert told[-1].startswith("trained and registered: mine")
    again = done(atlas, {"name": "mine", "tell": told.append})
    assert (again.was_there, again.embedded is not None, len(told)) == (True, True, 2)


def test_an_encoder_that_came_to_be_current_meanwhile_stays_current(
    atlas: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = done(atlas, {"follow": False, "name": "mine"}).encoder
    store = Store.open(atlas)
    with store.folder.writer("test"):  # as if the atlas had never met it
        store.delete("encoders", [f"fov/{made.fingerprint}"])
    acquire = NotedLock.acquire

    def after_others(self: NotedLock, **how: Any) -> Any:
        """While it waits for the lock somebody embeds with the encoder and makes it current."""
        lock = acquire(self, **how)
        encoders.switch_to(store, StoredEncoder("fov", made, "current"))
        return lock

    with monkeypatch.context() as patched:
        patched.setattr(NotedLock, "acquire", after_others)
        training._adopt(store, "fov", registry.get("mine"), "building")
    states = {e.spec.name: e.state for e in encoders.stored_encoders(store)}
    assert states == {TINY: "superseded", "mine": "current"}


def test_a_user_is_told_that_nothing_is_held_out_and_what_was_seen_before(atlas: Path) -> None:
    of_all = done(atlas, {"name": "all"}, group="dataset", validation=0.0)
    assert of_all.manifest.held_out == ()
    assert [note.partition(",")[0] for note in of_all.notes] == ["no group (dataset) could be held out"]
    assert done(atlas, {"name": "none", "follow": False}, hold_out=0.0).notes == ()
    # it held nothing out of the proteins, so that leaving --hold-out away, as here, helps nobody
    [note] = done(atlas, {"name": "more", "follow": False}).notes
    assert note == "all was trained on 2 of the 2 groups that are held out now; they do not count as new"


def test_an_encoder_is_called_as_the_folder_that_one_stands_in(
    atlas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert done(atlas, {"folder": Path(), "follow": False}).encoder.name == "here"
