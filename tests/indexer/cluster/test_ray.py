"""A cluster of real processes, two of whose nodes embed: the atlas is that of one machine, whoever is killed."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from locatlas.errors import InputError, LocatlasError
from locatlas.indexer.cluster import drive as driving
from locatlas.indexer.cluster.engine import RayEngine
from locatlas.indexer.cluster.worker import Sight
from locatlas.indexer.embed import embed, reembed
from locatlas.indexer.encoder_choice import EncoderRequest
from locatlas.indexer.index import index
from locatlas.indexer.pixel_cache.run import pack
from locatlas.indexer.store.tables import Store
from locatlas.indexer.summary import IndexSummary
from tests.indexer.made import contents, id_of, name_of, versions, write_collection

# read when Ray is imported: nothing is sent to anyone, nodes are on the loopback address
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
ray = pytest.importorskip("ray", reason="Ray is not installed (pip install 'locatlas[ray]')")
pytestmark = [
    pytest.mark.slow,  # some 20 s a test: workers load torch
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

N_FIELDS = 60
STORE_BYTES = 80 << 20


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that embeds nothing, and two nodes of one CPU each."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fields, one of which is none."""
    folder = write_collection(tmp_path_factory.mktemp("source"), range(N_FIELDS))
    (folder / name_of(7)).write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def local(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one machine makes of them, with as many threads as a worker has."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    target = tmp_path_factory.mktemp("local") / "atlas"
    index(source, atlas=target, dataset="opencell")
    torch.set_num_threads(before)
    return contents(Store.open(target))


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driving, "CHUNK_ROWS", 4)
    monkeypatch.setattr(driving, "COMMIT_ROWS", 16)


def indexed(
    cluster: Any, source: Path, target: Path, *, at: dict[int, Callable[[RayEngine], None]] | None = None
) -> IndexSummary:
    """Index on the cluster; something happens once so many images were answered."""
    events = dict(at or {})
    with RayEngine(address=cluster.address) as engine:

        def progress(what: str, done: int, _total: int) -> None:
            for n in [n for n in events if what == "embedding" and done >= n]:
                events.pop(n)(engine)

        summary = index(source, atlas=target, dataset="opencell", engine=engine, progress=progress)
    assert not events
    return summary


def kill_a_worker(engine: RayEngine) -> None:
    assert engine._pool is not None
    busy = max(engine._pool[1]._actors, key=lambda actor: len(actor.parts))
    assert busy.parts
    os.kill(busy.process, signal.SIGKILL)


