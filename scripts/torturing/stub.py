"""An encoder that costs nothing, whose vectors follow from fingerprint, channels and pixels alone. Pure."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.models.qc import check_usable
from locatlas.models.spec import EncoderSpec
from locatlas.types import ChannelImage

__all__ = ["StubEncoder", "stub_vector"]


def stub_vector(fingerprint: str, planes: Mapping[str, NDArray[Any]], dim: int) -> NDArray[np.float32]:
    """Percentiles of the channels, each weighed by numbers that fingerprint and channel decide.

    Args:
        fingerprint: Of the encoder.
        planes: Channel to pixels.
        dim: Length of the vector.
    """
    vector = np.zeros(dim)
    for name in sorted(planes):
        seed = int.from_bytes(hashlib.blake2b(f"{fingerprint} {name}".encode(), digest_size=8).digest())
        weights = np.random.default_rng(seed).standard_normal(dim)
        vector += np.percentile(planes[name].astype(np.float64), np.linspace(0, 100, dim)) * weights
    return vector.astype(np.float32)


class StubEncoder:
    """What the jobs load in place of the network."""

    ran_on = "nowhere"
    at_once = 0

    def __init__(self, spec: EncoderSpec) -> None:
        self.spec = spec

    def prepare(self, image: ChannelImage) -> NDArray[np.float32]:
        """The vector itself."""
        check_usable(image, unit_range=False)
        planes = dict(zip(image.channels, image.pixels, strict=True))
        return stub_vector(self.spec.fingerprint, planes, self.spec.dim)

    def encode_prepared(self, prepared: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """(n, d)."""
        return np.stack(list(prepared))
