"""The record beside an index: every field and every bit of it counts."""

import json
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from locatlas.indexer.indices.sidecar import SIDECAR_VERSION, Sidecar, blake2b, id_lines, rows_digest

VALUES: dict[str, Any] = {
    "sidecar_version": SIDECAR_VERSION,
    "table": "emb_fov_0123456789ab",
    "version": 7,
    "fingerprint": "f" * 64,
    "metric": "cosine",
    "kind": "ivf",
    "params": {"n_list": 4, "n_probe": 2},
    "count": 3,
    "dim": 2,
    "vectors_digest": "a" * 32,
    "file_digest": "b" * 32,
    "faiss": "1.15.1",
    "recall_at_10": 0.975,
    "recall_among": "other proteins",
    "ids_digest": "c" * 32,
    "manifest": "d" * 32,
    "lance": "14.0.2",
    "folder": "emb_fov_0123456789ab.0123456789abcdef.disk",
    "bytes": {"rows.npy": 8},
    "digests": {"rows.npy": "e" * 32},
}


def test_a_sidecar_comes_back_from_its_text() -> None:
    assert set(VALUES) == {f.name for f in fields(Sidecar)}
    assert Sidecar.from_json(Sidecar(**VALUES).to_json()) == Sidecar(**VALUES)


def test_a_sidecar_of_before_manifests_were_noted_is_read() -> None:
    old = {name: value for name, value in VALUES.items() if name != "manifest"}
    text = Sidecar(**old).to_json()
    assert "manifest" not in text
    assert Sidecar.from_json(text) == Sidecar(**old)
    assert Sidecar.from_json(text).to_json() == text


def test_every_flipped_bit_is_found() -> None:
    data = Sidecar(**VALUES).to_json().encode()
    survived = []
    for at in range(len(data)):
        for bit in range(8):
            flipped = data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]
            try:
                assert Sidecar.from_json(flipped.decode()) == Sidecar(**VALUES)
                survived.append(data[at : at + 1])
            except ValueError:
                continue
    assert set(survived) <= {b" ", b"\n"}, "only white space may change without being another record"


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '"x"', '{"sidecar_digest": null}', "[1, 2"])
def test_other_texts_are_no_sidecars(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Sidecar.from_json(text)


def test_a_sidecar_of_another_version_is_not_read() -> None:
    text = Sidecar(**VALUES | {"sidecar_version": SIDECAR_VERSION + 1}).to_json()
    with pytest.raises(
        ValueError, match=f"sidecar of version {SIDECAR_VERSION + 1}, this locatlas reads {SIDECAR_VERSION}"
    ):
        Sidecar.from_json(text)
    assert json.loads(text)["sidecar_version"] == SIDECAR_VERSION + 1


def test_digests_follow_ids_vectors_and_their_order() -> None:
    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
    whole = rows_digest(["a", "b", "c"], vectors)
    assert whole == rows_digest(["a", "b", "c"], vectors.copy(order="F"))
    assert whole == rows_digest(["a", "b", "c"], iter([vectors[:2], vectors[2:2], vectors[2:]]))
    others = [rows_digest(["a", "c", "b"], vectors), rows_digest(["a", "b", "c"], vectors[::-1])]
    others.append(rows_digest(["a", "b", "d"], vectors))
    assert len({whole, *others}) == 4
    assert id_lines(["é", "b"]) == "é\nb".encode()
    assert len(blake2b(b"")) == 32
