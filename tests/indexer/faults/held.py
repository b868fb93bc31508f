"""What a worker does until it is told to end."""

import time
from pathlib import Path

from locatlas.indexer.store.layout import AtlasFolder


def hold(atlas: Path, until: Path) -> None:
    """Hold the writer lock until a file is there."""
    with AtlasFolder.open(atlas).writer("index /images"):
        (until.parent / "held").touch()
        while not until.exists():
            time.sleep(0.01)


def read_old_version(atlas: Path, until: Path) -> tuple[int, int]:
    """Open tables, wait for somebody to tidy up, and only then read them; rows of `fovs` and vectors."""
    import lance

    opened = [lance.dataset(str(path)) for path in sorted((atlas / "db").glob("*.lance"))]
    (until.parent / "held").touch()
    while not until.exists():
        time.sleep(0.01)
    rows = {Path(d.uri).stem: d.to_table().num_rows for d in opened}
    return rows["fovs"], sum(n for name, n in rows.items() if name.startswith("emb_"))
