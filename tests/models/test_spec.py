import hashlib
import json
from collections.abc import Callable
from dataclasses import fields

import pytest

from locatlas.errors import InputError
from locatlas.models.spec import EncoderSpec

OTHER_VALUES = {
    "architecture": "vit_base_patch16",
    "weights_sha256": "seed:1",
    "slots": ("a", "b", "c", "d"),
    "input_px": 48,
    "embedding_dim": 7,
    "pooling": "mean",
    "intensity": "minmax",
    "percentiles": (1.0, 99.0),
    "mean": (0.5, 0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5, 0.5),
    "resize": "center_crop_pad",
    "interpolation": "bicubic",
    "pixel_size_um": 0.08,
    "stains": ("protein",),
    "precision": "bf16",
}
DESCRIBING = {"name", "source", "license", "paper", "parent", "notes"}
TOGETHER = {"mapping", "mapping_seed", "passes"}  # allowed in certain combinations only, see below


def test_every_field_is_either_tried_here_or_only_describes() -> None:
    assert {f.name for f in fields(EncoderSpec)} == OTHER_VALUES.keys() | DESCRIBING | TOGETHER


@pytest.mark.parametrize("field", OTHER_VALUES)
def test_a_field_that_decides_a_vector_changes_the_fingerprint(field: str, make_spec: Callable) -> None:
    assert make_spec(**{field: OTHER_VALUES[field]}).fingerprint != make_spec().fingerprint


def test_channel_plans_have_fingerprints_of_their_own(make_spec: Callable) -> None:
    plans = [
        {},
        {"mapping": "random", "mapping_seed": 0},
        {"mapping": "random", "mapping_seed": 1},
        {"stains": ("protein", "nucleus")},
        {"stains": ("protein", "nucleus"), "passes": "separate"},
        {"stains": ("nucleus", "protein"), "passes": "separate"},
        {"stains": ("protein", "nucleus"), "passes": "separate", "mapping": "replicate"},
    ]
    assert len({make_spec(**plan).fingerprint for plan in plans}) == len(plans)


@pytest.mark.parametrize("field", sorted(DESCRIBING))
def test_a_field_that_only_describes_leaves_the_fingerprint(field: str, make_spec: Callable) -> None:
    assert make_spec(**{field: "other"}).fingerprint == make_spec().fingerprint


def test_the_fingerprint_is_the_digest_of_canonical_json_and_stays(make_spec: Callable) -> None:
    spec = make_spec()
    canonical = json.dumps(spec.identity(), sort_keys=True, separators=(",", ":"))
    assert spec.fingerprint == hashlib.sha256(canonical.encode()).hexdigest()
    # stored atlases carry it: a change here needs a new IDENTITY_VERSION and a word in the changelog
    assert spec.fingerprint.startswith("b8d8da32cead")


def test_a_spec_without_digest_has_no_fingerprint(make_spec: Callable) -> None:
    with pytest.raises(InputError, match="digest of its weights is not known"):
        _ = make_spec(weights_sha256=None).fingerprint


def test_a_spec_survives_json(make_spec: Callable) -> None:
    spec = make_spec(mean=(0.1, 0.2, 0.3, 0.4), stains=("protein",), parent="abc", notes="µ")
    assert EncoderSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("text", "reason"),
    [("[]", "not an object"), ('{"color": 1}', "unknown fields"), ('{"name": "x"}', "lacks the fields")],
)
def test_foreign_json_is_refused(text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        EncoderSpec.from_json(text)


@pytest.mark.parametrize("passes", ["joint", "separate"])
def test_the_vector_has_a_part_for_each_pass(passes: str, make_spec: Callable) -> None:
    spec = make_spec(stains=("protein", "nucleus", "er"), passes=passes)
    assert spec.dim == (576 if passes == "separate" else 192)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"pooling": "max"}, "pooling 'max', allowed: cls"),
        ({"intensity": "log"}, "intensity 'log'"),
        ({"slots": ()}, "slots must be named"),
        ({"slots": ("protein", "protein")}, "slots must be named and differ"),
        ({"mean": (0.5,)}, "mean has 1 values for 4 slots"),
        ({"mapping": "random"}, "mapping_seed belongs to mapping 'random'"),
        ({"mapping_seed": 1}, "mapping_seed belongs to mapping 'random'"),
        ({"mapping": "replicate", "stains": ("protein",)}, "passes must be 'separate'"),
        ({"passes": "separate"}, "need the channels named"),
    ],
)
def test_a_contradictory_spec_is_refused(changes: dict, reason: str, make_spec: Callable) -> None:
    with pytest.raises(InputError, match=reason):
        make_spec(**changes)
