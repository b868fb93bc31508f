"""A field of cells that several tests look at, drawn once."""

import numpy as np
import pytest

from locatlas.indexer.synthetic.layout import lay_out
from locatlas.indexer.synthetic.looks import OPENCELL
from locatlas.indexer.synthetic.scene import Scene


@pytest.fixture(scope="session")
def scene() -> Scene:
    """A crowded OpenCell-like field of 320 px; seed 4 has cells in metaphase."""
    return lay_out((320, 320), OPENCELL, np.random.default_rng(4))
