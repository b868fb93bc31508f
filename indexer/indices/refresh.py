"""The index that a level's vectors call for: built anew where it is due, told in words. I/O."""

from collections.abc import Sequence
from pathlib import Path

from locatlas.errors import AtlasLockedError
from locatlas.indexer.files.planes import plural
from locatlas.indexer.indices.build import build
from locatlas.indexer.indices.candidates import TableIndex
from locatlas.indexer.indices.files import index_paths
from locatlas.indexer.indices.kinds import AUTO_LATER_SHARE, choose_kind, in_words
from locatlas.indexer.indices.opening import open_index
from locatlas.indexer.memory import usable_memory
from locatlas.indexer.store.encoders import current
from locatlas.indexer.store.tables import Store
from locatlas.indexer.store.vector_cache import mapped_vectors

__all__ = ["refresh"]


def refresh(atlas: Path, kind: str, *, levels: Sequence[str]) -> dict[str, str]:
    """Build the index of the current encoder at each level, if asked for or if the size calls for one.

    Args:
        atlas: Atlas folder.
        kind: "auto", "none" or an index type. "auto" leaves a valid index of whatever type alone.
        levels: Image levels.

    Returns:
        By level, what look-ups will use, in words.

    Raises:
        AtlasLockedError: If another process writes and a type was asked for; "auto" says so and builds none.
    """
    store = Store.open(atlas)
    said = {}
    for level in levels:
        encoder = current(store, level)
        if encoder is None:
            said[level] = "no index: encoder not complete"
            continue
        n = store.count(encoder.table)
        chosen = choose_kind(n, encoder.spec.dim, usable_memory()) if kind == "auto" else kind
        wanted = None if chosen == "none" else chosen
        index, state = None, "no index"
        if index_paths(store.folder, encoder.table)[1].is_file():
            index, state = open_index(store, encoder, mapped_vectors(store, encoder.table).held)
        if wanted is not None and _is_due(index, kind):
            try:
                with store.folder.writer(f"index {in_words(wanted)}"):
                    sidecar, later = build(store, encoder, wanted), 0  # type: ignore[arg-type]
            except AtlasLockedError as error:
                if kind != "auto":
                    raise
                # what was embedded is done and can be searched: no reason to fail, or to wait for hours
                said[level] = f"exact search ({plural(n, 'vector')}; {in_words(wanted)} is not built: {error})"
                continue
        elif index is not None:
            sidecar, later = index.sidecar, len(index.later)
        else:
            said[level] = f"exact search ({plural(n, 'vector')}" + (")" if state == "no index" else f"; {state})")
            continue
        params = "".join(f", {key} {value}" for key, value in sidecar.params.items())
        more = f", {later} later ones searched exactly" if later else ""
        said[level] = (
            f"{in_words(sidecar.kind)} over {plural(sidecar.count, 'vector')}{more}{params}, "
            f"recall@10 {sidecar.recall_at_10:.3f} among {sidecar.recall_among or 'all, the own protein too'}"
        )
    return said


def _is_due(index: TableIndex | None, kind: str) -> bool:
    """Whether an index is to be built: "auto" lets one stand that is nearly complete, a named kind is made exactly."""
    if index is None:
        return True
    if kind == "auto":
        return len(index.later) > AUTO_LATER_SHARE * index.sidecar.count
    return bool(len(index.later)) or index.sidecar.kind != kind
