"""Weights files: find, read without executing anything, check and load them into a network. Reads files."""

import argparse
import hashlib
import logging
import os
import pickle
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from locatlas.errors import WeightsError
from locatlas.models import vit
from locatlas.models.fetch import download, url_of
from locatlas.models.held import problem_of_archive, problem_of_tensors
from locatlas.models.home import encoders_folder, weights_folder
from locatlas.models.layouts import Converted, check_fit, convert, shown
from locatlas.models.spec import EncoderSpec
from locatlas.models.torchvision_shim import import_timm

__all__ = ["SHIPPED", "fill", "fill_from", "load_state", "locate", "read_checkpoint", "save", "sha256_file"]

_LOG = logging.getLogger(__name__)

SHIPPED = "shipped"
"""Source of weights that come with locatlas."""

_SHIPPED_FOLDER = Path(__file__).resolve().parent / "shipped"

_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")

_NUMPY_SCALAR = np.float64(0).__reduce__()[0]  # the function that unpickles a numpy number; its module is private
# What published checkpoints pickle beside tensors: DINO and DINO4Cells keep their arguments and best scores.
_ALLOWED: list[Any] = [
    argparse.Namespace,
    np.dtype,
    np.dtypes.Float64DType,
    np.dtypes.Float32DType,
    np.dtypes.Int64DType,
    (_NUMPY_SCALAR, "numpy.core.multiarray.scalar"),  # as pickled by numpy 1
    (_NUMPY_SCALAR, "numpy._core.multiarray.scalar"),  # as pickled by numpy 2
]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What a weights file holds, on the CPU. Nothing in the file is executed.

    Args:
        path: `.safetensors`, or `.pth`, `.pt` or `.bin` as written by `torch.save`. The latter are pickles: they are
            read with `weights_only`, which builds tensors, plain containers, `argparse.Namespace` and numpy numbers,
            and refuses anything else.

    Raises:
        WeightsError: If the file is missing, damaged, of another kind or holds other objects.
    """
    if not path.is_file():
        message = f"{path}: no such file"
        raise WeightsError(message)
    if path.suffix not in _SUFFIXES:
        message = f"{path}: weights end in {', '.join(_SUFFIXES)}"
        raise WeightsError(message)
    try:
        if path.suffix != ".safetensors" and (problem := problem_of_archive(path)):
            raise WeightsError(f"{path}: {problem}")
        if path.suffix == ".safetensors":
            loaded: Any = safetensors.torch.load_file(path)
        else:
            with torch.serialization.safe_globals(_ALLOWED), warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # torch's doubts about what is then refused
                loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(f"{path}: {_unpickling_reason(error)}") from error
    except (
        safetensors.SafetensorError,
        RuntimeError,
        ArithmeticError,
        AssertionError,
        AttributeError,
        EOFError,
        LookupError,
        MemoryError,
        OSError,
        TypeError,
        ValueError,
        struct.error,
        zipfile.BadZipFile,
    ) as error:
        if isinstance(error, WeightsError):
            raise
        detail = shown([next(iter(str(error).splitlines()), type(error).__name__)])
        message = f"{path}: not a complete weights file ({detail})"
        raise WeightsError(message) from error
    if not isinstance(loaded, Mapping):
        message = f"{path}: holds a {type(loaded).__name__}, not named tensors; a whole pickled network is not read"
        raise WeightsError(message)
    if problem := problem_of_tensors(loaded, path.stat().st_size):
        raise WeightsError(f"{path}: {problem}")
    return dict(loaded)


def _unpickling_reason(error: pickle.UnpicklingError) -> str:
    """One line out of torch's paragraph of advice, which ends in how to switch the protection off."""
    lines = [line.strip() for line in str(error).splitlines()]
    detail = next((line for line in lines if "GLOBAL" in line or "Unsupported" in line), "")
    detail = shown([detail.partition("GLOBAL ")[2].split(" ")[0] or "objects"])
    return f"holds {detail} beside tensors; refused without running it (save the tensors alone, e.g. as safetensors)"


def load_state(path: Path) -> Converted:
    """The encoder's tensors of a weights file under locatlas' names.

    Raises:
        WeightsError: As `read_checkpoint` and `layouts.convert`; names the file.
    """
    try:
        return convert(read_checkpoint(path))
    except WeightsError as error:
        if str(path) in str(error):
            raise
        raise WeightsError(f"{path}: {error}") from error


