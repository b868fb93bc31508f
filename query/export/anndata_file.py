"""An AnnData file, as scanpy, squidpy and scvi-tools read it. Writes one file."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from locatlas.errors import InputError
from locatlas.query.export.chosen import SEPARATOR, Chosen, flat_columns, neighbors_within, on_map
from locatlas.query.export.target import whole_file
from locatlas.query.map.rows import stored_methods
from locatlas.query.map.stored import map_command, read_map
from locatlas.types import Neighbors

if TYPE_CHECKING:
    from scipy import sparse

__all__ = ["neighbor_graphs", "spatial", "vector_key", "write_anndata"]


def write_anndata(chosen: Chosen, path: Path, *, k: int, overwrite: bool) -> list[str]:
    """Write obs, obsm["X_<encoder>"], obsp["distances"], obsp["connectivities"], uns["neighbors"], uns["locatlas"].

    Maps that are stored of the same vectors stand in obsm as X_pca, X_umap and X_tsne; what is not on a map is NaN
    there. An encoder of such a name has an underscore behind it, and uns["locatlas"]["representation"] says where the
    vectors are. X is left empty: they are a representation, not counts. Of cells obsm["spatial"] has the centroids.

    Args:
        chosen: What is exported.
        path: Ends in .h5ad.
        k: Exact nearest neighbors in the graphs.
        overwrite: Replace a file that is there.

    Returns:
        What a reader must know.

    Raises:
        InputError: If anndata is not installed, or the path cannot be used.
    """
    try:
        import anndata
        import pandas as pd
    except ModuleNotFoundError as error:
        message = "export anndata needs anndata: pip install 'locatlas[anndata]'"
        raise InputError(message) from error
    if path.suffix != ".h5ad":
        message = f"{path}: name a file that ends in .h5ad"
        raise InputError(message)
    with whole_file(path, overwrite=overwrite) as temporary:
        view = chosen.view
        columns = flat_columns(view)
        ids = columns.pop("id")
        named = dict(zip(_keys(list(columns)), columns.values(), strict=True))
        index = pd.Index(ids.to_pylist(), dtype=object)
        obs = pd.DataFrame({name: _series(column, pd, index) for name, column in named.items()}, index=index)
        maps, notes = _maps(chosen)
        places, said, more = spatial(chosen)
        notes += more
        key = vector_key(chosen, [*maps, *places])
        distances, connectivities = neighbor_graphs(neighbors_within(view, k), len(view))
        uns = {
            "neighbors": {
                "connectivities_key": "connectivities",
                "distances_key": "distances",
                "params": {"n_neighbors": k + 1, "method": "cosine", "metric": "cosine", "use_rep": key},
            },
            "locatlas": {
                name: value if isinstance(value, int | str) else json.dumps(value, sort_keys=True)
                for name, value in chosen.origin().items()
                if value is not None
            }
            | {"separator": SEPARATOR, "representation": key}
            | said,
        }
        data = anndata.AnnData(obs=obs, obsm={key: view.vectors, **maps, **places}, uns=uns)
        data.obsp["distances"], data.obsp["connectivities"] = distances, connectivities
        data.write_h5ad(temporary)
    return notes


def vector_key(chosen: Chosen, maps: Iterable[str]) -> str:
    """Where the vectors stand in obsm: imported ones may be called pca, as one of the maps is, and then get another."""
    return _keys([*maps, f"X_{chosen.encoder.spec.name}"])[-1]


def spatial(chosen: Chosen) -> tuple[dict[str, NDArray[np.float64]], dict[str, str], list[str]]:
    """Centroids of cells as squidpy looks for them: x, y in their own field, NaN where a cell has none.

    Fields lie on top of each other there, so that squidpy must be told which is which (`library_key="fov"`).

    Returns:
        obsm; what uns["locatlas"] says of it; what a reader must know. All empty at other levels, and where no cell has
        a centroid. In micrometres where every cell has a pixel size, else in pixels, never in both.
    """
    meta = chosen.view.meta
    if chosen.view.level != "cell" or "centroid" not in meta.column_names:
        return {}, {}, []
    rows = [row if row is not None and len(row) == 2 else (np.nan, np.nan) for row in meta["centroid"].to_pylist()]
    xy = np.array(rows, dtype=np.float64).reshape(-1, 2)[:, ::-1]
    if np.isnan(xy).all():
        return {}, {}, []
    sizes = np.array([np.nan if s is None else s for s in meta["pixel_size_um"].to_pylist()], dtype=np.float64)
    unknown = int(np.isnan(sizes).sum())
    unit = "px" if unknown else "um"
    if not unknown:
        xy = xy * sizes[:, None]
    said = {"spatial_unit": unit, "spatial_axes": "x, y from the top left corner of the field that obs['fov'] names"}
    notes = []
    if 0 < unknown < len(sizes):
        notes.append(f"obsm['spatial'] is in pixels: {unknown} of {len(sizes)} cells have no pixel size")
    return {"spatial": np.ascontiguousarray(xy)}, said, notes


def neighbor_graphs(found: Neighbors, n: int) -> "tuple[sparse.csr_matrix, sparse.csr_matrix]":
    """Exact nearest neighbors as two graphs.

    Args:
        found: Neighbors of n rows among each other.
        n: Rows.

    Returns:
        Distances, 1 - cosine similarity of each row to its neighbors, zeros among them stored; and connectivities,
        the cosine similarities where positive, symmetric: an edge is there if either has the other as a neighbor.
    """
    from scipy import sparse

    there = found.indices >= 0
    rows, columns = np.nonzero(there)[0], found.indices[there]
    similarities = found.similarities[there].astype(np.float64)
    starts = np.concatenate([[0], np.cumsum(there.sum(axis=1))])
    distances = sparse.csr_matrix((np.maximum(1.0 - similarities, 0.0), columns, starts), shape=(n, n))
    weights = sparse.csr_matrix((np.clip(similarities, 0.0, 1.0), (rows, columns)), shape=(n, n))
    connectivities = weights.maximum(weights.T).tocsr()
    connectivities.eliminate_zeros()
    return distances, connectivities


def _keys(names: list[str]) -> list[str]:
    """Names that HDF5 and anndata take as keys, each once: a slash would be a group, `_index` is taken."""
    found: list[str] = []
    for name in names:
        plain = re.sub(r"[/\x00]", "_", name) if name != "_index" else "index_"
        while plain in found:
            plain += "_"
        found.append(plain)
    return found


def _series(column: pa.Array, pandas: Any, index: Any) -> Any:
    """A column as pandas holds it: text as categories, numbers and booleans that may be missing as such."""
    values = column.to_pylist()
    if pa.types.is_string(column.type):
        return pandas.Series(pandas.Categorical(values), index=index)
    if pa.types.is_boolean(column.type) and column.null_count:
        return pandas.Series(pandas.array(values, dtype="boolean"), index=index)
    if pa.types.is_integer(column.type) and column.null_count:
        return pandas.Series(pandas.array(values, dtype="Int64"), index=index)
    return pandas.Series(values, index=index)


def _maps(chosen: Chosen) -> tuple[dict[str, NDArray[np.float32]], list[str]]:
    """Coordinates on the maps that are stored of these vectors, and what is missing of them."""
    maps: dict[str, NDArray[np.float32]] = {}
    notes: list[str] = []
    store, level, encoder = chosen.shelf.store, chosen.view.level, chosen.encoder.fingerprint
    for method in stored_methods(store, level, chosen.of, encoder):
        points = read_map(store, level, encoder=encoder, method=method, of=chosen.of)
        rows = on_map(chosen, points)
        maps[f"X_{method}"] = np.where(rows[:, None] >= 0, points.xy[rows], np.float32(np.nan))
        if n := int((rows < 0).sum()):
            notes.append(
                f"{n} of {len(rows)} rows are not on the {method} map, or have another vector now: NaN in "
                f"obsm['X_{method}']; `{map_command(store, level, method)}` brings it up to date"
            )
    return maps, notes
