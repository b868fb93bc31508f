"""Vectors from files of others: every layout that is read, every one that is refused, nothing unpickled freely."""

import pickle
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from locatlas.errors import InputError
from locatlas.indexer.importing.blocks import VectorRows
from locatlas.indexer.importing.files import read_vector_file
from locatlas.indexer.labels import get_vocabulary

VECTORS = np.arange(12, dtype=np.float32).reshape(3, 4)
CLASSES = sorted(get_vocabulary("kaggle-2018").labels)


def told(found: VectorRows) -> dict[str, list[str | None]]:
    return {name: values.to_pylist() for name, values in found.columns.items()}


def write_parquet(path: Path, vector: Any, **columns: Any) -> Path:
    given = {"id": ["a", "b", "c"], "vector": vector, **columns}
    pq.write_table(pa.table({name: value for name, value in given.items() if value is not None}), path)
    return path


def lists(kind: pa.DataType, values: Any = VECTORS) -> pa.Array:
    return pa.array([list(row) if row is not None else None for row in values], kind)


PARQUET = {
    "list": pa.list_(pa.float32()),
    "fixed-size list": pa.list_(pa.float32(), 4),
    "large list": pa.large_list(pa.float32()),
    "list of float64": pa.list_(pa.float64()),
    "fixed-size list of float64": pa.list_(pa.float64(), 4),
    "fixed-size list of float16": pa.list_(pa.float16(), 4),
    "list of integers": pa.list_(pa.int32()),
}


@pytest.mark.parametrize("kind", PARQUET)
def test_parquet_with_lists_of_numbers_is_read(tmp_path: Path, kind: str) -> None:
    column = lists(PARQUET["list"]).cast(PARQUET[kind])
    made = write_parquet(tmp_path / "v.parquet", column, protein=["P", None, "Q"], n=[1, 2, 3])
    found = read_vector_file(made)
    assert found.ids == ["a", "b", "c"]
    assert found.vectors.dtype == np.float32
    np.testing.assert_array_equal(found.vectors, VECTORS)
    assert told(found) == {"protein": ["P", None, "Q"], "n": ["1", "2", "3"]}


def test_parquet_of_several_row_groups_keeps_rows_together(tmp_path: Path) -> None:
    made = np.random.default_rng(0).standard_normal((100, 3)).astype(np.float32)
    table = pa.table({"id": [f"{n}" for n in range(100)], "vector": lists(pa.list_(pa.float32()), made)})
    pq.write_table(table, tmp_path / "v.parquet", row_group_size=7)
    found = read_vector_file(tmp_path / "v.parquet")
    np.testing.assert_array_equal(found.vectors, made)
    assert found.ids == [f"{n}" for n in range(100)]


def test_lists_of_labels_are_joined_and_the_index_of_pandas_is_left_out(tmp_path: Path) -> None:
    made = write_parquet(
        tmp_path / "v.parquet",
        lists(PARQUET["list"]),
        localizations=[["er", "golgi"], [], None],
        __index_level_0__=[0, 1, 2],
    )
    assert told(read_vector_file(made)) == {"localizations": ["er;golgi", "", None]}


DECOMPOSED = unicodedata.normalize("NFD", "Zürich")


def test_lists_of_labels_and_names_of_columns_are_text_in_nfc(tmp_path: Path) -> None:
    nulls = [[DECOMPOSED, None], ["er"], None]  # a list with a null goes another way
    made = write_parquet(
        tmp_path / "v.parquet",
        lists(PARQUET["list"]),
        localizations=[[DECOMPOSED, "er"], [], None],
        odd=nulls,
        raw=[DECOMPOSED.encode(), None, b""],
        **{f"group_{DECOMPOSED}": ["x", DECOMPOSED, None]},
    )
    assert told(read_vector_file(made)) == {
        "localizations": ["Zürich;er", "", None],
        "odd": ["Zürich;None", "er", None],
        "raw": ["Zürich", None, ""],
        "group_Zürich": ["x", "Zürich", None],
    }


