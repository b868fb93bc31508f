"""The page in a real browser: what a biologist does there, with what the API answers as the oracle."""

import csv
import io
import json
import urllib.parse
import urllib.request
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tifffile
from PIL import Image

from tests.page.conftest import Opener, Served
from tests.page.made_images import FIELDS_EACH, HOSTILE, IN_TWO, PROTEINS, field
from tests.quick import some

SEVERAL = "several localizations"

VIEWS = (
    "#/",
    "#/protein/LMNB1",
    "#/image/manifest/f00",
    "#/map?level=cell",
    "#/query",
    "#/benchmarks",
    "#/compare?protein=LMNB1&level=fov",
    "#/status",
)
LOOKED_AT = ("#/protein/LMNB1",)
"""The view with most of what stands on the others: cards, tables, forms."""


def asked(served: Served, path: str, **parameters: Any) -> Any:
    """What the API answers itself."""
    query = urllib.parse.urlencode(parameters)
    with urllib.request.urlopen(f"{served.address}/api/v1/{path}?{query}") as answer:
        body = answer.read()
    return (
        json.loads(body)
        if answer.headers["content-type"].startswith("application/json")
        else pa.ipc.open_stream(body).read_all()
    )


def mean_colour(page: Any, selector: str) -> list[float]:
    """Mean red, green and blue of a picture as the browser has it."""
    return page.eval_on_selector(
        selector,
        """async (image) => {
            await image.decode();
            const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
            const context = canvas.getContext("2d");
            context.drawImage(image, 0, 0);
            const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
            const sum = [0, 0, 0];
            for (let i = 0; i < data.length; i += 4) for (let c = 0; c < 3; c += 1) sum[c] += data[i + c];
            return sum.map((one) => (4 * one) / data.length);
        }""",
    )


def until(page: Any, expression: str) -> None:
    """Wait until an expression is true; Playwright's own way needs what the page's policy forbids."""
    for _ in range(400):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(expression)


def hits_of(page: Any, inside: str = "") -> list[str]:
    return page.eval_on_selector_all(f"{inside} [data-hit]", "all => all.map(one => one.dataset.hit)")


def test_the_search_box_completes_by_keyboard_and_opens_what_was_chosen(opened: Opener) -> None:
    page = opened()
    page.keyboard.press("/")
    box = page.get_by_role("combobox", name="Search")
    assert box.evaluate("one => one === document.activeElement")
    box.press_sequentially("lmn")
    options = page.locator("#search-list [role=option]")
    options.nth(2).wait_for()
    assert options.locator(".match").all_inner_texts() == ["LMNA", "LMNB1", "LMN2"]
    assert box.get_attribute("aria-expanded") == "true"
    page.keyboard.press("ArrowDown")
    chosen = page.locator(f"#{box.get_attribute('aria-activedescendant')}")
    assert chosen.get_attribute("aria-selected") == "true"
    assert chosen.locator(".match").inner_text() == "LMNA"
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:has-text('LMNA')")
    assert page.url.endswith("#/protein/LMNA")
    assert box.get_attribute("aria-expanded") == "false"


@pytest.mark.parametrize(
    ("typed", "ends"),
    some(
        [
            ("lamin b", "#/protein/LMNB1"),
            ("mitoch", "#/?localization=mitochondria"),
            ("manifest/f41", "#/image/manifest/f41"),
        ],
        0,
    ),
    ids=("alias", "localization", "id"),
)
def test_aliases_localizations_and_ids_are_found(opened: Opener, typed: str, ends: str) -> None:
    page = opened()
    page.fill("#search-box", typed)
    page.locator("#search-list [role=option]").first.click()
    until(page, f"location.hash === {json.dumps(ends)}")
    page.wait_for_selector("h1")


@pytest.mark.slow
def test_proteins_are_narrowed_to_a_localization(opened: Opener) -> None:
    page = opened("#/?localization=mitochondria")
    assert page.locator(".card .name").all_inner_texts() == ["ATP5F1A", "TOMM20"]
    until(page, "[...document.querySelectorAll('.card img')].filter(i => i.naturalWidth > 0).length === 2")


