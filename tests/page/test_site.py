"""The copy of the page that needs no server, in a real browser: from a plain file server, and from the disk."""

import functools
import http.server
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from locatlas.query.export.site.run import LOOK, SiteRequest, export_site
from tests.page.conftest import Opener, Served, tabs
from tests.page.made_images import HOSTILE
from tests.page.test_page import asked, hits_of, until
from tests.quick import some


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def site(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("copy") / "site"
    # the browser's driver has an event loop in this thread
    with ThreadPoolExecutor(1) as pool:
        pool.submit(export_site, served.atlas, out, SiteRequest(), overwrite=False, tell=lambda _: None).result()
    return out


# from a server of files only what asks most of one; by default the rest is opened from the disk, which allows less
@pytest.fixture(scope="module", params=["file", pytest.param("http", marks=pytest.mark.slow)])
def base(site: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Where the site is opened."""
    if request.param == "file":
        yield f"file://{site}/index.html"
        return
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.fixture
def copied(chromium: Any, base: str) -> Iterator[Opener]:
    """Open a view of the site; nothing is asked of anybody else. See `tabs`."""
    with tabs(chromium, base, (base.removesuffix("index.html"),)) as opener:
        yield opener


@pytest.mark.slow
def test_the_search_completes_as_the_server_does(copied: Opener, served: Served) -> None:
    page = copied()
    for typed in ("lmn", "LAMIN b", "mitoch", "manifest/f4", "f00", "<img", "e", "nothing such"):
        page.fill("#search-box", "")
        page.fill("#search-box", typed)
        wanted = [one["text"] for one in asked(served, "suggest", q=typed, limit=12)]
        until(
            page,
            f"""JSON.stringify([...document.querySelectorAll('#search-list .match')].map(one => one.textContent))
                === {json.dumps(json.dumps(wanted, separators=(",", ":")))}""",
        )
    page.fill("#search-box", "lamin")
    page.locator("#search-list [role=option]").first.click()
    page.wait_for_selector("h1:has-text('LMNB1')")


@pytest.mark.parametrize("base", some(["http", "file"], 1), indirect=True)
def test_a_protein_shows_what_the_server_shows(copied: Opener, served: Served) -> None:
    page = copied("#/protein/LMNB1")
    known = asked(served, "proteins/LMNB1")
    ids = page.eval_on_selector_all(".gallery img", "all => all.map(one => one.dataset.id)")
    assert ids == [one["id"] for one in known["images"]]
    until(page, "[...document.querySelectorAll('.gallery img')].every(i => i.naturalWidth > 0)")
    vote = asked(served, "classify", protein="LMNB1", level="protein")["items"][0]
    best = page.locator(".votes tbody tr").first
    assert best.locator("b").inner_text() == f"{vote['scores'][0]['score']:.2f}"
    assert page.locator(".voters a").count() == len(vote["neighbors"])
    near = asked(served, "neighbors", protein="LMNB1", level="protein")
    assert hits_of(page) == [hit["id"] for hit in near["hits"]]
    page.locator("label:has-text('nearest') select").select_option("cell")
    until(page, "location.hash.includes('level=cell')")
    page.wait_for_selector("[data-hit^='manifest/']")
    assert hits_of(page) == [h["id"] for h in asked(served, "neighbors", protein="LMNB1", level="cell")["hits"]]
    page.locator("[data-hit]").first.click()
    page.wait_for_selector("h1 .thin")
    assert page.locator("dl.known").is_visible()


def test_the_map_shows_the_picture_under_the_pointer_and_opens_it(copied: Opener) -> None:
    page = copied("#/map?level=cell&colour=predicted")
    page.wait_for_selector(".view-map[data-usable]")
    box = page.locator("canvas.cloud").bounding_box()
    page.locator("canvas.cloud").focus()
    for key in ("ArrowLeft", "ArrowRight", "+"):
        page.keyboard.press(key)
    # where a point lies is told by the ring around the one that the keyboard marks
    page.keyboard.press("0")
    page.keyboard.press("ArrowRight")
    marked = page.locator(".ring").bounding_box()
    page.keyboard.press("Escape")
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    until(page, "!document.querySelector('.map').dataset.hovered")
    page.mouse.move(marked["x"] + marked["width"] / 2, marked["y"] + marked["height"] / 2)
    until(page, "document.querySelector('.map').dataset.hovered")
    hovered = page.locator(".map").get_attribute("data-hovered")
    assert hovered
    until(page, "document.querySelector('.tip img')?.naturalWidth > 0")
    assert page.locator(".tip .id").inner_text() == hovered
    page.locator("canvas.cloud").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("h1 .thin")


@pytest.mark.slow
def test_stored_benchmarks_are_there_and_what_is_computed_is_not(copied: Opener) -> None:
    page = copied("#/benchmarks")
    page.wait_for_selector("table.confusion, .confusion")
    assert page.get_by_role("button", name="Measure").count() == 0
    assert page.locator("#views a").all_inner_texts() == ["Proteins", "Map", "Benchmarks", "Status"]
    assert "What has to be computed is not here" in page.locator("footer").inner_text()
    page = copied("#/compare?protein=LMNA")
    assert page.locator("h1").inner_text() == "Not in a copy"
    page = copied("#/protein/LMNA?k=50")
    assert "another choice of k needs a server" in page.locator(".failure").inner_text()


def test_names_from_outside_are_text(copied: Opener) -> None:
    page = copied("#/")
    assert HOSTILE in page.locator(".card .name").all_inner_texts()


@pytest.mark.slow
def test_pictures_are_those_that_the_page_shows_first(served: Served, chromium: Any) -> None:
    page = chromium.new_page()
    page.goto(f"{served.address}/#/image/manifest/f00")
    page.wait_for_selector("img.big")
    src = page.get_attribute("img.big", "src")
    page.close()
    wanted = "%2C".join(f"{name}%3A{code}" for name, code in LOOK.items())
    assert f"channels={wanted}&low=1&high=99.8&" in src


def test_a_site_in_one_vocabulary_says_so(served: Served, chromium: Any, tmp_path: Path) -> None:
    request = SiteRequest(map_labels="hpa:opencell", limit=1)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(export_site, served.atlas, tmp_path / "s", request, overwrite=False, tell=lambda _: None).result()
    with tabs(chromium, f"file://{tmp_path}/s/index.html", (f"file://{tmp_path}/s/",)) as opener:
        page = opener("#/protein/LMNB1")
        assert page.get_by_text("Localizations of votes and neighbors: one vocabulary, hpa → opencell.").is_visible()
        assert (
            "votes, neighbors and maps name it by one vocabulary (hpa → opencell)"
            in page.locator("footer").inner_text()
        )
        page = opener("#/protein/LMNB1?map_labels=hpa-%3Eopencell")
        assert page.locator(".failure").count() == 0
