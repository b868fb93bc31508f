"""What the default run goes without, in order to take minutes; `make test-all` goes without none of it."""

import os
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

__all__ = ["THOROUGH", "decode_here", "wait_for_no_disk"]

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
