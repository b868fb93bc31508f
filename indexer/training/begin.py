"""What a training on an atlas begins from: encoder, level, parts; its run is found or begun. Reads the store."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from locatlas.errors import InputError
from locatlas.indexer import encoder_choice
from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.store import encoders
from locatlas.indexer.store.rows import rows_of
from locatlas.indexer.store.schema import image_table
from locatlas.indexer.store.tables import Store
from locatlas.indexer.store.trainings import known_training
from locatlas.indexer.training.folder import TrainingRun, beginning, find_run, new_name, runs_folder
from locatlas.indexer.training.request import FinetuneRequest, settled_plan
from locatlas.indexer.training.rows import Parts, TrainingRows, split
from locatlas.models import registry
from locatlas.models.spec import EncoderSpec
from locatlas.models.training.manifest import TrainingManifest

__all__ = [
    "DEFAULT_HOLD_OUT",
    "RowsOf",
    "find_or_begin",
    "first_level",
    "kept_out",
    "named_encoder",
    "seen_before",
    "start_spec",
]

DEFAULT_HOLD_OUT = 0.2

RowsOf = Callable[[Store, str], TrainingRows]
"""Gives the rows of a level that may be trained on."""


def first_level(store: Store) -> str:
    """The first image level that has an encoder, FOVs before cells.

    Raises:
        InputError: If there is none.
    """
    levels = {e.level for e in encoders.stored_encoders(store) if not e.is_imported}
    if not levels:
        message = f"{store.folder.path}: no images that were embedded here; `locatlas index` takes some in"
        raise InputError(message)
    return max(levels)


def named_encoder(store: Store, level: str, name: str | None) -> EncoderSpec:
    """The encoder that a training begins from, with plan and crop settled.

    Args:
        store: The atlas.
        level: "fov" or "cell".
        name: Of one that the atlas knows, by name or fingerprint, else of the registry; None for the current one.

    Raises:
        UnknownNameError: If nobody knows it.
        InputError: If its vectors were imported, so that there is no network.
        WeightsError: If its weights are not to be had.
    """
    known = encoders.stored_encoders(store, level)
    if name is None or any(e.is_called(name) for e in known):
        found = encoders.find(store, level, name)
        if found.is_imported:
            message = f"vectors of {found.spec.name} were imported: there is no network to train; name an --encoder"
            raise InputError(message)
        return found.spec
    columns = ["sources", "channels", *(["box"] if level == "cell" else [])]
    rows = list(rows_of(store.read(image_table(level), columns)))
    available = encoder_choice.usual_channels(row["channels"] for row in rows if row["sources"])
    cuts = any(row.get("box") is not None for row in rows)
    request = EncoderRequest(name=name)
    return encoder_choice.choose(store, level, request, available=available, adding=True, cuts=cuts).spec


def start_spec(encoder: EncoderSpec, request: FinetuneRequest) -> EncoderSpec:
    """The encoder whose weights training starts with: itself, or one of its plan with random weights."""
    if not request.from_scratch:
        return encoder
    from locatlas.models import vit

    changes: dict[str, Any] = {"weights_sha256": f"seed:{request.seed}", "source": f"seed:{request.seed}"}
    if request.architecture not in (None, encoder.architecture):
        # its pooling and block are not those of another network
        pooling = vit.default_pooling(str(request.architecture))
        changes |= {"architecture": request.architecture, "pooling": pooling, "block": None}
    spec = encoder.with_changes(**changes, parent=None, license="", paper="", notes="")
    return spec.with_changes(embedding_dim=vit.embedding_dim(vit.build(spec)))


def kept_out(before: TrainingManifest | None, request: FinetuneRequest, group: str) -> tuple[str, ...] | None:
    """The groups that the encoder's own training held out, which stay so unless another share is asked for."""
    if request.hold_out is not None or before is None or before.group != group or not before.held_out:
        return None
    return before.held_out


