"""Cellpose as a segmenter: an optional package, run on weights that are known by digest. Reads files, may download.

Cellpose itself is never let download: it switches off the checking of certificates for the whole process
(`download_url_to_file` in cellpose/utils.py, 4.2.1.1).
"""

import functools
import importlib
import os
import pickle
import re
import threading
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locatlas.errors import InputError, WeightsError
from locatlas.indexer.cells.bodies import OUTLINING, VORONOI_REACH, nearest
from locatlas.indexer.cells.builtin import Segmentation, numbered
from locatlas.indexer.cells.grids import Labels, coarsened
from locatlas.indexer.cells.nuclei import nucleus_plane
from locatlas.indexer.cells.pairing import paired
from locatlas.models.fetch import download
from locatlas.models.home import weights_folder
from locatlas.types import ChannelImage

__all__ = ["segment_cellpose", "settled"]

LEAST_VERSION = (4, 2)  # of which signatures are used
DEFAULT_WEIGHTS = "cpsam_v2"
SOURCE = f"https://huggingface.co/mouseland/cellpose-sam/resolve/main/{DEFAULT_WEIGHTS}"
"""`_MODEL_URL` of cellpose/models.py, 4.2.1.1."""

_one_at_a_time = threading.Lock()  # a network of 1.2 GB is neither built nor run twice at once
_named: dict[str, Path] = {}  # weights that a user named in this process, by digest


