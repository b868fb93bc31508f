"""Processes that can be killed at any step, and one atlas with something of everything."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from torturing import commands
from torturing.zygote import Zygote

from tests.indexer.faults.prepared import Prepared, prepare_atlas


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """Two workers."""
    made = Zygote(commands.prepare, workers=2)
    yield made
    made.stop()


@pytest.fixture(scope="session")
def prepared(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Not to be changed."""
    return prepare_atlas(zygote, tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def copy(prepared: Prepared, tmp_path: Path) -> Path:
    """A copy of its atlas."""
    return prepared.copied(tmp_path / "copy")
