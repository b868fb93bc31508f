"""Whole and hostile files that the fuzzer begins with. Pure."""

import base64
import io
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.torch
import torch

from tests.hostile.images import corpus, noise, npy, picture, tiff

MAX_SEED = 16_384


def images() -> Iterator[bytes]:
    stack = noise(2, 16, 16, dtype="uint16")
    whole = [
        tiff(stack, imagej=True, metadata={"axes": "CYX"}),
        tiff(stack, ome=True, metadata={"axes": "CYX"}),
        *(tiff(stack, compression=name) for name in ("zlib", "lzw", "packbits")),
        tiff(stack, tile=(16, 16)),
        picture(noise(16, 16), "PNG"),
        picture(noise(16, 16, 3), "PNG"),
        picture(noise(16, 16), "JPEG"),
        npy(stack),
    ]
    for data in (*whole, *(one.data for one in corpus())):
        for channels in (b"\0", b"\xff"):
            yield channels + data


def masks() -> Iterator[bytes]:
    labels = np.arange(256, dtype=np.uint16).reshape(16, 16)
    packed = io.BytesIO()
    np.savez_compressed(packed, labels)
    yield from (tiff(labels), picture(labels, "PNG"), npy(labels), packed.getvalue())
    yield from (one.data for one in corpus() if one.row == 22)


def runs() -> Iterator[bytes]:
    counts = base64.b64encode(zlib.compress(b"0`3`4"))
    yield from (b"\x001 3 10 2 200 57", b"\x00", b"\xff" + counts, b"\x000 0.5 " + counts)


def vectors() -> Iterator[bytes]:
    ids, numbers = ["a", "b"], np.arange(6, dtype=np.float32).reshape(2, 3)
    out = io.BytesIO()
    pq.write_table(pa.table({"id": ids, "vector": [list(row) for row in numbers], "protein": ["P", None]}), out)
    yield b"\0" + out.getvalue()
    out = io.BytesIO()
    np.savez_compressed(out, ids=np.array(ids), vectors=numbers)
    yield b"\1" + out.getvalue()
    for zipped in (True, False):
        out = io.BytesIO()
        held = [torch.from_numpy(numbers), torch.eye(2, 28), ["c", "d"], ids]
        torch.save(held, out, _use_new_zipfile_serialization=zipped)
        yield b"\2" + out.getvalue()


def manifests() -> Iterator[bytes]:
    table = "path,channels,id,protein,localizations,pixel_size_um\na.tif,nucleus;protein,x,P,a;b,0.1\n"
    yield b"\0" + table.encode()
    yield b"\1" + table.replace(",", "\t").encode()
    yield b"\0id,picture,localizations,note,source_digest\nx/a,1.png,nucleoplasm,,00ff\n"
    out = io.BytesIO()
    pq.write_table(pa.table({"path": ["a.tif"], "channels": ["protein"]}), out)
    yield b"\2" + out.getvalue()


def weights() -> Iterator[bytes]:
    tensors = {"cls_token": torch.zeros(1, 1, 4), "blocks.0.attn.qkv.weight": torch.zeros(12, 4)}
    yield b"\0" + safetensors.torch.save(tensors)
    subcell = "encoder.encoder.layer.0.attention.attention"
    parts = {f"{subcell}.{part}.weight": torch.zeros(2, 2) for part in ("query", "key", "value")}
    for held in ({"teacher": {f"module.backbone.{k}": v for k, v in tensors.items()}, "epoch": 3}, parts):
        for zipped in (True, False):
            out = io.BytesIO()
            torch.save(held, out, _use_new_zipfile_serialization=zipped)
            yield b"\1" + out.getvalue()


def cells() -> Iterator[bytes]:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "x.h5sc"
        with h5py.File(path, "w") as file:
            pixels = np.zeros((2, 1, 4, 4), np.float16)
            stored = file.create_dataset("obsm/single_cell_images", data=pixels, compression="gzip")
            stored.attrs["channel_names"], stored.attrs["channel_mapping"] = ["a"], ["image_channel"]
            file["obs/cell_id"] = np.arange(2)
        yield path.read_bytes()


SEEDS: dict[str, Callable[[], Iterator[bytes]]] = {
    "image": images,
    "mask": masks,
    "runs": runs,
    "vectors": vectors,
    "manifest": manifests,
    "weights": weights,
    "cells": cells,
}


def seeds(target: str) -> list[bytes]:
    """Those of a target that are small enough to be mutated."""
    return [data for data in SEEDS[target]() if len(data) <= MAX_SEED]
