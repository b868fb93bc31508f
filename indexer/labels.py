"""Label vocabularies, maps between them, and labels as sets. Pure, apart from reading the package's own table."""

import logging
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from locatlas.errors import InputError, UnknownNameError

__all__ = [
    "LabelMap",
    "MappedLabels",
    "UnknownLabels",
    "Vocabulary",
    "get_label_map",
    "get_vocabulary",
    "list_label_maps",
    "list_vocabularies",
    "map_labels",
    "parse_labels",
]

logger = logging.getLogger(__name__)


def _folded(label: str) -> str:
    return unicodedata.normalize("NFC", " ".join(label.split())).casefold()


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The classes of a source.

    Attributes:
        name: E.g. "opencell".
        title: One line for people.
        source: Where the list is from.
        labels: Classes; where the source numbers them, in its order.
        aliases: (other spelling, label) pairs.
    """

    name: str
    title: str
    source: str
    labels: tuple[str, ...]
    aliases: tuple[tuple[str, str], ...] = ()

    def canonical(self, label: str) -> str | None:
        """The vocabulary's spelling of a label in any case or known spelling; None where it is not one of them."""
        return _spellings(self).get(_folded(label))

    def label_set(self, labels: Iterable[str], unknown: "UnknownLabels | None" = None) -> tuple[str, ...]:
        """The labels in the vocabulary's spelling, sorted, each once.

        A label that the vocabulary does not have is kept as it is and told to `unknown`.
        """
        found = set()
        for label in labels:
            known = self.canonical(label)
            if known is None and unknown is not None:
                unknown.add(label)
            found.add(known or label)
        return tuple(sorted(found))

    def by_number(self, number: int | str) -> str:
        """The class of that number.

        Raises:
            InputError: If it is no number, or outside the vocabulary.
        """
        text = str(number).strip()
        if not text.isascii() or not text.isdigit() or int(text) >= len(self.labels):
            message = f"class {text!r} is not one of 0 to {len(self.labels) - 1} ({self.title})"
            raise InputError(message)
        return self.labels[int(text)]


@cache
def _spellings(vocabulary: Vocabulary) -> Mapping[str, str]:
    named = {_folded(label): label for label in vocabulary.labels}
    return named | {_folded(alias): label for alias, label in vocabulary.aliases}


class UnknownLabels:
    """Counts labels that a vocabulary does not have, so that one line can tell of all of them."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.counts: dict[str, int] = {}

    def add(self, label: str) -> None:
        """Count one."""
        self.counts[label] = self.counts.get(label, 0) + 1

    def log(self, where: object) -> None:
        """One warning that lists them, if there are any."""
        if self.counts:
            listed = ", ".join(f"{label!r} ({n})" for label, n in sorted(self.counts.items())[:10])
            logger.warning("%s: labels not in vocabulary %s, kept: %s", where, self.vocabulary.name, listed)


@dataclass(frozen=True, slots=True)
class MappedLabels:
    """What became of labels under a map.

    Attributes:
        labels: In the target vocabulary, sorted.
        unmapped: Labels that the map knows and that have no counterpart, sorted.
        unknown: Labels that the source vocabulary does not have, sorted.
    """

    labels: tuple[str, ...]
    unmapped: tuple[str, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LabelMap:
    """From the labels of one vocabulary to those of another.

    Attributes:
        name: E.g. "hpa->opencell".
        origin: Vocabulary that is mapped from.
        target: Vocabulary that is mapped to.
        source: Where the map is from.
        pairs: (from, to).
        unmapped: Labels of the origin without a counterpart.
    """

    name: str
    origin: Vocabulary
    target: Vocabulary
    source: str
    pairs: tuple[tuple[str, str], ...]
    unmapped: tuple[str, ...]

    def apply(self, labels: Iterable[str]) -> MappedLabels:
        """Map a set of labels; those without a counterpart are told apart from unknown ones."""
        pairs = dict(self.pairs)
        mapped, unmapped, unknown = set(), set(), set()
        for label in labels:
            known = self.origin.canonical(label)
            if known is None:
                unknown.add(label)
            elif known in pairs:
                mapped.add(pairs[known])
            else:
                unmapped.add(known)
        return MappedLabels(tuple(sorted(mapped)), tuple(sorted(unmapped)), tuple(sorted(unknown)))


@cache
def _tables() -> dict[str, dict[str, Any]]:
    return tomllib.loads(files("locatlas.indexer").joinpath("labels.toml").read_text(encoding="utf-8"))


@cache
def get_vocabulary(name: str) -> Vocabulary:
    """The vocabulary of that name: opencell, hpa, kaggle-2018, kaggle-2021 or subcell.

    Raises:
        UnknownNameError: If there is none.
    """
    entries = _tables()["vocabularies"]
    if name not in entries:
        raise UnknownNameError("label vocabulary", name, entries)
    entry = entries[name]
    aliases = tuple(sorted(entry.get("aliases", {}).items()))
    return Vocabulary(name, entry["title"], entry["source"], tuple(entry["labels"]), aliases)


def list_vocabularies() -> tuple[Vocabulary, ...]:
    """All vocabularies, sorted by name."""
    return tuple(get_vocabulary(name) for name in sorted(_tables()["vocabularies"]))


@cache
def get_label_map(name: str) -> LabelMap:
    """The map of that name, e.g. "hpa->opencell".

    Raises:
        UnknownNameError: If there is none.
    """
    entries = _tables()["maps"]
    if name not in entries:
        raise UnknownNameError("label map", name, entries)
    entry = entries[name]
    return LabelMap(
        name,
        get_vocabulary(entry["from"]),
        get_vocabulary(entry["to"]),
        entry["source"],
        tuple(sorted(entry["labels"].items())),
        tuple(entry["unmapped"]),
    )


def list_label_maps() -> tuple[LabelMap, ...]:
    """All maps, sorted by name."""
    return tuple(get_label_map(name) for name in sorted(_tables()["maps"]))


def map_labels(labels: Iterable[str], name: str) -> tuple[str, ...]:
    """Labels of one vocabulary as those of another, sorted; labels without a counterpart fall away.

    `get_label_map(name).apply` also tells which fell away.

    Args:
        labels: In any order and letter case.
        name: Map name.

    Raises:
        UnknownNameError: If there is no such map.

    Example:
        >>> map_labels(["Golgi apparatus", "Aggresome", "cytosol"], "hpa->opencell")
        ('cytoplasmic', 'golgi')
    """
    return get_label_map(name).apply(labels).labels


def parse_labels(text: str, separator: str = ";") -> tuple[str, ...]:
    """The labels of a joined text as a set: trimmed, NFC, without empty ones, sorted.

    Example:
        >>> parse_labels("nucleoplasm; cytoplasmic;;nucleoplasm")
        ('cytoplasmic', 'nucleoplasm')
    """
    labels = {unicodedata.normalize("NFC", " ".join(part.split())) for part in text.split(separator)}
    return tuple(sorted(labels - {""}))
