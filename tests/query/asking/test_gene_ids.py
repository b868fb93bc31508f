"""A protein named by the Ensembl id of its gene."""

from typing import Any

import numpy as np
import pytest

from locatlas.errors import InputError, UnknownNameError
from locatlas.query.asking.gene_ids import by_symbol
from locatlas.query.asking.subjects import Subject
from locatlas.query.asking.view import View
from tests.query.asking.test_view import image, table


def gene(n: int) -> str:
    return f"ENSG{n:011d}"


def view_of(*rows: tuple[str | None, str | None]) -> View:
    made = [image(f"d/{i}", protein=protein, ensembl_id=ensembl) for i, (protein, ensembl) in enumerate(rows)]
    return View.build("fov", [row["id"] for row in made], np.eye(len(made), dtype=np.float32), table(made))


def settled(name: str, *views: View) -> Subject:
    return by_symbol(Subject(protein=name), views)


@pytest.mark.parametrize("stored", [gene(7), f"{gene(7)}.4"])
@pytest.mark.parametrize("given", [gene(7), f"{gene(7)}.12", gene(7).lower(), f" {gene(7)}"])
def test_an_id_is_its_protein_whatever_its_version_and_case(stored: str, given: str) -> None:
    found = settled(given, view_of(("A", stored), ("A", stored), ("B", gene(8)), ("C", None)))
    assert found == Subject(protein="A", ensembl_id=gene(7))
    assert found.said() == {"protein": "A", "ensembl_id": gene(7)}


def test_a_symbol_stays_even_if_it_looks_like_an_id_and_so_does_what_is_neither() -> None:
    here = view_of((gene(7), gene(8)), ("A", gene(7)))
    for name in ("A", gene(7), "NONE"):
        assert settled(name, here) == Subject(protein=name)
    assert by_symbol(everything := Subject(), [here]) is everything


def test_the_first_level_that_knows_the_name_is_taken_and_no_other_is_read() -> None:
    def views() -> Any:
        yield view_of(("A", gene(7)))
        message = "a second level was read"
        raise AssertionError(message)

    for name in ("A", gene(7)):
        assert by_symbol(Subject(protein=name), views()).protein == "A"
    assert settled(gene(9), view_of(("A", gene(7))), view_of(("Z", gene(9)))).protein == "Z"


@pytest.mark.parametrize(
    ("rows", "error", "said"),
    [
        ([("A", gene(7)), ("B", gene(7))], InputError, "is the Ensembl id of 2 proteins of this atlas, name .*: A, B$"),
        ([(None, gene(7))], InputError, "1 image with this id and none with a gene symbol, .*--id d/0"),
        ([("A", gene(1))], UnknownNameError, f"unknown Ensembl id '{gene(7)}'; known: {gene(1)}"),
        ([("A", None)], InputError, "no image of this atlas has an Ensembl id; name the protein by its gene symbol"),
    ],
    ids=("ambiguous", "no symbol", "unknown", "none at all"),
)
def test_an_id_that_names_not_one_protein_is_told_in_a_line(
    rows: list[tuple[str | None, str | None]], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        settled(gene(7), view_of(*rows))
