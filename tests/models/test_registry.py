import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from locatlas.errors import InputError, UnknownNameError, WeightsError
from locatlas.models import registry, vit
from locatlas.models.crops import CropPlan
from locatlas.models.encode import load_encoder, resolve
from locatlas.models.spec import EncoderSpec
from locatlas.models.training.manifest import TrainingManifest
from locatlas.models.weights import load_state, save, sha256_file
from locatlas.types import ChannelImage
from tests.models import published

ROOT = Path(__file__).resolve().parents[2]

# The names of docs/design.md
DESIGN = {
    "vit_small_patch16_224.dino": 384,
    "vit_small_patch8_224.dino": 384,
    "vit_base_patch16_224.dino": 768,
    "vit_base_patch8_224.dino": 768,
    "vit_small_patch14_dinov2.lvd142m": 384,
    "vit_base_patch14_dinov2.lvd142m": 768,
    "vit_large_patch14_dinov2.lvd142m": 1024,
    "vit_small_patch16_dinov3.lvd1689m": 384,
    "vit_base_patch16_dinov3.lvd1689m": 768,
    "vit_large_patch16_dinov3.lvd1689m": 1024,
    "vit_base_patch16.hpa_fov_dino4cells": 768,
    "vit_base_patch16.hpa_cell_dino4cells": 768,
    "subcell_vit_base_patch16.rybg": 1536,
    "subcell_vit_base_patch16.rbg": 1536,
    "subcell_vit_base_patch16.ybg": 1536,
    "subcell_vit_base_patch16.bg": 1536,
    "cell_dino_vit_large_patch16.hpa_fov": 1024,
    "cell_dino_vit_large_patch16.hpa_cell": 1024,
    "channel_adaptive_dino_vit_large_patch16.hpa": 1024,
    "locatlas_pico.synthetic": 192,
    "locatlas_pico.untrained": 192,
}


@pytest.mark.parametrize(("name", "dim"), DESIGN.items())
def test_every_name_of_the_design_is_registered(name: str, dim: int) -> None:
    spec = registry.get(name)
    assert spec.name == name
    assert spec.embedding_dim == dim
    assert spec.license
    assert spec.source


def test_protein_and_er_of_dino4cells_are_the_inputs_that_all_sources_agree_on() -> None:
    for level in ("fov", "cell"):
        spec = registry.get(f"vit_base_patch16.hpa_{level}_dino4cells")
        assert (spec.slots[1], spec.slots[3]) == ("protein", "er")
        assert "contradicts itself" in spec.notes
        assert spec.intensity == "standardize"


@pytest.mark.parametrize(
    ("variant", "slots"),
    [
        ("rybg", ("microtubules", "er", "nucleus", "protein")),
        ("rbg", ("microtubules", "nucleus", "protein")),
        ("ybg", ("er", "nucleus", "protein")),
        ("bg", ("nucleus", "protein")),
    ],
)
def test_subcells_slots_spell_the_colours_of_its_name(variant: str, slots: tuple[str, ...]) -> None:
    colours = {"r": "microtubules", "y": "er", "b": "nucleus", "g": "protein"}
    assert registry.get(f"subcell_vit_base_patch16.{variant}").slots == slots == tuple(colours[c] for c in variant)


def test_the_list_is_sorted_and_takes_patterns() -> None:
    names = [spec.name for spec in registry.list_encoders()]
    assert names == sorted(names)
    assert len(registry.list_encoders("subcell*")) == 4
    assert registry.list_encoders("nothing*") == []


def test_timms_names_and_normalization_are_those_of_timm() -> None:
    from locatlas.models.torchvision_shim import import_timm

    timm = import_timm()
    from_timm = [spec for spec in registry.list_encoders() if spec.source.startswith("timm:")]
    assert len(from_timm) >= 13
    for spec in from_timm:
        config = timm.get_pretrained_cfg(spec.source.removeprefix("timm:"))
        assert config.hf_hub_id == f"timm/{spec.name}"
        assert (spec.mean, spec.std) == (config.mean, config.std)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        UnknownNameError, match=r"unknown encoder 'vit' \(.*\); did you mean 'vit_.*\? known: .*locatlas_pico.untrained"
    ) as error:
        registry.get("vit")
    assert "encoders add" in str(error.value)


def test_the_registry_can_be_read_without_torch() -> None:
    code = "import sys; from locatlas.models import registry; registry.list_encoders(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.fixture
def checkpoint(tiny: None, make_spec: Callable, tmp_path: Path) -> Path:
    """A tiny DINO4Cells file."""
    network = vit.build(make_spec(architecture="vit_base_patch16"))
    vit.seed_weights(network, 5)
    torch.save(published.dino4cells(vit.weights_module(network).state_dict()), tmp_path / "mine.pth")
    return tmp_path / "mine.pth"