def test_a_protein_shows_its_images_what_is_known_and_the_evidence(opened: Opener, served: Served) -> None:
    page = opened("#/protein/LMNB1")
    known = asked(served, "proteins/LMNB1")
    ids = page.eval_on_selector_all(".gallery img", "all => all.map(one => one.dataset.id)")
    assert ids == [one["id"] for one in known["images"]]
    assert len(ids) == FIELDS_EACH * 3
    until(page, "[...document.querySelectorAll('.gallery img')].every(i => i.naturalWidth > 0)")
    row = page.locator(".annotated tbody tr").first.inner_text().split()
    assert row == ["nuclear_membrane", "–", "6", "manifest"]
    vote = asked(served, "classify", protein="LMNB1", level="protein")["items"][0]
    best = page.locator(".votes tbody tr").first
    assert best.locator("th").inner_text() == vote["scores"][0]["localization"]
    assert best.locator("b").inner_text() == f"{vote['scores'][0]['score']:.2f}"
    voters = page.eval_on_selector_all(".voters a", "all => all.map(one => one.title.split(',')[0])")
    assert voters == vote["neighbors"]
    near = asked(served, "neighbors", protein="LMNB1", level="protein")
    assert hits_of(page) == [hit["id"] for hit in near["hits"]]
    assert near["hits"][0]["id"] == "LMNA"
    link = page.get_by_role("link", name="Human Protein Atlas")
    assert link.get_attribute("href") == known["links"]["hpa"]
    assert "noreferrer" in link.get_attribute("rel").split()


@pytest.mark.slow
def test_neighbors_are_asked_at_another_level(opened: Opener, served: Served) -> None:
    page = opened("#/protein/NPM1")
    page.get_by_label("nearest").select_option("cell")
    page.wait_for_selector("[data-hit^='manifest/']")
    assert hits_of(page) == [hit["id"] for hit in asked(served, "neighbors", protein="NPM1", level="cell")["hits"]]


def test_a_name_that_is_html_is_text(opened: Opener) -> None:
    page = opened(f"#/protein/{urllib.parse.quote(HOSTILE, safe='')}")
    assert page.locator("h1").inner_text() == HOSTILE
    assert page.locator("img[src='x']").count() == 0
    page.goto(page.url.split("#")[0] + "#/")
    page.wait_for_selector(".card")
    assert HOSTILE in page.locator(".card .name").all_inner_texts()


@pytest.mark.slow
def test_a_channel_that_is_switched_off_leaves_the_pictures(opened: Opener) -> None:
    page = opened("#/image/manifest/f40")
    red, _, blue = mean_colour(page, ".big")
    assert red > 5  # the protein is yellow
    assert blue > 5
    assert page.get_by_role("button", name="er").get_attribute("aria-pressed") == "false"
    page.get_by_role("button", name="protein").click()
    until(page, "!document.querySelector('.big').src.includes('protein')")
    after = mean_colour(page, ".big")
    assert red / blue > 0.33
    assert after[0] / after[2] == pytest.approx(0x3A / 0xFF, abs=0.06)  # the nucleus alone, in its blue
    # the choice holds for the other views, and where the page is opened anew
    page.goto(page.url.split("#")[0] + "#/protein/NPM1")
    page.wait_for_selector(".gallery img")
    assert "protein" not in page.locator(".gallery img").first.get_attribute("src")


@pytest.mark.slow
def test_colours_and_contrast_are_asked_of_the_server(opened: Opener) -> None:
    page = opened("#/image/manifest/f00")
    page.get_by_label("colour of nucleus").fill("#ff0000")
    until(page, "document.querySelector('.big').src.includes('nucleus%3Aff0000')")
    page.get_by_label("white at").fill("90")
    until(page, "document.querySelector('.big').src.includes('high=90')")
    red, green, blue = mean_colour(page, ".big")
    assert red > green > blue


class Camera:
    """Where points lie on the screen after the whole map was shown, worked out anew."""

    def __init__(self, page: Any, points: pa.Table) -> None:
        self.box = page.locator("canvas.cloud").bounding_box()
        self.x, self.y = (points[name].to_numpy().astype(float) for name in "xy")
        span = max(np.ptp(self.x) / self.box["width"], np.ptp(self.y) / self.box["height"])
        self.scale = 0.9 / span
        self.middle = (self.x.min() + self.x.max()) / 2, (self.y.min() + self.y.max()) / 2

    def at(self, row: int) -> tuple[float, float]:
        """Pixels of the window."""
        return (
            self.box["x"] + self.box["width"] / 2 + (self.x[row] - self.middle[0]) * self.scale,
            self.box["y"] + self.box["height"] / 2 - (self.y[row] - self.middle[1]) * self.scale,
        )

    def nearest(self, px: float, py: float, rows: list[int]) -> tuple[int, float]:
        """The row next to a pixel, and how far it is off."""
        off = {row: float(np.hypot(self.at(row)[0] - px, self.at(row)[1] - py)) for row in rows}
        row = min(off, key=lambda one: off[one])
        return row, off[row]


