"""See that an atlas has the vectors that a grid needs: by encoders of the registry, and by fine-tuned ones. I/O."""

from collections.abc import Callable

from locatlas.errors import InputError, LocatlasError
from locatlas.indexer.embed import embed
from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.pipeline import Progress
from locatlas.indexer.store.tables import Store
from locatlas.query.benchmark.cell import Cell
from locatlas.query.benchmark.entries import image_level, known_by_name
from locatlas.query.benchmark.expand import Variant
from locatlas.query.benchmark.tuning import finetune_request

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
    level, name = image_level(store, variant.name, variant.level), variant.name
    known = known_by_name(store, name, variant.level)
    if known is not None and known.is_imported:
        return known.fingerprint
    if known is not None:  # it may be named by a fingerprint, whose plan the grid sets anew
        name = known.spec.name
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
        raise InputError(message) from error
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

    settings = {name: value for name, value in cell.settings if not name.startswith("finetune.")}
    own = {name.removeprefix("finetune."): value for name, value in cell.settings if name.startswith("finetune.")}
    request = finetune_request(
        objective=cell.objective,
        level=cell.level,
        labels=cell.labels,
        fraction=cell.fraction,
        seed=cell.seed,
        settings=settings,
        finetune=own,
        encoder=parent,
    )
    path = store.folder.path
    done = finetune(atlas=path, request=request, follow=False, state="beside", progress=progress, tell=tell)
    assert done is not None
    embed(
        atlas=path,
        request=EncoderRequest(name=done.encoder.name),
        levels=(cell.level,),
        progress=progress,
        switch=False,
    )
    return done.encoder.fingerprint
