"""Names by which masks and tables mean a field of view. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile
from pathlib import PurePath
from typing import Literal

from locatlas.indexer.datasets.scan import IMAGE_SUFFIXES
from locatlas.indexer.records import ImageRecord

__all__ = ["MaskName", "mask_name", "names_of"]

# What the names of channel files end with: HPA's colours, OpenCell's kinds of file, our channel names.
CHANNEL_SUFFIX = re.compile(r"_(?:red|green|blue|yellow|proj|stack|nucleus|protein|microtubules|er)$", re.IGNORECASE)

# HPA-Cell-Segmentation writes cellmask_{name}, Cellpose {name}_cp_masks; the longest that fits counts.
CELL_PREFIXES = ("cellmask_", "cell_mask_")
CELL_SUFFIXES = ("_cellmask", "_cell_mask", "_cp_masks", "_mask", "_masks")
NUCLEUS_PREFIXES = ("nucleimask_", "nuclei_mask_")
NUCLEUS_SUFFIXES = ("_nucleimask", "_nuclei_mask", "_nuclei", "_nuc_mask", "_nucleus_mask")


@dataclass(frozen=True, slots=True)
class MaskName:
    """What the name of a mask file says.

    Attributes:
        of: What the mask is of.
        stem: Name of the field.
        marked: Whether the name says that it is a mask; otherwise it is the field's name itself.
    """

    of: Literal["cells", "nuclei"]
    stem: str
    marked: bool


def mask_name(path: PurePath) -> MaskName:
    """What a mask is of, by its name; a file without a mark is of nuclei where its folder is named for them.

    Example:
        >>> mask_name(PurePath("1_A1_1_cellmask.png")).stem, mask_name(PurePath("hpa_nuclei_mask/1_A1_1.npz")).of
        ('1_A1_1', 'nuclei')
    """
    stem = path.stem
    kinds: tuple[tuple[Literal["cells", "nuclei"], tuple[str, ...], tuple[str, ...]], ...] = (
        ("nuclei", NUCLEUS_PREFIXES, NUCLEUS_SUFFIXES),
        ("cells", CELL_PREFIXES, CELL_SUFFIXES),
    )
    for of, prefixes, suffixes in kinds:
        for prefix in prefixes:
            if stem.startswith(prefix) and stem != prefix:
                return MaskName(of, stem.removeprefix(prefix), marked=True)
        for suffix in suffixes:
            if stem.endswith(suffix) and stem != suffix:
                return MaskName(of, stem.removesuffix(suffix), marked=True)
    return MaskName("nuclei" if "nuc" in path.parent.name.lower() else "cells", stem, marked=False)


def names_of(record: ImageRecord) -> list[str]:
    """Names under which a field may be known: its id with and without data set, its files with and without suffix."""
    files = [source.path.name for source in record.sources]
    stems = [_stem(name) for name in files]
    plain = [CHANNEL_SUFFIX.sub("", stem) for stem in stems]
    names = [record.id, record.id.removeprefix(f"{record.dataset}/"), *files, *plain]
    if len(stems) == 1:
        names += stems
    elif common := _common(
        stems
    ):  # of several, one channel's name must not stand for the field: it may be a file of it
        names.append(common)
    return list(dict.fromkeys(names))


def _stem(name: str) -> str:
    suffix = next((s for s in sorted(IMAGE_SUFFIXES, key=len, reverse=True) if name.lower().endswith(s)), "")
    return name[: len(name) - len(suffix)] if suffix else PurePath(name).stem


def _common(stems: Iterable[str]) -> str:
    """What the names begin with in common, up to a separator."""
    stems = list(stems)
    common = "".join(cs[0] for cs in takewhile(lambda cs: len(set(cs)) == 1, zip(*stems, strict=False)))
    return common if common in stems else re.sub(r"[^_.\- ]*$", "", common).rstrip("_.- ")
