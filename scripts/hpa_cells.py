"""485 real single cells of the collection that docs/real-data.md describes, for the scripts that measure on them."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from locatlas.query.scores.protocols import hashed_order
from locatlas.types import ChannelImage

COLOURS = {"microtubules": "red", "protein": "green", "nucleus": "blue", "er": "yellow"}
"""Meaning and file of each channel."""


def read_cells(folder: Path) -> tuple[list[str], list[str], list[str], list[ChannelImage]]:
    """Ids, groups, labels and images in hashed order of the ids, so that no tie follows a name."""
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows = [rows[i] for i in hashed_order([row["cell_id"] for row in rows])]
    images = []
    for row in rows:
        planes = [np.asarray(Image.open(folder / f"{row['cell_id']}_{colour}.png")) for colour in COLOURS.values()]
        images.append(ChannelImage(np.stack(planes), tuple(COLOURS)))
    ids, groups, labels = ([row[name] for row in rows] for name in ("cell_id", "group", "location"))
    return ids, groups, labels, images
