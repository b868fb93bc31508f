"""What `locatlas verify` found: one fact with what it means and what to do. Pure."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["SHOWN", "Finding", "Severity", "finding"]

Severity = Literal["damage", "warning", "note"]

SHOWN = 5
"""Files or ids that a finding lists as examples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fact about an atlas.

    Attributes:
        severity: "damage": something is not what was written, or contradicts itself; "warning": something may be lost
            or is not covered; "note": good to know.
        kind: One word or two for programs; listed in docs/reliability.md.
        where: Table, or file below the atlas.
        means: What it means for the user.
        do: What to do about it.
        count: How many files, rows or lines.
        examples: Some of them.
        items: All of them, for the repair.
    """

    severity: Severity
    kind: str
    where: str
    means: str
    do: str
    count: int = 1
    examples: tuple[str, ...] = ()
    items: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Its part of the JSON document."""
        return {k: v for k, v in asdict(self).items() if k != "items"}


def finding(severity: Severity, kind: str, where: str, means: str, do: str, *, of: Sequence[str] = ()) -> Finding:
    """A finding about some files, or ids.

    Args:
        severity: As in `Finding`.
        kind: As in `Finding`.
        where: As in `Finding`.
        means: As in `Finding`.
        do: As in `Finding`.
        of: All files, ids or lines concerned.
    """
    listed = tuple(sorted(of))
    return Finding(
        severity=severity,
        kind=kind,
        where=where,
        means=means,
        do=do,
        count=len(listed) or 1,
        examples=listed[:SHOWN],
        items=listed,
    )
