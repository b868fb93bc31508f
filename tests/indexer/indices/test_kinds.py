"""Kinds of index: which a table calls for, and how thoroughly each may search."""

from itertools import pairwise

import pytest

from locatlas.indexer.indices.faiss_index import new_index
from locatlas.indexer.indices.kinds import AUTO_EXACT_BELOW, Kind, choose_kind, ladder
from tests.indexer.indices.made import FAISS_KINDS

pytestmark = pytest.mark.usefixtures("one_thread")


def test_small_tables_need_no_index_and_large_ones_are_compressed() -> None:
    assert choose_kind(AUTO_EXACT_BELOW - 1, 384, None) is None
    assert choose_kind(AUTO_EXACT_BELOW, 384, None) == "ivfpq"
    assert choose_kind(AUTO_EXACT_BELOW, 509, None) == "ivf", "a prime: one code of four bits for the whole vector"


def test_vectors_of_more_than_half_of_the_memory_are_searched_from_disk() -> None:
    n, memory = 1_000_000, 4 * 1_000_000 * 384 * 2
    assert choose_kind(n, 384, memory) == "ivfpq", "exactly half"
    assert choose_kind(n, 384, memory - 1) == "lance-ivfrq"
    assert choose_kind(n, 384, None) == "ivfpq", "where the memory is not known"
    assert choose_kind(n, 380, memory // 2) == "ivfpq", "codes of one bit a number fill whole bytes"
    assert choose_kind(AUTO_EXACT_BELOW - 1, 384, 1) is None


@pytest.mark.parametrize("kind", FAISS_KINDS)
def test_a_ladder_leads_from_quick_to_thorough_and_never_looks_at_more_lists_than_there_are(kind: Kind) -> None:
    _, params = new_index(kind, 10_000, 16)
    steps = list(ladder(kind, params))
    assert steps[0] == params
    assert all(one.keys() == params.keys() for one in steps)
    assert all(a[name] <= b[name] for a, b in pairwise(steps) for name in params)
    assert all(one.get("n_probe", 0) <= one.get("n_list", 0) for one in steps)
