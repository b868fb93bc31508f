import doctest
import importlib
from pathlib import Path

import fetching
import pytest

NAMES = sorted(path.stem for path in Path(fetching.__file__).parent.glob("[a-z]*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_examples_in_docstrings_hold(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"fetching.{name}")).failed == 0
