"""Fixtures for all tests: a seeded generator, and the real data where they are present."""

import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _pytest.doctest import DoctestModule
from hypothesis import HealthCheck, settings

from locatlas import interrupts
from tests.forking import COMMANDS, Forks
from tests.quick import THOROUGH, wait_for_no_disk

# no clock: on a machine that others use, an example takes as long as it takes
_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", _PATIENT, max_examples=15)
settings.register_profile("thorough", _PATIENT, max_examples=100)  # Hypothesis' own default
settings.load_profile("thorough" if THOROUGH else "quick")


@pytest.hookimpl(wrapper=True)
def pytest_collect_file() -> Iterator[Any]:
    """No doctests here: looking for them takes seconds, and imports what else runs only in processes of its own."""
    found = yield
    return [collector for collector in found if not isinstance(collector, DoctestModule)]


wait_for_no_disk()  # which took a third of the time


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


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """Processes that have torch and nothing else."""
    made = Forks("import torch")
    yield made
    made.stop()


@pytest.fixture(scope="session")
def commands() -> Iterator[Forks]:
    """Processes that have what commands of locatlas import."""
    made = Forks(COMMANDS)
    yield made
    made.stop()


@pytest.fixture
def unpainted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are files of one byte: painting takes most of the time where a test looks at what lies beside them."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda _, path, **__: Path(path).write_bytes(b"."))


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Ctrl-C as in a terminal (in the background SIGINT is ignored from the start), and nothing of it left to others.

    A command line that runs in this process installs handlers of its own; a signal that meets them is kept.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    interrupts._asked.clear()


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """No line of progress, whatever the load: tests look at what else stands on stderr."""
    monkeypatch.setenv("LOCATLAS_PROGRESS", "none")


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folders that are there; pytest would look through those of all tests for the name of each."""
    base = tmp_path_factory.mktemp("homes")

    def made(n: int) -> Path:
        (base / str(n)).mkdir()
        return base / str(n)

    return map(made, itertools.count())


@pytest.fixture(autouse=True)
def home(homes: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A LOCATLAS_HOME of its own for every test, so that none sees a user's encoders."""
    folder = next(homes)
    monkeypatch.setenv("LOCATLAS_HOME", str(folder))
    return folder
