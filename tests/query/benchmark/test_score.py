"""Cells against the sweep and the probe, which do the same one by one, and against brute force."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score
from sklearn.neighbors import KNeighborsClassifier

from locatlas.errors import InputError, LeakageError
from locatlas.models.training.fit_head import HeadPlan
from locatlas.query.benchmark.arena import Arena
from locatlas.query.benchmark.cell import Cell
from locatlas.query.benchmark.score import Skipped, score_cells
from locatlas.query.benchmark.scored import Scored
from locatlas.query.probe.heads import probe
from locatlas.query.sweep.every_k import sweep

PROTEINS, FOVS, CLASSES = 24, 4, 4


def made(seed: int = 0, **changes: Any) -> Arena:
    rng = np.random.default_rng(seed)
    proteins = [f"P{i:02}" for i in range(PROTEINS) for _ in range(FOVS)]
    n = len(proteins)
    of = np.repeat(np.arange(PROTEINS) % CLASSES, FOVS)
    centres = rng.normal(size=(CLASSES, 8))
    own = rng.normal(size=(PROTEINS, 8))[np.repeat(np.arange(PROTEINS), FOVS)]
    vectors = centres[of] + own + 0.7 * rng.normal(size=(n, 8))
    said: dict[str, Any] = {
        "level": "fov",
        "fingerprint": "f" * 64,
        "ids": [f"i{i:03}" for i in range(n)],
        "vectors": vectors.astype(np.float32),
        "labels": [frozenset({f"c{c}"}) for c in of],
        "groups": proteins,
        "fovs": [f"i{i:03}" for i in range(n)],
        "datasets": ["one"] * n,
        "proteins": [frozenset({name}) for name in proteins],
        "ensembl_ids": [frozenset[str]()] * n,
        "graded": [{}] * n,
        "seen": np.zeros(n, dtype=bool),
    }
    return Arena(**said | changes)


def cell(**said: Any) -> Cell:
    return Cell(**{
        "encoder": "e", "mapping": "natural", "mapping_seed": None, "passes": "joint", "level": "fov",
        "protocol": "protein-out", "k": 5, "votes": "uniform",
    } | said)  # fmt: skip


def scored(arena: Arena, *cells: Cell) -> list[Scored]:
    found = list(score_cells(arena, cells))
    assert all(isinstance(one, Scored) for one in found)
    return found  # type: ignore[return-value]


@pytest.mark.parametrize("votes", ["uniform", "distance", "softmax"])
def test_leaving_a_protein_out_is_the_sweep(votes: str) -> None:
    arena = made()
    ks = (1, 3, 10)
    found = {one.cell.k: one for one in scored(arena, *(cell(k=k, votes=votes) for k in ks))}
    expected = sweep(arena.vectors, arena.labels, arena.groups, arena.ids, ks=ks, weights=votes, n_bootstrap=0)
    for result in expected.results:
        mine = found[result.k]
        assert (mine.macro_f1, mine.micro_f1) == (result.macro_f1, result.micro_f1)
        assert (mine.accuracy, mine.balanced_accuracy) == (result.accuracy, result.balanced_accuracy)
        assert np.array_equal(mine.confusion, result.confusion)
        assert mine.n_references == len(arena) - FOVS


@pytest.mark.parametrize("labels", ["single", "multi"])
def test_folds_by_protein_are_the_sweep(labels: str) -> None:
    names = [frozenset({*row, "c0"}) if i % 3 == 0 else row for i, row in enumerate(made().labels)]
    arena = made(labels=names)
    mine = scored(arena, cell(protocol="protein-kfold", k=7, seed=3, labels=labels))[0]
    one = sweep(
        arena.vectors,
        names,
        arena.groups,
        arena.ids,
        ks=[7],
        protocol="kfold",
        seed=3,
        labels_mode=labels,
        n_bootstrap=0,
    ).results[0]
    assert (mine.macro_f1, mine.accuracy) == (one.macro_f1, one.accuracy)
    assert np.array_equal(mine.pooled.tp, one.counts.tp)


@pytest.mark.parametrize("fraction", [0.4, pytest.param(1.0, marks=pytest.mark.slow)])
def test_a_head_is_the_probe(fraction: float) -> None:
    arena = made()
    mine = scored(
        arena, cell(protocol="protein-kfold", classifier="linear", k=None, votes=None, fraction=fraction, seed=1)
    )
    expected = probe(
        arena.vectors,
        arena.labels,
        arena.groups,
        arena.ids,
        plan=HeadPlan(),
        fractions=[fraction],
        seeds=[1],
        n_bootstrap=0,
    )
    assert mine[0].macro_f1 == expected.points[0].scores["macro_f1"].seeds[0]
    assert mine[0].accuracy == expected.points[0].scores["accuracy"].seeds[0]


def test_folds_by_field_let_a_protein_vote_on_itself() -> None:
    """That is why scores are higher: every field has three others of its protein among its references."""
    arena = made()
    apart, split = scored(arena, cell(protocol="protein-kfold", k=1), cell(protocol="fov-kfold", k=1))
    assert split.macro_f1 > apart.macro_f1 + 0.1
    assert split.groups == apart.groups  # intervals draw proteins under both


def test_leaving_plates_out_lets_a_protein_vote_on_itself_from_other_plates() -> None:
    """The group is the only thing that is kept apart (docs/protocols.md)."""
    plates = [f"plate{i % 2}" for i in range(PROTEINS * FOVS)]
    by_plate, by_protein = (scored(arena, cell(k=1))[0] for arena in (made(groups=plates, group="plate"), made()))
    assert by_plate.groups == ("plate0", "plate1")
    assert by_plate.macro_f1 > by_protein.macro_f1 + 0.1


def test_held_out_proteins_are_classified_by_the_fraction_alone() -> None:
    arena = made()
    mine = scored(arena, cell(protocol="protein-holdout", k=3, fraction=0.5, seed=2))[0]
    held = set(mine.groups)
    from locatlas.indexer.training.rows import TrainingRows, split

    rows = TrainingRows(
        level="fov", ids=arena.ids, datasets=arena.datasets, labels=arena.labels, columns={"protein": arena.groups}
    )
    parts = split(rows, group="protein", labels="single", share=0.2, fraction=0.5, validation=0.2, seed=2)
    assert held == set(parts.held_out)
    train = np.isin(arena.ids, [*parts.train, *parts.validation])
    test = np.isin(arena.groups, list(held))
    unit = arena.vectors / np.linalg.norm(arena.vectors, axis=1, keepdims=True)
    target = np.array([next(iter(names)) for names in arena.labels])
    oracle = KNeighborsClassifier(1, metric="cosine").fit(unit[train], target[train])
    one = scored(arena, cell(protocol="protein-holdout", k=1, fraction=0.5, seed=2))[0]
    assert one.macro_f1 == pytest.approx(f1_score(target[test], oracle.predict(unit[test]), average="macro"))
    assert one.n_references == train.sum()


def two_sets() -> Arena:
    arena = made()
    datasets = ["hpa" if i < 60 else "opencell" for i in range(len(arena))]
    names = list(arena.groups)
    names[60:64] = ["P00"] * 4  # a protein of both
    return made(datasets=datasets, proteins=[frozenset({name}) for name in names], groups=names)


@pytest.mark.parametrize(("overlap", "n"), [("remove", 56), ("keep", 60)])
def test_transfer_tells_proteins_of_both_sets(overlap: str, n: int) -> None:
    settings = (("overlap", overlap), ("query", "opencell"), ("reference", "hpa"))
    mine = scored(two_sets(), cell(protocol="transfer", k=3, settings=settings))[0]
    assert mine.n_references == n
    assert mine.n == 36
    assert any("1 proteins of hpa are also in opencell" in note for note in mine.notes)


def test_transfer_removes_an_antibody_of_several_genes_by_any_of_them() -> None:
    arena = two_sets()
    names, codes = list(arena.proteins), list(arena.ensembl_ids)
    names[4:8] = [frozenset({"P01", "P20"})] * 4  # its second gene is one that is scored
    codes[8:12] = [frozenset({"ENSG1", "ENSG2"})] * 4
    codes[80:84] = [frozenset({"ENSG2", "ENSG3"})] * 4
    settings = (("query", "opencell"), ("reference", "hpa"))
    shared = made(datasets=arena.datasets, groups=arena.groups, proteins=names, ensembl_ids=codes)
    mine = scored(shared, cell(protocol="transfer", k=3, settings=settings))[0]
    assert mine.n_references == 60 - 3 * 4
    assert any("3 proteins of hpa are also in opencell" in note for note in mine.notes)


def test_transfer_without_the_data_set_names_those_there_are() -> None:
    settings = (("query", "opencell"), ("reference", "hpa2"))
    with pytest.raises(InputError, match="there are: hpa, opencell"):
        list(score_cells(two_sets(), [cell(protocol="transfer", settings=settings)]))


def test_classes_of_few_proteins_are_left_out_and_counted() -> None:
    names = list(made().labels)
    names[:4] = [frozenset({"rare"})] * 4
    mine = scored(made(labels=names), cell(settings=(("min_groups", 2),)))[0]
    assert mine.classes == ("c0", "c1", "c2", "c3")
    assert mine.left_out["class of fewer than 2 groups"] == 4


def test_an_atlas_without_a_class_of_so_many_proteins_is_told_how_many_the_largest_has() -> None:
    most = max(
        len({g for names, g in zip(made().labels, made().groups, strict=True) if c in names}) for c in ("c0", "c1")
    )
    with pytest.raises(InputError, match=rf"no class has 99 groups \(protein\), the largest has {most}; min_groups"):
        list(score_cells(made(), [cell(settings=(("min_groups", 99),))]))


def test_lower_grades_vote_with_their_weight() -> None:
    vectors = np.array([[1, 0], [1, 0.01], [1, 0.02]], dtype=np.float32)
    arena = made(
        ids=["a", "b", "c"], vectors=vectors, groups=["a", "b", "c"],
        labels=[frozenset("x"), frozenset("y"), frozenset("x")],
        fovs=["a", "b", "c"], datasets=["one"] * 3, proteins=[frozenset("a")] * 3, ensembl_ids=[frozenset[str]()] * 3,
        graded=[{"x": 3}, {"y": 3, "x": 2}, {"x": 3}], seen=np.zeros(3, dtype=bool),
    )  # fmt: skip
    plain = cell(k=1, labels="multi")
    weighted = cell(k=1, labels="multi", settings=(("grade_weights", "1,0.5,0.25"),))
    # a and c have b as their nearest, which is y, and x with half a voice: 0.5 reaches the threshold
    assert scored(arena, plain)[0].pooled.tp.tolist() == [0, 0]
    assert scored(arena, weighted)[0].pooled.tp.tolist() == [2, 0]


def test_what_the_encoder_was_trained_on_is_refused() -> None:
    seen = np.zeros(PROTEINS * FOVS, dtype=bool)
    seen[:4] = True
    with pytest.raises(
        LeakageError, match=r"e was trained on 1 groups \(protein\) that protein-out would score, 4 of 96"
    ):
        list(score_cells(made(seen=seen), [cell()]))
    assert scored(made(seen=seen), cell(settings=(("allow_training_groups", True),)))


def test_a_k_beyond_the_references_is_skipped_with_the_reason() -> None:
    found = list(score_cells(made(), [cell(k=5), cell(k=93)]))
    skipped = [one for one in found if isinstance(one, Skipped)]
    assert [one.reason for one in skipped] == ["k = 93: some query has only 92 references"]
    assert len(found) == 2


def test_what_exceeds_the_references_is_known_without_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    from locatlas.query.benchmark import score

    def refused(*_: Any, **__: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr(score, "_search", refused)
    cells = [cell(k=93), cell(k=200, votes="softmax"), cell(protocol="protein-kfold", k=90)]
    assert all(isinstance(one, Skipped) for one in score_cells(made(), cells))


def test_one_search_serves_all_cells_of_a_split(monkeypatch: pytest.MonkeyPatch) -> None:
    from locatlas.query.benchmark import score

    searches: list[int] = []

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **how: Any) -> Any:
            searches.append(how["k"])
            return function(*args, **how)

        return call

    monkeypatch.setattr(score, "search_within", counted(score.search_within))
    cells = [cell(k=k, votes=v) for k in (1, 5, 20) for v in ("uniform", "distance", "softmax")]
    cells += [cell(k=5, protocol="protein-kfold", seed=s) for s in (0, 1)]
    assert len(scored(made(), *cells)) == 11
    assert searches == [20, 5, 5]


def test_the_digest_is_of_the_rows_and_not_of_their_order() -> None:
    arena = made()
    turned = {
        name: list(reversed(getattr(arena, name)))
        for name in ("ids", "labels", "groups", "fovs", "datasets", "proteins", "ensembl_ids", "graded")
    }
    again = made(**turned, vectors=arena.vectors[::-1].copy(), seen=arena.seen[::-1])
    assert again.digest == arena.digest
    assert made(labels=[frozenset({"c0"})] * len(arena)).digest != arena.digest
    nudged = arena.vectors.copy()
    nudged[5, 3] = np.nextafter(nudged[5, 3], np.float32(9))
    assert made(vectors=nudged).digest != arena.digest
    assert made(groups=[*arena.groups[1:], arena.groups[0]]).digest != arena.digest
    first, second = (scored(one, cell(k=3))[0] for one in (arena, again))
    assert first.macro_f1 == second.macro_f1


def test_confidence_of_a_vote_is_its_share() -> None:
    mine = scored(made(), cell(k=4))[0]
    assert mine.confidence is not None
    assert mine.confidence[0].sum() == mine.n
    assert mine.confidence[2].sum() == mine.n_right.sum()
    # shares of four votes are quarters
    assert set(np.flatnonzero(mine.confidence[0])) <= {int(15 * share) for share in (0.25, 0.5, 0.75)} | {14}
