"""npy arrays, memory-mapped and never unpickled. Reads files."""

import tokenize
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import ImageRejectedError

__all__ = ["NPY_MAGIC", "open_npy"]

NPY_MAGIC = b"\x93NUMPY"


def open_npy(path: Path) -> NDArray[Any]:
    """The array, memory-mapped read-only. The size of the file is checked against the header.

    Args:
        path: A plain file.

    Raises:
        ImageRejectedError: If the file holds Python objects, is truncated, or is no npy file. Does not name the file.
    """
    try:
        with path.open("rb") as stream:
            if stream.read(len(NPY_MAGIC)) != NPY_MAGIC:  # np.load would take zip files too
                message = "not an npy file"
                raise ImageRejectedError(message)
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except ImageRejectedError:
        raise
    # numpy tokenizes the header as Python source, and lets that fail in many ways
    except (ValueError, OSError, EOFError, SyntaxError, TypeError, tokenize.TokenError) as error:
        if "object" in str(error).lower():
            message = "holds Python objects, which are not loaded because they can run code; save it as text or numbers"
        else:
            message = f"not an npy file that can be read: {' '.join(str(error).split())[:200]}"
        raise ImageRejectedError(message) from error
    return array
