"""Bits that are flipped in a copy of the atlas: each must be found; some are repaired and compared. I/O."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

from torturing import commands
from torturing.model import between
from torturing.operations import World
from torturing.report import Report
from torturing.worker import Worker

__all__ = ["flip_some", "kind_of"]

PRECIOUS = ("encoders", "trainings", "segmenters")


def kind_of(name: str) -> str:
    """What sort of file a path below an atlas is."""
    parts = name.split("/")
    if parts[0] == "db":
        return "hint" if name.endswith(".json") else parts[2]
    return f"index.{name.rpartition('.')[2]}" if parts[0] == "indices" else parts[-1]


def flip_some(
    world: World, worker: Worker, chance: random.Random, report: Report, problem: Callable[[str], None]
) -> None:
    """Flip some bits one after the other, all of which `verify` must find; now and then the last one is repaired."""
    copy = world.folder / "copy"
    shutil.copytree(world.atlas, copy)
    ended = worker.call(commands.flippable, copy, watch=copy)
    if ended.how != "ok":
        problem(f"a copy cannot be verified: {ended.error}\n{ended.trace}")
    by_kind: dict[str, list[str]] = {}
    for name in ended.value:
        by_kind.setdefault(kind_of(name), []).append(name)
    n = chance.randint(2, 6)
    for left in reversed(range(n)):
        kind = chance.choice(sorted(by_kind))  # a kind first: most files are manifests
        name = chance.choice(by_kind[kind])
        path = copy / name
        data = path.read_bytes()
        position, bit = chance.randrange(len(data)), chance.randrange(8)
        _write(path, data, position, bit)
        report.flips[kind] += 1
        ended = worker.call(commands.verified, copy, watch=copy, quick=False)
        if ended.how != "ok":
            problem(f"{name}: byte {position} bit {bit}: verify {ended.how}: {ended.error}\n{ended.trace}")
        if not ended.value["damage"]:
            report.undetected += 1
            problem(f"{name}: byte {position} bit {bit} flipped, and not found")
        if not left and chance.random() < 0.5:
            _repaired(world, copy, worker, report, problem, f"{name}: byte {position} bit {bit}")
        else:
            path.write_bytes(data)
    shutil.rmtree(copy)


def _write(path: Path, data: bytes, position: int, bit: int) -> None:
    changed = bytearray(data)
    changed[position] ^= 1 << bit
    path.write_bytes(changed)


def _repaired(
    world: World, copy: Path, worker: Worker, report: Report, problem: Callable[[str], None], what: str
) -> None:
    """After a repair nothing is wrong, and what is lost is told; what only a backup gives back is left as it is."""
    ended = worker.call(commands.repair, copy, watch=copy)
    if ended.how != "ok":
        problem(f"{what}: repair {ended.how}: {ended.error}\n{ended.trace}")
    ended = worker.call(commands.verified, copy, watch=copy, quick=False)
    if ended.how != "ok":
        problem(f"{what}: verify after the repair {ended.how}: {ended.error}\n{ended.trace}")
    left = ended.value
    if left["damage"]:
        if not any(what.startswith(f"db/{table}.lance/") for table in PRECIOUS):
            problem(f"{what}: still damaged after the repair: {'; '.join(left['damage'][:5])}")
        report.repairs += 1
        return
    ended = worker.call(commands.look, copy, watch=copy, quick=False)
    if ended.how != "ok":
        problem(f"{what}: cannot be read after the repair: {ended.error}\n{ended.trace}")
    rows, _ = ended.value
    found = between({}, world.model.expected(), rows["rows"], rows["duplicates"])
    if bad := [one for one in found if one.kind != "lost"]:
        report.wrong += len(bad)
        problem(f"{what}: after the repair {len(bad)} rows are wrong: {'; '.join(b.text for b in bad[:5])}")
    untold = not left["warning"] and not any("rows taken out" in note for note in left["note"])
    if found and untold:
        problem(f"{what}: the repair lost {len(found)} rows and tells nothing: {'; '.join(b.text for b in found[:5])}")
    report.repairs += 1
