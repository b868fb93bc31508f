"""What people say of an image, and what several of them say together. Pure."""

import datetime as dt
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal, Self

from locatlas.errors import InputError

__all__ = ["GIVEN", "JOINT", "Annotation", "Consensus", "agreed", "check_annotator"]

GIVEN = "as the data set says"
"""Note of a decision that a data set ascribes to one annotator."""

JOINT = "decided together, as the data set says"
"""Note of a decision that a data set ascribes to several annotators: it is no own decision of any of them."""

_JOINS = (";", "|")  # between names in `annotated_by`; between image and annotator in an annotation's id


def check_annotator(name: str) -> str:
    """The name of an annotator, trimmed.

    Raises:
        InputError: If it is empty, not NFC, or holds ";", "|" or control characters.
    """
    trimmed = name.strip()
    bad = any(unicodedata.category(c).startswith("C") for c in trimmed) or trimmed != unicodedata.normalize(
        "NFC", trimmed
    )
    if not trimmed or bad or any(sign in trimmed for sign in _JOINS):
        message = f"annotator {name!r}: a name without ';', '|' and control characters needed (NFC)"
        raise InputError(message)
    return trimmed


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """What one annotator says of one image.

    Attributes:
        image_id: Of a FOV or a cell.
        level: Which of the two.
        annotator: Who.
        localizations: What was seen, sorted, each once; empty: looked at, and none can be seen.
        at: When, with a time zone.
        source_digest: Of the image or cell that was looked at.
        note: Free text, None for none.
    """

    image_id: str
    level: Literal["fov", "cell"]
    annotator: str
    localizations: tuple[str, ...]
    at: dt.datetime
    source_digest: str
    note: str | None = None

    @property
    def is_given(self) -> bool:
        """Whether the data set says so, and not a sheet that the annotator filled in."""
        return self.note in (GIVEN, JOINT)

    @property
    def is_joint(self) -> bool:
        """Whether several annotators share the decision, so that it says nothing of how far they agree."""
        return self.note == JOINT

    @property
    def id(self) -> str:
        """Key in the table: an annotator has one decision on an image."""
        return f"{self.image_id}|{self.annotator}"

    @classmethod
    def from_source(
        cls,
        image_id: str,
        level: Literal["fov", "cell"],
        *,
        annotated_by: str,
        localizations: Collection[str],
        source_digest: str,
        at: dt.datetime,
    ) -> list[Self]:
        """What a data set says that its annotators say: one annotation a name in "anna;ben", joint if several.

        Args:
            image_id: Of a FOV or a cell.
            level: Which of the two.
            annotated_by: Names joined by ";".
            localizations: What they all chose.
            source_digest: Of the image.
            at: When it was read: data sets do not say when it was seen.

        Raises:
            InputError: If a name is none that can be stored.
        """
        names = sorted({check_annotator(name) for name in annotated_by.split(";")})
        chosen = tuple(sorted(set(localizations)))
        return [
            cls(image_id=image_id, level=level, annotator=name, localizations=chosen, at=at,
                source_digest=source_digest, note=JOINT if len(names) > 1 else GIVEN)
            for name in names
        ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Consensus:
    """What the annotators of one image say together.

    Attributes:
        localizations: Chosen by more than half of them, sorted; empty where more than half saw none. None: disputed.
        annotators: All who looked, sorted.
    """

    localizations: tuple[str, ...] | None
    annotators: tuple[str, ...]

    @property
    def is_disputed(self) -> bool:
        """Whether neither a localization nor "none" has a majority."""
        return self.localizations is None

    @property
    def annotated_by(self) -> str:
        """The names as a cell's row keeps them; a disputed cell has them, too: somebody looked."""
        return ";".join(self.annotators)


def agreed(decisions: Iterable[tuple[str, Collection[str]]]) -> Consensus:
    """The majority of annotators, localization by localization.

    A localization counts if more than half of the annotators chose it, so of one annotator all do, and of two those
    that both chose. Where none counts, the image has none if more than half say so, and is disputed otherwise.

    Args:
        decisions: (annotator, localizations) of one image, in any order, each annotator once, at least one.

    Raises:
        ValueError: If there is no decision, or two of one annotator.

    Example:
        >>> agreed([("anna", ["er"]), ("ben", ["er", "golgi"])]).localizations
        ('er',)
        >>> agreed([("anna", ["er"]), ("ben", ["golgi"])]).localizations is None
        True
        >>> agreed([("anna", []), ("ben", []), ("cleo", ["golgi"])]).localizations
        ()
    """
    given = list(decisions)
    said = {name: frozenset(chosen) for name, chosen in given}
    if not said or len(said) != len(given):
        message = f"decisions of {[name for name, _ in given]}: at least one, and one an annotator needed"
        raise ValueError(message)
    counts = Counter(label for chosen in said.values() for label in chosen)
    majority = tuple(sorted(label for label, n in counts.items() if 2 * n > len(said)))
    nothing = 2 * sum(not chosen for chosen in said.values()) > len(said)
    return Consensus(majority if majority or nothing else None, tuple(sorted(said)))
