"""A disk that is really full, a tmpfs: Lance's own writes, Python's, FAISS's; skipped where none can be mounted."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from torturing import commands
from torturing.disk import Disk, mounted
from torturing.model import between, differences
from torturing.worker import Fault
from torturing.zygote import Zygote

from locatlas.cli import main
from tests.indexer.faults.prepared import COMMANDS, Prepared, done

pytestmark = pytest.mark.skipif("sys.platform != 'linux'")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with mounted(tmp_path / "disk", 24) as made:
        if made is None:
            pytest.skip("a tmpfs cannot be mounted here")
        yield made


def tells_it(error: str) -> bool:
    """By the system, by a library, or before anything was written."""
    return any(said in error for said in ("No space left on device", "disk full", "Disk full", "are free; nothing was"))


def check(name: str, zygote: Zygote, prepared: Prepared, disk: Disk, kilobytes: tuple[int, ...]) -> set[str]:
    function, args, options = COMMANDS[name](prepared)
    whole, path, ends = disk.path / "whole", disk.path / "copy", set()
    prepared.copied(whole)
    before = done(zygote.call(commands.look, whole, watch=whole, quick=True))[0]["rows"]
    done(zygote.call(function, whole, *args, watch=whole, **options))
    after = done(zygote.call(commands.look, whole, watch=whole, quick=True))[0]["rows"]
    shutil.rmtree(whole)
    for free in kilobytes:
        prepared.copied(path)
        with disk.full(1024 * free):
            ended = zygote.call(function, path, *args, watch=path, fault=Fault("full"), **options)
            seen, findings = done(zygote.call(commands.look, path, watch=path, quick=False))
        ends.add(ended.how)
        assert ended.how in ("ok", "failed"), ended.error + ended.trace
        assert len(ended.error.splitlines()) <= 1, ended.error
        if ended.how == "failed":
            assert tells_it(ended.error), ended.error
            assert str(path) in ended.error
        assert between(before, after, seen["rows"], seen["duplicates"]) == []
        assert findings["damage"] == [], f"{free} KB: {findings}"
        done(zygote.call(function, path, *args, watch=path, **options))
        seen, findings = done(zygote.call(commands.look, path, watch=path, quick=False))
        assert differences(after, seen["rows"], seen["duplicates"]) == []
        assert findings["damage"] + findings["warning"] == []
    return ends


def test_a_full_disk_ends_a_run_in_one_line_that_names_the_path_and_it_can_be_run_again(
    zygote: Zygote, prepared: Prepared, disk: Disk
) -> None:
    assert "failed" in check("index", zygote, prepared, disk, (0, 40, 60))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in COMMANDS if "repair" not in name])
def test_a_disk_that_fills_up_anywhere_in_a_command_loses_nothing(
    name: str, zygote: Zygote, prepared: Prepared, disk: Disk
) -> None:
    ends = check(name, zygote, prepared, disk, (0, 4, 12, 24, 48, 96, 192, 384, 8192))
    assert ends == {"ok", "failed"}


def test_a_full_disk_leaves_the_faiss_index_of_before_or_none(zygote: Zygote, prepared: Prepared, disk: Disk) -> None:
    """FAISS itself would leave a part of the file in its place."""
    path = prepared.copied(disk.path / "copy")
    with disk.full(2048):
        ended = zygote.call(commands.build_index, path, "hnsw", "fov", watch=path)
    assert ended.how == "failed"
    assert tells_it(ended.error)
    files = {p.suffix for p in (path / "indices").iterdir()}
    assert ".json" not in files or files == {".json", ".ids", ".faiss"}
    assert not done(zygote.call(commands.verified, path, watch=path, quick=False))["damage"]


def test_the_command_line_tells_a_full_disk_in_one_line_and_exits_1(
    prepared: Prepared, disk: Disk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = prepared.copied(disk.path / "copy")
    with disk.full(0), pytest.raises(SystemExit) as ended:
        main(["annotate", "import", str(prepared.sheet), "--atlas", str(path), "--annotator", "ben", "--new-labels"])
    assert ended.value.code == 1
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert told[0].startswith("locatlas: ")
    assert "No space left on device" in told[0]
    assert str(path) in told[0]
