"""What the engine of a cluster refuses before anything is written."""

import sys

import pytest

from locatlas.errors import InputError
from locatlas.indexer.cluster.engine import RayEngine


def test_without_ray_the_engine_is_refused_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match="--engine ray needs Ray: pip install"):
        RayEngine()
