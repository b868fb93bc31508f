"""Which encoder an atlas uses at a level: the `encoders` table, its states, and the choice of a new one. I/O."""

import logging
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

import pyarrow as pa

from locatlas.errors import EncoderMismatchError, InputError, UnknownNameError
from locatlas.indexer.schema import ENCODERS, embedding_table_name
from locatlas.indexer.store import Store
from locatlas.indexer.trainings import put_known_trainings
from locatlas.models import registry
from locatlas.models.crops import CropPlan, default_crop
from locatlas.models.spec import EncoderSpec, Mapping, Passes, Precision, Storage

_log = logging.getLogger(__name__)

__all__ = [
    "DEFAULT_ENCODER",
    "IMPORTED",
    "EncoderRequest",
    "State",
    "StoredEncoder",
    "choose",
    "current",
    "find",
    "put",
    "settle",
    "stored_encoders",
    "switch_to",
]

DEFAULT_ENCODER = "locatlas_pico.synthetic"

IMPORTED = "imported"
"""Architecture of the encoders of imported vectors."""

State = Literal["building", "current", "superseded"]


@dataclass(frozen=True, slots=True)
class StoredEncoder:
    """An encoder as an atlas knows it at one level."""

    level: str
    spec: EncoderSpec
    state: State

    @property
    def fingerprint(self) -> str:
        """The spec's fingerprint."""
        return self.spec.fingerprint

    @property
    def table(self) -> str:
        """Name of the table that holds its vectors."""
        return embedding_table_name(self.level, self.fingerprint)

    @property
    def is_imported(self) -> bool:
        """Whether its vectors were made elsewhere, so that it cannot embed."""
        return self.spec.architecture == IMPORTED

    def is_called(self, name: str) -> bool:
        """Whether a user means this encoder by its name, or by at least six digits of its fingerprint."""
        return self.spec.name == name or (len(name) >= 6 and self.fingerprint.startswith(name))


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderRequest:
    """What a user asked for; None where they said nothing."""

    name: str | None = None
    mapping: Mapping | None = None
    passes: Passes | None = None
    stains: tuple[str, ...] = ()
    seed: int | None = None
    precision: Precision | None = None
    crop: CropPlan | None = None
    storage: Storage | None = None

    @property
    def names_no_plan(self) -> bool:
        """Whether mapping, passes, stains and seed were all left open."""
        return (self.mapping, self.passes, self.stains, self.seed) == (None, None, (), None)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was asked for, so that the atlas' own encoder is meant."""
        return self == EncoderRequest()

    def fits(self, spec: EncoderSpec) -> bool:
        """Whether a spec is all that was asked for."""
        pairs = (
            (self.name, spec.name),
            (self.mapping, spec.mapping),
            (self.passes, spec.passes),
            (self.stains or None, spec.stains),
            (self.seed, spec.mapping_seed),
            (self.precision, spec.precision),
            (self.crop, spec.crop),
            (self.storage, spec.storage),
        )
        return all(asked is None or asked == its for asked, its in pairs)


def stored_encoders(store: Store, level: str | None = None) -> list[StoredEncoder]:
    """All encoders of an atlas, or of one level, current first, then by name."""
    rows = store.read("encoders").to_pylist()
    found = [
        StoredEncoder(row["level"], EncoderSpec.from_json(row["spec"]), row["state"])
        for row in rows
        if level in (None, row["level"])
    ]
    return sorted(found, key=lambda e: (e.level, e.state != "current", e.spec.name, e.fingerprint))


def current(store: Store, level: str) -> StoredEncoder | None:
    """The encoder that queries at this level use by default, or None before the first index run ended."""
    return next((e for e in stored_encoders(store, level) if e.state == "current"), None)


