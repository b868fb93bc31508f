"""Vectors of other pixels than the images have now: stale if they were made here, not if they were imported."""

import pyarrow as pa
import pytest

from locatlas.indexer.verify.relations import compare_vectors


@pytest.mark.parametrize(("imported", "kinds"), [(False, ["stale vectors"]), (True, [])])
def test_imported_vectors_are_not_stale_by_pixels(*, imported: bool, kinds: list[str]) -> None:
    vectors = pa.table({"id": ["d/a", "d/b"], "source_digest": ["old", "same"]})
    images = pa.table({"id": ["d/a", "d/b"], "source_digest": ["new", "same"]})
    found = compare_vectors("emb_fov_x", vectors, images, imported=imported)
    assert [one.kind for one in found] == kinds
