"""Commands that write an atlas: index, embed."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import rich_click as click
from click.exceptions import Exit

from locatlas.cli.built import finish
from locatlas.cli.cell_options import crop_options, crop_plan, finding_options
from locatlas.cli.common import atlas_option, json_option, name_list, notice, written
from locatlas.cli.running_options import STORAGES, faiss_option, levels_of, running, running_options, taken

if TYPE_CHECKING:
    from locatlas.indexer.encoder_choice import EncoderRequest


def _encoder_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(
        [
            click.option("--encoder", "-e", help="Registry name; default: the atlas' own.", metavar="NAME"),
            click.option(
                "--channels",
                "mapping",
                type=click.Choice(["natural", "random", "replicate"]),
                help="Channel plan: each channel in its stain's slot, slots permuted, or each copied into all slots.",
            ),
            click.option(
                "--passes",
                type=click.Choice(["joint", "separate"]),
                help="One forward pass, or one per channel with the features concatenated.",
            ),
            click.option(
                "--stains", callback=name_list, help="Channels to use, e.g. nucleus,protein.", metavar="NAME,..."
            ),
            click.option("--plan-seed", type=int, help="Seed of the slots' permutation (--channels random)."),
            click.option(
                "--precision",
                type=click.Choice(["fp32", "bf16"]),
                help="Default: bf16 where hardware and network gain from it; in an atlas an encoder keeps its own.",
            ),
            click.option(
                "--storage",
                type=STORAGES,
                help="Numbers that its vectors are stored in: float16 rounds them and takes half of the disk. Default: "
                "that of the atlas' encoder of this name, whatever its plan; float32 where there is none.",
            ),
        ]
    ):
        command = option(command)
    return command


def _request(
    encoder: str | None,
    mapping: Literal["natural", "random", "replicate"] | None,
    passes: Literal["joint", "separate"] | None,
    stains: tuple[str, ...],
    plan_seed: int | None,
    precision: Literal["fp32", "bf16"] | None,
    storage: Literal["float32", "float16"] | None,
    **crop: Any,
) -> "EncoderRequest":
    from locatlas.indexer.encoder_choice import EncoderRequest

    if (mapping == "random") != (plan_seed is not None):
        message = "--channels random and --plan-seed belong together"
        raise click.UsageError(message)
    if mapping == "replicate" and passes == "joint":
        message = "--channels replicate takes a pass per channel; leave --passes out or say separate"
        raise click.UsageError(message)
    return EncoderRequest(
        name=encoder,
        mapping=mapping,
        passes=passes,
        stains=stains,
        seed=plan_seed,
        precision=precision,
        storage=storage,
        crop=crop_plan(**crop),
    )


@click.command("index")
@click.argument("source", type=click.Path(path_type=Path))
@atlas_option
@click.option("--dataset", "-d", required=True, help="Reader: see `locatlas datasets list`.", metavar="NAME")
@click.option(
    "--level",
    type=click.Choice(["fov", "cell", "both"]),
    help="fov: whole fields; cell: single cells, cut out of the fields; both. Default: images as they are.",
)
@_encoder_options
@faiss_option
@running_options
@crop_options
@finding_options
@click.option("--name", help="Name of the data set in the atlas, first part of its ids; default: the reader's.")
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="KEY=VALUE",
    help="For the reader; `locatlas datasets show NAME` tells.",
)
@click.option(
    "--root", "roots", multiple=True, type=click.Path(path_type=Path), help="A further folder sources lie in."
)
@click.option("--prune", is_flag=True, help="Remove images of the data set whose files are gone.")
@click.option(
    "--strict",
    is_flag=True,
    help="Exit 1 if any source could not be used; without it only where the atlas has no image then.",
)
@json_option
def index_command(
    source: Path,
    atlas: Path,
    dataset: str,
    level: str | None,
    faiss: str,
    name: str | None,
    options: tuple[str, ...],
    roots: tuple[Path, ...],
    pixel_size_um: float | None,
    masks: Path | None,
    cells: Path | None,
    segmenter: str | None,
    segmenter_options: tuple[str, ...],
    *,
    resegment: bool,
    prune: bool,
    strict: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Bring the images below SOURCE into an atlas.

    A second run does nothing; a run that was stopped continues where it was.
    """
    run, request = taken(asked), _request(**asked)
    from locatlas.indexer.index import index

    with written(atlas, f"index {source}"):
        with running(**run) as how:
            summary = index(
                source,
                atlas=atlas,
                dataset=dataset,
                request=request,
                name=name,
                level=level,
                options=_key_values("--option", options),
                roots=roots,
                pixel_size_um=pixel_size_um,
                masks=masks,
                cells=cells,
                segmenter=segmenter,
                segmenter_options=_key_values("--segment", segmenter_options),
                resegment=resegment,
                prune=prune,
                **how,
            )
        finish(atlas, summary, faiss=faiss, as_json=as_json)
        if summary.labelled == 0 and summary.embedded + summary.skipped + summary.updated:
            so = ": they can be classified, not scored"
            if not _has_labels(atlas, summary.encoders):
                so = ", so that nothing can be scored or classified"
            notice(
                f"note: none of the images that were read is labelled{so}; `locatlas datasets show {dataset}` tells "
                "where labels are looked for, and which --option names a table"
            )
    if summary.gone and not as_json:
        did = "removed" if prune else "they stay in the atlas; --prune removes them"
        from locatlas.indexer.files.planes import plural

        click.echo(f"{plural(len(summary.gone), 'image')} whose files are gone, e.g. {summary.gone[0]}: {did}")
    if summary.quarantined and (strict or summary.fovs + summary.cells == 0):
        raise Exit(1)


def _has_labels(atlas: Path, levels: Iterable[str]) -> bool:
    """Whether an image of one of these levels has a localization."""
    import pyarrow.compute as pc

    from locatlas.indexer.store.schema import image_table
    from locatlas.indexer.store.tables import Store

    store = Store.open(atlas)
    held = (store.read(image_table(level), ["localizations"])["localizations"] for level in levels)
    return any(pc.any(pc.greater(pc.list_value_length(names), 0)).as_py() for names in held)


@click.command("embed")
@atlas_option
@click.option(
    "--level",
    type=click.Choice(["fov", "cell", "both"]),
    help="Default: the levels that have vectors, by any encoder; both where none has.",
)
@_encoder_options
@faiss_option
@running_options
@crop_options
@click.option(
    "--switch/--no-switch",
    default=True,
    show_default=True,
    help="Make it current once it is complete; or leave the one that is current, and ask this one by --encoder. Where "
    "none is, it becomes current either way.",
)
@json_option
def embed_command(atlas: Path, level: str | None, faiss: str, *, switch: bool, as_json: bool, **asked: Any) -> None:
    """Give every image of an atlas its vector by an encoder, beside those it has, at the levels that have any.

    Queries use the encoder before until the last vector is there; then the new one is current, which a line tells.
    Where more than 1 % of the images that answer cannot be embedded, the one before stays current.
    """
    run, request = taken(asked), _request(**asked)
    from locatlas.indexer.embed import embed

    with written(atlas, "embed"):
        with running(**run) as how:
            levels = None if level is None else levels_of(level)
            summary = embed(atlas=atlas, request=request, levels=levels, switch=switch, **how)
        finish(atlas, summary, faiss=faiss, as_json=as_json)


def _key_values(flag: str, options: tuple[str, ...]) -> dict[str, str]:
    out = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals:
            message = f"{flag} {option!r}: KEY=VALUE needed"
            raise click.UsageError(message)
        out[key.strip()] = value
    return out
