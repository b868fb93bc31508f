"""Vocabularies have the published classes; labels are sets; the HPA to OpenCell map is the published one."""

import csv
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locatlas.errors import InputError, UnknownNameError
from locatlas.indexer.labels import (
    UnknownLabels,
    get_label_map,
    get_vocabulary,
    list_label_maps,
    list_vocabularies,
    map_labels,
    parse_labels,
)

SIZES = {"opencell": 17, "hpa": 35, "kaggle-2018": 28, "kaggle-2021": 19, "subcell": 31}


def test_the_vocabularies_have_the_published_sizes() -> None:
    assert {v.name: len(v.labels) for v in list_vocabularies()} == SIZES
    for vocabulary in list_vocabularies():
        assert len({label.casefold() for label in vocabulary.labels}) == len(vocabulary.labels)
        assert all(label in vocabulary.labels for _, label in vocabulary.aliases)
        assert vocabulary.source


@pytest.mark.parametrize(
    ("vocabulary", "number", "label"),
    [
        ("kaggle-2018", 0, "Nucleoplasm"),
        ("kaggle-2018", "16", "Cytokinetic bridge"),
        ("kaggle-2018", 25, "Cytosol"),
        ("kaggle-2018", 27, "Rods & Rings"),
        ("kaggle-2021", 16, "Cytosol"),
        ("kaggle-2021", 18, "Negative"),
        ("subcell", 17, "Mitochondria"),
        ("subcell", 30, "Negative"),
    ],
)
def test_class_numbers_are_places_in_the_list(vocabulary: str, number: int | str, label: str) -> None:
    assert get_vocabulary(vocabulary).by_number(number) == label


@pytest.mark.parametrize("number", [-1, 28, "x", "", "²", "1.5"])
def test_other_numbers_are_refused(number: int | str) -> None:
    with pytest.raises(InputError, match="0 to 27"):
        get_vocabulary("kaggle-2018").by_number(number)


def test_shared_classes_are_spelled_alike() -> None:
    hpa = get_vocabulary("hpa")
    only_elsewhere = {"Microtubule organizing center", "Vesicles and punctate cytosolic patterns", "Negative"}
    for name in ("kaggle-2018", "kaggle-2021", "subcell"):
        assert set(get_vocabulary(name).labels) - set(hpa.labels) <= only_elsewhere


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="opencell"):
        get_vocabulary("hap")
    with pytest.raises(UnknownNameError, match="hpa->opencell"):
        map_labels([], "opencell->hpa")


words = st.text(st.characters(codec="utf-8", exclude_characters=";", exclude_categories=["Cc", "Z"]), min_size=1)


@given(st.lists(words), st.randoms())
def test_joined_labels_are_a_set_whatever_their_order(labels: list[str], random) -> None:
    shuffled = labels + labels[:1]
    random.shuffle(shuffled)
    parsed = parse_labels(" ; ".join(shuffled) + ";")
    assert parsed == parse_labels(";".join(labels))
    assert list(parsed) == sorted(set(parsed))
    assert parse_labels(";".join(parsed)) == parsed


@given(st.sampled_from(sorted(SIZES)), st.data())
def test_letter_case_and_spaces_do_not_matter(name: str, data: st.DataObject) -> None:
    vocabulary = get_vocabulary(name)
    label = data.draw(st.sampled_from(vocabulary.labels))
    for spelling in (label.upper(), label.lower(), f"  {label.replace(' ', '   ')} "):
        assert vocabulary.canonical(spelling) == label


def test_an_unknown_label_is_kept_and_reported(caplog: pytest.LogCaptureFixture) -> None:
    vocabulary = get_vocabulary("opencell")
    unknown = UnknownLabels(vocabulary)
    assert vocabulary.label_set(["Golgi", "cilia", "golgi"], unknown) == ("cilia", "golgi")
    with caplog.at_level(logging.WARNING):
        unknown.log("table.csv")
    assert "table.csv" in caplog.text
    assert "'cilia' (1)" in caplog.text


def test_the_map_covers_its_vocabulary_and_reaches_only_the_target() -> None:
    (hpa_to_opencell,) = list_label_maps()
    pairs = dict(hpa_to_opencell.pairs)
    assert set(pairs) | set(hpa_to_opencell.unmapped) == set(get_vocabulary("hpa").labels)
    assert not set(pairs) & set(hpa_to_opencell.unmapped)
    assert set(pairs.values()) == set(get_vocabulary("opencell").labels)


def test_mapping_tells_what_fell_away() -> None:
    mapped = get_label_map("hpa->opencell").apply(
        ["ER", "Nuclear speckles", "Midbody", "Cilia", "vesicles", "Endosomes"]
    )
    assert mapped.labels == ("chromatin", "er", "vesicles")
    assert mapped.unmapped == ("Midbody",)
    assert mapped.unknown == ("Cilia",)


def test_the_map_is_the_published_file(shared_data: Path) -> None:
    with (shared_data / "opencell" / "tables" / "location_group_mapping.tsv").open(newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert len(rows) == 34
    for row in rows:
        expected = (row["Grouping OpenCell"],) if row["Grouping OpenCell"] else ()
        assert map_labels([row["Original annotation"]], "hpa->opencell") == expected


def test_hpas_vocabulary_is_what_its_table_holds(shared_data: Path) -> None:
    found: set[str] = set()
    with (shared_data / "opencell" / "tables" / "hpa_subcellular_location.tsv").open(newline="") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            found |= {*parse_labels(row["Main location"]), *parse_labels(row["Additional location"])}
    assert found == set(get_vocabulary("hpa").labels)
