"""Commands that list what is known by name: encoders, datasets."""

from pathlib import Path
from typing import Any

import rich_click as click

from locatlas.cli.common import emit_json, json_option, name_list, notice, print_table


@click.group("encoders")
def encoders_command() -> None:
    """Encoders: those known by name, and your own."""


def _spec_document(name: str) -> dict[str, Any]:
    import json

    from locatlas.models import registry

    spec = registry.get(name)
    return dict(sorted({**json.loads(spec.to_json()), "residual": spec.residual}.items()))


@encoders_command.command("list")
@click.argument("pattern", default="*")
@json_option
def encoders_list(pattern: str, *, as_json: bool) -> None:
    """Encoders whose name matches PATTERN (shell wildcards)."""
    from locatlas.indexer.files.planes import plural
    from locatlas.models import registry

    specs = registry.list_encoders(pattern)
    if as_json:
        emit_json({"encoders": [_spec_document(spec.name) for spec in specs]})
        return
    columns = ("name", "slots", "input px", "dim", "intensity", "license", "weights")
    rows = [(s.name, "+".join(s.slots), s.input_px, s.embedding_dim, s.intensity, s.license, s.source) for s in specs]
    print_table(columns, rows)
    click.echo(
        f"{plural(len(specs), 'encoder')} known by name; `locatlas encoders add` takes weights of your own, for any of "
        "timm's plain vision transformers or of these architectures"
    )


@encoders_command.command("show")
@click.argument("name")
@json_option
def encoders_show(name: str, *, as_json: bool) -> None:
    """Everything that is known of one encoder, and how cells are cut for it where nothing else is asked for."""
    from locatlas.models.crops import default_crop

    document, usual = _spec_document(name), default_crop(name)
    if as_json:
        emit_json({**document, "default_crop": usual.to_dict()})
        return
    rows = [(key, value if value != [] else None) for key, value in document.items() if key != "crop"]
    print_table(("field", "value"), [*rows, ("cells are cut", str(usual))])


def _floats(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    if value is None:
        return None
    try:
        return tuple(float(part) for part in value.split(","))
    except ValueError:
        message = f"{value!r}: numbers joined by commas needed"
        raise click.BadParameter(message, ctx=ctx, param=param) from None


@encoders_command.command("add")
@click.argument("name")
@click.option("--weights", required=True, type=click.Path(path_type=Path), help="safetensors, or pth of tensors.")
@click.option("--arch", "architecture", required=True, help="timm model name, or one of locatlas' own.")
@click.option("--slots", required=True, callback=name_list, metavar="NAME,...", help="Meaning of each input, in order.")
@click.option("--input-px", default=224, show_default=True, type=click.IntRange(min=1))
@click.option(
    "--intensity",
    type=click.Choice(["unit", "standardize", "minmax", "minmax_joint", "percentile"]),
    default="percentile",
    show_default=True,
)
@click.option(
    "--pooling",
    type=click.Choice(["cls", "mean", "spread", "cls_spread", "gated_attention"]),
    help="What is taken from the tokens; spread: standard deviation of the patches that show something. "
    "Default: the architecture's own.",
)
@click.option(
    "--views",
    type=click.Choice(["1", "4", "8"]),
    default="1",
    show_default=True,
    help="Mean over the image turned by quarters (4), and mirrored too (8): cells have no up. Takes as much longer.",
)
@click.option("--block", type=click.IntRange(min=1), help="Take the tokens after this many blocks. Default: all.")
@click.option(
    "--resize",
    type=click.Choice(["square", "short_edge_crop", "center_crop_pad", "none_pad_to_patch"]),
    default="square",
    show_default=True,
)
@click.option("--mean", callback=_floats, metavar="X,...", help="Per slot, subtracted after --intensity.")
@click.option("--std", callback=_floats, metavar="X,...", help="Per slot, divided by after --mean.")
@click.option("--imagenet-norm", is_flag=True, help="ImageNet's mean and std (three slots).")
@click.option("--pixel-size-um", type=click.FloatRange(min=0, min_open=True), help="Rescale images to it, where known.")
@click.option("--license", "license_", default="", help="Of the weights.")
@click.option("--paper", default="")
@click.option("--notes", default="")
@json_option
def encoders_add(
    name: str,
    weights: Path,
    license_: str,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    *,
    imagenet_norm: bool,
    views: str,
    as_json: bool,
    **described: Any,
) -> None:
    """Register your own weights under NAME (architecture.weights); they are checked and copied."""
    from locatlas.models.registry import add

    if imagenet_norm:
        if mean or std:
            message = "--imagenet-norm stands for --mean and --std; give one or the other"
            raise click.UsageError(message)
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    if mean is None and described["intensity"] != "standardize":
        notice(
            "note: without --mean and --std the network gets numbers in [0, 1]; ImageNet's ViTs want --imagenet-norm"
        )
    spec = add(name, weights=weights, mean=mean, std=std, license=license_, views=int(views), **described)
    if as_json:
        emit_json(_spec_document(spec.name))
        return
    click.echo(
        f"added {spec.name}: {spec.architecture}, {spec.embedding_dim} numbers, weights sha256 {spec.weights_sha256}"
    )


@click.group("datasets")
def datasets_command() -> None:
    """Data sets that can be read."""


@datasets_command.command("list")
@json_option
def datasets_list(*, as_json: bool) -> None:
    """All readers."""
    from dataclasses import asdict

    from locatlas.indexer.datasets import list_datasets

    specs = list_datasets()
    if as_json:
        emit_json({"datasets": [{**asdict(s), "options": dict(s.options)} for s in specs]})
        return
    print_table(
        ("name", "what", "level", "channels"), [(s.name, s.title, s.level, "+".join(s.channels)) for s in specs]
    )


@datasets_command.command("show")
@click.argument("name")
@json_option
def datasets_show(name: str, *, as_json: bool) -> None:
    """What a reader expects, which options it takes, and where the data come from."""
    from dataclasses import asdict

    from locatlas.indexer.datasets import get_dataset

    document = asdict(get_dataset(name))
    document["options"] = dict(document["options"])
    if as_json:
        emit_json(document)
        return
    options = document.pop("options")
    rows = [*document.items(), *((f"--option {key}=…", meaning) for key, meaning in options.items())]
    print_table(("field", "value"), rows)
