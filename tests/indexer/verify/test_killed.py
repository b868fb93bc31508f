"""Writers that die while digests are taken: never damage, and whole once the command was run again."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from locatlas.indexer.embed import embed
from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.index import index
from locatlas.indexer.maintain import maintain
from locatlas.indexer.store import digests
from locatlas.indexer.store.tables import Store
from locatlas.indexer.verify.run import verify
from tests.indexer.made import contents, write_collection
from tests.indexer.verify.whole import copied, flip, newest
from tests.quick import THOROUGH, some


class KilledError(BaseException):
    """No handler of the program may catch it and go on."""


@contextmanager
def dying(die_at: int, *, torn: bool = False) -> Iterator[list[str]]:
    """Die before the n-th step of taking digests, for good, or in the middle of a line; the steps that were done."""
    taken: list[str] = []
    append = digests.Digests._append

    def wrapped(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **options: Any) -> Any:
            if len(taken) == die_at - 1:
                if torn and name == "append":
                    append(args[0], args[1][: len(args[1]) // 2])
                raise KilledError
            taken.append(name)
            return real(*args, **options)

        return step

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digests, "_attest", wrapped("attest", digests._attest))
        patch.setattr(digests, "write_atomically", wrapped("write", digests.write_atomically))
        patch.setattr(digests.Digests, "_append", wrapped("append", append))
        yield taken


def killed_at(die_at: int, path: Path, command: Callable[[Path], Any], *, torn: bool) -> None:
    with dying(die_at, torn=torn), pytest.raises(KilledError):
        command(path)
    assert verify(atlas=path).damage == [], f"killed before step {die_at}"
    command(path)
    assert [f for f in verify(atlas=path).findings if f.severity != "note"] == [], f"continued after step {die_at}"


def matrix(command: Callable[[Path], Any], folder: Path, prepared: Path | None, *, torn: bool, sample: int) -> None:
    def fresh(name: str) -> Path:
        return folder / name if prepared is None else copied(prepared, folder / name)

    whole = fresh("whole")
    with dying(0) as steps:
        command(whole)
    expected = contents(Store.open(whole))
    chosen = {3, len(steps)} | set(random.Random(2).sample(range(1, len(steps)), min(sample, len(steps) - 1)))
    for n in sorted(chosen):
        path = fresh(f"killed-{n}")
        killed_at(n, path, command, torn=torn)
        assert contents(Store.open(path)) == expected, f"killed before step {n}"


@pytest.mark.parametrize("torn", some([False, True], 1))
def test_indexing_killed_while_digests_are_taken(tmp_path: Path, plain: None, torn: bool) -> None:
    source = write_collection(tmp_path / "source", range(2))
    matrix(lambda atlas: index(source, atlas=atlas, dataset="opencell"), tmp_path, None, torn=torn, sample=2)


@pytest.mark.slow
@pytest.mark.parametrize("torn", [False, True])
def test_indexing_killed_at_any_step_of_taking_digests(tmp_path: Path, plain: None, torn: bool) -> None:
    source = write_collection(tmp_path / "source", range(4))
    command = lambda atlas: index(source, atlas=atlas, dataset="opencell", commit_rows=1)  # noqa: E731
    matrix(command, tmp_path, None, torn=torn, sample=1000)


def test_dropping_vectors_killed_while_it_is_said(tmp_path: Path, atlas: Path) -> None:
    embed(atlas=atlas, request=EncoderRequest(mapping="random", seed=3))
    matrix(lambda path: maintain(atlas=path, drop_superseded=True), tmp_path, atlas, torn=False, sample=2)


def test_a_repair_that_is_killed_is_done_by_the_next(original: Path, tmp_path: Path, plain: None) -> None:
    damaged = copied(original, tmp_path / "damaged")
    table = next((damaged / "db").glob("emb_cell_*")).stem
    flip(newest(damaged, table, "data"), 9, 1)
    with dying(0) as steps:
        verify(atlas=copied(damaged, tmp_path / "whole"), repair=True)
    for n in sorted({1, 3, 5, len(steps)} if THOROUGH else {3, len(steps)}):
        path = copied(damaged, tmp_path / f"killed-{n}")
        with dying(n), pytest.raises(KilledError):
            verify(atlas=path, repair=True)
        assert verify(atlas=path, repair=True).damage == []
        assert contents(Store.open(path)) == contents(Store.open(tmp_path / "whole"))
        assert [f for f in verify(atlas=path).findings if f.severity != "note"] == []
