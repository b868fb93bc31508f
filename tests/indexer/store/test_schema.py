"""Names and schemas of tables."""

import numpy as np
import pyarrow as pa

from locatlas.indexer.store.schema import CELLS, FOVS, embedding_schema, embedding_table_name, image_schema, image_table
from locatlas.indexer.store.tables import Store


def test_the_tables_of_levels_and_encoders_have_fixed_names() -> None:
    assert (image_table("fov"), image_table("cell")) == ("fovs", "cells")
    assert image_schema("cell") == CELLS
    assert embedding_table_name("cell", "0123456789abcdef") == "emb_cell_0123456789ab"
    assert embedding_schema(7).field("vector").type == pa.list_(pa.float32(), 7)


def test_ids_are_required_in_every_table(empty: Store) -> None:
    empty.put_embeddings("fov", "f" * 64, ["a"], ["x"], np.ones((1, 2), np.float32))
    assert not empty._dataset("emb_fov_ffffffffffff").schema.field("id").nullable
    assert not FOVS.field("id").nullable
