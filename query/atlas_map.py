"""Maps and exports of one atlas as a user asks for them. Reads the store, writes maps and files."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from locatlas.query.asking.scope import Scope
from locatlas.query.asking.selection import Where
from locatlas.query.atlas_views import AtlasViews
from locatlas.types import Level

if TYPE_CHECKING:  # a look-up needs none of these
    from locatlas.query.export.run import Exported, Kind
    from locatlas.query.map.stored import MapPoints

__all__ = ["AtlasMap"]


class AtlasMap(AtlasViews):
    """Two-dimensional maps of the vectors of one atlas, and files of them for other programs."""

    def map(
        self,
        level: Level | None = None,
        *,
        method: Literal["pca", "umap", "tsne"] = "pca",
        seed: int = 0,
        encoder: str | None = None,
        of: str | None = None,
        n_neighbors: int | None = None,
        min_dist: float | None = None,
        perplexity: float | None = None,
        refit: bool = False,
        plot: str | Path | None = None,
        map_labels: str | None = None,
    ) -> "MapPoints":
        """A two-dimensional map of the unit-normalised vectors (cosine), drawn once and kept in the atlas.

        Images that came later are placed on it without drawing the others anew: with pca by the same projection, with
        umap and tsne at the mean of their 15 nearest drawn neighbors, weighted by 1 / (1 - cosine similarity).

        Args:
            level: "fov", "cell" or "protein"; None for the first image level the atlas has.
            method: "pca", or "umap" (extra `umap`) or "tsne" (extra `tsne`) from the exact nearest neighbors.
            seed: Of what umap and tsne draw at random; the same seed gives the same map.
            encoder: Name or fingerprint; None for the current one.
            of: At level protein, which images it is made of: "fov" or "cell"; None for FOVs, or cells where there are
                none.
            n_neighbors: Of umap, >= 2; None for 15.
            min_dist: Of umap, >= 0; None for 0.1.
            perplexity: Of tsne, >= 2; None for 30.
            refit: Draw all points anew.
            plot: Also write a figure, coloured by localization; its suffix decides the format (svg, png, pdf).
            map_labels: Map that brings the localizations of the figure into one vocabulary, e.g. "hpa:opencell".

        Returns:
            ids and xy (n, 2) float32; `.to_arrow()`.

        Raises:
            UnknownNameError: If there is no such level, encoder or method.
            InputError: If the method is not installed, or a parameter does not fit.
            AtlasLockedError: If the atlas cannot be written.
        """
        from locatlas.query.map.make import make_map
        from locatlas.query.map.plot import plot_map
        from locatlas.query.map.request import MapRequest

        params = {"n_neighbors": n_neighbors, "min_dist": min_dist, "perplexity": perplexity}
        request = MapRequest(
            level=level,
            of=of,
            encoder=encoder,
            method=method,
            seed=seed,
            params=params,
            refit=refit,
            map_labels=map_labels,
        )
        result = make_map(self._shelf, request)
        if plot is not None:
            plot_map(result.points, result.localizations, Path(plot))
        return result.points

    def export(
        self,
        kind: "Kind",
        out: str | Path,
        *,
        level: Level | None = None,
        encoder: str | None = None,
        of: str | None = None,
        where: Where = (),
        k: int | None = None,
        method: Literal["pca", "umap", "tsne"] | None = None,
        overwrite: bool = False,
    ) -> "Exported":
        """Write vectors and metadata for other programs; under a temporary name, and renamed when whole.

        Args:
            kind: "anndata" (.h5ad for scanpy and squidpy; extra `anndata`), "parquet" (for embedding-atlas, with a
                stored map), "profiles" (Parquet for copairs and pycytominer) or "faiss" (a folder).
            out: File, or folder for faiss.
            level: "fov", "cell" or "protein"; None for the first image level the atlas has.
            encoder: Name or fingerprint; None for the current one.
            of: At level protein, which images it is made of.
            where: Filters on the images, or on those that proteins are made of.
            k: Exact nearest neighbors in the graphs of anndata and parquet; None for 15, or as many as there are.
            method: The map of parquet; None for the one that was made last.
            overwrite: Replace what is there.

        Returns:
            What was written, with the command that shows it where there is one.

        Raises:
            UnknownNameError: If there is no such kind, level, encoder or column.
            InputError: If `out` is there, a package or a map is missing, or nothing passes the filters.
        """
        from locatlas.query.export.run import export

        scope = Scope(level=level, encoder=encoder, of=of, where=where)
        return export(self._shelf, kind, Path(out), scope, k=k, method=method, overwrite=overwrite)
