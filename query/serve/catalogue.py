"""The names of an atlas - proteins, aliases, localizations, ids - to list, suggest and count. Pure."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["COLUMNS", "Catalogue", "Named", "aliases_of"]

COLUMNS = ("id", "dataset", "protein", "ensembl_id", "localizations", "metadata", "channels")
"""Columns of the image tables that a catalogue is made from."""

_ALIASES = frozenset({"alias", "aliases", "gene_synonym", "gene_synonyms", "synonym", "synonyms"})
"""Names of a source's metadata columns that hold other names of a protein."""

_BETWEEN = re.compile(r"[;,|]")


@dataclass(slots=True)
class Named:
    """One protein of an atlas.

    Attributes:
        protein: Its name.
        ensembl: Its Ensembl ids, sorted; several where data sets disagree.
        aliases: Other names that the sources give, sorted.
        n_fovs: Fields of it.
        n_cells: Cells of it.
        localizations: Of its images, joined, sorted.
        datasets: Data sets that have it, sorted.
    """

    protein: str
    ensembl: list[str] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)
    n_fovs: int = 0
    n_cells: int = 0
    localizations: list[str] = field(default_factory=list)
    datasets: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {name: getattr(self, name) for name in self.__slots__}


def aliases_of(metadata: Sequence[dict[str, str]]) -> set[str]:
    """Other names of a protein among the metadata of an image of it."""
    texts = [pair["value"] for pair in metadata if pair["name"].lower().replace(" ", "_") in _ALIASES]
    return {part.strip() for text in texts for part in _BETWEEN.split(text) if part.strip()}


@dataclass(frozen=True, eq=False)
class Catalogue:
    """What an atlas has names for.

    Attributes:
        proteins: By name, sorted.
        localizations: Images by localization, sorted by name.
        channels: By data set the lists of channels that its images have, the most frequent first.
        ids: Of all images, FOVs first, each level sorted.
    """

    proteins: dict[str, Named]
    localizations: dict[str, int]
    channels: dict[str, list[list[str]]]
    ids: pa.Array

    @classmethod
    def of(cls, fovs: pa.Table, cells: pa.Table) -> "Catalogue":
        """The catalogue of these images.

        Args:
            fovs: Rows of `fovs` with `COLUMNS`, sorted by id.
            cells: Rows of `cells`, likewise.
        """
        found: dict[str, Named] = {}
        sets: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        counted: Counter[str] = Counter()
        channels: dict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
        for count, table in (("n_fovs", fovs), ("n_cells", cells)):
            for said, n in _distinct(table):
                counted.update(dict.fromkeys(said["localizations"], n))
                channels[said["dataset"]][tuple(said["channels"])] += n
                if (protein := said["protein"]) is None:
                    continue
                one = found.setdefault(protein, Named(protein))
                setattr(one, count, getattr(one, count) + n)
                sets[protein]["localizations"].update(said["localizations"])
                sets[protein]["datasets"].add(said["dataset"])
                sets[protein]["aliases"].update(aliases_of(said["metadata"]))
                sets[protein]["ensembl"].update([said["ensembl_id"]] if said["ensembl_id"] else ())
        for protein, known in sets.items():
            for name, values in known.items():
                setattr(found[protein], name, sorted(values))
        ids = pa.concat_arrays(
            [t["id"].combine_chunks() for t in (fovs, cells) if len(t)] or [pa.array([], pa.string())]
        )
        return cls(
            {name: found[name] for name in sorted(found)},
            dict(sorted(counted.items())),
            {name: [list(c) for c, _ in channels[name].most_common()] for name in sorted(channels)},
            ids,
        )

    def page(self, query: str, localization: str | None) -> list[Named]:
        """Proteins whose name, alias or Ensembl id has the text, and that are in the localization; by name."""
        wanted = _folded(query)
        return [
            one
            for one in self.proteins.values()
            if (localization is None or localization in one.localizations)
            and any(wanted in _folded(name) for name in (one.protein, *one.aliases, *one.ensembl))
        ]

    def suggest(self, query: str, limit: int) -> list[dict[str, Any]]:
        """Names that begin with the text, whatever its case, then those that have it inside.

        Args:
            query: What somebody typed; nothing suggests nothing.
            limit: Most suggestions.

        Returns:
            kind (protein, alias, localization or id), text, protein (of an alias); of names that fit as well, proteins
            come first, then aliases, localizations and ids, and shorter ones before longer.
        """
        wanted = _folded(query.strip())
        if not wanted:
            return []
        fits = [
            (not _folded(said["text"]).startswith(wanted), rank, len(said["text"]), said["text"], said)
            for rank, said in self._named()
            if wanted in _folded(said["text"])
        ]
        chosen = [said for *_, said in sorted(fits, key=lambda one: one[:4])][:limit]
        chosen += [{"kind": "id", "text": one, "protein": None} for one in self._ids(wanted, limit)]
        # those that begin with it before those that have it inside, ids too
        return sorted(chosen, key=lambda said: not _folded(said["text"]).startswith(wanted))[:limit]

    def _named(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for one in self.proteins.values():
            yield 0, {"kind": "protein", "text": one.protein, "protein": one.protein}
            for alias in (*one.aliases, *one.ensembl):
                yield 1, {"kind": "alias", "text": alias, "protein": one.protein}
        for name in self.localizations:
            yield 2, {"kind": "localization", "text": name, "protein": None}

    def _ids(self, wanted: str, limit: int) -> list[str]:
        starts = pc.starts_with(self.ids, wanted, ignore_case=True)
        first = self.ids.filter(starts).slice(0, limit).to_pylist()
        if len(first) >= limit:
            return list(first)
        inside = pc.and_not(pc.match_substring(self.ids, wanted, ignore_case=True), starts)
        return [*first, *self.ids.filter(inside).slice(0, limit - len(first)).to_pylist()]


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _distinct(table: pa.Table) -> Iterator[tuple[dict[str, Any], int]]:
    """What rows say beside their id, once for all rows that say the same, and how many they are.

    An atlas of a million cells has some thousand of them, and rows as Python's objects are what would take long.
    """
    names = [name for name in COLUMNS if name != "id"]
    for batch in table.select(names).to_batches(max_chunksize=65_536):
        codes = np.zeros(batch.num_rows, dtype=np.int64)
        for name in names:
            own = _codes(batch.column(name))
            _, codes = np.unique(codes * (int(own.max(initial=0)) + 1) + own, return_inverse=True)
        _, first, counts = np.unique(codes, return_index=True, return_counts=True)
        rows = batch.take(pa.array(first)).to_pylist()
        yield from zip(rows, counts.tolist(), strict=True)


def _codes(column: Any) -> Any:
    """Equal numbers for rows that say the same."""
    kind = column.type
    if pa.types.is_list(kind):
        flat = column.flatten()
        if pa.types.is_struct(kind.value_type):
            parts = [pc.fill_null(flat.field(i), "") for i in range(kind.value_type.num_fields)]
            flat = pc.binary_join_element_wise(*parts, "\x1f")
        joined = pa.ListArray.from_arrays(_offsets(column), flat)
        column = pc.binary_join(joined, "\x1e")
    return pc.fill_null(column, "").dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)


def _offsets(column: Any) -> Any:
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    return pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
