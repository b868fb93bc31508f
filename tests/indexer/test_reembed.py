"""Re-embedding: what is stale, and only that."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from locatlas.errors import InputError, UnknownNameError
from locatlas.indexer.embed import embed, reembed
from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.importing.run import import_embeddings
from locatlas.indexer.index import index
from locatlas.indexer.store import encoders
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.tables import Store
from locatlas.models.crops import CropPlan
from tests.indexer.made import PlainEncoder, contents, id_of, pixels, vectors, versions, write_field
from tests.indexer.masked import write_masked

OTHER = EncoderRequest(mapping="random", seed=3)


def begin(store: Store, level: str = "fov", seed: int = 3) -> StoredEncoder:
    """An encoder that was trained and not embedded with yet."""
    now = encoders.current(store, level)
    assert now is not None
    spec = now.spec.with_changes(mapping="random", mapping_seed=seed, parent=now.fingerprint)
    new = StoredEncoder(level, spec, "building")
    with store.folder.writer("finetune"):
        encoders.put(store, new)
    return new


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], Any]], list[int]]:
    """Do something once, before a batch of a re-embedding is handed over to be committed."""

    def arrange(batch: int, deed: Callable[[], Any]) -> list[int]:
        seen: list[int] = []
        main = threading.get_ident()

        class Interrupted(PlainEncoder):
            def encode_prepared(self, prepared: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
                if self.spec.mapping == "random" and threading.get_ident() == main:
                    seen.append(len(prepared))
                    if len(seen) == batch:
                        deed()
                return super().encode_prepared(prepared)

        monkeypatch.setattr("locatlas.indexer.job.load_encoder", Interrupted)
        return seen

    return arrange


def check_whole(store: Store, level: str = "fov") -> None:
    """Every image has the vector of its pixels by the current encoder, and no encoder has one without its image."""
    table = "fovs" if level == "fov" else "cells"
    images = {r["id"]: r["source_digest"] for r in store.read(table, ["id", "source_digest"]).to_pylist()}
    for encoder in encoders.stored_encoders(store, level):
        rows = store.read(encoder.table, ["id", "source_digest"]).to_pylist()
        assert {row["id"] for row in rows} <= images.keys()
        if encoder.state == "current":
            assert {row["id"]: row["source_digest"] for row in rows} == images


def test_an_encoder_that_was_begun_is_completed_and_then_nothing_is_stale(
    atlas: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = begin(store)
    assert reembed(atlas=atlas, commit_rows=4).embedded == 6
    now = encoders.current(store, "fov")
    assert now is not None
    assert now.fingerprint == new.fingerprint
    check_whole(store)
    before = versions(store)
    monkeypatch.setattr("locatlas.indexer.job.load_encoder", lambda _: pytest.fail("nothing is to be embedded"))
    assert reembed(atlas=atlas).skipped == 6
    assert versions(store) == before


def test_it_ends_with_the_vectors_that_indexing_with_the_encoder_makes(
    atlas: Path, store: Store, source: Path, tmp_path: Path
) -> None:
    new = begin(store)
    reembed(atlas=atlas, commit_rows=2)
    index(source, atlas=tmp_path / "fresh", dataset="opencell", request=OTHER)
    fresh = Store.open(tmp_path / "fresh")
    now = encoders.current(fresh, "fov")
    assert now is not None
    assert vectors(store, new.table) == vectors(fresh, now.table)


def test_only_what_is_missing_or_changed_is_embedded(atlas: Path, store: Store, source: Path) -> None:
    embed(atlas=atlas, request=OTHER)
    embed(atlas=atlas, request=EncoderRequest(mapping="natural"))
    write_field(source, 6)
    write_field(source, 2, pixels(42))
    index(source, atlas=atlas, dataset="opencell")
    other = next(e for e in encoders.stored_encoders(store) if e.spec.mapping == "random")
    before = vectors(store, other.table)
    summary = reembed(atlas=atlas, encoder=other.fingerprint[:12])
    assert (summary.embedded, summary.skipped) == (2, 5)
    after = vectors(store, other.table)
    assert {i for i in after if after[i] != before.get(i)} == {id_of(2), id_of(6)}
    check_whole(store)


def test_vectors_that_are_lost_are_made_again_by_the_encoder_in_use(atlas: Path, store: Store) -> None:
    now = encoders.current(store, "fov")
    assert now is not None
    before = contents(store)
    with store.folder.writer("test"):
        store.delete(now.table, [id_of(1), id_of(4)])
    summary = reembed(atlas=atlas)
    assert (summary.embedded, summary.skipped) == (2, 4)
    assert contents(store) == before


def test_several_that_were_begun_are_named_and_one_can_be_chosen(atlas: Path, store: Store) -> None:
    first, second = begin(store, seed=3), begin(store, seed=4)
    with pytest.raises(InputError, match="several fov encoders are being built; name one with --encoder: ") as caught:
        reembed(atlas=atlas)
    assert first.fingerprint[:12] in str(caught.value)
    reembed(atlas=atlas, encoder=second.fingerprint[:8])
    now = encoders.current(store, "fov")
    assert now is not None
    assert now.fingerprint == second.fingerprint


def test_an_encoder_that_nobody_knows_is_refused(atlas: Path, store: Store) -> None:
    before = versions(store)
    with pytest.raises(UnknownNameError, match=r"unknown encoder 'nobody\.knows'"):
        reembed(atlas=atlas, encoder="nobody.knows")
    assert versions(store) == before


def test_imported_vectors_are_not_stale_and_cannot_be_made(tmp_path: Path, plain: None) -> None:
    np.savez(tmp_path / "v.npz", ids=np.array(["x"]), vectors=np.ones((1, 3), np.float32))
    import_embeddings(tmp_path / "v.npz", atlas=tmp_path / "atlas", name="elsewhere")
    with pytest.raises(InputError, match="no encoder at level fov or cell whose images could be embedded"):
        reembed(atlas=tmp_path / "atlas")
    with pytest.raises(InputError, match="encoder elsewhere was imported, so no image can be embedded with it"):
        reembed(atlas=tmp_path / "atlas", encoder="elsewhere")


def test_fields_that_were_only_searched_for_cells_stay_without_vectors(tmp_path: Path, plain: None) -> None:
    folder = write_masked(tmp_path / "fields")
    request = EncoderRequest(crop=CropPlan(size_px=9))
    atlas = tmp_path / "atlas"
    index(folder, atlas=atlas, dataset="manifest", level="cell", request=request)
    write_field(tmp_path / "whole", 0)
    index(tmp_path / "whole", atlas=atlas, dataset="opencell")
    assert reembed(atlas=atlas).embedded == 0
    store = Store.open(atlas)
    new = begin(store)
    assert reembed(atlas=atlas).embedded == 1
    assert list(vectors(store, new.table)) == [id_of(0)]


def test_an_encoder_of_whole_images_does_not_take_cells_of_fields(tmp_path: Path, plain: None) -> None:
    folder = write_masked(tmp_path / "fields")
    atlas = tmp_path / "atlas"
    index(folder, atlas=atlas, dataset="manifest", level="cell", request=EncoderRequest(crop=CropPlan(size_px=9)))
    store = Store.open(atlas)
    now = encoders.current(store, "cell")
    assert now is not None
    with store.folder.writer("finetune"):
        encoders.put(store, StoredEncoder("cell", now.spec.with_changes(crop=None), "building"))
    with pytest.raises(InputError, match=r"embeds whole images and cannot cut cells; add one that does"):
        reembed(atlas=atlas)
