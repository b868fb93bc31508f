"""What runs a network how fast, with nothing beside it, and how close its vectors are to torch's in float32.

    python scripts/bench/runtimes.py [--images 48] [--rounds 4] [--cells FOLDER] [--weights FILE] [--json OUT]

A ViT-S on images that lie ready. Ways take turns, round by round; told are the seconds of cores an image, best of the
rounds, which other work on the machine stretches less than the clock's. One core: torch and OpenVINO with one thread.
All cores: as `locatlas embed` runs it. With --cells (485 HPA cells: `labels.csv` beside PNG files) then the least and
the mean cosine of each way's vectors to torch's in float32, and the share of the ten nearest that they have in common.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from embedding import SIZE, SLOTS, register, show  # beside this file
from numpy.typing import NDArray
from PIL import Image


def alone(name: str, ways: Sequence[tuple[str, str]], n: int, rounds: int) -> list[dict[str, Any]]:
    """Rows: way, core ms an image and images a second with one thread and with all, quotients to torch's float32."""
    from locatlas.models.encode import load_encoder, resolve

    all_threads = torch.get_num_threads()
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(1, len(SLOTS), SIZE, SIZE, generator=generator) for _ in range(n)]
    works: dict[tuple[str, int], Callable[[], Any]] = {}
    for threads in dict.fromkeys((1, all_threads)):
        torch.set_num_threads(threads)
        for runtime, precision in ways:
            spec = resolve(name, precision=precision)  # type: ignore[arg-type]
            encoder = load_encoder(spec, device="cpu", runtime=runtime)  # type: ignore[arg-type]
            works[f"{runtime} {precision}", threads] = lambda e=encoder: e.encode_prepared(inputs)
            works[f"{runtime} {precision}", threads]()  # converts, and starts threads
        plain = load_encoder(resolve(name, precision="fp32"), device="cpu")._passes.network

        def autocast(network: Any = plain) -> None:
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                for start in range(0, n, 4):
                    network(torch.cat(inputs[start : start + 4]))

        works["torch bf16, autocast", threads] = autocast
    best = dict.fromkeys(works, (float("inf"), float("inf")))
    for _ in range(rounds):
        for (way, threads), work in works.items():
            torch.set_num_threads(threads)
            core, began = time.process_time(), time.perf_counter()
            work()
            took = (time.perf_counter() - began, time.process_time() - core)
            best[way, threads] = (min(best[way, threads][0], took[0]), min(best[way, threads][1], took[1]))
    torch.set_num_threads(all_threads)
    rows = []
    for way in dict.fromkeys(way for way, _ in works):
        row: dict[str, Any] = {"way": way}
        for threads in dict.fromkeys((1, all_threads)):
            (seconds, core), (base_s, base_core) = best[way, threads], best["torch fp32", threads]
            row |= {
                f"{threads} threads: core ms": round(1000 * core / n, 1),
                f"{threads} threads: x core": round(base_core / core, 2),
                f"{threads} threads: images/s": round(n / seconds, 1),
                f"{threads} threads: x": round(base_s / seconds, 2),
            }
        rows.append(row)
    return rows


def closeness(cells: Path, name: str, ways: Sequence[tuple[str, str]], at_most: int) -> list[dict[str, Any]]:
    """Least and mean cosine, and share of the ten nearest, of each way against torch in float32."""
    from locatlas.models.encode import load_encoder, resolve
    from locatlas.types import ChannelImage

    names = [line.split(",")[0] for line in (cells / "labels.csv").read_text().splitlines()[1:]][:at_most]
    images = [ChannelImage(np.asarray(Image.open(cells / f"{cell}_green.png"))[None], ("protein",)) for cell in names]

    def unit(runtime: Any, precision: Any) -> NDArray[np.float32]:
        spec = resolve(name, mapping="replicate", stains=("protein",), precision=precision)
        vectors = load_encoder(spec, device="cpu", runtime=runtime).encode(images)
        out: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return out

    def nearest(vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        similar = vectors @ vectors.T
        np.fill_diagonal(similar, -2)
        order: NDArray[np.int64] = np.argsort(-similar, axis=1)[:, :10]
        return order

    wanted = unit("torch", "fp32")
    its = nearest(wanted)
    rows = []
    for runtime, precision in ways[1:]:
        found = unit(runtime, precision)
        cosine = (found * wanted).sum(axis=1)
        shared = np.mean([len({*a} & {*b}) / 10 for a, b in zip(nearest(found).tolist(), its.tolist(), strict=True)])
        rows.append(
            {
                "way": f"{runtime} {precision}",
                "cosine_min": round(float(cosine.min()), 6),
                "cosine_mean": round(float(cosine.mean()), 6),
                "overlap_at_10": round(float(shared), 4),
            }
        )
    return rows


def main() -> None:
    """Measure and print; with --json also write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--cells", type=Path, help="folder hpa_cells")
    parser.add_argument("--at-most", type=int, default=485, help="cells of it")
    parser.add_argument("--weights", type=Path, help="DINOv2 ViT-S/14; without, ViT-S/16 with random weights")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    architecture = "vit_small_patch16_224" if given.weights is None else "vit_small_patch14_dinov2"
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["LOCATLAS_HOME"] = str(Path(temporary) / "home")
        name = register(Path(temporary) / "weights.safetensors", architecture, given.weights)
        ways = [("torch", "fp32"), ("torch", "bf16")]
        if find_spec("openvino") is None:
            print("OpenVINO is not installed: left out")
        else:
            ways += [("openvino", "fp32"), ("openvino", "bf16")]
        print(f"{architecture}, {given.images} images, {torch.get_num_threads()} threads, {os.cpu_count()} cores")
        found: dict[str, Any] = {"architecture": architecture, "alone": alone(name, ways, given.images, given.rounds)}
        show("The network alone", found["alone"])
        if given.cells is not None:
            found["closeness"] = closeness(given.cells, name, ways, given.at_most)
            show("Against torch fp32", found["closeness"])
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
