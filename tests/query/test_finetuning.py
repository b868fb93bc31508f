"""Fine-tuning on an atlas, from its images to a switched atlas; what is killed continues; what is finished stays."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

import locatlas
from locatlas.errors import InputError, LeakageError
from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.index import index
from locatlas.indexer.store import encoders
from locatlas.indexer.store.tables import Store
from locatlas.indexer.store.trainings import training_of
from locatlas.indexer.training.folder import TrainingRun
from locatlas.indexer.training.request import FinetuneRequest
from locatlas.indexer.training.result import FinetuneResult
from locatlas.models import registry
from locatlas.models.home import home as locatlas_home
from locatlas.models.spec import EncoderSpec
from locatlas.models.training import loop
from locatlas.models.training.dino_options import DinoOptions
from locatlas.models.training.log import read_log
from locatlas.models.weights import read_checkpoint
from locatlas.query.atlas import open_atlas
from locatlas.query.finetuning import finetune, pretrain
from tests.forking import Forks
from tests.indexer.made import contents
from tests.query.made_training import CLASSES, TINY, draw_nothing, make_atlas

SMALL = DinoOptions(prototypes=16, bottleneck=8, hidden=16, n_local=1)
SHORT: dict[str, Any] = {"steps": 3, "batch_size": 6, "validation": 0.3}


@pytest.fixture
def atlas(tmp_path: Path, home: Path) -> Path:
    """Twenty fields of ten proteins, the last protein without annotation."""
    return make_atlas(tmp_path)


@pytest.fixture(autouse=True)
def no_curve(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.name != "test_a_picture_of_the_log_is_drawn":
        draw_nothing(monkeypatch)


def done(atlas: Path, how: dict[str, Any] | None = None, **asked: Any) -> FinetuneResult:
    found = finetune(atlas=atlas, request=FinetuneRequest(**{**SHORT, **asked}), device="cpu", **(how or {}))
    assert found is not None
    return found


def current(atlas: Path) -> EncoderSpec:
    found = encoders.current(Store.open(atlas), "fov")
    assert found is not None
    return found.spec


def tensors(name: str) -> dict[str, torch.Tensor]:
    return read_checkpoint(locatlas_home() / "encoders" / f"{name}.safetensors")


def proteins(atlas: Path) -> dict[str, str]:
    view = open_atlas(atlas).view("fov")
    return dict(zip(view.ids, view.column("protein"), strict=True))


def test_finetune_ends_in_an_atlas_with_the_new_encoder_that_is_scored_on_what_was_held_out(atlas: Path) -> None:
    before, told = current(atlas), []
    result = done(atlas, {"tell": told.append})
    assert result.encoder.name == f"{TINY}-supervised-1"
    # the same plan, other weights
    same = result.encoder.with_changes(
        name=before.name, weights_sha256=before.weights_sha256, source=before.source, parent=before.parent
    )
    assert same == before
    assert result.encoder.parent == before.fingerprint
    assert current(atlas) == result.encoder == registry.get(result.encoder.name)
    assert any(not torch.equal(a, b) for a, b in zip(
        tensors(TINY).values(), tensors(result.encoder.name).values(), strict=True))  # fmt: skip
    assert (result.embedded is not None, result.was_there) == (True, False)
    assert result.embedded is not None
    assert result.embedded.embedded == 20
    assert len(told) == 2
    assert told[1].startswith(f"trained and registered: {TINY}-supervised-1; whatever happens now, the same command")
    # the record: parts share no protein, and the atlas, the registry and the result have the same
    manifest = training_of(Store.open(atlas), result.encoder.weights_sha256)
    assert manifest == registry.training(result.encoder.name) == result.manifest
    of = proteins(atlas)
    parts = [{of[i] for i in manifest.images}, {of[i] for i in manifest.validation_images}, set(manifest.held_out)]
    assert all(parts)
    assert sum(map(len, parts)) == len(set().union(*parts)) == 9  # P9 has no annotation
    assert set(manifest.groups["protein"]) == parts[0] | parts[1]
    assert set(manifest.groups["fov"]) == {*manifest.images, *manifest.validation_images}
    assert manifest.groups["dataset"] == ("opencell/opencell",)
    assert (manifest.classes, manifest.labels, manifest.level) == (CLASSES, "single", "fov")
    assert result.left_out == {"no localization": 2}
    assert 0 <= manifest.metrics["frozen.validation.macro_f1"] <= 1
    assert [line["step"] for line in read_log(result.folder / "log.jsonl") if line["kind"] == "step"] == [1, 2, 3]
    # what was seen is not scored as if it were new
    with pytest.raises(LeakageError, match="--held-out"):
        open_atlas(atlas).sweep(ks=[1])
    document = open_atlas(atlas).sweep(ks=[1], held_out=True).to_dict()
    assert {r["protein"] for r in open_atlas(atlas).view("fov").meta.to_pylist()} >= set(manifest.held_out)
    assert document["n_groups"] == len(manifest.held_out)


def test_the_same_again_does_nothing_and_completes_what_was_left(atlas: Path) -> None:
    first = done(atlas, {"follow": False})
    assert first.embedded is None
    states = {e.spec.name: e.state for e in encoders.stored_encoders(Store.open(atlas))}
    assert states == {TINY: "current", first.encoder.name: "building"}
    second = done(atlas)
    assert (second.encoder, second.manifest, second.was_there) == (first.encoder, first.manifest, True)
    assert second.embedded is not None
    assert second.embedded.embedded == 20
    assert current(atlas) == first.encoder
    held = contents(Store.open(atlas))
    third = done(atlas)
    assert (third.encoder, third.was_there) == (first.encoder, True)
    assert contents(Store.open(atlas)) == held
    # to go on from it takes its name; its held-out groups stay so, and what it saw stays seen
    further = done(atlas, objective="dino", encoder=first.encoder.name, dino=SMALL, validation=0.15)
    assert further.encoder.parent == first.encoder.fingerprint
    assert further.manifest.held_out == first.manifest.held_out
    assert set(further.manifest.groups["protein"]) == {*first.manifest.groups["protein"], "P9"}
    assert not set(further.manifest.held_out) & set(further.manifest.groups["protein"])
    assert further.manifest.validation_images == ()
    assert further.manifest.parent_name == first.encoder.name


def test_other_settings_are_another_training_and_a_name_holds_one(atlas: Path) -> None:
    first = done(atlas, {"follow": False})
    other = done(atlas, {"follow": False}, seed=1)
    assert (first.encoder.name, other.encoder.name) == (f"{TINY}-supervised-1", f"{TINY}-supervised-2")
    assert first.encoder.fingerprint != other.encoder.fingerprint
    named = done(atlas, {"follow": False, "name": "mine"}, seed=1)
    assert named.encoder.weights_sha256 == other.encoder.weights_sha256
    with pytest.raises(InputError, match=r"mine: holds another training \(seed 1 there, 2 now\); choose another"):
        done(atlas, {"name": "mine"}, seed=2)
    with pytest.raises(InputError, match="exists already"):
        done(atlas, {"name": TINY}, seed=2)


def test_a_fraction_takes_part_of_what_a_larger_one_takes_and_holds_out_the_same(atlas: Path) -> None:
    some, more = (done(atlas, {"follow": False}, fraction=f, validation=0).manifest for f in (0.4, 1.0))
    assert set(some.images) < set(more.images)
    assert some.held_out == more.held_out
    assert some.fraction == 0.4
    assert set(some.classes) == set(more.classes)


def test_pretraining_begins_from_seeded_weights_and_has_no_parent(atlas: Path) -> None:
    request = FinetuneRequest(objective="dino", from_scratch=True, dino=SMALL, seed=4, **SHORT)
    result = pretrain(atlas=atlas, request=request, device="cpu", follow=False)
    assert result is not None
    assert result.encoder.name == "locatlas_pico-pretrain-1"
    assert (result.encoder.parent, result.manifest.parent) == (None, None)
    assert (result.encoder.stains, result.encoder.slots) == (("protein",), ("nucleus", "protein"))
    assert result.manifest.objective == "dino"


def test_what_cannot_be_read_is_left_out_and_told(atlas: Path, tmp_path: Path) -> None:
    everything = done(atlas, {"follow": False, "name": "before"}, validation=0)
    gone = everything.manifest.images[0]
    [path] = (tmp_path / "images").glob(f"*{gone.removeprefix('opencell/')}_*")
    path.write_bytes(b"damaged")
    result = done(atlas, {"follow": False, "name": "after"}, validation=0)
    assert gone not in result.manifest.images
    assert len(result.manifest.images) == len(everything.manifest.images) - 1
    assert result.left_out["cannot be read (left_out.json)"] == 1
    assert path.name in json.loads((result.folder / "left_out.json").read_text())[gone]


@pytest.mark.slow
def test_a_picture_of_the_log_is_drawn(atlas: Path) -> None:
    result = done(atlas, {"follow": False})
    assert result.curve == result.folder / "curve.svg"
    assert "</svg>" in result.curve.read_text()


def test_images_that_changed_since_a_training_was_begun_are_not_mixed_into_it(
    atlas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_after(path: Path, content: Any, real: Any = loop.save_checkpoint) -> None:
        real(path, content)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(loop, "save_checkpoint", stop_after)
        with pytest.raises(KeyboardInterrupt):
            done(atlas, {"name": "mine"})
    begun = TrainingRun.read(locatlas_home() / "runs" / "mine")
    assert begun is not None
    [path] = (tmp_path / "images").glob(f"*{begun.parts.train[0].removeprefix('opencell/')}_*")
    path.write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"holds another training: .*of\.images"):
        done(atlas, {"name": "mine"})
    assert registry.list_encoders("mine") == []


KILLED = """
import dataclasses, os, signal, sys, torch
import locatlas.indexer.training.begin as begin
from locatlas.indexer.training.request import FinetuneRequest
from locatlas.models.training import loop
from locatlas.query.finetuning import finetune

