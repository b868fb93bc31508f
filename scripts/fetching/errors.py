"""What goes wrong when something is fetched, in one line. Pure."""

from locatlas.errors import LocatlasError

__all__ = ["FetchError", "NotThereError", "Stopped"]


class FetchError(LocatlasError, OSError):
    """Something could not be fetched, or is not what was announced; names the address."""


class NotThereError(FetchError):
    """The server says that there is nothing at the address; asking again would not help."""


class Stopped(Exception):
    """Fetching was stopped; what is there of a file stays."""
