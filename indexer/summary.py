"""What an index or embed run did. Pure."""

from dataclasses import asdict, dataclass, field
from typing import Any

from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.quarantine import Rejection

__all__ = ["IndexSummary", "Maintained", "Segmented"]


@dataclass(slots=True)
class Segmented:
    """What the search for cells did.

    Attributes:
        fields: Fields that were searched.
        cells: Cells that were found in them.
        empty: Fields among them without any.
        unchanged: Fields that were searched before, unchanged.
        uncovered: Ids of fields that the given masks or table say nothing of.
        replaced: Cells of before that are not there any more.
        segmenters: Fields by what found their cells.
    """

    fields: int = 0
    cells: int = 0
    empty: int = 0
    unchanged: int = 0
    uncovered: list[str] = field(default_factory=list)
    replaced: int = 0
    segmenters: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Maintained:
    """What was done on the way so that files stay few.

    Attributes:
        merged: How often the fragments of a table were merged.
        versions: Old versions of tables that were removed.
        freed_bytes: On disk.
    """

    merged: int = 0
    versions: int = 0
    freed_bytes: int = 0


@dataclass(slots=True)
class IndexSummary:
    """What an index or embed run did.

    Attributes:
        fovs: Images in the atlas at level fov, after the run.
        cells: Images at level cell, after the run.
        embedded: Vectors made.
        from_pack: Images, or fields of cells, whose pixels were read decoded (`locatlas pack`).
        skipped: Images that were there already, unchanged.
        updated: Images whose metadata changed while the pixels did not.
        labelled: Images of this reading that have a localization; None where no source was read.
        gone: Ids whose files are not there any more; they stay, unless they are pruned.
        quarantined: Sources of this data set that cannot be used, now or from an earlier run.
        encoders: Encoder by level.
        superseded: The encoder that was current until this run made another one so, by level.
        qc: Images embedded in this run by QC flag.
        segmented: What the search for cells did.
        dropped: Cells that the encoder's crop plan makes no vector of, because of the border.
        cell_qc: Cells found in this run by QC flag.
        maintained: What was done so that files stay few.
        timings_s: Seconds by stage.
        profile: Where the seconds of embedding went (`profile.Profile.to_dict`); None where nobody asked.
    """

    fovs: int = 0
    cells: int = 0
    embedded: int = 0
    from_pack: int = 0
    skipped: int = 0
    updated: int = 0
    labelled: int | None = None
    gone: list[str] = field(default_factory=list)
    quarantined: list[Rejection] = field(default_factory=list)
    encoders: dict[str, StoredEncoder] = field(default_factory=dict)
    superseded: dict[str, StoredEncoder] = field(default_factory=dict)
    qc: dict[str, int] = field(default_factory=dict)
    segmented: Segmented = field(default_factory=Segmented)
    dropped: int = 0
    cell_qc: dict[str, int] = field(default_factory=dict)
    maintained: Maintained = field(default_factory=Maintained)
    timings_s: dict[str, float] = field(default_factory=dict)
    profile: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of `index` and `embed`; `encoder` is the one of the FOVs where both levels have one."""
        by_level, before = (
            {
                level: {"name": e.spec.name, "fingerprint": e.fingerprint, "state": e.state, "dim": e.spec.dim}
                for level, e in sorted(found.items())
            }
            for found in (self.encoders, self.superseded)
        )
        first = by_level.get("fov") or by_level.get("cell")
        return {
            "fovs": self.fovs,
            "cells": self.cells,
            "embedded": self.embedded,
            "from_pack": self.from_pack,
            "skipped": self.skipped,
            "updated": self.updated,
            "labelled": self.labelled,
            "gone": self.gone,
            "quarantined": [{"source": r.source, "reason": r.reason} for r in self.quarantined],
            "encoder": first,
            "encoders": by_level,
            "superseded": before,
            "qc": self.qc,
            "segmented": asdict(self.segmented),
            "dropped": self.dropped,
            "cell_qc": self.cell_qc,
            "maintained": asdict(self.maintained),
            "timings_s": self.timings_s,
            "profile": self.profile,
        }
