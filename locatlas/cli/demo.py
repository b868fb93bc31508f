"""The demo: make images, index them, ask. The whole path offline, in about a minute of core time."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rich_click as click

from locatlas.cli.common import emit_json, interval, json_option, notice, print_table
from locatlas.cli.progress import progress_bar
from locatlas.errors import InputError

__all__ = ["demo", "demo_command"]

_ENCODER = "locatlas_pico.synthetic"
_MADE_UP = "The images are made by a program. They show that the tool works, not how well it does on real cells."


def demo(
    folder: str | Path = "demo", *, seed: int = 0, progress: Callable[[str, int, int], None] | None = None
) -> dict[str, Any]:
    """Make an OpenCell-like and an HPA-like collection, index both in one atlas, look up, classify and sweep.

    A second call finds everything there and only asks again.

    Args:
        folder: Where images and atlas go.
        seed: Of the images.
        progress: Told of what goes on.

    Returns:
        Paths, numbers of images and cells, the answers and the seconds each step took.

    Raises:
        InputError: If the folder holds something else.
    """
    from locatlas.indexer.encoder_choice import EncoderRequest
    from locatlas.indexer.index import index
    from locatlas.query.answers.tables import neighbors_document
    from locatlas.query.atlas import open_atlas

    root = Path(folder).expanduser().resolve()
    seconds: dict[str, float] = {}
    images, atlas_path = root / "images", root / "atlas"
    start = time.perf_counter()
    _make_images(root, images, seed=seed, progress=progress)
    seconds["make images"] = time.perf_counter() - start
    start = time.perf_counter()
    request = EncoderRequest(name=_ENCODER)
    summaries = {
        name: index(images / name, atlas=atlas_path, dataset=name, request=request, progress=progress)
        for name in ("opencell", "hpa")
    }
    seconds["index"] = time.perf_counter() - start
    start = time.perf_counter()
    atlas = open_atlas(atlas_path)
    view = atlas.view("fov")
    chosen = min(p for p, d in zip(view.column("protein"), view.column("dataset"), strict=True) if d == "opencell")
    similar = atlas.neighbors(protein=chosen, level="protein", k=5, where=["dataset=opencell"])
    localized = atlas.classify(protein=chosen, k=5, map_labels="hpa:opencell")
    sweep = atlas.sweep(ks=(1, 3, 5, 10, 20), where=["dataset=opencell"], weights=("uniform", "softmax"))
    figure = sweep.plot(root / "sweep.svg")
    seconds["ask"] = time.perf_counter() - start
    return {
        "folder": str(root),
        "atlas": str(atlas_path),
        "figure": str(figure),
        "images_are_made": True,
        "fovs": summaries["hpa"].fovs,
        "embedded": sum(s.embedded for s in summaries.values()),
        "quarantined": [{"source": q.source, "reason": q.reason} for s in summaries.values() for q in s.quarantined],
        "encoder": summaries["hpa"].to_dict()["encoder"],
        "protein": chosen,
        "neighbors": neighbors_document(similar),
        "classify": localized.to_pylist(),
        "sweep": sweep.to_dict(),
        "seconds": {step: round(s, 1) for step, s in seconds.items()},
    }


def _make_images(root: Path, images: Path, *, seed: int, progress: Callable[[str, int, int], None] | None) -> None:
    """Make the collection under a temporary name, so that one that was interrupted is made again."""
    from locatlas.indexer.synthetic import make_collection

    if images.is_dir():
        return
    if root.exists() and (not root.is_dir() or any(p.name != ".images.part" for p in root.iterdir())):
        message = f"{root}: exists and is not a demo's folder; name another, or remove it"
        raise InputError(message)
    partial = root / ".images.part"
    if partial.exists():
        shutil.rmtree(partial)
    make_collection(partial, seed=seed, progress=progress and (lambda n, total: progress("making images", n, total)))
    partial.rename(images)


@click.command("demo")
@click.argument("folder", default="demo", type=click.Path(path_type=Path))
@click.option("--seed", default=0, show_default=True, type=int, help="Of the made images.")
@json_option
def demo_command(folder: Path, seed: int, *, as_json: bool) -> None:
    """The whole path on made images: make, index, look up, classify, sweep. Offline, about a minute of core time."""
    if not as_json:
        notice(f"making images, an atlas and some answers in {folder} ...")
    with progress_bar() as progress:
        done = demo(folder, seed=seed, progress=progress)
    if as_json:
        emit_json(done)
        return
    _tell(done, folder)


def _tell(done: dict[str, Any], folder: Path) -> None:
    click.echo(f"{done['fovs']} fields of view in {done['atlas']}, {done['embedded']} embedded in this run")
    columns = ("rank", "protein", "similarity", "localizations")
    found = [{**hit, "similarity": f"{hit['similarity']:.4f}"} for hit in done["neighbors"]["hits"]]
    hits = [[hit[c] for c in columns] for hit in found]
    print_table(columns, hits, title=f"Proteins that look like {done['protein']}")
    rows = [
        (i["id"], i["annotated"], [f"{p['localization']} {p['score']:.2f}" for p in i["predicted"]])
        for i in done["classify"]
    ]
    print_table(
        ("image", "annotated", "predicted (share of votes)"), rows, title=f"Where {done['protein']} is, by 5 neighbors"
    )
    sweep = done["sweep"]
    scores = [
        (r["k"], r["weights"], r["macro_f1"], interval(r["macro_f1_ci95"]), r["accuracy"]) for r in sweep["results"]
    ]
    title = (
        f"Sweep over {sweep['n']} OpenCell-like images, {sweep['n_groups']} proteins, {len(sweep['classes'])} classes; "
        f"the query's own protein never votes"
    )
    print_table(("k", "votes", "macro F1", "95 % interval", "accuracy"), scores, title=title)
    click.echo(_MADE_UP)
    click.echo(f"The encoder, {_ENCODER}, was trained on other images of the same program.")
    click.echo(f"Figure: {done['figure']}")
    click.echo("seconds: " + ", ".join(f"{step} {s}" for step, s in done["seconds"].items()))
    click.echo(f"Next: locatlas neighbors --atlas {folder}/atlas --protein {done['protein']}")
