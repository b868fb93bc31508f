"""EncoderSpec: everything that decides a vector, as frozen data with a fingerprint. Pure."""

import hashlib
import json
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Self, get_args

from locatlas.errors import InputError
from locatlas.models.crops import CropPlan

__all__ = [
    "IDENTITY_VERSION",
    "VIEWS",
    "EncoderSpec",
    "Intensity",
    "Mapping",
    "Passes",
    "Pooling",
    "Precision",
    "Resize",
    "Storage",
]

IDENTITY_VERSION = 1
"""Raised when the meaning of a field changes, so that old fingerprints no longer match."""

VIEWS = (1, 4, 8)
"""Numbers of directions in which an image can be looked at."""

Pooling = Literal["cls", "mean", "spread", "cls_spread", "gated_attention"]
Intensity = Literal["unit", "standardize", "minmax", "minmax_joint", "percentile"]
Resize = Literal["square", "short_edge_crop", "center_crop_pad", "none_pad_to_patch"]
Mapping = Literal["natural", "random", "replicate"]
Passes = Literal["joint", "separate"]
Precision = Literal["fp32", "bf16"]
Storage = Literal["float32", "float16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSpec:
    """An encoder: architecture, weights, channel plan, transforms, pooling and precision.

    Attributes that decide a vector (the fingerprint covers them and nothing else):

    Attributes:
        architecture: timm model name, or one of locatlas' own (`subcell_vit_base_patch16`, `locatlas_pico`).
        weights_sha256: Digest of the weights file; "seed:N" for untrained weights made from a seed; None until known.
        slots: Meaning of each network input, in order, e.g. ("microtubules", "protein", "nucleus") for RGB.
        input_px: Edge of the square network input in pixels; 0 keeps the image's own size.
        embedding_dim: Length of one forward pass' feature.
        pooling: What is taken from the tokens: `cls`; the `mean` of the patches; their `spread`, the standard deviation
            over the image without its blank parts (pixels that are exactly zero in every channel in use, as around a
            cell cut out by its mask, and padding); `cls_spread`, both side by side; SubCell's `gated_attention`.
        views: 1; or the vector is the mean of those of the image turned by quarters, 4, or mirrored as well, 8. A cell
            has no direction, a network sees one. Takes as many times as long.
        block: Tokens are taken after this many blocks of the network, from 1, through its final norm; None for all.
        intensity: How raw intensities become numbers: `unit` divides by the range of the integer type;
            `standardize` is (x - mean) / (sd + 1e-7) per image and channel; `minmax` per channel; `minmax_joint` over
            all channels of the image together; `percentile` clips at `percentiles` per channel and scales to [0, 1].
        percentiles: Lower and upper percentile of `percentile`, in [0, 100].
        mean: Per slot, subtracted after `intensity`; None to skip.
        std: Per slot, divided by after `mean`.
        resize: `square` resizes both edges to `input_px`; `short_edge_crop` resizes the short edge and crops the
            centre; `center_crop_pad` cuts or zero-pads the centre without scaling; `none_pad_to_patch` only pads to a
            multiple of the patch.
        interpolation: `bilinear` or `bicubic`, always antialiased.
        pixel_size_um: If set, images of known pixel size are first rescaled to this many micrometres per pixel.
        mapping: Channel plan: `natural` puts each channel in the slot of its stain and zeros elsewhere; `random` the
            same with slots permuted by `mapping_seed`; `replicate` copies each channel into all slots.
        mapping_seed: Seed of `random`, None otherwise.
        passes: `joint` is one forward pass; `separate` is one per channel, features concatenated. `replicate` is
            always `separate`.
        stains: Channels that are used, in the order of the concatenation; () with `joint` means all that fit a slot.
        precision: `fp32` or `bf16`.
        residual: What runs from block to block of a `bf16` network: `fp32`, or `bf16`, with which all of the network is
            rounded, as specs say that were stored before there was this field. `fp32` where the precision is.
        storage: Numbers that tables hold its vectors in: `float32`, or rounded to `float16`, half as many bytes.
        crop: How single cells are cut out of their fields; None where whole images are embedded.

    Attributes that only describe:

    Attributes:
        name: Registry name, `architecture.weights`.
        source: Where the weights come from: "timm:...", "https://...", "file", "seed:N", "shipped".
        license: SPDX id or words.
        paper: Citation or arXiv id.
        parent: Fingerprint of the encoder this one was fine-tuned from.
        notes: What a user should know, e.g. contradictory channel orders between sources.
    """

    name: str
    architecture: str
    slots: tuple[str, ...]
    input_px: int
    embedding_dim: int
    weights_sha256: str | None = None
    pooling: Pooling = "cls"
    block: int | None = None
    views: int = 1
    intensity: Intensity = "percentile"
    percentiles: tuple[float, float] = (0.0, 99.8)
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    resize: Resize = "square"
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    pixel_size_um: float | None = None
    mapping: Mapping = "natural"
    mapping_seed: int | None = None
    passes: Passes = "joint"
    stains: tuple[str, ...] = ()
    precision: Precision = "fp32"
    residual: Precision = "fp32"
    storage: Storage = "float32"
    crop: CropPlan | None = None
    source: str = field(default="", metadata={"describes": True})
    license: str = field(default="", metadata={"describes": True})
    paper: str = field(default="", metadata={"describes": True})
    parent: str | None = field(default=None, metadata={"describes": True})
    notes: str = field(default="", metadata={"describes": True})

    def __post_init__(self) -> None:
        for name, allowed in (
            ("pooling", Pooling),
            ("intensity", Intensity),
            ("resize", Resize),
            ("mapping", Mapping),
            ("passes", Passes),
            ("precision", Precision),
            ("residual", Precision),
            ("storage", Storage),
        ):
            if getattr(self, name) not in get_args(allowed):
                message = (
                    f"encoder {self.name}: {name} {getattr(self, name)!r}, allowed: {', '.join(get_args(allowed))}"
                )
                raise InputError(message)
        if not self.slots or len(set(self.slots)) != len(self.slots):
            message = f"encoder {self.name}: slots must be named and differ, got {self.slots}"
            raise InputError(message)
        for name in ("mean", "std"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.slots):
                message = f"encoder {self.name}: {name} has {len(values)} values for {len(self.slots)} slots"
                raise InputError(message)
        if (self.mapping == "random") != (self.mapping_seed is not None):
            message = f"encoder {self.name}: mapping_seed belongs to mapping 'random', and only to it"
            raise InputError(message)
        if (self.precision, self.residual) == ("fp32", "bf16"):
            message = f"encoder {self.name}: residual 'bf16' belongs to precision 'bf16', and only to it"
            raise InputError(message)
        if self.block is not None and (self.block < 1 or self.pooling == "gated_attention"):
            message = (
                f"encoder {self.name}: block {self.block} with pooling {self.pooling}: blocks count from 1, and gated "
                "attention takes the last one's tokens"
            )
            raise InputError(message)
        if self.views not in VIEWS:
            message = f"encoder {self.name}: views {self.views!r}, allowed: {', '.join(map(str, VIEWS))}"
            raise InputError(message)
        if self.mapping == "replicate" and self.passes != "separate":
            message = f"encoder {self.name}: 'replicate' takes a pass per channel, so passes must be 'separate'"
            raise InputError(message)
        if self.passes == "separate" and not self.stains:
            message = f"encoder {self.name}: separate passes need the channels named, because each adds to the vector"
            raise InputError(message)

    @property
    def needs_blank(self) -> bool:
        """Whether the pooling has to know which parts of the image are blank."""
        return self.pooling in ("spread", "cls_spread")

    @property
    def dim(self) -> int:
        """Length of the vector: `embedding_dim` times the number of passes."""
        return self.embedding_dim * (len(self.stains) if self.passes == "separate" else 1)

    @property
    def _names_residual(self) -> bool:
        """Whether `residual` is written: fingerprints and specs from before there was the field still hold without."""
        return (self.precision, self.residual) == ("bf16", "fp32")

    def identity(self) -> dict[str, Any]:
        """The fields that decide a vector, JSON-ready."""
        out: dict[str, Any] = {"identity_version": IDENTITY_VERSION}
        for f in fields(self):
            if f.name != "name" and not f.metadata.get("describes"):
                value = getattr(self, f.name)
                out[f.name] = list(value) if isinstance(value, tuple) else value
        # left out where there is none: fingerprints from before there were crops, blocks, views and storage still hold
        for name, none in (("crop", None), ("block", None), ("views", 1), ("storage", "float32")):
            if out[name] == none:
                del out[name]
        if not self._names_residual:
            del out["residual"]
        return out if self.crop is None else {**out, "crop": self.crop.to_dict()}

    @property
    def fingerprint(self) -> str:
        """sha256 of the canonical JSON of `identity()`, 64 hex digits.

        Raises:
            InputError: If the weights' digest is not known yet: such a spec decides no vector.
        """
        if self.weights_sha256 is None:
            message = f"encoder {self.name}: the digest of its weights is not known yet, so it has no fingerprint"
            raise InputError(message)
        canonical = json.dumps(self.identity(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def sees_the_same_as(self, other: "EncoderSpec") -> bool:
        """Whether another encoder is this one but for the order in which stains are named.

        With `joint` passes their vectors are equal; with `separate` ones the parts stand in another order, which
        changes no similarity but for rounding.
        """
        if sorted(self.stains) != sorted(other.stains):
            return False
        return self.fingerprint == other.with_changes(stains=self.stains).fingerprint

    def to_json(self) -> str:
        """All fields as canonical JSON; storage where it is not float32, and residual where the fingerprint has it.

        An older locatlas reads what has neither, and means the same by it.
        """
        out = {f.name: getattr(self, f.name) for f in fields(self)}
        if not self._names_residual:
            del out["residual"]
        if self.storage == "float32":
            del out["storage"]
        out["crop"] = self.crop.to_dict() if self.crop else None
        return json.dumps(out, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The spec written by `to_json`.

        Raises:
            InputError: If a field is unknown or missing.
        """
        raw: Any = json.loads(text)
        if not isinstance(raw, dict):
            message = f"encoder spec is a {type(raw).__name__}, not an object of fields"
            raise InputError(message)
        if unknown := sorted(raw.keys() - {f.name for f in fields(cls)}):
            message = f"encoder spec has unknown fields {unknown}; written by a newer locatlas?"
            raise InputError(message)
        if missing := sorted({"name", "architecture", "slots", "input_px", "embedding_dim"} - raw.keys()):
            message = f"encoder spec lacks the fields {missing}"
            raise InputError(message)
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
        if values.get("crop") is not None:
            values["crop"] = _crop(values["crop"])
        # stored before there was the field: all of a bf16 network was bfloat16
        values.setdefault("residual", values.get("precision", "fp32"))
        return cls(**values)

    def with_changes(self, **changes: Any) -> Self:
        """A copy with some fields replaced."""
        return replace(self, **changes)


def _crop(raw: Any) -> CropPlan:
    try:
        return CropPlan(**raw)
    except TypeError as error:
        message = f"encoder spec has a crop that this locatlas does not know ({error}); written by a newer one?"
        raise InputError(message) from error
