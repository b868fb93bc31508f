"""Made images, as `locatlas demo` writes them: the manifests of both sources in one reading. Reads tables only."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from locatlas.errors import InputError
from locatlas.indexer.datasets import manifest
from locatlas.indexer.datasets.options import ReaderOptions
from locatlas.indexer.datasets.scan import in_order
from locatlas.indexer.records import ImageRecord, RejectedSource

__all__ = ["read"]

SOURCES = ("opencell", "hpa")


def read(given: ReaderOptions) -> Iterator[ImageRecord | RejectedSource]:
    """A record per made field, with its mask and pixel size; see `registry.read_records`."""
    wanted = given.choice("source", ("both", *SOURCES), "both")
    parts = [name for name in SOURCES if wanted in ("both", name)]
    found = [name for name in parts if (given.folder / name / "manifest.csv").is_file()]
    if not found:
        wanted_files = " or ".join(f"{name}/manifest.csv" for name in parts)
        message = f"{given.folder}: holds no {wanted_files}; `locatlas demo` makes them"
        raise InputError(message)
    items = [_of(item, name) for name in found for item in _items(given, name)]
    yield from in_order(items, given.roots[0])


def _items(given: ReaderOptions, name: str) -> Iterator[ImageRecord | RejectedSource]:
    own: Mapping[str, object] = {"roots": given.roots}
    return manifest.read(ReaderOptions(given.spec, given.folder / name / "manifest.csv", own))


def _of(item: ImageRecord | RejectedSource, source: str) -> ImageRecord | RejectedSource:
    """Localizations are in the source's own words, so the source must be told apart."""
    return replace(item, metadata={**item.metadata, "source": source}) if isinstance(item, ImageRecord) else item
