"""What an atlas says of rows arrives whole: all genes of an antibody, grades under the words of the labels."""

from pathlib import Path
from typing import Any

import pytest

from locatlas.errors import InputError
from locatlas.indexer.store import encoders
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.rows import image_rows
from locatlas.indexer.store.tables import Store
from locatlas.query.asking.scope import Scope
from locatlas.query.asking.shelf import Shelf
from locatlas.query.benchmark.arena import Arena
from locatlas.query.benchmark.entries import meant_by
from locatlas.query.benchmark.expand import Meant
from locatlas.query.benchmark.grid import EncoderEntry, Grid
from tests.query.made_atlas import encoder, made_vectors, make_atlas, row


def described(folder: Path, **said: Any) -> Store:
    """An atlas of three fields, of which the first is described in a way of its own."""
    rows = [row(f"d/{i}", protein=f"P{i}", localizations=["er"]) for i in range(3)]
    store = Store.create(folder)
    with store.folder.writer("a test"):
        store.upsert("fovs", image_rows([rows[0] | said, *rows[1:]], "fov"))
        stored = StoredEncoder("fov", encoder(), "current")
        vectors = made_vectors(rows, seed=1)
        store.put_embeddings("fov", stored.fingerprint, [r["id"] for r in rows], ["x"] * 3, vectors)
        encoders.put(store, stored)
    return store


def test_an_antibody_of_several_genes_has_all_of_them(tmp_path: Path) -> None:
    names = [{"name": "gene_names", "value": "AAA;BBB"}, {"name": "ensembl_ids", "value": "ENSG1,ENSG2"}]
    store = described(tmp_path / "a", protein="AAA", ensembl_id="ENSG1", metadata=names)
    arena = Arena.of(Shelf(store), Scope(level="fov"))
    assert arena.proteins == [frozenset({"AAA", "BBB"}), frozenset({"P1"}), frozenset({"P2"})]
    assert arena.ensembl_ids == [frozenset({"ENSG1", "ENSG2"}), frozenset(), frozenset()]


def test_grades_follow_their_labels_into_another_vocabulary_the_highest_of_those_that_become_one(
    tmp_path: Path,
) -> None:
    grades = {"Endosomes": 1, "Lysosomes": 2, "Nucleoplasm": 3, "er": 2, "Microtubule ends": 3}
    graded = [{"localization": name, "grade": grade} for name, grade in grades.items()]
    store = described(tmp_path / "a", localizations=["Nucleoplasm"], graded=graded)
    plain, mapped = (Arena.of(Shelf(store), Scope(level="fov", map_labels=m)) for m in (None, "hpa:opencell"))
    assert plain.graded[0] == grades
    assert {"vesicles": 2, "nucleoplasm": 3, "er": 2}.items() <= mapped.graded[0].items()
    assert not mapped.graded[0].keys() & {"Endosomes", "Lysosomes", "Nucleoplasm", "Microtubule ends"}
    assert mapped.labels[0] == {"nucleoplasm"}
    assert mapped.digest != plain.digest


def test_the_current_encoder_is_another_one_at_another_level(tmp_path: Path) -> None:
    store = Store.open(make_atlas(tmp_path / "a"))
    other = encoder().with_changes(name="of cells", weights_sha256="imported:of cells")
    with store.folder.writer("a test"):
        encoders.switch_to(store, StoredEncoder("cell", other, "current"))
    grid = Grid(
        name="g", title="t", protocols=("protein-out",), levels=("fov", "cell", "protein"),
        encoders=(EncoderEntry(name="current"), EncoderEntry(name="made"), EncoderEntry(name="unknown")),
    )  # fmt: skip
    fields, cells = Meant("made", imported=True), Meant("of cells", imported=True)
    assert meant_by(store, grid) == {
        ("current", "fov"): fields, ("current", "cell"): cells, ("current", "protein"): fields,
        ("made", "fov"): fields, ("made", "cell"): fields, ("made", "protein"): fields,
    }  # fmt: skip


def test_a_level_without_a_current_encoder_is_named(tmp_path: Path) -> None:
    store = Store.open(make_atlas(tmp_path / "a", levels=("fov",)))
    grid = Grid(
        name="g",
        title="t",
        protocols=("protein-out",),
        levels=("fov", "cell"),
        encoders=(EncoderEntry(name="current"),),
    )
    with pytest.raises(InputError, match="no current encoder at level cell"):
        meant_by(store, grid)
