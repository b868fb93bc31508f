"""A server on an atlas and a headless browser, for the scripts beside this one."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_SERVE = "import sys; from locatlas.cli import main; sys.argv[0] = 'locatlas'; main()"


@contextmanager
def served(atlas: Path) -> Iterator[str]:
    """Run `locatlas serve` on a free port of this machine; its address."""
    command = [sys.executable, "-c", _SERVE, "serve", "--atlas", str(atlas), "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = ""
        while not told.rstrip().endswith("}"):
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"{' '.join(command)} ended without an address")
            told += line
        try:
            yield json.loads(told)["address"]
        finally:
            process.terminate()


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless Chromium of the system; without a GPU it draws by software."""
    from playwright.sync_api import sync_playwright

    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if found is None:
        raise SystemExit("no chromium on this machine (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()
