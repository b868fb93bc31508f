"""Encoder states of an atlas, and how a user names one."""

from dataclasses import replace

import pytest

from locatlas.errors import EncoderMismatchError, InputError, UnknownNameError
from locatlas.indexer import encoder_choice
from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.store import encoders
from locatlas.indexer.store.encoders import StoredEncoder, current, find, put, stored_encoders, switch_to
from locatlas.indexer.store.tables import Store
from locatlas.models.spec import EncoderSpec

PICO = "locatlas_pico.synthetic"
STAINS = ("nucleus", "protein")


def spec(seed: int = 0, **changes: object) -> EncoderSpec:
    base = encoder_choice.settle(EncoderRequest(precision="fp32"), available=STAINS, like=None)
    return base.with_changes(weights_sha256=f"seed:{seed}", **changes)


def encoder(seed: int = 0, state: encoders.State = "current", level: str = "fov") -> StoredEncoder:
    return StoredEncoder(level, spec(seed), state)


def imported(state: encoders.State = "current") -> StoredEncoder:
    return StoredEncoder("fov", spec(name="elsewhere", architecture=encoders.IMPORTED), state)


def test_encoders_come_back_as_they_were_put_current_first(empty: Store) -> None:
    first, second, cell = encoder(1, "superseded"), encoder(2), encoder(3, "building", "cell")
    put(empty, first, second, cell)
    assert stored_encoders(empty) == [cell, second, first]
    assert stored_encoders(empty, "fov") == [second, first]
    assert current(empty, "fov") == second
    assert current(empty, "cell") is None


def test_a_switch_is_one_commit_and_leaves_one_current(empty: Store) -> None:
    put(empty, encoder(1), encoder(2, "building"))
    version = empty.version("encoders")
    switch_to(empty, encoder(2, "building"))
    assert empty.version("encoders") == version + 1
    assert {e.spec.weights_sha256: e.state for e in stored_encoders(empty)} == {
        "seed:1": "superseded",
        "seed:2": "current",
    }
    switch_to(empty, encoder(1))
    assert [e.state for e in stored_encoders(empty)] == ["current", "superseded"]
    switch_to(empty, encoder(1))
    assert current(empty, "fov") == encoder(1)


def test_two_encoders_never_share_a_table(empty: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(empty, encoder(1))
    monkeypatch.setattr(encoders, "embedding_table_name", lambda level, fingerprint: f"emb_{level}_same")
    put(empty, replace(encoder(1), state="superseded"))
    with pytest.raises(EncoderMismatchError, match="and another encoder share the table emb_fov_same"):
        put(empty, encoder(2))
    assert len(stored_encoders(empty)) == 1


def test_an_encoder_is_found_by_name_fingerprint_or_as_the_current_one(empty: Store) -> None:
    put(empty, encoder(1), imported("superseded"))
    assert find(empty, "fov", None) == encoder(1)
    assert find(empty, "fov", "elsewhere") == imported("superseded")
    assert find(empty, "fov", encoder(1).fingerprint[:6]) == encoder(1)
    with pytest.raises(
        UnknownNameError, match=r"unknown fov encoder in this atlas 'nope'; known: elsewhere.*, locatlas_pico"
    ):
        find(empty, "fov", "nope")
    with pytest.raises(UnknownNameError):
        find(empty, "fov", encoder(1).fingerprint[:5])


def test_a_name_that_fits_two_encoders_lists_their_fingerprints(empty: Store) -> None:
    put(empty, encoder(1), encoder(2, "superseded"))
    with pytest.raises(InputError, match="several times; name one by fingerprint") as caught:
        find(empty, "fov", PICO)
    assert all(encoder(n).fingerprint[:12] in str(caught.value) for n in (1, 2))


def test_without_a_complete_encoder_the_error_says_what_there_is(empty: Store) -> None:
    with pytest.raises(InputError, match=r"no vectors at level fov$"):
        find(empty, "fov", None)
    put(empty, encoder(1, "building", "cell"))
    with pytest.raises(InputError, match=r"no vectors at level fov; there are some at level cell"):
        find(empty, "fov", None)
    with pytest.raises(InputError, match="at level cell is not complete; run the same `locatlas index` again"):
        find(empty, "cell", None)
