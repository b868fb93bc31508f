"""What pytest looks at: modules whose optional library is not installed have no doctests that could run."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("ray") else ["locatlas/indexer/cluster/pool.py"]
