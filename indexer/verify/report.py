"""The result of `locatlas verify`. Pure."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from locatlas.indexer.verify.finding import Finding

__all__ = ["VerifyReport"]


@dataclass(slots=True, kw_only=True)
class VerifyReport:
    """What was looked at, and what was found.

    Attributes:
        path: The atlas.
        quick: Whether only sizes, presence, versions and ids were looked at.
        findings: Damage first.
        repaired: What a repair did, in words.
        tables: Rows by table; None where it could not be read.
        files: Files of tables with a digest.
        bytes_read: For digests.
        seconds: Of reading for digests.
        digests_since: When digests of this atlas were begun; None where there are none.
        writers: Who wrote meanwhile, in words.
    """

    path: str
    quick: bool
    findings: list[Finding] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)
    tables: dict[str, int | None] = field(default_factory=dict)
    files: int = 0
    bytes_read: int = 0
    seconds: float = 0.0
    digests_since: str | None = None
    writers: list[str] = field(default_factory=list)

    @property
    def damage(self) -> list[Finding]:
        """The findings that are damage."""
        return [f for f in self.findings if f.severity == "damage"]

    @property
    def mb_per_s(self) -> float:
        """Megabytes (10^6 bytes) a second at which digests were taken."""
        return self.bytes_read / 1e6 / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of `verify`."""
        by_severity = Counter(f.severity for f in self.findings)
        return {
            "path": self.path,
            "quick": self.quick,
            "ok": not self.damage,
            "counts": {name: by_severity[name] for name in ("damage", "warning", "note")},
            "findings": [f.to_dict() for f in self.findings],
            "repaired": self.repaired,
            "tables": self.tables,
            "files": self.files,
            "bytes_read": self.bytes_read,
            "seconds": round(self.seconds, 3),
            "mb_per_s": round(self.mb_per_s, 1),
            "digests_since": self.digests_since,
            "writers": self.writers,
        }
