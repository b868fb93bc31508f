"""What a data set reader yields: one image with its metadata, or a source that cannot be used. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

__all__ = ["ImageRecord", "RejectedSource", "Source"]


@dataclass(frozen=True, slots=True)
class Source:
    """A file and the channels it holds.

    Attributes:
        path: Absolute path; lies under the root that is indexed (or is named by its manifest).
        channels: Meanings of the file's planes in order, "" for a plane that is none of the image's (scPortrait's
            masks). A colour file that holds one stain (HPA's RGB JPEG) has one meaning, and the reader takes the planes
            in which the stain is shown.
    """

    path: Path
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """One FOV, or one image of a single cell, before its pixels are read.

    Attributes:
        id: Deterministic, unique, "<dataset>/<name>", NFC-normalised, without control characters.
        level: "fov", or "cell" for files that are already one cell each.
        dataset: Data set name as given to `index --dataset`, the id's first part.
        sources: Files, in channel order.
        protein: Gene symbol. None where unknown.
        localizations: The set of localizations that count as annotated, sorted.
        graded: (localization, grade) pairs, all grades, sorted; empty where the source has no grades.
        groups: Further units that must not be split, e.g. {"composite": "mixed_img0"}.
        metadata: Whatever else the source says, as text; filters can use it.
        mask_path: Label image of the cells, where given.
        nucleus_mask_path: Label image of the nuclei, where given.
        fov_id: For a cell: id of its field of view, where known.
        row: Row of a stacked array file, e.g. cytoself's npy or scPortrait's h5sc; None for one image a file.
        annotated_by: For a cell: who annotated it; then `localizations` are its own. None: they are inherited.
    """

    id: str
    level: Literal["fov", "cell"]
    dataset: str
    sources: tuple[Source, ...]
    protein: str | None = None
    ensembl_id: str | None = None
    antibody: str | None = None
    cell_line: str | None = None
    plate: str | None = None
    well: str | None = None
    localizations: tuple[str, ...] = ()
    graded: tuple[tuple[str, int], ...] = ()
    pixel_size_um: float | None = None
    groups: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    mask_path: Path | None = None
    nucleus_mask_path: Path | None = None
    fov_id: str | None = None
    row: int | None = None
    annotated_by: str | None = None

    @property
    def channels(self) -> tuple[str, ...]:
        """Meanings of all planes that are read, over all sources."""
        return tuple(channel for source in self.sources for channel in source.channels if channel)


@dataclass(frozen=True, slots=True)
class RejectedSource:
    """A source that no record could be made of, with the reason in one line."""

    source: str
    reason: str
    dataset: str
