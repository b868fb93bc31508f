"""Every error that locatlas raises on purpose; the command line prints their one line, without a traceback."""

from collections.abc import Iterable

__all__ = [
    "AtlasLockedError",
    "EncoderMismatchError",
    "ImageRejectedError",
    "InputError",
    "LeakageError",
    "LocatlasError",
    "SchemaMismatchError",
    "StoreDamagedError",
    "TrainingStoppedError",
    "UnknownNameError",
    "WeightsError",
    "one_line",
]

_SHOWN = 200


def one_line(text: str) -> str:
    """Text from outside as a message shows it: on one line, control characters as escapes, no longer than a name is."""
    text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return escaped(text)


def escaped(text: str) -> str:
    """Text from outside on one line, whole, with control characters as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class LocatlasError(Exception):
    """Base of all errors that locatlas raises on purpose."""


class UnknownNameError(LocatlasError, KeyError):
    """A name that nothing carries; lists those that exist.

    Args:
        kind: What was looked for, e.g. "encoder".
        name: The name that was not found.
        known: The names that exist.
        hint: A phrase of advice, without a full stop, e.g. how to add one.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        self.kind = kind
        self.name = name
        self.known = sorted(known)
        shown = ", ".join(map(one_line, self.known[:30]))
        shown += f", ... ({len(self.known)} in all)" if len(self.known) > 30 else ""
        message = f"unknown {kind} {one_line(repr(name))}{f' ({hint})' if hint else ''}; known: {shown or 'none'}"
        super().__init__(message)

    def __str__(self) -> str:  # KeyError would show the repr
        return str(self.args[0])


class InputError(LocatlasError, ValueError):
    """An argument, table or file from outside that cannot be used; names it and says why."""


class ImageRejectedError(LocatlasError, ValueError):
    """An image that cannot be used; it goes to quarantine with this reason."""


class WeightsError(LocatlasError, ValueError):
    """Weights that are missing, unsafe, of another digest or that do not fit the architecture exactly."""


class SchemaMismatchError(LocatlasError, ValueError):
    """Rows whose columns, types or values are not exactly those of their table."""


class EncoderMismatchError(LocatlasError, ValueError):
    """Vectors of different encoders were about to meet."""


class AtlasLockedError(LocatlasError, OSError):
    """Another writer holds the atlas."""


class StoreDamagedError(LocatlasError, OSError):
    """The atlas on disk is not what was written; says what to do."""


class LeakageError(LocatlasError, ValueError):
    """An encoder was about to be evaluated on groups that it was trained on."""


class TrainingStoppedError(LocatlasError, RuntimeError):
    """Training that diverged or collapsed; says what was seen, and where the last good checkpoint is."""
