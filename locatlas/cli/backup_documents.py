"""JSON documents of backup and restore; see `locatlas.cli.documents`."""

from pydantic import Field

from locatlas.query.documents.base import Document

__all__ = ["BackupDocument", "PublishDocument", "RestoreDocument"]


class BackupDocument(Document):
    """What `backup` did."""

    path: str
    state: str = Field(description="name of the newest state of the backup, for `restore --state`")
    at: str = Field(description="when it was taken, ISO 8601 in UTC")
    new: bool = Field(description="taken now; false: nothing is new in the atlas since it was taken")
    files: int = Field(ge=0, description="in the state")
    bytes: int = Field(ge=0)
    copied_files: int = Field(ge=0, description="that the backup did not hold before")
    copied_bytes: int = Field(ge=0)
    freed_bytes: int = Field(ge=0, description="of what only states needed that are not kept any more")
    tables: dict[str, int] = Field(description="rows by table")
    states: list[str] = Field(description="that can be restored, the newest first")


class PublishDocument(Document):
    """What `publish` did."""

    uri: str
    state: str = Field(description="name of the state of the backup that is published")
    new: bool = Field(description="published now; false: it was already")
    files: int = Field(ge=0, description="in the state")
    bytes: int = Field(ge=0)
    sent_files: int = Field(ge=0, description="that were not there before")
    sent_bytes: int = Field(ge=0)


class BackupState(Document):
    """A state that a backup holds."""

    state: str
    at: str = Field(description="ISO 8601 in UTC")
    atlas: str = Field(description="folder of the atlas at that time")
    schema_version: int
    with_indices: bool
    files: int = Field(ge=0)
    bytes: int = Field(ge=0)
    tables: dict[str, int] = Field(description="rows by table")


class RestoreDocument(Document):
    """What `restore` did, or with --check found, or with --list listed."""

    backup: str
    state: str | None = Field(description="null with --list")
    at: str | None = Field(description="ISO 8601 in UTC; null with --list")
    path: str | None = Field(description="what was restored; null with --check and --list")
    files: int = Field(ge=0, description="read and compared by digest")
    bytes: int = Field(ge=0)
    tables: dict[str, int] = Field(description="rows by table")
    schema_version: int | None = Field(description="null with --list")
    missing_roots: dict[str, str] = Field(description="declared folders of images that are not here, by name")
    states: list[BackupState] = Field(description="with --list, the newest first")
