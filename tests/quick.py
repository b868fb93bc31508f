"""What the default run goes without, in order to take minutes; `make test-all` goes without none of it."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from numpy.typing import NDArray

__all__ = ["THOROUGH", "decode_here", "measure_few", "some", "wait_for_no_disk"]

THOROUGH = os.environ.get("LOCATLAS_TESTS") == "thorough"


def wait_for_no_disk() -> None:
    """No test cuts the power: what a killed process wrote is there without. In this process, to its end."""
    if not THOROUGH:
        os.fsync = os.fstat  # type: ignore[assignment]  # which fails as well where nothing is open


def decode_here() -> None:
    """Images are read in this process, to its end: starting others takes longer than all else of a short command."""
    from locatlas.indexer.files import decoders
    from locatlas.indexer.files.decoder_worker import OPERATIONS

    class Here(decoders.Decoders):
        def start(self, n: int) -> None: ...

        def ask(self, request: Mapping[str, Any], *, named: str) -> tuple[dict[str, Any], NDArray[Any] | None]:
            return OPERATIONS[request["what"]]({**request, "named": named})

    if not THOROUGH:
        decoders._OF_PROCESS = Here()


def measure_few() -> None:
    """The recall of an index is measured by 40 questions and not 200, in this process, to its end."""
    from locatlas.indexer.indices import recall

    if not THOROUGH:
        recall._QUERIES = 40


def some(cases: Iterable[Any], *quick: int) -> list[Any]:
    """Cases of `parametrize` that go much the same way: those at the positions `quick`, while the others are slow.

    Args:
        cases: A tuple holds the values of several arguments.
        quick: Counted from 0, below 0 from the end.

    Raises:
        IndexError: A position beyond the cases.
    """
    given = [case if isinstance(case, tuple) else (case,) for case in cases]
    kept = {range(len(given))[n] for n in quick}
    return [pytest.param(*case, marks=() if n in kept else pytest.mark.slow) for n, case in enumerate(given)]
