"""locatlas: searchable atlases of protein localization from microscopy images.

>>> import locatlas
>>> sorted(name for name in locatlas.__all__ if name.islower() and not name.startswith("_"))
['backup', 'benchmark', 'demo', 'embed', 'export_sheet', 'finetune', 'import_annotations', 'import_embeddings', \
'index', 'maintain', 'open', 'pack', 'pretrain', 'reembed', 'report', 'restore']

Everything is imported on first use: `import locatlas` loads neither torch nor lancedb, faiss or scikit-learn.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from locatlas.cli.demo import demo
    from locatlas.indexer.annotation.bring_in import import_annotations
    from locatlas.indexer.backup.restore import restore
    from locatlas.indexer.backup.run import backup
    from locatlas.indexer.embed import embed, reembed
    from locatlas.indexer.encoder_choice import EncoderRequest
    from locatlas.indexer.importing.run import import_embeddings
    from locatlas.indexer.index import index
    from locatlas.indexer.maintain import maintain
    from locatlas.indexer.pixel_cache.run import pack
    from locatlas.indexer.training.request import FinetuneRequest
    from locatlas.query.annotation.export import export_sheet
    from locatlas.query.annotation.gather import SheetRequest
    from locatlas.query.atlas import Atlas
    from locatlas.query.atlas import open_atlas as open  # noqa: A004 (locatlas.open, as in design.md)
    from locatlas.query.benchmark.run import benchmark
    from locatlas.query.finetuning import finetune, pretrain
    from locatlas.query.report.request import ReportRequest
    from locatlas.query.report.run import report

__version__ = "0.1.0"

__all__ = [
    "Atlas",
    "EncoderRequest",
    "FinetuneRequest",
    "ReportRequest",
    "SheetRequest",
    "__version__",
    "backup",
    "benchmark",
    "demo",
    "embed",
    "export_sheet",
    "finetune",
    "import_annotations",
    "import_embeddings",
    "index",
    "maintain",
    "open",
    "pack",
    "pretrain",
    "reembed",
    "report",
    "restore",
]

_WHERE = {
    "Atlas": ("locatlas.query.atlas", "Atlas"),
    "open": ("locatlas.query.atlas", "open_atlas"),
    "index": ("locatlas.indexer.index", "index"),
    "embed": ("locatlas.indexer.embed", "embed"),
    "reembed": ("locatlas.indexer.embed", "reembed"),
    "maintain": ("locatlas.indexer.maintain", "maintain"),
    "pack": ("locatlas.indexer.pixel_cache.run", "pack"),
    "backup": ("locatlas.indexer.backup.run", "backup"),
    "restore": ("locatlas.indexer.backup.restore", "restore"),
    "import_annotations": ("locatlas.indexer.annotation.bring_in", "import_annotations"),
    "export_sheet": ("locatlas.query.annotation.export", "export_sheet"),
    "SheetRequest": ("locatlas.query.annotation.gather", "SheetRequest"),
    "import_embeddings": ("locatlas.indexer.importing.run", "import_embeddings"),
    "EncoderRequest": ("locatlas.indexer.encoder_choice", "EncoderRequest"),
    "FinetuneRequest": ("locatlas.indexer.training.request", "FinetuneRequest"),
    "benchmark": ("locatlas.query.benchmark.run", "benchmark"),
    "finetune": ("locatlas.query.finetuning", "finetune"),
    "pretrain": ("locatlas.query.finetuning", "pretrain"),
    "report": ("locatlas.query.report.run", "report"),
    "ReportRequest": ("locatlas.query.report.request", "ReportRequest"),
    "demo": ("locatlas.cli.demo", "demo"),
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        message = f"module 'locatlas' has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module

    module, attribute = _WHERE[name]
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
