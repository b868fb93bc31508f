"""The page shows what it is given and nothing more: escaped, without scripts, with nothing from elsewhere."""

from html.parser import HTMLParser

from locatlas.query.annotation.page import Shown, page

NASTY = '"><script>alert(1)</script><img src=x onerror=alert(2)>&amp;'


class _Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def seen(html: str) -> _Seen:
    parser = _Seen()
    parser.feed(html)
    return parser


def test_texts_from_outside_stay_texts() -> None:
    html = page(NASTY, [NASTY], [Shown(1, NASTY, f"thumbnails/{NASTY}.png", NASTY, (NASTY,))])
    found = seen(html)
    assert found.text.count(NASTY) == 6  # title, heading, paragraph, id, remark, label
    assert [tag for tag, _ in found.tags].count("img") == 1
    assert "script" not in {tag for tag, _ in found.tags}
    assert not any(name.startswith("on") for _, attrs in found.tags for name in attrs)


def test_nothing_comes_from_elsewhere() -> None:
    found = seen(page("t", ["p"], [Shown(1, "x/1", "thumbnails/1.png")]))
    assert [attrs["src"] for _, attrs in found.tags if "src" in attrs] == ["thumbnails/1.png"]
    assert not any("href" in attrs for _, attrs in found.tags)
    policy = next(attrs["content"] for _, attrs in found.tags if attrs.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_labels_are_folded_and_absent_where_there_are_none() -> None:
    items = [Shown(1, "x/1", "1.png", labels=("inherited: er",)), Shown(2, "x/2", "2.png")]
    tags = [(tag, attrs) for tag, attrs in seen(page("t", [], items)).tags if tag in ("details", "figure")]
    assert [tag for tag, _ in tags] == ["figure", "details", "figure"]
    assert "open" not in tags[1][1]