def test_a_column_in_two_spellings_of_one_name_is_refused(tmp_path: Path) -> None:
    made = write_parquet(
        tmp_path / "v.parquet", lists(PARQUET["list"]), **{"Zürich": ["a", "b", "c"], DECOMPOSED: ["d", "e", "f"]}
    )
    with pytest.raises(InputError, match=r"v\.parquet: column 'Zürich' is there in two spellings"):
        read_vector_file(made)


def with_value(row: int, value: float | None) -> Any:
    rows: list[list[float | None]] = VECTORS.tolist()
    rows[row][2] = value
    return rows


BAD_PARQUET: dict[str, Callable[[Path], Path]] = {
    r"no column vector; it has id$": lambda p: write_parquet(p, None),
    r"no column id; it has vector$": lambda p: write_parquet(p, lists(PARQUET["list"]), id=None),
    r"column vector is double; a list of numbers a row needed": lambda p: write_parquet(p, [1.0, 2.0, 3.0]),
    r"column vector is string": lambda p: write_parquet(p, ["1", "2", "3"]),
    r"column vector is list<element: string>; a list of": lambda p: write_parquet(p, [["1"], ["2"], ["3"]]),
    r"vectors of different lengths or null \(2, 3\)": lambda p: write_parquet(p, [[1.0, 2.0, 3.0]] * 2 + [[1.0, 2.0]]),
    r"vectors of different lengths or null \(1, null\)": lambda p: write_parquet(p, [[1.0], None, [1.0]]),
    r"vector of 'b' is not finite \(1 such\)": lambda p: write_parquet(p, with_value(1, float("nan"))),
    r"vector of 'c' is not finite": lambda p: write_parquet(p, with_value(2, None)),
    r"vector of 'a' is not finite": lambda p: write_parquet(p, lists(pa.list_(pa.float64()), with_value(0, 1e300))),
    r"3 ids and vectors of shape \(3, 0\)": lambda p: write_parquet(p, pa.array([[]] * 3, pa.list_(pa.float32()))),
    r"0 ids and vectors": lambda p: write_parquet(
        p, pa.array([], pa.list_(pa.float32())), id=pa.array([], pa.string())
    ),
    r"id 'a' occurs twice": lambda p: write_parquet(p, lists(PARQUET["list"]), id=["a", "b", "a"]),
    r"the id of row 1 is empty": lambda p: write_parquet(p, lists(PARQUET["list"]), id=["a", None, "c"]),
    r"id 'b\\n' has control characters": lambda p: write_parquet(p, lists(PARQUET["list"]), id=["a", "b\n", "c"]),
    r"id 'é' occurs twice": lambda p: write_parquet(p, lists(PARQUET["list"]), id=["é", "e\u0301", "c"]),
}


@pytest.mark.parametrize("reason", BAD_PARQUET)
def test_parquet_that_does_not_fit_is_refused_in_one_line(tmp_path: Path, reason: str) -> None:
    path = BAD_PARQUET[reason](tmp_path / "v.parquet")
    with pytest.raises(InputError, match=reason) as caught:
        read_vector_file(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def write_npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **{"ids": np.array(["a", "b", "c"]), "vectors": VECTORS, **arrays})
    return path


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "uint8"])
def test_npz_is_read(tmp_path: Path, dtype: str) -> None:
    made = write_npz(
        tmp_path / "v.npz", vectors=VECTORS.astype(dtype), protein=np.array(["P", "Q", "R"]), n=np.arange(3)
    )
    found = read_vector_file(made)
    assert found.ids == ["a", "b", "c"]
    assert found.vectors.dtype == np.float32
    np.testing.assert_array_equal(found.vectors, VECTORS)
    assert told(found) == {"protein": ["P", "Q", "R"], "n": ["0", "1", "2"]}


def test_npz_with_ids_as_bytes_or_numbers_is_read(tmp_path: Path) -> None:
    assert read_vector_file(write_npz(tmp_path / "v.npz", ids=np.array([b"x", b"y", b"z"]))).ids == ["x", "y", "z"]
    assert read_vector_file(write_npz(tmp_path / "v.npz", ids=np.array([7, 8, 9]))).ids == ["7", "8", "9"]


