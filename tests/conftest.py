"""Fixtures for all tests: a seeded generator, and the real data where they are present."""

import os
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260410)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images; never part of the repository."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("LOCATLAS_SHARED_DATA", default))
    if not (folder / "README.md").is_file():
        pytest.skip(f"real data not present at {folder} (set LOCATLAS_SHARED_DATA)")
    return folder


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """No line of progress, whatever the load: tests look at what else stands on stderr."""
    monkeypatch.setenv("LOCATLAS_PROGRESS", "none")


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A LOCATLAS_HOME of its own for every test, so that none sees a user's encoders."""
    folder = tmp_path_factory.mktemp("locatlas-home")
    monkeypatch.setenv("LOCATLAS_HOME", str(folder))
    return folder
