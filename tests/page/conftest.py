"""One server and one browser for all tests of the page; each test gets a tab of its own that must stay clean."""

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.page.made_images import make_atlas


@dataclass(frozen=True)
class Served:
    """A running server."""

    address: str
    atlas: Path
    images: Path


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A headless browser of the system; it draws without a GPU."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if found is None:
        pytest.skip("no chromium on this machine (Debian: apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def served(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The page on an atlas of made images. After `chromium`, so that nothing is made where there is none."""
    uvicorn = pytest.importorskip("uvicorn", reason="the extra serve is not installed")
    app = pytest.importorskip("locatlas.query.serve.app", reason="the extra serve is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCATLAS_HOME", str(tmp_path_factory.mktemp("home")))
        folder = tmp_path_factory.mktemp("page")
        atlas = make_atlas(folder)
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(app.create_app(atlas), log_level="error", ws="none", lifespan="on")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}", atlas, folder / "images")
        server.should_exit = True
        thread.join(20)


Opener = Callable[..., Any]


@contextmanager
def tabs(chromium: Any, base: str, allowed: tuple[str, ...]) -> Iterator[Opener]:
    """Open views in tabs of their own: opener("#/map", width=1280, height=800, theme="light").

    At the end there must have been no error in the console, nothing thrown, and no request elsewhere. Answers that are
    no success make an error in the console; `refused` says that the test asks for one.

    Args:
        chromium: The browser.
        base: Address that the view's own comes behind.
        allowed: What an address that is asked for begins with.
    """
    faults: list[str] = []
    contexts: list[Any] = []

    def on_console(message: Any, refused: int) -> None:
        if message.type != "error" or (refused and f"status of {refused}" in message.text):
            return
        faults.append(message.text)

    def on_request(request: Any) -> None:
        if not request.url.startswith((*allowed, "data:")):
            faults.append(f"asked {request.url}")

    def opener(at: str = "#/", *, width: int = 1280, height: int = 800, theme: str = "light", refused: int = 0) -> Any:
        context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: on_console(message, refused))
        page.on("pageerror", lambda error: faults.append(f"thrown: {error}"))
        page.on("request", on_request)
        page.goto(f"{base}{at}")
        page.wait_for_selector("#main h1")
        page.wait_for_selector(".waiting", state="detached")
        return page

    yield opener
    for context in contexts:
        context.close()
    assert faults == []


@pytest.fixture
def opened(chromium: Any, served: Served) -> Iterator[Opener]:
    """Open a view of the server; see `tabs`."""
    own = f"{served.address}/"
    with tabs(chromium, own, (own, f"blob:{served.address}")) as opener:
        yield opener