BAD_NPZ: dict[str, dict[str, Any]] = {
    "Object arrays cannot be loaded": {"ids": np.array(["a", {"run": "me"}, "c"], dtype=object)},
    r"3 ids and vectors of shape \(2, 4\)": {"vectors": VECTORS[:2]},
    r"3 ids and vectors of shape \(3,\)": {"vectors": VECTORS[:, 0]},
    r"3 ids and vectors of shape \(1, 3, 4\)": {"vectors": VECTORS[None]},
    "column protein: 2 values for 3 ids": {"protein": np.array(["P", "Q"])},
    "array protein is a single value": {"protein": np.array("P")},
    "vectors of complex64 are no real numbers": {"vectors": VECTORS.astype(np.complex64)},
    "vectors of <U1 are no real numbers": {"vectors": np.full((3, 2), "1")},
    "vectors of bool are no real numbers": {"vectors": VECTORS > 3},
    "vector of 'a' is not finite": {"vectors": np.where(VECTORS == 0, np.nan, VECTORS)},
}


@pytest.mark.parametrize("reason", BAD_NPZ)
def test_npz_that_does_not_fit_is_refused_in_one_line(tmp_path: Path, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        read_vector_file(write_npz(tmp_path / "v.npz", **BAD_NPZ[reason]))
    assert str(tmp_path / "v.npz") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_npz_without_ids_lists_what_it_has(tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", vectors=VECTORS, names=np.array(["a", "b", "c"]))
    with pytest.raises(InputError, match="no array ids; it has vectors, names"):
        read_vector_file(tmp_path / "v.npz")


# --- DINO4Cells: [features, label multi-hot, cell line, id], a fifth item in the published files ---


def hot(*rows: tuple[str, ...]) -> list[list[float]]:
    return [[float(name in row) for name in CLASSES] for row in rows]


LABELS = hot(("Nucleoplasm",), (), ("Cytosol", "Nucleoli"))
LINES, IDS = ["U2OS", "A431", "U2OS"], ["1_A1", "1_A2", "1_A3"]

FEATURES: dict[str, list[Any]] = {
    "tensors": [torch.tensor(VECTORS), torch.tensor(LABELS), LINES, IDS],
    "lists of tensors": [list(torch.tensor(VECTORS)), list(torch.tensor(LABELS)), LINES, IDS],
    "arrays": [VECTORS, np.array(LABELS), np.array(LINES), np.array(IDS)],
    "lists of arrays": [list(VECTORS), list(np.array(LABELS, dtype=np.int64)), LINES, IDS],
    "lists of lists": [VECTORS.tolist(), LABELS, LINES, IDS],
    "half precision": [torch.tensor(VECTORS, dtype=torch.bfloat16), torch.tensor(LABELS, dtype=torch.bool), LINES, IDS],
    "with gradients": [torch.tensor(VECTORS, requires_grad=True), torch.tensor(LABELS), LINES, IDS],
    "a fifth item of text": [torch.tensor(VECTORS), torch.tensor(LABELS), LINES, IDS, ["f1", "f2", "f3"]],
}


@pytest.mark.parametrize("kind", FEATURES)
def test_feature_files_of_dino4cells_are_read_with_labels_in_alphabetical_order(tmp_path: Path, kind: str) -> None:
    torch.save(FEATURES[kind], tmp_path / "features.pth")
    found = read_vector_file(tmp_path / "features.pth")
    np.testing.assert_array_equal(found.vectors, VECTORS)
    assert (found.vectors.dtype, found.ids) == (np.float32, IDS)
    assert told(found) == {"localizations": ["Nucleoplasm", "", "Cytosol;Nucleoli"], "cell_line": LINES}


def test_class_names_may_be_given(tmp_path: Path) -> None:
    torch.save([VECTORS, [[1, 0], [0, 1], [1, 1]], LINES, IDS], tmp_path / "f.pth")
    found = read_vector_file(tmp_path / "f.pth", label_names=("one", "two"))
    assert told(found)["localizations"] == ["one", "two", "one;two"]
    with pytest.raises(InputError, match="2 label columns for 28 class names; give theirs with --labels"):
        read_vector_file(tmp_path / "f.pth")


class Frame:
    """Stands for the DataFrame of the published files: an object of a class that is not allowed."""


class Malicious:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_fifth_item_that_is_an_object_is_refused_in_one_line(tmp_path: Path, zipped: bool) -> None:
    torch.save([VECTORS, LABELS, LINES, IDS, Frame()], tmp_path / "f.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        InputError, match=r"a DataFrame, perhaps\); refused without running it\. Save the first four"
    ) as caught:
        read_vector_file(tmp_path / "f.pth")
    assert "\n" not in str(caught.value)


def test_a_malicious_file_is_refused_and_never_run(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    torch.save([VECTORS, LABELS, LINES, Malicious(marker)], tmp_path / "zip.pth")
    torch.save([Malicious(marker)], tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Malicious(marker)))
    for name in ("zip", "old", "bare"):
        with pytest.raises(InputError, match=rf"{name}\.pth: "):
            read_vector_file(tmp_path / f"{name}.pth")
    assert not marker.exists()
    pickle.loads((tmp_path / "bare.pth").read_bytes())
    assert marker.exists(), "the file would have run"


BAD_FEATURES: dict[str, Any] = {
    "not a DINO4Cells feature file": {"state_dict": torch.zeros(2)},
    "a list of features, labels, cell lines and ids expected": [VECTORS, LABELS, LINES],
    r"3 ids and vectors of shape \(2, 4\)": [VECTORS[:2], LABELS, LINES, IDS],
    "column cell_line: 2 values for 3 ids": [VECTORS, LABELS, LINES[:2], IDS],
    "column localizations: 2 values for 3 ids": [VECTORS, LABELS[:2], LINES, IDS],
    "cannot be read": [[[1.0], [1.0, 2.0], [3.0]], LABELS, LINES, IDS],
    "is not finite": [np.full((3, 2), np.nan), LABELS, LINES, IDS],
    "occurs twice": [VECTORS, LABELS, LINES, ["x", "y", "x"]],
}


@pytest.mark.parametrize("reason", BAD_FEATURES)
def test_feature_files_that_do_not_fit_are_refused_in_one_line(tmp_path: Path, reason: str) -> None:
    torch.save(BAD_FEATURES[reason], tmp_path / "f.pth")
    with pytest.raises(InputError, match=reason) as caught:
        read_vector_file(tmp_path / "f.pth")
    assert str(tmp_path / "f.pth") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["parquet", "npz", "pth"])
