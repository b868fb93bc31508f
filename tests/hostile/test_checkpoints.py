"""Row 30: checkpoints and vector files that run code, promise memory or never end; refused in one line, and quickly."""

import io
import json
import os
import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from locatlas.errors import ImageRejectedError, InputError, LocatlasError, WeightsError
from locatlas.indexer.files import decoding
from locatlas.indexer.importing.files import read_vector_file
from locatlas.models.layouts import convert
from locatlas.models.weights import load_state, read_checkpoint


class Touches:
    """Unpickled freely it touches a file: what a malicious checkpoint does."""

    def __init__(self, marker: Path, how: Callable[..., Any] = os.system) -> None:
        self.marker, self.how = marker, how

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, ...]]:
        code = f"__import__('pathlib').Path({str(self.marker)!r}).touch()"
        return self.how, (f"touch {self.marker}" if self.how is os.system else code,)


def one_line(error: BaseException, path: Path) -> None:
    assert str(path) in str(error)
    assert "\n" not in str(error)
    assert len(str(error)) < 3000


@pytest.mark.parametrize("how", [os.system, eval, exec], ids=lambda f: f.__name__)
@pytest.mark.parametrize("place", ["alone", "among tensors", "as a key", "within a tensor"])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
def test_the_marker_of_a_malicious_pickle_never_appears(
    suffix: str, zipped: bool, place: str, how: Callable[..., Any], tmp_path: Path
) -> None:
    marker, path = tmp_path / "marker", tmp_path / f"x{suffix}"
    evil = Touches(marker, how)
    held: Any = {
        "alone": evil,
        "among tensors": {"teacher": {"cls_token": torch.zeros(1)}, "epoch": evil},
        "as a key": {(1, evil): torch.zeros(1)},
        "within a tensor": [torch.zeros(2), np.array([evil], dtype=object), [], []],
    }[place]
    torch.save(held, path, _use_new_zipfile_serialization=zipped)
    readers: list[Callable[[Path], Any]] = [read_checkpoint, load_state]
    readers += [read_vector_file] if suffix != ".bin" else []
    for read in readers:
        with pytest.raises(LocatlasError) as caught:
            read(path)
        one_line(caught.value, path)
    assert not marker.exists()
    if place == "alone":  # the danger is real
        pickle.loads(pickle.dumps(evil))
        assert marker.exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".parquet"])
def test_a_pickle_under_another_name_is_not_unpickled(suffix: str, tmp_path: Path) -> None:
    marker, path = tmp_path / "marker", tmp_path / f"x{suffix}"
    path.write_bytes(pickle.dumps(Touches(marker)))
    with pytest.raises(LocatlasError) as caught:
        (read_checkpoint if suffix == ".safetensors" else read_vector_file)(path)
    one_line(caught.value, path)
    assert not marker.exists()


@pytest.mark.parametrize("member", ["ids", "vectors", "extra"])
def test_object_arrays_in_an_npz_are_not_unpickled(member: str, tmp_path: Path) -> None:
    marker, path = tmp_path / "marker", tmp_path / "x.npz"
    arrays: dict[str, Any] = {"ids": np.array(["a"]), "vectors": np.zeros((1, 2)), "extra": np.array(["b"])}
    arrays[member] = np.array([Touches(marker)], dtype=object)
    np.savez(path, **arrays)
    with pytest.raises(InputError) as caught:
        read_vector_file(path)
    one_line(caught.value, path)
    assert not marker.exists()


def held_in_itself() -> dict[str, Any]:
    held: dict[str, Any] = {}
    held["model"] = held
    return held


def doubling() -> list[Any]:
    inner: list[Any] = [1.0]
    for _ in range(30):
        inner = [inner, inner]
    return inner


def deep() -> list[Any]:
    inner: list[Any] = []
    for _ in range(200):
        inner = [inner]
    return inner


def sparse() -> dict[str, Any]:
    with warnings.catch_warnings(action="ignore"):  # torch's doubts about such tensors
        return {"a": torch.sparse_coo_tensor(size=(2**20, 2**20))}


