"""The JSON schemas in the docs are those of the code."""

import json
from pathlib import Path

import pytest

from locatlas.cli.documents import DOCUMENTS

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "schemas"


@pytest.mark.parametrize("command", sorted(DOCUMENTS))
def test_the_schema_in_the_docs_is_up_to_date(command: str) -> None:
    written = json.loads((FOLDER / f"{command}.json").read_text())
    assert written == DOCUMENTS[command].model_json_schema(), "run scripts/write_schemas.py"


def test_no_schema_is_left_over() -> None:
    assert {p.stem for p in FOLDER.glob("*.json")} == set(DOCUMENTS)
