"""The command that draws an atlas in two dimensions: map."""

from pathlib import Path
from typing import Any

import rich_click as click

from locatlas.cli.asking_options import ENCODER, LEVEL, MAP_LABELS
from locatlas.cli.common import atlas_option, emit_json, json_option, notice, shown, written


@click.command("map")
@atlas_option
@LEVEL
@click.option("--of", type=click.Choice(["fov", "cell"]), help="With level protein: which images a protein is made of.")
@click.option(
    "--method",
    type=click.Choice(["pca", "umap", "tsne"]),
    default="pca",
    show_default=True,
    help="umap and tsne are extras (locatlas[umap], locatlas[tsne]) and start from the exact neighbors.",
)
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0, 2**32 - 1), help="The same seed, the same map."
)
@ENCODER
@click.option("--neighbors", "n_neighbors", type=click.IntRange(min=2), help="Of umap; default 15.")
@click.option("--min-dist", type=click.FloatRange(0, 1), help="Of umap; default 0.1.")
@click.option("--perplexity", type=click.FloatRange(min=2), help="Of tsne; default 30.")
@click.option("--refit", is_flag=True, help="Draw all points anew, though later ones could be placed.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw it, coloured by localization (svg, png, pdf).")
@MAP_LABELS
@json_option
def map_command(atlas: Path, plot: Path | None, *, refit: bool, as_json: bool, **asked: Any) -> None:
    """A two-dimensional map of an encoder's vectors (cosine), kept in the atlas.

    Run again it does nothing, or places what came later without drawing the others anew. Answers never come from a map.
    """
    from locatlas.query.asking.shelf import Shelf
    from locatlas.query.atlas import open_atlas
    from locatlas.query.map.make import make_map
    from locatlas.query.map.request import MapRequest

    params = {name: asked.pop(name) for name in ("n_neighbors", "min_dist", "perplexity")}
    with written(atlas, "map"):
        shelf = Shelf(open_atlas(atlas).store)
        result = make_map(shelf, MapRequest(params=params, refit=refit, **asked), tell=notice)
    points = result.points
    if plot is not None:
        from locatlas.query.map.plot import plot_map

        plot_map(points, result.localizations, plot)
        notice(f"drawn: {plot}")
    document = {
        "level": points.level,
        "of": points.of,
        "encoder": {"name": points.encoder, "fingerprint": points.fingerprint},
        "method": points.method,
        "params": points.params,
        "used": points.used,
        "versions": points.versions,
        "points": len(points),
        "placed": int(points.placed.sum()),
        "action": result.action,
        "why": result.why,
        "placed_now": result.n_placed,
        "gone_now": result.n_gone,
        "figure": None if plot is None else str(plot),
        "notes": points.notes,
    }
    if as_json:
        emit_json(document)
        return
    done = {
        "drawn": f"drawn ({result.why})",
        "placed": f"{result.n_placed} points placed, {result.n_gone} taken out, the others as before",
        "unchanged": "unchanged",
    }[result.action]
    said = ", ".join(f"{name} {value}" for name, value in points.params.items())
    click.echo(
        f"{shown(atlas)}: {points.method} of {len(points)} {points.level.replace('fov', 'FOV')}s by {points.encoder} "
        f"({points.fingerprint[:12]}), {said}: {done}"
    )
    for note in points.notes:
        notice(f"note: {note}")
