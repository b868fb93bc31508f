"""The JSON documents that commands print with --json, as pydantic models: the contract that others rely on.

`docs/schemas/` is generated from them by `scripts/write_schemas.py`; a test compares the two and validates what the
commands print. Keys may be added; those here stay.
"""

from pydantic import BaseModel, Field

from locatlas.cli.annotation_documents import AnnotateExportDocument, AnnotateImportDocument, AnnotateReportDocument
from locatlas.cli.backup_documents import BackupDocument, PublishDocument, RestoreDocument
from locatlas.cli.building_documents import ImportDocument, IndexDocument
from locatlas.cli.keeping_documents import MaintainDocument, PackDocument, VerifyDocument
from locatlas.cli.mapping_documents import ExportDocument, ExportSiteDocument, MapDocument, NapariDocument
from locatlas.cli.probing_documents import ProbeDocument
from locatlas.cli.report_documents import ReportDocument
from locatlas.cli.status_documents import StatusDocument
from locatlas.cli.training_documents import FinetuneDocument
from locatlas.query.documents.asking import (
    ClassifyDocument,
    NeighborsDocument,
    ProteinsDocument,
    SweepDocument,
)
from locatlas.query.documents.base import Document as _Document
from locatlas.query.documents.benchmarking import BenchmarkDocument
from locatlas.query.documents.comparing import CompareDocument

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
    "PackDocument",
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
    "pack": PackDocument,
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
