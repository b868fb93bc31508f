"""An atlas that is published to a real S3 server on this machine and read from there."""

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

import locatlas
from locatlas.cli import group
from locatlas.errors import AtlasLockedError, InputError, StoreDamagedError
from locatlas.indexer.backup.run import backup
from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.index import index
from locatlas.indexer.published import lease as leases
from locatlas.indexer.published.mirror import mirrored
from locatlas.indexer.published.objects import Objects, uri_of
from locatlas.indexer.published.publish import RECORD, publish
from locatlas.indexer.store.tables import Store
from tests.indexer.made import contents, id_of, write_field
from tests.indexer.published.stores import BUCKET, keys, machine


@pytest.fixture
def saved(client: Any, atlas: Path, tmp_path: Path) -> Path:
    """A backup of the atlas of six fields."""
    backup(atlas=atlas, to=tmp_path / "backup")
    return tmp_path / "backup"


def test_what_is_published_answers_as_the_atlas_does(atlas: Path, saved: Path, uri: str) -> None:
    done = publish(saved, to=uri)
    assert done.new
    assert done.sent_files == done.files
    here, there = locatlas.open(atlas), locatlas.open(uri)
    assert contents(there.store) == contents(here.store)
    assert there.neighbors(id=id_of(2), k=3).equals(here.neighbors(id=id_of(2), k=3))
    assert there.classify(protein="GENE1", k=3).equals(here.classify(protein="GENE1", k=3))
    again = publish(saved, to=uri)
    assert (again.new, again.sent_files) == (False, 0)


def test_vectors_in_float16_are_published_and_read_as_they_are(
    plain: None, source: Path, client: Any, uri: str, tmp_path: Path
) -> None:
    request = EncoderRequest(storage="float16")
    index(source, atlas=tmp_path / "half", dataset="opencell", request=request)
    backup(atlas=tmp_path / "half", to=tmp_path / "kept")
    publish(tmp_path / "kept", to=uri)
    here, there = locatlas.open(tmp_path / "half"), locatlas.open(uri)
    assert contents(there.store) == contents(here.store)
    (table,) = [name for name in there.store.tables() if name.startswith("emb_")]
    assert there.store.read(table).schema.field("vector").type.value_type == pa.float16()
    for mine, theirs in zip(here.embeddings(), there.embeddings(), strict=True):
        assert np.array_equal(mine, theirs)
    assert there.neighbors(id=id_of(2), k=3).equals(here.neighbors(id=id_of(2), k=3))
    assert there.sweep(ks=[1, 2]).to_dict() == here.sweep(ks=[1, 2]).to_dict()


