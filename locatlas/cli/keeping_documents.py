"""The JSON documents of `maintain`, `pack` and `verify`."""

from pydantic import Field

from locatlas.query.documents.base import Document as _Document

__all__ = ["MaintainDocument", "PackDocument", "VerifyDocument"]


class UnusedVectorsState(_Document):
    """Vectors of an encoder that is not current."""

    level: str
    name: str
    fingerprint: str
    vectors: int = Field(ge=0)
    bytes: int = Field(ge=0, description="on disk, with their FAISS index")
    imported: bool = Field(description="made elsewhere: only their file could give them back")
    state: str = Field(pattern="^(superseded|beside|building)$")


class UnneededObjects(_Document):
    """What became of objects that no state of an atlas in an object store needs any more."""

    removed: int = Field(ge=0)
    removed_bytes: int = Field(ge=0)
    unneeded: int = Field(ge=0, description="that stay for now: they were not noted for long enough")
    unneeded_bytes: int = Field(ge=0)


class MaintainDocument(_Document):
    """What `maintain` did."""

    dropped: list[UnusedVectorsState]
    kept: list[UnusedVectorsState] = Field(description="of encoders that were superseded")
    freed_bytes: int = Field(ge=0)
    compacted: list[str] = Field(description="tables whose fragments were merged")
    roots: dict[str, str] = Field(description="folders of images that were declared anew, by name")
    old_versions: int = Field(ge=0, description="versions of tables that were removed, superseded for ten minutes")
    dropped_maps: list[str] = Field(description="ids of maps that were deleted, of encoders whose vectors are")
    forgotten: list[str] = Field(description="encoders that were named and never were current, <level>/<fingerprint>")
    given_up: list[str] = Field(
        description="states from before an upgrade, as folders below the atlas, that needed one of these: deleted"
    )
    objects: UnneededObjects | None = Field(None, description="of an atlas in an object store; null of one in a folder")


class PackDocument(_Document):
    """What `pack` did."""

    path: str
    images: int = Field(ge=0, description="held decoded now")
    packed: int = Field(ge=0, description="decoded by this run")
    changed: int = Field(ge=0, description="left out, because their files are not what was indexed")
    unreadable: int = Field(ge=0, description="left out, because they cannot be decoded")
    reasons: dict[str, int] = Field(description="why, with how often")
    written_bytes: int = Field(ge=0, description="by this run")
    bytes: int = Field(ge=0, description="that decoded images take on disk")
    freed_bytes: int = Field(ge=0, description="of what was removed")


class VerifyCounts(_Document):
    """Findings by severity."""

    damage: int = Field(ge=0)
    warning: int = Field(ge=0)
    note: int = Field(ge=0)


class VerifyFinding(_Document):
    """One fact about an atlas."""

    severity: str = Field(
        pattern="^(damage|warning|note)$",
        description="damage: not what was written, or contradictory; warning: something may be lost or is not covered",
    )
    kind: str = Field(description="for programs; listed in docs/reliability.md")
    where: str = Field(description="table, or file below the atlas")
    means: str
    do: str = Field(description="what to do about it")
    count: int = Field(ge=1, description="files, rows or lines concerned")
    examples: list[str] = Field(description="some of them")


class VerifyDocument(_Document):
    """What `verify` found. The command exits 1 if `ok` is false."""

    path: str
    quick: bool = Field(description="only sizes, presence, newest versions and ids were looked at")
    ok: bool = Field(description="no damage")
    counts: VerifyCounts
    findings: list[VerifyFinding] = Field(description="damage first; after a repair, what is left")
    repaired: list[str] = Field(description="what a repair did, in words")
    tables: dict[str, int | None] = Field(description="rows by table; null where it could not be read")
    files: int = Field(ge=0, description="files of tables with a digest")
    bytes_read: int = Field(ge=0, description="for digests")
    seconds: float = Field(ge=0, description="of reading for digests")
    mb_per_s: float = Field(ge=0, description="10^6 bytes a second, of digests")
    digests_since: str | None = Field(description="when digests of this atlas were begun; null where there are none")
    writers: list[str] = Field(description="who wrote meanwhile")
