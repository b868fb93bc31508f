"""What commands that embed cost from their start on, and what such a start consists of.

    python scripts/bench/starting.py [--images 64,256] [--rounds 5] [--against CHECKOUT] [--json OUT]

Whole commands, each a process of its own: the plain loop and `locatlas embed` of made fields as in `embedding.py`, by
torch and, where it is installed, by OpenVINO with nothing kept (it converts the network and compares its vectors with
torch's) and with what the command before kept; `locatlas demo`, and `locatlas index` of the fields that it makes. Ways
take turns, round by round; with --against also those of another checkout of locatlas. Told are medians of the seconds
of cores, children included, which other work on the machine stretches less, and of seconds on the clock.

Then the parts of a start, one after the other in a fresh process: what each takes of a core, and on the clock. A part
is what is left of it once those above are there: pyarrow costs less after numpy.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from embedding import PLAIN, register, show, whole, write_fields  # beside this file

ROOT = Path(__file__).resolve().parents[2]
ARCHITECTURE = "vit_small_patch16_224"
ENCODER = "bench.vits"

Run = Callable[[], tuple[float, float]]

LOAD = "encoder = load_encoder(resolve({encoder!r}, precision={precision!r}), device='cpu', runtime={runtime!r})"
PARTS: list[tuple[str, str]] = [
    ("the command line", "import locatlas.cli, locatlas.cli.building"),
    ("numpy, pyarrow", "import numpy, pyarrow, pyarrow.compute"),
    ("torch", "import torch"),
    ("lance, with pandas where that is installed", "import lance"),
    ("locatlas", "import locatlas.indexer.embed, locatlas.indexer.indices.refresh\n"
     "from locatlas.models.encode import load_encoder, resolve"),
    ("the network, its weights, its precision", LOAD),
    ("32 images, the first", "inputs = [torch.zeros(1, 3, 224, 224)] * 32; encoder.encode_prepared(inputs)"),
    ("32 images more, what they cost once all is loaded", "encoder.encode_prepared(inputs)"),
    ("two processes that decode", "from locatlas.indexer.files.decoders import Decoders\n"
     "d = Decoders(); d.start(2)\nfor one in d._idle:\n    one._answer(float('inf'))\nd.close()"),
]  # fmt: skip
"""Each is run by `exec` in one namespace."""

DRIVER = """
import json, resource, sys, time
def core():
    both = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)
names, found, began = {"__name__": "parts"}, [], (core(), time.perf_counter())
sys.path.insert(0, sys.argv[2])
for code in json.loads(sys.argv[1]):
    exec(code, names)
    now = (core(), time.perf_counter())
    found.append((now[1] - began[1], now[0] - began[0]))
    began = now
print(json.dumps(found))
"""


def parts(precision: str, runtime: str) -> list[tuple[float, float]]:
    """Seconds and core seconds of each part of a start."""
    load = LOAD.format(encoder=ENCODER, precision=precision, runtime=runtime)
    codes = [load if code is LOAD else code for _, code in PARTS]
    done = subprocess.run([sys.executable, "-c", DRIVER, json.dumps(codes), str(ROOT)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"parts of a start: exit status {done.returncode}\n{done.stderr[-2000:]}")
    found: list[tuple[float, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


class Commands:
    """Commands of a checkout, run in a folder.

    Args:
        tree: The checkout.
        folder: Where atlases and demos go; holds fields by their number, and `<number>-atlas` of each.
        home: LOCATLAS_HOME.
    """

    def __init__(self, tree: Path, folder: Path, home: Path) -> None:
        self.folder, self.home = folder, home
        path = [str(tree), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._options: dict[str, Any] = {
            "cwd": tree,
            "env": {**os.environ, "PYTHONPATH": os.pathsep.join(path), "LOCATLAS_HOME": str(home)},
        }

    def run(self, *words: str | Path) -> tuple[float, float]:
        """Seconds and core seconds of a command."""
        return whole(["-m", "locatlas", *words], **self._options)

    def embed(self, n: int, precision: str, runtime: str, *, anew: bool = False) -> tuple[float, float]:
        """`locatlas embed` of so many fields into a copy of their atlas; `anew`: with nothing kept of before."""
        copy = self.folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.folder / f"{n}-atlas", copy)
        if anew:
            shutil.rmtree(self.home / "openvino", ignore_errors=True)
        how = ["--encoder", ENCODER, "--precision", precision, "--runtime", runtime, "--level", "fov"]
        return self.run("embed", "--atlas", copy, *how)

    def demo(self) -> tuple[float, float]:
        """`locatlas demo` in a folder that is not there."""
        shutil.rmtree(self.folder / "demo", ignore_errors=True)
        return self.run("demo", self.folder / "demo")

    def index(self) -> tuple[float, float]:
        """`locatlas index` of the fields that a demo made."""
        atlas = self.folder / "indexed"
        shutil.rmtree(atlas, ignore_errors=True)
        images = self.folder / "made" / "images" / "opencell"
        return self.run("index", images, "--atlas", atlas, "--dataset", "opencell")


def ways_of(commands: Commands, sizes: Sequence[int]) -> dict[str, Run]:
    """What is measured of a checkout, by name."""
    ways: dict[str, Run] = {}
    for n in sizes:
        ways[f"embed {n}, torch bf16"] = lambda n=n: commands.embed(n, "bf16", "torch")  # type: ignore[misc]
        if find_spec("openvino") is not None:
            for name, anew in (("the first time", True), ("again", False)):
                ways[f"embed {n}, openvino bf16, {name}"] = (
                    lambda n=n, anew=anew: commands.embed(n, "bf16", "openvino", anew=anew)  # type: ignore[misc]
                )
    return {**ways, "index of the demo's fields": commands.index, "demo": commands.demo}


def medians(found: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Of seconds and core seconds."""
    seconds, core = np.median(np.array(found), axis=0)
    return {"s": round(float(seconds), 2), "core s": round(float(core), 2)}


