"""What is done next, chosen at random: a command, and the model as it must be afterwards. Writes sources."""

import csv
import importlib.util
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from torturing import commands
from torturing.model import Model, Plans, differences
from torturing.sources import LABELS, Sources

__all__ = ["IMPORTED", "SEEDS", "Operation", "World", "next_operation"]

SEEDS = (1, 2, 3)
"""Of the mappings that other encoders have."""

IMPORTED = ("elsewhere", "elsewhere2")
IMPORTED_DIM = 4
HAS_BACKUP = importlib.util.find_spec("locatlas.indexer.backup") is not None
FIELDS_AT_MOST, MASKED_AT_MOST = 14, 4


@dataclass(slots=True)
class World:
    """One atlas, its sources and its model.

    Attributes:
        folder: Of everything but the atlas.
        atlas: The atlas.
        sources: Its images.
        plans: Fingerprints by plan.
        model: As it must be.
        digests: Cell to digest, as the store has them: to fill in sheets, as an export does.
        n: Operations so far.
    """

    folder: Path
    atlas: Path
    sources: Sources
    plans: Plans
    model: Model = field(default_factory=Model)
    digests: dict[str, str] = field(default_factory=dict)
    n: int = 0


@dataclass(frozen=True, slots=True)
class Operation:
    """A command, which can be run again until it ends.

    Attributes:
        kind: Of operation.
        function: What the worker calls with the atlas and `args`.
        args: Its arguments.
        options: Its keyword arguments.
        after: The model afterwards.
        check: What is wrong with its answer, in words; None if nothing.
        writes: Whether it writes at all.
    """

    kind: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    after: Model
    options: dict[str, Any] = field(default_factory=dict)
    check: Callable[[Any], str | None] = lambda _: None
    writes: bool = True


def next_operation(world: World, chance: random.Random) -> Operation:
    """Choose one that is possible."""
    world.n += 1
    model = world.model
    if not model.fresh["fov"]:
        return _index_fields(world, chance)
    makers: list[tuple[float, Callable[[World, random.Random], Operation]]] = [
        (5, _index_fields),
        (4, _index_cells),
        (2, _embed),
        (2, _reembed),
        (1.5, _import),
        (1.5, _tidy),
        (1, _drop),
        (2, _faiss),
        (3, _query),
        (0.5, _verify),
    ]
    if len(model.tables["fov", model.current("fov") or ""]) > 3:
        makers.append((1, _sweep))
    if HAS_BACKUP:
        makers.append((1.5, _backup))
    if model.unused():
        makers.append((1, _give_up))
    if model.fresh["cell"]:
        makers.append((2.5, _annotate))
    return chance.choices([make for _, make in makers], [weight for weight, _ in makers])[0](world, chance)


def _rows(chance: random.Random) -> int:
    return chance.choice((1, 2, 4, 256))


def _index_fields(world: World, chance: random.Random) -> Operation:
    world.sources.change_fields(chance, most=FIELDS_AT_MOST)
    after = world.model.copy()
    after.index_fields(world.sources, world.plans)
    return Operation("index", commands.index_fields, (world.sources.opencell, _rows(chance)), after)


def _index_cells(world: World, chance: random.Random) -> Operation:
    world.sources.change_masked(chance, most=MASKED_AT_MOST)
    after = world.model.copy()
    after.index_cells(world.sources, world.plans)
    return Operation("index cells", commands.index_cells, (world.sources.cells, _rows(chance)), after)


def _level(model: Model, chance: random.Random) -> str:
    return chance.choice([level for level in ("fov", "cell") if model.fresh[level] and model.current(level)])


def _embed(world: World, chance: random.Random) -> Operation:
    level, seed = _level(world.model, chance), chance.choice((*SEEDS, None))
    after = world.model.copy()
    after.switch(level, world.plans.fingerprints[level, seed], world.plans.dim)
    return Operation("embed", commands.embed_plan, (level, seed, _rows(chance)), after)


def _reembed(world: World, chance: random.Random) -> Operation:
    level = _level(world.model, chance)
    known = [fp for (at, fp) in world.model.states if at == level and not world.model.is_imported(fp)]
    chosen = chance.choice([None, *sorted(known)])
    after = world.model.copy()
    after.switch(level, chosen or after.current(level) or "", world.plans.dim)
    return Operation("reembed", commands.reembed_plan, (level, chosen, _rows(chance)), after)


