"""Where locatlas keeps weights and a user's own encoders. Reads the environment, writes nothing."""

import os
from pathlib import Path

__all__ = ["encoders_folder", "home", "weights_folder"]


def home() -> Path:
    """The folder of everything locatlas keeps outside an atlas: $LOCATLAS_HOME, else ~/.cache/locatlas.

    Read anew at every call, so that a changed environment is seen; the folder need not exist.
    """
    named = os.environ.get("LOCATLAS_HOME", "").strip()
    return Path(named).expanduser() if named else Path.home() / ".cache" / "locatlas"


def weights_folder() -> Path:
    """Downloaded weights, and those a user has put there by hand: `<name>.safetensors` or `<name>.pth`."""
    return home() / "weights"


def encoders_folder() -> Path:
    """A user's own encoders: `<name>.json` beside `<name>.safetensors`."""
    return home() / "encoders"
