"""Arrow tables in files that are mapped into memory: columns that nobody looks at are never read. I/O."""

from pathlib import Path

import pyarrow as pa

__all__ = ["mapped_table", "read_table", "write_table"]


def mapped_table(path: Path) -> pa.Table:
    """The table in a file; it stays readable when the file is deleted.

    Raises:
        OSError: If the file cannot be opened.
        pyarrow.ArrowException: If it is no such table.
    """
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
    table.validate()  # that buffers have their lengths, which reads next to nothing of them
    return table


def read_table(data: bytes) -> pa.Table:
    """The table in the bytes of a file, whole ones."""
    return pa.ipc.open_file(pa.py_buffer(data)).read_all()


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table, each column in one piece.

    Raises:
        OSError: If it cannot be written.
    """
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
