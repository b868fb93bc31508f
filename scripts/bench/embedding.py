"""What embedding costs from files to stored vectors, beside a plain loop, and how close vectors are.

    python scripts/bench/embedding.py [--images 128] [--rounds 3] [--cells FOLDER] [--weights FILE] [--json OUT]

Made fields like OpenCell's (2 x 600 x 600, uint16, uncompressed TIFF). The plain loop: a DataLoader of two workers that
read with tifffile, standardize in numpy, resize by torch, and a timm network in float32; it stores nothing. locatlas:
`embed` of the same images into an atlas that knows them, with digests, decoders of their own, flags and commits. Ways
take turns, round by round. Told are the median seconds and the seconds of cores, which other work on the machine
stretches less; those of child processes count. Then the input side alone in one thread, and, with --cells
(485 HPA cells, `labels.csv` beside PNG files), cosines and shared neighbors of each way's vectors.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional

CHANNELS = ("nucleus", "protein")
SLOTS = ("microtubules", "protein", "nucleus")
SIZE = 224


def write_fields(folder: Path, n: int) -> None:
    """Smooth structure and a camera's noise, with a manifest."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    lines = ["path,channels,protein,id"]
    for i in range(n):
        raw = gaussian_filter(rng.gamma(0.3, 3000.0, size=(2, 600, 600)), (0, 4, 4)) + rng.normal(0, 20, (2, 600, 600))
        pixels = np.clip(raw + 200, 0, 65535).astype(np.uint16)
        tifffile.imwrite(folder / f"{i:05d}.tif", pixels, imagej=True, metadata={"axes": "CYX"})
        lines.append(f"{i:05d}.tif,nucleus;protein,P{i % 20},{i}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")


class PlainFields(torch.utils.data.Dataset[torch.Tensor]):
    """What a user writes: read, standardize, resize, three inputs."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> torch.Tensor:
        found = plain_input(self.paths[i])
        return torch.stack([torch.zeros(SIZE, SIZE), found[1], found[0]])


def plain_input(path: Path) -> torch.Tensor:
    """Two channels of a field at the network's size."""
    pixels = tifffile.imread(path).astype(np.float32)
    mean, sd = pixels.mean(axis=(1, 2), keepdims=True), pixels.std(axis=(1, 2), keepdims=True)
    planes = torch.from_numpy((pixels - mean) / (sd + 1e-7))
    return functional.interpolate(planes[None], size=(SIZE, SIZE), mode="bilinear", antialias=True)[0]


def core_seconds() -> float:
    """Of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds and core seconds of a call, decoding processes ended."""
    from locatlas.indexer.decoders import decoders

    decoders().close()
    core, began = core_seconds(), time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    decoders().close()
    return seconds, core_seconds() - core


def end_to_end(folder: Path, name: str, ways: Sequence[tuple[str, str]], n: int, rounds: int) -> list[dict[str, Any]]:
    """Rows: way, images a second, core ms an image, quotients to the plain loop."""
    from locatlas.indexer.embed import embed
    from locatlas.indexer.encoders import EncoderRequest
    from locatlas.indexer.index import index
    from locatlas.models.encode import load_encoder, resolve
    from locatlas.models.running import Running

    first = folder / "atlas"
    index(folder / "fields", atlas=first, dataset="manifest", request=EncoderRequest(name="locatlas_pico.untrained"))
    network: Any = load_encoder(resolve(name, precision="fp32"), device="cpu")._network
    paths = sorted((folder / "fields").glob("*.tif"))

    def plain() -> None:
        loader = torch.utils.data.DataLoader(PlainFields(paths), batch_size=16, num_workers=2)
        with torch.inference_mode():
            for batch in loader:
                network(batch)

    def stored(runtime: Any, precision: Any) -> Callable[[], None]:
        def work() -> None:
            copy = folder / "copy"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(first, copy)
            embed(atlas=copy, request=EncoderRequest(name=name, precision=precision), running=Running(runtime=runtime))

        return work

    # loading and converting networks is not the path: what a run of nothing but its first batch takes comes off
    works = {"plain torch fp32 loop": plain} | {f"locatlas {r} {p}": stored(r, p) for r, p in ways}
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in works}
    loading = dict.fromkeys(works, 0.0)
    for _ in range(rounds):
        for way, work in works.items():
            if way.startswith("plain"):
                found[way].append(timed(work))
                continue
            runtime, precision = way.split()[1:]
            spec = resolve(name, precision=precision)  # type: ignore[arg-type]

            def load(spec: Any = spec, runtime: Any = runtime) -> None:
                encoder = load_encoder(spec, device="cpu", runtime=runtime)
                encoder.encode_prepared([torch.zeros(1, len(SLOTS), SIZE, SIZE) + torch.rand(1)])

            off, whole = timed(load), timed(work)
            loading[way] = off[0]
            found[way].append((whole[0] - off[0], whole[1] - off[1]))
    rows = []
    base_s, base_core = (statistics.median(part) for part in zip(*found["plain torch fp32 loop"], strict=True))
    for way, values in found.items():
        seconds, core = (statistics.median(part) for part in zip(*values, strict=True))
        rows.append(
            {
                "way": way,
                "images_per_s": round(n / seconds, 2),
                "x_plain": round(base_s / seconds, 2),
                "core_ms_per_image": round(1000 * core / n, 1),
                "x_plain_core": round(base_core / core, 2),
                "loading_s": round(loading[way], 1),
            }
        )
    return rows


