"""Atlases of older schema versions open, keep what they hold, can be written; the upgrade can be killed anywhere."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pytest

from locatlas.errors import AtlasLockedError, InputError, LocatlasError, SchemaMismatchError, StoreDamagedError
from locatlas.indexer.backup.restore import restore
from locatlas.indexer.backup.run import backup
from locatlas.indexer.store import upgrade as upgrade_module
from locatlas.indexer.store.layout import AtlasFolder
from locatlas.indexer.store.rows import image_rows
from locatlas.indexer.store.schema import CELLS, FOVS, SCHEMA_VERSION
from locatlas.indexer.store.tables import Store
from locatlas.indexer.store.trainings import put_training, training_of
from locatlas.indexer.store.upgrade import upgrade
from locatlas.models.training.manifest import TrainingManifest
from tests.indexer.old_atlases import CELLS_1, FOVS_1, SCHEMAS_1, SCHEMAS_2, make_old, row, upsert
from tests.quick import some


@pytest.fixture
def old(tmp_path: Path) -> AtlasFolder:
    return make_old(tmp_path / "atlas", 1)


def held(folder: AtlasFolder) -> dict[str, list[dict[str, Any]]]:
    """All rows of the image tables as they lie on disk."""
    found = {name: lance.dataset(str(folder.db / f"{name}.lance")).to_table() for name in SCHEMAS_1}
    return {name: table.sort_by("id").to_pylist() for name, table in found.items()}


def versions(folder: AtlasFolder) -> dict[str, int]:
    return {p.stem: lance.dataset(str(p)).version for p in sorted(folder.db.glob("*.lance"))}


def test_only_columns_that_may_be_null_were_added_at_the_end() -> None:
    for old_schema, schema in ((FOVS_1, FOVS), (CELLS_1, CELLS)):
        assert list(schema)[: len(old_schema)] == list(old_schema)
        assert all(field.nullable for field in list(schema)[len(old_schema) :])


def test_an_atlas_of_version_1_opens_with_all_it_held_and_nulls_besides(
    old: AtlasFolder, caplog: pytest.LogCaptureFixture
) -> None:
    before, info = held(old), old.info()
    store = Store.open(old.path)
    assert f"{old.path}: upgraded from schema version 1 to {SCHEMA_VERSION}" in caplog.text
    assert old.info() == {**info, "schema_version": SCHEMA_VERSION}
    for name, schema in (("fovs", FOVS), ("cells", CELLS)):
        rows = store.read(name)
        assert rows.schema.remove_metadata() == schema
        new = schema.names[len(SCHEMAS_1[name]) :]
        assert rows.drop_columns(new).to_pylist() == before[name]
        assert all(rows[column].null_count == len(rows) for column in new)
    assert store.read_vectors("emb_fov_0123456789ab").vectors.tolist() == [[1.0, 2.0]]


def test_an_atlas_of_version_2_opens_with_its_tables_untouched_and_knows_of_no_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_old(tmp_path / "atlas", 2)
    before, info, written = held(folder), folder.info(), versions(folder)
    store = Store.open(folder.path)
    assert f"{folder.path}: upgraded from schema version 2 to {SCHEMA_VERSION}" in caplog.text
    assert folder.info() == {**info, "schema_version": SCHEMA_VERSION}
    assert {name: store.read(name).to_pylist() for name in SCHEMAS_2} == before
    assert versions(folder) == written
    assert training_of(store, "0a" * 32) is None
    manifest = TrainingManifest(
        encoder="m", weights_sha256="0a" * 32, objective="dino", level="cell", group="protein", images=("d/a/1",)
    )
    put_training(store, manifest)
    assert training_of(Store.open(folder.path), "0a" * 32) == manifest


def test_it_is_written_as_any_other_from_then_on(old: AtlasFolder) -> None:
    store = Store.open(old.path)
    changed = row("a", segmenter="given", n_cells=2, cells_digest="1f" * 16)
    store.upsert("fovs", image_rows([changed, row("new", n_cells=0)], "fov"))
    cell = row(
        "a/1", box=[1, 1, 4, 5], region=b"\x01", focus=0.5, annotated=["vesicles"], annotated_by="jane", cell="1"
    )
    store.upsert("cells", image_rows([cell], "cell"))
    fovs = store.read("fovs", ["id", "segmenter", "n_cells", "protein"]).to_pylist()
    assert [(r["id"], r["segmenter"], r["n_cells"]) for r in fovs] == [
        ("d/a", "given", 2),
        ("d/new", None, 0),
        ("d/é", None, None),
    ]
    cells = store.read("cells").to_pylist()
    assert [(r["id"], r["box"], r["annotated"], r["region"]) for r in cells] == [
        ("d/a/1", [1, 1, 4, 5], ["vesicles"], b"\x01"),
        ("d/a/2", None, None, None),
    ]
    store.delete("cells", ["d/a/1"])
    assert store.read("cells", ["id"])["id"].to_pylist() == ["d/a/2"]


def test_the_declared_key_is_kept_so_that_ids_stay_unique(old: AtlasFolder) -> None:
    store = Store.open(old.path)
    for table in SCHEMAS_1:
        metadata = lance.dataset(str(old.db / f"{table}.lance")).schema.field("id").metadata
        assert b"lance-schema:unenforced-primary-key:position" in metadata
    store.compact("cells")
    assert store.count("cells") == 2


def test_a_second_opening_writes_nothing(old: AtlasFolder) -> None:
    Store.open(old.path)
    before, text = versions(old), old.info_path.stat().st_mtime_ns
    Store.open(old.path)
    upgrade(old)
    assert versions(old) == before
    assert old.info_path.stat().st_mtime_ns == text


class KilledError(BaseException):
    pass


@pytest.mark.parametrize("at", some(["copy", "record", "first table", "second table", "version"], 1, 3))
def test_an_upgrade_that_was_killed_goes_on_where_it_stood(
    at: str, old: AtlasFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = held(old)

    def killed(*_: Any, **__: Any) -> None:
        raise KilledError

    real = upgrade_module._add_columns
    with monkeypatch.context() as patch:
        if at == "version":
            patch.setattr(AtlasFolder, "write_info", killed)
        elif at == "copy":
            patch.setattr("locatlas.indexer.backup.files.sync_folder", killed)
        elif at == "record":
            patch.setattr("locatlas.indexer.backup.states.write_atomically", killed)
        else:
            last = "fovs.lance" if at == "first table" else "cells.lance"
            patch.setattr(upgrade_module, "_add_columns", lambda p, s: killed() if p.name == last else real(p, s))
        with pytest.raises(KilledError):
            Store.open(old.path)
    assert old.info()["schema_version"] == 1
    halfway = versions(old)
    store = Store.open(old.path)
    done = {"second table": ("fovs",), "version": ("fovs", "cells")}.get(at, ())
    for table in SCHEMAS_1:
        assert (versions(old)[table] == halfway[table]) == (table in done)
        assert (
            store.read(table).drop_columns(store.read(table).schema.names[len(SCHEMAS_1[table]) :]).to_pylist()
            == before[table]
        )
    assert old.info()["schema_version"] == SCHEMA_VERSION
    assert [p.name for p in (old.path / "before-upgrade").iterdir()] == ["schema-1"]
    assert held(given_back(old)) == before


def given_back(folder: AtlasFolder, name: str = "schema-1") -> AtlasFolder:
    """What was kept, restored."""
    to = folder.path.with_name(f"given back {name}")
    restore(folder.path / "before-upgrade" / name, to=to)
    return AtlasFolder(to)


@pytest.mark.parametrize("version", [1, 2])
def test_what_an_atlas_was_is_kept_at_next_to_no_cost_and_can_be_had_again(version: int, tmp_path: Path) -> None:
    folder = make_old(tmp_path / "atlas", version)
    before, info, written = held(folder), folder.info(), versions(folder)
    Store.open(folder.path)
    assert not list((folder.path / "before-upgrade").glob("*/files/*/*.lance"))
    again = given_back(folder, f"schema-{version}")
    assert (held(again), again.info(), versions(again)) == (before, info, written)
    Store.open(again.path)  # and can be upgraded as the first
    assert {name: Store.open(again.path).read(name) for name in SCHEMAS_1} == {
        name: Store.open(folder.path).read(name) for name in SCHEMAS_1
    }


def test_kept_is_what_was_there_last_and_what_was_kept_before_stays(old: AtlasFolder) -> None:
    """Somebody goes back by hand, works on with the older locatlas, and upgrades again."""
    first = held(old)
    Store.open(old.path)
    shutil.move(given_back(old).path / "db", old.path / "db of before")
    shutil.rmtree(old.db)
    (old.path / "db of before").rename(old.db)
    old.write_info({**old.info(), "schema_version": 1})
    upsert(old, "fovs", [row("b")], version=1)
    second = held(old)
    Store.open(old.path)
    assert held(given_back(old, "schema-1-2")) == second
    assert len(second["fovs"]) == len(first["fovs"]) + 1


def test_an_old_atlas_is_backed_up_as_it_is_without_being_upgraded(old: AtlasFolder, tmp_path: Path) -> None:
    before = held(old)
    backup(atlas=old.path, to=tmp_path / "backup")
    assert old.info()["schema_version"] == 1
    restore(tmp_path / "backup", to=tmp_path / "again")
    assert held(AtlasFolder(tmp_path / "again")) == before
    old.write_info({**old.info(), "schema_version": SCHEMA_VERSION + 1})
    assert backup(atlas=old.path, to=tmp_path / "backup").new  # and so is one of a newer version


def test_a_lost_data_file_does_not_keep_the_rest_from_being_opened(old: AtlasFolder) -> None:
    for path in (old.db / "emb_fov_0123456789ab.lance" / "data").iterdir():
        path.unlink()
    assert Store.open(old.path).count("fovs") == 2
    with pytest.raises(StoreDamagedError, match="missing or not what was copied"):
        given_back(old)


def test_tables_that_were_never_made_are_no_obstacle(tmp_path: Path) -> None:
    folder = AtlasFolder.create(tmp_path / "atlas", {"schema_version": 1})
    (folder.db / "cells.lance" / "_versions").mkdir(parents=True)  # a killed making
    store = Store.open(folder.path)
    assert store.tables() == []
    store.upsert("cells", image_rows([row("a/1")], "cell"))
    assert store.count("cells") == 1


def test_a_table_with_other_columns_stops_it_and_names_the_table(old: AtlasFolder) -> None:
    shutil.rmtree(old.db / "cells.lance")
    lance.write_dataset(CELLS_1.empty_table().drop_columns(["plate"]), str(old.db / "cells.lance"))
    with pytest.raises(SchemaMismatchError, match=r"cells\.lance: has other columns than its schema version says"):
        Store.open(old.path)
    assert old.info()["schema_version"] == 1


def test_a_damaged_table_is_named(old: AtlasFolder) -> None:
    for path in (old.db / "fovs.lance" / "_versions").glob("*.manifest"):
        path.write_bytes(b"")
    with pytest.raises(
        StoreDamagedError, match=r"fovs\.lance: cannot be opened \(.*\); the atlas was not upgraded$"
    ) as caught:
        Store.open(old.path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("version", "advice"),
    [(SCHEMA_VERSION + 1, "; a newer one made it: install that"), (0, ""), (-1, ""), ("1", ""), (None, ""), (True, "")],
)
def test_other_versions_are_refused(version: Any, advice: str, old: AtlasFolder) -> None:
    old.write_info({**old.info(), "schema_version": version})
    message = f"atlas of schema version {version}; this locatlas reads versions 1 to {SCHEMA_VERSION}{advice}"
    with pytest.raises(LocatlasError, match=message + "$"):
        Store.open(old.path)
    assert json.loads(old.info_path.read_text())["schema_version"] == version


def test_a_reader_who_may_not_write_gets_one_line(old: AtlasFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("locatlas.indexer.store.layout.FileLock.acquire", forbidden)
    message = f"version 1 must first be upgraded to {SCHEMA_VERSION} by somebody who may write it: .*Permission denied"
    with pytest.raises(InputError, match=message) as caught:
        Store.open(old.path)
    assert "\n" not in str(caught.value)
    assert old.info()["schema_version"] == 1


def test_a_writer_at_work_is_waited_for_and_then_told(old: AtlasFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upgrade_module, "WAIT_S", 0.0)
    message = f"must first be upgraded to {SCHEMA_VERSION}; .*another writer .*`index elsewhere`"
    with old.writer("index elsewhere"), pytest.raises(AtlasLockedError, match=message):
        Store.open(old.path)
    Store.open(old.path)


def test_an_upgrade_by_somebody_else_meanwhile_is_taken_as_done(
    old: AtlasFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes open the same old atlas: the second finds it locked, and then of the right version."""
    real = AtlasFolder.writer
    calls: Iterator[str] = iter(["locked"])

    def busy_once(self: AtlasFolder, command: str) -> Any:
        if next(calls, None):
            with real(self, "upgrade elsewhere"):
                for name, schema in (("fovs", FOVS), ("cells", CELLS)):
                    upgrade_module._add_columns(self.db / f"{name}.lance", schema)
                self.write_info({**self.info(), "schema_version": SCHEMA_VERSION})
            raise AtlasLockedError("busy")
        pytest.fail("asked for the lock again")

    monkeypatch.setattr(AtlasFolder, "writer", busy_once)
    assert np.array_equal(Store.open(old.path).read("fovs", ["id"])["id"].to_pylist(), ["d/a", "d/é"])
