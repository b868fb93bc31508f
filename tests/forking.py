"""Programs that want a process of their own, forked from one that has imported torch: which takes seconds each time.

Run as a module it is that process; not a test. Each line on stdin is a JSON object: `code`; `argv`; `environment`, what
is added to it; `paths`, what is put before all on the path; `stdout`, `stderr`, the files to write. What the code
raises is told on its stderr, and its exit code, negative where a signal ended it, answered on stdout.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

LONGEST_S = 180
"""After which a program is ended."""

OF_EACH_RANK = """
import os, sys
children = []
for rank in range(int(os.environ["WORLD_SIZE"])):
    if (child := os.fork()) == 0:
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
        main(*sys.argv[1:])
        sys.exit(0)
    children.append(child)
sys.exit(max((os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children), key=abs))
"""
"""After a line that imports `main`: what torchrun does. All that it imports is imported once."""


def torchrun() -> dict[str, str]:
    """What torchrun tells two processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}


class Forks:
    """The process, started with its first program."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(
        self,
        code: str,
        *argv: object,
        environment: Mapping[str, str] | None = None,
        paths: Sequence[Path] = (),
    ) -> subprocess.CompletedProcess[str]:
        """As `python -c code argv...` would."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forking"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
                cwd=ROOT,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            asked = {
                "code": textwrap.dedent(code),
                "argv": [str(word) for word in argv],
                "environment": {**os.environ, **(environment or {})},
                "paths": [str(path) for path in paths],
                "stdout": str(out),
                "stderr": str(err),
            }
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
            ended = int(self._process.stdout.readline())
            return subprocess.CompletedProcess(asked["argv"], ended, out.read_text(), err.read_text())

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.communicate()


def _child(asked: Mapping[str, Any]) -> int:
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(asked[name], os.O_WRONLY | os.O_CREAT, 0o600), number)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.alarm(LONGEST_S)
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.argv = ["-c", *asked["argv"]]
    sys.path[:0] = asked["paths"]
    code = 0
    try:
        exec(compile(asked["code"], "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 (a program says whatever it raises)
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    import torch  # noqa: F401

    for line in sys.stdin:
        if (child := os.fork()) == 0:
            os._exit(_child(json.loads(line)))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
