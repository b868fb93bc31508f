"""What goes wrong as HTTP says it: a status and one line without tracebacks or paths of this machine. Pure."""

import re
from collections.abc import Iterable
from pathlib import Path

from locatlas.errors import (
    AtlasLockedError,
    EncoderMismatchError,
    ImageRejectedError,
    InputError,
    LeakageError,
    LocatlasError,
    StoreDamagedError,
    UnknownNameError,
    WeightsError,
)
from locatlas.query.serve.limits import BusyError, TooLongError

__all__ = ["BUSY", "TOO_LONG", "said_of", "without_paths"]

BUSY = "the server has as much to do as it takes on; ask again in a moment"
TOO_LONG = "this took longer than the server waits; what it costs was cut short, a smaller question may do"

_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (UnknownNameError, 404),
    (ImageRejectedError, 422),
    (EncoderMismatchError, 400),
    (LeakageError, 400),
    (InputError, 400),
)

_UNAVAILABLE: tuple[tuple[type[Exception], str], ...] = (
    (BusyError, BUSY),
    (TooLongError, TOO_LONG),
    (AtlasLockedError, "the atlas is being written and cannot answer this now; ask again in a moment"),
    (StoreDamagedError, "the atlas cannot be read as it is; `locatlas verify` on the server tells more"),
    (WeightsError, "the weights of this encoder cannot be loaded on the server; its log tells more"),
    (LocatlasError, "the server cannot do this now; its log tells more"),
    (OSError, "the server cannot read its files now; its log tells more"),
)
"""What is no fault of the request: the details are for the server's log, they name its files."""

# a path of at least one folder; what stands before it must not make it part of an id or an address
_PATH = re.compile(r"(?<![\w.:/%~-])(?:~|/|[A-Za-z]:\\)[^\s'\",;()]*[/\\](?=[^\s/\\])")


def said_of(error: Exception, hidden: Iterable[tuple[str, str]] = ()) -> tuple[int, str] | None:
    """Status and line of an error; None for one that nobody expected.

    Args:
        error: What was raised.
        hidden: Paths with what they are called instead, e.g. the atlas' folder and its name.
    """
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return status, without_paths(str(error), hidden)
    for kind, line in _UNAVAILABLE:
        if isinstance(error, kind):
            return 503, line
    return None


def without_paths(text: str, hidden: Iterable[tuple[str, str]] = ()) -> str:
    """The text on one line, without the folders of this machine.

    >>> without_paths("/home/ada/atlas: no vectors yet")
    'atlas: no vectors yet'
    """
    for path, name in sorted(hidden, key=lambda pair: -len(pair[0])):
        if path not in ("", "/", "."):
            text = text.replace(path, name)
    home = str(Path.home())
    if home != "/":
        text = text.replace(home, "~")
    return _PATH.sub("", " ".join(text.split()))
