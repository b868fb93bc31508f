"""See that an atlas has the vectors that a grid needs: by encoders of the registry, and by fine-tuned ones. I/O."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from locatlas.errors import InputError, LocatlasError
from locatlas.indexer import encoders
from locatlas.indexer.embed import embed
from locatlas.indexer.encoders import EncoderRequest
from locatlas.indexer.finetune_request import FinetuneRequest
from locatlas.indexer.pipeline import Progress
from locatlas.indexer.store import Store
from locatlas.query.benchmark.cell import Cell
from locatlas.query.benchmark.expand import Variant
from locatlas.query.benchmark.splits import DEFAULTS

__all__ = ["ensure_finetuned", "ensure_vectors"]


def ensure_vectors(store: Store, variant: Variant, *, progress: Progress | None = None) -> str:
    """Complete the vectors of a variant; what is current stays so.

    Args:
        store: The atlas.
        variant: Encoder, plan and level; at level protein the fields' vectors, or the cells' where there are no fields.
        progress: Told of what goes on.

    Returns:
        The encoder's fingerprint.

    Raises:
        InputError: If there are no images at the level, or the weights are not to be had, with the ways out.
    """
    level = variant.level
    if level == "protein":
        level = max((e.level for e in encoders.stored_encoders(store)), default="fov")
    name = variant.name
    fits = [e for e in encoders.stored_encoders(store, level) if e.is_called(name)]
    imported = next((e for e in fits if e.is_imported), None)
    if imported is not None:
        return imported.fingerprint
    if fits and fits[0].spec.name != name:  # named by a fingerprint, whose plan the grid sets anew
        name = fits[0].spec.name
    request = EncoderRequest(
        name=name,
        mapping=variant.mapping,  # type: ignore[arg-type]
        passes=variant.passes,  # type: ignore[arg-type]
        stains=variant.stains,
        seed=variant.mapping_seed,
    )
    try:
        done = embed(atlas=store.folder.path, request=request, levels=(level,), progress=progress, switch=False)
    except LocatlasError as error:
        message = f"{variant}: {error} (--encoder NAME measures another in its place)"
        raise type(error)(message) if type(error) is InputError else InputError(message) from error
    return done.encoders[level].fingerprint


def ensure_finetuned(
    store: Store,
    parent: str,
    cell: Cell,
    *,
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
) -> str:
    """Train the encoder that a cell is about, unless it was, and complete its vectors; what is current stays so.

    Args:
        store: The atlas.
        parent: Fingerprint of the encoder that it begins from.
        cell: Objective, fraction, seed and settings.
        progress: Told of what goes on.
        tell: Told in words what is trained.

    Returns:
        The new encoder's fingerprint.
    """
    from locatlas.query.finetuning import finetune

    asked: dict[str, Any] = {
        "objective": cell.objective,
        "level": cell.level,
        "encoder": parent,
        "group": str(cell.setting("group", "protein")),
        "hold_out": float(cell.setting("hold_out", DEFAULTS["hold_out"])),
        "validation": float(cell.setting("validation", DEFAULTS["validation"])),
        "fraction": cell.fraction,
        "split_seed": cell.seed,
        "seed": cell.seed,
        "where": tuple(filter(None, str(cell.setting("where", "")).split(","))),
    }
    if cell.objective == "supervised":
        asked |= {"labels": cell.labels, "map_labels": cell.setting("map_labels")}
    own = {name.removeprefix("finetune."): value for name, value in cell.settings if name.startswith("finetune.")}
    request = FinetuneRequest(**asked | own)
    done = finetune(atlas=store.folder.path, request=request, follow=False, progress=progress, tell=tell)
    assert done is not None
    path: Path = store.folder.path
    embed(
        atlas=path,
        request=EncoderRequest(name=done.encoder.name),
        levels=(cell.level,),
        progress=progress,
        switch=False,
    )
    return done.encoder.fingerprint
