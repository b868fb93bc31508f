"""Run one fuzz target with atheris: `python -m tests.fuzz.run image --seconds 300` (or `--runs 5000`).

New inputs are kept in `--corpus`; one that fails is written beside it as `crash-...` and can be given again by name.
"""

import argparse
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["locatlas", "tifffile", "PIL"]):
    import PIL.JpegImagePlugin
    import PIL.PngImagePlugin  # noqa: F401
    import tifffile  # noqa: F401

    import locatlas.indexer.annotation_sheet
    import locatlas.indexer.cells.masks
    import locatlas.indexer.cells.rle
    import locatlas.indexer.datasets.manifest
    import locatlas.indexer.h5sc
    import locatlas.indexer.images
    import locatlas.indexer.vector_files
    import locatlas.models.weights  # noqa: F401

from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS, prepare


def main() -> None:
    """Fuzz until the time or the runs are over, or an input fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--runs", type=int, default=-1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("inputs", nargs="*", type=Path, help="files to try once each, instead")
    asked = parser.parse_args()
    prepare()
    warnings.simplefilter("ignore")
    run = TARGETS[asked.target]
    if asked.inputs:
        for path in asked.inputs:
            run(path.read_bytes())
        return
    corpus = asked.corpus or Path(tempfile.mkdtemp(prefix=f"fuzz-{asked.target}-"))
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds(asked.target)):
        (corpus / f"seed{number:03d}").write_bytes(data)
    options = [
        f"-max_total_time={asked.seconds}",
        f"-runs={asked.runs}",
        f"-seed={asked.seed}",
        "-timeout=30",
        "-rss_limit_mb=4096",
        "-max_len=32768",
        "-print_final_stats=1",
        f"-artifact_prefix={corpus.parent}/{asked.target}-",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
