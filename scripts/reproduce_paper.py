"""The paper's experiments (arXiv:2604.10970) from nothing to one page: fetch, index, measure, beside published numbers.

Run as `python scripts/reproduce_paper.py WORK`. It runs, in this order, commands that can each be run by hand:
get_opencell.py, get_weights.py, `locatlas index`, and `locatlas benchmark` for each of the paper's grids; then it
writes WORK/reproduced.md. Every step goes on where it was stopped, so the same command can be given again. `--dry-run`
prints the commands only. Plan for 9 GB of images, some GB of weights and a GPU: one grid fine-tunes thirty times.

`--synthetic` goes the same way on made images with a small encoder of locatlas' own, offline, in minutes. It shows
that the way works and that planted differences are found; it says nothing about real cells.

The addresses of data and weights could not be fetched where this was written: this way was gone with --synthetic, and
the fetching with servers on one machine.
"""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import rich_click as click
from fetching.command import main
from fetching.errors import FetchError
from reproduced_page import page

from locatlas.cli.common import notice
from locatlas.errors import InputError
from locatlas.indexer.store.atomic import write_atomically
from locatlas.models import registry
from locatlas.models.fetch import url_of
from locatlas.query.benchmark.grid import grid_text, list_grids, load_grid

SCRIPTS = Path(__file__).resolve().parent
FOV_ENCODER = "vit_base_patch16.hpa_fov_dino4cells"
OWN_ENCODERS = ("locatlas_pico.synthetic", "locatlas_pico.untrained")
"""For --synthetic: the first that this version has."""

SMALL = {"objectives": '["frozen", "supervised"]', "fractions": "[0.5, 1.0]", "seeds": "[0]"}
"""What --synthetic leaves of a grid that fine-tunes: two trainings instead of thirty."""
SMALL_TRAINING = "\n[finetune]\nepochs = 12\nlr = 5e-4\nbatch_size = 16\nblocks = 2\nvalidation = 0\n"
SMALL_CLASSES = {"min_groups": "2"}
"""Made classes have few proteins."""

REAL = (
    "OpenCell's public images and annotations, and published weights, as fetched by the commands below. What the paper "
    "does not say (crop, split, head, k: docs/protocols.md) is chosen here and named with each table; equal numbers "
    "are not to be expected. The paper's own labels of single cells are not public: cells have their protein's."
)
MADE = (
    "**Made images.** The generator knows where each protein is and how the two looks differ, so that what a grid "
    "should find is known; nothing here says anything about real cells. The published numbers stand beside for their "
    "form only."
)


@dataclass(frozen=True, slots=True)
class Step:
    """A command to run.

    Attributes:
        name: In a few letters.
        arguments: With the program.
        keep: Where its output goes; None to let it be seen.
    """

    name: str
    arguments: tuple[str, ...]
    keep: Path | None = None

    def shown(self) -> str:
        """As one would type it."""
        program, *rest = self.arguments
        words = ["locatlas", *rest[2:]] if rest[:2] == ["-m", "locatlas"] else ["python", *rest]
        assert program == sys.executable
        line = shlex.join(words).replace(str(SCRIPTS), "scripts")
        return f"{line} > {shlex.quote(str(self.keep))}" if self.keep else line


def steps(
    work: Path,
    *,
    grids: Sequence[str],
    encoders: Sequence[str] = (),
    synthetic: bool = False,
    genes: Path | None = None,
    device: str = "cpu",
    small: dict[str, Path] | None = None,
) -> list[Step]:
    """All commands in order.

    Args:
        work: Folder of everything.
        grids: Names of grids, or TOML files.
        encoders: Instead of the grids' own.
        synthetic: Whether on made images.
        genes: A list of proteins, for a part of OpenCell.
        device: Where searches and heads run.
        small: Files that stand for grids of these names.
    """
    python, atlas = sys.executable, work / "atlas"
    levels = {level for name in grids for level in load_grid(name).levels}
    level = "both" if {"cell"} < levels else "cell" if levels == {"cell"} else "fov"
    asked = [part for name in encoders for part in ("--encoder", name)]
    found = []
    if synthetic:
        source, options = work / "images", ["--dataset", "synthetic", "--option", "source=opencell"]
        first = encoders[0]
    else:
        source, options = work / "opencell", ["--dataset", "opencell"]
        only = ["--genes", str(genes)] if genes else []
        found.append(Step("data", (python, str(SCRIPTS / "get_opencell.py"), str(source), *only)))
        names = encoders or sorted({entry.name for grid in grids for entry in load_grid(grid).encoders})
        if fetched := [name for name in names if url_of(registry.get(name)) is not None]:
            found.append(Step("weights", (python, str(SCRIPTS / "get_weights.py"), *fetched)))
        first = encoders[0] if encoders else FOV_ENCODER
    command = (python, "-m", "locatlas")
    place = ("--atlas", str(atlas))
    segmenter = ["--segmenter", "builtin"] if level != "fov" and not synthetic else []
    index = ("index", str(source), *options, *place, "--level", level, "--encoder", first, *segmenter)
    found.append(Step("index", (*command, *index)))
    for name in grids:
        grid = str((small or {}).get(name, name))
        out = work / "results" / Path(name).stem
        arguments = ("benchmark", grid, *place, *asked, "--device", device, "--out", str(out), "--json")
        found.append(Step(name, (*command, *arguments), out.with_suffix(".json")))
    return found


