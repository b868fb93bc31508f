"""How many images a network takes at once: measured on the device, and kept for the runs that follow. Reads, writes.

A vector's last digits depend on the size of its batch, so a run that is continued must not choose anew: what was chosen
is kept in LOCATLAS_HOME, by device, encoder and version of torch.
"""

import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor

from locatlas.models.home import home
from locatlas.models.spec import EncoderSpec

__all__ = ["SIZES", "best_batch", "kept", "measured"]

SIZES = {"cpu": (4, 8, 16, 32), "cuda": (32, 64, 128, 256)}
"""What is tried, from what is usual on. 256 images are cut into batches by themselves (`pipeline.CHUNK_ROWS`)."""

WORTH = 1.05
"""How many times as fast a batch of twice the size has to be: it costs memory."""

ROUNDS = 3
"""Of each size, of which the quickest counts, after one that warms up."""


def best_batch(seconds: Callable[[int], float], sizes: Sequence[int]) -> int:
    """The size beyond which more images at once gain little, or do not fit.

    Args:
        seconds: What a batch of a size takes; raises torch.OutOfMemoryError where the memory does not take it.
        sizes: What may be chosen, ascending; the first is not given up, whatever it costs.
    """
    best, rate = sizes[0], 0.0
    for size in sizes:
        try:
            now = size / seconds(size)
        except torch.OutOfMemoryError:
            break
        if now < rate * WORTH:
            break
        best, rate = size, now
    return best


def measured(passed: Callable[[Tensor], object], image: Tensor, device: torch.device) -> int:
    """The best size for an encoder on a device, by trial.

    Args:
        passed: Encodes a batch, and waits for the result.
        image: Inputs of one image, (passes, slots, h, w), on the device.
        device: Where it runs.
    """

    def seconds(size: int) -> float:
        batch = image.expand(size, *image.shape).contiguous()
        found = []
        for _ in range(1 + ROUNDS):
            began = time.perf_counter()
            passed(batch)
            found.append(time.perf_counter() - began)
        return min(found[1:])

    best = best_batch(seconds, SIZES.get(device.type, SIZES["cpu"]))
    if device.type == "cuda":
        torch.cuda.empty_cache()  # what the largest batch took is others' again
    return best


def kept(spec: EncoderSpec, device: torch.device, runtime: str, measure: Callable[[], int]) -> int:
    """What was chosen before on this kind of device, else what is measured now, by one process at a time.

    Args:
        spec: The encoder.
        device: Where it runs.
        runtime: What runs it.
        measure: Chooses.
    """
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    key = f"{kind}, torch {torch.__version__}, {runtime}, {spec.fingerprint}"
    file = home() / "batches.json"
    if key in (known := _read(file)):
        return known[key]
    with ExitStack() as held:
        with suppress(OSError):  # a home that cannot be written is measured for each time
            file.parent.mkdir(parents=True, exist_ok=True)
            # processes of several devices load at once, and must not go on with a number each
            held.enter_context(FileLock(file.with_suffix(".lock")))
        if key not in (known := _read(file)):
            known[key] = measure()
            with suppress(OSError):
                part = file.with_suffix(f".{os.getpid()}")
                part.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
                part.replace(file)
    return known[key]


def _read(file: Path) -> dict[str, int]:
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {key: size for key, size in found.items() if type(size) is int and 0 < size <= max(SIZES["cuda"])}
