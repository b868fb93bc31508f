"""Commands as a user gives them, in this process, and their documents."""

import json
from typing import Any

from click.testing import CliRunner, Result

from locatlas.cli import group
from locatlas.cli.documents import DOCUMENTS


def run(*arguments: object) -> Result:
    return CliRunner().invoke(group, [str(a) for a in arguments])


def document(command: str, *arguments: object) -> dict[str, Any]:
    """The command's JSON, checked against its documented schema."""
    done = run(command, *arguments, "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    found: dict[str, Any] = json.loads(done.stdout)
    DOCUMENTS[command].model_validate(found)
    return found
