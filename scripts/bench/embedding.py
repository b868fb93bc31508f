"""What embedding costs from files to stored vectors, beside a plain loop, and what its input side costs alone.

    python scripts/bench/embedding.py [--images 256] [--rounds 3] [--weights FILE] [--json OUT]

Made fields like OpenCell's (2 x 600 x 600, uint16, uncompressed TIFF). The plain loop is a program of its own: a
DataLoader of two workers that read with tifffile, standardize in numpy, resize by torch, and a timm network in float32;
it saves its vectors in one npy at the end. locatlas: `locatlas embed` of the same images into an atlas that knows
them, with digests, decoders of their own, flags and commits. Both are whole commands, started anew, imports and
loading of networks included; ways take turns, round by round, after each was run once for a quarter of the images: a
network is converted for OpenVINO by the first command that runs it and kept (`starting.py` tells what that costs). Each
is run for all images and for a quarter of them: the difference is what an image costs once all is loaded. Told are the
medians of seconds and of the seconds of cores, which other work on the machine stretches less; those of child processes
count. Then the input side alone, in one thread. `runtimes.py` measures the network alone and how close its vectors are,
`starting.py` what a start consists of.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

CHANNELS = ("nucleus", "protein")
SLOTS = ("microtubules", "protein", "nucleus")
SIZE = 224
PLAIN = "plain torch fp32 loop"


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


def plain_loop(folder: Path, weights: Path, architecture: str) -> None:
    """The plain loop, to the file `vectors.npy` beside the folder."""
    from locatlas.models.torchvision_shim import import_timm  # timm itself, importable beside any torchvision

    network = import_timm().create_model(architecture, num_classes=0, global_pool="token", img_size=SIZE)
    network.load_state_dict(load_file(weights))
    loader = torch.utils.data.DataLoader(PlainFields(sorted(folder.glob("*.tif"))), batch_size=16, num_workers=2)
    with torch.inference_mode():
        vectors = torch.cat([network.eval()(batch) for batch in loader])
    np.save(folder.with_name("vectors.npy"), vectors.numpy())


def whole(command: Sequence[str | Path], **options: Any) -> tuple[float, float]:
    """Seconds and core seconds of a program and of its children; options are those of `subprocess.run`."""

    def core_seconds() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    core, began = core_seconds(), time.perf_counter()
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, **options)
    seconds = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: exit status {done.returncode}\n{done.stderr[-2000:]}")
    return seconds, core_seconds() - core


def end_to_end(
    folders: dict[int, Path], plain: Sequence[str | Path], name: str, ways: Sequence[tuple[str, str]], rounds: int
) -> list[dict[str, Any]]:
    """Rows: way; images a second and core ms an image of the whole command and once all is loaded; quotients."""
    from locatlas.indexer.encoder_choice import EncoderRequest
    from locatlas.indexer.index import index

    for folder in folders.values():
        request = EncoderRequest(name="locatlas_pico.untrained")
        index(folder, atlas=folder.with_name(f"{folder.name}-atlas"), dataset="manifest", request=request)

    def command(way: str, folder: Path) -> list[str | Path]:
        if way == PLAIN:
            return [*plain, "--plain", folder]
        copy = folder.with_name("copy")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder.with_name(f"{folder.name}-atlas"), copy)
        runtime, precision = way.split()[1:]
        asked = ["embed", "--atlas", copy, "--encoder", name, "--precision", precision, "--runtime", runtime]
        return ["-m", "locatlas", *asked, "--level", "fov"]

    names = [PLAIN, *(f"locatlas {runtime} {precision}" for runtime, precision in ways)]
    found: dict[tuple[str, int], list[tuple[float, float]]] = {(way, n): [] for way in names for n in folders}
    for way in names:
        whole(command(way, folders[min(folders)]))
    for _ in range(rounds):
        for way, n in found:
            found[way, n].append(whole(command(way, folders[n])))
    cost = {key: np.median(np.array(values), axis=0) for key, values in found.items()}
    few, all_ = min(folders), max(folders)
    rows = []
    for way in names:
        row: dict[str, Any] = {"way": way}
        for what, cost_of, n in (
            ("whole", lambda way: cost[way, all_], all_),
            ("loaded", lambda way: cost[way, all_] - cost[way, few], all_ - few),
        ):
            (seconds, core), (plain_s, plain_core) = cost_of(way), cost_of(PLAIN)
            row |= {
                f"{what}: images/s": round(float(n / seconds), 2),
                f"{what}: x": round(float(plain_s / seconds), 2),
                f"{what}: core ms": round(float(1000 * core / n), 1),
                f"{what}: x core": round(float(plain_core / core), 2),
            }
        rows.append(row)
    return rows


def input_side(folder: Path, name: str) -> list[dict[str, Any]]:
    """Core ms an image in one thread, best of seven turns; the network gets the same planes either way."""
    from locatlas.indexer.files.images import read_image
    from locatlas.indexer.records import ImageRecord, Source
    from locatlas.models.encode import resolve
    from locatlas.models.transforms import network_input

    paths = sorted(folder.glob("*.tif"))[:16]
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
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the threads that read ahead
    for _ in range(7):
        for way, (work, items) in ways.items():
            began = time.thread_time()
            for item in items:
                work(item)
            best[way] = min(best[way], 1000 * (time.thread_time() - began) / len(items))
    torch.set_num_threads(threads)
    base = next(iter(best.values()))
    return [{"step": w, "core_ms_per_image": round(ms, 2), "x_plain": round(base / ms, 2)} for w, ms in best.items()]


def register(target: Path, architecture: str, given: Path | None) -> str:
    """An encoder of three slots at 224 px in the registry of LOCATLAS_HOME: its name; `target` gets its weights.

    They are fitted to this size, so that the plain loop can load them as they are.
    """
    from locatlas.models import registry, vit
    from locatlas.models.encode import load_encoder, resolve

    weights = given
    if weights is None:
        from locatlas.models.torchvision_shim import import_timm

        torch.manual_seed(0)
        weights = target.with_name("random.safetensors")
        save(import_timm().create_model(architecture, num_classes=0, img_size=SIZE), weights)
    registry.add(
        "bench.vits", weights=weights, architecture=architecture, slots=SLOTS, input_px=SIZE, intensity="standardize"
    )
    network = load_encoder(resolve("bench.vits", precision="fp32"), device="cpu")._passes.network
    save(vit.weights_module(network), target)
    return "bench.vits"


def save(network: torch.nn.Module, path: Path) -> None:
    """A network's weights in a file."""
    save_file({name: one.contiguous() for name, one in network.state_dict().items()}, path)


