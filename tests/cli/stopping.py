"""A process that runs commands of locatlas and gets a signal at the n-th of some step. Run as a module; not a test.

Each line on stdin is a JSON object: `argv`; `step`, a key of `STEPS`, `at`, its number from 1; `signals`, what is sent
then, in order; `stderr`, the file to write it to. Each is run in a forked child, because importing takes seconds; its
exit code, negative where a signal ended it, is answered on stdout. `here`: no other process reads images.
"""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable
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


def signalled(real: Callable[..., Any], at: int, signals: list[int]) -> Callable[..., Any]:
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


def run(asked: dict[str, Any]) -> int:
    """One command, with commits of two images; its exit code."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, where the tests run in the background
    job.load_encoder = PlainEncoder  # type: ignore[assignment]
    wait_for_no_disk()
    if asked["here"]:
        decode_here()
    pipeline.BATCH_IMAGES = 2
    import_embeddings._COMMIT_ROWS = 2
    for function in (index.index, embed.embed, embed.reembed):
        function.__kwdefaults__["commit_rows"] = 2
    if asked["step"]:
        owner, name = STEPS[asked["step"]]
        setattr(owner, name, signalled(getattr(owner, name), asked["at"], asked["signals"]))
    with open(asked["stderr"], "w") as errors:
        os.dup2(errors.fileno(), 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        main(asked["argv"])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


if __name__ == "__main__":
    for line in sys.stdin:
        if (child := os.fork()) == 0:
            code = 99
            with contextlib.suppress(Exception):
                code = run(json.loads(line))
            sys.stderr.flush()
            os._exit(code)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
