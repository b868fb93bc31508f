"""Sweeps whose cells are put together to fields and proteins, against scikit-learn on the cells' own votes."""

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from locatlas.errors import InputError
from locatlas.query.answers.aggregate import aggregate
from locatlas.query.answers.vote import predict_single, vote
from locatlas.query.scores.protocols import hashed_order
from locatlas.query.search.exact import search
from locatlas.query.search.exclude import encode_names
from locatlas.query.sweep.every_k import SweepResult, sweep

KS = [1, 4, 9]


@pytest.fixture
def made(rng: np.random.Generator) -> dict[str, Any]:
    """20 proteins of 4 classes with 3 fields of 4 cells each; classes overlap."""
    protein = np.repeat(np.arange(20), 12)
    centres, spread = rng.normal(size=(4, 6)), 0.7 * rng.normal(size=(20, 6))
    vectors = centres[protein % 4] + spread[protein] + 1.1 * rng.normal(size=(240, 6))
    return {
        "vectors": vectors.astype(np.float32),
        "labels": [{f"c{p % 4}"} for p in protein],
        "groups": [f"p{p}" for p in protein],
        "ids": [f"cell{i:03d}" for i in range(240)],
        "fovs": [f"f{i // 4}" for i in range(240)],
    }


def arguments(made: dict[str, Any]) -> dict[str, Any]:
    return {name: made[name] for name in ("vectors", "labels", "groups", "ids")}


def by_hand(made: dict[str, Any], units: list[str], k: int, how: Any) -> dict[str, str]:
    """Each unit's class: cells classified one by one outside of their group, then put together."""
    order = hashed_order(made["ids"])
    vectors = made["vectors"][order]
    names = [next(iter(made["labels"][i])) for i in order]
    table = np.array([[name == f"c{c}" for c in range(4)] for name in names])
    codes = encode_names([made["groups"][i] for i in order])[0]
    near = search(vectors, vectors, k=k, exclude=[(codes, codes)])
    scores = vote(near, table, k=k)
    mine = [units[i] for i in order]
    found = sorted(set(mine))
    of_row = np.array([found.index(name) for name in mine])
    tops = predict_single(scores, near, table, k=k)
    together = aggregate(scores, tops, of_row, n_units=len(found), how=how)
    return {name: f"c{c}" for name, c in zip(found, together.top, strict=True)}


def predicted(result: SweepResult, step: int) -> dict[str, str]:
    chosen = result.results[step].predicted
    assert chosen is not None
    return {name: result.classes[c] for name, c in zip(result.ids, chosen, strict=True)}


@pytest.mark.parametrize("by", ["fov", "protein"])
@pytest.mark.parametrize("how", ["mean", "majority", "top"])
def test_scores_of_units_are_those_of_scikit_learn(made: dict[str, Any], by: str, how: Any) -> None:
    units = made["fovs"] if by == "fov" else made["groups"]
    result = sweep(**arguments(made), ks=KS, units=units, by=by, how=how, keep_predictions=True)
    assert (result.n, result.n_rows, result.n_groups) == (60 if by == "fov" else 20, 240, 20)
    targets = {unit: next(iter(names)) for unit, names in zip(units, made["labels"], strict=True)}
    for step, k in enumerate(KS):
        expected = by_hand(made, units, k, how)
        assert predicted(result, step) == expected
        pairs = [(targets[unit], expected[unit]) for unit in sorted(targets)]
        found = result.results[step]
        assert found.macro_f1 == pytest.approx(f1_score(*zip(*pairs, strict=True), average="macro", zero_division=0))
        assert found.accuracy == pytest.approx(accuracy_score(*zip(*pairs, strict=True)))
        low, high = found.ci95["macro_f1"]
        assert low < high
    document = result.to_dict()
    assert (document["by"], document["settings"]["how"]) == (by, how)
    assert "units" in document["definitions"]


