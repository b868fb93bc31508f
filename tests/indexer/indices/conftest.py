"""A table of vectors for tests of its indices."""

import numpy as np
import pytest

from locatlas.indexer.store import encoders
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.tables import Store
from tests.indexer.indices.made import D, N, made, names, of_proteins, put
from tests.indexer.store.test_encoders import spec
from tests.quick import measure_few

measure_few()


@pytest.fixture
def encoder(empty: Store) -> StoredEncoder:
    """The current encoder of a table of 300 vectors."""
    one = StoredEncoder("fov", spec(embedding_dim=D), "current")
    encoders.put(empty, one)
    put(empty, one, names(N), made(N))
    return one


@pytest.fixture
def many(empty: Store) -> StoredEncoder:
    """The current encoder of a table of 3,000 vectors, 100 each of 30 proteins, committed in shuffled parts."""
    one = StoredEncoder("fov", spec(embedding_dim=24), "current")
    encoders.put(empty, one)
    vectors, order = of_proteins(), np.random.default_rng(1).permutation(3000)
    for part in np.array_split(order, 3):
        put(empty, one, [f"d/{i:05d}" for i in part], vectors[part])
    return one
