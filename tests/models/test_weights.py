import argparse
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from locatlas.errors import WeightsError
from locatlas.models import vit
from locatlas.models.spec import EncoderSpec
from locatlas.models.weights import fill, load_state, locate, read_checkpoint, save, sha256_file
from tests.forking import Forks
from tests.models import published

RED_TO_YELLOW = ("microtubules", "protein", "nucleus", "er")


@pytest.fixture
def dino_spec(tiny: None, make_spec: Callable) -> EncoderSpec:
    return make_spec(
        name="vit_base_patch16.mine", architecture="vit_base_patch16", slots=RED_TO_YELLOW, weights_sha256=None
    )


def seeded(spec: EncoderSpec, seed: int = 1) -> dict[str, torch.Tensor]:
    network = vit.build(spec)
    vit.seed_weights(network, seed)
    return dict(vit.weights_module(network).state_dict())


class Malicious:
    """Unpickling this freely creates a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_malicious_pickle_is_refused_without_being_run(legacy: bool, tmp_path: Path) -> None:
    marker, path = tmp_path / "executed", tmp_path / "evil.pth"
    torch.save(
        {"state_dict": {"cls_token": torch.zeros(1)}, "args": Malicious(marker)},
        path,
        _use_new_zipfile_serialization=not legacy,
    )
    with pytest.raises(
        WeightsError, match=r"evil.pth: holds (posix|nt)\.mkdir beside tensors; refused without running it"
    ) as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)
    assert "weights_only" not in str(error.value)  # torch's advice how to switch the protection off
    assert not marker.exists()
    torch.load(path, weights_only=False)  # the file is indeed what it is meant to be
    assert marker.exists()


def test_the_allow_list_ends_with_the_call(tmp_path: Path) -> None:
    path = tmp_path / "args.pth"
    torch.save({"args": argparse.Namespace(lr=1)}, path)
    read_checkpoint(path)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)


def test_a_whole_pickled_network_is_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "net.pt")
    with pytest.raises(WeightsError, match=r"torch.nn.modules.linear.Linear beside tensors"):
        read_checkpoint(tmp_path / "net.pt")


def test_arguments_and_numpy_numbers_are_read(tmp_path: Path) -> None:
    arguments = argparse.Namespace(arch="vit_base", lr=np.float64(0.5), n=np.int64(3), best=np.float32(0.25))
    torch.save({"args": arguments, "w": torch.ones(2)}, tmp_path / "c.pth")
    assert vars(read_checkpoint(tmp_path / "c.pth")["args"]) == vars(arguments)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".bin"])
@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 broken", b"\x80\x02}q\x00."])
def test_a_damaged_file_is_refused_in_one_line(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=f"w{suffix}: ") as error:
        load_state(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(suffix: str, share: float, dino_spec: EncoderSpec, tmp_path: Path) -> None:
    path = tmp_path / f"w{suffix}"
    if suffix == ".pth":
        torch.save(seeded(dino_spec), path)
    else:
        save(seeded(dino_spec), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(WeightsError, match=rf"w{suffix}: (not a complete weights file|holds objects)"):
        load_state(path)


def test_a_missing_file_and_another_kind_of_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        read_checkpoint(tmp_path / "none.pth")
    (tmp_path / "w.onnx").touch()
    with pytest.raises(WeightsError, match=r"weights end in \.safetensors"):
        read_checkpoint(tmp_path / "w.onnx")


def test_a_published_dino4cells_file_fills_the_network_to_the_last_tensor(dino_spec: EncoderSpec, home: Path) -> None:
    expected = seeded(dino_spec)
    (home / "weights").mkdir()
    torch.save(published.dino4cells(expected), home / "weights" / f"{dino_spec.name}.pth")
    network = vit.build(dino_spec)
    fill(network, dino_spec)
    for name, tensor in vit.weights_module(network).state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_a_published_subcell_file_fills_the_network_to_the_last_tensor(
    tiny: None, make_spec: Callable, home: Path
) -> None:
    spec = make_spec(
        name="sub",
        architecture="subcell_vit_base_patch16",
        slots=("nucleus", "protein"),
        pooling="gated_attention",
        weights_sha256=None,
    )
    expected = seeded(spec)
    (home / "weights").mkdir()
    torch.save(published.subcell(expected, dropout=True), home / "weights" / "sub.pth")
    network = vit.build(spec)
    fill(network, spec)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_half_precision_is_widened(dino_spec: EncoderSpec, home: Path) -> None:
    expected = {name: tensor.half() for name, tensor in seeded(dino_spec).items()}
    save(expected, home / "weights" / f"{dino_spec.name}.safetensors")
    network = vit.build(dino_spec)
    fill(network, dino_spec)
    for name, tensor in vit.weights_module(network).state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, expected[name].float()), name


def test_positions_of_another_grid_are_resampled_by_timms_function(dino_spec: EncoderSpec, home: Path) -> None:
    from timm.layers import resample_abs_pos_embed

    small = seeded(dino_spec)
    assert small["pos_embed"].shape == (1, 5, 24)
    save(small, home / "weights" / f"{dino_spec.name}.safetensors")
    large = dino_spec.with_changes(input_px=64)
    network = vit.build(large)
    fill(network, large)
    expected = resample_abs_pos_embed(small["pos_embed"], new_size=(4, 4), old_size=(2, 2), num_prefix_tokens=1)
    assert torch.equal(network.vit.pos_embed, expected)
    assert torch.equal(network.vit.pos_embed[:, 0], small["pos_embed"][:, 0])


@pytest.mark.parametrize("n", [1, 4, 7])
def test_positions_of_no_square_grid_are_refused(n: int, dino_spec: EncoderSpec, home: Path) -> None:
    state = {**seeded(dino_spec), "pos_embed": torch.zeros(1, n, 24)}
    save(state, home / "weights" / f"{dino_spec.name}.safetensors")
    with pytest.raises(WeightsError, match=rf"pos_embed \(1, {n}, 24\) instead of \(1, 5, 24\)"):
        fill(vit.build(dino_spec), dino_spec)


def test_another_number_of_channels_is_refused_with_both_shapes(dino_spec: EncoderSpec, home: Path) -> None:
    save(seeded(dino_spec), home / "weights" / f"{dino_spec.name}.safetensors")
    rgb = dino_spec.with_changes(slots=("microtubules", "protein", "nucleus"))
    with pytest.raises(WeightsError, match=r"proj.weight \(24, 4, 16, 16\) instead of \(24, 3, 16, 16\)"):
        fill(vit.build(rgb), rgb)


def test_weights_of_another_digest_are_refused(dino_spec: EncoderSpec, home: Path) -> None:
    path = home / "weights" / f"{dino_spec.name}.safetensors"
    digest = save(seeded(dino_spec), path)
    known = dino_spec.with_changes(weights_sha256=digest)
    fill(vit.build(known), known)
    save(seeded(dino_spec, seed=2), path)
    with pytest.raises(WeightsError, match="these are other weights"):
        fill(vit.build(known), known)


def test_saving_is_repeatable_and_does_not_depend_on_order_or_on_shared_memory(tmp_path: Path) -> None:
    whole = torch.arange(12.0)
    views = {"b": whole[:6].reshape(2, 3).T, "a": whole[6:], "c": whole}
    first = save(views, tmp_path / "1.safetensors")
    second = save({name: views[name].clone() for name in ("c", "a", "b")}, tmp_path / "2.safetensors")
    assert first == second == sha256_file(tmp_path / "1.safetensors")
    assert torch.equal(safetensors.torch.load_file(tmp_path / "1.safetensors")["b"], views["b"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1.safetensors", "2.safetensors"]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("timm:vit_small_patch16_224.dino", "put https://huggingface.co/timm/vit_small_patch16_224.dino/resolve/main"),
        ("https://zenodo.org/records/8061392/files/DINO_FOV_checkpoint.pth", r"/weights/test.spec.pth$"),
        (
            "file: asked for by a form",
            r"put them at .*/weights/test.spec.safetensors or .pth \(source: file: asked for",
        ),
    ],
)
def test_offline_the_error_says_which_file_to_put_where(
    source: str, reason: str, make_spec: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCATLAS_OFFLINE", "1")
    with pytest.raises(WeightsError, match=reason) as error:
        locate(make_spec(source=source, weights_sha256=None))
    assert "\n" not in str(error.value)


def test_weights_can_be_read_by_whom_the_users_other_files_can(tmp_path: Path) -> None:
    save({"a": torch.zeros(2)}, tmp_path / "w.safetensors")
    (tmp_path / "other").touch()
    assert (tmp_path / "w.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_weights_that_cannot_be_written_are_one_line_and_leave_nothing(tmp_path: Path, forks: Forks) -> None:
    script = (
        "import resource, signal, sys, torch\n"
        "from pathlib import Path\n"
        "from locatlas.errors import WeightsError\n"
        "from locatlas.models.weights import save\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))\n"
        "try:\n"
        "    save({'a': torch.zeros(1000)}, Path(sys.argv[1]))\n"
        "except WeightsError as error:\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "    print(error)\n"
    )
    path = tmp_path / "w.safetensors"
    done = forks.run(script, path)
    assert done.stdout.startswith(f"{path}: cannot be written ("), done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
