"""Two directives: `store-tables` lists the schemas of the store, `document-list` the schemas of JSON documents."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import pyarrow as pa
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from locatlas.cli.documents import DOCUMENTS
from locatlas.indexer.store import schema


def _tables() -> Mapping[str, tuple[pa.Schema, str]]:
    return {
        "fovs": (schema.FOVS, "One row a field of view."),
        "cells": (schema.CELLS, "One row a cell: cut out of a field, or an image of its own."),
        "emb_<level>_<fingerprint12>": (schema.embedding_schema(384), "One row a vector; the width is the encoder's."),
        "encoders": (schema.ENCODERS, "One row an encoder at a level."),
        "segmenters": (schema.SEGMENTERS, "One row for each way cells were found."),
        "trainings": (schema.TRAININGS, "One row a training of weights."),
        "annotations": (schema.ANNOTATIONS, "One row for each image that one person looked at."),
        "benchmarks": (schema.BENCHMARKS, "One row a measurement of a grid."),
        "runs": (schema.RUNS, "One row a run of a command that wrote."),
        "quarantine": (schema.QUARANTINE, "One row a source that could not be used."),
    }


class _Markdown(SphinxDirective, ABC):
    """Lines of Markdown in place of the directive."""

    @abstractmethod
    def lines(self) -> list[str]:
        """The Markdown."""

    def run(self) -> list[nodes.Node]:
        """For Sphinx."""
        container = nodes.container()
        self.state.nested_parse(StringList(self.lines(), "made"), self.content_offset, container, match_titles=True)
        return container.children


class StoreTables(_Markdown):
    """Columns of each table with their types."""

    def lines(self) -> list[str]:
        """The Markdown."""
        out = [f"Schema version {schema.SCHEMA_VERSION}.", ""]
        for name, (columns, said) in _tables().items():
            out += [f"## `{name}`", "", said, "", "| column | type | may be null |", "|---|---|---|"]
            out += [f"| `{f.name}` | `{f.type}` | {'yes' if f.nullable else 'no'} |" for f in columns]
            out.append("")
        return out


class DocumentList(_Markdown):
    """Commands with the schema of their document."""

    def lines(self) -> list[str]:
        """The Markdown."""
        out = ["| command | document | schema |", "|---|---|---|"]
        for command, model in DOCUMENTS.items():
            what = (model.__doc__ or "").strip().splitlines()[0]
            name = command.replace("annotate-", "annotate ")
            out.append(f"| `{name}` | {what} | [{command}.json](/schemas/{command}.json) |")
        return out


def setup(app: Sphinx) -> Mapping[str, bool]:
    """For Sphinx."""
    app.add_directive("store-tables", StoreTables)
    app.add_directive("document-list", DocumentList)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
