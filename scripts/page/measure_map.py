"""How soon a map of many points can be used: from the arrival of the data to a finished picture, and at each move.

Run as `python scripts/page/measure_map.py ATLAS`. The page is that of `locatlas serve`; the points are made here and
put in place of the server's, so that the atlas decides nothing. Every frame is waited for (glFinish and a pixel read
back), so that no work is left in the graphics' queue.
"""

import argparse
import io
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from browsing import chromium, served

_PROTEINS, _PLACES = 1300, 30

# the time when each frame is really there
_FINISH = """
window.frames_done = [];
const draw = WebGL2RenderingContext.prototype.drawArrays;
WebGL2RenderingContext.prototype.drawArrays = function (...given) {
    draw.apply(this, given);
    this.finish();
    this.readPixels(0, 0, 1, 1, this.RGBA, this.UNSIGNED_BYTE, new Uint8Array(4));
    window.frames_done.push(performance.now());
};
"""


def points(n: int, seed: int = 0) -> bytes:
    """Clouds of n points in 30 classes, as the server would send them: an Arrow IPC stream."""
    rng = np.random.default_rng(seed)
    place = rng.integers(0, _PLACES, n)
    centres = rng.normal(0, 6, (_PLACES, 2))
    xy = (centres[place] + rng.normal(0, 1.2, (n, 2))).astype(np.float32)
    protein = rng.integers(0, _PROTEINS, n)
    names = [
        pa.DictionaryArray.from_arrays(
            pa.array(codes.astype(np.int32)), [f"{kind}{i}" for i in range(int(codes.max()) + 1)]
        )
        for kind, codes in (("GENE", protein), ("place ", place))
    ]
    table = pa.table(
        {
            "id": [f"made/F{i // 40:05d}/{i % 40}" for i in range(n)],
            "x": np.ascontiguousarray(xy[:, 0]),
            "y": np.ascontiguousarray(xy[:, 1]),
            "protein": names[0],
            "dataset": pa.array(["made"] * n).dictionary_encode(),
            "localization": names[1],
            "localizations": names[1],
            "n_localizations": np.ones(n, np.int16),
            "placed": np.zeros(n, bool),
        }
    ).replace_schema_metadata({"method": "made", "params": "{}", "fingerprint": ""})
    out = io.BytesIO()
    with pa.ipc.new_stream(out, table.schema) as stream:
        stream.write_table(table)
    return out.getvalue()


def measured(address: str, browser: Any, body: bytes, runs: int) -> dict[str, Any]:
    """Milliseconds of each run, and what drew it."""
    found: dict[str, list[float]] = {name: [] for name in ("usable_ms", "zoom_frame_ms", "hover_ms", "filter_ms")}
    renderer = ""
    for _ in range(runs):
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(120_000)
        page.add_init_script(_FINISH)
        page.route(
            "**/api/v1/points?*",
            lambda route: route.fulfill(body=body, content_type="application/vnd.apache.arrow.stream"),
        )
        page.goto(f"{address}/#/map")
        page.wait_for_selector(".view-map[data-usable]")
        found["usable_ms"].append(float(page.get_attribute(".view-map", "data-usable")))
        box = page.locator("canvas.cloud").bounding_box()
        renderer = page.evaluate(
            """() => {
                const gl = document.querySelector("canvas.cloud").getContext("webgl2");
                const told = gl.getExtension("WEBGL_debug_renderer_info");
                return gl.getParameter(told?.UNMASKED_RENDERER_WEBGL ?? gl.RENDERER);
            }"""
        )
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        for _ in range(5):
            found["zoom_frame_ms"].append(_frame(page, lambda page=page: page.mouse.wheel(0, -120)))
        start = time.perf_counter()
        page.mouse.move(box["x"] + box["width"] / 2 + 9, box["y"] + box["height"] / 2 + 5)
        while not page.evaluate("document.querySelector('.tip').dataset.id && !document.querySelector('.tip').hidden"):
            if time.perf_counter() - start > 30:
                raise SystemExit("no point under the pointer")
        found["hover_ms"].append(1000 * (time.perf_counter() - start))
        found["filter_ms"].append(_frame(page, lambda page=page: page.locator(".legend button").first.click()))
        page.close()
    return {
        "chromium": browser.version,
        "renderer": renderer,
        "cores": os.cpu_count(),
        "load_1min": os.getloadavg()[0],
        "bytes": len(body),
        **{name: {"median": round(statistics.median(v), 1), "most": round(max(v), 1)} for name, v in found.items()},
    }


def _frame(page: Any, act: Any) -> float:
    """From an act to the end of the first frame that it causes."""
    page.wait_for_timeout(1000)
    before = page.evaluate("[performance.now(), window.frames_done.length]")
    act()
    while page.evaluate("window.frames_done.length") == before[1]:
        pass
    return float(page.evaluate(f"window.frames_done[{before[1]}]") - before[0])


def main() -> None:
    """Print the numbers as JSON; exit 1 where the map is not usable within the bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("atlas", type=Path)
    parser.add_argument("--points", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--bound", type=float, default=3.0, help="seconds until the map must be usable")
    given = parser.parse_args()
    with served(given.atlas) as address, chromium() as browser:
        found = {"points": given.points, **measured(address, browser, points(given.points), given.runs)}
    print(json.dumps(found, indent=2))
    if found["usable_ms"]["median"] > 1000 * given.bound:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
