"""Fetch published weights of encoders to where locatlas looks for them, and see that they fit.

Run as `python scripts/get_weights.py` for those of the paper's grids, or with names, or `--list`. Sources: DINO4Cells
from its Zenodo records (size and md5 from the record), SubCell from its public S3 bucket (entity tag), DINO and DINOv2
as timm publishes them on Hugging Face (sha256; a mirror in $HF_ENDPOINT). Cell-DINO's weights are asked for by a form,
and DINOv3's licence is agreed to on the publisher's page: these are put into the folder by hand.

locatlas downloads the same files by itself when an encoder is used; this script resumes, checks more, says what fits.
No address could be fetched where this was written; the code is tested against servers on one machine.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import rich_click as click
from fetching.command import NOT_FETCHED_HERE, carry_out, fetching_options, hold, main, session_of
from fetching.errors import FetchError
from fetching.http import Session, length_of
from fetching.plan import Plan, Remote
from fetching.s3 import digest_of
from fetching.zenodo import record_files, split_url

from locatlas.cli.common import notice, print_table
from locatlas.errors import WeightsError
from locatlas.models import registry
from locatlas.models.fetch import url_of
from locatlas.models.home import weights_folder
from locatlas.models.spec import EncoderSpec

PUBLISHED = ("https://zenodo.org", "https://czi-subcell-public.s3.amazonaws.com", "https://huggingface.co")
"""Sites of the addresses in models/encoders.toml; `--mirror` puts others in their place."""

_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def weights_of_grids() -> list[str]:
    """Names of the encoders that the shipped grids measure and that have published weights."""
    from locatlas.query.benchmark.grid import list_grids, load_grid

    names = {entry.name for grid in list_grids() for entry in load_grid(grid).encoders}
    return sorted(name for name in names if url_of(registry.get(name)) is not None)


def remote_of(spec: EncoderSpec, session: Session, mirrors: Sequence[tuple[str, str]] = ()) -> Remote:
    """The file of an encoder's weights, with what its source says of size and digest.

    Args:
        spec: With an address.
        session: How.
        mirrors: Sites and what stands in their place.

    Raises:
        FetchError: If the encoder has no address, or the source does not have the file.
    """
    url = url_of(spec)
    if url is None:
        message = (
            f"{spec.name}: not to be had by an address ({spec.source or 'no source'}); put it into {weights_folder()}"
        )
        raise FetchError(message)
    for site, instead in mirrors:
        if url.startswith(f"{site}/"):
            url = f"{instead.rstrip('/')}{url.removeprefix(site)}"
    path = f"{spec.name}{Path(urlsplit(url).path).suffix}"
    if record := split_url(url):
        site, number, name = record
        files = record_files(number, session, site=site)
        if name not in files:
            message = f"{url}: record {number} has no such file; it has {', '.join(sorted(files))}"
            raise FetchError(message)
        return replace(files[name], path=path)
    return _asked(url, path, session)


def _asked(url: str, path: str, session: Session) -> Remote:
    """Size and digest as the server announces them: S3's entity tag, or what Hugging Face says before it redirects."""
    headers = session.headers(url, follow=False)
    size = length_of(headers, "X-Linked-Size")
    if size is None and "Location" not in headers:
        size = length_of(headers)
    linked = (headers.get("X-Linked-ETag") or "").strip('"').lower()
    digest = f"sha256:{linked}" if _SHA256.fullmatch(linked) else digest_of(headers.get("ETag"))
    return Remote(url, path, size, digest)


def check(spec: EncoderSpec) -> str:
    """Build the encoder and load the file strictly.

    Returns:
        In words, how many numbers it has.

    Raises:
        WeightsError: If anything is missing, left over or of another shape.
    """
    from locatlas.models import vit, weights

    network = vit.build(spec)
    weights.fill(network, spec)
    n = sum(tensor.numel() for tensor in network.state_dict().values())
    return f"{n / 1e6:.1f} million numbers, all fit"


def _list() -> None:
    wanted = set(weights_of_grids())
    rows = []
    for spec in registry.list_encoders():
        source = url_of(spec) or spec.source
        here = any(
            (weights_folder() / f"{spec.name}{end}").is_file() for end in (".safetensors", ".pth", ".pt", ".bin")
        )
        rows.append((spec.name, "yes" if here else "", "yes" if spec.name in wanted else "", spec.license, source))
    print_table(("encoder", "here", "in a grid", "licence", "source"), rows)


@click.command(epilog=NOT_FETCHED_HERE)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--list", "listing", is_flag=True, help="Name the encoders, their sources and whether they are here.")
@click.option("--no-check", is_flag=True, help="Do not build the networks to see whether the weights fit.")
@click.option(
    "--mirror", "mirrors", multiple=True, metavar="SITE=OTHER",
    help=f"Ask another server; SITE is one of {', '.join(PUBLISHED)}.",
)  # fmt: skip
@fetching_options(workers=2, rate=2)
def get_weights(
    names: tuple[str, ...],
    mirrors: tuple[str, ...],
    workers: int,
    rate: float,
    timeout: float,
    retries: int,
    max_gb: float,
    *,
    listing: bool,
    no_check: bool,
    dry_run: bool,
) -> None:
    """Fetch the weights of encoders, by default of those that the shipped grids measure."""
    if listing:
        _list()
        return
    pairs = [tuple(pair.split("=", 1)) for pair in mirrors]
    if any(len(pair) != 2 or pair[0] not in PUBLISHED for pair in pairs):
        message = f"--mirror takes SITE=OTHER, SITE being one of {', '.join(PUBLISHED)}"
        raise click.UsageError(message)
    specs = [registry.get(name) for name in names or weights_of_grids()]
    session = session_of(rate=rate, timeout=timeout, retries=retries)
    plan = Plan.of(remote_of(spec, session, pairs) for spec in specs)  # type: ignore[arg-type]
    click.echo(f"weights: {plan.in_words()}, to {weights_folder()}")
    for spec, licence in ((s, s.license or "licence not stated") for s in specs):
        notice(f"{spec.name}: {licence}")
    if dry_run:
        return
    hold(weights_folder())
    about = {"source": "models/encoders.toml", "licence": "of each encoder"}
    carry_out(plan, weights_folder(), session, workers=workers, max_gb=max_gb, about=about)
    if no_check:
        return
    failed = []
    for spec in specs:
        try:
            click.echo(f"{spec.name}: {check(spec)}")
        except WeightsError as error:
            failed.append(str(error))
    if failed:
        raise WeightsError("; ".join(failed))


if __name__ == "__main__":
    main(get_weights)