def test_one_cell_a_unit_is_the_sweep_of_the_cells(made: dict[str, Any]) -> None:
    cells = sweep(**arguments(made), ks=KS).to_dict()
    for how in ("mean", "majority", "top"):
        alone = sweep(**arguments(made), ks=KS, units=made["ids"], by="cell", how=how).to_dict()  # type: ignore[arg-type]
        assert [r["confusion"] for r in alone["results"]] == [r["confusion"] for r in cells["results"]]
        assert [r["macro_f1_ci95"] for r in alone["results"]] == [r["macro_f1_ci95"] for r in cells["results"]]


@pytest.mark.parametrize("protocol", ["leave-group-out", "kfold"])
def test_the_order_of_rows_does_not_matter(made: dict[str, Any], protocol: Any, rng: np.random.Generator) -> None:
    made["vectors"][::3] = made["vectors"][0]  # ties
    order = rng.permutation(240)
    mixed = {name: [made[name][i] for i in order] for name in ("labels", "groups", "ids", "fovs")}
    mixed["vectors"] = made["vectors"][order]
    options: dict[str, Any] = {"ks": KS, "protocol": protocol, "by": "fov", "how": "top"}
    one = sweep(**arguments(made), units=made["fovs"], **options)
    other = sweep(**arguments(mixed), units=mixed["fovs"], **options)
    assert one.to_dict() == other.to_dict()


def test_units_whose_cells_differ_in_label_are_left_out_but_their_cells_vote(made: dict[str, Any]) -> None:
    made["labels"][0] = {"c1"}  # its field f0 and protein p0 have c0 otherwise
    made["labels"][4], made["labels"][5] = set(), None  # of f1: the others agree
    made["fovs"][8] = None
    found = sweep(**arguments(made), ks=[3], units=made["fovs"], by="fov")
    assert found.left_out == {"unlabelled": 2, "no fov": 1, "fov whose cells have different labels": 1}
    assert (found.n, found.n_rows) == (59, 238)
    assert "f0" not in found.ids
    assert "f1" in found.ids
    made["labels"][16] = {"c1", "c2"}  # several labels: not evaluated itself, but its field has two label sets
    assert "f4" not in sweep(**arguments(made), ks=[3], units=made["fovs"], by="fov").ids


def test_a_unit_over_several_groups_joins_them_for_folds_and_bootstrap(made: dict[str, Any]) -> None:
    by_field = arguments(made) | {"groups": made["fovs"]}
    found = sweep(**by_field, ks=[1], units=made["groups"], by="protein")
    assert (found.n, found.n_groups) == (20, 20)
    folded = sweep(**by_field, ks=[1], units=made["groups"], by="protein", protocol="kfold", folds=4)
    assert len(folded.results[0].macro_f1_folds) == 4
    with pytest.raises(InputError, match="2 to 20 possible"):
        sweep(**by_field, ks=[1], units=made["groups"], by="protein", protocol="kfold", folds=21)


def test_multi_label_units_are_those_whose_cells_share_a_set(made: dict[str, Any]) -> None:
    made["labels"] = [names | ({"c9"} if int(group[1:]) % 3 == 0 else set()) for names, group in
                      zip(made["labels"], made["groups"], strict=True)]  # fmt: skip
    found = sweep(
        **arguments(made), ks=[7], units=made["groups"], by="protein", labels_mode="multi", keep_predictions=True
    )
    assert found.n == 20
    table = found.results[0].predicted
    assert table is not None
    sets = dict(zip(made["groups"], made["labels"], strict=True))
    targets = np.array([[c in sets[name] for c in found.classes] for name in found.ids])
    assert found.results[0].macro_f1 == pytest.approx(f1_score(targets, table, average="macro", zero_division=0))


def test_what_cannot_be_put_together_gets_one_line(made: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"1 units \(fov\) for 240 rows"):
        sweep(**arguments(made), ks=[1], units=["a"], by="fov")
    with pytest.raises(InputError, match="no fov to evaluate among 240 labelled rows: 240 no fov"):
        sweep(**arguments(made), ks=[1], units=[None] * 240, by="fov")
    with pytest.raises(InputError, match="1 plate whose cells have different labels"):
        sweep(**arguments(made), ks=[1], units=["one"] * 240, by="plate")
