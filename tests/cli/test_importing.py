"""What `import-embeddings` says when it is done: what look-ups do with the vectors, in plain words."""

import shlex
from pathlib import Path

import numpy as np
import pytest

from locatlas.indexer.importing.run import import_embeddings
from tests.cli.asking import document, run
from tests.indexer.made_cells import write_cells


@pytest.fixture
def file(tmp_path: Path) -> Path:
    vectors = np.random.default_rng(0).standard_normal((300, 24)).astype(np.float32)
    path = tmp_path / "v.npz"
    np.savez(path, ids=np.array([f"{i}" for i in range(300)]), vectors=vectors)
    return path


def imported(file: Path, *more: str) -> list[str]:
    done = run("import-embeddings", file, "--atlas", file.parent / "atlas", *more)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output.splitlines()


def test_how_look_ups_answer_is_said_as_status_says_it(file: Path) -> None:
    lines = imported(file, "--name", "first")
    assert lines[0].endswith("300 vectors of 24 numbers imported as first at level fov, 0 unchanged")
    assert lines[1:] == [
        "ids: 0 of images of the atlas, 300 of rows of their own, without an image",
        "look-ups at level fov: exact, over 300 vectors",
    ]
    indexed = imported(file, "--name", "first", "--faiss", "flat")[-1]
    assert indexed.startswith("look-ups at level fov: FAISS index (flat) of 300 vectors, which finds 100.0% of the 10 ")
    assert indexed in run("status", "--atlas", file.parent / "atlas").output.splitlines()


def test_vectors_beside_the_current_ones_are_said_to_be_asked_by_name(file: Path) -> None:
    imported(file, "--name", "first")
    assert imported(file, "--name", "second")[-1] == (
        "look-ups at level fov use another encoder; --encoder second asks these vectors, exactly"
    )
    told = document("import-embeddings", file, "--atlas", file.parent / "atlas", "--name", "second")
    assert told["encoder"]["state"] == "beside"


def test_an_index_that_is_not_for_the_vectors_of_the_file_is_refused_before_they_are_stored(file: Path) -> None:
    odd = file.with_name("odd.npz")
    np.savez(odd, ids=np.array(["a"]), vectors=np.ones((1, 10), np.float32))
    refused = ("import-embeddings", odd, "--atlas", file.parent / "atlas", "--name", "odd", "--faiss", "lance-ivfrq")
    done = run(*refused)
    assert (done.exit_code, str(done.exception)) == (
        1,
        "vectors of 10 numbers: lance-ivfrq is for lengths that are multiples of 8; --faiss ivfpq takes any",
    )
    assert not (file.parent / "atlas").exists()
    # beside others it is not theirs that would be built
    imported(file, "--name", "first")
    assert run(*refused).exit_code == 0
    assert [e["name"] for e in document("status", "--atlas", file.parent / "atlas")["encoders"]] == ["first", "odd"]


def test_beside_a_current_encoder_no_index_is_built_and_both_commands_say_that(file: Path) -> None:
    atlas, odd = file.parent / "atlas", file.with_name("odd.npz")
    np.savez(odd, ids=np.array(["a", "b"]), vectors=np.eye(2, 10, dtype=np.float32))
    imported(odd, "--name", "odd")
    # the length of the current one's vectors, for which the index is not, is no reason against others
    assert imported(file, "--name", "second", "--faiss", "lance-ivfrq")[-1] == (
        "look-ups at level fov use another encoder; --encoder second asks these vectors, exactly: only the current "
        "encoder has an index, --faiss lance-ivfrq built none"
    )
    assert document("status", "--atlas", atlas)["indices"] == []
    told = document("import-embeddings", file, "--atlas", atlas, "--name", "third", "--faiss", "flat")
    assert told["indices"] == {"fov": "exact search (2 vectors)"}
    assert document("status", "--atlas", atlas)["indices"] == []
    ask = ("neighbors", "--atlas", atlas, "--id", "imported/1", "-k", 3, "--exclude", "self")
    assert str(run(*ask, "--encoder", "second", "--approximate").exception) == (
        "only the current encoder of a level has an index; leave --approximate out: second is asked exactly"
    )
    assert document(*ask, "--encoder", "second")["exact"] is True
    ask = ("neighbors", "--atlas", atlas, "--id", "imported/a", "-k", 1, "--exclude", "self", "--approximate")
    assert str(run(*ask).exception) == (
        "no FAISS index to use (no index); `locatlas import-embeddings --faiss ivf` of its file makes one"
    )
    imported(odd, "--name", "odd", "--faiss", "ivf")
    assert run(*ask).exit_code == 0


