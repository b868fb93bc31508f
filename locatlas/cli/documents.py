"""The JSON documents that commands print with --json, as pydantic models: the contract that others rely on.

`docs/schemas/` is generated from them by `scripts/write_schemas.py`; a test compares the two and validates what the
commands print. Keys may be added; those here stay.
"""

from typing import Any

from pydantic import BaseModel, Field

from locatlas.cli.annotation_documents import AnnotateExportDocument, AnnotateImportDocument, AnnotateReportDocument
from locatlas.cli.backup_documents import BackupDocument, PublishDocument, RestoreDocument
from locatlas.cli.mapping_documents import ExportDocument, ExportSiteDocument, MapDocument, NapariDocument
from locatlas.cli.probing_documents import ProbeDocument
from locatlas.cli.report_documents import ReportDocument
from locatlas.cli.training_documents import FinetuneDocument
from locatlas.query.asking_documents import (
    ClassifyDocument,
    EncoderName,
    NeighborsDocument,
    ProteinsDocument,
    SweepDocument,
)
from locatlas.query.benchmarking_documents import BenchmarkDocument
from locatlas.query.comparing_documents import CompareDocument
from locatlas.query.document_base import Document as _Document

__all__ = [
    "DOCUMENTS",
    "AnnotateExportDocument",
    "AnnotateImportDocument",
    "AnnotateReportDocument",
    "BackupDocument",
    "BenchmarkDocument",
    "ClassifyDocument",
    "CompareDocument",
    "DemoDocument",
    "ExportDocument",
    "ExportSiteDocument",
    "FinetuneDocument",
    "ImportDocument",
    "IndexDocument",
    "MaintainDocument",
    "MapDocument",
    "NapariDocument",
    "NeighborsDocument",
    "ProbeDocument",
    "ProteinsDocument",
    "PublishDocument",
    "ReportDocument",
    "RestoreDocument",
    "ServeDocument",
    "StatusDocument",
    "SweepDocument",
    "VerifyDocument",
]


class QuarantinedSource(_Document):
    """A source that could not be used."""

    source: str
    reason: str


class SegmentedFields(_Document):
    """What the search for cells did."""

    fields: int = Field(ge=0, description="fields that were searched in this run")
    cells: int = Field(ge=0, description="cells found in them")
    empty: int = Field(ge=0, description="fields among them without any")
    unchanged: int = Field(ge=0, description="fields that were searched before, unchanged")
    uncovered: list[str] = Field(description="ids of fields that the given masks or table say nothing of")
    replaced: int = Field(ge=0, description="cells of before that are not there any more")
    segmenters: dict[str, int] = Field(description="fields by what found their cells")


class MaintainedTables(_Document):
    """What a run did so that files stay few."""

    merged: int = Field(ge=0, description="how often the fragments of a table were merged")
    versions: int = Field(ge=0, description="old versions of tables that were removed")
    freed_bytes: int = Field(ge=0)


class EmbeddingProfile(_Document):
    """Where the seconds of embedding went."""

    images: int = Field(ge=0, description="images that were encoded")
    wall_s: float = Field(ge=0, description="seconds from the first image asked for to the last commit")
    images_per_s: float | None = Field(description="of the whole path")
    in_turn_s: dict[str, float] = Field(description="seconds by what the encoding thread did; they add up to wall_s")
    beside_s: dict[str, float] = Field(
        description="seconds of the threads that read ahead, which pass at the same time"
    )
    beside_core_s: dict[str, float] = Field(
        description="of these with a core; processes that decode are waited for without one"
    )
    encoder_images_per_s: float | None = Field(description="of the encoder alone, on a batch that lay ready")
    share_of_encoder: float | None = Field(description="images_per_s over encoder_images_per_s")


class IndexDocument(_Document):
    """What `index`, `embed` and `reembed` did."""

    fovs: int = Field(ge=0, description="FOVs in the atlas after the run")
    cells: int = Field(ge=0, description="cells in the atlas after the run")
    embedded: int = Field(ge=0, description="vectors made in this run")
    skipped: int = Field(ge=0, description="images there already, unchanged")
    updated: int = Field(ge=0, description="images whose metadata alone changed")
    labelled: int | None = Field(description="images of this reading with a localization; null for embed")
    gone: list[str] = Field(description="ids whose files are gone; they stay unless --prune was given")
    quarantined: list[QuarantinedSource]
    encoder: EncoderName | None = Field(description="of the FOVs; of the cells where there are only cells")
    encoders: dict[str, EncoderName] = Field(description="by level")
    qc: dict[str, int] = Field(description="images embedded in this run by QC flag")
    segmented: SegmentedFields
    dropped: int = Field(ge=0, description="cells without a vector by this encoder because they meet the border")
    cell_qc: dict[str, int] = Field(description="cells found in this run by QC flag")
    maintained: MaintainedTables
    timings_s: dict[str, float] = Field(description="seconds by stage")
    profile: EmbeddingProfile | None = Field(default=None, description="with --profile-time")
    indices: dict[str, str] = Field(description="what look-ups use, by level, in words")


class TableState(_Document):
    """A table of the store."""

    rows: int
    version: int


