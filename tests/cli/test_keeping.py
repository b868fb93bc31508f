"""reembed, maintain, and what status says of encoders that descend from others."""

import shlex
import shutil
from pathlib import Path

import pytest

from locatlas.indexer.index import index
from locatlas.indexer.store import encoders
from locatlas.indexer.store.encoders import StoredEncoder
from locatlas.indexer.store.tables import Store
from locatlas.indexer.store.trainings import put_training
from locatlas.models.training.manifest import TrainingManifest
from tests.cli.asking import document, run
from tests.indexer.made import PlainEncoder, write_collection


@pytest.fixture
def atlas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six images, and an encoder that was trained from theirs and not embedded with yet."""
    monkeypatch.setattr("locatlas.indexer.job.load_encoder", PlainEncoder)
    index(write_collection(tmp_path / "source"), atlas=tmp_path / "atlas", dataset="opencell")
    store = Store.open(tmp_path / "atlas")
    parent = encoders.current(store, "fov")
    assert parent is not None
    child = parent.spec.with_changes(name="locatlas_pico.tuned", weights_sha256="ab" * 32, parent=parent.fingerprint)
    manifest = TrainingManifest(
        encoder=child.name,
        weights_sha256="ab" * 32,
        parent=parent.fingerprint,
        parent_name=parent.spec.name,
        objective="supervised",
        level="fov",
        group="protein",
        images=("opencell/FID00000000", "opencell/FID00000001"),
        fraction=0.4,
        seed=7,
    )
    with store.folder.writer("finetune"):
        put_training(store, manifest)
        encoders.put(store, StoredEncoder("fov", child, "building"))
    return tmp_path / "atlas"


def test_an_atlas_is_re_embedded_and_tidied_and_status_tells_from_which_encoder_the_new_one_descends(
    atlas: Path,
) -> None:
    before = document("status", "--atlas", atlas)
    assert [(e["state"], e["coverage"]) for e in before["encoders"]] == [("current", 1.0), ("building", 0.0)]
    found = document("reembed", "--atlas", atlas, "--busy", "0.9")
    assert (found["embedded"], found["encoder"]["name"]) == (6, "locatlas_pico.tuned")
    assert document("reembed", "--atlas", atlas)["skipped"] == 6

    state = document("status", "--atlas", atlas)
    new, old = state["encoders"]
    assert (new["state"], new["coverage"], old["state"]) == ("current", 1.0, "superseded")
    assert (new["parent"], new["lineage"]) == (old["fingerprint"], [old["name"], new["name"]])
    assert (new["training"]["objective"], new["training"]["images"]) == ("supervised", 2)
    assert (old["lineage"], old["training"], state["reembedding"]) == ([old["name"]], None, None)
    shown = run("status", "--atlas", atlas).output
    assert (
        f"lineage of {new['name']} at level fov: {old['name']} → {new['name']} "
        "(supervised on 2 images, 40 % of the groups, seed 7)"
    ) in shown

    assert [v["name"] for v in document("maintain", "--atlas", atlas)["kept"]] == [old["name"]]
    shown = run("maintain", "--atlas", atlas).output
    assert f"superseded and kept: 6 vectors of {old['name']} " in shown
    done = run("maintain", "--atlas", atlas, "--drop-superseded")
    assert done.exit_code == 0
    assert f"deleted: 6 vectors of {old['name']} " in done.output
    state = document("status", "--atlas", atlas)
    assert [(e["state"], e["embedded"]) for e in state["encoders"]] == [("current", 6), ("superseded", 0)]
    assert state["encoders"][0]["lineage"] == [old["name"], new["name"]]


def test_an_encoder_that_is_being_built_is_given_up_as_status_says_and_this_is_told(atlas: Path) -> None:
    with Store.open(atlas).folder.writer("a test"):
        store = Store.open(atlas)
        built = next(e for e in encoders.stored_encoders(store) if e.state == "building")
        now = encoders.current(store, "fov")
        assert now is not None
        held = store.read_vectors(now.table).take([0, 1])
        store.put_embeddings("fov", built.fingerprint, held.ids, held.digests, held.vectors)
    shutil.copytree(atlas, atlas.with_name("copy"))
    line = next(line for line in run("status", "--atlas", atlas).output.splitlines() if "to give it up" in line)
    command = shlex.split(line.partition("to give it up, ")[2].rstrip(")"))
    done = run(*command[1:])
    assert done.exit_code == 0, (done.output, done.exception)
    assert f"deleted: 2 vectors of {built.spec.name} ({built.fingerprint[:12]}) at level fov, " in done.output
    assert (
        f"forgotten: encoder {built.fingerprint[:12]} at level fov, which never was current" in done.output.splitlines()
    )
    assert [e["name"] for e in document("status", "--atlas", atlas)["encoders"]] == [now.spec.name]
    again = run(*command[1:])
    assert again.exit_code == 1
    assert f"unknown encoder in this atlas {built.fingerprint[:12]!r}" in str(again.exception)

    told = document("maintain", "--atlas", atlas.with_name("copy"), "--drop-encoder", built.fingerprint)
    assert told["forgotten"] == [f"fov/{built.fingerprint}"]
    assert [(v["fingerprint"], v["vectors"], v["state"]) for v in told["dropped"]] == [
        (built.fingerprint, 2, "building")
    ]
    assert told["freed_bytes"] >= told["dropped"][0]["bytes"] > 0


def test_the_encoder_that_answers_is_not_given_up(atlas: Path) -> None:
    now = document("status", "--atlas", atlas)["encoders"][0]
    refused = run("maintain", "--atlas", atlas, "--drop-encoder", now["fingerprint"])
    assert refused.exit_code == 1
    assert "is current at level fov, so its vectors stay" in str(refused.exception)


@pytest.mark.parametrize("share", ["0", "1.1", "x"])
def test_a_share_that_is_none_is_wrong_usage(atlas: Path, share: str) -> None:
    assert run("reembed", "--atlas", atlas, "--busy", share).exit_code == 2


def test_who_re_embeds_is_told_in_status_and_to_whoever_wants_to(atlas: Path) -> None:
    with Store.open(atlas).folder.reembedding("reembed", "a run"):
        assert document("status", "--atlas", atlas)["reembedding"]["run"] == "a run"
        assert "vectors are being renewed: reembed, process " in run("status", "--atlas", atlas).output
        done = run("reembed", "--atlas", atlas)
        assert done.exit_code == 1
        assert "its vectors are being renewed (`reembed`, process " in str(done.exception)
