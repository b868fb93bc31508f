"""A file that kills, stops or starves its decoder costs itself only."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile

from locatlas.errors import ImageRejectedError, InputError, LocatlasError
from locatlas.indexer.files import decoder_process as module
from locatlas.indexer.files import decoder_worker, decoding
from locatlas.indexer.files.decoders import Decoders
from locatlas.indexer.index import index
from locatlas.indexer.records import ImageRecord, Source
from locatlas.indexer.store.tables import Store
from locatlas.interrupts import StopRequested
from tests.indexer.made import id_of, name_of, pixels, vectors, versions, write_collection

SCRIPT = Path(__file__).with_name("dying_decoder.py")
Dying = Callable[..., Decoders]


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch) -> Iterator[Dying]:
    """Puts decoders in place that end by files of these names."""
    made: list[Decoders] = []

    def start(**fates: str) -> Decoders:
        arguments = [f"{mark}={how}" for mark, how in fates.items()]
        found = Decoders((sys.executable, str(SCRIPT), json.dumps(sys.path), *arguments))
        monkeypatch.setattr(decoding, "decoders", lambda: found)
        made.append(found)
        return found

    yield start
    for one in made:
        one.close()


def write(folder: Path, name: str, seed: int = 1) -> ImageRecord:
    path = folder / f"{name}.tif"
    tifffile.imwrite(path, pixels(seed), imagej=True, metadata={"axes": "CYX"})
    return ImageRecord(id=f"x/{name}", level="fov", dataset="x", sources=(Source(path, ("nucleus", "protein")),))


def started(decoders: Decoders) -> list[int]:
    """Processes that wait for a file, or are still starting."""
    return sorted(one._process.pid for one in decoders._idle)


def test_processes_that_were_started_ahead_are_those_that_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Decoders()
    monkeypatch.setattr(decoding, "decoders", lambda: found)
    try:
        found.start(2)
        ahead = started(found)
        found.start(1)  # as many are there
        assert started(found) == ahead
        assert len(ahead) == 2
        for seed in (1, 2, 3):
            np.testing.assert_array_equal(decoding.read_image(write(tmp_path, "a", seed))[0].pixels, pixels(seed))
        assert started(found) == ahead
        found._idle[-1]._process.kill()  # whichever is asked next
        np.testing.assert_array_equal(decoding.read_image(write(tmp_path, "a"))[0].pixels, pixels(1))
    finally:
        found.close()


def test_one_that_is_killed_while_it_starts_costs_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Decoders()
    monkeypatch.setattr(decoding, "decoders", lambda: found)
    try:
        found.start(1)
        found._idle[0]._process.kill()
        np.testing.assert_array_equal(decoding.read_image(write(tmp_path, "a"))[0].pixels, pixels(1))
    finally:
        found.close()


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("segv", r"the decoder was ended by SIGSEGV, in a second attempt too"),
        pytest.param("abort", r"the decoder was ended by SIGABRT", marks=pytest.mark.slow),
        pytest.param("kill", r"the decoder was ended by SIGKILL", marks=pytest.mark.slow),
        ("hang", r"takes longer to decode than the 3 s allowed \(LOCATLAS_LIMITS, decoder_seconds\)"),
        ("memory", r"needs more memory than one image may \(64 MiB\)"),
        ("bug", r"the decoder ended with exit status 1: ZeroDivisionError: a reader's mistake"),
    ],
)
def test_a_decoder_that_ends_rejects_its_image_and_the_next_is_read(
    how: str, reason: str, dying: Dying, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCATLAS_LIMITS", "decoder_seconds=3,decoder_bytes=64M")
    dying(bad=how)
    good = write(tmp_path, "good")
    bad = write(tmp_path, "bad", seed=2)
    np.testing.assert_array_equal(decoding.read_image(good)[0].pixels, pixels(1))
    with pytest.raises(ImageRejectedError, match=rf"bad\.tif: {reason}") as caught:
        decoding.read_image(bad)
    assert "\n" not in str(caught.value)
    np.testing.assert_array_equal(decoding.read_image(good)[0].pixels, pixels(1))


def test_a_decoder_that_was_stopped_is_not_waited_for(
    dying: Dying, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCATLAS_LIMITS", "decoder_seconds=1")
    monkeypatch.setattr(module, "GRACE_S", 0.5)
    dying(bad="stop")
    with pytest.raises(ImageRejectedError, match=r"bad\.tif: no answer within 1 s"):
        decoding.read_image(write(tmp_path, "bad"))


def test_a_decoder_that_was_killed_by_chance_is_followed_by_another(dying: Dying, tmp_path: Path) -> None:
    counted = tmp_path / "attempts"
    dying(bad=f"once:{counted}")
    np.testing.assert_array_equal(decoding.read_image(write(tmp_path, "bad"))[0].pixels, pixels(1))
    assert counted.read_bytes() == b"xx"


def test_a_decoder_starts_where_the_kernel_takes_no_offer(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_text", refuse)
    decoder_worker._offer_to_kernel()


@pytest.mark.parametrize("how", ["hang", "segv"])
def test_a_decoder_that_hangs_or_dies_after_a_stop_is_ended_and_not_tried_again(
    how: str, dying: Dying, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STOP_POLL_S", 0.01)
    found = dying(bad=how)
    bad = write(tmp_path, "bad")
    decoding.read_image(write(tmp_path, "good"))
    monkeypatch.setattr("locatlas.interrupts._asked", [signal.SIGINT])
    started: list[bool] = []
    take = found._take
    monkeypatch.setattr(found, "_take", lambda *, anew: (started.append(anew), take(anew=anew))[1])
    with pytest.raises(StopRequested):
        decoding.read_image(bad)
    assert (started, found._idle) == ([False], [])


def test_what_a_library_prints_does_not_stand_among_the_answers(dying: Dying, tmp_path: Path) -> None:
    dying(loud="noise")
    np.testing.assert_array_equal(decoding.read_image(write(tmp_path, "loud"))[0].pixels, pixels(1))


def test_threads_share_decoders_and_each_gets_its_own_image(tmp_path: Path) -> None:
    records = [write(tmp_path, f"n{n}", seed=n) for n in range(24)]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(decoding.read_image, records * 3))
    for n, (image, _) in enumerate(found):
        np.testing.assert_array_equal(image.pixels, pixels(n % 24))


def index_here(source: Path, atlas: Path) -> Store:
    index(source, atlas=atlas, dataset="opencell", commit_rows=4)
    return Store.open(atlas)


class TestIndex:
    def test_images_that_kill_hang_or_starve_go_to_quarantine_and_the_others_are_as_without_them(
        self, dying: Dying, plain: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = write_collection(tmp_path / "source", range(12))
        expected = index_here(source, tmp_path / "expected")
        table = next(t for t in expected.tables() if t.startswith("emb_"))
        monkeypatch.setenv("LOCATLAS_LIMITS", "decoder_seconds=3,decoder_bytes=64M")
        fates = {name_of(n).split("_")[4]: how for n, how in {1: "segv", 5: "kill", 6: "hang", 10: "memory"}.items()}
        dying(**fates)
        store = index_here(source, tmp_path / "atlas")
        lost = {id_of(n) for n in (1, 5, 6, 10)}
        assert vectors(store, table) == {i: v for i, v in vectors(expected, table).items() if i not in lost}
        reasons = {row["source"][-16:-9]: row["reason"] for row in store.read("quarantine").to_pylist()}
        assert len(reasons) == 4
        assert [
            next(word for word in ("SIGSEGV", "SIGKILL", "longer", "memory") if word in reason)
            for _, reason in sorted(reasons.items())
        ] == ["SIGSEGV", "SIGKILL", "longer", "memory"]
        before = versions(store)
        assert versions(index_here(source, tmp_path / "atlas")) == before  # nothing is tried again

    def test_other_limits_are_a_reason_to_try_again(
        self, dying: Dying, plain: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = write_collection(tmp_path / "source", range(2))
        monkeypatch.setenv("LOCATLAS_LIMITS", "pixels=100")
        assert index_here(source, tmp_path / "atlas").count("quarantine") == 2
        monkeypatch.setenv("LOCATLAS_LIMITS", "pixels=1M")
        store = index_here(source, tmp_path / "atlas")
        assert (store.count("quarantine"), store.count("fovs")) == (0, 2)

    def test_a_decoder_that_cannot_start_stops_the_run_and_blames_no_image(
        self, plain: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broken = Decoders((sys.executable, "-c", "raise ModuleNotFoundError('no module named tifffile')"))
        monkeypatch.setattr(decoding, "decoders", lambda: broken)
        source = write_collection(tmp_path / "source", range(2))
        with pytest.raises(LocatlasError, match=r"cannot be started: .*no module named tifffile"):
            index_here(source, tmp_path / "atlas")
        assert not (tmp_path / "atlas").exists()


@pytest.mark.parametrize("text", ["pixels", "pixels=", "pixels=-1", "pixels=0", "size=3", "pixels=1e9", "ratio=9P"])
def test_limits_that_cannot_be_read_are_named_and_blame_no_image(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCATLAS_LIMITS", text)
    with pytest.raises(InputError, match="LOCATLAS_LIMITS: ") as caught:
        decoding.read_image(write(tmp_path, "a"))
    assert not isinstance(caught.value, ImageRejectedError)


def test_decoders_end_with_a_run_that_was_killed(tmp_path: Path) -> None:
    record = write(tmp_path, "a")
    code = (
        "import sys, time; from pathlib import Path; from locatlas.indexer.files import decoding, decoders\n"
        "from locatlas.indexer.records import ImageRecord, Source\n"
        "s = Source(Path(sys.argv[1]), ('nucleus', 'protein'))\n"
        "decoding.read_image(ImageRecord(id='x/a', level='fov', dataset='x', sources=(s,)))\n"
        "print(decoders.decoders()._idle[0]._process.pid, flush=True); time.sleep(600)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.Popen(
        [sys.executable, "-c", code, str(record.sources[0].path)], stdout=subprocess.PIPE, env=environment
    )
    assert run.stdout is not None
    with run, run.stdout:
        pid = int(run.stdout.readline())
        assert Path(f"/proc/{pid}").exists() or sys.platform != "linux"
        run.send_signal(signal.SIGKILL)
        run.wait()
    for _ in range(200):
        if not _alive(pid):
            return
        time.sleep(0.05)
    raise AssertionError("the decoder outlived the run")


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_decoder_loads_neither_networks_nor_the_store() -> None:
    code = "import locatlas.indexer.files.decoder_worker, sys; print(*{m.partition('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"torch", "timm", "lancedb", "lance", "faiss", "pyarrow", "sklearn"}
