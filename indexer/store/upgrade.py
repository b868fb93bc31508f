"""Bring an atlas of an older schema version to this one: new columns, then the version. I/O."""

import logging
import shlex
import time
from pathlib import Path

import pyarrow as pa

from locatlas.errors import AtlasLockedError, InputError, LocatlasError, SchemaMismatchError, StoreDamagedError
from locatlas.indexer.store.digests import Digests, read_journal
from locatlas.indexer.store.layout import AtlasFolder
from locatlas.indexer.store.schema import CELLS, FOVS, SCHEMA_VERSION
from locatlas.interrupts import unbroken

__all__ = ["upgrade"]

logger = logging.getLogger(__name__)

OLDEST = 1

WAIT_S = 5.0
"""For somebody who upgrades the same atlas at the same time, which takes a moment."""

# version 2 only added columns that may be null, at the end of these. `annotated_by` was there in version 1, but was
# never written, so `annotated` is null with it. Version 3 added the table `trainings`, which is made with its first
# row: an older locatlas, which does not know what an encoder was trained on, must not evaluate it.
_GREW = {"fovs": FOVS, "cells": CELLS}


def upgrade(folder: AtlasFolder) -> None:
    """Bring the tables of an atlas to `SCHEMA_VERSION`, and then say so in `atlas.json`.

    Does nothing if the atlas has this version. What it was is kept first, in `before-upgrade` in the atlas, which costs
    as much as `atlas.json` and the manifests of its tables. A table gets its columns in one commit, and those that have
    them are left alone, so what was killed is done again from where it stood. No vector or image is touched; a locatlas
    that knows the older version only does not open the atlas any more.

    Args:
        folder: The atlas.

    Raises:
        SchemaMismatchError: If its version is newer than this locatlas, or none, or a table has other columns.
        InputError: If it must be upgraded and cannot be written.
        AtlasLockedError: If it must be upgraded and another process writes.
        StoreDamagedError: If a table cannot be read or written.
    """
    if _version(folder) == SCHEMA_VERSION:
        return
    from locatlas.indexer.backup.before_upgrade import keep_before_upgrade

    until = time.monotonic() + WAIT_S
    while (found := _version(folder)) != SCHEMA_VERSION:
        try:
            with folder.writer(f"upgrade from schema version {found}"):
                if _version(folder) != SCHEMA_VERSION:  # it may have been done since
                    kept = keep_before_upgrade(folder, found, is_upgraded=lambda name: _is_upgraded(folder, name))
                    _grow(folder)
                    folder.write_info({**folder.info(), "schema_version": SCHEMA_VERSION})
                    logger.warning(
                        "%s: upgraded from schema version %s to %s; `locatlas restore %s --to FOLDER` gives back what "
                        "it was",
                        *(folder.path, found, SCHEMA_VERSION, shlex.quote(str(kept))),
                    )
        except AtlasLockedError as error:
            if time.monotonic() > until:
                raise AtlasLockedError(f"{_must(folder, found)}; {error}") from error
            time.sleep(0.1)
        except StoreDamagedError as error:
            raise StoreDamagedError(f"{error}; the atlas was not upgraded") from error
        except (InputError, OSError) as error:
            raise InputError(f"{_must(folder, found)} by somebody who may write it: {error}") from error


def _version(folder: AtlasFolder) -> int:
    found = folder.info().get("schema_version")
    if isinstance(found, bool) or not isinstance(found, int) or not OLDEST <= found <= SCHEMA_VERSION:
        newer = isinstance(found, int) and found > SCHEMA_VERSION
        advice = "; a newer one made it: install that" if newer else ""
        message = (
            f"{folder.path}: atlas of schema version {found}; this locatlas reads versions {OLDEST} to "
            f"{SCHEMA_VERSION}{advice}"
        )
        raise SchemaMismatchError(message)
    return found


def _must(folder: AtlasFolder, found: int) -> str:
    return f"{folder.path}: atlas of schema version {found} must first be upgraded to {SCHEMA_VERSION}"


def _is_upgraded(folder: AtlasFolder, table: str) -> bool:
    """Whether a table that grew has the columns that it is to have."""
    import lance

    wanted = _GREW.get(table)
    return wanted is not None and list(lance.dataset(str(folder.db / f"{table}.lance")).schema.names) == wanted.names


def _grow(folder: AtlasFolder) -> None:
    """Add columns, and take the digests of what is new where the atlas has any; a signal waits for the end of both."""
    digests = Digests(folder)
    attested = read_journal(folder) is not None
    if attested:
        digests.take(list(_GREW), late=True)  # what somebody left who died is not what is written now
    with unbroken():
        for table, schema in _GREW.items():
            _add_columns(folder.db / f"{table}.lance", schema)
        if attested:
            digests.take(list(_GREW))


def _add_columns(path: Path, schema: pa.Schema) -> None:
    """Add the columns of the schema that the table lacks, null in every row, in one commit."""
    if not any(path.glob("_versions/*.manifest")):
        return  # never made, or its making was killed
    import lance  # after the store has set its environment

    try:
        dataset = lance.dataset(str(path))
        here = dataset.schema.remove_metadata()
        if list(here) != list(schema)[: len(here)]:
            message = f"{path}: has other columns than its schema version says; the atlas was not upgraded"
            raise SchemaMismatchError(message)
        if len(here) < len(schema):
            dataset.add_columns(pa.schema(list(schema)[len(here) :]))
    except LocatlasError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        why = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        message = f"{path}: cannot be upgraded ({why})"
        raise StoreDamagedError(message) from error
