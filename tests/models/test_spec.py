import hashlib
import json
from collections.abc import Callable
from dataclasses import fields

import pytest

from locatlas.errors import InputError
from locatlas.models import registry
from locatlas.models.crops import CropPlan
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
    "storage": "float16",
    "block": 3,
    "views": 8,
    "crop": CropPlan(size_um=41.0),
}
CROPS = [
    CropPlan(size_um=41.0),
    CropPlan(size_um=42.0),
    CropPlan(size_px=41),
    CropPlan(size_um=41.0, centre="nucleus"),
    CropPlan(size_um=41.0, blank=True),
    CropPlan(size_um=41.0, border="shift"),
    CropPlan(size_um=41.0, border="drop"),
]
DESCRIBING = {"name", "source", "license", "paper", "parent", "notes"}
TOGETHER = {"mapping", "mapping_seed", "passes", "residual"}  # allowed in certain combinations only, see below


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


def test_every_way_to_cut_cells_has_a_fingerprint_of_its_own(make_spec: Callable) -> None:
    plans = [None, *CROPS]
    assert len({make_spec(crop=plan).fingerprint for plan in plans}) == len(plans)
    assert make_spec(crop=CropPlan(size_um=41)).fingerprint == make_spec(crop=CropPlan(size_um=41.0)).fingerprint


@pytest.mark.parametrize("field", sorted(DESCRIBING))
def test_a_field_that_only_describes_leaves_the_fingerprint(field: str, make_spec: Callable) -> None:
    assert make_spec(**{field: "other"}).fingerprint == make_spec().fingerprint


def test_the_fingerprint_is_the_digest_of_canonical_json_and_stays(make_spec: Callable) -> None:
    spec = make_spec()
    canonical = json.dumps(spec.identity(), sort_keys=True, separators=(",", ":"))
    assert spec.fingerprint == hashlib.sha256(canonical.encode()).hexdigest()
    # stored atlases carry it: a change here needs a new IDENTITY_VERSION and a word in the changelog
    assert spec.fingerprint.startswith("b8d8da32cead")


def test_fingerprints_from_before_there_were_crops_still_hold() -> None:
    # as the last version with schema version 1 gave it, which knew no crops
    held = "a428e096e7e581d80fd0688a20a14b41f2cce6d6f9cd7d8b9d76d2f21dfa8cf2"
    assert registry.get("locatlas_pico.untrained").fingerprint == held


# as the last version without `residual` gave them
BEFORE_RESIDUAL = {
    "fp32": "b8d8da32cead39b092805cecc6799f7745c7471984f9a3efcce217cc7a81160d",
    "bf16": "e14b5a8f316e27c49d05c32668c9fd82e3c5b4839dec0755c50579a15b08080f",
}


def test_fingerprints_and_specs_from_before_there_was_a_residual_still_hold(make_spec: Callable) -> None:
    for precision, held in BEFORE_RESIDUAL.items():
        stored = make_spec(precision=precision, residual=precision).to_json()
        assert "residual" not in stored
        assert EncoderSpec.from_json(stored).residual == precision
        assert EncoderSpec.from_json(stored).to_json() == stored
        assert EncoderSpec.from_json(stored).fingerprint == held


def test_what_runs_between_the_blocks_of_a_bf16_network_is_part_of_it(make_spec: Callable) -> None:
    now, before = make_spec(precision="bf16"), make_spec(precision="bf16", residual="bf16")
    assert (now.residual, make_spec().residual) == ("fp32", "fp32")
    assert now.fingerprint != before.fingerprint
    assert now.identity() == before.identity() | {"residual": "fp32"}
    assert "residual" not in make_spec().identity()
    assert EncoderSpec.from_json(now.to_json()) == now
    assert make_spec().with_changes(precision="bf16") == now


def test_a_spec_without_digest_has_no_fingerprint(make_spec: Callable) -> None:
    with pytest.raises(InputError, match="digest of its weights is not known"):
        _ = make_spec(weights_sha256=None).fingerprint


def test_a_spec_survives_json(make_spec: Callable) -> None:
    spec = make_spec(mean=(0.1, 0.2, 0.3, 0.4), stains=("protein",), parent="abc", notes="µ")
    assert EncoderSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize("crop", CROPS)
def test_a_crop_survives_json(crop: CropPlan, make_spec: Callable) -> None:
    spec = make_spec(crop=crop)
    again = EncoderSpec.from_json(spec.to_json())
    assert again == spec
    assert again.fingerprint == spec.fingerprint


def test_a_spec_that_was_stored_before_there_were_crops_has_none(make_spec: Callable) -> None:
    stored = json.loads(make_spec().to_json())
    del stored["crop"]
    assert EncoderSpec.from_json(json.dumps(stored)) == make_spec()


@pytest.mark.parametrize(
    ("crop", "reason"),
    [
        ({"size_um": 41.0, "shape": "round"}, "crop that this locatlas does not know .*shape"),
        ([41.0], "crop that this locatlas does not know"),
        ("41um", "crop that this locatlas does not know"),
        ({}, "exactly one of them"),
        ({"size_um": -1.0}, "crop size -1.0: a positive number needed"),
        ({"size_um": "41"}, "crop size '41': a positive number needed"),
        ({"size_um": 41.0, "border": "mirror"}, "crop border 'mirror', allowed: pad, shift, drop"),
    ],
)
def test_a_foreign_crop_is_refused(crop: object, reason: str, make_spec: Callable) -> None:
    stored = json.loads(make_spec().to_json()) | {"crop": crop}
    with pytest.raises(InputError, match=reason):
        EncoderSpec.from_json(json.dumps(stored))


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
        ({"views": 2}, "views 2, allowed: 1, 4, 8"),
        ({"residual": "bf16"}, "residual 'bf16' belongs to precision 'bf16'"),
        ({"precision": "bf16", "residual": "fp8"}, "residual 'fp8', allowed: fp32, bf16"),
        ({"block": 0}, "block 0 with pooling cls: blocks count from 1"),
        ({"block": 2, "pooling": "gated_attention"}, "block 2 with pooling gated_attention"),
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