torch.set_num_threads(int(sys.argv[2]))  # sums are rounded by how many share them
loop.draw_curve = lambda *_: None
settled, save = begin.settled_plan, loop.save_checkpoint
begin.settled_plan = lambda *a, **k: dataclasses.replace(settled(*a, **k), checkpoint_every_s=1e-9)

def killing(path, content):
    save(path, content)
    if content["state"]["step"] == 2:
        os.kill(os.getpid(), signal.SIGKILL)

loop.save_checkpoint = killing
request = FinetuneRequest(steps=5, batch_size=6, validation=0.3)
for _ in range(2):  # each in a process of its own; forked, because importing takes seconds
    if (child := os.fork()) == 0:
        made = finetune(atlas=sys.argv[1], request=request, device="cpu", follow=False)
        print(made.encoder.weights_sha256, flush=True)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.slow
def test_a_training_that_was_killed_continues_to_the_same_weights(atlas: Path, commands: Forks) -> None:
    ended = commands.run(KILLED, atlas, torch.get_num_threads())
    [killed] = registry.list_encoders("*supervised*")
    assert ended.stdout.split() == [str(-signal.SIGKILL), killed.weights_sha256, "0"], ended.stderr
    log = read_log(locatlas_home() / "runs" / killed.name / "log.jsonl")
    assert [line["step"] for line in log if line["kind"] == "step"] == [1, 2, 3, 4, 5]
    whole = done(atlas, {"follow": False, "name": "whole"}, steps=5)
    assert whole.encoder.weights_sha256 == killed.weights_sha256


