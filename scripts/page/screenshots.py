"""Pictures of the page for docs/page.md, from the demo's made images.

Run as `python scripts/page/screenshots.py ATLAS docs/figures/page`, where ATLAS was made by

    locatlas demo demo
    locatlas index demo/images/opencell --atlas demo/atlas --dataset opencell --level cell
    locatlas benchmark scripts/page/demo_grid.toml --atlas demo/atlas
    locatlas map --atlas demo/atlas --level cell --method umap
    locatlas map --atlas demo/atlas --level fov

Every picture is a PNG below 300 kB, of 256 colours where it needs to be; one that is larger ends the script.
"""

import argparse
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from browsing import chromium, served
from PIL import Image

MOST_BYTES = 300_000
DESK, PHONE = (1280, 800), (390, 844)


@dataclass(frozen=True)
class Shot:
    """One picture: its file, the view, the window, the theme, and what is done first."""

    name: str
    at: str
    size: tuple[int, int] = DESK
    theme: str = "light"
    act: Callable[[Any], None] | None = None


def _hover(page: Any) -> None:
    box = page.locator("canvas.cloud").bounding_box()
    for dx, dy in ((0, 0), (25, 10), (-30, 20), (60, -40)):
        page.mouse.move(box["x"] + 0.46 * box["width"] + dx, box["y"] + 0.42 * box["height"] + dy)
        if page.locator(".tip").is_visible():
            return


def _lasso(page: Any) -> None:
    box = page.locator("canvas.cloud").bounding_box()
    page.keyboard.down("Shift")
    corners = [(0.62, 0.3), (0.78, 0.35), (0.82, 0.6), (0.7, 0.7), (0.6, 0.5)]
    for i, (x, y) in enumerate(corners):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=3)
        if i == 0:
            page.mouse.down()
    page.mouse.up()
    page.keyboard.up("Shift")
    page.mouse.move(5, 5)


SHOTS = (
    Shot("proteins", "#/"),
    Shot("protein", "#/protein/SYNX-0901", theme="dark"),
    Shot("cells", "#/image/opencell/FID99090101"),
    Shot("map", "#/map?level=cell", act=_hover),
    Shot("selection", "#/map?level=cell&colour=predicted", theme="dark", act=_lasso),
    Shot(
        "pictures",
        "#/map?level=cell",
        theme="dark",
        act=lambda page: page.get_by_role("button", name="Pictures").click(),
    ),
    Shot("compare", "#/compare?protein=SYNX-0501&level=fov"),
    Shot("benchmarks", "#/benchmarks"),
    Shot("phone", "#/protein/SYNX-0401", size=PHONE, theme="dark"),
)


def taken(browser: Any, address: str, shot: Shot) -> bytes:
    """The picture as PNG."""
    width, height = shot.size
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=shot.theme)
    page.set_default_timeout(120_000)
    page.goto(f"{address}/{shot.at}")
    page.wait_for_selector(".waiting", state="detached")
    page.wait_for_load_state("networkidle")
    if shot.act is not None:
        shot.act(page)
        page.wait_for_timeout(500)
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(500)
    loaded = "[...document.images].filter(i => !i.complete && i.getBoundingClientRect().top < innerHeight).length"
    while page.evaluate(loaded):
        page.wait_for_timeout(100)
    page.wait_for_timeout(300)
    shown = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    page.close()
    whole = _png(shown)
    # few pixels of a colour count as much as many: swatches of a legend keep theirs
    return (
        whole
        if len(whole) < MOST_BYTES
        else _png(shown.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE))
    )


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


def main() -> None:
    """Write all pictures, or those named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("atlas", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", action="append", default=[], choices=[shot.name for shot in SHOTS])
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with served(given.atlas) as address, chromium() as browser:
        for shot in SHOTS:
            if given.only and shot.name not in given.only:
                continue
            png = taken(browser, address, shot)
            if len(png) >= MOST_BYTES:
                raise SystemExit(f"{shot.name}: {len(png)} bytes, at most {MOST_BYTES}")
            (given.out / f"{shot.name}.png").write_bytes(png)
            print(f"{shot.name}.png {len(png) // 1000} kB")


if __name__ == "__main__":
    main()