STRANGE: dict[str, tuple[Callable[[], Any], str]] = {
    "a container that holds itself": (held_in_itself, "holds itself"),
    "deep nesting": (lambda: {"model": deep()}, "nested deeper than"),
    "containers that double": (lambda: {"model": doubling()}, "again and again"),
    "a terabyte over four bytes": (lambda: {"a": torch.zeros(1).expand(2**38)}, "promises 1099511627776 bytes"),
    "many views of the same": (
        lambda: (
            {f"{i}": torch.zeros(2**18).view(1, -1).expand(1, 2**18) for i in range(1)}
            | {f"v{i}": SHARED[i:] for i in range(40)}
        ),
        "promises",
    ),
    "a sparse tensor": (sparse, "sparse_coo tensor"),
    "a meta tensor": (lambda: {"a": torch.empty(2**40, device="meta")}, "tensor on meta|beside tensors"),
}
SHARED = torch.zeros(2**18)


@pytest.mark.parametrize("what", STRANGE)
def test_a_checkpoint_that_never_ends_or_promises_memory_is_refused(what: str, tmp_path: Path) -> None:
    make, says = STRANGE[what]
    path = tmp_path / "x.pth"
    torch.save(make(), path)
    with pytest.raises(WeightsError, match=says) as caught:
        load_state(path)
    one_line(caught.value, path)


def test_features_that_double_or_promise_memory_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    for feature in (doubling(), torch.zeros(1).expand(2**38), [deep()]):
        torch.save([feature, torch.zeros(1, 2), ["c"], ["i"]], path)
        with pytest.raises(InputError, match=r"again and again|promises|nested deeper") as caught:
            read_vector_file(path)
        one_line(caught.value, path)