class EncoderState(EncoderName):
    """An encoder of an atlas and how much of its level it covers."""

    level: str
    state: str = Field(pattern="^(building|current|superseded)$")
    dim: int
    images: int = Field(description="images at the level")
    embedded: int = Field(description="of these, with a vector")
    stale: int = Field(description="vectors made from other pixels than those there now")
    coverage: float | None = Field(
        ge=0, le=1, description="share of the images with a vector of their pixels; null without images"
    )
    parent: str | None = Field(description="fingerprint of the encoder it was trained from")
    lineage: list[str] = Field(description="names from the oldest known ancestor to the encoder itself")
    training: dict[str, Any] | None = Field(description="how it was trained; null where that is not known")
    crop: dict[str, Any] | None = Field(description="how cells are cut out of their fields; null for whole images")


class SegmenterState(_Document):
    """What found cells."""

    id: str = Field(description="`given` for masks and tables, else name and digest of its parameters")
    name: str
    parameters: dict[str, Any]
    fields: int = Field(ge=0, description="fields whose cells it found")
    cells: int = Field(ge=0, description="cells of these")


class CellsState(_Document):
    """Where the cells of an atlas come from."""

    segmenters: list[SegmenterState]
    fields_not_searched: int = Field(ge=0, description="fields in which no cells were looked for")
    images_of_their_own: int = Field(ge=0, description="cells that came as images, not cut out of a field")
    annotated: dict[str, int] = Field(description="cells that somebody annotated, by data set")


class MapState(_Document):
    """A map that is stored."""

    level: str
    of: str | None
    method: str
    encoder: str
    fingerprint: str
    seed: int
    params: dict[str, Any]
    points: int = Field(ge=0)
    current: bool = Field(description="drawn from vectors of the encoder that is current now")
    at: str


class StatusDocument(_Document):
    """The answer of `status`."""

    path: str
    schema_version: int
    tables: dict[str, TableState]
    datasets: dict[str, dict[str, int]] = Field(description="images by level and data set")
    cells: CellsState
    encoders: list[EncoderState]
    reembedding: dict[str, Any] | None = Field(
        description="who renews the vectors now (command, run, pid, host, since, for_s); null if nobody does"
    )
    quarantine: dict[str, int]
    maps: list[MapState]
    indices: list[dict[str, Any]]
    roots: dict[str, dict[str, Any]]
    runs: list[dict[str, Any]]
    versions: dict[str, str]


class ImportDocument(_Document):
    """What `import-embeddings` did."""

    imported: int
    skipped: int
    dim: int
    degenerate: int = Field(description="zero vectors: they never match")
    indices: dict[str, str] = Field(description="what look-ups use, by level, in words")
    encoder: EncoderName


class SupersededVectorsState(_Document):
    """Vectors of an encoder that is not in use any more."""

    level: str
    name: str
    fingerprint: str
    vectors: int = Field(ge=0)
    bytes: int = Field(ge=0, description="on disk, with their FAISS index")
    imported: bool = Field(description="made elsewhere: no image could give them back, so they are kept")


class MaintainDocument(_Document):
    """What `maintain` did."""

    dropped: list[SupersededVectorsState]
    kept: list[SupersededVectorsState]
    freed_bytes: int = Field(ge=0)
    compacted: list[str] = Field(description="tables whose fragments were merged")
    roots: dict[str, str] = Field(description="folders of images that were declared anew, by name")
    old_versions: int = Field(ge=0, description="versions of tables that were removed, superseded for ten minutes")
    dropped_maps: list[str] = Field(description="ids of maps that were deleted, of encoders whose vectors are")
    given_up: list[str] = Field(
        description="states from before an upgrade, as folders below the atlas, that needed one of these: deleted"
    )


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


class DemoDocument(_Document):
    """What `demo` made and found."""

    folder: str
    atlas: str
    figure: str
    images_are_made: bool
    fovs: int
    embedded: int
    neighbors: NeighborsDocument
    sweep: SweepDocument
    seconds: dict[str, float]


class ServeDocument(_Document):
    """Where `serve` answers; printed before it does."""

    atlas: str
    address: str = Field(description="e.g. http://127.0.0.1:8765")
    page: str = Field(description="to open in a browser; holds the token, where there is one")
    token: str | None = Field(description="what every request must show; null where only this machine can ask")


DOCUMENTS: dict[str, type[BaseModel]] = {
    "index": IndexDocument,
    "embed": IndexDocument,
    "reembed": IndexDocument,
    "maintain": MaintainDocument,
    "verify": VerifyDocument,
    "backup": BackupDocument,
    "restore": RestoreDocument,
    "publish": PublishDocument,
    "finetune": FinetuneDocument,
    "pretrain": FinetuneDocument,
    "import-embeddings": ImportDocument,
    "neighbors": NeighborsDocument,
    "classify": ClassifyDocument,
    "sweep": SweepDocument,
    "probe": ProbeDocument,
    "proteins": ProteinsDocument,
    "compare": CompareDocument,
    "benchmark": BenchmarkDocument,
    "map": MapDocument,
    "export": ExportDocument,
    "export-site": ExportSiteDocument,
    "napari": NapariDocument,
    "report": ReportDocument,
    "status": StatusDocument,
    "serve": ServeDocument,
    "demo": DemoDocument,
    "annotate-export": AnnotateExportDocument,
    "annotate-import": AnnotateImportDocument,
    "annotate-report": AnnotateReportDocument,
}
