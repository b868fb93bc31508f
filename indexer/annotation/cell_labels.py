"""The labels that a data set's cells may be expected to have. Reads the store."""

from collections.abc import Iterable

import pyarrow.compute as pc

from locatlas.indexer.annotation.sheet import AllowedLabels
from locatlas.indexer.annotation.table import read_annotations
from locatlas.indexer.labels import get_vocabulary, list_vocabularies
from locatlas.indexer.records import ImageRecord
from locatlas.indexer.store.tables import Store

__all__ = ["usual_labels"]


def usual_labels(store: Store, dataset: str, records: Iterable[ImageRecord]) -> AllowedLabels:
    """Those of the data set's vocabulary; where it has none, those of fields, and what annotators wrote in sheets.

    What tables of cells said before does not count: a typo must not become usual by being read once.

    Args:
        store: The atlas' tables.
        dataset: Name of the reader.
        records: What it read now.
    """
    if dataset in {vocabulary.name for vocabulary in list_vocabularies()}:
        return AllowedLabels.of_vocabulary(get_vocabulary(dataset))
    column = store.read("fovs", ["localizations"])["localizations"]
    found = set(pc.unique(pc.list_flatten(column)).to_pylist())
    found |= {label for record in records for label in record.localizations}
    found |= {label for a in read_annotations(store) if not a.is_given for label in a.localizations}
    return AllowedLabels(found, "the labels this atlas uses")