def in_turns(runs: dict[tuple[str, str], Run], rounds: int) -> list[dict[str, Any]]:
    """Rows: way, checkout, seconds and core seconds, and the quotient of the first checkout's by this one's."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {key: [] for key in runs}
    for _ in range(rounds):
        for key, run in runs.items():
            found[key].append(run())
    rows: list[dict[str, Any]] = []
    first: dict[str, dict[str, float]] = {}
    for (way, tree), taken in found.items():
        cost = medians(taken)
        base = first.setdefault(way, cost)
        rows.append({"way": way, "checkout": tree, **cost, "x core": round(base["core s"] / cost["core s"], 2)})
    return rows


def main() -> None:
    """Measure and print; with --json also write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", default="64,256", help="numbers of fields, ascending")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--against", type=Path, help="another checkout of locatlas, of before")
    parser.add_argument("--parts", action="store_true", help="only what a start consists of")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    sizes = [int(n) for n in given.images.split(",")]
    with tempfile.TemporaryDirectory() as temporary:
        folder, home = Path(temporary), Path(temporary) / "home"
        os.environ["LOCATLAS_HOME"] = str(home)
        register(folder / "weights.safetensors", ARCHITECTURE, None)
        found: dict[str, Any] = {"rounds": given.rounds, "parts": {}}
        kinds = [("bf16", "torch"), *([("bf16", "openvino")] if find_spec("openvino") is not None else [])]
        for precision, runtime in kinds:
            if runtime == "openvino":
                parts(precision, runtime)  # converts, and keeps that
            taken = [parts(precision, runtime) for _ in range(given.rounds)]
            found["parts"][runtime] = [
                {"part": PARTS[i][0], **medians([one[i] for one in taken])} for i in range(len(PARTS))
            ]
            show(f"Parts of a start, {runtime} {precision}", found["parts"][runtime])
        if not given.parts:
            found["commands"] = in_turns(prepared(folder, home, given.against, sizes), given.rounds)
            show("Whole commands", found["commands"])
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")


def prepared(folder: Path, home: Path, against: Path | None, sizes: Sequence[int]) -> dict[tuple[str, str], Run]:
    """What is measured, by way and checkout, once fields, their atlases and a demo are made."""
    from locatlas.indexer.encoder_choice import EncoderRequest
    from locatlas.indexer.index import index

    for n in sizes:
        fields = folder / str(n)
        fields.mkdir()
        write_fields(fields, n)
        pico = EncoderRequest(name="locatlas_pico.untrained")
        index(fields, atlas=folder / f"{n}-atlas", dataset="manifest", request=pico)
    Commands(ROOT, folder, home).run("demo", folder / "made")
    runs: dict[tuple[str, str], Run] = {
        (f"{PLAIN}, {n}", ""): lambda n=n: whole([ROOT / "scripts/bench/embedding.py", "--plain", folder / str(n)])  # type: ignore[misc]
        for n in sizes
    }
    trees = {"before": against.resolve(), "now": ROOT} if against else {"now": ROOT}
    by_way: dict[str, dict[str, Run]] = {}
    for name, tree in trees.items():
        own = home.with_name(f"home-{name}")  # what one checkout keeps is not found by another
        shutil.copytree(home, own)
        for way, run in ways_of(Commands(tree, folder, own), sizes).items():
            by_way.setdefault(way, {})[name] = run
    return runs | {(way, name): run for way, found in by_way.items() for name, run in found.items()}


if __name__ == "__main__":
    main()
