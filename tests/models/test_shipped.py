"""The encoder that comes with locatlas: its file, and that it sees what others do not."""

import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from check_pico import encoded, made_fields, raw_pixels
from numpy.typing import NDArray

from locatlas.errors import WeightsError
from locatlas.indexer.synthetic import make_collection
from locatlas.models import registry, weights
from locatlas.models.encode import load_encoder

NAME = "locatlas_pico.synthetic"
FOLDER = Path(str(resources.files("locatlas.models"))).resolve() / "shipped"


def test_the_file_is_small_half_precision_and_that_of_the_registry() -> None:
    path = FOLDER / f"{NAME}.safetensors"
    assert path.stat().st_size <= 8_000_000
    assert {array.dtype for array in safetensors.numpy.load_file(path).values()} == {np.dtype(np.float16)}
    assert registry.get(NAME).weights_sha256 == weights.sha256_file(path)
    assert weights.locate(registry.get(NAME)) == path


def test_its_record_says_what_it_was_trained_on_and_how() -> None:
    record = json.loads((FOLDER / f"{NAME}.training.json").read_text())
    assert record["weights_sha256"] == registry.get(NAME).weights_sha256
    assert record["split_seed"] == 1001
    assert record["options"]["plan"]["steps"] >= 1
    assert record["versions"]["torch"]


def test_a_user_cannot_put_other_weights_in_its_place(home: Path) -> None:
    (home / "weights").mkdir(parents=True)
    (home / "weights" / f"{NAME}.safetensors").write_bytes(b"other")
    assert weights.locate(registry.get(NAME)).parent == FOLDER


def test_an_installation_without_the_file_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(weights, "_SHIPPED_FOLDER", tmp_path)
    with pytest.raises(WeightsError, match=rf"weights of {NAME} should have come with locatlas, as .*install it again"):
        load_encoder(registry.get(NAME))


def agreement(vectors: NDArray[np.float32], groups: list[str], labels: list[tuple[str, ...]]) -> float:
    """Mean over the classes of several groups of the share of images whose nearest of another group has their class."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    similar = unit @ unit.T
    similar[np.array(groups)[:, None] == np.array(groups)[None]] = -np.inf
    right = np.array([labels[i] == labels[j] for i, j in enumerate(similar.argmax(axis=1))])
    classes = [[i for i, one in enumerate(labels) if one == label] for label in sorted(set(labels))]
    several = [rows for rows in classes if len({groups[i] for i in rows}) > 1]
    assert len(several) >= 10
    return float(np.mean([right[rows].mean() for rows in several]))


@pytest.mark.parametrize(
    ("look", "proteins"),
    [
        ("opencell", 2),
        pytest.param("opencell", 3, marks=pytest.mark.slow),
        pytest.param("hpa", 3, marks=pytest.mark.slow),
    ],
)
def test_it_sees_localizations_that_untrained_and_raw_pixels_do_not(look: str, proteins: int, tmp_path: Path) -> None:
    """On made fields of a seed that no training has seen, one of each protein; `proteins` are those of a class."""
    in_hpa = proteins if look == "hpa" else 0
    make_collection(
        tmp_path,
        seed=2003,
        proteins_per_class=proteins,
        fovs_per_protein=1,
        hpa_proteins_per_class=in_hpa,
        workers=1,  # others would import first
    )
    _, groups, labels, images = made_fields(tmp_path, look)
    trained, untrained = (encoded(name, images, ("protein",)) for name in (NAME, "seed:0"))
    found = {
        name: agreement(vectors, groups, labels)
        for name, vectors in (("trained", trained), ("untrained", untrained), ("pixels", raw_pixels(images)))
    }
    assert found["trained"] > max(found["untrained"], found["pixels"]) + 0.2, found
