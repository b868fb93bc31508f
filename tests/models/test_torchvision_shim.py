"""Each case runs in a process of its own: an import can only be tried once."""

import textwrap
from pathlib import Path

import pytest

from tests.forking import Forks


def packages(folder: Path, *, torchvision: str) -> Path:
    """A torchvision with this body, and a timm that imports it."""
    for name, body in (("torchvision", torchvision), ("timm", "import torchvision")):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(textwrap.dedent(body))
    return folder


CHECK_DECLARED = """
    from locatlas.models.torchvision_shim import import_timm, _declared
    timm = import_timm()
    assert import_timm() is timm
    print(len(_declared))
"""


@pytest.mark.slow
def test_timm_is_imported_beside_the_torchvision_of_this_machine(forks: Forks) -> None:
    done = forks.run("from locatlas.models.torchvision_shim import import_timm; print(import_timm().__version__)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_a_torchvision_without_its_operators_is_imported_after_they_are_declared(tmp_path: Path, forks: Forks) -> None:
    broken = """
        import torch
        @torch.library.register_fake("torchvision::nms")
        def fake(dets, scores, iou_threshold):
            return dets
    """
    folder = packages(tmp_path, torchvision=broken)
    assert "operator torchvision::nms does not exist" in forks.run("import timm", paths=[folder]).stderr
    done = forks.run(CHECK_DECLARED, paths=[folder])
    assert (done.returncode, done.stdout.strip()) == (0, "1"), done.stderr


def test_nothing_is_declared_for_a_torchvision_that_works(tmp_path: Path, forks: Forks) -> None:
    done = forks.run(CHECK_DECLARED, paths=[packages(tmp_path, torchvision="works = True")])
    assert (done.returncode, done.stdout.strip()) == (0, "0"), done.stderr


def test_another_failure_of_torchvision_is_not_hidden(tmp_path: Path, forks: Forks) -> None:
    folder = packages(tmp_path, torchvision="raise RuntimeError('compiled with different CUDA major versions')")
    done = forks.run(CHECK_DECLARED, paths=[folder])
    assert done.returncode == 1
    assert "RuntimeError: compiled with different CUDA major versions" in done.stderr