def settled(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as they are recorded: a digest in place of a file, and the version of the package.

    Args:
        parameters: Of `segmenters.PARAMETERS`; `weights` is a path, or None for Cellpose's own, which are looked for in
            its folder of models, then under $LOCATLAS_HOME/weights, then downloaded there.

    Raises:
        InputError: If Cellpose is not installed or too old, or there are no weights.
    """
    library = _version()
    path = Path(parameters["weights"]).expanduser() if parameters["weights"] is not None else _default_weights()
    if not path.is_file():
        message = f"{path}: no such file; segmenter cellpose needs its weights there"
        raise InputError(message)
    digest = _sha256(path)
    _named[digest] = path
    others = {key: value for key, value in parameters.items() if key != "weights"}
    return {**others, "weights_sha256": digest, "cellpose": library}


def segment_cellpose(
    image: ChannelImage,
    *,
    diameter_px: float | None,
    flow_threshold: float,
    cellprob_threshold: float,
    weights_sha256: str,
    cellpose: str,
) -> Segmentation:
    """Nuclei from the nuclear stain, cells from it and the stains that outline cells.

    Two runs of one network. Cells and nuclei are then paired one to one (`pairing.paired`). Where no stain outlines
    cells they end half a nuclear diameter, the median's, beyond their nuclei, as with the built-in segmenter. Runs on
    the GPU where there is one, in 32 bits; other machines may find outlines that differ by pixels.

    Args:
        image: With a channel `nucleus`; `microtubules` and `er` outline the cells where present.
        diameter_px: Usual nuclear diameter, to which Cellpose rescales; None: as the image is.
        flow_threshold: As Cellpose has it.
        cellprob_threshold: As Cellpose has it.
        weights_sha256: Of the weights.
        cellpose: Version of the package.

    Raises:
        ImageRejectedError: If the nucleus channel is missing or flat, or a channel holds NaN.
        InputError: If that version or those weights are not here.
    """
    nucleus = nucleus_plane(image)
    if cellpose != _version():
        message = (
            f"these cells are of cellpose {cellpose}, installed is {_version()}: install that one, "
            "or find all cells anew with --segmenter cellpose --resegment"
        )
        raise InputError(message)
    path = _located(weights_sha256)
    stains = [image.pixels[place] for place, name in enumerate(image.channels) if name in OUTLINING]
    stains = [stain for stain in stains if stain.min() < stain.max()]
    options = {"diameter": diameter_px, "flow_threshold": flow_threshold, "cellprob_threshold": cellprob_threshold}
    nuclei = _found([nucleus], path, options)
    if stains:
        cells = paired(_found([*stains, nucleus], path, options), nuclei)
    else:
        areas = np.bincount(nuclei.ravel())[1:]
        usual_px = 2 * np.sqrt(np.median(areas[areas > 0]) / np.pi) if nuclei.any() else 0.0
        cells = nearest(nuclei, reach_px=VORONOI_REACH * float(usual_px))
    return numbered(cells, nuclei)


def _found(planes: Sequence[NDArray[np.generic]], weights: Path, options: Mapping[str, Any]) -> Labels:
    # whole numbers: Cellpose takes channels that span less than a thousandth for empty
    pixels = np.stack([coarsened(plane, 1).astype(np.float32) for plane in planes])
    with _one_at_a_time:
        masks, _flows, _styles = _network(weights).eval(pixels, channel_axis=0, **options)
    # it squeezes fields of one line
    return np.asarray(masks, dtype=np.int32).reshape(pixels.shape[1:])


@functools.lru_cache(maxsize=1)
def _network(weights: Path) -> Any:
    import torch

    models = _package()
    try:
        return models.CellposeModel(
            gpu=torch.cuda.is_available(), pretrained_model=os.fspath(weights), use_bfloat16=False
        )
    except (RuntimeError, ValueError, KeyError, EOFError, OSError, pickle.UnpicklingError) as error:
        message = f"{weights}: cellpose cannot use these weights ({_first_line(error)})"
        raise InputError(message) from error


def _package() -> ModuleType:
    """`cellpose.models`; torchvision's operators are declared first where torch does not fit it."""
    from locatlas.models.torchvision_shim import import_timm

    import_timm()
    try:
        return importlib.import_module("cellpose.models")
    except ImportError as error:
        message = f"cellpose is installed, but cannot be imported: {_first_line(error)}"
        raise InputError(message) from error


def _version() -> str:
    try:
        version = version_of("cellpose")
    except PackageNotFoundError as error:
        message = "segmenter cellpose needs the package cellpose: pip install 'locatlas[cellpose]'"
        raise InputError(message) from error
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < LEAST_VERSION:
        message = f"cellpose {version} is too old, 4.2 or later needed: pip install 'locatlas[cellpose]'"
        raise InputError(message)
    return version


def _folders() -> tuple[Path, Path]:
    """Where weights are: Cellpose's own folder, by its rule, then locatlas'."""
    named = os.environ.get("CELLPOSE_LOCAL_MODELS_PATH")
    return (Path(named) if named else Path.home() / ".cellpose" / "models"), weights_folder()


def _default_weights() -> Path:
    for folder in _folders():
        if (folder / DEFAULT_WEIGHTS).is_file():
            return folder / DEFAULT_WEIGHTS
    target = weights_folder() / DEFAULT_WEIGHTS
    try:
        download(SOURCE, target)
    except WeightsError as error:
        message = (
            f"weights of cellpose are not here and could not be downloaded ({error}); put {SOURCE} at {target}, "
            "or name a file with --segment weights=FILE"
        )
        raise InputError(message) from error
    return target


def _located(digest: str) -> Path:
    files = [file for folder in _folders() if folder.is_dir() for file in sorted(folder.iterdir())]
    for file in ([_named[digest]] if digest in _named else []) + files:
        if file.is_file() and _sha256(file) == digest:
            return file
    message = (
        f"weights of cellpose with sha256 {digest[:12]}... are neither in {_folders()[0]} nor in {_folders()[1]}; "
        "put them there, or name their file with --segmenter cellpose --segment weights=FILE"
    )
    raise InputError(message)


def _sha256(path: Path) -> str:
    stat = path.stat()
    return _sha256_of(path, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _sha256_of(path: Path, _size: int, _mtime_ns: int) -> str:
    from locatlas.models.weights import sha256_file

    return sha256_file(path)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