def _annotate(world: World, chance: random.Random) -> Operation:
    cells = sorted(world.model.fresh["cell"])
    chosen = chance.sample(cells, chance.randint(1, len(cells)))
    decisions = {cell: (chance.choice(LABELS),) for cell in chosen}
    who = chance.choice(("anna", "ben"))
    sheet = world.folder / f"sheet-{world.n}.csv"
    with sheet.open("w", newline="") as f:
        rows = csv.writer(f)
        rows.writerow(["id", "picture", "localizations", "note", "source_digest"])
        rows.writerows([cell, "", labels[0], "", world.digests[cell]] for cell, labels in decisions.items())
    after = world.model.copy()
    after.annotate(decisions, who)
    return Operation("annotate import", commands.annotate, (sheet, who), after)


def _import(world: World, chance: random.Random) -> Operation:
    numbers, name = chance.sample(range(20), chance.randint(1, 8)), chance.choice(IMPORTED)
    draw = np.random.default_rng(chance.getrandbits(32))
    vectors = {f"imported/x{n}": draw.standard_normal(IMPORTED_DIM).astype(np.float32).tobytes() for n in numbers}
    file = world.folder / f"vectors-{world.n}.npz"
    commands.write_vectors(file, vectors)
    after = world.model.copy()
    after.imported(vectors, world.plans.fingerprints["fov", name])
    return Operation("import-embeddings", commands.import_vectors, (file, name), after)


def _tidy(world: World, chance: random.Random) -> Operation:
    return Operation("maintain", commands.tidy, (), world.model.copy(), {"drop": False})


def _drop(world: World, chance: random.Random) -> Operation:
    after = world.model.copy()
    after.drop_superseded()
    return Operation("maintain --drop-superseded", commands.tidy, (), after, {"drop": True})


def _give_up(world: World, chance: random.Random) -> Operation:
    fingerprint = chance.choice(world.model.unused())
    after = world.model.copy()
    after.drop_encoder(fingerprint)
    return Operation("maintain --drop-encoder", commands.give_up, (fingerprint,), after)


def _faiss(world: World, chance: random.Random) -> Operation:
    level, kind = _level(world.model, chance), chance.choice(("flat", "hnsw", "lance-ivfrq"))

    def check(said: str) -> str | None:
        return None if said.startswith(("FAISS ", "lance-ivfrq ")) else f"no index was built: {said}"

    return Operation("index for look-ups", commands.build_index, (kind, level), world.model.copy(), check=check)


def _query(world: World, chance: random.Random) -> Operation:
    level = _level(world.model, chance)
    vectors = world.model.tables[level, world.model.current(level) or ""]
    image = chance.choice(sorted(vectors))
    k = min(chance.randint(1, 6), len(vectors) - 1)
    if k < 1:
        return _verify(world, chance)
    ids = sorted(vectors)
    unit = np.stack([np.frombuffer(vectors[i], np.float32) for i in ids]).astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    near = dict(zip(ids, (unit @ unit[ids.index(image)]).tolist(), strict=True))
    best = sorted((s for i, s in near.items() if i != image), reverse=True)[:k]

    def check(found: list[str]) -> str | None:
        if image in found or len(set(found)) != k or not set(found) <= set(ids):
            return f"neighbors of {image}: {found}"
        got = [near[i] for i in found]
        return None if np.allclose(got, best, atol=1e-5) else f"neighbors of {image}: {got}, must be {best}"

    return Operation("neighbors", commands.query, (level, image, k), world.model.copy(), check=check, writes=False)


def _sweep(world: World, chance: random.Random) -> Operation:
    n = len(world.model.tables["fov", world.model.current("fov") or ""])

    def check(voted: int) -> str | None:
        return None if voted == n else f"a sweep over {voted} fields, must be {n}"

    return Operation("sweep", commands.swept, (min(3, n - 2),), world.model.copy(), check=check, writes=False)


def _backup(world: World, chance: random.Random) -> Operation:
    expected = world.model.expected()

    def check(rows: dict[tuple[str, str], Any]) -> str | None:
        found = differences(expected, rows, {})
        return f"restored: {'; '.join(one.text for one in found[:5])}" if found else None

    after = world.model.copy()
    return Operation("backup, restore", commands.copied_by_backup, (world.folder,), after, check=check)


def _verify(world: World, chance: random.Random) -> Operation:
    def check(found: dict[str, list[str]]) -> str | None:
        return f"verify: {found['damage']}" if found["damage"] else None

    quick = chance.random() < 0.5
    return Operation("verify", commands.verified, (), world.model.copy(), {"quick": quick}, check=check, writes=False)
