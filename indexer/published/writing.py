"""Write an atlas that lies in an object store: a lease, a copy that is up to date, and what is new of it. Network, I/O.

Whoever writes a folder writes it as before; all of this is for addresses.

There is one rule for blocks within blocks: the outermost of a thread takes the lease, and publishes at its end. One
within it, such as that of a function that `writes`, is a part of it, and what it asks for is done at that end. Another
thread is refused as another process is: it could go on writing when the lease is given back.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar, cast

from locatlas.errors import AtlasLockedError, LocatlasError
from locatlas.indexer.backup.pin import MovedError
from locatlas.indexer.published.clean import clean
from locatlas.indexer.published.held import Written, held, holding
from locatlas.indexer.published.lease import Lease
from locatlas.indexer.published.objects import Objects, uri_of
from locatlas.indexer.published.upload import Uploads
from locatlas.indexer.published.working import WorkingCopy

logger = logging.getLogger(__name__)

__all__ = ["Written", "writes", "writing"]

P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def writing(atlas: str | Path, command: str, *, cleaning: bool = False) -> Iterator[Written]:
    """Have an atlas on this machine for the length of a block, and publish what was committed to it.

    Of an atlas in an object store, that is a copy; whoever opens its address in this process meanwhile gets the copy.
    What is committed is published at the end of the outermost block, and every `upload.UPLOAD_EVERY_S` before. Where it
    fails or is stopped, what was committed since stays in the copy, and is published with what the next command does.

    Args:
        atlas: Folder, which is given back as it is, or address.
        command: What is done, told to whoever wants to write as well.
        cleaning: Also remove objects that no state needs any more (`clean`).

    Raises:
        AtlasLockedError: If another writes, or wrote meanwhile; nothing of theirs is written over.
        InputError: If the store cannot be reached or has no conditional writes.
        StoreDamagedError: If an object is missing or not what was published.
    """
    uri = uri_of(atlas)
    if uri is None:
        yield Written(Path(atlas))
        return
    if (outer := held(uri)) is not None:
        if outer.thread != threading.get_ident():
            message = f"{uri}: another thread of this process writes it; wait for it"
            raise AtlasLockedError(message)
        outer.cleaning |= cleaning
        yield outer
        return
    objects, copy = Objects.at(uri), WorkingCopy(uri)
    with copy.locked() as (token, dead), Lease.taken(objects, command, token=token, mine=dead) as lease:
        copy.bring_up_to(objects)
        uploads = Uploads(objects, copy, lease)
        written = Written(copy.path, uploads.sent, cleaning)
        try:
            with holding(uri, written), uploads.now_and_then():
                yield written
        except BaseException:  # a stop too leaves what was committed for the next command; raised again
            with suppress(LocatlasError, MovedError):
                if copy.is_ahead():
                    told = "%s: not all that was committed is published; the next command that writes there does that"
                    logger.warning(told, uri)
            raise
        uploads.publish_last()
        if written.cleaning and copy.base is not None:
            written.cleaned = clean(objects, copy.base, lease)


def writes(command: str, *, cleaning: bool = False) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function whose argument `atlas`, given by name, is a folder take an address too.

    Args:
        command: As in `writing`.
        cleaning: As in `writing`.
    """

    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
            atlas = cast("str | Path | None", kwargs.get("atlas"))
            if atlas is None or uri_of(atlas) is None:  # where it is missing, the function itself says so
                return function(*args, **kwargs)
            with writing(atlas, command, cleaning=cleaning) as written:
                kwargs["atlas"] = written.path
                return function(*args, **kwargs)

        return wrapped

    return decorated
