"""Torture an atlas at random: operations, kills, faults and flipped bits against a model in memory; what was lost?

Run as `python scripts/torture.py --minutes 30`. Atlas after atlas is made from nothing by some dozens of operations:
images come, change and go, cells, other plans, re-embedding, annotations, imported vectors, maintenance, FAISS.
More than half of them are killed (before or after a step at which something is written, or at any moment by a signal),
or starved (errors at a step, a full disk, limits on the size of files and on open ones), looked at, and run again until
they end. After each the tables are read with Lance alone and compared with the model, row by row and vectors bit for
bit, and `verify` must find nothing. Bits are flipped in copies of the atlas: each must be found.

The encoder is one that costs nothing, so that what takes the time is what is tested. Exit code 0 if all was as it must
be, else 1, with a line that makes the same atlas again.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from torturing import commands
from torturing.disk import mounted
from torturing.episode import TorturedError, run_episode
from torturing.model import Plans
from torturing.operations import IMPORTED, IMPORTED_DIM, SEEDS
from torturing.report import Report
from torturing.sources import Field, MaskedField, Sources
from torturing.worker import Worker
from torturing.zygote import import_all

OPERATIONS = 40
"""Of one atlas."""

DISK_MB = 192


def main(argv: list[str] | None = None) -> int:
    """Torture; the exit code."""
    args = _arguments(argv)
    if args.folder is not None:
        Path(args.folder).mkdir(parents=True, exist_ok=True)
    base = Path(tempfile.mkdtemp(prefix="torture-", dir=args.folder))
    report, began = Report(args.seed), time.monotonic()
    import_all()
    workers = (Worker(commands.prepare), Worker(commands.prepare))
    failed: list[str] = []
    try:
        with mounted(base / "disk", DISK_MB) as disk:
            if disk is None:
                report.left_out.append("a full disk: a tmpfs cannot be mounted here")
            plans = _plans(base / "first", workers[0])
            began = time.monotonic()
            first = 0 if args.episode is None else args.episode
            for number in range(first, first + 1 if args.episode is not None else 1_000_000):
                if time.monotonic() - began > 60 * args.minutes or (failed and not args.go_on):
                    break
                try:
                    run_episode(
                        base, disk, f"{args.seed} {number}", plans, report, workers,
                        operations=args.operations,
                        is_over=lambda: time.monotonic() - began > 60 * args.minutes,
                        say=_say if args.verbose else lambda _: None,
                    )  # fmt: skip
                except TorturedError as error:
                    _say(str(error))
                    for worker in workers:
                        worker.stop()
                    failed.append(f"--seed {args.seed} --episode {number} --operations {args.operations}")
                    if args.keep:
                        without = shutil.ignore_patterns("first", "found-*", "disk")
                        shutil.copytree(base, base / f"found-{number}", ignore=without)
                        shutil.copytree((disk.path if disk else base) / "atlas", base / f"found-{number}" / "atlas")
    finally:
        for worker in workers:
            worker.stop()
        if not (failed and args.keep):
            shutil.rmtree(base, ignore_errors=True)
    report.seconds = time.monotonic() - began
    print(json.dumps(report.to_dict(), indent=2) if args.json else report.text())
    for options in failed:
        _say(f"again: python scripts/torture.py --minutes {args.minutes:g} {options}")
    if failed and args.keep:
        _say(f"kept in {base}")
    return 0 if report.ok else 1


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (default 1)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--episode", type=int, help="one atlas only, by its number")
    parser.add_argument("--operations", type=int, default=OPERATIONS, help=f"of each atlas (default {OPERATIONS})")
    parser.add_argument("--folder", type=Path, help="where to work (default: the system's temporary folder)")
    parser.add_argument("--go-on", action="store_true", help="with the next atlas once something was found")
    parser.add_argument("--keep", action="store_true", help="keep the folder if something was found")
    parser.add_argument("--verbose", action="store_true", help="say each operation on stderr")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    return parser.parse_args(argv)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _plans(folder: Path, worker: Worker) -> Plans:
    """The fingerprints of all plans, from a first atlas."""
    sources = Sources(folder / "sources")
    sources.fields, sources.masked = {0: Field(1, "er")}, {"a": MaskedField(2, "er", ((1, (4, 4, 12, 12)),))}
    sources.write()
    ended = worker.call(commands.calibrate, folder, sources, SEEDS, IMPORTED, IMPORTED_DIM, watch=folder)
    if ended.how != "ok":
        message = f"the first atlas could not be made: {ended.error}\n{ended.trace}"
        raise RuntimeError(message)
    return Plans(*ended.value)


if __name__ == "__main__":
    sys.exit(main())
