"""Ctrl-C and SIGTERM at several moments of each writing command: what is left behind, what is told, and how it goes on.

Signals are sent by the process itself at the n-th of a step, so that no clock decides where they hit.
"""

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from locatlas.indexer.embed import embed
from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.index import index
from locatlas.indexer.store.schema import embedding_table_name
from locatlas.indexer.store.tables import Store
from tests.forking import Forks
from tests.indexer.made import PlainEncoder, contents, name_of, write_collection
from tests.indexer.masked import write_masked
from tests.quick import some

Command = Callable[..., tuple[int, list[str]]]

FIELDS = 6
TOLD = "locatlas: stopped by {}; what was committed stays, the same command goes on there"


PROGRAM = """
import json, sys
from tests.cli.stopping import run
run(json.loads(sys.argv[1]), **json.loads(sys.argv[2]))
"""


@pytest.fixture
def command(commands: Forks) -> Command:
    """Runs a command, with signals at a step; its exit code and the lines on stderr."""

    def run(argv: list[Any], step: str = "", at: int = 0, *signals: int) -> tuple[int, list[str]]:
        how = {"step": step, "at": at, "signals": [int(number) for number in signals]}
        done = commands.run(PROGRAM, json.dumps([str(word) for word in argv]), json.dumps(how))
        return done.returncode, done.stderr.splitlines()

    return run


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is prepared in this process has the vectors of the commands."""
    monkeypatch.setattr("locatlas.indexer.job.load_encoder", PlainEncoder)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A source, an atlas of it, and a file of vectors. Not to be changed."""
    folder = tmp_path_factory.mktemp("made")
    source = write_collection(folder / "source", range(FIELDS))
    (source / name_of(3)).write_bytes(b"no image")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCATLAS_HOME", str(folder / "home"))
        patch.setattr("locatlas.indexer.job.load_encoder", PlainEncoder)
        index(source, atlas=folder / "indexed", dataset="opencell", commit_rows=2)
    file = folder / "v.npz"
    vectors = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    np.savez(file, ids=np.array([f"x{n}" for n in range(7)]), vectors=vectors)
    return {"source": source, "indexed": folder / "indexed", "file": file}


@pytest.fixture(scope="module")
def wholes() -> dict[str, dict[str, Any]]:
    """What commands leave that are not stopped, by name: the same for all moments at which others are."""
    return {}


def check_left(atlas: Path, *, wrote: bool = True) -> Store:
    """Nothing says that somebody writes, no temporary file is left, and what the ledger counts is there."""
    store = Store.open(atlas)
    names = [path.name for path in atlas.rglob("*") if path.is_file()]
    assert not [name for name in names if name.endswith(".tmp") or name in (".lock-owner", "owner")]
    assert not store.folder.is_being_written()
    assert store.folder.reembedding_owner() is None
    last = store.read("runs").sort_by("started_at").to_pylist()[-1:]
    if wrote:
        assert [row["state"] for row in last] == ["interrupted"]
        counts = json.loads(last[0]["counts"])
        if last[0]["fingerprint"] and last[0]["command"] in ("index", "embed", "reembed"):
            table = embedding_table_name(last[0]["level"], last[0]["fingerprint"])
            assert counts.get("embedded", 0) == (store.count(table) if store.has(table) else 0)
    return store


def stopped(
    command: Command, argv: Callable[[Path], list[Any]], prepare: Callable[[Path], Any], folder: Path,
    step: str, at: int, number: int = signal.SIGINT, *, wrote: bool = True, whole: dict[str, Any] | None = None,
) -> Store:  # fmt: skip
    """A command that is stopped once, then goes on, and one that is not stopped: they end with the same.

    Args:
        whole: What one left that was not stopped, to be filled by the first.
    """
    cut = folder / "cut"
    whole = {} if whole is None else whole
    if not whole:
        prepare(folder / "whole")
        assert command(argv(folder / "whole"))[0] == 0
        whole.update(contents(Store.open(folder / "whole")))
    prepare(cut)
    code, lines = command(argv(cut), step, at, number)
    assert (code, lines) == (128 + number, [TOLD.format("Ctrl-C" if number == signal.SIGINT else "SIGTERM")])
    if (cut / "atlas.json").exists():
        check_left(cut, wrote=wrote)
    code, lines = command(argv(cut))
    assert code == 0, lines
    store = Store.open(cut)
    assert contents(store) == whole
    assert {row["state"] for row in store.read("runs").to_pylist()} <= {"done", "interrupted"}
    return store


