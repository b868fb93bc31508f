"""What an accelerator does with an encoder, what preparing on it costs, and how much of that the whole path reaches.

    python scripts/bench/gpu.py [--device cuda] [--images 2048] [--encoder NAME] [--compile] [--json OUT]
    python scripts/bench/gpu.py --device cpu --images 16                      # a check of the script itself

Made fields like OpenCell's (2 x 600 x 600, uint16, uncompressed TIFF; --distinct of them, linked under other names for
the rest, so that disks and page caches see few). Parts:

1. the encoder alone, on batches that lie on the device: fp32, bf16, with --compile compiled, by batch size;
2. preparing alone: on the processor (one thread), on the device (pixels that lie there), and sending pixels;
3. how far vectors differ: prepared on the device against the processor, bf16 against fp32, compiled against not;
4. from files to stored vectors (`embed` of an atlas that knows its images): prepared on the processor and on the
   device, by the process that commits, by one beside it, and by two beside it that share the device; rates count from
   when the networks are loaded to the last commit, and are told as a share of part 1's rate at the same batch size.

Weights are random unless an encoder with weights is named. Part 1 tells the best batch; --batch takes it in part 4.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from embedding import CHANNELS, SIZE, SLOTS, show, write_fields
from numpy.typing import NDArray
from safetensors.torch import save_file

LARGEST = 256


def machine(device: torch.device) -> dict[str, Any]:
    """What the numbers are of."""
    found: dict[str, Any] = {"cores": os.cpu_count(), "machine": platform.machine(), "torch": torch.__version__}
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        found |= {
            "device": torch.cuda.get_device_name(device),
            "GiB": round(total / 2**30),
            "free": round(free / 2**30),
        }
        found |= {"cuda": torch.version.cuda}
    return found


def seconds(work: Callable[[], Any], device: torch.device, rounds: int, least_s: float = 0.0) -> float:
    """Median of some rounds, one to warm up before; each is repeated until it takes a while."""

    def once() -> float:
        began, n = time.perf_counter(), 0
        while True:
            work()
            n += 1
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if (passed := time.perf_counter() - began) >= least_s:
                return passed / n

    once()
    return statistics.median(once() for _ in range(rounds))


def alone(
    name: str, device: torch.device, sizes: Sequence[int], rounds: int, *, compiled: bool
) -> list[dict[str, Any]]:
    """Rows: what runs, batch, images a second of the network on a resident batch."""
    from locatlas.models.encode import load_encoder, resolve

    rows: list[dict[str, Any]] = []
    ways: list[tuple[Any, Any]] = [("fp32", "torch"), ("bf16", "torch")]
    ways += [("bf16", "compiled")] if compiled else []
    for precision, runtime in ways:
        encoder = load_encoder(resolve(name, precision=precision), device=str(device), runtime=runtime)
        # compiling takes minutes a shape
        for size in sizes if runtime == "torch" else {sizes[0], sizes[-1]}:
            batch = torch.randn(size, 1, len(SLOTS), SIZE, SIZE, device=device)
            try:
                took = seconds(lambda e=encoder, b=batch: e._passes.forward(b), device, rounds, 0.2)  # type: ignore[misc]
            except torch.OutOfMemoryError:
                rows.append({"way": f"{precision} {runtime}", "batch": size, "images_per_s": "out of memory"})
                break
            rows.append({"way": f"{precision} {runtime}", "batch": size, "images_per_s": round(size / took, 1)})
    return rows


def preparing(images: Sequence[Any], name: str, device: torch.device, rounds: int) -> list[dict[str, Any]]:
    """Rows: rule of intensity, images a second prepared on the processor, on the device, and sent there."""
    from locatlas.models.device_input import network_inputs
    from locatlas.models.encode import load_encoder, resolve
    from locatlas.models.sending import TOGETHER
    from locatlas.models.transforms import network_input, picked_channels

    group = [images[i % len(images)] for i in range(TOGETHER)]
    rows = []
    for intensity in ("standardize", "percentile", "minmax"):
        spec = resolve(name, precision="fp32").with_changes(intensity=intensity)
        encoder = load_encoder(spec, device=str(device), prepare="device")
        used = picked_channels(group[0], spec)
        bits = np.stack([picked_channels(one, spec).pixels.view(np.int16) for one in group])
        there = torch.from_numpy(bits).to(device)
        patch = encoder._patch_px

        def on_device(spec: Any = spec, there: Any = there, used: Any = used, patch: int = patch) -> Any:
            return network_inputs(there, used.channels, spec, patch_px=patch, pixel_size_um=None)

        def on_processor(spec: Any = spec, patch: int = patch) -> None:
            for one in group:
                network_input(one, spec, patch_px=patch)

        def sent(encoder: Any = encoder) -> None:
            for one in [encoder.prepare(image) for image in group]:
                if one.arrived is not None:
                    one.arrived.synchronize()

        rows.append(
            {
                "intensity": intensity,
                "processor, one thread": round(TOGETHER / seconds(on_processor, torch.device("cpu"), rounds), 1),
                "device": round(TOGETHER / seconds(on_device, device, rounds, 0.2), 1),
                "sent, one thread": round(TOGETHER / seconds(sent, device, rounds, 0.2), 1),
                "sent_GB_per_s": round(TOGETHER * bits[0].nbytes / seconds(sent, device, rounds, 0.2) / 1e9, 2),
            }
        )
    return rows


def differences(images: Sequence[Any], name: str, device: torch.device, *, compiled: bool) -> list[dict[str, Any]]:
    """Rows: two ways, least and mean cosine of their vectors, share of equal bits."""
    from locatlas.models.encode import load_encoder, resolve

    def vectors(precision: Any, prepare: Any, runtime: Any = "torch") -> NDArray[np.float64]:
        encoder = load_encoder(resolve(name, precision=precision), device=str(device), prepare=prepare, runtime=runtime)
        found: NDArray[np.float64] = encoder.encode(images).astype(np.float64)
        return found

    wanted = vectors("fp32", "cpu")
    pairs = [
        ("fp32, prepared on device", vectors("fp32", "device"), "fp32, on processor", wanted),
        ("bf16, prepared on device", vectors("bf16", "device"), "bf16, on processor", vectors("bf16", "cpu")),
        ("bf16", vectors("bf16", "cpu"), "fp32", wanted),
    ]
    if compiled:
        pairs.append(("bf16 compiled", vectors("bf16", "cpu", "compiled"), "bf16", vectors("bf16", "cpu")))
    rows = []
    for one, found, other, base in pairs:
        lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(base, axis=1)
        cosine = (found * base).sum(axis=1) / lengths
        rows.append(
            {
                "vectors": one,
                "against": other,
                "cosine_min": round(float(cosine.min()), 8),
                "cosine_mean": round(float(cosine.mean()), 8),
                "equal numbers": round(float((found == base).mean()), 4),
            }
        )
    return rows


def end_to_end(
    folder: Path, name: str, device: torch.device, n: int, batch: int, resident: float, rounds: int
) -> list[dict[str, Any]]:
    """Rows: way, images a second from files to the last commit, share of the encoder alone."""
    from locatlas.indexer.cluster.devices import DevicesEngine
    from locatlas.indexer.embed import embed
    from locatlas.indexer.encoder_choice import EncoderRequest
    from locatlas.indexer.index import index
    from locatlas.models.running import Running

    first = folder / "atlas"
    tiny = EncoderRequest(name="locatlas_pico.untrained")
    index(folder / "fields", atlas=first, dataset="manifest", request=tiny, running=Running(device=str(device)))

    def embedded(**how: Any) -> float:
        """Seconds from when there is work and a network that is loaded, or processes that have loaded it before."""
        copy = folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(first, copy)
        began: list[float] = []

        def progress(what: str, done: int, _: int) -> None:
            if not done and what in ("embedding", "starting workers"):
                began.append(time.perf_counter())

        embed(atlas=copy, request=EncoderRequest(name=name, precision="bf16"), progress=progress, **how)
        return time.perf_counter() - began[0]

    def rates(prepare: Any, processes: int) -> list[float]:
        how = Running(device=str(device), prepare=prepare, batch=batch)
        if not processes:
            return [n / embedded(running=how) for _ in range(rounds)]
        with DevicesEngine([str(device)] * processes, running=how) as engine:
            embedded(engine=engine)  # which loads
            return [n / embedded(engine=engine) for _ in range(rounds)]

    rows = []
    for prepare, processes in (("cpu", 0), ("device", 0), ("device", 1), ("device", 2)):
        per_s = statistics.median(rates(prepare, processes))
        rows.append(
            {
                "prepared on": prepare,
                "processes beside": processes,
                "images_per_s": round(per_s, 1),
                "share of the encoder alone": round(per_s / resident, 3),
            }
        )
    return rows


def main() -> None:
    """Measure and print; with --json also write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--distinct", type=int, default=64)
    parser.add_argument("--architecture", default="vit_small_patch16_224", help="timm's, with random weights")
    parser.add_argument("--encoder", help="a registered encoder of 224 px with three slots, in its place")
    parser.add_argument("--batch", type=int, default=0, help="of part 4; default: what is usual on the device")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    from locatlas.indexer.files.images import read_image
    from locatlas.indexer.records import ImageRecord, Source
    from locatlas.models import batches, registry
    from locatlas.models.hardware import usable_device
    from locatlas.models.torchvision_shim import import_timm

    device = usable_device(given.device)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        name = given.encoder
        if name is None:
            os.environ["LOCATLAS_HOME"] = str(folder / "home")
            name, weights = "bench.vit", folder / "random.safetensors"
            torch.manual_seed(0)
            made = import_timm().create_model(given.architecture, num_classes=0)
            save_file({k: v.contiguous() for k, v in made.state_dict().items()}, weights)
            registry.add(
                name,
                weights=weights,
                architecture=given.architecture,
                slots=SLOTS,
                input_px=SIZE,
                intensity="standardize",
            )
        found: dict[str, Any] = {"machine": machine(device), "encoder": given.encoder or given.architecture}
        print(json.dumps(found))
        fields = folder / "fields"
        fields.mkdir()
        distinct = min(given.distinct, given.images)
        write_fields(fields, distinct)
        lines = (fields / "manifest.csv").read_text().splitlines()
        for i in range(distinct, given.images):
            os.link(fields / f"{i % distinct:05d}.tif", fields / f"{i:05d}.tif")
            lines.append(f"{i:05d}.tif,nucleus;protein,P{i % 20},{i}")
        (fields / "manifest.csv").write_text("\n".join(lines) + "\n")
        paths = [fields / f"{i:05d}.tif" for i in range(distinct)]
        records = [ImageRecord(id=p.stem, level="fov", dataset="b", sources=(Source(p, CHANNELS),)) for p in paths]
        images = [read_image(record)[0] for record in records]

        sizes = [s for s in batches.SIZES[device.type] if s <= max(given.images, LARGEST // 8)]
        found["alone"] = alone(name, device, sizes, given.rounds, compiled=given.compile)
        show("1. The encoder alone", found["alone"])
        found["preparing"] = preparing(images, name, device, given.rounds)
        show("2. Preparing alone, images a second", found["preparing"])
        found["differences"] = differences(images, name, device, compiled=given.compile)
        show("3. Vectors", found["differences"])
        size = given.batch or (32 if device.type == "cuda" else 4)
        rates = {row["batch"]: row["images_per_s"] for row in found["alone"] if row["way"] == "bf16 torch"}
        resident = max(r for s, r in rates.items() if s <= size and isinstance(r, float))
        found["end_to_end"] = end_to_end(folder, name, device, given.images, given.batch, resident, given.rounds)
        show("4. From files to stored vectors, bf16", found["end_to_end"])
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
