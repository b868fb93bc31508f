"""Look-ups against brute force, with exclusions, filters and a stand-in for an approximate index."""

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from locatlas.errors import InputError, UnknownNameError
from locatlas.query.answers.localize import localize
from locatlas.query.answers.notes import unknown_proteins
from locatlas.query.asking.lookup import EXACT_ABOVE_K, FEW_QUERIES, Queries, look_up
from locatlas.query.asking.view import View
from locatlas.query.search.exact import search


@pytest.fixture
def view(rng: np.random.Generator) -> View:
    """24 cells of 8 FOVs of 4 proteins, two of them unlabelled; ids ascending."""
    n = 24
    meta = pa.table(
        {
            "id": [f"d/{i:02d}" for i in range(n)],
            "dataset": ["d"] * n,
            "protein": [f"P{i // 6}" for i in range(n)],
            "fov": [f"F{i // 3}" for i in range(n)],
            "plate": [f"plate {i % 3}" for i in range(n)],
            "batch": [None if i == 3 else "b" for i in range(n)],
            "localizations": pa.array(
                [[] if i in (5, 17) else [["er"], ["golgi"], ["er", "golgi"]][i % 3] for i in range(n)],
                pa.list_(pa.string()),
            ),
        }
    )
    return View("cell", meta, rng.normal(size=(n, 5)).astype(np.float32))


def brute(view: View, row: int, exclude: str, allowed: NDArray[np.bool_]) -> list[int]:
    unit = view.vectors.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    keys = {"none": [], "self": ["id"], "fov": ["id", "fov"]}.get(exclude, ["id", "fov", exclude])
    columns = [view.column(key) for key in keys]
    may = [i for i in range(len(view)) if allowed[i] and not any(c[i] == c[row] for c in columns)]
    return sorted(may, key=lambda i: (-float(unit[i] @ unit[row]), i))


class Half:
    """An index that proposes every second allowed row."""

    def candidates(self, query: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None) -> NDArray[np.int64]:
        rows = np.arange(0, 24, 2)
        return rows if allowed is None else rows[allowed[rows]]


@pytest.mark.parametrize("exclude", ["none", "self", "fov", "protein", "plate"])
@pytest.mark.parametrize("filtered", [False, True])
def test_neighbors_are_those_of_brute_force(view: View, exclude: str, filtered: bool, rng: np.random.Generator) -> None:
    allowed = rng.random(24) < 0.6 if filtered else np.ones(24, dtype=np.bool_)
    queries = Queries.from_rows(view, np.arange(24))
    found, exact = look_up(queries, view, k=7, exclude=exclude, allowed=allowed if filtered else None)
    assert exact
    for row in range(24):
        wanted = brute(view, row, exclude, allowed)[:7]
        assert found.indices[row].tolist() == wanted + [-1] * (7 - len(wanted))


def test_an_index_only_proposes_and_exclusions_reach_it(view: View) -> None:
    found, exact = look_up(Queries.from_rows(view, np.arange(24)), view, k=5, exclude="protein", index=Half())
    assert not exact
    even = np.arange(24) % 2 == 0
    for row in range(24):
        assert found.indices[row].tolist() == brute(view, row, "protein", even)[:5]


def test_many_neighbors_are_searched_exactly_even_with_an_index(view: View) -> None:
    """Recall is told of ten: of many more an index may find fewer without a word."""
    queries = Queries.from_rows(view, np.arange(24))
    for k, was_exact in ((EXACT_ABOVE_K, False), (EXACT_ABOVE_K + 1, True)):
        assert look_up(queries, view, k=k, exclude="none", index=Half())[1] == was_exact


@pytest.mark.parametrize("scale", [1.0, 1e-20])
@pytest.mark.parametrize("n_queries", [1, FEW_QUERIES, FEW_QUERIES + 1])
def test_among_few_rows_ties_and_zero_vectors_are_as_in_a_whole_search(
    rng: np.random.Generator, n_queries: int, scale: float
) -> None:
    """Equal vectors come in the order of rows, as in a search of all; similarities are float64 brute force's."""
    n, d = 2000, 6
    vectors = (rng.integers(-2, 3, size=(n, d)) * rng.integers(1, 4, size=(n, 1)) * scale).astype(np.float32)
    meta = pa.table(
        {
            "id": [f"{i:04d}" for i in range(n)],
            "fov": pa.nulls(n, pa.string()),
            "protein": [f"P{i % 50}" for i in range(n)],
            "localizations": pa.array([[]] * n, pa.list_(pa.string())),
        }
    )
    view, allowed = View("cell", meta, vectors), np.zeros(n, dtype=np.bool_)
    allowed[rng.choice(n, 90, replace=False)] = True
    asking = rng.choice(n, n_queries, replace=False)
    found, exact = look_up(
        Queries.from_rows(view, asking), view, k=12, exclude="protein", allowed=allowed, index=Half()
    )
    assert exact
    codes = np.array([i % 50 for i in range(n)])
    whole = search(vectors[asking], vectors, k=12, exclude=[(codes[asking], codes)], allowed=allowed)
    np.testing.assert_array_equal(found.indices, whole.indices)
    wide = vectors.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1)
    for place, row in enumerate(asking):
        may = allowed & (lengths > 0) & (codes != row % 50) & (lengths[row] > 0)
        cosines = np.sort(wide[may] @ wide[row] / (lengths[may] * lengths[row]))[::-1][:12]
        np.testing.assert_allclose(found.similarities[place][: len(cosines)], cosines, rtol=0, atol=1e-6)
        assert np.isnan(found.similarities[place][len(cosines) :]).all()


