"""Commands that train an encoder: finetune, pretrain."""

from collections.abc import Container
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from locatlas.cli.common import emit_json, notice, shown, written
from locatlas.cli.progress import progress_bar
from locatlas.cli.training_options import DATA_OPTIONS, DINO_OPTIONS, LABELS_OPTIONS, TRAINING_OPTIONS, options

if TYPE_CHECKING:
    from locatlas.indexer.training.result import FinetuneResult

_OF_LABELS = ("labels", "label_source", "map_labels", "head", "validation", "patience")
_OF_DINO = ("prototypes", "local_crops")


@click.command("finetune")
@click.option("--encoder", "-e", metavar="NAME", help="To begin from, or its fingerprint; default: the current one.")
@click.option(
    "--objective",
    type=click.Choice(["supervised", "dino"]),
    default="supervised",
    show_default=True,
    help="supervised: the encoder and a head on it learn the annotated localizations; dino: self-distillation, "
    "without labels.",
)
@options(DATA_OPTIONS, LABELS_OPTIONS, DINO_OPTIONS, TRAINING_OPTIONS)
def finetune_command(atlas: Path, *, as_json: bool, **asked: Any) -> None:
    """Train an encoder on the images of an atlas; the result is a new encoder, and the atlas is re-embedded with it.

    Groups are held out, so that the new encoder can be evaluated (`sweep --held-out`). The same command again
    continues a training that was stopped or killed. On several GPUs: `torchrun --nproc-per-node 4 -m locatlas
    finetune ...`.
    """
    if asked["objective"] == "dino" and (given := _given(asked, _OF_LABELS)):
        message = f"{given}: objective dino takes no labels and is not stopped early"
        raise click.UsageError(message)
    if asked["objective"] == "supervised" and (given := _given(asked, _OF_DINO)):
        message = f"{given}: only with --objective dino"
        raise click.UsageError(message)
    _run(atlas, asked, as_json=as_json)


@click.command("pretrain")
@click.option(
    "--like", "encoder", metavar="NAME", help="Encoder whose slots and transforms are taken; default: the current one."
)
@click.option("--arch", "architecture", metavar="NAME", help="Architecture; default: that of --like.")
@options(DATA_OPTIONS, DINO_OPTIONS, TRAINING_OPTIONS)
def pretrain_command(atlas: Path, *, as_json: bool, **asked: Any) -> None:
    """Train an encoder from random weights with DINO, without labels; otherwise as `finetune --objective dino`."""
    _run(atlas, {**asked, "objective": "dino", "from_scratch": True}, as_json=as_json)


def _given(asked: dict[str, Any], names: tuple[str, ...]) -> str:
    """Options that were given, as they are written."""
    return ", ".join(f"--{name.replace('_', '-')}" for name in names if asked.get(name) is not None)


def _run(atlas: Path, asked: dict[str, Any], *, as_json: bool) -> None:
    if asked["epochs"] is not None and asked["steps"] is not None:
        message = "--epochs and --steps both say how long; give one of them"
        raise click.UsageError(message)
    from locatlas.indexer.training.request import FinetuneRequest
    from locatlas.models.training.dino_options import DinoOptions
    from locatlas.query.finetuning import finetune

    how = {name: asked.pop(name) for name in ("name", "device", "workers", "tensorboard")}
    follow, folder = not asked.pop("no_reembed"), asked.pop("run_folder")
    prototypes, local_crops = asked.pop("prototypes"), asked.pop("local_crops")
    if prototypes is not None or local_crops is not None:
        changed = {"prototypes": prototypes, "n_local": local_crops}
        asked["dino"] = DinoOptions(**{name: value for name, value in changed.items() if value is not None})
    optional = (*_OF_LABELS, "architecture")
    request = FinetuneRequest(**{k: v for k, v in asked.items() if k not in optional or v is not None})
    told: set[str] = set()

    def tell(line: str) -> None:
        told.add(line)
        notice(line)

    with written(atlas, "finetune"):
        with progress_bar() as progress:
            result = finetune(
                atlas=atlas, request=request, follow=follow, folder=folder, progress=progress, tell=tell, **how
            )
        if result is None:
            return  # torchrun: the first process tells
        from locatlas.indexer.indices.refresh import refresh

        indices = refresh(atlas, "auto", levels=(result.manifest.level,)) if follow else {}
        if as_json:
            emit_json({**result.to_dict(), "indices": indices})
            return
        _tell(atlas, result, told)


