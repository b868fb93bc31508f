"""What a process does that runs a command of locatlas and gets a signal at the n-th of some step. Not a test."""

import inspect
import os
from collections.abc import Callable, Sequence
from typing import Any

from lance.dataset import LanceDataset, MergeInsertBuilder

from locatlas.cli import main
from locatlas.indexer import embed, index, job, pipeline
from locatlas.indexer.annotation import bring_in as import_annotations  # noqa: F401
from locatlas.indexer.importing import run as import_embeddings
from locatlas.indexer.store.tables import Store
from tests.indexer.made import PlainEncoder
from tests.quick import decode_here, wait_for_no_disk

STEPS: dict[str, tuple[Any, str]] = {
    "read": (PlainEncoder, "prepare"),  # in a thread
    "encode": (PlainEncoder, "encode_prepared"),
    "list": (Store, "read"),
    "commit": (MergeInsertBuilder, "execute"),
    "delete": (LanceDataset, "delete"),
    "compact": (Store, "compact"),
}


def signalled(real: Callable[..., Any], at: int, signals: Sequence[int]) -> Callable[..., Any]:
    """The function, sending signals to its own process just before its n-th call goes on."""
    calls = 0

    def step(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            for number in signals:
                os.kill(os.getpid(), number)
        return real(*args, **options)

    return step


def run(argv: list[str], *, step: str = "", at: int = 0, signals: Sequence[int] = (), here: bool = True) -> None:
    """Run one command, with commits of two images.

    Args:
        argv: Its words.
        step: A key of `STEPS`, or none.
        at: Its number, from 1.
        signals: What is sent then, in order.
        here: Whether no other process reads images.
    """
    job.load_encoder = PlainEncoder  # type: ignore[assignment]
    wait_for_no_disk()
    if here:
        decode_here()
    pipeline.BATCH_IMAGES = 2
    import_embeddings._COMMIT_ROWS = 2
    for function in (index.index, embed.embed, embed.reembed):
        inspect.unwrap(function).__kwdefaults__["commit_rows"] = 2
    if step:
        owner, name = STEPS[step]
        setattr(owner, name, signalled(getattr(owner, name), at, signals))
    main(argv)