def test_the_pointer_shows_the_picture_of_the_right_cell_also_after_filtering(opened: Opener, served: Served) -> None:
    page = opened("#/map?level=cell")
    points = asked(served, "points", level="cell")
    ids, places = points["id"].to_pylist(), points["localization"].to_pylist()
    page.wait_for_selector("canvas.cloud")
    camera = Camera(page, points)

    def told() -> str | None:
        tip = page.locator(".tip")
        return tip.get_attribute("data-id") if tip.is_visible() else None

    everything = list(range(len(ids)))
    for row in everything[::5]:
        px, py = camera.at(row)
        page.mouse.move(px, py)
        assert told() == ids[camera.nearest(px, py, everything)[0]]
    page.get_by_role("button", name="nucleolus_gc").click()
    shown = [row for row in everything if places[row] != "nucleolus_gc"]
    for row in everything[::3]:
        px, py = camera.at(row)
        page.mouse.move(px, py)
        best, off = camera.nearest(px, py, shown)
        assert told() == (ids[best] if off <= 14 else None)
    row = shown[7]
    px, py = camera.at(row)
    page.mouse.move(px, py)
    best = ids[camera.nearest(px, py, shown)[0]]
    picture = page.locator(f".tip img[data-id='{best}']")
    picture.wait_for()
    until(page, "document.querySelector('.tip img').naturalWidth > 0")
    assert urllib.parse.quote(best) in picture.get_attribute("src")
    page.mouse.click(px, py)
    until(page, f"location.hash === {json.dumps('#/image/' + best)}")


def test_points_are_drawn_where_they_lie_in_the_colour_of_their_class(opened: Opener, served: Served) -> None:
    page = opened("#/map?level=fov")
    points = asked(served, "points", level="fov")
    camera = Camera(page, points)
    until(page, "document.querySelector('.view-map').dataset.usable")
    drawn = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)
    legend = page.eval_on_selector_all(
        ".legend button", "all => all.map(one => [one.dataset.class, one.querySelector('[fill]').getAttribute('fill')])"
    )
    colours = {name: tuple(bytes.fromhex(code[1:])) for name, code in legend}
    sets = points["localizations"].to_pylist()
    for row, place in enumerate(SEVERAL if ";" in one else one for one in sets):
        px, py = (round(one) for one in camera.at(row))
        near = drawn[py - 1 : py + 2, px - 1 : px + 2].reshape(-1, 3)
        others = [other for other in range(points.num_rows) if other != row]
        if camera.nearest(px, py, others)[1] < 12:
            continue  # covered by another
        least = min(np.abs(near - np.array(colours[place])).sum(axis=1))
        assert least < 130, (row, place, near)  # points are a little translucent
        assert all(np.abs(near - np.array(code)).sum(axis=1).min() > least for c, code in colours.items() if c != place)


def test_the_lasso_exports_the_ids_of_what_it_encloses(opened: Opener, served: Served) -> None:
    page = opened("#/map?level=cell")
    points = asked(served, "points", level="cell")
    ids, places = points["id"].to_pylist(), points["localization"].to_pylist()
    camera = Camera(page, points)
    page.get_by_role("button", name="mitochondria").click()
    page.get_by_role("button", name="Lasso").click()
    box = camera.box
    left, right = box["x"] + 3, box["x"] + 0.6 * box["width"]
    top, bottom = box["y"] + 3, box["y"] + box["height"] - 3
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in ((right, top), (right, bottom), (left, bottom), (left, top)):
        page.mouse.move(x, y, steps=4)
    page.mouse.up()
    wanted = {one for row, one in enumerate(ids) if places[row] != "mitochondria" and camera.at(row)[0] < right}
    assert 0 < len(wanted) < len(ids)
    page.wait_for_selector(f".selection h2:has-text('{len(wanted)} selected')")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export ids").click()
    assert set(download.value.path().read_text().split("\n")[:-1]) == wanted
    assert download.value.suggested_filename == "cell-ids.txt"
    with page.expect_download() as download:
        page.get_by_role("button", name="Export CSV").click()
    lines = download.value.path().read_text().splitlines()
    assert lines[0] == "id,protein,dataset,localizations,x,y"
    sets = dict(zip(ids, points["localizations"].to_pylist(), strict=True))
    rows = list(csv.reader(lines[1:]))
    assert {row[0]: row[3] for row in rows} == {one: sets[one] for one in wanted}


