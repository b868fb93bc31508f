"""Write docs/schemas/<command>.json, the JSON schemas of what the commands print, from locatlas.cli.documents."""

import json
from pathlib import Path

from locatlas.cli.documents import DOCUMENTS

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "schemas"


def schema_text(command: str) -> str:
    """The schema of a command's document, as it stands in docs/schemas."""
    return json.dumps(DOCUMENTS[command].model_json_schema(), indent=2, sort_keys=True) + "\n"


def main() -> None:
    """Write all of them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for command in DOCUMENTS:
        (FOLDER / f"{command}.json").write_text(schema_text(command))


if __name__ == "__main__":
    main()
