"""What an atlas must hold: rows and vectors in memory, and how what is found differs. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torturing.sources import CHANNELS, EDGE_PX, MASKED_EDGE_PX, Sources, cell_planes, field_id, planes
from torturing.stub import stub_vector

__all__ = ["Difference", "Model", "Plans", "between", "differences"]

Rows = dict[tuple[str, str], Any]
"""(section, id) to what stands there. Sections: fovs, cells, annotated, annotations, encoders, quarantine, and one for
each table of vectors, whose rows are bytes."""


@dataclass(frozen=True, slots=True)
class Plans:
    """Fingerprints by level and plan, as a first run told them; they name encoders, no more.

    Attributes:
        fingerprints: (level, seed of the mapping, or None for the atlas' first plan) to fingerprint.
        dim: Length of vectors.
    """

    fingerprints: Mapping[tuple[str, int | None], str]
    dim: int


@dataclass(frozen=True, slots=True)
class Difference:
    """One row that is not what it must be.

    Attributes:
        kind: "lost", "duplicated", "wrong" or "unexpected".
        where: Section and id.
        text: For people.
    """

    kind: str
    where: tuple[str, str]
    text: str


@dataclass(slots=True)
class Model:
    """What must be there after the last operation that ended.

    Attributes:
        rows: All but vectors.
        tables: (level, fingerprint) to vectors by id.
        states: (level, fingerprint) to state.
        fresh: By level, id of each image that a source gives now, to what decides its pixels.
        said: (cell, annotator) to labels, and what decided the pixels that were looked at.
    """

    rows: Rows = field(default_factory=dict)
    tables: dict[tuple[str, str], dict[str, bytes]] = field(default_factory=dict)
    states: dict[tuple[str, str], str] = field(default_factory=dict)
    fresh: dict[str, dict[str, Any]] = field(default_factory=lambda: {"fov": {}, "cell": {}})
    said: dict[tuple[str, str], tuple[tuple[str, ...], Any]] = field(default_factory=dict)

    def copy(self) -> "Model":
        """Another that can be changed."""
        tables = {key: dict(rows) for key, rows in self.tables.items()}
        fresh = {level: dict(images) for level, images in self.fresh.items()}
        return Model(dict(self.rows), tables, dict(self.states), fresh, dict(self.said))

    def current(self, level: str) -> str | None:
        """Fingerprint of the encoder in use."""
        return next((fp for (at, fp), s in self.states.items() if at == level and s == "current"), None)

    def expected(self) -> Rows:
        """All rows."""
        held = {key: row for key, row in self.rows.items() if key[0] != "imported"}
        for (level, fingerprint), state in self.states.items():
            held["encoders", f"{level}/{fingerprint}"] = state
        for (level, fingerprint), vectors in self.tables.items():
            for i, vector in vectors.items():
                held[f"emb_{level}_{fingerprint[:12]}", i] = vector
        return held

    def index_fields(self, sources: Sources, plans: Plans) -> None:
        """After `index --prune` of the fields."""
        known = {i for section, i in self.rows if section == "fovs" and i.startswith("opencell/")}
        ids = {field_id(n): one for n, one in sources.fields.items()}
        for i in known - ids.keys():
            self._remove("fov", i)
        for key in [k for k in self.rows if k[0] == "quarantine" and k[1].startswith("opencell:")]:
            del self.rows[key]
        for n, one in sources.fields.items():
            i = field_id(n)
            if one.seed is None:
                self.rows["quarantine", f"opencell:OC-FOV_GENE{n}_ENSG{n:011d}_CID{n:06d}_FID{n:08d}_proj.tif"] = True
                continue
            self.rows["fovs", i] = ("opencell", f"GENE{n}", (one.label,))
            self.fresh["fov"][i] = (one.seed, EDGE_PX)
        self._begin("fov", plans)
        self._embed("fov", self.current("fov") or "", plans.dim)

    def index_cells(self, sources: Sources, plans: Plans) -> None:
        """After `index --level both --prune` of the masked fields."""
        known = {i for section, i in self.rows if section == "fovs" and i.startswith("manifest/")}
        for i in known - {f"manifest/{name}" for name in sources.masked}:
            self._remove("fov", i)
            for cell in [c for section, c in self.rows if section == "cells" and c.startswith(f"{i}/")]:
                self._remove("cell", cell)
        for name, one in sources.masked.items():
            i = f"manifest/{name}"
            self.rows["fovs", i] = ("manifest", f"P{name}", (one.label,))
            self.fresh["fov"][i] = (one.seed, MASKED_EDGE_PX)
            now = {f"{i}/{number}": box for number, box in one.boxes}
            for cell in [c for section, c in self.rows if section == "cells" and c.startswith(f"{i}/")]:
                if cell not in now:
                    self._remove("cell", cell)
            for cell, box in now.items():
                self.rows["cells", cell] = (i, box, (one.label,))
                self.fresh["cell"][cell] = (one.seed, box)
        self._agree()
        for level in ("fov", "cell"):
            if self.fresh[level]:
                self._begin(level, plans)
                self._embed(level, self.current(level) or "", plans.dim)

    def annotate(self, decisions: Mapping[str, tuple[str, ...]], who: str) -> None:
        """After one annotator's sheet."""
        for cell, labels in decisions.items():
            self.said[cell, who] = (labels, self.fresh["cell"][cell])
            self.rows["annotations", f"{cell}|{who}"] = labels
        self._agree()

    def _agree(self) -> None:
        """What each cell's annotators say together, of those who saw its present pixels."""
        for key in [key for key in self.rows if key[0] == "annotated"]:
            del self.rows[key]
        for cell, pixels in self.fresh["cell"].items():
            votes = {who: labels for (of, who), (labels, saw) in self.said.items() if (of, saw) == (cell, pixels)}
            if votes:
                # sheets hold one label each: of two annotators both must have chosen it
                chosen = [
                    la
                    for la in sorted(set(sum(votes.values(), ())))
                    if 2 * sum(la in v for v in votes.values()) > len(votes)
                ]
                self.rows["annotated", cell] = (tuple(chosen) if chosen else None, ";".join(sorted(votes)))

    def imported(self, vectors: Mapping[str, bytes], fingerprint: str) -> None:
        """After `import-embeddings` of images that no source has."""
        for i, vector in vectors.items():
            self.rows["fovs", i] = ("imported", i.rpartition("/")[2].upper(), ())
            self.tables.setdefault(("fov", fingerprint), {})[i] = vector
        self.rows["imported", fingerprint] = True
        self.states.setdefault(("fov", fingerprint), "beside")

    def switch(self, level: str, fingerprint: str, dim: int) -> None:
        """After `embed` or `reembed` with an encoder."""
        if not self.fresh[level]:
            return
        if (before := self.current(level)) is not None:
            self.states[level, before] = "superseded"
        self.states[level, fingerprint] = "current"
        self._embed(level, fingerprint, dim)

    def drop_superseded(self) -> None:
        """After `maintain --drop-superseded`; what was imported stays."""
        for key, state in self.states.items():
            if state == "superseded" and not self.is_imported(key[1]):
                self.tables.pop(key, None)

    def unused(self) -> list[str]:
        """Fingerprints of encoders that are current nowhere."""
        return sorted({fp for _, fp in self.states} - {fp for (_, fp), s in self.states.items() if s == "current"})

    def drop_encoder(self, fingerprint: str) -> None:
        """After `maintain --drop-encoder` of one that is current nowhere; one that never was is forgotten."""
        for key in [key for key in self.states if key[1] == fingerprint]:
            self.tables.pop(key, None)
            if self.states[key] != "superseded":
                del self.states[key]

    def is_imported(self, fingerprint: str) -> bool:
        """Whether vectors of this encoder were made elsewhere."""
        return ("imported", fingerprint) in self.rows

    def _begin(self, level: str, plans: Plans) -> None:
        if self.current(level) is None:
            self.states[level, plans.fingerprints[level, None]] = "current"

    def _embed(self, level: str, fingerprint: str, dim: int) -> None:
        table = self.tables.setdefault((level, fingerprint), {})
        for i, source in self.fresh[level].items():
            seed, place = source
            image = planes(seed, place) if isinstance(place, int) else cell_planes(seed, place)
            table[i] = stub_vector(fingerprint, dict(zip(CHANNELS, image, strict=True)), dim).tobytes()

    def _remove(self, level: str, i: str) -> None:
        self.rows.pop(("fovs" if level == "fov" else "cells", i), None)
        self.rows.pop(("annotated", i), None)
        self.fresh[level].pop(i, None)
        for (at, _), table in self.tables.items():
            if at == level:
                table.pop(i, None)


_CHANGING = ("annotated", "encoders", "quarantine")
"""Sections whose rows may be in other states while an operation is under way."""


def differences(expected: Rows, found: Rows, duplicates: Mapping[str, int]) -> list[Difference]:
    """What is not as it must be once an operation has ended."""
    return list(_compared(expected, expected, found, duplicates, under_way=False))


def between(before: Rows, after: Rows, found: Rows, duplicates: Mapping[str, int]) -> list[Difference]:
    """What cannot be while an operation is under way: each row is as before, or as afterwards."""
    return list(_compared(before, after, found, duplicates, under_way=True))


def _compared(
    before: Rows, after: Rows, found: Rows, duplicates: Mapping[str, int], *, under_way: bool
) -> Iterator[Difference]:
    for section, n in duplicates.items():
        if n:
            yield Difference("duplicated", (section, ""), f"{section}: {n} ids occur more than once")
    for key in sorted(before.keys() | after.keys() | found.keys()):
        was, is_to_be, here = before.get(key), after.get(key), found.get(key)
        if under_way and key[0] in _CHANGING:
            continue
        if here is None and was is not None and was == is_to_be:
            yield Difference("lost", key, f"{key[0]}: {key[1]} is not there")
        elif here is not None and here not in (was, is_to_be):
            kind = "unexpected" if was is None and is_to_be is None else "wrong"
            yield Difference(kind, key, f"{key[0]}: {key[1]} is {_shown(here)}, must be {_shown(is_to_be)}")


def _shown(value: Any) -> str:
    return f"{value[:8].hex()}…" if isinstance(value, bytes) else repr(value)