def find(store: Store, level: str, name: str | None) -> StoredEncoder:
    """The encoder of this name or fingerprint (at least 6 digits), or the current one.

    Raises:
        UnknownNameError: If the atlas has none such at this level.
        InputError: If the name fits several, or the only one is not complete yet.
    """
    known = stored_encoders(store, level)
    if name is None:
        if (found := current(store, level)) is not None:
            return found
        if known:
            message = (
                f"{store.folder.path}: encoder {known[0].spec.name} at level {level} is not complete; run the same "
                f"`locatlas index` again to continue, or name it with --encoder to use what is there"
            )
            raise InputError(message)
        levels = sorted({e.level for e in stored_encoders(store)})
        message = f"{store.folder.path}: no vectors at level {level}" + (
            f"; there are some at {levels}" if levels else ""
        )
        raise InputError(message)
    fits = [e for e in known if e.is_called(name)]
    if not fits:
        named = [f"{e.spec.name} ({e.fingerprint[:12]})" for e in known]
        raise UnknownNameError(f"{level} encoder in this atlas", name, named)
    if len(fits) > 1:
        listed = ", ".join(f"{e.fingerprint[:12]} ({_plan(e.spec)}, {e.state})" for e in fits)
        message = f"encoder {name!r} is in this atlas several times; name one by fingerprint: {listed}"
        raise InputError(message)
    return fits[0]


def _plan(spec: EncoderSpec) -> str:
    return f"{spec.mapping}/{spec.passes}" + (f" of {'+'.join(spec.stains)}" if spec.stains else "")


def _shown(spec: EncoderSpec) -> str:
    crop = f", crop {spec.crop}" if spec.crop else ""
    storage = "" if spec.storage == "float32" else f", stored as {spec.storage}"
    return f"{spec.name} ({_plan(spec)}, {spec.precision}{crop}{storage}, {spec.fingerprint[:12]})"


def _row(encoder: StoredEncoder) -> dict[str, Any]:
    return {
        "id": f"{encoder.level}/{encoder.fingerprint}",
        "level": encoder.level,
        "fingerprint": encoder.fingerprint,
        "name": encoder.spec.name,
        "dim": encoder.spec.dim,
        "spec": encoder.spec.to_json(),
        "parent": encoder.spec.parent,
        "state": encoder.state,
    }


def put(store: Store, *encoders: StoredEncoder) -> None:
    """Write encoders and their states in one commit, after what is known of their training.

    Raises:
        EncoderMismatchError: If another encoder of the atlas has a table of that name already: the names are cut
            fingerprints, and two encoders' vectors must never meet.
    """
    tables = {(known.table, known.fingerprint) for known in stored_encoders(store)}
    for encoder in encoders:
        if any(table == encoder.table and other != encoder.fingerprint for table, other in tables):
            message = f"{store.folder.path}: {encoder.fingerprint} and another encoder share the table {encoder.table}"
            raise EncoderMismatchError(message)
        put_known_trainings(store, encoder.spec)
    store.upsert("encoders", pa.Table.from_pylist([_row(e) for e in encoders], schema=ENCODERS))


def switch_to(store: Store, encoder: StoredEncoder) -> None:
    """Make an encoder current at its level and the one before it superseded, in one commit."""
    before = current(store, encoder.level)
    changed = [StoredEncoder(encoder.level, encoder.spec, "current")]
    if before is not None and before.fingerprint != encoder.fingerprint:
        changed.append(StoredEncoder(before.level, before.spec, "superseded"))
    put(store, *changed)


def choose(
    store: Store, level: str, request: EncoderRequest, *, available: tuple[str, ...], adding: bool, cuts: bool = False
) -> StoredEncoder:
    """The encoder that a command is to use at a level.

    Args:
        store: The atlas.
        level: "fov" or "cell".
        request: What the user asked for.
        available: Channels of the images at hand; named in the spec where each takes a pass of its own.
        adding: Whether another encoder than the current one may be meant (`embed`), or only it (`index`).
        cuts: Whether cells are to be cut out of fields, so that the encoder needs a crop.

    Returns:
        The encoder with its state in the atlas; "building" if it is new.

    Raises:
        EncoderMismatchError: If not `adding` and something else than the current encoder was asked for.
        InputError: If nothing was asked for and it is not clear which encoder is meant, or its crop is missing.
    """
    chosen = _chosen(
        store, level, request if cuts else replace(request, crop=None), available=available, adding=adding, cuts=cuts
    )
    if cuts and chosen.spec.crop is None:
        message = (
            f"{store.folder.path}: its {level} encoder {_shown(chosen.spec)} embeds whole images and cannot cut cells; "
            f"add one that does with `locatlas embed --level cell --crop 41um`"
        )
        raise InputError(message)
    return chosen