def input_side(folder: Path, name: str) -> list[dict[str, Any]]:
    """Core ms an image in one thread, best of seven turns; the network gets the same planes either way."""
    from locatlas.indexer.images import read_image
    from locatlas.indexer.records import ImageRecord, Source
    from locatlas.models.encode import resolve
    from locatlas.models.transforms import network_input

    paths = sorted((folder / "fields").glob("*.tif"))[:16]
    spec = resolve(name)
    records = [ImageRecord(id=p.stem, level="fov", dataset="b", sources=(Source(p, CHANNELS),)) for p in paths]
    images = [read_image(record)[0] for record in records]

    def decoded(path: Path) -> None:
        from locatlas.types import ChannelImage

        network_input(ChannelImage(tifffile.imread(path), CHANNELS), spec, patch_px=14)

    ways: dict[str, tuple[Callable[[Any], Any], Sequence[Any]]] = {
        "tifffile, numpy float32 standardize, torch resize": (plain_input, paths),
        "tifffile, locatlas' preparing": (decoded, paths),
        "locatlas' reading with digest": (read_image, records),
        "locatlas' preparing": (lambda image: network_input(image, spec, patch_px=14), images),
    }
    best = {way: float("inf") for way in ways}
    for _ in range(7):
        for way, (work, items) in ways.items():
            began = time.thread_time()
            for item in items:
                work(item)
            best[way] = min(best[way], 1000 * (time.thread_time() - began) / len(items))
    base = next(iter(best.values()))
    return [{"step": w, "core_ms_per_image": round(ms, 2), "x_plain": round(base / ms, 2)} for w, ms in best.items()]


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


def show(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """A Markdown table."""
    print(f"\n{title}\n\n| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(map(str, row.values())) + " |", flush=True)


def main() -> None:
    """Measure and print; with --json also write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cells", type=Path, help="folder hpa_cells")
    parser.add_argument("--at-most", type=int, default=485, help="cells of it")
    parser.add_argument("--weights", type=Path, help="DINOv2 ViT-S/14; without, ViT-S/16 with random weights")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    from locatlas.models import registry
    from locatlas.models.torchvision_shim import import_timm

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["LOCATLAS_HOME"] = str(folder / "home")
        architecture, weights = "vit_small_patch14_dinov2", given.weights
        if weights is None:
            architecture, weights = "vit_small_patch16_224", folder / "random.safetensors"
            torch.manual_seed(0)
            made = import_timm().create_model(architecture, num_classes=0)
            save_file({k: v.contiguous() for k, v in made.state_dict().items()}, weights)
        name = "bench.vits"
        registry.add(
            name, weights=weights, architecture=architecture, slots=SLOTS, input_px=SIZE, intensity="standardize"
        )
        ways = [("torch", "fp32"), ("torch", "bf16")]
        try:
            import openvino

            ways += [("openvino", "fp32"), ("openvino", "bf16")]
            print(f"openvino {openvino.get_version()}")
        except ImportError:
            print("OpenVINO is not installed: left out")
        print(f"{architecture}, {given.images} fields, {torch.get_num_threads()} threads, {os.cpu_count()} cores")
        (folder / "fields").mkdir()
        write_fields(folder / "fields", given.images)
        found: dict[str, Any] = {"architecture": architecture, "images": given.images, "rounds": given.rounds}
        found["input_side"] = input_side(folder, name)
        show("Input side, one thread", found["input_side"])
        found["end_to_end"] = end_to_end(folder, name, ways, given.images, given.rounds)
        show("From files to vectors", found["end_to_end"])
        if given.cells is not None:
            found["closeness"] = closeness(given.cells, name, ways, given.at_most)
            show("Against torch fp32", found["closeness"])
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