def save(tensors: Mapping[str, Tensor], path: Path) -> str:
    """Write tensors as safetensors, complete or not at all; equal tensors give equal bytes.

    Args:
        tensors: By name, of any type; not changed.
        path: Overwritten if it exists; its folder is made.

    Returns:
        sha256 of the file.

    Raises:
        WeightsError: If it cannot be written, e.g. because the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    # cloned: safetensors refuses tensors that share memory, as views of one checkpoint tensor do
    whole = {name: tensors[name].detach().clone().contiguous() for name in sorted(tensors)}
    try:
        part.touch()
        mode = part.stat().st_mode  # as the user's other files; safetensors would keep it from everybody else
        safetensors.torch.save_file(whole, part)
        part.chmod(mode)
        digest = sha256_file(part)
        part.replace(path)
    except (OSError, safetensors.SafetensorError) as error:
        part.unlink(missing_ok=True)  # a full disk must not be left fuller
        message = f"{path}: cannot be written ({getattr(error, 'strerror', None) or str(error).splitlines()[0]})"
        raise WeightsError(message) from error
    return digest


def sha256_file(path: Path) -> str:
    """sha256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def locate(spec: EncoderSpec) -> Path:
    """The weights file of a spec on this machine, downloaded first where its source allows it.

    Those that come with locatlas (source `shipped`) lie beside this file. Others are looked for in this order: beside
    the user's own encoders, then `<name>.safetensors`, `.pth`, `.pt`, `.bin` under $LOCATLAS_HOME/weights.

    Raises:
        WeightsError: If there is none and it cannot be downloaded; says in one line which file to put where.
    """
    if spec.source == SHIPPED:
        if (path := _SHIPPED_FOLDER / f"{spec.name}.safetensors").is_file():
            return path
        message = f"weights of {spec.name} should have come with locatlas, as {path}: install it again"
        raise WeightsError(message)
    own = encoders_folder() / f"{spec.name}.safetensors"
    for path in (own, *(weights_folder() / f"{spec.name}{suffix}" for suffix in _SUFFIXES)):
        if path.is_file():
            return path
    url = url_of(spec)
    suffix = Path(url).suffix if url else ".safetensors or .pth"
    target = weights_folder() / f"{spec.name}{suffix}"
    if url is None:
        message = f"weights of {spec.name} are not here: put them at {target} (source: {spec.source or 'unknown'})"
        raise WeightsError(message)
    try:
        download(url, target, sha256=spec.weights_sha256)
    except WeightsError as error:
        message = f"weights of {spec.name} are not here and could not be downloaded ({error}); put {url} at {target}"
        raise WeightsError(message) from error
    return target


def fill(network: nn.Module, spec: EncoderSpec) -> None:
    """Load a spec's weights into its network, every tensor accounted for.

    Args:
        network: From `vit.build(spec)`; changed in place. Positions of another grid are resampled by timm's function.
        spec: Where `weights_sha256` is known, the file must have it.

    Raises:
        WeightsError: If the file is not to be had, has another digest or does not fit exactly.
    """
    path = locate(spec)
    if spec.weights_sha256 is not None and (found := sha256_file(path)) != spec.weights_sha256:
        message = (
            f"{path}: its sha256 is {found[:12]}..., encoder {spec.name} was made with {spec.weights_sha256[:12]}...; "
            "these are other weights"
        )
        raise WeightsError(message)
    state = load_state(path)
    fill_from(network, state, path)


def fill_from(network: nn.Module, state: Converted, path: Path) -> None:
    """Load converted tensors into a network, every tensor accounted for.

    Args:
        network: From `vit.build`; changed in place.
        state: From `load_state`; not changed.
        path: Named in errors.

    Raises:
        WeightsError: If a tensor is missing, left over, of another shape or not finite; lists them.
    """
    module = vit.weights_module(network)
    if state.dropped:
        _LOG.info("%s (%s layout): %d entries not needed: %s", path, state.layout, len(state.dropped), state.dropped)
    tensors = _resample_positions(network, state.tensors)
    try:
        check_fit(tensors, module.state_dict())
    except WeightsError as error:
        message = f"{path}: does not fit ({state.layout} layout): {error}"
        raise WeightsError(message) from error
    module.load_state_dict(tensors, strict=True)


def _resample_positions(network: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Positions of a square grid brought to the network's grid; anything odd is left for `check_fit` to report."""
    inner = vit.inner_vit(network)
    name = "pos_embed" if "pos_embed" in tensors else "encoder.pos_embed"
    positions, wanted = tensors.get(name), getattr(inner, "pos_embed", None)
    if positions is None or wanted is None or positions.shape == wanted.shape:
        return tensors
    prefix = 0 if inner.no_embed_class else inner.num_prefix_tokens
    side = round(max(positions.shape[1] - prefix, 0) ** 0.5) if positions.ndim == 3 else 0
    if side == 0 or side**2 + prefix != positions.shape[1] or positions.shape[2] != wanted.shape[2]:
        return tensors
    import_timm()
    from timm.layers import resample_abs_pos_embed

    resampled = resample_abs_pos_embed(
        positions.float(), new_size=inner.patch_embed.grid_size, old_size=(side, side), num_prefix_tokens=prefix
    )
    return {**tensors, name: resampled}
