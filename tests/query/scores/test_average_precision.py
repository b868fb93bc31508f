"""Mean average precision against scikit-learn's, and what is told where it cannot be had."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from locatlas.errors import InputError
from locatlas.query.atlas import open_atlas
from locatlas.query.scores import average_precision as module
from locatlas.query.scores.average_precision import MAX_IMAGES, mean_average_precision
from tests.query.made_atlas import make_atlas


@pytest.fixture
def made(rng: np.random.Generator) -> tuple[np.ndarray, list[str | None], list[str | None]]:
    """8 proteins of 5 images in 3 fields: of an image two or four others are of its protein and of other fields."""
    proteins = [f"P{p}" for p in range(8) for _ in range(5)]
    fovs = [f"P{p}/{f}" for p in range(8) for f in (0, 0, 1, 1, 2)]
    vectors = np.repeat(rng.normal(size=(8, 6)), 5, axis=0) + rng.normal(size=(40, 6))
    return vectors.astype(np.float32), list(proteins), list(fovs)


def oracle(vectors: np.ndarray, proteins: list[str | None], fovs: list[str | None]) -> dict[str, float]:
    """scikit-learn's average precision of each image, which has no ties here, and their mean by protein."""
    unit = vectors.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    of: dict[str, list[float]] = {}
    for i, name in enumerate(proteins):
        met = [
            j for j in range(len(proteins)) if proteins[j] != name or fovs[j] != fovs[i]
        ]  # neither itself nor its own field
        right = [proteins[j] == name for j in met]
        of.setdefault(str(name), []).append(average_precision_score(right, unit[met] @ unit[i]))
    return {name: float(np.mean(scores)) for name, scores in of.items()}


def test_it_is_the_mean_of_scikit_learns_average_precision_over_the_images(
    made: tuple[np.ndarray, list[str | None], list[str | None]],
) -> None:
    pytest.importorskip("copairs")
    found = mean_average_precision(*made, n_null=200)
    expected = oracle(*made)
    assert found.keys() == expected.keys()
    for name, one in found.items():
        assert one.map == pytest.approx(expected[name], abs=1e-6)
        assert 1 / 201 <= one.map_p <= one.map_p_fdr <= 1


def test_p_is_low_for_images_that_find_each_other_and_spread_out_for_noise(rng: np.random.Generator) -> None:
    pytest.importorskip("copairs")
    proteins = [f"P{i // 4:02d}" for i in range(160)]
    vectors = rng.normal(size=(160, 8)).astype(np.float32)
    vectors[:4] = vectors[0] + 0.01 * vectors[:4]
    found = mean_average_precision(vectors, list(proteins), [f"f{i}" for i in range(160)], n_null=500)
    assert (found["P00"].map, found["P00"].map_normalized) == pytest.approx((1, 1))
    assert found["P00"].map_p == pytest.approx(1 / 501)
    others = [one.map_p for name, one in found.items() if name != "P00"]
    assert sum(p < 0.05 for p in others) <= 6  # 2 of 39 expected; more than 6 has a chance of one in two hundred
    assert abs(np.mean([one.map_normalized for name, one in found.items() if name != "P00"])) < 0.05


def test_p_does_not_depend_on_runs_before_nor_leaves_anything_at_home(
    made: tuple[np.ndarray, list[str | None], list[str | None]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("copairs")
    monkeypatch.setenv("HOME", str(tmp_path))
    once = mean_average_precision(*made, n_null=200)
    vectors, proteins, fovs = made
    mean_average_precision(vectors[:30], proteins[:30], fovs[:30], n_null=200)
    assert mean_average_precision(*made, n_null=200) == once
    assert not list(tmp_path.iterdir())


def test_what_is_unknown_takes_no_part_and_without_pairs_there_is_nothing(
    made: tuple[np.ndarray, list[str | None], list[str | None]],
) -> None:
    pytest.importorskip("copairs")
    vectors, proteins, fovs = made
    expected = mean_average_precision(vectors[:35], proteins[:35], fovs[:35], n_null=50)
    proteins[35], fovs[36], vectors[37:] = None, None, 0
    assert mean_average_precision(vectors, proteins, fovs, n_null=50) == expected
    one_field_each = [str(name) for name in proteins]
    assert mean_average_precision(vectors[:35], proteins[:35], [*one_field_each][:35]) == {}
    assert mean_average_precision(vectors[:5], proteins[:5], fovs[:5]) == {}


def test_too_many_images_are_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "check_copairs", lambda: None)
    n = MAX_IMAGES + 1
    with pytest.raises(InputError, match=r"of 8001 images: .* at most 8000; --where takes a part"):
        mean_average_precision(np.ones((n, 1), np.float32), ["P"] * n, ["f"] * n)


def test_without_copairs_the_extra_is_named_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    atlas = open_atlas(make_atlas(tmp_path / "atlas"))
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"^mean average precision needs copairs: pip install 'locatlas\[copairs\]'$"):
        atlas.proteins(mean_average_precision=True)
    assert set(atlas.proteins()["map"].to_pylist()) == {None}


def test_proteins_of_an_atlas_have_it_beside_their_auc(tmp_path: Path) -> None:
    pytest.importorskip("copairs")
    table = open_atlas(make_atlas(tmp_path / "atlas")).proteins(of="fov", mean_average_precision=True).to_pylist()
    assert all(0 < row["map"] <= 1 and 0 < row["map_p"] <= row["map_p_fdr"] <= 1 for row in table)
    for one, other in itertools.combinations(table, 2):
        if one["auc"] == 1 > other["auc"]:
            assert one["map"] >= other["map"]