def test_an_import_that_was_stopped_before_its_last_commit_says_what_going_on_changed(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("locatlas.indexer.importing.run.same_under_another_name", killed)
        with pytest.raises(KeyboardInterrupt):
            import_embeddings(file, atlas=file.parent / "atlas", name="first")
    assert document("status", "--atlas", file.parent / "atlas")["encoders"] == []
    assert imported(file, "--name", "first")[0].endswith(
        ": all 300 vectors of 24 numbers were stored by an import that was stopped; they are there now as first at "
        "level fov"
    )
    assert imported(file, "--name", "first")[0].endswith(": nothing changed")
    assert document("import-embeddings", file, "--atlas", file.parent / "atlas", "--name", "first")["resumed"] is False


def test_what_an_import_changed_is_said_and_that_all_was_there(file: Path) -> None:
    def write(n_other: int, protein: str) -> None:
        held = dict(np.load(file))
        held["vectors"][:n_other] += 1
        np.savez(file, ids=held["ids"], vectors=held["vectors"], protein=np.full(300, protein))

    def said(*more: str) -> str:
        return imported(file, "--name", "first", *more)[0].partition(": ")[2]

    write(0, "A")
    assert said() == "300 vectors of 24 numbers imported as first at level fov, 0 unchanged"
    there = "all 300 vectors of 24 numbers were there already as first at level fov: nothing changed"
    assert said() == there
    write(7, "A")
    assert (
        said() == "7 vectors of 24 numbers imported as first at level fov, 7 of them in place of others, 293 unchanged"
    )
    write(2, "B")
    assert said() == (
        "2 vectors of 24 numbers imported as first at level fov, 2 of them in place of others, 298 with new metadata, "
        "0 unchanged"
    )
    assert said() == there


def test_ids_that_are_images_are_counted_and_those_that_nearly_are_named_with_what_meets_them(tmp_path: Path) -> None:
    atlas, file = write_cells(tmp_path).folder.path, tmp_path / "v.npz"
    np.savez(file, ids=np.array(["f0", "f1", "new"]), vectors=np.eye(3, 4, dtype=np.float32))
    given = ("import-embeddings", file, "--atlas", atlas, "--name", "first")
    done = run(*given)
    assert "ids: 0 of images of the atlas, 3 of rows of their own, without an image" in done.stdout.splitlines()
    assert done.stderr.splitlines() == [
        "note: 2 of these ids are images of data set x, e.g. f0 as x/f0: --dataset x meets them"
    ]
    told = document(*given)
    assert (told["with_image"], told["without_image"]) == (0, 3)
    assert told["nearly_met"] == [{"ids": 2, "example": "f0", "image": "x/f0", "dataset": "x"}]
    done = run(*given[:-1], "second", "--dataset", "x")
    assert "ids: 2 of images of the atlas, 1 of rows of their own, without an image" in done.stdout.splitlines()
    assert done.stderr == ""


def test_the_same_vectors_under_another_name_or_for_other_images_are_said_to_be(file: Path) -> None:
    atlas = file.parent / "atlas"
    imported(file, "--name", "first")
    two = run("import-embeddings", file, "--atlas", atlas, "--name", "second").stderr
    [first] = [e["fingerprint"] for e in document("status", "--atlas", atlas)["encoders"] if e["name"] == "first"]
    told = " ".join(two.split())
    assert f"the same images have the same vectors in this atlas as first ({first[:12]}) already" in told
    command = shlex.split(told.split("`")[1])
    assert command[:5] == ["locatlas", "maintain", "--atlas", str(atlas), "--drop-encoder"]
    dropped = run(*command[1:]).output
    assert "deleted: 300 vectors of second (" in dropped
    assert "`locatlas import-embeddings` of their file brings them back" in dropped
    assert [e["name"] for e in document("status", "--atlas", atlas)["encoders"]] == ["first"]
    imported(file, "--name", "second")
    elsewhere = run("import-embeddings", file, "--atlas", atlas, "--name", "first", "--dataset", "again").stderr
    assert "each of these 300 vectors is in this atlas as that of another image already" in " ".join(elsewhere.split())
    held = dict(np.load(file))
    held["vectors"][-1] += 1
    np.savez(file, **held)
    other = document("import-embeddings", file, "--atlas", atlas, "--name", "third")
    assert (other["same_as"], other["repeated"], other["imported"]) == (None, 0, 300)
    more = document("import-embeddings", file, "--atlas", atlas, "--name", "second", "--dataset", "again")
    assert (more["same_as"], more["repeated"], more["imported"]) == (None, 299, 300)