def show(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """A Markdown table."""
    print(f"\n{title}\n\n| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(map(str, row.values())) + " |", flush=True)


def main() -> None:
    """Measure and print; with --json also write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--weights", type=Path, help="DINOv2 ViT-S/14; without, ViT-S/16 with random weights")
    parser.add_argument("--input-side", action="store_true", help="only that")
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)  # the plain loop over this folder
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    architecture = "vit_small_patch16_224" if given.weights is None else "vit_small_patch14_dinov2"
    if given.plain is not None:
        plain_loop(given.plain, given.plain.with_name("weights.safetensors"), architecture)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["LOCATLAS_HOME"] = str(folder / "home")
        name = register(folder / "weights.safetensors", architecture, given.weights)
        ways = [("torch", "fp32"), ("torch", "bf16")]
        if find_spec("openvino") is None:
            print("OpenVINO is not installed: left out")
        else:
            ways += [("openvino", "fp32"), ("openvino", "bf16")]
        print(f"{architecture}, {given.images} fields, {torch.get_num_threads()} threads, {os.cpu_count()} cores")
        folders = {n: folder / str(n) for n in (max(1, given.images // 4), given.images)}
        for n, fields in folders.items():
            fields.mkdir()
            write_fields(fields, n)
        found: dict[str, Any] = {"architecture": architecture, "images": given.images, "rounds": given.rounds}
        found["input_side"] = input_side(folders[given.images], name)
        show("Input side, one thread", found["input_side"])
        if not given.input_side:
            plain = [__file__, *(["--weights", given.weights] if given.weights else [])]
            found["end_to_end"] = end_to_end(folders, plain, name, ways, given.rounds)
            show("From files to vectors", found["end_to_end"])
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