@pytest.mark.slow
def test_a_point_with_two_localizations_is_of_no_one_class_and_found_in_both(opened: Opener, served: Served) -> None:
    page = opened("#/map?level=fov")
    points = asked(served, "points", level="fov")
    sets = [set(one.split(";")) for one in points["localizations"].to_pylist()]
    two = [one for one, places in zip(points["id"].to_pylist(), sets, strict=True) if len(places) > 1]
    assert two == [f"manifest/{IN_TWO}"]
    counts = page.eval_on_selector_all(
        ".legend button", "all => all.map(one => [one.dataset.class, Number(one.querySelector('.n').textContent)])"
    )
    assert dict(counts) == {"nuclear_membrane": 4, "mitochondria": 4, "nucleolus_gc": 3, SEVERAL: 1}
    for place, n in (("cytoplasm", 1), ("nucleolus_gc", 4)):
        assert n == sum(place in places for places in sets)
        page.locator(".choice:has(> span:text-is('in')) select").select_option(place)
        until(page, f"document.querySelector('.map-told').textContent.startsWith('{n} of ')")
    page.get_by_role("button", name="Select what is in view").click()
    page.wait_for_selector(".selection h2:has-text('4 selected')")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export CSV").click()
    exported = {row[0]: row[3] for row in csv.reader(download.value.path().read_text().splitlines())}
    assert exported[two[0]] == "cytoplasm;nucleolus_gc"
    page.get_by_role("button", name=SEVERAL).dblclick()
    until(page, "document.querySelector('.map-told').textContent.startsWith('1 of ')")


def with_note(route: Any, note: str) -> None:
    """Let an answer of the server pass, with a note more."""
    answer = route.fetch()
    kind = answer.headers["content-type"]
    if kind.startswith("application/json"):
        said = answer.json()
        (said.get("classification") or said)["notes"].append(note)
        route.fulfill(response=answer, json=said)
        return
    table = pa.ipc.open_stream(answer.body()).read_all()
    told = json.loads(table.schema.metadata[b"locatlas"])
    told["notes"].append(note)
    out = io.BytesIO()
    table = table.replace_schema_metadata({"locatlas": json.dumps(told)})
    with pa.ipc.new_stream(out, table.schema) as stream:
        stream.write_table(table)
    route.fulfill(status=200, content_type=kind, body=out.getvalue())


@pytest.mark.parametrize(
    "view", some(["#/protein/LMNB1", "#/image/manifest/f00?exclude=self", "#/map?level=cell&colour=confidence"], 0)
)
def test_what_is_to_be_known_of_a_vote_is_shown_and_the_own_protein_never_votes(opened: Opener, view: str) -> None:
    page = opened()
    asked_for: list[str] = []
    note = "made was trained on 8 of 12 classified rows"

    def pass_on(route: Any) -> None:
        asked_for.append(route.request.url)
        with_note(route, note)

    for path in ("classify", "points/confidence"):
        page.route(f"**/api/v1/{path}?*", pass_on)
    page.goto(f"{page.url.split('#')[0]}{view}")
    page.wait_for_selector(f".notes li:has-text('{note}')")
    (address,) = asked_for
    assert "exclude=self" not in address
    if "#/image" in view:
        assert "exclude=protein" in address
        voters = page.eval_on_selector_all(".voters a", "all => all.map(one => one.title.split(',')[0])")
        assert voters
        assert not {"manifest/f00", "manifest/f01"} & set(voters)  # of the same protein
        assert "its own protein left out" in page.locator(".voters .told").inner_text()
        assert "manifest/f01" in hits_of(page)  # which the neighbors below may be
    if "#/map" in view:
        said = page.locator(".panel").inner_text()
        assert "softmax weights" in said
        assert "20 nearest labelled ones of other proteins" in said
        assert "without a protein name" not in said.lower()


