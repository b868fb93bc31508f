"""Draw the README's figures from a demo folder: a sheet of its made images, and its sweep.

Run as `python scripts/readme_figures.py demo docs/figures`.
"""

import argparse
import io
from pathlib import Path

from PIL import Image, ImageDraw

import locatlas

EDGE_PX = 96
LABEL_PX = 14


def sheet(atlas: locatlas.Atlas, path: Path) -> None:
    """One made FOV per localization and source, as stored thumbnails: OpenCell-like above, HPA-like below."""
    rows = atlas.store.read("fovs", ["id", "dataset", "localizations", "thumbnail"]).to_pylist()
    single = [row for row in rows if len(row["localizations"]) == 1]
    columns = sorted({row["localizations"][0] for row in single if row["dataset"] == "opencell"})
    hpa = sorted({row["localizations"][0] for row in single if row["dataset"] == "hpa"})
    bands = [("opencell", columns), ("hpa", hpa)]
    width = max(len(names) for _, names in bands)
    canvas = Image.new("RGB", (width * EDGE_PX, len(bands) * (EDGE_PX + LABEL_PX)), "white")
    draw = ImageDraw.Draw(canvas)
    for y, (dataset, names) in enumerate(bands):
        for x, name in enumerate(names):
            row = next(r for r in single if r["dataset"] == dataset and r["localizations"] == [name])
            thumbnail = Image.open(io.BytesIO(row["thumbnail"])).resize((EDGE_PX - 2, EDGE_PX - 2))
            top = y * (EDGE_PX + LABEL_PX)
            draw.text((x * EDGE_PX + 2, top), name[:17], fill="black")
            canvas.paste(thumbnail, (x * EDGE_PX, top + LABEL_PX))
    canvas.save(path, quality=85)


def main() -> None:
    """Write made_images.jpg and sweep.svg."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    atlas = locatlas.open(given.demo / "atlas")
    sheet(atlas, given.out / "made_images.jpg")
    atlas.sweep(ks=(1, 3, 5, 10, 20), where=["dataset=opencell"], weights=("uniform", "softmax")).plot(
        given.out / "sweep.svg"
    )


if __name__ == "__main__":
    main()
