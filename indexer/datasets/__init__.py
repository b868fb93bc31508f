"""Readers of data sets: from folders and tables to image records, without reading pixels."""

from locatlas.indexer.datasets.registry import DatasetSpec, get_dataset, list_datasets, read_records

__all__ = ["DatasetSpec", "get_dataset", "list_datasets", "read_records"]
