"""Every command line in the documentation is one that the program takes: the commands and options are there."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from locatlas.cli import group

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^ *```[a-z]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


def command_lines() -> Iterator[tuple[str, str]]:
    """Page and command line of every block."""
    for page in PAGES:
        if "_build" in page.parts:
            continue
        for block in BLOCK.findall(page.read_text(encoding="utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                if line.strip().startswith("locatlas "):
                    yield str(page.relative_to(ROOT)), line.strip()


LINES = list(command_lines())


def parse(line: str) -> None:
    """Parse as click does, without calling anything.

    Raises:
        click.ClickException: If the program would refuse it.
    """
    words = shlex.split(line, comments=True)[1:]
    words = words[: words.index(">")] if ">" in words else words
    command: click.Command = group
    context = click.Context(group, info_name="locatlas")
    while isinstance(command, click.Group):
        name, found, words = command.resolve_command(context, words)
        assert found is not None
        command, context = found, click.Context(found, parent=context, info_name=name)
    command.parse_args(context, list(words))


def test_there_are_command_lines() -> None:
    assert len(LINES) > 60


@pytest.mark.parametrize(("page", "line"), LINES, ids=[f"{page}: {line}" for page, line in LINES])
def test_a_command_line_is_taken(page: str, line: str) -> None:
    if "…" in line or "..." in line:
        pytest.skip("cut short on the page")
    parse(line)


def test_what_is_not_there_is_seen() -> None:
    for line in ("locatlas nothing", "locatlas sweep --atlas a --nothing 1", "locatlas sweep"):
        with pytest.raises(click.ClickException):
            parse(line)
