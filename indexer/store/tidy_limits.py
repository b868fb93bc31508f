"""When an atlas is tidied on its own while it is written. Data; docs/reliability.md says the same in words."""

__all__ = [
    "COMPACTED_ROWS",
    "DROPPED",
    "FRAGMENTS_BEFORE_COMPACTION",
    "OLD_BYTES_BEFORE_CLEANING",
    "SUPERSEDED_FOR_S",
    "VERSIONS_BEFORE_CLEANING",
]

FRAGMENTS_BEFORE_COMPACTION = 64
"""Small fragments of a table, above which they are merged. Each commit adds a fragment; scans slow down from about a
hundred (measured by LanceDB's own documentation)."""

COMPACTED_ROWS = 32_768
"""Fragments of this many rows are left alone: a merge decodes all that it merges, so the memory that it takes does not
grow with the table, and a long run does not rewrite all each time."""

VERSIONS_BEFORE_CLEANING = 128
"""Versions of a table, above which those that nobody reads any more are removed. Each commit adds one: three files."""

OLD_BYTES_BEFORE_CLEANING = 256 * 2**20
"""Bytes of data that the newest version of a table does not use, above which the same is done."""

SUPERSEDED_FOR_S = 600.0
"""Seconds for which a version stays after it was superseded: readers that have it open are waited for so long."""

DROPPED = ".dropped-"
"""How the name of a table's folder begins while it is deleted: a reader finds all of a table or none of it."""
