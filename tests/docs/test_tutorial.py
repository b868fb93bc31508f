"""The tutorial: its cells run, and what stands below them is from a run without errors."""

import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "tutorial.ipynb"


def cells() -> list[dict[str, Any]]:
    """Those with code."""
    found: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in found if cell["cell_type"] == "code"]


def test_every_cell_was_run_in_order_and_none_failed_or_tells_of_a_machine() -> None:
    assert [cell["execution_count"] for cell in cells()] == list(range(1, len(cells()) + 1))
    for cell in cells():
        assert cell["outputs"], "".join(cell["source"])
        for output in cell["outputs"]:
            assert output["output_type"] in ("stream", "execute_result")
            assert output.get("name", "stdout") == "stdout"
            told = "".join(output.get("text", output.get("data", {}).get("text/plain", "")))
            assert not any(word in told for word in ("/home/", "/tmp/", "/root/", "Traceback"))


def test_every_cell_is_plain_python() -> None:
    for n, cell in enumerate(cells()):
        compile("".join(cell["source"]), f"cell {n}", "exec")


@pytest.mark.slow
def test_every_cell_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="the sweep is drawn and the report made with the extra plot")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for n, cell in enumerate(cells()):
        capsys.readouterr()
        exec(compile("".join(cell["source"]), f"cell {n}", "exec"), names)
        stored = [output for output in cell["outputs"] if output["output_type"] == "stream"]
        told = capsys.readouterr().out.splitlines()
        assert len(told) == sum(len("".join(output["text"]).splitlines()) for output in stored), f"cell {n}: {told}"
    assert (tmp_path / "report" / "index.html").is_file()
