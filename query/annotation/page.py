"""The page on which annotators look at what they are to judge: one HTML file, nothing from elsewhere. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Shown", "page"]

_STYLE = """
body { margin: 1.5rem; font: 15px/1.45 system-ui, sans-serif; background: #16181c; color: #e6e6e6; }
h1 { font-size: 1.25rem; margin: 0 0 .3rem; }
p { max-width: 60rem; margin: .3rem 0; color: #b9bec7; }
main { display: flex; flex-wrap: wrap; gap: 1rem; margin-top: 1.2rem; }
figure { margin: 0; padding: .5rem; background: #22252b; border-radius: 6px; }
img { display: block; height: 256px; width: auto; max-width: 100%; background: #000; }
figcaption { margin-top: .4rem; font-size: .85rem; max-width: 32rem; overflow-wrap: anywhere; }
figcaption b { font-size: 1rem; margin-right: .5rem; }
details, .small { color: #b9bec7; margin-top: .2rem; }
"""


@dataclass(frozen=True, slots=True)
class Shown:
    """One picture of the page.

    Attributes:
        number: From 1, as the sheet's lines and the file names.
        id: Of the image.
        picture: Path of the picture, relative to the page.
        remark: What must be said of the picture, None for nothing.
        labels: Lines that are shown on demand only, e.g. inherited labels; () for none.
    """

    number: int
    id: str
    picture: str
    remark: str | None = None
    labels: tuple[str, ...] = ()


def page(title: str, told: Sequence[str], items: Sequence[Shown]) -> str:
    """The page as HTML 5; every text from outside is escaped, and no script is in it.

    Args:
        title: Heading.
        told: Paragraphs above the pictures.
        items: Pictures in order.
    """
    figures = "\n".join(_figure(item) for item in items)
    paragraphs = "\n".join(f"<p>{escape(text)}</p>" for text in told)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        # the page needs pictures beside it and its own style, so a browser may refuse everything else
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n{paragraphs}\n<main>\n{figures}\n</main>\n</body>\n</html>\n"
    )


def _figure(item: Shown) -> str:
    remark = f'<div class="small">{escape(item.remark)}</div>' if item.remark else ""
    lines = "".join(f"<div>{escape(line)}</div>" for line in item.labels)
    labels = f"<details><summary>labels</summary>{lines}</details>" if item.labels else ""
    return (
        f'<figure id="n{item.number}"><img src="{escape(item.picture)}" alt="picture {item.number}" loading="lazy">'
        f"<figcaption><b>{item.number}</b>{escape(item.id)}{remark}{labels}</figcaption></figure>"
    )
