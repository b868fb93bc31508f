"""Runs that die at any step, continue, and end bit-identical to one that was not interrupted."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pytest
import tifffile
from lance.dataset import MergeInsertBuilder

from locatlas.indexer.embed import embed, reembed
from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.importing.run import import_embeddings
from locatlas.indexer.index import index
from locatlas.indexer.indices.build import build
from locatlas.indexer.indices.opening import open_index
from locatlas.indexer.store import encoders, layout, locks
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.tables import Store
from locatlas.indexer.verify.run import verify
from locatlas.models.crops import CropPlan
from tests.indexer.made import contents, name_of, pixels, write_annotations, write_collection, write_field
from tests.indexer.masked import EDGE, MASKS, write_mask, write_masked

OTHER = EncoderRequest(mapping="random", seed=3)
FIELDS = 4
COMMIT_ROWS = 2


class KilledError(BaseException):
    """No handler of the program may catch it and go on."""


class Steps:
    """Counts the steps at which something is written, and dies before one of them, for good.

    After death every further write fails as well: a process that was killed cannot tidy up.
    """

    def __init__(self, die_at: int) -> None:
        self.die_at = die_at
        self.taken: list[str] = []

    def wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **options: Any) -> Any:
            if len(self.taken) == self.die_at - 1:
                raise KilledError
            self.taken.append(name)
            return real(*args, **options)

        return step


@contextmanager
def dying(die_at: int) -> Iterator[Steps]:
    """Every single write is a step: all of the store's, the ledger's and the encoder states' are made of these."""
    steps = Steps(die_at)
    targets: list[tuple[Any, str]] = [
        (lance, "write_dataset"),
        (MergeInsertBuilder, "execute"),
        (lance.LanceDataset, "delete"),
        (Store, "compact"),
        (layout, "write_atomically"),
        (locks, "write_atomically"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in targets:
            patch.setattr(owner, name, steps.wrapped(name, getattr(owner, name)))
        yield steps


Survives = Callable[[Callable[[Path], Path], Callable[[Path], Any]], tuple[list[str], list[list[str]]]]
SAMPLED = 1


@pytest.fixture(params=["some", pytest.param("every", marks=pytest.mark.slow)])
def survives(request: pytest.FixtureRequest, tmp_path: Path) -> Survives:
    """Run a command on copies of a prepared atlas, killed before its n-th write, and again; for every n, or for some.

    Returns:
        The steps of an uninterrupted run, and the states of the ledger after each of the others.
    """

    def chosen(last: int) -> list[int]:
        if request.param == "every":
            return list(range(1, last + 1))
        chance, parts = random.Random(last), np.array_split(np.arange(2, last), SAMPLED)
        return [1, *(int(chance.choice(part)) for part in parts if len(part)), last]

    def run(prepare: Callable[[Path], Path], command: Callable[[Path], Any]) -> tuple[list[str], list[list[str]]]:
        whole = prepare(tmp_path / "whole")
        with dying(0) as steps:
            command(whole)
        expected, states = contents(Store.open(whole)), []
        for n in chosen(len(steps.taken)):
            path = prepare(tmp_path / f"killed-{n}")
            with dying(n) as now, pytest.raises(KilledError):
                command(path)
            assert now.taken == steps.taken[: n - 1]
            if (path / "atlas.json").is_file():
                assert verify(atlas=path, quick=True).damage == [], f"killed before step {n}, {steps.taken[n - 1]}"
            command(path)
            assert verify(atlas=path, quick=True).damage == []
            store = Store.open(path)
            assert contents(store) == expected, f"killed before step {n}, {steps.taken[n - 1]}"
            rows = store.read("runs").to_pylist()
            states.append([row["state"] for row in sorted(rows, key=lambda row: row["id"])])
            assert set(states[-1]) <= {"done", "interrupted"}
        command(path)
        assert store.count("runs") == len(rows)
        return steps.taken, states

    return run


@pytest.fixture
def made(tmp_path: Path, plain: None) -> Path:
    """Fields one of which cannot be read."""
    folder = write_collection(tmp_path / "source", range(FIELDS))
    (folder / name_of(3)).write_bytes(b"no image")
    return folder


def test_a_first_index_run_killed_at_any_step_continues_to_the_same_atlas(
    made: Path, tmp_path: Path, survives: Survives
) -> None:
    steps, states = survives(
        lambda path: path, lambda atlas: index(made, atlas=atlas, dataset="opencell", commit_rows=COMMIT_ROWS)
    )
    assert steps.count("write_dataset") == 5
    assert steps.count("execute") >= 2 * 2 + 4  # rows and vectors of two chunks, ledger, states, quarantine
    assert ["interrupted", "done"] in states
    assert states[0] == ["done"]  # killed before the first write
    assert states[-1] == ["interrupted"]  # killed before the last one, which says that it is done


def test_a_run_over_new_changed_moved_and_described_images_killed_at_any_step_continues(
    made: Path, tmp_path: Path, survives: Survives
) -> None:
    original = tmp_path / "original"
    index(made, atlas=original, dataset="opencell", commit_rows=COMMIT_ROWS)
    embed(atlas=original, request=OTHER)
    write_field(made, 1, pixels(81))
    write_field(made, 3)
    write_field(made, 7)
    (made / name_of(0)).rename(made / name_of(0).replace("GENE0", "GENE9"))
    (made / name_of(2)).write_bytes(b"no image any more")
    write_annotations(made, dict.fromkeys(range(8), "chromatin"))
    steps, states = survives(
        copied(original), lambda atlas: index(made, atlas=atlas, dataset="opencell", commit_rows=COMMIT_ROWS)
    )
    assert {"execute", "delete"} <= set(steps)
    assert ["done", "done", "interrupted", "done"] in states


def test_swapped_channels_killed_at_any_step_never_keep_the_old_vector(
    tmp_path: Path, plain: None, survives: Survives
) -> None:
    folder = tmp_path / "images"
    manifest = folder / "images.csv"
    for n in range(3):
        write_field(folder, n)

    def declare(channels: str) -> None:
        manifest.write_text("id,path,channels\n" + "".join(f"{n},{name_of(n)},{channels}\n" for n in range(3)))

    declare("protein;nucleus")
    original = tmp_path / "original"
    index(manifest, atlas=original, dataset="manifest")
    embed(atlas=original, request=OTHER)
    declare("nucleus;protein")
    steps, _ = survives(
        copied(original), lambda atlas: index(manifest, atlas=atlas, dataset="manifest", commit_rows=COMMIT_ROWS)
    )
    assert steps.count("delete") == 2
    index(manifest, atlas=tmp_path / "fresh", dataset="manifest", request=OTHER)
    fresh = Store.open(tmp_path / "fresh")
    table = next(t for t in fresh.tables() if t.startswith("emb_"))
    assert contents(fresh)[table] == contents(Store.open(tmp_path / "killed-1"))[table]


def test_another_encoder_killed_at_any_step_continues_and_switches_once(
    made: Path, tmp_path: Path, survives: Survives
) -> None:
    original = tmp_path / "original"
    index(made, atlas=original, dataset="opencell", commit_rows=COMMIT_ROWS)
    steps, _ = survives(copied(original), lambda atlas: embed(atlas=atlas, request=OTHER, commit_rows=COMMIT_ROWS))
    assert steps.count("write_dataset") == 1


def begun(store: Store) -> StoredEncoder:
    """An encoder that was trained and not embedded with yet."""
    now = encoders.current(store, "fov")
    assert now is not None
    new = StoredEncoder("fov", now.spec.with_changes(mapping="random", mapping_seed=3), "building")
    with store.folder.writer("finetune"):
        encoders.put(store, new)
    return new


def test_re_embedding_killed_at_any_step_continues_and_switches_once(
    made: Path, tmp_path: Path, survives: Survives
) -> None:
    original = tmp_path / "original"
    index(made, atlas=original, dataset="opencell", commit_rows=COMMIT_ROWS)
    begun(Store.open(original))
    write_field(made, 1, pixels(81))
    steps, states = survives(copied(original), lambda atlas: reembed(atlas=atlas, commit_rows=1))
    assert (steps.count("write_dataset"), steps.count("delete")) == (1, 0)
    assert ["done", "interrupted", "done"] in states


def test_an_import_killed_at_any_step_continues_to_the_same_atlas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survives: Survives
) -> None:
    monkeypatch.setattr("locatlas.indexer.importing.run._COMMIT_ROWS", 3)
    file = tmp_path / "v.npz"
    made = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    np.savez(file, ids=np.array([f"x{n}" for n in range(7)]), vectors=made, protein=np.array(list("ABCDEFG")))
    steps, _ = survives(lambda path: path, lambda atlas: import_embeddings(file, atlas=atlas, name="elsewhere"))
    assert steps.count("execute") >= 2 * 3 + 3  # rows and vectors of three commits, ledger, states


def test_cells_killed_at_any_step_are_found_and_embedded_in_the_end(
    tmp_path: Path, plain: None, monkeypatch: pytest.MonkeyPatch, survives: Survives
) -> None:
    monkeypatch.setattr("locatlas.indexer.cells.stage.COMMIT_FIELDS", 2)
    folder = write_masked(tmp_path / "fields")
    request = EncoderRequest(crop=CropPlan(size_px=9))

    def command(atlas: Path) -> None:
        index(folder, atlas=atlas, dataset="manifest", level="both", request=request, commit_rows=COMMIT_ROWS)

    steps, states = survives(lambda path: path, command)
    assert steps.count("write_dataset") == 7  # fovs, cells, two of vectors, encoders, segmenters, runs
    assert ["interrupted", "done"] in states


def test_other_masks_and_pixels_killed_at_any_step_leave_no_cell_of_before(
    tmp_path: Path, plain: None, survives: Survives
) -> None:
    folder = write_masked(tmp_path / "fields")
    request = EncoderRequest(crop=CropPlan(size_px=9))
    original = tmp_path / "original"
    index(folder, atlas=original, dataset="manifest", level="both", request=request, commit_rows=COMMIT_ROWS)
    write_mask(folder / "a_mask.tif", {3: MASKS["a"][3], 9: (30, 30, 44, 40)})
    tifffile.imwrite(folder / "b.tif", pixels(77, edge_px=EDGE), imagej=True, metadata={"axes": "CYX"})
    steps, _ = survives(
        copied(original), lambda atlas: index(folder, atlas=atlas, dataset="manifest", commit_rows=COMMIT_ROWS)
    )
    assert steps.count("delete") == 2  # rows and vectors of the cells that are not there any more
    ids = Store.open(tmp_path / "killed-1").read("cells", ["id"])["id"].to_pylist()
    assert ids == ["manifest/a/3", "manifest/a/9", "manifest/b/1"]


def copied(original: Path) -> Callable[[Path], Path]:
    import shutil

    return lambda path: Path(shutil.copytree(original, path))


def test_an_index_build_killed_at_any_step_leaves_one_that_is_right_or_none(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    atlas = tmp_path / "atlas"
    index(made, atlas=atlas, dataset="opencell")
    store = Store.open(atlas)
    encoder = encoders.current(store, "fov")
    assert encoder is not None
    held = store.read_vectors(encoder.table)
    real = layout.write_atomically
    for killed_at in range(4):
        build(store, encoder, "hnsw")
        written: list[Path] = []

        def write(path: Path, data: bytes, *, at: int = killed_at, written: list[Path] = written) -> None:
            if len(written) == at:
                raise KilledError
            written.append(path)
            real(path, data)

        with monkeypatch.context() as patch:
            patch.setattr("locatlas.indexer.indices.build.write_atomically", write)
            if killed_at < 3:
                with pytest.raises(KilledError):
                    build(store, encoder, "flat")
            else:
                build(store, encoder, "flat")
        found, said = open_index(store, encoder, held)
        assert (found is None, said) == ((True, "no index") if killed_at < 3 else (False, "up to date"))
