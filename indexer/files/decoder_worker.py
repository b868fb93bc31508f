"""The process in which files from outside are decoded: a request on stdin, its answer on stdout, one at a time. I/O.

It holds nothing that matters: whatever a file does to it, the run goes on with another one. It ends when its stdin
does, so none outlives the run that started it. Frames are a length, JSON, and the bytes of an array; nothing is
pickled. What is kept apart is crashes, hangs and hunger for memory. It is no sandbox: a file that takes the process
over has the user's rights, and can say wrong pixels of the files that it is asked for afterwards.
"""

import faulthandler
import json
import os
import signal
import struct
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import ImageRejectedError, one_line
from locatlas.indexer.files import images
from locatlas.indexer.files.limits import VARIABLE, limits
from locatlas.indexer.files.opening import NOT_THE_FILES
from locatlas.indexer.records import ImageRecord, Source

__all__ = ["LENGTH", "OPERATIONS", "main"]

LENGTH = struct.Struct("<Q")

Answer = tuple[dict[str, Any], NDArray[Any] | None]
Operation = Callable[[Mapping[str, Any]], Answer]


def _record(asked: Mapping[str, Any]) -> ImageRecord:
    sources = tuple(Source(Path(path), tuple(channels)) for path, channels in asked["sources"])
    return ImageRecord(id=asked["id"], level="fov", dataset="", sources=sources, row=asked["row"])


def _image(asked: Mapping[str, Any]) -> Answer:
    image, digest = images.read_image(_record(asked))
    return {"digest": digest}, image.pixels


def _digest(asked: Mapping[str, Any]) -> Answer:
    return {"digest": images.source_digest(_record(asked))}, None


def _header(asked: Mapping[str, Any]) -> Answer:
    return {"header": images.image_header(Path(asked["path"]))}, None


def _mask(asked: Mapping[str, Any]) -> Answer:
    from locatlas.indexer.cells.masks import read_label_image  # scipy, which images do not need

    size = {"height": asked["height"], "width": asked["width"], "binary": asked["binary"]}
    return {}, read_label_image(Path(asked["path"]), **size)


def _cells(asked: Mapping[str, Any]) -> Answer:
    from locatlas.indexer.files.h5sc import read_cell_file

    return {"cells": asdict(read_cell_file(Path(asked["path"])))}, None


def _parquet(asked: Mapping[str, Any]) -> Answer:
    from pyarrow import ArrowException

    from locatlas.indexer.files.unpacked import bytes_of_parquet

    path = Path(asked["path"])
    try:
        return {"bytes": bytes_of_parquet(path)}, None
    except (ArrowException, OSError, RuntimeError) as error:
        raise ImageRejectedError(f"{path}: not a Parquet file that can be read: {one_line(str(error))}") from error


OPERATIONS: dict[str, Operation] = {
    "image": _image,
    "digest": _digest,
    "header": _header,
    "mask": _mask,
    "cells": _cells,
    "parquet": _parquet,
}


def main() -> None:
    """Answer requests until stdin ends. An error that no reader raises on purpose ends the process."""
    faulthandler.enable()
    requests = os.fdopen(os.dup(0), "rb", buffering=0)
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what libraries print must not stand among the answers
    _offer_to_kernel()
    try:
        _send(answers, {"ready": True}, None)
        while (asked := _receive(requests)) is not None:
            _send(answers, *_answered(asked))
    except BrokenPipeError:
        sys.exit(0)  # nobody waits for an answer any more


def _answered(asked: Mapping[str, Any]) -> Answer:
    os.environ[VARIABLE] = asked["limits"]
    allowed = limits()
    _limit_memory(allowed.decoder_bytes)
    # ends the process, also one that hangs within a library
    signal.setitimer(signal.ITIMER_REAL, allowed.decoder_seconds)
    try:
        return OPERATIONS[asked["what"]](asked)
    except ImageRejectedError as error:
        return {"rejected": str(error)}, None
    except OSError as error:
        if error.errno not in NOT_THE_FILES:
            raise
        return {"system": [error.errno, error.strerror, error.filename]}, None  # no fault of the image
    except MemoryError:
        message = f"{asked['named']}: needs more memory than one image may ({allowed.decoder_bytes / 2**20:.0f} MiB)"
        return {"rejected": message}, None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _limit_memory(allowed: int) -> None:
    """Let the kernel refuse more than this beside what is held now. Files that are only mapped do not count."""
    if sys.platform == "linux":
        import resource

        held = int(Path("/proc/self/statm").read_bytes().split()[5]) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        wanted = held + allowed
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _offer_to_kernel() -> None:
    """Where memory runs out all the same, the kernel is to end this process and not the run."""
    if sys.platform == "linux":
        # some sandboxes have it read-only or not at all; then the kernel chooses as it always does
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")


def _receive(stream: IO[bytes]) -> dict[str, Any] | None:
    head = _exactly(stream, LENGTH.size)
    if head is None:
        return None
    body = _exactly(stream, LENGTH.unpack(head)[0])
    return None if body is None else json.loads(body)


def _exactly(stream: IO[bytes], count: int) -> bytes | None:
    """So many bytes; None where the stream ends before."""
    out = bytearray()
    while len(out) < count:
        part = stream.read(count - len(out))
        if not part:
            return None
        out += part
    return bytes(out)


def _send(stream: IO[bytes], answer: Mapping[str, Any], pixels: NDArray[Any] | None) -> None:
    if pixels is not None:
        answer = {**answer, "shape": pixels.shape, "dtype": pixels.dtype.str}
    body = json.dumps(answer).encode()
    _write(stream, memoryview(LENGTH.pack(len(body)) + body))
    if pixels is not None and pixels.size:
        _write(stream, np.ascontiguousarray(pixels).data.cast("B"))


def _write(stream: IO[bytes], data: memoryview) -> None:
    while data:
        data = data[stream.write(data) :]


if __name__ == "__main__":
    main()
