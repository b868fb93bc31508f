"""Which encoder an atlas uses at a level: the `encoders` table, and its states. I/O."""

from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from locatlas.errors import EncoderMismatchError, InputError, UnknownNameError
from locatlas.indexer.store.schema import ENCODERS, embedding_table_name
from locatlas.indexer.store.tables import Store
from locatlas.indexer.store.trainings import put_known_trainings
from locatlas.models.spec import EncoderSpec

__all__ = [
    "IMPORTED",
    "State",
    "StoredEncoder",
    "current",
    "find",
    "forget",
    "put",
    "shown",
    "stored_encoders",
    "switch_to",
]

IMPORTED = "imported"
"""Architecture of the encoders of imported vectors."""

State = Literal["building", "current", "superseded", "beside"]
"""Superseded is what was current once; beside the current stands what never was and is not about to be."""


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
            f"; there are some at level {' and '.join(levels)}" if levels else ""
        )
        raise InputError(message)
    fits = [e for e in known if e.is_called(name)]
    if not fits:
        named = [f"{e.spec.name} ({e.fingerprint[:12]})" for e in known]
        raise UnknownNameError(f"{level} encoder in this atlas", name, named)
    if len(fits) > 1:
        listed = "; ".join(f"{shown(e.spec)} {e.state}" for e in fits)
        message = f"encoder {name!r} is in this atlas several times; name one by fingerprint: {listed}"
        raise InputError(message)
    return fits[0]


def _plan(spec: EncoderSpec) -> str:
    return f"{spec.mapping}/{spec.passes}" + (f" of {'+'.join(spec.stains)}" if spec.stains else "")


def shown(spec: EncoderSpec) -> str:
    """An encoder in a line: name, plan, precision, what else is not usual, fingerprint."""
    crop = f", crop {spec.crop}" if spec.crop else ""
    residual = ", residual bf16" if spec.residual == "bf16" else ""
    storage = "" if spec.storage == "float32" else f", stored as {spec.storage}"
    return f"{spec.name} ({_plan(spec)}, {spec.precision}{residual}{crop}{storage}, {spec.fingerprint[:12]})"


def _id(encoder: StoredEncoder) -> str:
    return f"{encoder.level}/{encoder.fingerprint}"


def _row(encoder: StoredEncoder) -> dict[str, Any]:
    return {
        "id": _id(encoder),
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


def forget(store: Store, encoder: StoredEncoder) -> None:
    """Take an encoder out of the atlas, after its vectors; what it was trained on stays known."""
    store.delete("encoders", [_id(encoder)])


def switch_to(store: Store, encoder: StoredEncoder) -> None:
    """Make an encoder current at its level and the one before it superseded, in one commit."""
    before = current(store, encoder.level)
    changed = [StoredEncoder(encoder.level, encoder.spec, "current")]
    if before is not None and before.fingerprint != encoder.fingerprint:
        changed.append(StoredEncoder(before.level, before.spec, "superseded"))
    put(store, *changed)