def test_files_cut_anywhere_or_filled_with_other_bytes_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"v.{suffix}"
    if suffix == "parquet":
        write_parquet(path, lists(PARQUET["list"]))
    elif suffix == "npz":
        write_npz(path)
    else:
        torch.save(FEATURES["lists of arrays"], path)
    whole = path.read_bytes()
    cuts = [whole[: len(whole) * n // 12] for n in range(12)]
    flips = [whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :] for at in range(0, len(whole), len(whole) // 25)]
    for data in [*cuts, b"no such format" * 50, b"\x80\x02garbage.", b"PK\x03\x04" + b"x" * 100]:
        path.write_bytes(data)
        with pytest.raises(InputError, match=rf"v\.{suffix}: "):
            read_vector_file(path)
    n_refused = 0
    for data in flips:
        path.write_bytes(data)
        try:
            read_vector_file(path)
        except InputError:
            n_refused += 1  # anything else that is raised fails the test
    assert n_refused > 5


def test_files_that_are_none_or_of_other_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.npz: no such file"):
        read_vector_file(tmp_path / "none.npz")
    (tmp_path / "v.csv").write_text("id,vector\n")
    with pytest.raises(InputError, match=r"\.csv; vectors are read from \.npz, \.parquet, \.pt, \.pth"):
        read_vector_file(tmp_path / "v.csv")
    np.save(tmp_path / "v.npy", VECTORS)
    (tmp_path / "v.npy").rename(tmp_path / "v.npz")
    with pytest.raises(InputError, match="a single array, not an npz with ids and vectors"):
        read_vector_file(tmp_path / "v.npz")