@pytest.mark.parametrize(
    ("step", "at", "number"),
    [
        pytest.param("list", 2, signal.SIGINT, marks=pytest.mark.slow),
        pytest.param("read", 1, signal.SIGINT, marks=pytest.mark.slow),
        pytest.param("read", 4, signal.SIGTERM, marks=pytest.mark.slow),
        ("encode", 1, signal.SIGINT),
        pytest.param("encode", 2, signal.SIGINT, marks=pytest.mark.slow),
        pytest.param("commit", 2, signal.SIGINT, marks=pytest.mark.slow),
        ("commit", 4, signal.SIGTERM),
        pytest.param("commit", 5, signal.SIGINT, marks=pytest.mark.slow),
        pytest.param("compact", 1, signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_an_index_run_that_is_stopped_is_told_in_one_line_and_goes_on(
    command: Command, made: dict[str, Path], wholes: dict[str, Any], tmp_path: Path, step: str, at: int, number: int
) -> None:
    def argv(atlas: Path) -> list[Any]:
        return ["index", made["source"], "--atlas", atlas, "--dataset", "opencell", "--faiss", "none"]

    # what stops before the first commit, or before anything is read, has nothing to tell in the ledger
    wrote = (step, at) not in [("list", 2), ("read", 1), ("encode", 1)]
    whole = wholes.setdefault("index", {})
    stopped(command, argv, lambda _: None, tmp_path, step, at, number, wrote=wrote, whole=whole)


@pytest.mark.parametrize("step", some(["encode", "commit"], 1))
def test_cells_that_are_stopped_while_they_are_found_or_embedded_go_on(
    command: Command, tmp_path: Path, step: str
) -> None:
    folder = write_masked(tmp_path / "fields")

    def argv(atlas: Path) -> list[Any]:
        return ["index", folder, "--atlas", atlas, "--dataset", "manifest", "--level", "cell", "--crop", "9px"]

    stopped(command, argv, lambda _: None, tmp_path, step, 3 if step == "commit" else 1)


@pytest.mark.parametrize(
    ("name", "step", "at"),
    some([("embed", "encode", 2), ("embed", "commit", 4), ("reembed", "encode", 2), ("reembed", "commit", 4)], 0, 3),
)
def test_a_second_encoder_that_is_stopped_goes_on_and_leaves_the_first_in_use(
    command: Command, made: dict[str, Path], wholes: dict[str, Any], tmp_path: Path, name: str, step: str, at: int
) -> None:
    plan = ["--channels", "random", "--plan-seed", "3"]

    def prepare(atlas: Path) -> None:
        shutil.copytree(made["indexed"], atlas)
        if name == "reembed":
            # begun beside the current one, so that it is known to the atlas by its fingerprint
            embed(atlas=atlas, request=EncoderRequest(mapping="random", seed=3), switch=False)
            store = Store.open(atlas)
            [table] = [t for t in store.tables() if t == embedding_table_name("fov", other(store))]
            with store.folder.writer("test"):
                store.delete(table, store.read(table, ["id"])["id"].to_pylist())

    def argv(atlas: Path) -> list[Any]:
        if name == "embed":
            return ["embed", "--atlas", atlas, *plan, "--faiss", "none"]
        return ["reembed", "--atlas", atlas, "--encoder", other(Store.open(atlas)), "--faiss", "none"]

    stopped(command, argv, prepare, tmp_path, step, at, signal.SIGTERM, whole=wholes.setdefault(name, {}))


def other(store: Store) -> str:
    """Fingerprint of the encoder that is not the first."""
    [found] = [row["fingerprint"] for row in store.read("encoders").to_pylist() if row["state"] != "current"]
    return str(found)


@pytest.mark.parametrize("at", some([2, 4], 1))
def test_an_import_of_vectors_that_is_stopped_goes_on(
    command: Command, made: dict[str, Path], wholes: dict[str, Any], tmp_path: Path, at: int
) -> None:
    def argv(atlas: Path) -> list[Any]:
        return ["import-embeddings", made["file"], "--atlas", atlas, "--name", "elsewhere"]

    stopped(command, argv, lambda _: None, tmp_path, "commit", at, whole=wholes.setdefault("import", {}))


def test_an_import_of_annotations_that_is_stopped_goes_on(command: Command, tmp_path: Path) -> None:
    from tests.indexer.annotation.test_bring_in import image, sheet

    file = sheet(tmp_path, *(f"x/f/{n},p,ER,,d{n}" for n in range(4)))

    def prepare(atlas: Path) -> None:
        from locatlas.indexer.store.rows import image_rows

        cells = [image(f"x/f/{n}", f"d{n}", "er" if n % 2 else "golgi") for n in range(4)]
        Store.create(atlas).upsert("cells", image_rows(cells, "cell"))

    def argv(atlas: Path) -> list[Any]:
        return ["annotate", "import", file, "--atlas", atlas, "--annotator", "anna", "--at", "2026-04-10"]

    store = stopped(command, argv, prepare, tmp_path, "commit", 2)
    assert {row["annotated_by"] for row in store.read("cells").to_pylist()} == {"anna"}


def test_maintenance_that_is_stopped_goes_on(command: Command, made: dict[str, Path], tmp_path: Path) -> None:
    def prepare(atlas: Path) -> None:
        shutil.copytree(made["indexed"], atlas)
        embed(atlas=atlas, request=EncoderRequest(mapping="random", seed=3))

    def argv(atlas: Path) -> list[Any]:
        return ["maintain", "--atlas", atlas, "--drop-superseded"]

    stopped(command, argv, prepare, tmp_path, "compact", 2)


def test_a_second_signal_ends_a_run_at_once_and_it_goes_on_all_the_same(
    command: Command, made: dict[str, Path], tmp_path: Path
) -> None:
    argv = ["index", made["source"], "--atlas", tmp_path / "a", "--dataset", "opencell", "--faiss", "none"]
    # within a commit, where the first one waits
    assert command(argv, "commit", 3, signal.SIGINT, signal.SIGINT) == (-signal.SIGINT, [])
    assert command(argv)[0] == 0
    assert contents(Store.open(tmp_path / "a")) == contents(Store.open(made["indexed"]))


def test_a_whole_process_ends_with_the_code_of_its_signal(
    commands: Forks, made: dict[str, Path], tmp_path: Path
) -> None:
    """With other processes that read, and with Python's own shutting down, which waits for threads."""
    argv = ["index", str(made["source"]), "--atlas", str(tmp_path / "a"), "--dataset", "opencell"]
    how = {"step": "read", "at": 4, "signals": [int(signal.SIGTERM)], "here": False}
    done = commands.run(PROGRAM, json.dumps(argv), json.dumps(how), shuts_down=True)
    assert (done.returncode, done.stderr.splitlines()) == (143, [TOLD.format("SIGTERM")])
