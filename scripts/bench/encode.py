"""How many images a second an encoder embeds in fp32 and in bf16, and how far the two vectors of an image differ.

Run as `python scripts/bench/encode.py --encoder NAME`. Made fields (2 x 600 x 600, uint16); the precisions take turns,
round by round, so that a busy machine slows both; the ratio is that of the medians.
"""

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path

import numpy as np

from locatlas.models.encode import load_encoder, resolve
from locatlas.types import ChannelImage


def fields(n: int) -> list[ChannelImage]:
    """Smooth random fields with the dynamic range of a camera."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    raw = gaussian_filter(rng.gamma(0.3, 3000.0, size=(n, 2, 600, 600)), (0, 0, 4, 4))
    pixels = np.clip(raw + 200, 0, 65535).astype(np.uint16)
    return [ChannelImage(image, ("nucleus", "protein")) for image in pixels]


def main() -> None:
    """Measure and print; with --json also write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="locatlas_pico.untrained")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    images = fields(given.images)
    encoders = {p: load_encoder(resolve(given.encoder, precision=p)) for p in ("fp32", "bf16")}
    prepared = [encoders["fp32"].prepare(image) for image in images]
    vectors = {p: encoder.encode_prepared(prepared) for p, encoder in encoders.items()}  # also warms up
    seconds: dict[str, list[float]] = {p: [] for p in encoders}
    start = time.perf_counter()
    for image in images:
        encoders["fp32"].prepare(image)
    preparing = (time.perf_counter() - start) / len(images)
    for _ in range(given.rounds):
        for precision, encoder in encoders.items():
            start = time.perf_counter()
            encoder.encode_prepared(prepared)
            seconds[precision].append(time.perf_counter() - start)
    unit = {p: v / np.linalg.norm(v, axis=1, keepdims=True) for p, v in vectors.items()}
    cosine = (unit["fp32"] * unit["bf16"]).sum(axis=1)
    rate = {p: given.images / statistics.median(s) for p, s in seconds.items()}
    found = {
        "encoder": given.encoder,
        "images_per_s": {p: round(r, 1) for p, r in rate.items()},
        "bf16_over_fp32": round(rate["bf16"] / rate["fp32"], 2),
        "cosine_mean": float(cosine.mean()),
        "cosine_min": float(cosine.min()),
        "prepare_ms_per_image": round(1000 * preparing, 2),
        "rounds": given.rounds,
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
    }
    print(json.dumps(found, indent=2))
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
