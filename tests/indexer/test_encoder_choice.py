"""Which encoder a command means."""

import logging
from collections.abc import Callable
from dataclasses import replace

import pytest

from locatlas.errors import EncoderMismatchError, InputError
from locatlas.indexer import encoder_choice
from locatlas.indexer.encoder_choice import EncoderRequest, choose, usual_channels
from locatlas.indexer.store.encoders import StoredEncoder, put
from locatlas.indexer.store.tables import Store
from locatlas.models import registry, vit
from locatlas.models.crops import CropPlan
from locatlas.models.spec import EncoderSpec
from locatlas.models.training.manifest import TrainingManifest
from tests.indexer.store.test_encoders import PICO, STAINS, encoder, imported, spec


@pytest.fixture
def pick(empty: Store) -> Callable[..., StoredEncoder]:
    def call(request: EncoderRequest | None = None, *, adding: bool = False) -> StoredEncoder:
        return choose(empty, "fov", request or EncoderRequest(), available=STAINS, adding=adding)

    return call


def test_the_usual_channels_are_those_of_most_images() -> None:
    assert usual_channels([("a",), ("a", "b"), ["a", "b"]]) == ("a", "b")
    assert usual_channels([]) == ()


def test_a_new_atlas_takes_the_default_encoder_and_an_old_one_its_own(
    empty: Store, pick: Callable[..., StoredEncoder]
) -> None:
    assert (pick().spec.name, pick().state) == (encoder_choice.DEFAULT_ENCODER, "building")
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


def test_the_order_of_stains_makes_no_encoder_of_its_own(
    empty: Store, pick: Callable[..., StoredEncoder], caplog: pytest.LogCaptureFixture
) -> None:
    put(empty, StoredEncoder("fov", registry.get(PICO), "current"))
    both = EncoderRequest(passes="separate", stains=("protein", "nucleus"))
    first = pick(both, adding=True)
    assert first.spec.stains == ("protein", "nucleus")  # the order of the parts is the user's
    put(empty, first)
    with caplog.at_level(logging.WARNING):
        assert pick(both, adding=True) == first
        assert caplog.text == ""
        assert pick(replace(both, stains=("nucleus", "protein")), adding=True) == first
    assert "whose parts stand in the order protein,nucleus: these are meant" in caplog.text
    assert pick(replace(both, stains=("nucleus",)), adding=True) != first
    assert pick(replace(both, stains=("nucleus", "protein"), mapping="replicate"), adding=True) != first
    joint = [pick(EncoderRequest(stains=stains), adding=True) for stains in (both.stains, both.stains[::-1])]
    assert joint[0] == joint[1]


def test_an_encoder_of_before_is_found_by_any_order_of_its_stains(
    empty: Store, pick: Callable[..., StoredEncoder]
) -> None:
    plain = encoder_choice.settle(EncoderRequest(precision="fp32"), available=STAINS, like=None)
    here = StoredEncoder("fov", plain.with_changes(stains=STAINS), "current")
    assert here.spec.stains != pick(EncoderRequest(stains=STAINS)).spec.stains  # written before there was one order
    put(empty, here)
    for stains in (STAINS, STAINS[::-1]):
        assert pick(EncoderRequest(stains=stains)) == here
        assert pick(EncoderRequest(stains=stains, mapping="natural"), adding=True) == here


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


def of_an_earlier_version() -> EncoderSpec:
    """The default encoder in bf16 as it was stored when all of it was rounded."""
    plain = encoder_choice.settle(EncoderRequest(precision="fp32"), available=STAINS, like=None)
    return plain.with_changes(precision="bf16", residual="bf16")


def test_an_atlas_goes_on_with_the_bf16_of_an_earlier_version(
    empty: Store, pick: Callable[..., StoredEncoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = StoredEncoder("fov", of_an_earlier_version(), "current")
    put(empty, here)
    for request in (EncoderRequest(), EncoderRequest(precision="bf16"), EncoderRequest(name=PICO)):
        assert pick(request) == here
    for request in (EncoderRequest(), EncoderRequest(name=PICO), EncoderRequest(mapping="natural")):
        assert pick(request, adding=True) == here
    beside = pick(EncoderRequest(mapping="random", seed=1), adding=True).spec
    assert (beside.precision, beside.residual) == ("bf16", "bf16")
    # by another encoder in its place, what the hardware gains from is the one that is there
    put(empty, replace(here, state="superseded"), StoredEncoder("fov", spec(name="x.y"), "current"))
    monkeypatch.setattr("locatlas.models.hardware.helpful_precision", lambda _: "bf16")
    assert pick(EncoderRequest(name=PICO), adding=True).fingerprint == here.fingerprint


def test_bf16_that_is_asked_for_is_another_encoder_than_that_of_an_earlier_version_which_is_told(
    empty: Store, pick: Callable[..., StoredEncoder], caplog: pytest.LogCaptureFixture
) -> None:
    before = of_an_earlier_version()
    request = EncoderRequest(name=PICO, precision="bf16")
    put(empty, StoredEncoder("fov", before, "building"), encoder(7))
    with caplog.at_level(logging.WARNING):
        assert pick(request, adding=True).spec == before  # a run that was interrupted goes on
        assert not caplog.messages
        put(empty, StoredEncoder("fov", before, "superseded"))
        chosen = pick(request, adding=True)
    assert (chosen.spec.residual, chosen.state) == ("fp32", "building")
    [told] = caplog.messages
    assert f"(natural/joint, bf16, residual bf16, {before.fingerprint[:12]})" in told
    assert f"another encoder, {PICO} (natural/joint, bf16, {chosen.fingerprint[:12]})" in told
    put(empty, chosen)
    caplog.clear()
    assert pick(request, adding=True) == chosen
    assert not caplog.messages


def test_images_beside_imported_vectors_get_an_encoder_that_can_embed(
    empty: Store, pick: Callable[..., StoredEncoder]
) -> None:
    put(empty, imported())
    assert pick().spec.name == encoder_choice.DEFAULT_ENCODER
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
    assert encoder_choice.settle(request, available=STAINS, like=like, cuts=True) == registered
    assert encoder_choice.settle(request, available=STAINS, like=like).crop is None
    asked = CropPlan(size_px=30)
    assert encoder_choice.settle(replace(request, crop=asked), available=STAINS, like=like, cuts=True).crop == asked
    # any other takes the atlas' crop, and what the hardware gains from
    encoder_choice._tell_precision.cache_clear()
    with caplog.at_level(logging.WARNING):
        plain = encoder_choice.settle(EncoderRequest(name=PICO), available=STAINS, like=registered, cuts=True)
    assert (plain.crop, plain.precision) == (own, "bf16")
    assert f"{PICO} runs in bf16" in caplog.text
    assert "--precision fp32 does not round" in caplog.text
