"""One atlas with a file of every kind for all tests here, which copy it before they write."""

from pathlib import Path

import pytest

from tests.indexer.made import PlainEncoder
from tests.indexer.verify.whole import copied, make_whole
from tests.quick import measure_few

measure_few()


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("locatlas.indexer.job.load_encoder", PlainEncoder)
        patch.setenv("LOCATLAS_HOME", str(tmp_path_factory.mktemp("home")))
        made = make_whole(tmp_path_factory.mktemp("whole"))
    # the patch must not outlive the making: other tests of the session want the real network
    return made


@pytest.fixture
def whole(original: Path, tmp_path: Path, plain: None) -> Path:
    """A copy of it."""
    return copied(original, tmp_path / "atlas")
