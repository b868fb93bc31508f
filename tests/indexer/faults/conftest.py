"""Processes that can be killed at any step, and one atlas with something of everything."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from torturing.zygote import Zygote

from tests.indexer.faults.prepared import Matrix, Prepared, prepare, prepare_atlas


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """Two workers."""
    made = Zygote(prepare, workers=2)
    yield made
    made.stop()


@pytest.fixture(scope="session")
def prepared(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Not to be changed."""
    return prepare_atlas(zygote, tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="session")
def matrix(zygote: Zygote, prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Matrix]:
    """That of a command; the run without faults is made once."""
    return cache(lambda name: Matrix(zygote, prepared, name, tmp_path_factory.mktemp("matrix")))


@pytest.fixture
def copy(prepared: Prepared, tmp_path: Path) -> Path:
    """A copy of its atlas."""
    return prepared.copied(tmp_path / "copy")
