"""The command that shows an image in napari."""

from pathlib import Path

import rich_click as click

from locatlas.cli.common import atlas_option, emit_json, json_option, print_table


@click.command("napari")
@click.argument("image_id", metavar="ID")
@atlas_option
@click.option("--dry-run", is_flag=True, help="Say what would be shown; no window.")
@json_option
def napari_command(image_id: str, atlas: Path, *, dry_run: bool, as_json: bool) -> None:
    """Show an image in napari (extra napari): a layer a channel with its colour and contrast, and a cell in its field.

    Ends when the window is closed.
    """
    from locatlas.query.atlas import open_atlas
    from locatlas.query.napari_layers import image_layers, open_viewer

    layers = image_layers(open_atlas(atlas).store, image_id)
    shown = [layer.to_dict() for layer in layers]
    if as_json:
        emit_json({"id": image_id, "layers": shown, "opened": not dry_run})
    else:
        rows = [
            (one["name"], one["kind"], " x ".join(map(str, one["shape"])), one.get("colormap"), _range(one))
            for one in shown
        ]
        print_table(("layer", "kind", "shape", "colour", "contrast"), rows, title=image_id)
    if not dry_run:
        open_viewer(layers)


def _range(layer: dict[str, object]) -> str | None:
    limits = layer.get("contrast_limits")
    return f"{limits[0]:.4g} – {limits[1]:.4g}" if isinstance(limits, tuple) else None
