"""What `index`, `embed` and `reembed` say when they are done."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from locatlas.cli.common import emit_json, notice, print_table, shown
from locatlas.indexer.reasons import by_reason

if TYPE_CHECKING:
    from locatlas.indexer.store.quarantine import Rejection
    from locatlas.indexer.summary import IndexSummary

__all__ = ["finish"]

SHOWN_REASONS = 12
"""Kinds of reasons that are listed."""


def finish(atlas: Path, summary: "IndexSummary", *, faiss: str, as_json: bool) -> None:
    """Build the FAISS index that was asked for and what first questions map, and say what was done."""
    from locatlas.indexer.files.planes import plural
    from locatlas.indexer.indices.refresh import refresh
    from locatlas.indexer.store.tables import Store
    from locatlas.indexer.unread_channels import unread_channels
    from locatlas.query.asking.warm import prepare_questions

    indices = refresh(atlas, faiss, levels=tuple(summary.encoders))
    prepare_questions(atlas, tuple(summary.encoders))
    for line in switched(atlas, summary):
        notice(line)
    if as_json:
        emit_json({**summary.to_dict(), "indices": indices})
        return
    click.echo(
        f"{shown(atlas)}: {summary.fovs} FOVs, {summary.cells} cells; {summary.embedded} embedded, "
        + f"{summary.skipped} unchanged"
        + (f", {summary.updated} with new metadata" if summary.updated else "")
        + (f"; {summary.labelled} of those read are labelled" if summary.labelled is not None else "")
    )
    _tell_cells(summary)
    if summary.from_pack:
        click.echo(
            f"pixels of {plural(summary.from_pack, 'image')} came from the pack, without decoding (locatlas pack)"
        )
    for level, encoder in sorted(summary.encoders.items()):
        crop = f", crop {encoder.spec.crop}" if encoder.spec.crop else ""
        # an index is that of the current encoder
        asked = indices[level] if encoder.state == "current" else "look-ups go by another; --encoder asks it, exactly"
        click.echo(f"{level} encoder: {encoder.spec.name} {encoder.fingerprint[:12]} ({encoder.state}){crop}; {asked}")
        if encoder.spec.weights_sha256 and encoder.spec.weights_sha256.startswith("seed:"):
            notice("note: this encoder is untrained (random weights from a seed): a baseline, not a result")
        if unread := unread_channels(Store.open(atlas), encoder):
            said = ", ".join(f"{name} (of {plural(n, 'image')})" for name, n in unread.items())
            notice(
                f"note: {encoder.spec.name} does not look at {said}: it takes {', '.join(encoder.spec.slots)}; "
                "--channels replicate with --stains takes any"
            )
        if encoder.spec.source == "shipped":
            notice(
                "note: this encoder was trained on made images alone; for real ones name another with --encoder "
                "(locatlas encoders list)"
            )
    if summary.qc:
        click.echo("QC flags: " + ", ".join(f"{flag} {n}" for flag, n in summary.qc.items()))
    kept = summary.maintained
    if kept.merged or kept.versions:
        click.echo(
            f"maintenance: fragments merged {kept.merged} times, {kept.versions} old versions removed, "
            f"{kept.freed_bytes / 1e6:.1f} MB freed"
        )
    if summary.timings_s:
        click.echo("seconds: " + ", ".join(f"{stage} {s:.1f}" for stage, s in summary.timings_s.items()))
    if summary.profile is not None:
        _tell_profile(summary.profile)
    if summary.quarantined:
        _tell_quarantine(summary.quarantined)


def switched(atlas: Path, summary: "IndexSummary") -> list[str]:
    """A line for each level at which the run made another encoder current: which, and how to go back."""
    from locatlas.indexer.store.encoders import shown as name_of

    lines = []
    for level, before in sorted(summary.superseded.items()):
        named = f"--encoder {before.fingerprint[:12]}"
        back = f"back with `locatlas reembed --atlas {shlex.quote(shown(atlas))} --level {level} {named}`"
        if before.is_imported:
            back = f"{named} still asks that one"
        now = name_of(summary.encoders[level].spec)
        lines.append(f"note: at level {level} {now} is current now, where {name_of(before.spec)} was; {back}")
    return lines


def _tell_quarantine(rejections: "Sequence[Rejection]") -> None:
    """One row a kind of reason, with the first source of each."""
    groups = by_reason([(r.source, r.reason) for r in rejections])
    more = f" ({len(groups) - SHOWN_REASONS} further kinds with --json)" if len(groups) > SHOWN_REASONS else ""
    rows = [(len(group), group[0][0], group[0][1]) for group in groups[:SHOWN_REASONS]]
    print_table(("n", "first source", "its reason"), rows, title=f"{len(rejections)} in quarantine, by reason{more}")


def _tell_profile(profile: Mapping[str, Any]) -> None:
    """Two rows of seconds, and what the whole path reached of the encoder's own rate."""
    rate, alone, share = (profile[part] for part in ("images_per_s", "encoder_images_per_s", "share_of_encoder"))
    if not profile["images"]:
        click.echo("profile: no image was embedded")
        return
    reached = (
        f"{share:.0%} of that was reached"
        if share <= 1
        else "slower than the run itself, so the machine did other things meanwhile and this says nothing"
    )
    click.echo(
        f"profile: {profile['images']} images in {profile['wall_s']:.1f} s, {rate:.1f} a second; afterwards "
        f"the encoder alone, on a batch that lay ready, {alone:.1f} a second: {reached}"
    )
    click.echo(f"  to tell this took {profile['encoder_s']:.1f} s more, after the run")
    click.echo("  one after another: " + ", ".join(f"{stage} {s:.1f}" for stage, s in profile["in_turn_s"].items()))
    core = profile["beside_core_s"]
    click.echo(
        "  beside, seconds of threads (of them with a core; decoding processes not counted): "
        + ", ".join(f"{stage} {s:.1f} ({core[stage]:.1f})" for stage, s in profile["beside_s"].items())
    )


def _tell_cells(summary: "IndexSummary") -> None:
    from locatlas.indexer.files.planes import plural

    found = summary.segmented
    if found.fields:
        by = ", ".join(f"{segmenter} {n}" for segmenter, n in sorted(found.segmenters.items()))
        click.echo(
            f"cells: {found.cells} found in {plural(found.fields, 'field')} ({by})"
            + (f", {plural(found.empty, 'field')} without any" if found.empty else "")
            + (f", {found.replaced} of before replaced" if found.replaced else "")
        )
    if found.uncovered:
        notice(
            f"note: {plural(len(found.uncovered), 'field')} in none of the masks or tables of cells, e.g. "
            f"{found.uncovered[0]}: without cells from this run; --segmenter builtin would find some"
        )
    if summary.cell_qc:
        click.echo("cell QC flags: " + ", ".join(f"{flag} {n}" for flag, n in summary.cell_qc.items()))
    if summary.dropped:
        click.echo(f"{plural(summary.dropped, 'cell')} without a vector by this encoder, because of the border (drop)")