def test_another_atlas_is_told_what_an_encoder_saw_and_takes_its_whole_plan(atlas: Path, tmp_path: Path) -> None:
    made = done(atlas, {"follow": False})
    other = tmp_path / "other"
    request = EncoderRequest(name=made.encoder.name)
    index(tmp_path / "images", atlas=other, dataset="opencell", name="again", request=request)
    assert current(other) == made.encoder
    assert training_of(Store.open(other), made.encoder.weights_sha256) == made.manifest
    with pytest.raises(LeakageError):
        open_atlas(other).sweep(ks=[1])


@pytest.mark.slow
def test_weights_that_were_trained_here_are_known_under_any_name(atlas: Path, tmp_path: Path) -> None:
    made = done(atlas, {"follow": False})
    path = locatlas_home() / "encoders" / f"{made.encoder.name}.safetensors"
    again = registry.add(
        "mine",
        weights=path,
        architecture="locatlas_pico",
        slots=made.encoder.slots,
        input_px=made.encoder.input_px or 0,
    )
    assert again.weights_sha256 == made.encoder.weights_sha256
    other = tmp_path / "other"
    request = EncoderRequest(name="mine", stains=("protein",))
    index(tmp_path / "images", atlas=other, dataset="opencell", name="again", request=request)
    with pytest.raises(LeakageError):
        open_atlas(other).sweep(ks=[1])
    further = done(other, {"follow": False})
    assert further.manifest.held_out == made.manifest.held_out
    assert not set(further.manifest.held_out) & set(further.manifest.groups["protein"])


