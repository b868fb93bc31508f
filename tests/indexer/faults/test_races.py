"""Processes beside each other on one atlas: one writes, readers see whole versions, nothing is taken for damage."""

import json
import os
import time
from pathlib import Path

import pytest
from torturing import commands
from torturing.model import between, differences
from torturing.sources import Field
from torturing.zygote import Zygote

from locatlas.indexer.store.locks import Owner
from tests.indexer.faults.held import hold, read_old_version
from tests.indexer.faults.prepared import COMMANDS, Prepared, done
from tests.quick import some

pytestmark = pytest.mark.skipif("sys.platform == 'win32'")


def wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)


def test_a_second_writer_is_told_who_writes_and_for_how_long(zygote: Zygote, copy: Path, tmp_path: Path) -> None:
    zygote.start(hold, copy, tmp_path / "end", watch=copy)
    wait_for(tmp_path / "held")
    writers = [
        (commands.tidy, (), {"drop": False}),
        (commands.build_index, ("hnsw", "fov"), {}),
        (commands.repair, (), {}),
    ]
    for function, args, options in writers:
        ended = zygote.call(function, copy, *args, watch=copy, by=1, **options)
        assert ended.how == "failed"
        assert ended.error.startswith("AtlasLockedError: ")
        assert "`index /images`, process " in ended.error
        assert " s)" in ended.error
    assert not done(zygote.call(commands.verified, copy, watch=copy, by=1, quick=False))["damage"]
    (tmp_path / "end").touch()
    done(zygote.wait())
    done(zygote.call(commands.tidy, copy, watch=copy, drop=False))


def test_a_lock_that_a_dead_process_left_is_none(zygote: Zygote, copy: Path, tmp_path: Path) -> None:
    zygote.start(hold, copy, tmp_path / "end", watch=copy)
    wait_for(tmp_path / "held")
    assert zygote.wait(kill_after_s=0).how == "killed"
    assert (copy / ".lock-owner").exists()
    done(zygote.call(commands.tidy, copy, watch=copy, drop=False))
    assert not (copy / ".lock-owner").exists()


@pytest.mark.parametrize("lock", [".lock-owner", ".reembedding/owner"])
def test_a_note_of_another_host_without_a_lock_stops_nobody(lock: str, zygote: Zygote, copy: Path) -> None:
    (copy / lock).parent.mkdir(exist_ok=True)
    owner = Owner(command="index", host="elsewhere", pid=os.getpid())
    (copy / lock).write_text(json.dumps({name: getattr(owner, name) for name in Owner.__dataclass_fields__}))
    done(zygote.call(commands.tidy, copy, watch=copy, drop=True))


def test_a_lock_that_another_host_holds_is_told_with_its_name(zygote: Zygote, copy: Path, tmp_path: Path) -> None:
    """As on a shared file system with locks: the lock is held, and the note is of a process that is none here."""
    zygote.start(hold, copy, tmp_path / "end", watch=copy)
    wait_for(tmp_path / "held")
    note = json.loads((copy / ".lock-owner").read_text())
    (copy / ".lock-owner").write_text(json.dumps({**note, "host": "elsewhere", "pid": 4_000_000}))
    ended = zygote.call(commands.tidy, copy, watch=copy, by=1, drop=False)
    (tmp_path / "end").touch()
    done(zygote.wait())
    assert "process 4000000 on elsewhere" in ended.error


@pytest.mark.parametrize("name", some(["index", "index cells", "embed", "maintain --drop-superseded"], 1, 3))
def test_readers_and_verify_beside_a_writer_see_rows_of_before_or_after_and_no_damage(
    name: str, zygote: Zygote, prepared: Prepared, copy: Path, tmp_path: Path
) -> None:
    function, args, options = COMMANDS[name](prepared)
    whole = prepared.copied(tmp_path / "whole")
    before = done(zygote.call(commands.look, whole, watch=whole, quick=True))[0]["rows"]
    done(zygote.call(function, whole, *args, watch=whole, **options))
    after = done(zygote.call(commands.look, whole, watch=whole, quick=True))[0]["rows"]
    zygote.start(function, copy, *args, watch=copy, **options)
    for quick in (True, False, True):
        seen, findings = done(zygote.call(commands.look, copy, watch=copy, by=1, quick=quick))
        assert between(before, after, seen["rows"], seen["duplicates"]) == []
        assert findings["damage"] == []
    done(zygote.wait())
    seen, findings = done(zygote.call(commands.look, copy, watch=copy, quick=False))
    assert differences(after, seen["rows"], seen["duplicates"]) == []
    assert findings["damage"] + findings["warning"] == []


def test_two_that_index_the_same_new_images_leave_each_image_once(
    zygote: Zygote, prepared: Prepared, copy: Path
) -> None:
    sources = prepared.sources
    zygote.start(commands.index_fields, copy, sources.opencell, 1, watch=copy)
    second = zygote.call(commands.index_fields, copy, sources.opencell, 1, watch=copy, by=1)
    first = zygote.wait()
    assert "ok" in (first.how, second.how)
    refused = [ended for ended in (first, second) if ended.how != "ok"]
    assert all(ended.error.startswith("AtlasLockedError: ") for ended in refused)
    seen, findings = done(zygote.call(commands.look, copy, watch=copy, quick=False))
    assert not any(seen["duplicates"].values())
    assert findings["damage"] + findings["warning"] == []
    wanted = {f"opencell/FID{n:08d}" for n, one in sources.fields.items() if one.seed is not None}
    assert {i for section, i in seen["rows"] if section == "fovs" and i.startswith("opencell/")} == wanted


def test_an_image_that_is_pruned_stays_for_a_reader_who_began_before(
    zygote: Zygote, prepared: Prepared, copy: Path, tmp_path: Path
) -> None:
    seen = done(zygote.call(commands.look, copy, watch=copy, quick=True))[0]["rows"]
    fields = sum(section == "fovs" for section, _ in seen)
    vectors = sum(section.startswith("emb_") for section, _ in seen)
    zygote.start(read_old_version, copy, tmp_path / "end", watch=copy)
    wait_for(tmp_path / "held")
    done(zygote.call(commands.index_fields, copy, prepared.sources.opencell, 1, watch=copy, by=1))
    for _ in range(2):
        done(zygote.call(commands.tidy, copy, watch=copy, by=1, drop=False))
    (tmp_path / "end").touch()
    assert done(zygote.wait()) == (fields, vectors)
    after = done(zygote.call(commands.look, copy, watch=copy, quick=True))[0]["rows"]
    assert ("fovs", "opencell/FID00000000") not in after
    assert isinstance(prepared.sources.fields[1], Field)