def _tell(atlas: Path, result: "FinetuneResult", told: Container[str]) -> None:
    """What came of a training; notes that were told when it began are not told again."""
    from locatlas.indexer.files.planes import plural

    said, known = result.to_dict(), result.manifest
    numbers = known.metrics
    if result.was_there:
        click.echo(f"trained before: {known.encoder}; nothing to do. To go on from it: --encoder {known.encoder}")
    origin = f"from {known.parent_name}" if known.parent_name else "from random weights"
    what = f"{known.labels}-label, {len(known.classes)} classes" if known.labels else "without labels"
    click.echo(f"encoder: {known.encoder} {result.encoder.fingerprint[:12]}, {known.objective}, {what}, {origin}")
    looked = f", stopped by {said['n_validation_images']}" if said["n_validation_images"] else ""
    held_out = f"{plural(said['n_held_out_images'], 'image')} of {plural(said['n_held_out_groups'], 'group')} held out"
    click.echo(
        f"trained on {plural(said['n_images'], 'image')}{looked}, of {plural(said['n_groups'], 'group')} "
        f"({known.group}); {held_out}"
    )
    for reason, n in result.left_out.items():
        notice(f"left out: {n} ({reason})")
    best = f", weights of step {numbers['best_step']:.0f}" if "best_step" in numbers else ""
    click.echo(
        f"{numbers['steps']:.0f} steps ({numbers['epochs']:.1f} epochs) in {numbers['seconds']:.0f} s, "
        f"{numbers['images_per_s']:.1f} images/s{best}; loss {numbers['loss']:.4f}"
        + (" (against a teacher that learns as well, so it need not fall)" if known.objective == "dino" else "")
    )
    if "validation.macro_f1" in numbers:
        before = numbers.get("frozen.validation.macro_f1")
        click.echo(
            "macro F1 on the validation part, by which both were chosen: "
            + (f"{before:.3f} frozen with the same head, " if before is not None else "")
            + f"{numbers['validation.macro_f1']:.3f} fine-tuned"
        )
    click.echo(f"log: {said['log']}")
    click.echo(f"curve: {said['curve'] or 'not drawn, matplotlib is missing (extra `plot`)'}")
    for line in (f"note: {note}" for note in result.notes):
        if line not in told:
            notice(line)
    if warning := _worse(atlas, result):
        notice(f"warning: {warning}")
    if result.embedded is not None:
        # the same training under another name gives the same encoder, which the atlas knows by its first name
        there, n = result.embedded.encoders[known.level], result.embedded.embedded
        click.echo(f"{known.level} encoder of the atlas: {there.spec.name} ({there.state}), {n} embedded")
    click.echo(f"Next: {_next(atlas, result)}")


def _worse(atlas: Path, result: "FinetuneResult") -> str:
    """What is said of a fine-tuned encoder that does worse than the one it began from; empty if it does not."""
    numbers, known = result.manifest.metrics, result.manifest
    frozen = numbers.get("frozen.validation.macro_f1")
    if frozen is None or numbers["validation.macro_f1"] >= frozen:
        return ""
    back = f"`locatlas reembed --atlas {shown(atlas)} --encoder {known.parent_name}` goes back"
    return "the fine-tuned encoder does worse there than the frozen one" + (f"; {back}" if result.embedded else "")


def _next(atlas: Path, result: "FinetuneResult") -> str:
    """The command that a user will want now."""
    known = result.manifest
    if result.embedded is None:
        return f"locatlas reembed --atlas {shown(atlas)}"
    apart = "" if known.group == "protein" else f" --group {known.group}"
    if not known.parent_name:
        return f"locatlas sweep --atlas {shown(atlas)} --held-out{apart}"
    name = result.embedded.encoders[known.level].spec.name
    return f"locatlas compare --atlas {shown(atlas)} --encoder {name} --with {known.parent_name}{apart}"