def add(name: str, weights: Path, **changes: object) -> EncoderSpec:
    arguments: dict = {
        "architecture": "vit_base_patch16",
        "slots": ["microtubules", "protein", "nucleus", "er"],
        "input_px": 32,
    }
    return registry.add(name, weights=weights, **{**arguments, **changes})


def test_an_added_encoder_is_found_loads_and_encodes_without_the_file_it_came_from(
    checkpoint: Path, home: Path, image: ChannelImage
) -> None:
    spec = add("vit_base_patch16.mine", checkpoint, intensity="standardize", pixel_size_um=0.1, notes="a note")
    stored = home / "encoders" / "vit_base_patch16.mine.safetensors"
    expected = load_state(checkpoint).tensors
    checkpoint.unlink()
    assert registry.get("vit_base_patch16.mine") == spec
    assert spec in registry.list_encoders("*.mine")
    assert spec.embedding_dim == 24
    assert spec.weights_sha256 == sha256_file(stored)
    assert all(torch.equal(load_state(stored).tensors[name], expected[name]) for name in expected)
    assert load_encoder(spec, device="cpu").encode([image]).shape == (1, 24)


def test_the_same_weights_give_the_same_fingerprint_from_any_layout(checkpoint: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat.safetensors"
    save(load_state(checkpoint).tensors, flat)
    assert add("a", checkpoint).fingerprint == add("b", flat).fingerprint


def test_another_pooling_of_the_same_weights_is_another_encoder(checkpoint: Path, image: ChannelImage) -> None:
    plain, textured = add("plain", checkpoint), add("textured", checkpoint, pooling="cls_spread", block=7)
    assert (textured.pooling, textured.block, textured.embedding_dim) == ("cls_spread", 7, 48)
    assert textured.weights_sha256 == plain.weights_sha256
    assert textured.fingerprint != plain.fingerprint
    assert load_encoder(registry.get("textured"), device="cpu").encode([image]).shape == (1, 48)
    with pytest.raises(InputError, match="block 12 asked for, vit_base_patch16 has 11"):
        add("deep", checkpoint, block=12)


def test_subcells_pooling_is_chosen_by_its_architecture(tiny: None, make_spec: Callable, tmp_path: Path) -> None:
    spec = make_spec(architecture="subcell_vit_base_patch16", slots=("nucleus", "protein"), pooling="gated_attention")
    network = vit.build(spec)
    vit.seed_weights(network, 5)
    torch.save(published.subcell(dict(network.state_dict()), dropout=True), tmp_path / "encoder.pth")
    added = add("sub", tmp_path / "encoder.pth", architecture=spec.architecture, slots=spec.slots)
    assert (added.pooling, added.embedding_dim) == ("gated_attention", 48)


@pytest.mark.parametrize("name", ["locatlas_pico.untrained", "taken"])
def test_a_taken_name_is_an_error(name: str, checkpoint: Path, home: Path) -> None:
    add("taken", checkpoint)
    before = sorted((p.name, p.stat().st_mtime_ns) for p in (home / "encoders").iterdir())
    with pytest.raises(InputError, match=f"encoder '{name}' exists already"):
        add(name, checkpoint)
    assert before == sorted((p.name, p.stat().st_mtime_ns) for p in (home / "encoders").iterdir())


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b", "x" * 200, "a\n"])
def test_a_name_that_could_leave_the_folder_is_refused(name: str, checkpoint: Path) -> None:
    with pytest.raises(InputError, match="letters, digits"):
        add(name, checkpoint)


@pytest.mark.parametrize(
    ("changes", "error", "reason"),
    [
        ({"slots": ["protein"]}, WeightsError, r"mine.pth: does not fit \(dino layout\): shapes differ: patch_embed"),
        ({"architecture": "cell_dino_vit_large_patch16"}, WeightsError, r"missing .*ls1.gamma.*unexpected blocks.10"),
        ({"architecture": "nonsense"}, UnknownNameError, "unknown architecture"),
        ({"mean": [0.5]}, InputError, "mean has 1 values for 4 slots"),
    ],
)
def test_a_wrong_file_or_description_is_refused_at_once_and_leaves_nothing(
    changes: dict, error: type, reason: str, checkpoint: Path, home: Path
) -> None:
    with pytest.raises(error, match=reason):
        add("wrong", checkpoint, **changes)
    assert not (home / "encoders").exists()


@pytest.mark.parametrize(
    ("text", "reason"),
    [("{", "not the description of an encoder"), ("{}", "lacks the fields"), (None, "the file must carry its name")],
)
def test_a_damaged_description_is_named(text: str | None, reason: str, checkpoint: Path, home: Path) -> None:
    add("mine", checkpoint)
    path = home / "encoders" / "mine.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "name": "other"}) if text is None else text)
    with pytest.raises(InputError, match=reason) as error:
        registry.get("mine")
    assert "mine" in str(error.value)


TRAINED = EncoderSpec(
    name="tiny.trained", architecture="locatlas_pico", slots=("nucleus", "protein"), input_px=32, embedding_dim=192,
    stains=("protein",), crop=CropPlan(size_px=30, blank=True), pooling="cls_spread", mapping="random", mapping_seed=5,
    parent="f" * 64,
)  # fmt: skip


def trained_tensors(seed: int = 0) -> dict[str, torch.Tensor]:
    network = vit.build(TRAINED)
    vit.seed_weights(network, seed)
    return dict(vit.weights_module(network).state_dict())


def manifest_of(name: str) -> TrainingManifest:
    return TrainingManifest(
        encoder=name, weights_sha256="", objective="dino", level="cell", group="protein", images=("x/1",)
    )


def test_an_encoder_that_was_trained_here_comes_back_with_exactly_its_plan(home: Path) -> None:
    spec = registry.register(TRAINED, trained_tensors(), manifest_of("other"))
    assert spec.embedding_dim == 384
    assert spec.weights_sha256 == sha256_file(home / "encoders" / "tiny.trained.safetensors")
    for found in (registry.get("tiny.trained"), resolve("tiny.trained"), resolve("tiny.trained", available=("er",))):
        assert found == spec
    assert load_encoder(spec, device="cpu").spec == spec
    known = registry.training("tiny.trained")
    assert known is not None
    assert (known.encoder, known.weights_sha256) == ("tiny.trained", spec.weights_sha256)
    assert [s.name for s in registry.list_encoders("tiny*")] == ["tiny.trained"]
    assert sorted(p.name for p in (home / "encoders").iterdir()) == [
        "tiny.trained.json", "tiny.trained.safetensors", "tiny.trained.training.json"
    ]  # fmt: skip
    # another plan may still be asked for
    assert resolve("tiny.trained", mapping="natural").stains == ()


def test_stains_of_separate_passes_are_kept_by_an_encoder_that_was_trained_on_them(home: Path) -> None:
    plan = TRAINED.with_changes(mapping="natural", mapping_seed=None, passes="separate", stains=("protein", "nucleus"))
    spec = registry.register(plan, trained_tensors(), manifest_of(""))
    assert resolve("tiny.trained", available=("nucleus", "protein", "er")) == spec


def test_registering_the_same_again_does_nothing_and_another_is_refused(home: Path) -> None:
    spec = registry.register(TRAINED, trained_tensors(), manifest_of(""))
    before = {p: p.read_bytes() for p in (home / "encoders").iterdir()}
    assert registry.register(TRAINED, trained_tensors(), manifest_of("")) == spec
    for other in ((TRAINED, trained_tensors(1)), (TRAINED.with_changes(views=4), trained_tensors())):
        with pytest.raises(InputError, match=r"'tiny\.trained' exists already and is another one"):
            registry.register(*other, manifest_of(""))
    shipped = TRAINED.with_changes(name="locatlas_pico.untrained")
    with pytest.raises(InputError, match="exists already"):
        registry.register(shipped, trained_tensors(), manifest_of(""))
    assert {p: p.read_bytes() for p in (home / "encoders").iterdir()} == before


def test_weights_that_do_not_fit_are_not_registered(home: Path) -> None:
    tensors = trained_tensors()
    del tensors["cls_token"]
    with pytest.raises(WeightsError, match="missing cls_token"):
        registry.register(TRAINED, tensors, manifest_of(""))
    with pytest.raises(UnknownNameError):
        registry.get("tiny.trained")


def test_the_record_of_a_training_is_no_encoder_and_damage_is_told(home: Path) -> None:
    registry.register(TRAINED, trained_tensors(), manifest_of(""))
    path = home / "encoders" / "tiny.trained.training.json"
    path.write_text("{}")
    with pytest.raises(InputError, match=r"tiny\.trained\.training\.json: training manifest lacks"):
        registry.training("tiny.trained")
    with pytest.raises(InputError, match=r"not ending in \.training"):
        registry.own_encoder_path("x.training")
    assert registry.training("locatlas_pico.untrained") is None


def test_all_networks_get_inputs_of_one_size_so_that_batches_need_no_sorting() -> None:
    for spec in registry.list_encoders():
        assert spec.input_px, spec.name
        assert spec.resize != "none_pad_to_patch", spec.name
