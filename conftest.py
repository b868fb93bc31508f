"""What pytest looks at: modules whose optional library is not installed have no doctests that could run."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

collect_ignore = [] if find_spec("ray") else ["locatlas/indexer/cluster/pool.py"]

_PACKAGE = Path(__file__).with_name("locatlas")


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Modules without an example are not imported, which takes longer than all doctests.

    Others are, before pytest does it: it would run a module once more that the package above it has imported, and
    then there were two of each of its classes.
    """
    if collection_path.suffix != ".py" or not collection_path.is_relative_to(_PACKAGE):
        return None
    if ">>>" not in collection_path.read_text():
        return True
    import_module(
        ".".join(collection_path.relative_to(_PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    )
    return None