def seen_before(
    before: TrainingManifest | None, held_out: Sequence[str], group: str, request: FinetuneRequest
) -> list[str]:
    """What a user must know of what is held out: nothing is, or groups that the encoder has seen already."""
    if not held_out and request.hold_out != 0:
        return [
            f"no group ({group}) could be held out, since every class keeps one: nothing is left here to evaluate the "
            "new encoder on"
        ]
    known: Mapping[str, Sequence[str]] = {} if before is None else before.groups
    seen = set(held_out) & set(known.get(group, ()))
    if before is None or not seen:
        return []
    has_own = request.hold_out is not None and before.group == group and before.held_out
    hint = ". Leave --hold-out away to hold out what it held out" if has_own else ""
    return [
        f"{before.encoder} was trained on {len(seen)} of the {len(held_out)} groups that are held out now; they do not "
        f"count as new{hint}"
    ]


def find_or_begin(
    store: Store,
    request: FinetuneRequest,
    rows_of: RowsOf,
    *,
    name: str | None,
    folder: Path | None,
    free: Mapping[str, Any],
) -> tuple[TrainingRun, bool]:
    """The run of a request, and whether it is begun now.

    Args:
        store: The atlas.
        request: What is trained, on what, for how long.
        rows_of: Which images of a level may be taken.
        name: Of the new encoder, where the user names it.
        folder: Of the run, where the user names it.
        free: Settings that do not decide the result.

    Raises:
        InputError: If there is nothing to train on, the name is taken, or the folder holds another training.
    """
    level = request.level or first_level(store)
    encoder = named_encoder(store, level, request.encoder)
    run = find_run(request, store.folder.path, encoder, name=name, folder=folder)
    if run is not None:
        return run, False
    parts = _parts(store, level, encoder, request, rows_of)
    with beginning():
        # somebody may have begun one in the time that the parts took
        run = find_run(request, store.folder.path, encoder, name=name, folder=folder)
        if run is not None:
            return run, False
        return _begin(store, level, encoder, request, parts, name, folder, free), True


def _begin(
    store: Store,
    level: str,
    encoder: EncoderSpec,
    request: FinetuneRequest,
    parts: Parts,
    name: str | None,
    folder: Path | None,
    free: Mapping[str, Any],
) -> TrainingRun:
    """Name a run and write down what is settled."""
    import torch

    from locatlas.models.hardware import native_bf16

    kind = "pretrain" if request.from_scratch else request.objective
    stem = (request.architecture or encoder.architecture) if request.from_scratch else encoder.name
    chosen = name or (folder.resolve().name if folder is not None else new_name(f"{stem}-{kind}"))
    if registry.own_encoder_path(chosen).exists() or chosen in {s.name for s in registry.list_encoders(chosen)}:
        message = f"encoder {chosen!r} exists already; choose another --name"
        raise InputError(message)
    run = TrainingRun(
        folder=folder or runs_folder() / chosen,
        name=chosen,
        atlas=store.folder.path,
        request=json.loads(json.dumps(request.to_dict())),
        level=level,
        parent=encoder,
        plan=settled_plan(request, len(parts.train), cuda=torch.cuda.is_available() and native_bf16(), free=free),
        parts=parts,
    )
    run.write()
    return run


def _parts(store: Store, level: str, encoder: EncoderSpec, request: FinetuneRequest, rows_of: RowsOf) -> Parts:
    group = request.group.removeprefix("group_")
    before = None if request.from_scratch else known_training(store, encoder.weights_sha256)
    rows, stay = rows_of(store, level), kept_out(before, request, group)
    if stay is not None and not set(stay) & set(rows.groups(group)):
        stay = None  # they are those of another atlas: of this one, too, something is to be held out
    return split(
        rows,
        group=group,
        labels=request.labels if request.objective == "supervised" else None,
        share=DEFAULT_HOLD_OUT if request.hold_out is None else request.hold_out,
        fraction=request.fraction,
        validation=request.validation,
        seed=request.split_seed,
        kept_out=stay,
    )
