"""The wheel holds every module and data file, and installs one name."""

import re
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
    # what a browser is sent: every file, licences of libraries included
    page = ROOT / "query" / "serve" / "page"
    return wanted | {f"locatlas/query/serve/page/{p.relative_to(page)}" for p in page.rglob("*") if p.is_file()}


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


def test_the_page_has_all_that_it_asks_for_and_licences_of_what_is_not_ours() -> None:
    page = ROOT / "query" / "serve" / "page"
    asked = set()
    for path in page.glob("*.js"):
        asked |= set(re.findall(r"""from "\./([^"]+)\"""", path.read_text()))
    asked |= set(re.findall(r"""(?:href|src)="page/([^"]+)\"""", (page / "index.html").read_text()))
    assert {name for name in asked if not (page / name).is_file()} == set()
    ours = {path.name for path in page.iterdir() if path.is_file()} - {"index.html"}
    # an exported site has the second in place of source.js
    assert ours - asked == {"__init__.py", "source_static.js"}, "no view asks for these"
    for library in (page / "vendor").glob("*.js"):
        assert (page / "vendor" / f"LICENSE-{library.stem}.txt").stat().st_size > 100
        assert f"LICENSE-{library.stem}.txt" in library.read_text()[:200]


def test_the_page_holds_no_address_elsewhere_and_no_markup_made_of_text() -> None:
    page = ROOT / "query" / "serve" / "page"
    for path in [*page.glob("*.js"), *page.glob("*.css"), page / "index.html"]:
        text = path.read_text()
        addresses = set(re.findall(r"https?://[^\s\"'`]+", text)) - {"http://www.w3.org/2000/svg"}
        assert {one for one in addresses if one != "https://"} == set(), path.name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), (
            path.name
        )
    assert " style=" not in (page / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\ssrc=)", (page / "index.html").read_text())


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
