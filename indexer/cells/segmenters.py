"""What can find the cells of a field of view, by name; a segmenter and its parameters are part of a cell's identity."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from locatlas.errors import InputError, StoreDamagedError, UnknownNameError
from locatlas.types import ChannelImage

if TYPE_CHECKING:
    from locatlas.indexer.cells.builtin import Segmentation

__all__ = ["PARAMETERS", "SEGMENTERS", "Parameter", "SegmenterSpec", "get_segmenter", "segment"]

Value = float | int | str | None


@dataclass(frozen=True, slots=True)
class Parameter:
    """One that a user may set.

    Attributes:
        default: Its value where nothing is said.
        means: One phrase.
        low: Smallest number allowed (not itself, where `positive`).
        high: Largest number allowed.
        positive: Whether `low` itself is too small.
        is_file: Whether it is a path, not a number.
    """

    default: Value
    means: str
    low: float = 0.0
    high: float = math.inf
    positive: bool = True
    is_file: bool = False


PARAMETERS: dict[str, dict[str, Parameter]] = {
    "builtin": {
        "nucleus_diameter_um": Parameter(15.0, "usual nuclear diameter in micrometres, where the pixel size is known"),
        "nucleus_diameter_px": Parameter(None, "the same in pixels; goes before it", low=6),
        "level": Parameter(0.4, "share of a nucleus' light at which its outline is drawn", high=0.95),
        "neck": Parameter(0.75, "narrower than this share of its parts, an object is split", high=1.0),
        "smallest": Parameter(0.15, "smallest area as a share of a usual nucleus'", positive=False),
        "faintest": Parameter(0.12, "least light as a share of the brightest nuclei's", high=1.0, positive=False),
        "contrast": Parameter(5.0, "least contrast in SDs of the light around", positive=False),
        "cell_reach_um": Parameter(None, "how far a cell goes beyond its nucleus, micrometres", positive=False),
        "cell_reach_px": Parameter(None, "the same in pixels; goes before it", positive=False),
    },
    "cellpose": {
        "diameter_px": Parameter(None, "usual nuclear diameter in pixels; without it the image is not rescaled"),
        "flow_threshold": Parameter(0.4, "largest error of flows; 0 keeps all", positive=False),
        "cellprob_threshold": Parameter(0.0, "least score of a pixel; lower finds more", low=-10, high=10),
        "weights": Parameter(None, "file of a network; without it Cellpose's cpsam_v2", is_file=True),
    },
    "given": {},
}
"""Parameters by segmenter; `docs/cells.md` says what they do."""

SEGMENTERS: tuple[str, ...] = tuple(PARAMETERS)

VERSIONS = {"builtin": 1, "cellpose": 1, "given": 1}
"""Raised whenever the result of an algorithm changes, so that other results are other cells."""


@dataclass(frozen=True, slots=True)
class SegmenterSpec:
    """A segmenter with all that decides its result.

    Attributes:
        name: One of `SEGMENTERS`.
        version: Of its algorithm.
        parameters: All of them, those left at their defaults too.
    """

    name: str
    version: int
    parameters: Mapping[str, Value] = field(default_factory=dict, hash=False)

    @property
    def id(self) -> str:
        """Its name in ids: `given`, else `<name>-<8 hex>` of the sha256 of the canonical JSON."""
        if self.name == "given":
            return self.name
        return f"{self.name}-{hashlib.sha256(self.to_json().encode()).hexdigest()[:8]}"

    def to_json(self) -> str:
        """Canonical: sorted keys, no spaces."""
        fields = {"name": self.name, "version": self.version, "parameters": dict(self.parameters)}
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` wrote, of whatever version.

        Raises:
            StoreDamagedError: If it is not that.
        """
        try:
            fields: Any = json.loads(text)
            return cls(str(fields["name"]), int(fields["version"]), dict(fields["parameters"]))
        except (ValueError, KeyError, TypeError) as error:
            message = f"not a segmenter: {text[:80]!r} ({error})"
            raise StoreDamagedError(message) from error


def get_segmenter(name: str, parameters: Mapping[str, str]) -> SegmenterSpec:
    """A segmenter with what a user asked for.

    Args:
        name: One of `SEGMENTERS`.
        parameters: Texts, by name; what is not named keeps its default.

    Raises:
        UnknownNameError: If there is no such segmenter.
        InputError: If it has no such parameter, cannot take the value, or its package or weights are not to be had.
    """
    if name not in PARAMETERS:
        raise UnknownNameError("segmenter", name, SEGMENTERS)
    allowed = PARAMETERS[name]
    for key in parameters:
        if key not in allowed:
            message = f"segmenter {name} has no parameter {key!r}; it has: {', '.join(allowed) or 'none'}"
            raise InputError(message)
    values = {key: parameter.default for key, parameter in allowed.items()}
    for key, text in parameters.items():
        values[key] = text if allowed[key].is_file else _number(name, key, text, allowed[key])
    if name == "cellpose":
        from locatlas.indexer.cells import cellpose

        values = cellpose.settled(values)
    return SegmenterSpec(name, VERSIONS[name], values)


def _number(name: str, key: str, text: str, parameter: Parameter) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    too_small = value <= parameter.low if parameter.positive else value < parameter.low
    if not math.isfinite(value) or too_small or value > parameter.high:
        least = f"{'above' if parameter.positive else 'at least'} {parameter.low:g}"
        most = f", at most {parameter.high:g}" if math.isfinite(parameter.high) else ""
        message = f"segmenter {name}: {key}={text!r}; a number {least}{most} needed ({parameter.means})"
        raise InputError(message)
    return value


def segment(image: ChannelImage, spec: SegmenterSpec) -> "Segmentation":
    """Cells and nuclei of a field of view. The same image and spec give the same labels, in any thread.

    Raises:
        ImageRejectedError: If the image cannot be segmented, naming its channels.
        InputError: If this version of locatlas, or this machine, cannot do what the spec says.
    """
    if spec.name == "given":
        message = "cells that are given are read from their masks or tables, not computed"
        raise InputError(message)
    if spec.version != VERSIONS.get(spec.name):
        message = f"this locatlas has version {VERSIONS.get(spec.name)} of segmenter {spec.name}, not {spec.version}"
        raise InputError(message)
    given: dict[str, Any] = dict(spec.parameters)
    # scikit-image and torch are not for whoever only asks what there is
    if spec.name == "cellpose":
        from locatlas.indexer.cells.cellpose import segment_cellpose

        return segment_cellpose(image, **given)
    from locatlas.indexer.cells.builtin import segment_builtin
    from locatlas.indexer.cells.nuclei import NucleusParameters

    reach_um, reach_px = given.pop("cell_reach_um"), given.pop("cell_reach_px")
    nucleus = NucleusParameters(**{key.removeprefix("nucleus_"): value for key, value in given.items()})
    return segment_builtin(image, nucleus, cell_reach_um=reach_um, cell_reach_px=reach_px)
