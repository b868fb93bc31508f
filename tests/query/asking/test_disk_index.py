"""Questions to an atlas with an index on disk: the answers of the exact search, with exclusions and filters."""

import numpy as np
import pytest

from locatlas.indexer.importing.run import import_embeddings
from locatlas.indexer.indices.refresh import refresh
from locatlas.query.atlas import Atlas, open_atlas
from tests.quick import measure_few

measure_few()


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    """1,200 cells of 24 proteins on three plates, ten of them on a fourth."""
    folder = tmp_path_factory.mktemp("disk")
    rng = np.random.default_rng(2)
    vectors = np.repeat(rng.standard_normal((24, 16)), 50, axis=0) + 0.5 * rng.standard_normal((1200, 16))
    plate = np.array(["A", "B", "C", "few"])[rng.integers(0, 3, 1200)]
    plate[rng.choice(1200, 10, replace=False)] = "few"
    np.savez(
        folder / "v.npz",
        ids=[f"{i:04d}" for i in range(1200)],
        vectors=vectors.astype(np.float32),
        protein=[f"P{i // 50}" for i in range(1200)],
        plate=plate,
    )
    import_embeddings(folder / "v.npz", atlas=folder / "atlas", name="made", level="cell")
    said = refresh(folder / "atlas", "lance-ivfrq", levels=("cell",))["cell"]
    assert said.startswith("lance-ivfrq on disk over 1200 vectors, n_list 30")
    return open_atlas(folder / "atlas")


@pytest.mark.parametrize("where", [(), ("plate=A",), ("protein!=P3",)])
@pytest.mark.parametrize("exclude", ["self", "protein"])
def test_the_ten_nearest_by_the_index_are_those_of_the_exact_search(
    atlas: Atlas, where: tuple[str, ...], exclude: str
) -> None:
    same = 0
    for row in range(0, 1200, 40):
        asked = {"id": f"imported/{row:04d}", "level": "cell", "k": 10, "exclude": exclude, "where": where}
        exact, approximate = (atlas.neighbors(**asked, exact=exact) for exact in (True, False))
        same += len(set(exact["id"].to_pylist()) & set(approximate["id"].to_pylist()))
        assert approximate.num_rows == 10
        if exclude == "protein":
            assert f"P{row // 50}" not in approximate["protein"].to_pylist()
        shared = set(exact["id"].to_pylist()) & set(approximate["id"].to_pylist())
        of = [dict(zip(t["id"].to_pylist(), t["similarity"].to_pylist(), strict=True)) for t in (exact, approximate)]
        # of their own vectors in either case, in float32
        assert [of[0][i] for i in shared] == pytest.approx([of[1][i] for i in shared], abs=1e-6)
    assert same >= 0.98 * 300


def test_among_few_the_search_is_exact_and_says_so(atlas: Atlas) -> None:
    few = atlas.neighbors(id="imported/0007", level="cell", k=5, where=["plate=few"])
    assert few.num_rows == 5
    assert few.equals(atlas.neighbors(id="imported/0007", level="cell", k=5, where=["plate=few"], exact=True))
