"""An atlas with two encoders, cells, annotations and an index, and what is done on copies of it."""

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torturing import commands
from torturing.faults import ERRORS
from torturing.model import Rows, between, differences
from torturing.snapshot import snapshot
from torturing.sources import Field, MaskedField, Sources
from torturing.worker import Ended, Fault
from torturing.zygote import Zygote

from tests.quick import decode_here, wait_for_no_disk


@dataclass(frozen=True, slots=True)
class Prepared:
    """The atlas, and the sources as they are after they changed; encoders of fields superseded, of cells aside."""

    folder: Path
    atlas: Path
    sources: Sources
    sheet: Path
    vectors: Path
    fingerprint: str
    aside: str

    def copied(self, path: Path) -> Path:
        shutil.rmtree(path, ignore_errors=True)
        return Path(shutil.copytree(self.atlas, path))


def prepare() -> None:
    """What is done in each new worker."""
    commands.prepare()
    wait_for_no_disk()
    decode_here()


def done(ended: Ended) -> Any:
    assert ended.how == "ok", f"{ended.how}: {ended.error}\n{ended.trace}"
    return ended.value


def prepare_atlas(zygote: Zygote, folder: Path) -> Prepared:
    """Fields, cells, two plans of each, an annotation, an index; then sources that changed, and files to import."""
    atlas, sources = folder / "atlas", Sources(folder / "sources")
    sources.fields = {n: Field(n + 1, ("vesicles", "er")[n % 2]) for n in range(4)}
    sources.masked = {
        "a": MaskedField(11, "er", ((1, (2, 3, 12, 14)), (4, (4, 26, 18, 40)))),
        "b": MaskedField(12, "golgi", ((7, (30, 5, 44, 20)),)),
    }
    sources.write()

    def call(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        return done(zygote.call(function, atlas, *args, watch=folder, **options))

    call(commands.index_fields, sources.opencell, 2)
    call(commands.index_cells, sources.cells, 2)
    fingerprint = call(commands.embed_plan, "fov", 1, 2)
    call(commands.embed_plan, "fov", None, 2)
    aside = call(commands.embed_plan, "cell", 3, 2, switch=False)
    call(commands.build_index, "flat", "fov")
    digests = done(zygote.call(commands.look, atlas, watch=folder, quick=True))[0]["digests"]
    sheet = folder / "sheet.csv"
    lines = [f"{cell},,nucleoplasm,,{digest}" for cell, digest in digests.items()]
    call(commands.annotate, _sheet(folder / "first.csv", lines[:1]), "anna")
    vectors = np.random.default_rng(3).standard_normal((5, 4)).astype(np.float32)
    commands.write_vectors(folder / "v.npz", {f"imported/x{n}": v.tobytes() for n, v in enumerate(vectors)})
    sources.fields[1] = Field(91, "er")  # other pixels
    sources.fields[2] = Field(3, "chromatin")  # another label
    sources.fields[4] = Field(5, "er")  # new
    sources.fields[5] = Field(None, "er")  # no image
    del sources.fields[0]
    sources.masked["a"] = MaskedField(11, "er", ((1, (2, 3, 12, 14)), (10, (30, 26, 40, 40))))  # a cell went, one came
    sources.masked["b"] = MaskedField(92, "golgi", ((7, (30, 5, 44, 20)),))  # other pixels
    sources.write()
    return Prepared(folder, atlas, sources, _sheet(sheet, lines), folder / "v.npz", fingerprint, aside)


def _sheet(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(["id,picture,localizations,note,source_digest", *lines]) + "\n")
    return path


REPAIR = "verify --repair"

Command = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


def file_in_use(atlas: Path) -> str:
    """A data file of the vectors of the encoder in use, below the atlas."""
    from locatlas.indexer.store import encoders
    from locatlas.indexer.store.lance_files import open_table
    from locatlas.indexer.store.tables import Store

    store = Store.open(atlas)
    used = encoders.current(store, "fov")
    assert used is not None
    numbers = open_table(store.folder, used.table).fragments
    return max(numbers, key=lambda path: numbers[path])  # of the masked fields, which need not have vectors


def flip(path: Path) -> None:
    """The bit in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


COMMANDS: dict[str, Callable[[Prepared], Command]] = {
    "index": lambda p: (commands.index_fields, (p.sources.opencell, 1), {}),
    "index cells": lambda p: (commands.index_cells, (p.sources.cells, 1), {}),
    "embed": lambda p: (commands.embed_plan, ("cell", 2, 1), {}),
    "reembed": lambda p: (commands.reembed_plan, ("fov", p.fingerprint, 1), {}),
    "annotate import": lambda p: (commands.annotate, (p.sheet, "ben"), {}),
    "import-embeddings": lambda p: (commands.import_vectors, (p.vectors, "elsewhere"), {}),
    "maintain --drop-superseded": lambda p: (commands.tidy, (), {"drop": True}),
    "pack": lambda p: (commands.pack_images, (), {}),
    "FAISS index": lambda p: (commands.build_index, ("hnsw", "fov"), {}),
    "index on disk": lambda p: (commands.build_index, ("lance-ivfrq", "fov"), {}),
    "map": lambda p: (commands.draw_map, ("cell",), {}),
    "verify --repair": lambda p: (commands.repair, (), {}),  # of one flipped bit
    "maintain --drop-encoder": lambda p: (commands.give_up, (p.aside,), {}),
}


class Matrix:
    """One command on copies of an atlas: uninterrupted, and with a fault at each of its steps and resumed."""

    def __init__(self, zygote: Zygote, prepared: Prepared, name: str, folder: Path) -> None:
        self.zygote, self.prepared, self.name, self.path = zygote, prepared, name, folder / "copy"
        self.function, self.args, self.options = COMMANDS[name](prepared)
        self.before = self.look(prepared.copied(self.path))[0]
        self.flipped = done(zygote.call(file_in_use, self.path, watch=self.path)) if name == REPAIR else None
        self.copy()
        whole = self.call(Fault())
        done(whole)
        self.steps = whole.steps
        self.after, findings = self.look(self.path)
        assert not findings["damage"] + findings["warning"]

    def copy(self) -> None:
        """The atlas as it is before the command."""
        self.prepared.copied(self.path)
        if self.flipped is not None:
            flip(self.path / self.flipped)

    def call(self, fault: Fault) -> Ended:
        return self.zygote.call(self.function, self.path, *self.args, watch=self.path, fault=fault, **self.options)

    def look(self, path: Path) -> tuple[Rows, dict[str, list[str]]]:
        seen, findings = done(self.zygote.call(commands.look, path, watch=path, quick=False))
        assert not any(seen["duplicates"].values())
        return seen["rows"], findings

    def survives(self, fault: Fault) -> Ended:
        """One fault; then it is whole, and after the same command again as if nothing had been."""
        self.copy()
        ended = self.call(fault)
        at = self.steps[fault.step - 1] if 0 < fault.step <= len(self.steps) else "-"
        what = f"{self.name}, {fault} ({at}): "
        assert ended.how in ("ok", "failed", "killed"), what + ended.error + ended.trace
        assert len(ended.error.splitlines()) <= 1, what + ended.error
        # a repair begins with damage, and changes what its damage hid
        if self.flipped is None:
            rows, findings = self.look(self.path)
            assert (differs := between(self.before, self.after, rows, {})) == [], what + "; ".join(
                d.text for d in differs
            )
            assert findings["damage"] == [], what + "; ".join(findings["damage"])
        again = self.call(Fault())
        assert again.how == "ok", what + again.error + again.trace
        rows, findings = self.look(self.path)
        assert (differs := differences(self.after, rows, {})) == [], what + "; ".join(d.text for d in differs)
        assert (found := findings["damage"] + findings["warning"]) == [], what + "; ".join(found)
        return ended

    def sampled(self, n: int, seed: int = 0) -> list[int]:
        """Some of the steps."""
        return sorted(random.Random(seed + len(self.steps)).sample(range(1, len(self.steps) + 1), n))


__all__ = ["COMMANDS", "ERRORS", "Matrix", "Prepared", "done", "prepare", "prepare_atlas", "snapshot"]
