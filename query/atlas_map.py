"""Maps of one atlas as a user asks for them. Reads the store, writes maps."""

from typing import Literal

from locatlas.query.atlas_views import AtlasViews
from locatlas.query.map import MapPoints
from locatlas.query.map_make import MapRequest, make_map
from locatlas.types import Level

__all__ = ["AtlasMap"]


class AtlasMap(AtlasViews):
    """Two-dimensional maps of the vectors of one atlas."""

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
    ) -> MapPoints:
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

        Returns:
            ids and xy (n, 2) float32; `.to_arrow()`.

        Raises:
            UnknownNameError: If there is no such level, encoder or method.
            InputError: If the method is not installed, or a parameter does not fit.
            AtlasLockedError: If the atlas cannot be written.
        """
        params = {"n_neighbors": n_neighbors, "min_dist": min_dist, "perplexity": perplexity}
        request = MapRequest(
            level=level, of=of, encoder=encoder, method=method, seed=seed, params=params, refit=refit
        )  # fmt: skip
        return make_map(self._shelf, request).points
