"""A Parquet file of profiles as image-based profiling keeps them: `Metadata_*` and features. Writes one file."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from locatlas.query.export.chosen import Chosen, flat_columns
from locatlas.query.export.target import whole_file

__all__ = ["write_profiles"]


def write_profiles(chosen: Chosen, path: Path, *, overwrite: bool) -> list[str]:
    """Write one row an image or protein: `Metadata_<column>`, and `feature_0000` ... with its vector, float32.

    By convention every column that does not begin with `Metadata_` is a feature; pycytominer, which guesses features by
    CellProfiler's names, wants to be told them. The vectors are not normalised; copairs' cosine does not need it.

    Args:
        chosen: What is exported.
        path: The file.
        overwrite: Replace a file that is there.

    Returns:
        What a reader must know.
    """
    vectors = chosen.view.vectors
    width = max(4, len(str(vectors.shape[1] - 1)))
    metadata = {f"Metadata_{name}": column for name, column in flat_columns(chosen.view).items()}
    features = {f"feature_{i:0{width}}": pa.array(np.ascontiguousarray(vectors[:, i])) for i in range(vectors.shape[1])}
    table = pa.table(metadata | features).replace_schema_metadata({"locatlas": json.dumps(chosen.origin())})
    with whole_file(path, overwrite=overwrite) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    return []
