"""Every error that locatlas raises on purpose; the command line prints their one line, without a traceback."""

from collections.abc import Iterable

from locatlas.near_names import near_names

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

LISTED = 30
"""As many names are listed; of more, the nearest."""

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
    """A name that nothing carries; tells the nearest ones, and lists those that exist or, of many, says how many.

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
        # of so few that all could be meant, the list says as much
        near = [one_line(repr(one)) for one in near_names(name, self.known)] if len(self.known) > 3 else []
        meant = f"; did you mean {' or '.join(filter(None, (', '.join(near[:-1]), near[-1])))}?" if near else ""
        after = " " if near else "; "
        if len(self.known) <= LISTED:
            said = f"{after}known: {', '.join(map(one_line, self.known)) or 'none'}"
        else:
            some = "" if near else f", e.g. {', '.join(one_line(repr(one)) for one in self.known[:3])}"
            said = f"{after}{len(self.known):,} are known{some}"
        super().__init__(f"unknown {kind} {one_line(repr(name))}{f' ({hint})' if hint else ''}{meant}{said}")

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
