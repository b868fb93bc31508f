"""The command that tells what an atlas holds and what is to be done about it: status."""

import shlex
from collections import Counter
from collections.abc import Callable, Container, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import rich_click as click

from locatlas.cli.common import atlas_option, emit_json, json_option, print_table, shown

__all__ = ["look_ups", "status_command"]

_WORDS = {"fov": ("field of view", "fields of view"), "cell": ("cell", "cells")}


@click.command("status")
@atlas_option
@json_option
def status_command(atlas: Path, *, as_json: bool) -> None:
    """What an atlas holds: images, encoders and their coverage, indices, quarantine, last runs, and what is to do."""
    from locatlas.indexer.published.objects import uri_of
    from locatlas.indexer.store.encoders import stored_encoders
    from locatlas.query.atlas import open_atlas

    opened = open_atlas(atlas)
    document = opened.status()
    if uri_of(atlas) is not None:
        document["path"] = shown(atlas)  # and not its copy on this machine, which is only read
    if as_json:
        emit_json(document)
        return
    imported = {e.fingerprint for e in stored_encoders(opened.store) if e.is_imported}
    click.echo(f"{document['path']}: {_counted(document)} (schema version {document['schema_version']})\n")
    _print_images(document)
    _print_cells(document["cells"])
    _print_encoders(document["encoders"], imported)
    answers = (*look_ups(document), *_beside(document["encoders"]))
    for line in (*answers, *_maps(document), *_pack(document["pack"]), *_roots(document)):
        click.echo(line)
    _print_runs(document["runs"])
    if to_do := [*_renewing(document), *_to_do(document, imported)]:
        click.echo("\nto do:")
        for line in to_do:
            click.echo(f"- {line}")


def _counted(document: dict[str, Any]) -> str:
    """How many images of which level, of how many data sets."""
    from locatlas.indexer.files.planes import plural

    found = document["datasets"]
    counts = [f"{n:,} {_WORDS[level][n != 1]}" for level, one in found.items() if (n := sum(one.values()))]
    names = {name for n in found.values() for name in n}
    return f"{' and '.join(counts)} of {plural(len(names), 'data set')}" if counts else "no images"


def _print_images(document: dict[str, Any]) -> None:
    labelled = document["labelled"]
    rows = [
        (level, name, f"{n:,}", _of(labelled[level].get(name, 0), n))
        for level, found in document["datasets"].items()
        for name, n in found.items()
    ]
    if rows:
        print_table(("level", "data set", "images", "labelled"), rows)


def _of(n: int, all_: int) -> str:
    return "all" if n == all_ else f"{n:,} of {all_:,}" if n else "none"


def _print_cells(cells: dict[str, Any]) -> None:
    rows = [(s["id"], f"{s['fields']:,}", f"{s['cells']:,}") for s in cells["segmenters"]]
    if cells["images_of_their_own"]:
        rows.append(("images of their own", "", f"{cells['images_of_their_own']:,}"))
    if not rows:
        return
    if cells["fields_not_searched"]:
        rows.append(("not searched", f"{cells['fields_not_searched']:,}", ""))
    print_table(("cells found by", "fields", "cells"), rows)
    for name, n in cells["annotated"].items():
        click.echo(f"annotated cells: {n} of data set {name}")


def _print_encoders(encoders: list[dict[str, Any]], imported: Container[str]) -> None:
    if not encoders:
        return
    rows = [
        (e["level"], e["name"], e["fingerprint"][:12], e["state"], _of(e["embedded"], e["images"])) for e in encoders
    ]
    print_table(("level", "encoder", "fingerprint", "state", "embedded"), rows)
    # below the table, which would not fit a terminal of 80 columns otherwise
    plans = {f"vectors of {e['name']} ({e['fingerprint'][:12]}): {_plan(e, imported)}": None for e in encoders}
    for line in plans:
        click.echo(line)
    for e in encoders:
        if e["crop"] is not None:
            click.echo(f"cells for {e['name']} ({e['fingerprint'][:12]}): {e['crop']['in_words']}")
        if len(e["lineage"]) > 1:
            click.echo(f"lineage of {e['name']} at level {e['level']}: {' → '.join(e['lineage'])}{_training(e)}")


