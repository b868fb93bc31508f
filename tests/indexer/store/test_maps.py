"""The table of maps: written whole, covered by digests, verified, repaired, backed up, dropped with its encoder."""

import datetime as dt
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from locatlas.errors import StoreDamagedError
from locatlas.indexer.backup.restore import restore
from locatlas.indexer.backup.run import backup
from locatlas.indexer.maintain import maintain
from locatlas.indexer.store import encoders
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.maps import MapKey, StoredMap, drop_maps, map_rows, put_map, stored_map, vector_digests
from locatlas.indexer.store.schema import MAPS
from locatlas.indexer.store.tables import Store
from locatlas.indexer.verify.run import verify
from locatlas.models.spec import EncoderSpec
from locatlas.query.atlas import open_atlas
from tests.query.made_atlas import encoder, make_atlas

KEY = MapKey("fov", None, encoder().fingerprint, "pca")


def made(n: int = 5, key: MapKey = KEY) -> StoredMap:
    rng = np.random.default_rng(n)
    return StoredMap(
        key=key,
        encoder="made",
        seed=3,
        params={"n_neighbors": 15},
        used={"later": "by the same projection"},
        versions={"numpy": "2"},
        at=dt.datetime(2026, 11, 29, tzinfo=dt.UTC),
        ids=[f"d/{i}" for i in range(n)],
        xy=rng.normal(size=(n, 2)).astype(np.float32),
        placed=np.arange(n) % 2 == 0,
        vectors=rng.integers(-(2**63), 2**63 - 1, size=n),
        model={"mean": rng.normal(size=4), "axes": rng.normal(size=(2, 4))},
    )


def put(store: Store, *maps: StoredMap) -> None:
    with store.folder.writer("a test"):
        for one in maps:
            put_map(store, one)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(make_atlas(tmp_path / "atlas"))
    put(store, made())
    return store


def test_a_map_is_given_back_as_it_was(store: Store) -> None:
    found, was = stored_map(store, KEY), made()
    assert found is not None
    assert (found.key, found.ids, found.params, found.used, found.at) == (KEY, was.ids, was.params, was.used, was.at)
    for name in ("xy", "placed", "vectors"):
        assert np.array_equal(getattr(found, name), getattr(was, name)), name
        assert getattr(found, name).dtype == getattr(was, name).dtype
    assert all(np.array_equal(found.model[name], was.model[name]) for name in ("mean", "axes"))


def test_a_map_replaces_the_one_before_in_one_commit(store: Store) -> None:
    before = store.version("maps")
    put(store, made(7))
    assert store.version("maps") == before + 1
    assert store.count("maps") == 1
    found = stored_map(store, KEY)
    assert found is not None
    assert len(found.ids) == 7


def test_there_is_none_where_none_was_made(store: Store) -> None:
    assert stored_map(store, replace(KEY, method="umap")) is None


def test_parts_that_do_not_fit_are_damage(store: Store) -> None:
    put(store, replace(made(), placed=np.zeros(4, dtype=np.bool_)))
    with pytest.raises(StoreDamagedError, match=r"has 5 ids, 10 coordinates; `locatlas map --refit`"):
        stored_map(store, KEY)
    refitted = open_atlas(store.folder.path).map("fov", refit=True)
    assert stored_map(store, KEY) is not None
    assert len(refitted) == 18


def test_digests_of_vectors_tell_every_bit(rng: np.random.Generator) -> None:
    vectors = rng.normal(size=(20, 6)).astype(np.float32)
    changed = vectors.copy()
    changed[7, 3] = np.nextafter(changed[7, 3], np.float32(9))
    assert np.flatnonzero(vector_digests(vectors) != vector_digests(changed)).tolist() == [7]
    assert np.array_equal(vector_digests(vectors[4:6]), vector_digests(vectors)[4:6])


