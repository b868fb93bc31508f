"""Encoder states of an atlas, how a user names one, and which one a command means."""

import logging
from collections.abc import Callable
from dataclasses import replace

import pytest

from locatlas.errors import EncoderMismatchError, InputError, UnknownNameError
from locatlas.indexer import encoders
from locatlas.indexer.encoders import (
    EncoderRequest,
    StoredEncoder,
    choose,
    current,
    find,
    put,
    stored_encoders,
    switch_to,
)
from locatlas.indexer.store import Store
from locatlas.models import registry, vit
from locatlas.models.crops import CropPlan
from locatlas.models.spec import EncoderSpec
from locatlas.models.training.manifest import TrainingManifest

PICO = "locatlas_pico.synthetic"
STAINS = ("nucleus", "protein")


def spec(seed: int = 0, **changes: object) -> EncoderSpec:
    base = encoders.settle(EncoderRequest(precision="fp32"), available=STAINS, like=None)
    return base.with_changes(weights_sha256=f"seed:{seed}", **changes)


def encoder(seed: int = 0, state: encoders.State = "current", level: str = "fov") -> StoredEncoder:
    return StoredEncoder(level, spec(seed), state)


def imported(state: encoders.State = "current") -> StoredEncoder:
    return StoredEncoder("fov", spec(name="elsewhere", architecture=encoders.IMPORTED), state)


@pytest.fixture
def pick(empty: Store) -> Callable[..., StoredEncoder]:
    def call(request: EncoderRequest | None = None, *, adding: bool = False) -> StoredEncoder:
        return choose(empty, "fov", request or EncoderRequest(), available=STAINS, adding=adding)

    return call


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
    with pytest.raises(InputError, match=r"no vectors at level fov; there are some at \['cell'\]"):
        find(empty, "fov", None)
    with pytest.raises(InputError, match="at level cell is not complete; run the same `locatlas index` again"):
        find(empty, "cell", None)


def test_a_new_atlas_takes_the_default_encoder_and_an_old_one_its_own(
    empty: Store, pick: Callable[..., StoredEncoder]
) -> None:
    assert (pick().spec.name, pick().state) == (encoders.DEFAULT_ENCODER, "building")
    put(empty, encoder(7), encoder(8, "superseded"))
    assert pick() == encoder(7)
    assert pick(adding=True) == encoder(7)


def test_an_interrupted_first_run_is_continued_with_its_encoder(
    empty: Store, pick: Callable[..., StoredEncoder]
) -> None:
    put(empty, encoder(7, "building"))
    assert pick() == encoder(7, "building")


def test_of_several_begun_encoders_none_is_guessed(empty: Store, pick: Callable[..., StoredEncoder]) -> None:
    put(empty, encoder(7, "building"), encoder(8, "building"))
    with pytest.raises(
        InputError, match="several fov encoders were begun and none is complete; name one with --encoder"
    ):
        pick()


def test_a_request_that_says_nothing_else_means_the_current_encoder(
    empty: Store, pick: Callable[..., StoredEncoder]
) -> None:
    here = StoredEncoder("fov", spec(mapping="replicate", passes="separate", stains=("er",)), "current")
    put(empty, here)
    for request in (
        EncoderRequest(name=PICO),
        EncoderRequest(mapping="replicate"),
        EncoderRequest(passes="separate"),
        EncoderRequest(stains=("er",), precision="fp32"),
    ):
        assert pick(request) == here
    for request in (EncoderRequest(stains=("protein",), mapping="replicate"), EncoderRequest(mapping="natural")):
        with pytest.raises(
            EncoderMismatchError, match=r"is locatlas_pico.synthetic \(replicate/separate of er, fp32, "
        ):
            pick(request)


def test_adding_takes_a_request_as_it_stands(empty: Store, pick: Callable[..., StoredEncoder]) -> None:
    first = StoredEncoder("fov", registry.get(PICO), "current")
    put(empty, first)
    added = pick(EncoderRequest(mapping="random", seed=3), adding=True)
    assert (added.spec.mapping, added.spec.mapping_seed, added.state) == ("random", 3, "building")
    put(empty, added)
    assert pick(EncoderRequest(mapping="random", seed=3), adding=True) == added
    assert pick(EncoderRequest(mapping="natural"), adding=True) == first


def test_an_atlas_stays_at_the_precision_it_began_with(empty: Store, pick: Callable[..., StoredEncoder]) -> None:
    put(empty, StoredEncoder("fov", spec(precision="bf16"), "current"))
    assert pick(EncoderRequest(mapping="random", seed=1), adding=True).spec.precision == "bf16"


def test_images_beside_imported_vectors_get_an_encoder_that_can_embed(
    empty: Store, pick: Callable[..., StoredEncoder]
) -> None:
    put(empty, imported())
    assert pick().spec.name == encoders.DEFAULT_ENCODER
    assert pick(EncoderRequest(mapping="random", seed=1)).spec.mapping == "random"
    with pytest.raises(InputError, match="vectors of elsewhere were imported; name an encoder with --encoder"):
        pick(adding=True)
    assert pick(EncoderRequest(name=PICO), adding=True).state == "building"


def test_a_request_fits_what_it_does_not_contradict() -> None:
    one = spec(mapping="random", mapping_seed=3)
    assert EncoderRequest().fits(one)
    assert EncoderRequest(name=PICO, mapping="random", seed=3, passes="joint", precision="fp32").fits(one)
    for other in (
        EncoderRequest(seed=4),
        EncoderRequest(name="x"),
        EncoderRequest(stains=("er",)),
        EncoderRequest(precision="bf16"),
    ):
        assert not other.fits(one)


def test_an_encoder_that_was_trained_here_keeps_its_precision_and_its_crop(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    own = CropPlan(size_px=20, blank=True)
    trained = spec(name="tiny.trained", crop=own, stains=("protein",))
    manifest = TrainingManifest(
        encoder="tiny.trained", weights_sha256="", objective="dino", level="cell", group="protein", images=()
    )
    network = vit.build(trained)
    vit.seed_weights(network, 0)
    registered = registry.register(trained, vit.weights_module(network).state_dict(), manifest)
    monkeypatch.setattr("locatlas.models.hardware.helpful_precision", lambda _: "bf16")
    like = spec(crop=CropPlan(size_px=50))
    request = EncoderRequest(name="tiny.trained")
    assert encoders.settle(request, available=STAINS, like=like, cuts=True) == registered
    assert encoders.settle(request, available=STAINS, like=like).crop is None
    asked = CropPlan(size_px=30)
    assert encoders.settle(replace(request, crop=asked), available=STAINS, like=like, cuts=True).crop == asked
    # any other takes the atlas' crop, and what the hardware gains from
    encoders._tell_precision.cache_clear()
    with caplog.at_level(logging.WARNING):
        plain = encoders.settle(EncoderRequest(name=PICO), available=STAINS, like=registered, cuts=True)
    assert (plain.crop, plain.precision) == (own, "bf16")
    assert f"{PICO} runs in bf16" in caplog.text
    assert "--precision fp32 does not round" in caplog.text
