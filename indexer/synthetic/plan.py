"""What a collection will hold, field by field, before anything is drawn. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from locatlas.indexer.synthetic.looks import SourceName
from locatlas.indexer.synthetic.proteins import Protein

__all__ = ["FovJob", "plan_fovs"]

_CHANNEL_COLOURS = {"microtubules": "red", "protein": "green", "nucleus": "blue", "er": "yellow"}  # HPA's colours
_PLATE = 9901  # HPA's plates have up to four digits and end far below
_WELLS = tuple(f"{row}{column}" for row in "ABCDEFGH" for column in range(1, 13))


@dataclass(frozen=True, slots=True)
class FovJob:
    """One field of view to draw and to write.

    Attributes:
        source: Which look and layout.
        protein: What is shown.
        number: Of the protein's fields in this source, from 0.
        size_px: Edge of the square field.
        entropy: Key of the random numbers, different for each field and independent of how many there are.
        name: Unique in its source: OpenCell's FID, or HPA's plate, well and field.
        stem: File name without channel and extension.
        plate: HPA plate, "" for OpenCell.
        well: HPA well, "" for OpenCell.
        folder: Folder of the image files, relative to the collection.
    """

    source: SourceName
    protein: Protein
    number: int
    size_px: int
    entropy: tuple[int, ...]
    name: str
    stem: str
    plate: str
    well: str
    folder: PurePosixPath

    def image_paths(self) -> dict[str, PurePosixPath]:
        """Files relative to the collection, by channel; OpenCell's one file holds all and stands under ""."""
        if self.source == "opencell":
            return {"": self.folder / f"{self.stem}_proj.tif"}
        return {channel: self.folder / f"{self.stem}_{colour}.png" for channel, colour in _CHANNEL_COLOURS.items()}

    def mask_path(self) -> PurePosixPath:
        """Label image of the cells, relative to the collection."""
        return PurePosixPath(self.source, "masks", f"{self.name}_mask.png")

    def nuclei_path(self) -> PurePosixPath:
        """Label image of the nuclei, relative to the collection."""
        return PurePosixPath(self.source, "masks", f"{self.name}_nuclei.png")

    def generator(self, seed: int) -> np.random.Generator:
        """The field's own random numbers."""
        return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=self.entropy))


def plan_fovs(
    proteins: Sequence[Protein],
    *,
    opencell_fovs: int,
    opencell_px: int,
    hpa_proteins: frozenset[str],
    hpa_fovs: int,
    hpa_px: int,
) -> list[FovJob]:
    """List all fields: OpenCell first, protein by protein; then HPA for the genes in `hpa_proteins`."""
    jobs = []
    for protein in proteins:
        target = f"{protein.gene}_{protein.ensembl_id}"
        for number in range(opencell_fovs):
            fid = f"FID99{protein.number:04d}{number + 1:02d}"  # globally unique, as in OpenCell
            jobs.append(
                FovJob(
                    "opencell",
                    protein,
                    number,
                    opencell_px,
                    (2, 0, protein.number, number),
                    fid,
                    f"OC-FOV_{target}_{protein.cell_line_id}_{fid}",
                    "",
                    "",
                    PurePosixPath("opencell/microscopy/raw", target),
                )
            )
    stained = [protein for protein in proteins if protein.gene in hpa_proteins]
    for index, protein in enumerate(stained):
        # antibodies of a class lie apart, so that a plate does not tell the class
        slot = (index * 37) % max(len(stained), 1) if np.gcd(37, max(len(stained), 1)) == 1 else index
        plate, well = str(_PLATE + slot // len(_WELLS)), _WELLS[slot % len(_WELLS)]
        jobs.extend(
            FovJob(
                "hpa",
                protein,
                number,
                hpa_px,
                (2, 1, protein.number, number),
                f"{plate}_{well}_{number + 1}",
                f"{plate}_{well}_{number + 1}",
                plate,
                well,
                PurePosixPath("hpa", str(protein.antibody)),
            )
            for number in range(hpa_fovs)
        )
    return jobs