@pytest.mark.slow
def test_the_map_is_used_without_a_pointer(opened: Opener) -> None:
    page = opened("#/map?level=fov")
    canvas = page.locator("canvas.cloud")
    canvas.focus()
    for key in ("ArrowLeft", "+", "ArrowUp", "-", "0"):
        canvas.press(key)
    hovered = page.locator(".map").get_attribute("data-hovered")
    assert hovered.startswith("manifest/")
    assert "f" in page.locator("#announcer").inner_text()
    page.get_by_role("button", name="Select what is in view").click()
    page.wait_for_selector(f".selection h2:has-text('{len(PROTEINS) * FIELDS_EACH} selected')")
    canvas.focus()
    canvas.press("+")
    hovered = page.locator(".map").get_attribute("data-hovered")
    canvas.press("Enter")
    until(page, f"location.hash === {json.dumps('#/image/' + hovered)}")


@pytest.mark.slow
def test_points_take_the_colour_of_their_vote_and_are_hidden_below_a_confidence(opened: Opener, served: Served) -> None:
    page = opened("#/map?level=cell&colour=confidence")
    shares = asked(served, "points/confidence", level="cell")["confidence"].to_numpy()
    bound = 0.5
    page.get_by_label("least confidence").fill(str(bound))
    n = int(np.sum(shares.astype(np.float32) >= bound))
    until(page, f"document.querySelector('.map-told').textContent.startsWith('{n} of {len(shares)} points')")


@pytest.mark.slow
def test_one_class_is_shown_alone_and_all_again(opened: Opener) -> None:
    page = opened("#/map?level=fov")
    page.get_by_role("button", name="mitochondria").dblclick()
    n = 2 * FIELDS_EACH
    until(page, f"document.querySelector('.map-told').textContent.startsWith('{n} of ')")
    pressed = page.eval_on_selector_all(".legend [aria-pressed=true]", "all => all.map(one => one.dataset.class)")
    assert pressed == ["mitochondria"]
    page.get_by_role("button", name="show all").click()
    until(page, f"document.querySelector('.map-told').textContent.startsWith('{len(PROTEINS) * FIELDS_EACH} points')")


@pytest.mark.slow
def test_images_that_are_away_are_shown_by_thumbnails_and_that_is_said(opened: Opener, served: Served) -> None:
    away = served.images.with_name("away")
    served.images.rename(away)
    try:
        page = opened("#/image/manifest/f00")
        page.get_by_text("Shown by stored thumbnails").wait_for()
        until(page, "document.querySelector('.big').naturalWidth > 0")
    finally:
        away.rename(served.images)
    page = opened("#/image/manifest/f00")
    until(page, "document.querySelector('.big').naturalWidth > 0")
    assert page.get_by_text("Shown by stored thumbnails").is_hidden()


def test_an_uploaded_image_finds_what_looks_like_it(opened: Opener) -> None:
    page = opened("#/query")
    image = field("mitochondria", 77)
    files = []
    for name, plane in zip(("x_blue", "x_green", "x_yellow"), image, strict=True):
        out = io.BytesIO()
        tifffile.imwrite(out, plane)
        files.append({"name": f"{name}.tif", "mimeType": "image/tiff", "buffer": out.getvalue()})
    page.set_input_files("#files", files[::-1])
    told = page.eval_on_selector_all(
        ".files li", "all => all.map(one => [one.innerText, one.querySelector('select').value])"
    )
    assert [(name[: name.index(".")], channel) for name, channel in told] == [
        ("x_yellow", "er"),
        ("x_green", "protein"),
        ("x_blue", "nucleus"),
    ]
    note = "made was trained on this"
    page.route("**/api/v1/query", lambda route: with_note(route, note))
    page.get_by_role("button", name="Find what looks like it").click()
    page.wait_for_selector(".result [data-hit]")
    assert page.locator(".result .notes li").filter(has_text=note).count() == 1
    assert page.locator(".result .card .name").first.inner_text() in ("TOMM20", "ATP5F1A")
    assert page.locator(".votes tbody th").first.inner_text() == "mitochondria"
    until(page, "[...document.querySelectorAll('.result .cards img')].slice(0, 3).every(i => i.naturalWidth > 0)")