def _plan(encoder: dict[str, Any], imported: Container[str]) -> str:
    """What a vector is, in words."""
    stored = "" if encoder["storage"] == "float32" else f", stored as {encoder['storage']}"
    if encoder["fingerprint"] in imported:
        return f"{encoder['dim']} numbers, made elsewhere{stored}"
    stains = f" of {' + '.join(encoder['stains'])}" if encoder["stains"] else ""
    plan = f"channels {encoder['channels']}, {encoder['passes']}{stains}, {encoder['precision']}"
    plan += ", residual bf16" if encoder["residual"] == "bf16" else ""
    return f"{encoder['dim']} numbers, {plan}{stored}"


def _training(encoder: dict[str, Any]) -> str:
    if (training := encoder["training"]) is None:
        return ""
    seen = f"{training['images']} images, {100 * training['fraction']:g} % of the groups"
    return f" ({training['objective']} on {seen}, seed {training['seed']})"


_USED = ("up to date", "older than its table")
"""States of an index in which look-ups use it; of an older one, if only rows were added since."""


def look_ups(document: dict[str, Any], level: str | None = None) -> Iterator[str]:
    """What answers at each level, or at one: the index of the current encoder's vectors, or a scan."""
    from locatlas.indexer.indices.kinds import DISK

    by_table = {index["table"]: index for index in document["indices"]}
    for e in document["encoders"]:
        if e["state"] != "current" or not e["embedded"] or level not in (None, e["level"]):
            continue
        table = f"emb_{e['level']}_{e['fingerprint'][:12]}"
        index = by_table.get(table)
        if index is None or index.get("state") not in _USED:
            yield f"look-ups at level {e['level']}: exact, over {e['embedded']:,} vectors"
            continue
        later = document["tables"][table]["rows"] - index["count"]
        recall, among = index["recall_at_10"], index["recall_among"] or "all, its own protein too"
        what = "index on disk" if index["kind"] == DISK else "FAISS index"
        yield (
            f"look-ups at level {e['level']}: {what} ({index['kind']}) of {index['count']:,} vectors"
            + f", which finds {recall:.1%} of the 10 nearest among {among}"
            + (f"; {later:,} later ones are searched exactly" if later > 0 else "")
            + ("; exact if vectors that it holds were changed or removed" if index["state"] != "up to date" else "")
        )


def _beside(encoders: list[dict[str, Any]]) -> Iterator[str]:
    """What is there besides the vectors that answer by themselves, on purpose."""
    from locatlas.indexer.files.planes import plural

    if n := sum(e["embedded"] > 0 for e in encoders if e["state"] == "beside"):
        yield f"beside the current: vectors of {plural(n, 'encoder')}, which --encoder FINGERPRINT asks"


def _maps(document: dict[str, Any]) -> Iterator[str]:
    for found in document["maps"]:
        behind = "" if found["current"] else ", not the current encoder"
        level = found["level"].replace("fov", "FOV")
        yield f"map: {found['method']} of {found['points']:,} {level}s by {found['encoder']}{behind}"


def _pack(pack: dict[str, int]) -> Iterator[str]:
    if pack["images"]:
        n_bytes = f"{pack['bytes'] / 1e6:,.1f} MB"
        yield f"pack: {pack['images']:,} images decoded, {n_bytes}; embed, reembed and training read them"


def _roots(document: dict[str, Any]) -> Iterator[str]:
    for name, root in document["roots"].items():
        yield f"images of {name}: {root['path']}" + ("" if root["present"] else " (not there now)")


def _print_runs(runs: list[dict[str, Any]]) -> None:
    if not runs:
        return
    rows = []
    for run in runs:
        qc = sum(n for what, n in run["counts"].items() if what.startswith(("qc ", "cell qc ")))
        counts = [f"{n:,} {what}" for what, n in sorted(run["counts"].items()) if n and " qc " not in f" {what}"]
        counts += [f"{qc:,} QC flags"] if qc else []
        what = " ".join(filter(None, (run["command"], run["dataset"])))
        rows.append((_began(run["id"]), what, run["state"], ", ".join(counts) or "nothing new"))
    click.echo()
    print_table(("last runs (UTC)", "command", "state", "did"), rows)