def test_a_selective_filter_is_searched_exactly_even_with_an_index(view: View) -> None:
    allowed = np.zeros(24, dtype=np.bool_)
    allowed[13] = True
    found, exact = look_up(
        Queries.from_rows(view, np.array([0])), view, k=1, exclude="self", allowed=allowed, index=Half()
    )
    assert exact
    assert found.indices.tolist() == [[13]]


@pytest.mark.parametrize("index", [None, Half()])
@pytest.mark.parametrize("n_allowed", [1, 24])
def test_nobody_asking_finds_nothing(view: View, index: Half | None, n_allowed: int) -> None:
    queries = Queries.from_rows(view, np.empty(0, dtype=np.int64))
    found, _ = look_up(queries, view, k=3, exclude="self", allowed=np.arange(24) < n_allowed, index=index)
    assert found.indices.shape == found.similarities.shape == (0, 3)


def test_an_unknown_exclusion_is_refused(view: View) -> None:
    with pytest.raises(UnknownNameError, match="unknown column 'antibody'"):
        look_up(Queries.from_rows(view, np.array([0])), view, k=1, exclude="antibody")


def test_a_column_that_is_unknown_for_the_query_is_refused(view: View) -> None:
    with pytest.raises(InputError, match="batch of d/03 is unknown, so its equals cannot be excluded"):
        look_up(Queries.from_rows(view, np.array([3])), view, k=1, exclude="batch")


@pytest.mark.parametrize("exclude", ["none", "self", "fov", "protein", "plate"])
@pytest.mark.parametrize("index", [None, Half()])
def test_a_query_made_of_several_rows_meets_nothing_that_any_of_them_may_not(
    view: View, exclude: str, index: Half | None
) -> None:
    rows = np.array([4, 6])
    mean = view.vectors[rows].mean(axis=0, keepdims=True)
    query = Queries(["both"], mean, [frozenset()], made_of=view.take(rows))
    found, _ = look_up(query, view, k=24, exclude=exclude, index=index)
    keys = {"none": [], "self": ["id"], "fov": ["id", "fov"]}.get(exclude, ["id", "fov", exclude])
    own = [{view.column(key)[row] for row in rows} for key in keys]
    may = {i for i in range(24) if not any(view.column(key)[i] in names for key, names in zip(keys, own, strict=True))}
    assert {i for i in found.indices[0] if i >= 0} == {i for i in may if index is None or i % 2 == 0}


def test_only_labelled_neighbors_vote_and_shares_are_fractions(view: View) -> None:
    items, _ = localize(Queries.from_rows(view, np.arange(24)), view, k=4, exclude="protein", weights="uniform")
    sets = view.localizations
    labelled = np.array([bool(s) for s in sets])
    for row, item in enumerate(items):
        voters = brute(view, row, "protein", labelled)[:4]
        assert item.neighbors == [view.ids[v] for v in voters]
        shares = {name: sum(name in sets[v] for v in voters) / 4 for name in ("er", "golgi")}
        assert dict(item.scores) == {name: share for name, share in shares.items() if share}
        assert {name for name, _ in item.predicted} >= {name for name, share in shares.items() if share >= 0.5}
        assert item.predicted


def test_classifying_refuses_more_voters_than_there_are(view: View) -> None:
    with pytest.raises(InputError, match="k = 23 is too large: there are 22 labelled cells to meet; --exclude self"):
        localize(Queries.from_rows(view, np.array([0])), view, k=23, exclude="self")


def test_classifying_without_labels_says_so(view: View) -> None:
    allowed = np.zeros(24, dtype=np.bool_)
    allowed[5] = True
    with pytest.raises(InputError, match="none of the images that may answer has a localization"):
        localize(Queries.from_rows(view, np.array([0])), view, k=1, exclude="self", allowed=allowed)


def test_an_index_is_not_offered_vectors_without_direction(view: View) -> None:
    """Codes do not tell: among unit vectors zero is as near as a cosine of a half."""
    view.vectors[[4, 8]] = 0
    offered = []

    class Watch(Half):
        def candidates(
            self, query: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None
        ) -> NDArray[np.int64]:
            offered.append(allowed)
            return super().candidates(query, k, allowed)

    found, _ = look_up(Queries.from_rows(view, np.array([0])), view, k=20, exclude="none", index=Watch())
    assert not offered[0][[4, 8]].any()
    assert not {4, 8} & set(found.indices[0].tolist())


def test_what_an_index_cannot_answer_is_refused_in_words(view: View) -> None:
    wrong = Queries(["q"], np.ones((1, 3), np.float32), [frozenset()])
    with pytest.raises(InputError, match="queries have 3 numbers a vector, references 5"):
        look_up(wrong, view, k=1, exclude="none", index=Half())
    with pytest.raises(InputError, match="k = 0"):
        look_up(Queries.from_rows(view, np.array([0])), view, k=0, exclude="none", index=Half())


@pytest.mark.parametrize(("row", "exclude", "told"), [(3, "protein", False), (3, "fov", False), (5, "protein", True)])
def test_a_query_whose_protein_is_unknown_is_told(view: View, row: int, exclude: str, told: bool) -> None:
    proteins = pa.array([None if i == 5 else f"P{i // 6}" for i in range(24)])
    unknown = View("cell", view.meta.set_column(2, "protein", proteins), view.vectors)
    notes = unknown_proteins(Queries.from_rows(unknown, np.array([row])), exclude)
    assert bool(notes) is told
    assert all("not known, so only itself and its field" in note for note in notes)
