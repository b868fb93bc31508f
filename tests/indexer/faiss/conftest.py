"""A table of vectors for tests of its indices."""

import pytest

from locatlas.indexer.store import encoders
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.tables import Store
from tests.indexer.faiss.test_index import D, N, made, names, put
from tests.indexer.store.test_encoders import spec


@pytest.fixture
def encoder(empty: Store) -> StoredEncoder:
    """The current encoder of a table of 300 vectors."""
    one = StoredEncoder("fov", spec(embedding_dim=D), "current")
    encoders.put(empty, one)
    put(empty, one, names(N), made(N))
    return one