@pytest.mark.slow
def test_groups_are_held_out_in_an_atlas_that_has_none_of_those_held_out_before(atlas: Path, tmp_path: Path) -> None:
    made = done(atlas, {"follow": False})
    names = {path.name: path.name.replace("_P", "_Q") for path in (tmp_path / "images").glob("*_P*")}
    assert names
    others = tmp_path / "others"
    others.mkdir()
    for name, new in names.items():
        (others / new).write_bytes((tmp_path / "images" / name).read_bytes())
    table = tmp_path / "images" / "opencell-localization-annotations.csv"
    (others / table.name).write_text(table.read_text().replace(",P", ",Q"))
    index(others, atlas=tmp_path / "other", dataset="opencell", request=EncoderRequest(name=made.encoder.name))
    further = done(tmp_path / "other", {"follow": False})
    held = {name for name in further.manifest.held_out if name.startswith("Q")}
    assert held
    assert further.n_held_out == 2 * len(held)
    assert not held & set(further.manifest.groups["protein"])
    # what the parent never saw stays recorded as such
    assert set(made.manifest.held_out) < set(further.manifest.held_out)


def test_a_training_without_a_part_to_stop_by_says_so(atlas: Path) -> None:
    # two proteins of each class, of which one is held out
    found = done(atlas, {"follow": False}, where=("protein!=P0", "protein!=P1", "protein!=P2", "protein!=P3",
                                                  "protein!=P8"), hold_out=0.4)  # fmt: skip
    assert (found.manifest.validation_images, len(found.manifest.held_out)) == ((), 2)
    assert found.left_out == {"filtered out": 10, "no localization": 2}
    [note] = found.notes
    assert note.startswith("no group could be spared to stop by")
    assert "best_step" not in found.manifest.metrics


def test_a_damaged_description_of_a_run_is_told(atlas: Path) -> None:
    made = done(atlas, {"follow": False, "name": "mine"})
    (made.folder / "run.json").write_text("{}")
    with pytest.raises(InputError, match=r"run\.json: not the description of a training"):
        done(atlas, {"name": "mine"})


def test_groups_that_the_encoder_saw_and_that_are_now_held_out_are_told(atlas: Path) -> None:
    first = done(atlas)
    second = done(atlas, {"follow": False}, encoder=first.encoder.name, hold_out=0.6)
    [note] = second.notes
    seen = set(second.manifest.held_out) & set(first.manifest.groups["protein"])
    assert f"was trained on {len(seen)} of the {len(second.manifest.held_out)} groups that are held out now" in note


def test_the_python_face_has_it() -> None:
    assert locatlas.finetune is finetune
    assert locatlas.pretrain is pretrain
    assert locatlas.FinetuneRequest is FinetuneRequest