def test_the_atlas_is_that_of_one_machine_and_a_second_run_does_nothing(
    cluster: Any, source: Path, local: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("locatlas.indexer.job.load_encoder", lambda _: pytest.fail("embedded here"))
    used = set[str]()

    def note(engine: RayEngine) -> None:
        assert engine._pool is not None
        used.update(str(actor.node) for actor in engine._pool[1]._actors if actor.parts)

    before = signal.getsignal(signal.SIGTERM)
    summary = indexed(cluster, source, tmp_path / "atlas", at=dict.fromkeys(range(4, N_FIELDS, 8), note))
    assert signal.getsignal(signal.SIGTERM) is before
    assert not ray.is_initialized()
    assert contents(Store.open(tmp_path / "atlas")) == local
    assert (summary.embedded, [r.source for r in summary.quarantined]) == (N_FIELDS - 1, [name_of(7)])
    assert len(used) == 2
    held = versions(Store.open(tmp_path / "atlas"))
    assert indexed(cluster, source, tmp_path / "atlas").embedded == 0
    assert versions(Store.open(tmp_path / "atlas")) == held


def test_a_worker_that_is_killed_costs_nothing_but_time(
    cluster: Any, source: Path, local: dict[str, Any], tmp_path: Path
) -> None:
    indexed(cluster, source, tmp_path / "atlas", at={12: kill_a_worker})
    assert contents(Store.open(tmp_path / "atlas")) == local
    run = Store.open(tmp_path / "atlas").read("runs").to_pylist()[0]
    assert run["state"] == "done"
    assert "parts lost with their worker" in run["counts"]


def test_a_node_that_is_lost_costs_nothing_but_time(
    cluster: Any, source: Path, local: dict[str, Any], tmp_path: Path
) -> None:
    node = cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    indexed(cluster, source, tmp_path / "atlas", at={12: lambda _: cluster.remove_node(node, allow_graceful=False)})
    assert contents(Store.open(tmp_path / "atlas")) == local


def test_a_run_that_ends_in_the_middle_is_completed_by_the_next_on_one_machine_or_many(
    cluster: Any, source: Path, local: dict[str, Any], tmp_path: Path
) -> None:
    def stop(_: RayEngine) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        indexed(cluster, source, tmp_path / "atlas", at={30: stop})
    store = Store.open(tmp_path / "atlas")
    assert 0 < store.count("fovs") < N_FIELDS - 1
    assert store.read("runs")["state"].to_pylist() == ["interrupted"]
    left = N_FIELDS - 1 - store.count("fovs")
    assert indexed(cluster, source, tmp_path / "atlas").embedded == left
    assert contents(store) == local


def test_an_image_that_ends_its_workers_goes_to_quarantine(
    cluster: Any, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from locatlas.indexer.cluster.parts import Answer, unpacked
    from locatlas.indexer.cluster.worker import Worker

    poison = id_of(20)

    class Fragile(Worker):
        def embed(self, data: bytes) -> Answer:
            if any(pending.record.id == poison for pending in unpacked(data)):
                os.kill(os.getpid(), signal.SIGKILL)
            return super().embed(data)

    monkeypatch.setattr("locatlas.indexer.cluster.pool.Worker", Fragile)
    summary = indexed(cluster, source, tmp_path / "atlas")
    assert summary.embedded == N_FIELDS - 2
    assert {r.source for r in summary.quarantined} == {name_of(7), name_of(20)}
    reason = next(r.reason for r in summary.quarantined if r.source == name_of(20))
    assert "ended 2 processes" in reason
    held = versions(Store.open(tmp_path / "atlas"))
    monkeypatch.undo()
    assert indexed(cluster, source, tmp_path / "atlas").embedded == 0  # not tried again
    assert versions(Store.open(tmp_path / "atlas")) == held


def test_what_is_stale_is_embedded_again_beside_others(cluster: Any, source: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    index(source, atlas=tmp_path / "atlas", dataset="opencell")
    torch.set_num_threads(before)
    store = Store.open(tmp_path / "atlas")
    whole = contents(store)
    table = next(name for name in store.tables() if name.startswith("emb_"))
    with store.folder.writer("test"):
        store.delete(table, [id_of(3), id_of(5), id_of(40)])
    with RayEngine(address=cluster.address, workers=1) as engine:
        assert reembed(atlas=tmp_path / "atlas", engine=engine).embedded == 3
        assert contents(store) == whole
        request = EncoderRequest(stains=("protein",))
        summary = embed(atlas=tmp_path / "atlas", request=request, engine=engine)
        assert (summary.embedded, summary.encoders["fov"].state) == (N_FIELDS - 1, "current")
        with pytest.raises(InputError, match="for one machine"):
            reembed(atlas=tmp_path / "atlas", engine=engine, busy=0.5)


def test_workers_read_what_was_packed_and_vectors_may_be_stored_as_float16(
    cluster: Any, source: Path, tmp_path: Path
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    half = EncoderRequest(storage="float16")
    index(source, atlas=tmp_path / "local", dataset="opencell", request=half)
    other = EncoderRequest(stains=("protein",), storage="float16")
    embed(atlas=tmp_path / "local", request=other)
    torch.set_num_threads(before)
    with RayEngine(address=cluster.address) as engine:
        index(source, atlas=tmp_path / "atlas", dataset="opencell", request=half, engine=engine)
        pack(atlas=tmp_path / "atlas")
    with RayEngine(address=cluster.address) as engine:
        summary = embed(atlas=tmp_path / "atlas", request=other, engine=engine)
    assert (summary.embedded, summary.from_pack) == (N_FIELDS - 1, N_FIELDS - 1)
    store = Store.open(tmp_path / "atlas")
    assert contents(store) == contents(Store.open(tmp_path / "local"))
    tables = [name for name in store.tables() if name.startswith("emb_")]
    types = [store.read(name).schema.field("vector").type.value_type for name in tables]
    assert types == [pa.float16()] * 2


def test_what_a_machine_does_not_see_is_told_and_nothing_is_embedded(
    cluster: Any, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from locatlas.indexer.cluster import engine as module

    monkeypatch.setattr(module, "_sight", lambda work, roots: Sight(("/not/mounted",), ()))
    with pytest.raises(InputError, match=r"does not see /not/mounted, where images lie; mount it there"):
        indexed(cluster, source, tmp_path / "atlas")
    assert Store.open(tmp_path / "atlas").count("fovs") == 0


def test_a_cluster_without_room_is_told(
    cluster: Any, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("locatlas.indexer.cluster.pool.PATIENCE_S", 0.5)
    with (
        RayEngine(address=cluster.address, worker_cpus=64, workers=1) as engine,
        pytest.raises(LocatlasError, match="no room for a worker of 64 CPU"),
    ):
        index(source, atlas=tmp_path / "atlas", dataset="opencell", engine=engine)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:1", "127.0.0.1:1: nobody answers"),
        ("ray://127.0.0.1:10001", "HOST:PORT of the head node needed"),
        ("somewhere", "HOST:PORT"),
    ],
)
def test_an_address_where_no_cluster_is_is_told_at_once(source: Path, tmp_path: Path, address: str, said: str) -> None:
    with RayEngine(address=address) as engine, pytest.raises(InputError, match=said):
        index(source, atlas=tmp_path / "atlas", dataset="opencell", engine=engine)