def _chosen(
    store: Store, level: str, request: EncoderRequest, *, available: tuple[str, ...], adding: bool, cuts: bool
) -> StoredEncoder:
    here = current(store, level)
    if here is not None and here.is_imported:
        if adding and request.is_empty:
            message = f"{store.folder.path}: vectors of {here.spec.name} were imported; name an encoder with --encoder"
            raise InputError(message)
        here = None
    known = [e for e in stored_encoders(store, level) if not e.is_imported]
    if here is not None and (request.is_empty or (not adding and request.fits(here.spec))):
        return here
    if request.is_empty and len(known) > 1:
        message = (
            f"{store.folder.path}: several {level} encoders were begun and none is complete; name one with --encoder: "
            + ", ".join(sorted(_shown(e.spec) for e in known))
        )
        raise InputError(message)
    if len(known) == 1 and (request.is_empty or request.fits(known[0].spec)) and here is None:
        return known[0]  # an interrupted first run, continued
    like = here.spec if here else (known[0].spec if known else None)
    spec = settle(request, available=available, like=like, cuts=cuts)
    found = next((e for e in known if e.fingerprint == spec.fingerprint), None)
    if here is not None and not adding and spec.fingerprint != here.fingerprint:
        message = (
            f"{store.folder.path}: its {level} encoder is {_shown(here.spec)}, asked for {_shown(spec)}. "
            f"Leave --encoder and the plan out to use it, or add the other with `locatlas embed`"
        )
        raise EncoderMismatchError(message)
    return found or StoredEncoder(level, spec, "building")


@cache
def _tell_precision(name: str, precision: Precision, registered: Precision) -> None:
    """Once in a process: several levels and the check before an atlas is made settle the same encoder."""
    _log.warning(
        "%s runs in %s, which is faster on this machine and rounds its vectors a little; --precision %s does not round",
        name,
        precision,
        registered,
    )


def settle(
    request: EncoderRequest, *, available: tuple[str, ...], like: EncoderSpec | None, cuts: bool = False
) -> EncoderSpec:
    """The spec that a request means, with its weights known.

    Args:
        request: What the user asked for.
        available: Channels of the images at hand.
        like: Encoder that the atlas already uses, None in a new atlas. Where the request names no other, it gives the
            name; where it names no other encoder, it gives precision and storage, and where it names no plan either,
            the plan. Its crop is taken by any encoder that was not trained here on one of its own, so that encoders are
            compared on the same pixels.
        cuts: Whether cells are cut out of fields: the spec gets a crop.

    Raises:
        UnknownNameError: If no encoder has the name.
        WeightsError: If its weights are not to be had.
    """
    from locatlas.models.encode import resolve
    from locatlas.models.hardware import helpful_precision

    name = request.name or (like.name if like else DEFAULT_ENCODER)
    same = like if like is not None and like.name == name else None
    trained_here = registry.training(name) is not None
    # an atlas stays at the precision it began with, whatever machine continues it
    precision = request.precision or (same.precision if same else None)
    if precision is None and not trained_here:
        registered = registry.get(name)
        precision = helpful_precision(registered)
        if precision != registered.precision:
            _tell_precision(name, precision, registered.precision)
    if same and request.names_no_plan:
        request = replace(request, mapping=same.mapping, passes=same.passes, stains=same.stains, seed=same.mapping_seed)
    spec = resolve(
        name,
        mapping=request.mapping,
        passes=request.passes,
        stains=request.stains,
        seed=request.seed,
        precision=precision,
        available=available,
    )
    if storage := request.storage or (same.storage if same else None):
        spec = spec.with_changes(storage=storage)
    if not cuts:
        return spec.with_changes(crop=None)
    # one that was trained on crops takes no others unless they are asked for
    own = spec.crop if trained_here else None
    return spec.with_changes(crop=request.crop or own or (like.crop if like else None) or default_crop(name))