@pytest.mark.slow
def test_an_upload_that_cannot_be_used_gets_one_line(opened: Opener) -> None:
    page = opened("#/query", refused=422)
    page.set_input_files("#files", [{"name": "no.tif", "mimeType": "image/tiff", "buffer": b"not an image"}])
    page.get_by_role("button", name="Find what looks like it").click()
    page.wait_for_selector("[role=alert]:has-text('no.tif')")


@pytest.mark.slow
def test_two_encoders_are_compared_on_one_protein(opened: Opener, served: Served) -> None:
    page = opened("#/compare?level=fov")
    page.fill("#compared", "LMNB1")
    page.get_by_role("button", name="Compare", exact=True).click()
    page.wait_for_selector("[data-side=b] [data-hit]")
    by = {}
    for side, encoder in (("a", "locatlas_pico.synthetic"), ("b", "other")):
        found = asked(served, "neighbors", protein="LMNB1", level="fov", k=10, encoder=encoder)
        by[side] = [hit["id"] for hit in found["hits"]]
        assert hits_of(page, f"[data-side={side}]") == by[side]
    both = set(by["a"]) & set(by["b"])
    assert page.locator(".overlap b").inner_text() == f"{len(both) / 10:.2f}"
    marked = page.eval_on_selector_all("[data-side=a] .shared [data-hit]", "all => all.map(one => one.dataset.hit)")
    assert set(marked) == both


def test_stored_curves_and_their_confusion_are_shown(opened: Opener, served: Served) -> None:
    page = opened("#/benchmarks")
    (curve,) = asked(served, "sweeps")["curves"]
    page.get_by_text("numbers").first.click()
    shown = [row.split("\t") for row in page.locator(".numbers tbody tr").all_inner_texts()]
    assert shown == [[str(p["k"]), f"{p['macro_f1']:.2f}"] for p in curve["points"]]
    # the k that is nearest to 10, whatever its score
    opened_at = max(curve["points"], key=lambda p: p["k"])
    assert opened_at["k"] == 3
    assert page.locator(".choice:has(> span:text-is('of')) select").first.input_value() == opened_at["cells"][0]
    matrix = np.array(asked(served, f"benchmarks/{opened_at['cells'][0]}")["confusion"])
    page.wait_for_selector(".confusion")
    numbers = [int(text) for text in page.locator(".confusion td.cell").all_inner_texts() if text]
    assert sum(numbers) == matrix.sum() == len(PROTEINS) * FIELDS_EACH - 1  # one field has two localizations
    assert sum(int(text) for text in page.locator(".confusion td.hit").all_inner_texts() if text) == np.trace(matrix)
    page.get_by_role("button", name="Measure").click()
    page.wait_for_selector("figure.chart >> nth=1")
    page.locator("figure.chart >> nth=1").get_by_text("numbers").click()
    assert page.locator(".numbers caption").all_inner_texts() == ["in brackets: 95 % interval"]


@pytest.mark.slow
def test_a_sweep_asks_for_groups_that_are_known(opened: Opener, served: Served) -> None:
    page = opened("#/benchmarks", refused=400)
    groups = page.get_by_role("combobox", name="groups", exact=True)
    assert groups.input_value() == "protein"
    groups.fill("plate")
    page.get_by_role("button", name="Measure").click()
    page.wait_for_selector("[role=alert]:has-text('groups that are known')")
    groups.fill("")
    page.get_by_role("button", name="Measure").click()
    page.wait_for_selector("[role=alert]:has-text('name a column as groups')")
    groups.fill("ensembl_id")
    page.get_by_role("button", name="Measure").click()
    page.wait_for_selector("figure.chart >> nth=1")
    found = asked(served, "sweep", level="fov", group="ensembl_id")
    for note in found["notes"]:
        assert page.locator(".notes li").filter(has_text=note).count() == 1


@pytest.mark.slow
def test_an_interval_and_a_deviation_over_seeds_are_called_what_they_are(opened: Opener) -> None:
    page = opened()
    said = page.evaluate(
        """async () => {
            const { lines } = await import("/page/chart.js");
            const series = [{ name: "a", points: [{ x: 1, y: 0.5, low: 0.4, high: 0.6 }] }];
            const drawn = lines(series, { x: "k", y: "F1", label: "", spread: "mean ± SD" });
            return ["circle title", "caption"].map((one) => drawn.querySelector(one).textContent);
        }"""
    )
    assert said == ["a: F1 0.50 at k 1 (mean ± SD: 0.40 – 0.60)", "in brackets: mean ± SD"]


