"""Run fuzz targets with atheris: `python -m tests.fuzz.run image --seconds 300`, `... image=5000 mask=200` (runs).

Several are run one after the other, each in a process of its own. New inputs are kept in `--corpus`, in a folder a
target; one that fails is written beside it as `image-crash-...` and can be given again with `--inputs`.
"""

import argparse
import os
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["locatlas", "tifffile", "PIL"]):
    import PIL.JpegImagePlugin
    import PIL.PngImagePlugin  # noqa: F401
    import tifffile  # noqa: F401

    import locatlas.indexer.annotation.sheet
    import locatlas.indexer.cells.masks
    import locatlas.indexer.cells.rle
    import locatlas.indexer.datasets.manifest
    import locatlas.indexer.files.h5sc
    import locatlas.indexer.files.images
    import locatlas.indexer.importing.files
    import locatlas.models.weights  # noqa: F401

from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS, prepare


def main() -> None:
    """Fuzz until the time or the runs are over, or an input fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="+", help=f"of {', '.join(sorted(TARGETS))}; with =N for so many runs")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--inputs", nargs="+", type=Path, default=[], help="files to try once each, instead")
    asked = parser.parse_args()
    chosen = {name: int(runs or -1) for name, _, runs in (target.partition("=") for target in asked.targets)}
    if unknown := chosen.keys() - TARGETS.keys():
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    prepare()
    warnings.simplefilter("ignore")
    if asked.inputs:
        for name in chosen:
            for path in asked.inputs:
                TARGETS[name](path.read_bytes())
        return
    corpora = asked.corpus or Path(tempfile.mkdtemp(prefix="fuzz-"))
    failed = [name for name, runs in chosen.items() if _apart(name, runs, corpora / name, asked)]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}; inputs are in {corpora}")


def _apart(name: str, runs: int, corpus: Path, asked: argparse.Namespace) -> int:
    """Fuzz in a process that begins with what is imported and instrumented here; its exit code."""
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds(name)):
        (corpus / f"seed{number:03d}").write_bytes(data)
    if (child := os.fork()) == 0:
        _fuzz(name, runs, corpus, asked)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _fuzz(name: str, runs: int, corpus: Path, asked: argparse.Namespace) -> None:
    options = [
        f"-max_total_time={asked.seconds}",
        f"-runs={runs}",
        f"-seed={asked.seed}",
        "-timeout=30",
        "-rss_limit_mb=4096",
        "-max_len=32768",
        "-print_final_stats=1",
        f"-artifact_prefix={corpus.parent}/{name}-",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
