import re

import pytest

from locatlas.indexer.labels import get_vocabulary, map_labels
from locatlas.indexer.synthetic.classes import CLASSES, class_by_label
from locatlas.indexer.synthetic.patterns import PATTERNS
from locatlas.indexer.synthetic.proteins import make_proteins


def test_every_class_has_a_drawing_function_and_known_names() -> None:
    vocabulary = get_vocabulary("opencell")
    assert {entry.label for entry in CLASSES} == set(PATTERNS)
    for entry in CLASSES:
        assert vocabulary.canonical(entry.label) == entry.label
        assert entry.label not in entry.companions
        assert set(entry.companions) <= set(PATTERNS)


@pytest.mark.parametrize("entry", CLASSES, ids=lambda entry: entry.label)
def test_hpa_names_of_a_class_map_to_its_opencell_label(entry) -> None:
    for location in entry.hpa:
        assert get_vocabulary("hpa").canonical(location) == location
        assert map_labels([location], "hpa->opencell") == (entry.label,)


def test_light_is_shared_out_completely() -> None:
    for protein in make_proteins(CLASSES, 6, seed=4):
        assert sum(part.share for part in protein.components) == pytest.approx(1)
        assert all(part.share >= 0 for part in protein.components)


def test_grades_follow_the_place_in_the_class() -> None:
    proteins = make_proteins(CLASSES, 3, seed=4)
    n_double = 0
    for index, protein in enumerate(proteins):
        main = CLASSES[index // 3].label
        assert protein.graded(3)[0] == main
        further = protein.graded(2) + protein.graded(1)
        n_double += len(protein.graded(3)) == 2
        assert len(further) == (1 if index % 3 == 1 else 0)
        labels = protein.graded(3) + further
        assert len(labels) == len(set(labels))
    assert n_double == 5  # every third of 15 classes


def test_a_protein_does_not_depend_on_what_else_is_made() -> None:
    golgi = class_by_label("golgi")
    alone = make_proteins([golgi], 2, seed=1)
    among = [p for p in make_proteins(CLASSES, 5, seed=1) if p.graded(3)[0] == "golgi"]
    assert among[:2] == alone
    assert make_proteins([golgi], 2, seed=2) != alone


def test_names_are_unique_and_cannot_be_taken_for_real_ones() -> None:
    proteins = make_proteins(CLASSES, 99, seed=0)
    for name in ("gene", "ensembl_id", "cell_line_id", "antibody", "number"):
        assert len({getattr(protein, name) for protein in proteins}) == len(proteins)
    for protein in proteins:
        assert re.fullmatch(r"SYNX-\d{4}", protein.gene)
        assert re.fullmatch(r"ENSG99\d{9}", protein.ensembl_id)
        assert re.fullmatch(r"CID99\d{4}", protein.cell_line_id)


def test_hpa_locations_name_the_main_class_first() -> None:
    for protein in make_proteins(CLASSES, 3, seed=0):
        assert map_labels([protein.hpa_locations[0]], "hpa->opencell") == (protein.graded(3)[0],)