def small_grid(name: str, folder: Path, *, write: bool = True) -> Path | None:
    """A shipped grid cut down to what made images and a machine without a GPU can do; None where it needs no cutting.

    Args:
        name: Of the grid.
        folder: Where its file goes.
        write: Whether to write it, or only say where it would be.

    Raises:
        InputError: If a grid that fine-tunes has not the lines that are replaced.
    """
    tunes = bool(set(load_grid(name).objectives) - {"frozen"})
    text, _ = grid_text(name)
    lines, left = text.splitlines(), dict(SMALL) if tunes else {}
    for number, line in enumerate(lines):
        key = line.partition("=")[0].strip()
        if key in SMALL_CLASSES:
            lines[number] = f"{key} = {SMALL_CLASSES[key]}"
        elif key in left:
            lines[number] = f"{key} = {left.pop(key)}"
    if left or (tunes and "[finetune]" in lines):
        message = f"grid {name}: cannot be cut down; it has no {', '.join(left) or 'room for [finetune]'}"
        raise InputError(message)
    cut = "\n".join(lines) + "\n" + (SMALL_TRAINING if tunes else "")
    if cut == text:
        return None
    path = folder / f"{name}.toml"
    if write:
        write_atomically(path, cut.encode())
    return path


def make_images(folder: Path, *, proteins: int, edge_px: int, progress: bool = True) -> None:
    """Draw the collection under a temporary name, unless it is there."""
    from locatlas.cli.progress import progress_bar
    from locatlas.indexer.synthetic import make_collection

    if folder.is_dir():
        return
    part = folder.with_name(f".{folder.name}.part")
    with progress_bar() as bar:
        tell = (lambda done, total: bar("made images", done, total)) if bar and progress else None
        make_collection(part, proteins_per_class=proteins, hpa_proteins_per_class=1, opencell_px=edge_px, progress=tell)
    part.rename(folder)


def run(step: Step) -> None:
    """Run a step.

    Raises:
        FetchError: If it fails; it has said why.
    """
    notice(f"$ {step.shown()}")
    # a checkout need not be installed
    path = os.pathsep.join(filter(None, [str(SCRIPTS.parent), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(step.arguments, stdout=subprocess.PIPE if step.keep else None, check=False, env=environment)
    if done.returncode:
        message = f"{step.name}: exit code {done.returncode}; the same command goes on from here"
        raise FetchError(message)
    if step.keep:
        write_atomically(step.keep, done.stdout)


@click.command()
@click.argument("work", type=click.Path(path_type=Path, file_okay=False))
@click.option("--synthetic", is_flag=True, help="On made images, with an encoder of locatlas' own; offline.")
@click.option("--grid", "grids", multiple=True, metavar="NAME", help="Only this one; may be given several times.")
@click.option("--encoder", "encoders", multiple=True, metavar="NAME", help="In place of the grids' encoders.")
@click.option("--genes", type=click.Path(path_type=Path), help="Only these proteins of OpenCell, one a line.")
@click.option("--device", default="cpu", show_default=True, help="Where searches and heads run, e.g. cuda.")
@click.option("--proteins", default=6, show_default=True, type=click.IntRange(2), help="Made proteins of each class.")
@click.option("--edge-px", default=300, show_default=True, type=click.IntRange(64), help="Edge of made fields.")
@click.option("--dry-run", is_flag=True, help="Only print the commands; makes nothing.")
def reproduce(
    work: Path,
    grids: tuple[str, ...],
    encoders: tuple[str, ...],
    genes: Path | None,
    device: str,
    proteins: int,
    edge_px: int,
    *,
    synthetic: bool,
    dry_run: bool,
) -> None:
    """Fetch, index, measure the paper's grids in WORK, and write one page of tables."""
    wanted = list(grids) or [name for name in list_grids() if name.startswith("paper-")]
    named = [Path(name).stem for name in wanted]
    if twice := sorted({name for name in named if named.count(name) > 1}):
        message = f"{twice[0]}: two grids of this name would share {work / 'results' / twice[0]}; rename one file"
        raise InputError(message)
    small = {}
    if synthetic:
        known = {spec.name for spec in registry.list_encoders()}
        encoders = encoders or (next(name for name in OWN_ENCODERS if name in known),)
        cut = {name: small_grid(name, work / "grids", write=not dry_run) for name in wanted if name in list_grids()}
        small = {name: path for name, path in cut.items() if path is not None}
    todo = steps(
        work, grids=wanted, encoders=encoders, synthetic=synthetic, genes=genes, device=device, small=small
    )  # fmt: skip
    if dry_run:
        if synthetic:
            click.echo(f"# draws {proteins} proteins of each class, fields of {edge_px} px, into {work / 'images'}")
        for name, path in small.items():
            click.echo(f"# writes {path}: {name}, cut down")
        for step in todo:
            click.echo(step.shown())
        return
    if synthetic:
        make_images(work / "images", proteins=proteins, edge_px=edge_px)
    for step in todo:
        run(step)
    documents = [json.loads(step.keep.read_text(encoding="utf-8")) for step in todo if step.keep]
    text = page(documents, about=MADE if synthetic else REAL, commands=[step.shown() for step in todo])
    write_atomically(work / "reproduced.md", text.encode())
    click.echo(f"{work / 'reproduced.md'}: {len(documents)} grids; tables and figures in {work / 'results'}")


if __name__ == "__main__":
    main(reproduce)
