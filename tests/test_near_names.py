"""Near names, and how an unknown name is told."""

import difflib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locatlas.errors import UnknownNameError
from locatlas.near_names import near_names

IDS = [f"opencell/FID{field:08d}/{cell}" for field in range(2_500) for cell in range(40)]
IDS.sort()


@given(st.text(min_size=1, max_size=8), st.lists(st.text(max_size=8), max_size=40))
def test_of_few_names_they_are_those_of_difflib(name: str, known: list[str]) -> None:
    lower = sorted({one.casefold() for one in known})
    found = near_names(name.casefold(), lower)
    begun = sorted((one for one in lower if one.startswith(name.casefold())), key=len)[:3]
    best = difflib.get_close_matches(name.casefold(), lower, n=3, cutoff=0.6)
    assert found == list(dict.fromkeys([*begun, *best]))[:3]


@pytest.mark.parametrize(
    "slip",
    [
        "opencell/FID00001234/70",
        "FID00001234/7",
        "opnecell/FID00001234/7",
        "OPENCELL/FID00001234/7",
        "opencell/FlD00001234/7",
        "opencell/FID0001234/7",
    ],
)
def test_a_slip_in_an_id_among_many_is_found(slip: str) -> None:
    assert near_names(slip, IDS)[0] == "opencell/FID00001234/7"


def test_a_field_for_a_cell_names_its_cells() -> None:
    assert near_names("opencell/FID00001234", IDS) == [f"opencell/FID00001234/{n}" for n in range(3)]


def test_a_million_ids_take_little_time() -> None:
    many = sorted(f"d/{n:06d}/{cell}" for n in range(100_000) for cell in range(10))
    began = time.process_time()
    assert near_names("d/O12345/3", many)[0] == "d/012345/3"
    near_names("0" * 10_000, many)
    assert time.process_time() - began < 5  # half a second, on a machine that does nothing else


def test_few_names_are_listed_and_many_are_counted() -> None:
    assert str(UnknownNameError("level", "xyz", ["fov", "cell"])) == "unknown level 'xyz'; known: cell, fov"
    assert str(UnknownNameError("table", "Cell", ["fovs", "cells", "runs", "trainings"], hint="a hint")) == (
        "unknown table 'Cell' (a hint); did you mean 'cells'? known: cells, fovs, runs, trainings"
    )
    assert str(UnknownNameError("table", "t", [])) == "unknown table 't'; known: none"
    names = [f"G{n:03d}" for n in range(31)]
    assert str(UnknownNameError("protein", "g0300", names)) == (
        "unknown protein 'g0300'; did you mean 'G030', 'G000' or 'G023'? 31 are known"
    )
    assert str(UnknownNameError("protein", "xyz", names)) == (
        "unknown protein 'xyz'; 31 are known, e.g. 'G000', 'G001', 'G002'"
    )
    ids = str(UnknownNameError("cell id", "opencell/FID00001234/70", IDS))
    assert ids.startswith("unknown cell id 'opencell/FID00001234/70'; did you mean 'opencell/FID00001234/7', ")
    assert ids.endswith("? 100,000 are known")
    assert "\n" not in str(UnknownNameError("id", "a\nb", ["a\nc"]))