def _began(run_id: str) -> str:
    """The minute in which a run began, by its id (`ledger.Run`)."""
    return f"{datetime.strptime(run_id.split('.', maxsplit=1)[0], '%Y%m%dT%H%M%S'):%Y-%m-%d %H:%M}"


def _renewing(document: dict[str, Any]) -> Iterator[str]:
    if (owner := document["reembedding"]) is not None:
        yield (
            f"vectors are being renewed: {owner['command']}, process {owner['pid']} on {owner['host']}, "
            f"for {owner['for_s']} s"
        )


def _to_do(document: dict[str, Any], imported: Container[str]) -> Iterator[str]:
    """What is incomplete or in the way, with the command that helps."""
    from locatlas.indexer.files.planes import plural

    def command(verb: str) -> str:
        return f"locatlas {verb} --atlas {shlex.quote(document['path'])}"

    if document["reembedding"] is None:
        yield from _to_embed(document, imported, command)
    for name, root in document["roots"].items():
        if not root["present"]:
            yield f"the images of {name} are not where they were: {command('maintain')} --root {name}=FOLDER"
    for one in document["gone"]:
        counted = f"{one['images']:,} {_WORDS[one['level']][one['images'] != 1]}"
        yield (
            f"{counted} of data set {one['dataset']} had no file any more when it was indexed "
            f"({_began(one['run'])}) and stayed: put the files back, or index it with --prune, which removes them"
        )
    yield from _quarantined(document)
    for index in document["indices"]:
        if index.get("state") not in _USED:
            why = index["state"] if "state" in index else f"unreadable: {index['unreadable']}"
            yield f"the index of {index['table']} is not used ({why}): {command('verify')} --repair"
    if document["runs"] and document["runs"][0]["state"] == "interrupted":
        yield "the last run was interrupted: the same command goes on where it was"
    if n := sum(e["embedded"] > 0 for e in document["encoders"] if e["state"] == "superseded"):
        yield (
            f"vectors of {plural(n, 'superseded encoder')} take space: {command('maintain')} --drop-superseded "
            "deletes those that can be made anew"
        )


def _to_embed(document: dict[str, Any], imported: Container[str], command: Callable[[str], str]) -> Iterator[str]:
    """Images that wait for their vector."""
    from locatlas.indexer.files.planes import plural
    from locatlas.query.lacking import lacking_in_words

    if any(document["datasets"].values()) and not document["encoders"]:
        yield f"no vectors yet: {command('embed')}"
    for e in document["encoders"]:
        if e["state"] in ("superseded", "beside") or e["fingerprint"] in imported:
            continue
        whose = f"at level {e['level']} by {e['name']}"
        if (waiting := lacking_in_words(e)) and e["state"] == "building":
            yield (
                f"{waiting}: {command('reembed')} "
                f"(or, to give it up, {command('maintain')} --drop-encoder {e['fingerprint'][:12]})"
            )
        elif waiting:
            # fields that were only searched for cells are among them, which `reembed` passes over
            yield f"{waiting}: {command('embed')} --level {e['level']}"
        if e["stale"]:
            yield f"{plural(e['stale'], 'vector')} of images as they were before, {whose}: {command('reembed')}"


def _quarantined(document: dict[str, Any]) -> Iterator[str]:
    """What could not be used, by data set, with the most frequent reason."""
    from locatlas.indexer.files.planes import plural

    reasons = {one["dataset"]: one for one in reversed(document["quarantine_reasons"])}
    listed = Counter(one["dataset"] for one in document["quarantined"])
    for name, n in document["quarantine"].items():
        first = f"{reasons[name]['examples'][0]}: {reasons[name]['reason']}"
        which = "all" if listed[name] == n else f"the first {listed[name]:,}"
        yield f"{plural(n, 'source')} of data set {name} could not be used, e.g. {first} ({which} with --json)"
