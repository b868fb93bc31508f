"""Kept views: what they hold is what would be built from the tables now, or they are not used."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import locatlas
from locatlas.indexer.indices.sidecar import blake2b
from locatlas.indexer.maintain import maintain
from locatlas.indexer.store import cache_entries, row_cache, vector_cache
from locatlas.indexer.store.encoders import StoredEncoder, stored_encoders
from locatlas.indexer.store.schema import CELLS, FOVS
from locatlas.indexer.store.tables import Store
from locatlas.indexer.verify.run import verify
from locatlas.query.asking import view_cache
from locatlas.query.asking.shelf import Shelf
from locatlas.query.asking.view import NOT_READ, View
from locatlas.query.asking.warm import prepare_questions
from tests.indexer.verify.whole import flip
from tests.query.asking.test_view import image, pair, table
from tests.query.made_atlas import encoder, make_atlas
from tests.quick import some

TABLE = StoredEncoder("cell", encoder(), "current").table
PARTS = ["codes.arrow", "meta.arrow", "names.arrow"]


@pytest.fixture
def atlas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(vector_cache, "CACHE_FROM_BYTES", 1)
    return make_atlas(tmp_path / "atlas")


def views(atlas: Path) -> list[Path]:
    """Entries of views of cells."""
    return sorted(path.parent for path in (atlas / "cache" / TABLE).glob("[!.]*/meta.arrow"))


def same(atlas: Path, *, kept: bool) -> View:
    """What a question looks at is what is built without any cache, and it was built or not."""
    built = []
    with pytest.MonkeyPatch.context() as patch:
        build = View.build.__func__  # type: ignore[attr-defined]
        patch.setattr(View, "build", classmethod(lambda cls, *args: built.append(1) or build(cls, *args)))
        view = Shelf(Store.open(atlas)).load("cell", None).view
    assert (not built) is kept
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vector_cache, "_open", lambda *_: None)
        patch.setattr(vector_cache, "has_room", lambda *_: False)
        plain = Shelf(Store.open(atlas)).load("cell", None).view
    assert view.meta.equals(plain.meta)
    np.testing.assert_array_equal(view.vectors, plain.vectors)
    for column in ("id", "fov", "protein"):
        assert view.coded(column).known.equals(plain.coded(column).known)
        np.testing.assert_array_equal(view.coded(column).of_row, plain.coded(column).of_row)
    return view


def rewrite(atlas: Path, table: str, column: str, value: object) -> None:
    """Commit one row of a table with another value."""
    store = Store.open(atlas)
    with store.folder.writer("a test"):
        row = store.read(table).slice(0, 1).to_pylist()[0] | {column: value}
        store.upsert(table, pa.Table.from_pylist([row], schema=store._schema(table)))


def test_the_first_question_writes_it_and_the_second_maps_it(atlas: Path) -> None:
    same(atlas, kept=False)
    assert [sorted(p.name for p in entry.iterdir()) for entry in views(atlas)] == [sorted([*PARTS, "entry.json"])]
    same(atlas, kept=True)


@pytest.mark.parametrize("ask", [{"id": "d/00/1"}, {"protein": "P2"}, {"id": "d/00/1", "exclude": "fov"}])
def test_answers_are_those_without_it(atlas: Path, ask: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    kept = [locatlas.open(atlas).neighbors(**ask, level="cell", k=5) for _ in range(2)]
    assert views(atlas)
    monkeypatch.setattr(vector_cache, "CACHE_FROM_BYTES", 1 << 40)
    cache_entries.drop_cache(Store.open(atlas).folder, TABLE)
    plain = locatlas.open(atlas).neighbors(**ask, level="cell", k=5)
    assert kept[0].equals(plain)
    assert kept[1].equals(plain)
    assert kept[1].schema.metadata == plain.schema.metadata


@pytest.mark.parametrize("column", ["protein", "localizations"])
def test_a_commit_to_the_images_alone_makes_it_stale(atlas: Path, column: str) -> None:
    same(atlas, kept=False)
    (before,) = views(atlas)
    rewrite(atlas, "cells", column, "Z9" if column == "protein" else ["Cytosol", "ER"])
    view = same(atlas, kept=False)
    assert view.meta[column][0].as_py() in ("Z9", ["Cytosol", "ER"])
    (after,) = views(atlas)
    assert after != before, "the one of the older state is gone"
    same(atlas, kept=True)


def test_a_commit_to_fields_makes_that_of_cells_stale(atlas: Path) -> None:
    same(atlas, kept=False)
    rewrite(atlas, "fovs", "plate", "another")
    same(atlas, kept=False)
    same(atlas, kept=True)


def test_a_running_atlas_sees_a_commit(atlas: Path) -> None:
    held = locatlas.open(atlas)
    assert held.neighbors(id="d/00/1", level="cell", k=1).num_rows == 1
    rewrite(atlas, "cells", "protein", "Z9")
    assert "Z9" in held.view("cell").names("protein")


def test_a_commit_while_the_view_is_built_is_not_kept_under_its_name(
    atlas: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = View.build.__func__  # type: ignore[attr-defined]

    def slow(cls: type[View], *args: object) -> View:
        monkeypatch.setattr(View, "build", classmethod(build))
        rewrite(atlas, "cells", "protein", "Z9")
        return build(cls, *args)

    monkeypatch.setattr(View, "build", classmethod(slow))
    Shelf(Store.open(atlas)).load("cell", None)
    assert views(atlas) == []
    same(atlas, kept=False)
    same(atlas, kept=True)


def test_images_that_changed_since_are_left_out_and_nothing_is_kept(
    atlas: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StoredEncoder, "is_imported", property(lambda _: False))
    rewrite(atlas, "cells", "source_digest", "other pixels")
    loaded = Shelf(Store.open(atlas)).load("cell", None)
    assert loaded.n_stale == 1
    assert views(atlas) == []


def test_a_table_in_the_place_of_another_with_the_same_version_is_not_taken_for_it(atlas: Path, tmp_path: Path) -> None:
    same(atlas, kept=False)
    other = make_atlas(tmp_path / "other")
    rewrite(other, "cells", "protein", "Z9")
    rewrite(atlas, "cells", "protein", "Y8")
    same(atlas, kept=False)
    folder = Path("db") / "cells.lance"
    (atlas / folder).rename(tmp_path / "away")
    (other / folder).rename(atlas / folder)
    same(atlas, kept=False)


@pytest.mark.parametrize("end", some([*PARTS, "entry.json"], 0, -1))
def test_a_flipped_bit_is_found_and_mended(atlas: Path, end: str) -> None:
    same(atlas, kept=False)
    path = views(atlas)[0] / end
    flip(path, path.stat().st_size // 2, 2)
    (found,) = [f for f in verify(atlas=atlas).findings if f.kind == "cache damaged"]
    assert path.parent.name in found.where
    verify(atlas=atlas, repair=True)
    assert not [f for f in verify(atlas=atlas).findings if f.kind == "cache damaged"]
    same(atlas, kept=False)


@pytest.mark.parametrize("end", some([*PARTS, "entry.json"], 0, -1))
def test_one_that_is_cut_short_or_gone_is_not_used(atlas: Path, end: str) -> None:
    same(atlas, kept=False)
    path = views(atlas)[0] / end
    path.write_bytes(path.read_bytes()[:-1])
    assert [f.kind for f in verify(atlas=atlas, quick=True).findings if f.severity == "damage"] == ["cache damaged"]
    same(atlas, kept=False)
    (views(atlas)[0] / end).unlink()
    same(atlas, kept=False)
    same(atlas, kept=True)


def test_an_atlas_that_cannot_be_written_answers_as_well(atlas: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_entries.os, "access", lambda *_: False)
    first = locatlas.open(atlas).neighbors(id="d/00/1", level="cell", k=5)
    assert not (atlas / "cache").exists()
    monkeypatch.undo()
    monkeypatch.setattr(vector_cache, "CACHE_FROM_BYTES", 1)
    assert locatlas.open(atlas).neighbors(id="d/00/1", level="cell", k=5).equals(first)


def test_encoders_are_kept_and_read_again_after_each_commit(atlas: Path) -> None:
    same(atlas, kept=False)
    Store.open(atlas).read("encoders")
    (entry,) = (atlas / "cache" / "encoders").glob("[!.]*")
    before = stored_encoders(Store.open(atlas))
    rewrite(atlas, "encoders", "state", "superseded")
    changed = stored_encoders(Store.open(atlas))
    assert sorted(e.state for e in changed) != sorted(e.state for e in before)
    (after,) = (atlas / "cache" / "encoders").glob("[!.]*")
    assert after != entry


def test_encoders_whose_kept_bytes_changed_are_read_from_their_table_and_kept_anew(atlas: Path) -> None:
    same(atlas, kept=False)
    before = Store.open(atlas).read("encoders")
    (path,) = (atlas / "cache" / "encoders").glob("[!.]*/rows.arrow")
    data = path.read_bytes()
    assert data.count(b"current") == 2
    path.write_bytes(data.replace(b"current", b"current"[::-1]))
    assert Store.open(atlas).read("encoders").equals(before)
    assert path.read_bytes() == data


@pytest.mark.parametrize("table", ["cells", "encoders"])
def test_entries_of_older_states_that_cannot_be_removed_stay_and_the_question_is_answered(
    atlas: Path, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    same(atlas, kept=False)

    def refused(entry: Path) -> None:
        raise PermissionError(1, "Operation not permitted", str(entry))

    rewrite(atlas, table, "protein" if table == "cells" else "name", "Z9")
    for module in (view_cache, row_cache):
        monkeypatch.setattr(module, "remove_entry", refused)
    same(atlas, kept=table == "encoders")
    same(atlas, kept=True)


def test_maintain_removes_nothing_that_is_of_use(atlas: Path) -> None:
    same(atlas, kept=False)
    maintain(atlas=atlas)
    same(atlas, kept=True)


def test_prepared_by_a_command_the_first_question_opens_no_table(atlas: Path) -> None:
    """In a process of its own, which imports neither Lance nor pandas; the answer is that of this process."""
    prepare_questions(atlas, ("fov", "cell", "neither"))
    script = (
        "import sys, locatlas; "
        f"found = locatlas.open({str(atlas)!r}).neighbors(id='d/00/1', level='cell', k=5); "
        "print(sorted({'lance', 'lancedb', 'pandas', 'torch', 'sklearn'} & set(sys.modules))); "
        "print(found['id'].to_pylist())"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    asked = locatlas.open(atlas).neighbors(id="d/00/1", level="cell", k=5)
    assert ran.stdout.splitlines() == ["[]", str(asked["id"].to_pylist())]


MADE = {1: "5e58fb1db98feffa943768866b9b723a"}
"""Digest of what `View.build` makes of the rows below, by `_MADE_AS`."""


def test_other_columns_of_the_same_rows_raise_the_number_that_names_entries() -> None:
    """Fails when `View.build` changes: raise `view_cache._MADE_AS` and put the digest here, beside those of before."""
    rows = [
        image(f"d/{n}", **said, groups=[pair("plate", f"g{n}"), pair("batch", "b")], metadata=[pair("dye", f"x{n}")])
        for n, said in enumerate([{"plate": "p", "protein": "P", "graded": [{"localization": "er", "grade": 3}]}, {}])
    ]
    made = []
    for level, schema in (("fov", FOVS), ("cell", CELLS)):
        cells = [row | {"fov_id": "d/f"} for row in rows]
        wanted = [name for name in schema.names if name not in NOT_READ]
        images = table(cells, schema).select(wanted)
        meta = View.build(level, [row["id"] for row in rows], np.ones((2, 2), np.float32), images).meta
        made.append([[[f.name, str(f.type)] for f in meta.schema], meta.to_pylist()])
    digest = blake2b(json.dumps(made, sort_keys=True).encode())
    assert MADE.get(view_cache._MADE_AS) == digest
