"""What labels the cells of a data set may be expected to have, and that a table's others are told and kept."""

import datetime as dt
from pathlib import Path

import pytest

from locatlas.indexer.annotation.cell_labels import usual_labels
from locatlas.indexer.annotation.said import GIVEN, Annotation
from locatlas.indexer.annotation.table import put_annotations, read_annotations
from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.index import index
from locatlas.indexer.store.tables import Store
from locatlas.models.crops import CropPlan
from tests.indexer.masked import write_masked


def test_they_are_those_of_the_vocabulary_or_in_use_but_never_what_a_table_said_before(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "a")
    assert "cytoskeleton" in usual_labels(store, "opencell", []).labels
    assert "Microtubules" in usual_labels(store, "hpa", []).labels
    assert usual_labels(store, "manifest", []).labels == ()
    said = [
        Annotation(image_id=f"x/{note}", level="cell", annotator="anna", localizations=(label,), source_digest="d",
                   at=dt.datetime(2026, 4, 10, tzinfo=dt.UTC), note=note)
        for note, label in ((GIVEN, "typo"), ("seen well", "golgi"))
    ]  # fmt: skip
    put_annotations(store, said)
    assert usual_labels(store, "manifest", []).labels == ("golgi",)


@pytest.mark.usefixtures("plain")
def test_a_typo_in_a_table_of_cells_is_told_at_every_index_and_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = write_masked(tmp_path / "source")
    manifest = (source / "manifest.csv").read_text().splitlines()
    (source / "manifest.csv").write_text("\n".join(line.rpartition(",")[0] for line in manifest) + "\n")
    table = tmp_path / "cells.csv"
    table.write_text("fov,cell,top,left,bottom,right,localizations,annotated_by\na,one,1,1,11,11,Nucleoplasn,anna\n")
    for _ in range(2):
        caplog.clear()
        request = EncoderRequest(crop=CropPlan(size_px=21))
        index(source, atlas=tmp_path / "atlas", dataset="manifest", request=request, level="cell", cells=table)
        told = [m for m in caplog.messages if "not among" in m]
        assert len(told) == 1
        assert "1 label of 1 cell not among the labels this atlas uses, kept as written, e.g. line 2" in told[0]
        assert told[0].endswith("did you mean 'nucleoplasm'?")
    assert [a.localizations for a in read_annotations(Store.open(tmp_path / "atlas"))] == [("Nucleoplasn",)]
