"""What an index was made from: the record beside it, and the digests that tie it to its table. Pure."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from mmap import mmap
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["SIDECAR_VERSION", "Sidecar", "blake2b", "id_lines", "rows_digest"]

SIDECAR_VERSION = 1

_UNSAID = {"faiss", "recall_among", "manifest", "lance", "folder", "bytes", "digests"}
"""Fields that may be empty, and are left out then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """What an index was made from: a FAISS file, or a folder that Lance wrote.

    Attributes:
        sidecar_version: Layout of this record.
        table: Embedding table.
        version: Lance version of the table at that time.
        fingerprint: Of the encoder.
        metric: Always "cosine": inner product of unit vectors.
        kind: Index type.
        params: Its build and search parameters.
        count: Vectors in the file.
        dim: Their length.
        vectors_digest: blake2b-128 over ids and float32 vectors, in file order.
        file_digest: blake2b-128 of the FAISS file, or over the digests of the folder's files.
        faiss: FAISS version; "" where Lance built it.
        recall_at_10: Share of the exact ten nearest found, for sampled rows of the table, themselves left out.
        ids_digest: blake2b-128 of the file of ids.
        recall_among: "other proteins" where their own protein was left out as well; "" in older files.
        manifest: blake2b-128 of the manifest of that version of the table; "" where it was not recorded.
        lance: Lance version; "" where FAISS built it.
        folder: Name of the folder, beside the sidecar.
        bytes: Size of each file of the folder, by its path there.
        digests: blake2b-128 of each.
    """

    sidecar_version: int
    table: str
    version: int
    fingerprint: str
    metric: str
    kind: str
    params: dict[str, int]
    count: int
    dim: int
    vectors_digest: str
    file_digest: str
    recall_at_10: float
    ids_digest: str
    faiss: str = ""
    recall_among: str = ""
    manifest: str = ""
    lance: str = ""
    folder: str = ""
    bytes: dict[str, int] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """All fields that are known, and a digest over them."""
        # what older files do not say stands in the new ones only where it is said
        fields = {name: value for name, value in asdict(self).items() if value or name not in _UNSAID}
        return json.dumps({**fields, "sidecar_digest": _sealed(fields)}, indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` wrote.

        Raises:
            ValueError: If it is not that.
        """
        raw = json.loads(text)
        if not isinstance(raw, dict) or raw.pop("sidecar_digest", None) != _sealed(raw):
            message = "sidecar does not match its own digest"
            raise ValueError(message)
        if raw["sidecar_version"] != SIDECAR_VERSION:
            message = f"sidecar of version {raw['sidecar_version']}, this locatlas reads {SIDECAR_VERSION}"
            raise ValueError(message)
        return cls(**raw)


def _sealed(values: dict[str, Any]) -> str:
    return blake2b(json.dumps(values, sort_keys=True).encode())


def blake2b(data: bytes | memoryview | mmap) -> str:
    """blake2b-128 in hex."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def id_lines(ids: list[str]) -> bytes:
    """The ids as a file holds them, one a line."""
    return "\n".join(ids).encode()  # ids have no control characters


def rows_digest(ids: list[str], vectors: NDArray[np.float32] | Iterable[NDArray[np.float32]]) -> str:
    """blake2b-128 over ids and vectors, in hex.

    Args:
        ids: (n,) ids.
        vectors: (n, d), or parts of them one after another, so that not all need be held at once.
    """
    digest = hashlib.blake2b(digest_size=16)
    digest.update(id_lines(ids))
    for part in [vectors] if isinstance(vectors, np.ndarray) else vectors:
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()