def test_verify_knows_the_table_and_finds_every_flip(store: Store) -> None:
    atlas = store.folder.path
    assert verify(atlas=atlas).findings == []
    files = sorted(p for p in (atlas / "db" / "maps.lance").rglob("*") if p.is_file())
    assert {p.parent.name for p in files} >= {"data", "_versions", "_transactions"}
    for path in files:
        data = path.read_bytes()
        for at in (0, len(data) // 2, len(data) - 1):
            path.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
            report = verify(atlas=atlas)
            assert report.damage, path
            path.write_bytes(data)
    assert verify(atlas=atlas).findings == []


def test_a_damaged_map_is_set_aside_and_the_command_that_makes_it_again_is_named(store: Store) -> None:
    path = next((store.folder.db / "maps.lance" / "data").glob("*.lance"))
    path.write_bytes(path.read_bytes()[:-9])
    assert any("the next `locatlas map` draws again" in f.do for f in verify(atlas=store.folder.path).findings)
    verify(atlas=store.folder.path, repair=True)
    told = [(f.severity, f.kind, f.where) for f in verify(atlas=store.folder.path).findings]
    assert told == [("note", "rows taken out", "maps")]
    assert stored_map(store, KEY) is None
    put(store, made())
    assert verify(atlas=store.folder.path).findings == []
    assert stored_map(store, KEY) is not None


def test_a_map_of_an_unknown_encoder_is_told_and_deleted_by_a_repair(store: Store) -> None:
    put(store, made(3, replace(KEY, fingerprint="0f" * 32)))
    found = verify(atlas=store.folder.path).findings
    told = [(f.severity, f.kind, list(f.items)) for f in found]
    assert told == [("warning", "orphan maps", [f"fov/{'0f' * 32}/pca"])]
    verify(atlas=store.folder.path, repair=True)
    assert verify(atlas=store.folder.path).findings == []
    assert [row["id"] for row in map_rows(store)] == [KEY.id]


def test_a_backup_has_the_maps(store: Store, tmp_path: Path) -> None:
    backup(atlas=store.folder.path, to=tmp_path / "backup")
    restore(tmp_path / "backup", to=tmp_path / "again")
    again = Store.open(tmp_path / "again")
    assert again.read("maps").equals(store.read("maps"))
    assert verify(atlas=tmp_path / "again").findings == []


def superseded(store: Store, *, imported: bool) -> StoredEncoder:
    """Another encoder of the fields, with a vector, that is not in use."""
    spec = EncoderSpec(
        name="a.b",
        architecture=encoders.IMPORTED if imported else "locatlas_pico",
        slots=("protein",),
        input_px=0 if imported else 32,
        embedding_dim=4,
        weights_sha256="imported:b" if imported else "seed:0",
    )
    old = StoredEncoder("fov", spec, "superseded")
    with store.folder.writer("a test"):
        encoders.put(store, old)
        store.put_embeddings("fov", old.fingerprint, ["d/00"], ["x"], np.ones((1, spec.dim), np.float32))
    return old


def test_maps_of_dropped_encoders_go_with_their_vectors(store: Store) -> None:
    old, kept = superseded(store, imported=False), superseded(store, imported=True)
    of_old = [MapKey("fov", None, old.fingerprint, "umap"), MapKey("protein", "fov", old.fingerprint, "pca")]
    put(store, *(made(4, key) for key in of_old), made(4, replace(KEY, fingerprint=kept.fingerprint)))
    assert maintain(atlas=store.folder.path).dropped_maps == []
    assert maintain(atlas=store.folder.path, drop_superseded=True).dropped_maps == sorted(key.id for key in of_old)
    assert {row["fingerprint"] for row in map_rows(store)} == {encoder().fingerprint, kept.fingerprint}
    assert maintain(atlas=store.folder.path, drop_superseded=True).dropped_maps == []


def test_maps_of_cells_stay_when_those_of_fields_are_dropped(store: Store) -> None:
    other = MapKey("protein", "cell", encoder().fingerprint, "pca")
    put(store, made(4, other))
    with store.folder.writer("a test"):
        assert drop_maps(store, {("fov", encoder().fingerprint)}) == [KEY.id]
    assert [row["id"] for row in map_rows(store)] == [other.id]


def test_the_schema_says_what_a_map_must_have() -> None:
    assert not pa.field("x", MAPS.field("xy").type).type.equals(pa.list_(pa.float64()))
    assert [f.name for f in MAPS if f.nullable] == ["of", "model"]
