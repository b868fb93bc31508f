"""The documentation site: Sphinx reads this file. `make docs` builds it, and warnings are errors."""

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent / "_ext")]  # from a bare checkout too

from locatlas import __version__  # noqa: E402 (found by the line above)

project = "locatlas"
author = "The locatlas developers"
copyright = author  # noqa: A001 (the name Sphinx reads)
release = version = __version__

extensions = [
    "myst_nb",  # Markdown, and the tutorial with its outputs
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "folder_links",
    "store_tables",
]
exclude_patterns = ["_build", "_ext"]
html_theme = "furo"
html_title = f"locatlas {version}"
html_static_path: list[str] = []
html_copy_source = False

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4  # links to headings as on a code host
smartquotes = False  # options begin with two hyphens
default_role = "code"  # docstrings have single backticks
nb_execution_mode = "off"  # a test runs the tutorial (tests/docs/test_tutorial.py); the site shows what it gave

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_class_signature = "separated"
autodoc_default_options = {"members": True, "inherited-members": False, "undoc-members": False}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # attributes stand with the class, once


def _hide_colon(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Napoleon takes what stands before a colon in the first line of a property for its type: give it none to see."""
    if what == "property":
        lines.insert(0, "")


def _whole_sentence(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """It does the same with Returns; types are in the signatures, so that its "type" is how the sentence begins."""
    began = next((line for line in lines if line.startswith(":rtype: ")), None)
    told = next((i for i, line in enumerate(lines) if line.startswith(":returns: ")), None)
    if began is not None and told is not None:
        lines[told] = f":returns: {began.removeprefix(':rtype: ')}: {lines[told].removeprefix(':returns: ')}"
        lines.remove(began)


def setup(app: Any) -> None:
    """For Sphinx."""
    app.connect("autodoc-process-docstring", _hide_colon, priority=400)  # napoleon has 500
    app.connect("autodoc-process-docstring", _whole_sentence, priority=600)
