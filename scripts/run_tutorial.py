"""Run docs/tutorial.ipynb in an empty folder and keep what it gives in it, as the documentation shows it.

    python scripts/run_tutorial.py [--folder FOLDER]

Needs nbclient and ipykernel (dependency group `docs`). A test runs the same cells (tests/docs/test_tutorial.py).
"""

import argparse
import os
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "tutorial.ipynb"


def run(folder: Path) -> None:
    """Run the cells in a folder and write the notebook with their outputs, without times and machine."""
    book = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(book, timeout=1200, resources={"metadata": {"path": str(folder)}}).execute()
    for cell in book.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("image/jpeg", None)  # the same picture twice
    book.metadata.language_info = {"name": "python"}
    text = nbformat.writes(book, indent=1, ensure_ascii=False)
    NOTEBOOK.write_text(text.rstrip("\n") + "\n", encoding="utf-8")


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where to; a demo that is there is used. Default: a temporary one")
    folder = parser.parse_args().folder
    os.environ.setdefault("PYTHONPATH", str(NOTEBOOK.parents[1]))
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        run(folder)
        return
    with tempfile.TemporaryDirectory() as temporary:
        run(Path(temporary))


if __name__ == "__main__":
    main()
