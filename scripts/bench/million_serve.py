"""One step of `million.py`: a server of an atlas, asked by a client beside it.

Run as `python scripts/bench/million_serve.py ATLAS N`. Prints a line `said WHAT: VALUE` for each time in milliseconds
and for the server's memory: until it answers, the first neighbors, those of 50 images (median and 95th percentile of
different ones), the same again, and the points of the page where a map is stored.
"""

import argparse
import http.client
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlencode

ASKED = 50


class Client:
    """One connection that is kept open."""

    def __init__(self, address: str) -> None:
        host, port = address.removeprefix("http://").rstrip("/").split(":")
        self._connection = http.client.HTTPConnection(host, int(port), timeout=600)

    def ms(self, path: str, **asked: object) -> tuple[float, int, int]:
        """Milliseconds until the last byte, status, and bytes of an answer."""
        start = time.perf_counter()
        self._connection.request("GET", f"{path}?{urlencode(asked)}")
        answer = self._connection.getresponse()
        data = answer.read()
        return 1000 * (time.perf_counter() - start), answer.status, len(data)

    def needed(self, path: str, **asked: object) -> float:
        """Milliseconds of an answer that must come."""
        ms, status, _ = self.ms(path, **asked)
        if status != 200:
            sys.exit(f"{path} {asked}: status {status}")
        return ms


def peak_mb(pid: int) -> float:
    """The most that was resident of a process, mapped files included; on Linux."""
    (line,) = (x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


def say(what: str, value: float) -> None:
    """A line that `million.py` reads."""
    print(f"said {what}: {value:.1f}", flush=True)


def measure(server: "subprocess.Popen[str]", started: float, n: int) -> None:
    """Ask the server."""
    assert server.stdout is not None
    line = server.stdout.readline()
    found = re.search(r"http://\S+", line)
    if found is None:
        sys.exit(f"the server said {line!r}")
    client = Client(found[0])
    asked = {"level": "cell", "k": 10}
    client.needed("/api/v1/status")
    say("ms until it answers", 1000 * (time.perf_counter() - started))
    say("first neighbors, ms", client.needed("/api/v1/neighbors", id="imported/c00000005", **asked))
    ids = [f"imported/c{(i + 1) * (n // (ASKED + 2)):08d}" for i in range(ASKED)]
    for word in ("neighbors", "neighbors again"):
        ms = sorted(client.needed("/api/v1/neighbors", id=name, **asked) for name in ids)
        say(f"{word}, median ms", statistics.median(ms))
        say(f"{word}, 95th percentile ms", ms[int(0.95 * len(ms))])
    say("server's peak before points, MB", peak_mb(server.pid))
    ms, status, size = client.ms("/api/v1/points", level="cell")
    if status == 200:
        say("points of the page, ms", ms)
        say("points of the page, MB", size / 1e6)
    else:
        print(f"no points: status {status}", file=sys.stderr)
    say("server's peak, MB", peak_mb(server.pid))


def main() -> None:
    """Serve, ask, stop."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("atlas", type=Path)
    parser.add_argument("n", type=int)
    given = parser.parse_args()
    command = [sys.executable, "-m", "locatlas", "serve", "--atlas", str(given.atlas), "--port", "0"]
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as server:
        try:
            measure(server, started, given.n)
        finally:
            server.send_signal(signal.SIGTERM)


if __name__ == "__main__":
    main()
