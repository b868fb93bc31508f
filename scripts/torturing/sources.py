"""The images that are indexed, on disk and in memory: OpenCell's fields, and masked fields with cells. I/O."""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

__all__ = ["CHANNELS", "CROP_PX", "Field", "MaskedField", "Sources", "cell_planes", "field_id", "planes"]

CHANNELS = ("nucleus", "protein")
EDGE_PX, MASKED_EDGE_PX, CROP_PX = 32, 48, 9
LABELS = ("nucleoplasm", "vesicles", "chromatin", "er", "golgi")
BROKEN = b"no image"

Box = tuple[int, int, int, int]
"""Top, left, bottom, right."""


def planes(seed: int, edge_px: int) -> NDArray[Any]:
    """Noise that no two seeds share, (channels, edge, edge)."""
    return np.random.default_rng(seed).integers(0, 4000, (len(CHANNELS), edge_px, edge_px)).astype(np.uint16)


def cell_planes(seed: int, box: Box) -> NDArray[Any]:
    """The square around the middle of a box, zeros outside of the field, cut without the code that is tortured."""
    padded = np.pad(planes(seed, MASKED_EDGE_PX), ((0, 0), (CROP_PX, CROP_PX), (CROP_PX, CROP_PX)))
    top, left, bottom, right = box
    # the middle of a pixel has whole coordinates; halves are rounded up
    rows = [
        int(np.floor((a + b - 1) / 2 - (CROP_PX - 1) / 2 + 0.5)) + CROP_PX for a, b in ((top, bottom), (left, right))
    ]
    return padded[:, rows[0] : rows[0] + CROP_PX, rows[1] : rows[1] + CROP_PX]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of OpenCell's layout; no seed: a file that is no image."""

    seed: int | None
    label: str


@dataclass(frozen=True, slots=True)
class MaskedField:
    """A field with a label image."""

    seed: int
    label: str
    boxes: tuple[tuple[int, Box], ...]


def field_id(n: int) -> str:
    """Id of a field of OpenCell's layout."""
    return f"opencell/FID{n:08d}"


def _file(n: int) -> str:
    return f"OC-FOV_GENE{n}_ENSG{n:011d}_CID{n:06d}_FID{n:08d}_proj.tif"


@dataclass(slots=True)
class Sources:
    """Two folders of images.

    Attributes:
        folder: Where they lie.
        fields: By number.
        masked: By name.
    """

    folder: Path
    fields: dict[int, Field] = field(default_factory=dict)
    masked: dict[str, MaskedField] = field(default_factory=dict)
    _next: int = 0

    @property
    def opencell(self) -> Path:
        """Fields of OpenCell's layout."""
        return self.folder / "opencell"

    @property
    def cells(self) -> Path:
        """Masked fields, with a manifest."""
        return self.folder / "masked"

    def write(self) -> None:
        """Write both folders."""
        self._write_fields()
        self._write_masked()

    def change_fields(self, chance: random.Random, *, most: int) -> None:
        """New, changed, broken, mended, relabelled and removed fields."""
        for n in list(self.fields):
            before, what = self.fields[n], chance.random()
            if what < 0.12 and sum(f.seed is not None for f in self.fields.values()) > 3:
                del self.fields[n]
            elif what < 0.3 or (before.seed is None and what < 0.6):
                self.fields[n] = Field(chance.getrandbits(32), before.label)
            elif what < 0.4:
                self.fields[n] = Field(before.seed, chance.choice(LABELS[:3]))
        for _ in range(chance.randint(1, 4)):
            if len(self.fields) < most:
                seed = None if chance.random() < 0.1 and self.fields else chance.getrandbits(32)
                self.fields[self._next] = Field(seed, chance.choice(LABELS[:3]))
                self._next += 1
        self._write_fields()

    def _write_fields(self) -> None:
        self.opencell.mkdir(parents=True, exist_ok=True)
        wanted = {_file(n): one for n, one in self.fields.items()}
        for path in self.opencell.glob("*.tif"):
            if path.name not in wanted:
                path.unlink()
        for name, one in wanted.items():
            _write(self.opencell / name, None if one.seed is None else planes(one.seed, EDGE_PX))
        lines = ["ensg_id,target_name,annotations_grade_3,annotations_grade_2,annotations_grade_1"]
        lines += [f"ENSG{n:011d},GENE{n},{one.label},," for n, one in sorted(self.fields.items())]
        (self.opencell / "opencell-localization-annotations.csv").write_text("\n".join(lines) + "\n")

    def change_masked(self, chance: random.Random, *, most: int) -> None:
        """New, changed and removed fields; other cells; other labels."""
        for name in list(self.masked):
            before, what = self.masked[name], chance.random()
            if what < 0.12 and len(self.masked) > 1:
                del self.masked[name]
            elif what < 0.25:
                self.masked[name] = MaskedField(chance.getrandbits(32), before.label, before.boxes)
            elif what < 0.5:
                self.masked[name] = MaskedField(before.seed, before.label, _boxes(chance))
            elif what < 0.6:
                self.masked[name] = MaskedField(before.seed, chance.choice(LABELS), before.boxes)
        for _ in range(chance.randint(1, 2)):
            if len(self.masked) < most:
                self.masked[f"m{self._next}"] = MaskedField(
                    chance.getrandbits(32), chance.choice(LABELS), _boxes(chance)
                )
                self._next += 1
        self._write_masked()

    def _write_masked(self) -> None:
        self.cells.mkdir(parents=True, exist_ok=True)
        wanted = {f"{name}{end}" for name in self.masked for end in (".tif", "_mask.tif")}
        for path in self.cells.glob("*.tif"):
            if path.name not in wanted:
                path.unlink()
        lines = ["id,path,channels,protein,localizations,mask_path"]
        for name, one in sorted(self.masked.items()):
            mask = np.zeros((MASKED_EDGE_PX, MASKED_EDGE_PX), np.uint16)
            for number, (top, left, bottom, right) in one.boxes:
                mask[top:bottom, left:right] = number
            _write(self.cells / f"{name}.tif", planes(one.seed, MASKED_EDGE_PX))
            _write(self.cells / f"{name}_mask.tif", mask)
            lines.append(f"{name},{name}.tif,{';'.join(CHANNELS)},P{name},{one.label},{name}_mask.tif")
        (self.cells / "manifest.csv").write_text("\n".join(lines) + "\n")


def _boxes(chance: random.Random) -> tuple[tuple[int, Box], ...]:
    """Up to four cells, each in a quarter of the field."""
    half, found = MASKED_EDGE_PX // 2, []
    for quarter in range(4):
        if chance.random() < 0.6:
            top, left = quarter // 2 * half, quarter % 2 * half
            height, width = chance.randint(4, half - 2), chance.randint(4, half - 2)
            down, right = chance.randint(0, half - height - 1), chance.randint(0, half - width - 1)
            box = (top + down, left + right, top + down + height, left + right + width)
            found.append((quarter * 3 + 1, box))
    return tuple(found)


def _write(path: Path, array: NDArray[Any] | None) -> None:
    """A file, unless its contents are the same: then its time stays, too."""
    if array is None:
        if not path.exists() or path.read_bytes() != BROKEN:
            path.write_bytes(BROKEN)
        return
    if path.exists() and path.read_bytes() != BROKEN and np.array_equal(tifffile.imread(path), array):
        return
    axes = {"axes": "CYX"[-array.ndim :]}
    tifffile.imwrite(path, array, imagej=True, metadata=axes)