@pytest.mark.slow
def test_the_status_tells_encoders_and_coverage(opened: Opener, served: Served) -> None:
    page = opened("#/status")
    rows = [row.split("\t") for row in page.locator("section:has-text('Encoders') tbody tr").all_inner_texts()]
    told = asked(served, "status")
    assert [[row[0], row[1], row[2]] for row in rows[: len(told["encoders"])]] == [
        [e["name"], e["level"], e["state"]] for e in told["encoders"]
    ]
    assert [row[7] == "made elsewhere" for row in rows] == [e["imported"] for e in told["encoders"]]


@pytest.mark.slow
def test_what_there_is_not_gets_one_line(opened: Opener) -> None:
    page = opened("#/protein/NOBODY", refused=404)
    assert "NOBODY" in page.locator("[role=alert]").inner_text()
    page = opened("#/map?level=protein", refused=400)
    assert "locatlas map" in page.locator("[role=alert]").inner_text()


@pytest.mark.slow
def test_the_theme_is_chosen_and_kept(opened: Opener) -> None:
    page = opened(theme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.get_by_role("button", name="Colours").click()
    assert page.evaluate(ground) != dark
    light = page.evaluate(ground)
    page.reload()
    page.wait_for_selector("h1")
    assert page.evaluate(ground) == light


@pytest.mark.parametrize(
    "view", [one if one in LOOKED_AT else pytest.param(one, marks=pytest.mark.slow) for one in VIEWS]
)
def test_views_fit_a_phone_and_axe_finds_no_serious_fault(opened: Opener, view: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    page = opened(view, width=390, height=844)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    stray = {"false", "null", "undefined", "NaN", "[object Object]"}
    assert not stray & {line.strip() for line in page.locator("main").inner_text().splitlines()}
    page.set_viewport_size({"width": 1280, "height": 800})
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        # what is not a matter of colour is the same in both
        found = axe.run(page, options=None if theme == "light" else {"runOnly": ["color-contrast"]})
        serious = [
            (theme, one["id"], one["nodes"][0]["html"][:200])
            for one in found.response["violations"]
            if one["impact"] in ("serious", "critical")
        ]
        assert serious == []


@pytest.mark.slow
def test_two_vocabularies_can_be_brought_into_one(opened: Opener, served: Served) -> None:
    page = opened("#/protein/LMNB1")
    assert page.get_by_label("localizations").count() == 0  # this atlas has one
    known = asked(served, "status")
    assert known["label_map"] is None
    page.route("**/api/v1/status", lambda route: route.fulfill(json=known | {"label_map": "hpa->opencell"}))
    page.reload()
    with (
        page.expect_request(lambda one: "/classify?" in one.url and "map_labels=hpa-%3Eopencell" in one.url),
        page.expect_request(lambda one: "/neighbors?" in one.url and "map_labels=hpa-%3Eopencell" in one.url),
    ):
        page.get_by_label("localizations").select_option("hpa->opencell")
    page.wait_for_selector(".votes tbody tr")
    assert page.get_by_label("localizations").input_value() == "hpa->opencell"
    page.goto(f"{served.address}/#/image/manifest/f00?map_labels=hpa-%3Eopencell")
    page.wait_for_selector(".votes tbody tr")
    assert page.get_by_label("localizations").input_value() == "hpa->opencell"


@pytest.mark.parametrize("width", [390, pytest.param(1280, marks=pytest.mark.slow)])
def test_long_ids_are_cut_and_told_by_their_title(opened: Opener, width: int) -> None:
    page = opened("#/protein/LMNB1", width=width)
    before = page.locator(".gallery.fov li").first.bounding_box()
    page.eval_on_selector_all(
        ".gallery .under span, .card .id, .card .name, h1",
        "all => all.forEach(one => { one.textContent = 'plate'.repeat(60); })",
    )
    after = page.locator(".gallery.fov li").first.bounding_box()
    assert (after["width"], after["height"]) == (before["width"], before["height"])
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".gallery.fov .id").first.get_attribute("title") == "manifest/f00"
