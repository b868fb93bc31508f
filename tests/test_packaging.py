"""The wheel holds every module and data file, and installs one name."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAPPED = {"indexer": "locatlas/indexer", "query": "locatlas/query", "models": "locatlas/models"}
IGNORED = shutil.ignore_patterns(".venv", ".git", "demo", "build", "*.egg-info", "__pycache__", ".*_cache")


def _sources() -> set[str]:
    wanted = set()
    for suffix in ("*.py", "*.toml", "*.j2", "*.css", "*.safetensors", "*.json", "py.typed"):
        for folder, target in MAPPED.items():
            wanted |= {f"{target}/{p.relative_to(ROOT / folder)}" for p in (ROOT / folder).rglob(suffix)}
        face = ROOT / "locatlas"
        for path in face.rglob(suffix):
            inside = path.relative_to(face)
            if inside.parts[0] not in MAPPED:
                wanted.add(f"locatlas/{inside}")
    return wanted


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_data_file_under_one_name(tmp_path: Path) -> None:
    copy = tmp_path / "checkout"
    shutil.copytree(ROOT, copy, symlinks=True, ignore=IGNORED)
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(copy)],
        check=True,
        capture_output=True,
    )
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    packed = {name for name in names if ".dist-info/" not in name}
    assert packed == _sources()
    assert {name.partition("/")[0] for name in packed} == {"locatlas"}


def test_every_package_folder_is_listed_for_the_wheel() -> None:
    import tomllib

    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {"locatlas"} | {
        f"{target}/{p.parent.relative_to(ROOT / folder)}".replace("/.", "").replace("/", ".")
        for folder, target in {**MAPPED, "locatlas/cli": "locatlas/cli"}.items()
        for p in (ROOT / folder).rglob("__init__.py")
    }
    assert listed == found


def test_the_links_show_tools_the_same_folders() -> None:
    for folder in MAPPED:
        link = ROOT / "locatlas" / folder
        assert link.is_symlink()
        assert link.resolve() == ROOT / folder
