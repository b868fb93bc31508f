"""Similarity within and between proteins, against brute force in float64 and scikit-learn's ROC AUC."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from locatlas.errors import InputError
from locatlas.query.scores import cohesion as module
from locatlas.query.scores.cohesion import cohesion
from locatlas.query.scores.similarity import Similarity, Spread, in_words


def brute(
    vectors: NDArray[np.float32], proteins: list[str | None], fovs: list[str | None], of: str | None
) -> tuple[list[float], list[float]]:
    """Cosines of pairs within and between, by a loop over pairs of images."""
    wide = vectors.astype(np.float64)
    there = [i for i in range(len(wide)) if wide[i].any() and proteins[i]]
    within, between = [], []
    for i in there:
        for j in there:
            if of is not None and proteins[i] != of:
                continue
            cosine = round(float(wide[i] @ wide[j] / np.linalg.norm(wide[i]) / np.linalg.norm(wide[j])), 9)
            if proteins[i] != proteins[j]:
                between.append(cosine)
            elif i < j and fovs[i] and fovs[j] and fovs[i] != fovs[j]:
                within.append(cosine)
    return within, between


def check(found: Similarity, within: list[float], between: list[float]) -> None:
    assert (found.n_within, found.n_between) == (len(within), len(between))
    assert found.within == (pytest.approx(np.mean(within), abs=1e-8) if within else None)
    assert found.between == (pytest.approx(np.mean(between), abs=1e-8) if between else None)
    assert found.between_sd == (pytest.approx(np.std(between, ddof=1), abs=1e-8) if len(between) > 1 else None)
    if within and between:
        truth = roc_auc_score([1] * len(within) + [0] * len(between), within + between)
        assert found.auc == pytest.approx(truth, abs=1e-12)
    else:
        assert found.auc is None


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_number_equals_brute_force(data: st.DataObject) -> None:
    """Small whole numbers make many equal cosines, zero vectors and lone fields."""
    n = data.draw(st.integers(1, 14))
    numbers = st.lists(st.integers(-2, 2), min_size=3, max_size=3)
    vectors = np.array(data.draw(st.lists(numbers, min_size=n, max_size=n)), dtype=np.float32)
    proteins = data.draw(st.lists(st.sampled_from(["A", "B", "C", None]), min_size=n, max_size=n))
    fovs = data.draw(st.lists(st.sampled_from(["f", "g", "h", None]), min_size=n, max_size=n))
    found = cohesion(vectors, proteins, fovs)
    assert list(found.of) == sorted({p for p in proteins if p})
    for name, one in found.of.items():
        within, between = brute(vectors, proteins, fovs, name)
        check(one, within, between)
        check(cohesion(vectors, proteins, fovs, of=[name]).of[name], within, between)
    check(found.overall, *brute(vectors, proteins, fovs, None))


@pytest.fixture
def made(rng: np.random.Generator) -> dict[str, Any]:
    """90 images of 7 proteins in 30 fields and 3 plates, shuffled."""
    proteins = rng.integers(0, 7, 90)
    vectors = rng.normal(size=(7, 12))[proteins] + rng.normal(size=(90, 12))
    return {
        "vectors": vectors.astype(np.float32),
        "proteins": [f"p{p}" for p in proteins],
        "fovs": [f"f{i % 30}" for i in range(90)],
    }


def test_tiles_of_any_size_give_the_same(made: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = cohesion(**made)
    for name in whole.of:
        check(whole.of[name], *brute(made["vectors"], made["proteins"], made["fovs"], name))
    for block, tile in ((1, 1), (7, 11), (64, 5)):
        monkeypatch.setattr(module, "_BLOCK", block)
        monkeypatch.setattr(module, "_TILE", tile)
        tiled = cohesion(**made)
        for name, one in [*tiled.of.items(), ("all", tiled.overall)]:
            other = whole.overall if name == "all" else whole.of[name]
            assert one.auc == other.auc
            assert one.to_dict() == pytest.approx(other.to_dict(), abs=1e-12)


def test_above_the_limit_images_are_drawn_and_it_is_said(made: dict[str, Any]) -> None:
    whole = cohesion(**made)
    assert whole.notes() == []
    drawn = cohesion(**made, max_between=90 * 40)
    assert drawn.n_drawn == 40
    assert drawn.notes() == ["pairs between are with 40 images of all proteins, drawn at random (seed 0)"]
    assert drawn.overall.n_within == whole.overall.n_within
    assert 90 * 25 < drawn.overall.n_between < 90 * 40
    assert whole.overall.auc is not None
    assert drawn.overall.auc == pytest.approx(whole.overall.auc, abs=0.05)
    assert cohesion(**made, max_between=90 * 40) == drawn
    assert cohesion(**made, max_between=90 * 40, seed=1) != drawn
    few = cohesion(**made, max_within=70)
    assert few.n_own == 4  # 7 proteins, at most sqrt(2 x 70 / 7) images each
    assert few.notes() == ["of a protein at most 4 images are compared, drawn at random (seed 0)"]
    assert few.overall.n_within <= 7 * 6
    assert few.overall.n_images == 90


def test_plates_are_counted_in_pairs_of_both_kinds(made: dict[str, Any], rng: np.random.Generator) -> None:
    plates = [None if i % 10 == 0 else f"plate{p}" for i, p in enumerate(rng.integers(0, 3, 90))]
    found = cohesion(**made, plates=plates)
    proteins, fovs = made["proteins"], made["fovs"]
    for name, one in found.of.items():
        mine = [i for i in range(90) if proteins[i] == name]
        pairs = [(i, j) for i in mine for j in mine if i < j and fovs[i] != fovs[j]]
        cross = [(i, j) for i in mine for j in range(90) if proteins[j] != name]
        for share, among in ((one.same_plate_within, pairs), (one.same_plate_between, cross)):
            assert share == pytest.approx(np.mean([plates[i] is not None and plates[i] == plates[j] for i, j in among]))
    assert found.overall.same_plate_between == pytest.approx(
        np.average(
            [s.same_plate_between or 0 for s in found.of.values()], weights=[s.n_between for s in found.of.values()]
        )
    )
    assert cohesion(**made).overall.same_plate_within is None


def test_cells_of_one_field_and_of_unknown_fields_are_no_pairs_within() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1], [1, 1]], dtype=np.float32)
    found = cohesion(vectors, ["A", "A", "A", "B"], ["f", "f", None, "g"])
    assert found.of["A"].n_within == 0
    assert found.of["A"].auc is None
    assert found.n_unknown_fov == 1
    assert found.notes() == ["the field of 1 images is unknown: they are in no pair within"]


def test_an_auc_worked_by_hand() -> None:
    """Within A: 0.6; between, from A: 0.6, 1, 0.8, 0: it wins one, ties one of four."""
    vectors = np.array([[5, 0], [3, 4], [3, 4], [0, 5]], dtype=np.float32)
    found = cohesion(vectors, ["A", "A", "B", "C"], ["f", "g", "h", "i"]).of["A"]
    assert found.within == pytest.approx(0.6)
    assert found.between == pytest.approx((0.6 + 0 + 1 + 0.8) / 4)
    assert found.auc == (1 + 0.5) / 4


def test_spreads_add_up_to_those_of_all_numbers(rng: np.random.Generator) -> None:
    values = 0.99 + 1e-7 * rng.normal(size=1000)  # the sum of squares would lose these digits
    spread = Spread()
    for part in np.split(values, [0, 1, 400, 401]):
        spread.add(part)
    assert spread.n == 1000
    assert spread.mean == pytest.approx(values.mean(), abs=1e-15)
    assert spread.sd == pytest.approx(np.std(values, ddof=1), rel=1e-6)


def test_lengths_must_fit(made: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="89 fovs for 90 vectors"):
        cohesion(made["vectors"], made["proteins"], made["fovs"][:-1])


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            {"n_within": 12, "within": 0.834, "n_between": 99, "between": 0.61, "between_sd": 0.1, "auc": 0.971},
            "images of LMNB1 resemble each other 0.83 (12 pairs of other fields), other proteins' images 0.61 ± 0.10, "
            "AUC 0.97 (0.5: no more than others)",
        ),
        (
            {"n_between": 9, "between": 0.61, "between_sd": 0.1},
            "images of LMNB1 are of one field only, so how much they resemble each other cannot be told; "
            "other proteins' images 0.61 ± 0.10",
        ),
        (
            {"n_within": 1, "within": 0.5},
            "images of LMNB1 resemble each other 0.50 (1 pair of other fields); there are none of other proteins",
        ),
    ],
)
def test_one_line_says_whether_neighbors_mean_anything(found: dict[str, Any], said: str) -> None:
    empty = dict.fromkeys(("within", "between", "between_sd", "auc")) | {"n_images": 5, "n_within": 0, "n_between": 0}
    assert in_words("LMNB1", Similarity(**(empty | found)), "fov") == said


def test_the_line_tells_shared_plates() -> None:
    found = Similarity(n_images=5, n_within=4, within=0.5, n_between=9, between=0.1, between_sd=None, auc=0.9,
                       same_plate_within=1.0, same_plate_between=0.125)  # fmt: skip
    assert in_words("A", found, "cell").startswith("cells of A")
    assert in_words("A", found, "cell").endswith("; 100% of these pairs share a plate, 12% of those")
