"""Neighbors of one image or protein over HTTP: a real server process, a real store, the exact path.

Run as `python scripts/bench/serve.py --n 200000`. Made clustered vectors of n / 40 proteins (`bench/lookup.py` writes
them); every question is another one, so that no answer is a kept one. Times are those of a client on the same machine,
from sending the request to the last byte of the answer; "kept" asks the same question again.
"""

import argparse
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
from lookup import write_atlas
from sweep import clustered

ROOT = Path(__file__).resolve().parents[2]


class Client:
    """One connection that is kept open."""

    def __init__(self, address: str) -> None:
        host, port = address.removeprefix("http://").rstrip("/").split(":")
        self._connection = http.client.HTTPConnection(host, int(port), timeout=600)

    def ms(self, **asked: object) -> float:
        """Milliseconds of one question."""
        start = time.perf_counter()
        self._connection.request("GET", f"/api/v1/neighbors?{urlencode(asked)}")
        answer = self._connection.getresponse()
        data = answer.read()
        spent = 1000 * (time.perf_counter() - start)
        if answer.status != 200 or len(json.loads(data)["hits"]) != 10:
            sys.exit(f"{answer.status}: {data[:500]!r}")
        return spent


def cpu_ms(pid: int) -> float:
    """Core time of a process so far; on Linux."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return 1000 * (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def shown(ask: Callable[[], Sequence[float]], pid: int) -> dict[str, float]:
    """Median and 95th percentile, and the server's core time for each question, which other work does not stretch."""
    before = cpu_ms(pid)
    ms = ask()
    core = (cpu_ms(pid) - before) / len(ms)
    return {
        "median_ms": round(statistics.median(ms), 1),
        "p95_ms": round(float(np.percentile(ms, 95)), 1),
        "core_ms": round(core, 1),
    }


def measure(address: str, pid: int, n: int, rounds: int, clients: int) -> dict[str, object]:
    """Ask the server."""
    rng = np.random.default_rng(1)
    client = Client(address)
    asked = {"level": "cell", "k": 10, "exact": "true"}
    first = client.ms(id="imported/0000000", **asked)
    for i in range(1, 4):
        client.ms(id=f"imported/{i:07d}", **asked)
    ids = [f"imported/{i:07d}" for i in rng.choice(np.arange(10, n), rounds * (clients + 1), replace=False)]
    proteins = [f"P{i}" for i in rng.choice(n // 40, rounds, replace=False)]
    client.ms(protein=proteins[0], **asked)

    def many(mine: Sequence[str]) -> list[float]:
        own = Client(address)
        return [own.ms(id=i, **asked) for i in mine]

    with ThreadPoolExecutor(clients) as pool:
        parts = [ids[rounds * (c + 1) : rounds * (c + 2)] for c in range(clients)]
        return {
            "first, reads all vectors": {"ms": round(first, 1)},
            "one image": shown(lambda: many(ids[:rounds]), pid),
            "one protein": shown(lambda: [client.ms(protein=p, **asked) for p in proteins[1:]], pid),
            "the same image again": shown(lambda: many(ids[:rounds]), pid),
            f"one image, {clients} clients at once": shown(
                lambda: [ms for found in pool.map(many, parts) for ms in found], pid
            ),
        }


def main() -> None:
    """Measure and print; with --json also write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=200_000)
    parser.add_argument("--d", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", type=Path, help="folder of the made atlas, to be used again")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = given.keep or Path(name)
        if not (folder / "atlas").is_dir():
            folder.mkdir(exist_ok=True)
            vectors, protein, _ = clustered(given.n, given.d, max(20, given.n // 40), 0)
            write_atlas(folder, vectors, protein)
            del vectors
        command = [sys.executable, "-m", "locatlas", "serve", "--atlas", str(folder / "atlas"), "--port", "0"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
            try:
                assert server.stdout is not None
                line = server.stdout.readline()
                address = re.search(r"http://\S+", line)
                if address is None:
                    sys.exit(f"the server said {line!r}")
                found = {"n": given.n, "d": given.d, "cores": os.cpu_count(), "load": os.getloadavg()[0]}
                found |= measure(address[0], server.pid, given.n, given.rounds, given.clients)
            finally:
                server.terminate()
    print(json.dumps(found, indent=2))
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