def test_a_checkpoint_that_was_deflated_is_a_bomb(tmp_path: Path) -> None:
    plain, path = tmp_path / "plain.pth", tmp_path / "x.pth"
    torch.save({"a": torch.zeros(2**21)}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    assert path.stat().st_size < 100_000
    for read in (read_checkpoint, read_vector_file):
        with pytest.raises(LocatlasError, match="decompression bomb") as caught:
            read(path)
        one_line(caught.value, path)


def test_names_of_tensors_that_are_long_or_of_several_lines_stay_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({"a\nb\x1b[31m": 1, "long" * 10_000: 2, "t": torch.zeros(1)}, path)
    with pytest.raises(WeightsError) as caught:
        load_state(path)
    one_line(caught.value, path)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.module."])
def test_names_that_are_wrapped_without_an_end_cost_no_time(prefix: str) -> None:
    name = prefix * 200_000
    assert len(convert({f"{name}a": torch.zeros(1), f"{name}b": torch.zeros(1)}).tensors) == 2


def safetensors_bytes(header: bytes, data: bytes = b"", *, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def entry(shape: list[int], offsets: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


SAFETENSORS = {
    "a header of 2^60 bytes": safetensors_bytes(b"{}", length=2**60),
    "a header beyond the file": safetensors_bytes(b"{}", length=2**20),
    "a header of 101 MB": safetensors_bytes(b" " * 101_000_000),
    "a header that is no JSON": safetensors_bytes(b"\xff\xfe"),
    "deep JSON": safetensors_bytes(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "a tensor beyond the file": safetensors_bytes(json.dumps({"a": entry([2**20], [0, 2**22])}).encode(), bytes(8)),
    "a shape that overflows": safetensors_bytes(json.dumps({"a": entry([2**40, 2**40], [0, 8])}).encode(), bytes(8)),
    "tensors that overlap": safetensors_bytes(
        json.dumps({"a": entry([2], [0, 8]), "b": entry([2], [4, 12])}).encode(), bytes(12)
    ),
    "offsets that go back": safetensors_bytes(json.dumps({"a": entry([2], [8, 0])}).encode(), bytes(8)),
    "bytes of nobody": safetensors_bytes(json.dumps({"a": entry([1], [0, 4])}).encode(), bytes(12)),
}


@pytest.mark.parametrize("what", SAFETENSORS)
def test_safetensors_that_lie_are_refused(what: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(SAFETENSORS[what])
    with pytest.raises(WeightsError) as caught:
        load_state(path)
    one_line(caught.value, path)


def npz(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return path


def npy(array: np.ndarray, shape: str | None = None) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    data = out.getvalue()
    if shape is None:
        return data
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + data[128:]


class TestVectorFiles:
    def refused(self, path: Path, says: str) -> None:
        with pytest.raises(InputError, match=says) as caught:
            read_vector_file(path)
        one_line(caught.value, path)

    def test_a_header_that_promises_a_huge_array_allocates_nothing(self, tmp_path: Path) -> None:
        vectors = np.zeros((1, 4), np.float32)
        for shape in ("(1000000000, 1000000000)", "(10000000000,)", "(-1, 4)"):
            data = npy(vectors, shape)
            self.refused(npz(tmp_path / "x.npz", ids=npy(np.array(["a"])), vectors=data), "promises .* bytes, but has")

    def test_an_npz_bomb_is_refused_by_its_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LOCATLAS_LIMITS", "ratio_free_bytes=1M")
        zeros = npy(np.zeros((1, 2**20), np.float32))
        path = npz(tmp_path / "x.npz", ids=npy(np.array(["a"])), vectors=zeros)
        self.refused(path, "decompression bomb")

    def test_a_zip_within_a_zip_is_not_unpacked(self, tmp_path: Path) -> None:
        inner = npz(tmp_path / "inner.npz", ids=npy(np.array(["a"])))
        self.refused(npz(tmp_path / "x.npz", ids=inner.read_bytes(), vectors=inner.read_bytes()), "cannot be read")

    def test_a_run_of_nulls_in_parquet_is_refused_by_its_footer(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LOCATLAS_LIMITS", "ratio_free_bytes=1M")
        n = 2**20  # kept small in the file: a run of one value
        path = tmp_path / "x.parquet"
        pq.write_table(pa.table({"id": pa.nulls(n, pa.string()), "vector": pa.nulls(n, pa.list_(pa.float32()))}), path)
        assert path.stat().st_size < 5000
        self.refused(path, "decompression bomb")


def h5(path: Path, make: Callable[[h5py.File, h5py.Group], None]) -> Path:
    """A file as scPortrait's, changed."""
    with h5py.File(path, "w") as file:
        images = file.create_dataset("obsm/single_cell_images", data=np.zeros((2, 1, 4, 4), np.float16))
        images.attrs["channel_names"], images.attrs["channel_mapping"] = ["a"], ["image_channel"]
        make(file, file.create_group("obs"))
    return path


def outside(path: Path) -> Path:
    other = path / "secret.h5"
    with h5py.File(other, "w") as file:
        file["ids"] = np.arange(2)
    return other


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda f, obs, other: obs.__setitem__("cell_id", h5py.ExternalLink(str(other), "ids")), "link to elsewhere"),
        (lambda f, obs, other: obs.__setitem__("cell_id", h5py.SoftLink("/obsm")), "link to elsewhere"),
        (
            lambda f, obs, other: obs.create_dataset("cell_id", (2,), "i8", external=[(str(other), 0, 16)]),
            "kept in other files",
        ),
        (lambda f, obs, other: virtual(obs, other), "kept in other files"),
        (lambda f, obs, other: obs.create_dataset("cell_id", (10**12,), "i8", chunks=(1024,)), r"for 2 cells"),
        (
            lambda f, obs, other: [
                obs.create_dataset("cell_id", (2,), "i8"),
                obs.create_dataset("p/categories", (10**12,), "i8", chunks=(1024,)),
                obs.create_dataset("p/codes", (2,), "i8"),
            ],
            "too large",
        ),
    ],
    ids=["external link", "soft link", "external storage", "virtual data", "10^12 cells", "10^12 categories"],
)
def test_hdf5_that_leads_elsewhere_or_promises_entries_is_refused(
    make: Callable[..., Any], says: str, tmp_path: Path
) -> None:
    path = h5(tmp_path / "x.h5sc", lambda file, obs: make(file, obs, outside(tmp_path)))
    with pytest.raises(ImageRejectedError, match=says) as caught:
        decoding.read_cell_file(path)
    one_line(caught.value, path)


def virtual(obs: h5py.Group, other: Path) -> None:
    layout = h5py.VirtualLayout((2,), "i8")
    layout[:] = h5py.VirtualSource(str(other), "ids", (2,))
    obs.create_virtual_dataset("cell_id", layout)
