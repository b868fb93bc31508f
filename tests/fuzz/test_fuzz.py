"""Each fuzz target for a bounded number of runs from its seeds; longer by hand: `python -m tests.fuzz.run`."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS, prepare

RUNS = {"image": 150, "mask": 150, "runs": 5000, "vectors": 60, "manifest": 40, "weights": 60, "cells": 100}


@pytest.mark.slow  # instrumenting alone takes ten seconds
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is there on Linux x86-64 only")
def test_targets_survive_guided_mutations(tmp_path: Path) -> None:
    """All in one process, of which each target gets a copy: instrumenting takes longer than the runs."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.fuzz.run", *(f"{t}={RUNS[t]}" for t in TARGETS), "--seconds", "600"]
    done = subprocess.run(
        [*command, "--corpus", str(tmp_path / "corpus")],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("target", sorted(TARGETS))
def test_a_target_survives_its_seeds_and_plain_mutations(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where atheris is not there, too: a few bytes changed, cut out or doubled."""
    monkeypatch.setenv("LOCATLAS_LIMITS", "")
    prepare()
    rng = np.random.default_rng(3)
    whole = seeds(target)
    for data in whole:
        TARGETS[target](data)
    for _ in range(60):
        data = bytearray(whole[rng.integers(len(whole))])
        at, to = sorted(int(n) for n in rng.integers(0, len(data) + 1, 2))
        match int(rng.integers(3)):
            case 0:
                data[at : at + 4] = rng.bytes(4)
            case 1:
                del data[at:to]
            case _:
                data[at:at] = data[at:to]
        TARGETS[target](bytes(data))