def test_the_commands_that_read_take_the_address(
    atlas: Path, saved: Path, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(*words: str) -> str:
        result = CliRunner().invoke(group, [*words], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    assert f"{uri}: state" in said("publish", str(saved), "--to", uri)
    monkeypatch.chdir(tmp_path)
    for words in (
        ("neighbors", "--id", id_of(2), "-k", "3", "--json"),
        ("classify", "--id", id_of(2), "-k", "3", "--json"),
        ("sweep", "--ks", "1,2", "--json"),
    ):
        assert said(words[0], "--atlas", uri, *words[1:]) == said(words[0], "--atlas", str(atlas), *words[1:])
    assert "6" in said("status", "--atlas", uri)
    for words in (("verify", "--quick"), ("verify",)):
        said(*words, "--atlas", uri)
    assert not (tmp_path / "s3:").exists()


def test_only_what_is_new_is_sent_and_fetched(
    atlas: Path, source: Path, saved: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(saved, to=uri)
    before = Store.open(Path(uri))
    held = contents(before)
    write_field(source, 11)
    index(source, atlas=atlas, dataset="opencell")
    backup(atlas=atlas, to=saved)
    second = publish(saved, to=uri)
    assert 0 < second.sent_bytes < second.bytes
    fetched: list[str] = []
    blocks = Objects.blocks

    def noted(self: Objects, name: str) -> Iterator[bytes]:
        fetched.append(name)
        yield from blocks(self, name)

    monkeypatch.setattr(Objects, "blocks", noted)
    now = Store.open(Path(uri))
    assert now.count("fovs") == 7
    assert contents(now) == contents(Store.open(atlas))
    assert 0 < len(fetched) < second.files
    assert contents(before) == held  # whoever reads the state before goes on


def test_of_two_who_publish_at_once_one_is_refused(
    atlas: Path, source: Path, saved: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, calls, fields = Objects.listed, list[str](), iter(range(11, 99))

    def newer() -> None:
        write_field(source, next(fields))
        index(source, atlas=atlas, dataset="opencell")
        backup(atlas=atlas, to=saved)

    def meanwhile(self: Objects, below: str) -> dict[str, Any]:
        if not calls:
            calls.append(below)
            newer()
            publish(saved, to=uri)  # between the look at what is there and the record
        return listed(self, below)

    for _ in range(2):  # where nothing was there, and where something was
        calls.clear()
        newer()
        with monkeypatch.context() as patch:
            patch.setattr(Objects, "listed", meanwhile)
            with pytest.raises(AtlasLockedError, match="another writer holds"):
                publish(saved, to=uri)
            calls.clear()
            patch.setattr(leases, "LEASE_S", -1)  # and where the first is taken for dead
            with pytest.raises(AtlasLockedError, match="meanwhile"):
                publish(saved, to=uri)
        assert contents(Store.open(Path(uri))) == contents(Store.open(atlas))


def test_another_atlas_and_an_older_state_are_refused(
    plain: None, atlas: Path, source: Path, saved: Path, uri: str, tmp_path: Path
) -> None:
    write_field(source, 11)
    early = tmp_path / "early"
    shutil.copytree(saved, early)
    index(source, atlas=atlas, dataset="opencell")
    backup(atlas=atlas, to=saved)
    publish(saved, to=uri)
    with pytest.raises(InputError, match="not older"):
        publish(early, to=uri)
    # whatever the numbers of its states: the first is lower than that at the address, the last is higher
    for n in range(4):
        write_field(source, 20 + n)
        index(source, atlas=tmp_path / "other", dataset="opencell")
        backup(atlas=tmp_path / "other", to=tmp_path / "other backup")
        with pytest.raises(InputError, match=re.escape(f"{uri}: holds another atlas, {atlas}; publish elsewhere")):
            publish(tmp_path / "other backup", to=uri)


def test_an_atlas_that_was_made_anew_in_the_place_of_the_published_one_is_told_apart_from_an_older_state(
    plain: None, atlas: Path, source: Path, saved: Path, uri: str, tmp_path: Path
) -> None:
    publish(saved, to=uri)
    shutil.rmtree(atlas)
    write_field(source, 11)
    index(source, atlas=atlas, dataset="opencell")
    backup(atlas=atlas, to=tmp_path / "anew")
    with pytest.raises(InputError, match=f"of an atlas at {atlas} that has no file of a table in common"):
        publish(tmp_path / "anew", to=uri)


def test_what_was_committed_at_the_address_is_not_published_over_by_the_folder(
    plain: None, atlas: Path, source: Path, saved: Path, uri: str, tmp_path: Path
) -> None:
    publish(saved, to=uri)
    with machine(tmp_path / "other"):
        there = write_field(source, 21)
        index(source, atlas=uri, dataset="opencell")
    there.unlink()
    for n in (31, 32):  # whose numbers are higher than that of the state at the address
        write_field(source, n)
        index(source, atlas=atlas, dataset="opencell")
        backup(atlas=atlas, to=saved)
    with pytest.raises(InputError, match="somebody wrote at the address since") as error:
        publish(saved, to=uri)
    assert "\n" not in str(error.value)
    with machine(tmp_path / "third"):
        assert id_of(21) in Store.open(Path(uri)).read("fovs", ["id"])["id"].to_pylist()


def test_a_state_that_the_backup_has_forgotten_since_is_still_known_for_its_own(
    atlas: Path, source: Path, saved: Path, uri: str
) -> None:
    publish(saved, to=uri)
    for n in (11, 12):
        write_field(source, n)
        index(source, atlas=atlas, dataset="opencell")
        backup(atlas=atlas, to=saved, keep=0)
    assert publish(saved, to=uri).new
    (saved / "publications.json").write_bytes(b"{")
    with pytest.raises(InputError, match=r"publications.json: cannot be read"):
        publish(saved, to=f"{uri}/elsewhere")


def test_a_changed_or_missing_object_is_told_and_nothing_of_it_is_read(
    client: Any, saved: Path, uri: str, home: Path
) -> None:
    publish(saved, to=uri)
    key = next(key for key in keys(client, uri) if key.startswith("files/"))
    key = f"{uri.removeprefix(f's3://{BUCKET}/')}/{key}"
    data = client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    client.put_object(Bucket=BUCKET, Key=key, Body=data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(StoreDamagedError, match="other bytes than were published"):
        mirrored(uri)
    client.delete_object(Bucket=BUCKET, Key=key)
    with pytest.raises(StoreDamagedError, match="missing, though"):
        mirrored(uri)
    assert not [path for path in home.glob("mirrors/*/*") if path.is_dir() and not path.name.startswith(".")]
    publish(saved, to=f"{uri}/elsewhere")
    record = client.get_object(Bucket=BUCKET, Key=f"{uri.removeprefix(f's3://{BUCKET}/')}/{RECORD}")["Body"].read()
    client.put_object(
        Bucket=BUCKET, Key=f"{uri.removeprefix(f's3://{BUCKET}/')}/{RECORD}", Body=record.replace(b"fovs", b"fovz")
    )
    with pytest.raises(InputError, match="changed or damaged"):
        mirrored(uri)


def test_a_file_of_the_backup_that_rotted_is_not_sent(saved: Path, uri: str, client: Any) -> None:
    path = next(path for path in (saved / "files").glob("*/*") if path.stat().st_size > 100)
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    with pytest.raises(StoreDamagedError, match="other bytes than were copied"):
        publish(saved, to=uri)
    assert RECORD not in keys(client, uri)


def test_where_nothing_can_be_read_one_line_says_why(
    client: Any, uri: str, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="no atlas is there"):
        locatlas.open(uri)
    with pytest.raises(InputError, match="no such bucket"):
        publish(saved, to="s3://no-such-bucket/x")
    with pytest.raises(InputError, match="s3://BUCKET/PREFIX"):
        publish(saved, to="ftp://x/y")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("locatlas.indexer.published.objects.RETRIES", 1)
    with pytest.raises(InputError, match=r"^s3://\S+: nobody answers at http://127\.0\.0\.1:9 \(AWS_ENDPOINT_URL "):
        locatlas.open(uri)


def test_who_asks_is_said_to_be_needed(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the client says where the environment names nobody: it asks a machine of Amazon's, which is not here."""
    said = "Generic S3 error: Error performing PUT http://169.254.169.254/latest/api/token in 1ms - 403 Forbidden"
    objects = Objects.at(f"s3://{BUCKET}/x")

    def refuse(_: str) -> None:
        raise OSError(said)

    monkeypatch.setattr(objects, "_store", SimpleNamespace(get=refuse))
    with pytest.raises(InputError, match="no credentials; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY needed"):
        objects.read("x")


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(InputError, match=r"pip install 'locatlas\[s3\]'"):
        locatlas.open("s3://bucket/atlas")


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("s3://b/p", "s3://b/p"),
        (Path("s3://b/p/"), "s3://b/p"),
        ("gs://b/p", "gs://b/p"),
        ("az://b/p", "az://b/p"),
        ("s3/b", None),
        ("/s3:/b", None),
        (Path("atlas"), None),
        ("s3:", None),
    ],
)
def test_an_address_is_known_also_where_it_became_a_path(path: str | Path, uri: str | None) -> None:
    assert uri_of(path) == uri
