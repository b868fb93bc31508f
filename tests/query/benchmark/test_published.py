"""Numbers and orderings of others: as they were printed, shown where they fit, beside the right differences."""

import pytest

from locatlas.errors import UnknownNameError
from locatlas.models import registry
from locatlas.query.benchmark.orderings import see_orderings
from locatlas.query.benchmark.paired import compare_all
from locatlas.query.benchmark.published import list_orderings, list_published, published
from tests.query.benchmark.made_scores import HPA, PHOTOS, scored

CELLS = "vit_base_patch16.hpa_cell_dino4cells"


@pytest.mark.parametrize(
    ("name", "printed", "paper"),
    [
        ("frozen-hpa-fov", "0.822 ± 0.007", "2604.10970"),
        ("finetuned-hpa-fov", "0.860 ± 0.013", "2604.10970"),
        ("single-cell-hpa", "≥ 0.796", "2604.10970"),
        ("mapping-hpa-fov", "0.8221 ± 0.0062", "2602.05527"),
        ("opencell-dino", "0.8057 ± 0.0090", "2602.05527"),
    ],
)
def test_numbers_are_those_of_the_abstracts_in_their_digits(name: str, printed: str, paper: str) -> None:
    one = published(name)
    assert one.number == printed
    assert f"arXiv:{paper}, abstract" in one.source
    assert one.evidence == "abstract"
    assert one.condition.startswith("OpenCell")


def test_what_third_parties_say_is_not_passed_off_as_the_papers() -> None:
    for one in list_orderings():
        assert one.evidence in ("abstract", "summary")
        assert (one.evidence == "summary") == ("arxivlens" in one.source)
        assert "not known" in one.condition or one.where


def test_encoders_of_orderings_exist() -> None:
    known = {spec.name for spec in registry.list_encoders()}
    named = {side["encoder"] for one in list_orderings() for side in (one.better, one.worse) if "encoder" in side}
    assert named
    assert named <= known


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(UnknownNameError, match="frozen-hpa-fov"):
        published("x")


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ({"level": "cell"}, {"single-cell-hpa"}),
        ({"level": "cell", "classifier": "linear"}, set()),
        ({"level": "fov"}, set()),
        ({"level": "fov", "classifier": "wide"},
         {"frozen-hpa-fov", "finetuned-hpa-fov", "mapping-hpa-fov", "opencell-dino"}),
        ({"level": "protein", "classifier": "linear"}, set()),
    ],
)  # fmt: skip
def test_a_number_stands_beside_its_own_kind_only(said: dict[str, str], names: set[str]) -> None:
    cell = scored(0.5, **said).cell
    assert {one.name for one in list_published() if one.fits(cell)} == names


@pytest.mark.parametrize("better", [True, False])
@pytest.mark.parametrize(
    ("name", "first", "second", "side"),
    [  # comparisons stand in the order of names: frozen before fine-tuned, natural before replicate
        ("natural-over-replicate", {"mapping": "natural"}, {"mapping": "replicate"}, 1),
        ("finetuned-over-frozen", {"objective": "frozen"}, {"objective": "supervised"}, -1),
    ],
)
def test_an_ordering_is_seen_whichever_of_the_two_comes_first(
    name: str, first: dict[str, str], second: dict[str, str], side: int, *, better: bool
) -> None:
    good, bad = scored(0.95, n_groups=40, **first), scored(0.4, n_groups=40, **second)
    if (side > 0) != better:
        good, bad = scored(0.4, n_groups=40, **first), scored(0.95, n_groups=40, **second)
    (pair,) = compare_all([good, bad], n_replicates=50, n_permutations=200).pairs
    (seen,) = see_orderings([pair], [good, bad])
    assert seen.ordering.name == name
    assert (seen.better, seen.worse) == ((pair.first, pair.second) if side > 0 else (pair.second, pair.first))
    assert (seen.difference > 0) == better
    assert seen.verdict == ("as published" if better else "the opposite")
    low, high = seen.ci95 or (0, 0)
    assert low <= seen.difference <= high
    assert (low > 0, high < 0) == (better, not better)


def test_what_a_test_does_not_tell_apart_is_told_so() -> None:
    cells = [scored(0.5), scored(0.5, mapping="random", mapping_seed=0)]
    (seen,) = see_orderings(compare_all(cells, n_replicates=20, n_permutations=100).pairs, cells)
    assert seen.verdict == "not told apart"


def test_orderings_are_about_plans_that_differ_in_nothing_else() -> None:
    cells = [
        scored(0.9, passes="joint"), scored(0.5, mapping="replicate", passes="separate"),
        scored(0.6, mapping="random", mapping_seed=0, passes="joint", stains=("protein",)),
    ]  # fmt: skip
    assert see_orderings(compare_all(cells, n_replicates=20, n_permutations=100).pairs, cells) == []


def test_encoders_are_compared_whatever_their_plans_at_the_level_of_the_statement() -> None:
    def seen(level: str) -> list[tuple[str, str]]:
        cells = [
            scored(0.9, encoder=CELLS, level=level), scored(0.7, encoder=HPA, level=level),
            scored(0.5, encoder=PHOTOS, level=level, mapping="replicate", passes="separate"),
        ]  # fmt: skip
        found = see_orderings(compare_all(cells, n_replicates=20, n_permutations=100).pairs, cells)
        return [(one.ordering.name, one.worse.split(",")[0]) for one in found]

    assert seen("fov") == [("hpa-fov-over-imagenet", PHOTOS)]
    assert sorted(seen("cell")) == [("hpa-cell-over-others", HPA), ("hpa-cell-over-others", PHOTOS)]
