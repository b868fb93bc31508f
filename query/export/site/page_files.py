"""The page's own files as they stand in a site: relative addresses, one script, a policy in the page itself. Pure."""

from importlib.resources import files
from typing import Any

from locatlas.query.export.site.bundle import bundle

__all__ = ["POLICY", "page_files"]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'"
)
"""What the page may load: its own files. A plain file server sends no such header, so it stands in the page."""

_SCRIPTS = """<script type="module" src="page/theme.js"></script>
<script type="module" src="page/main.js"></script>
"""

_MORE_SCRIPTS = """<script defer src="data/site.js"></script>
<script defer src="data/names.js"></script>
<script defer src="page/locatlas.js"></script>
"""


def page_files() -> dict[str, bytes]:
    """Files by name below the site: index.html, styles, icon, one script, and the licences of what is in it."""
    folder = files("locatlas.query.serve") / "page"
    modules = _modules(folder, "")
    modules["source.js"] = modules.pop("source_static.js")
    index = (folder / "index.html").read_text(encoding="utf-8")
    charset = '<meta charset="utf-8">\n'
    policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
    changes = (
        (charset, f'{charset}{policy}<meta name="referrer" content="no-referrer">\n'),
        (_SCRIPTS, _MORE_SCRIPTS),
        ("which it loads from this server alone", "which it loads from this folder alone"),
    )
    for before, after in changes:
        if index.count(before) != 1:
            message = f"index.html has not one {before!r}"
            raise AssertionError(message)
        index = index.replace(before, after)
    found = {"index.html": index.encode(), "page/locatlas.js": bundle(modules, ("theme.js", "main.js")).encode()}
    for entry in folder.iterdir():
        if entry.name.endswith((".css", ".svg")):
            found[f"page/{entry.name}"] = entry.read_bytes()
    for entry in (folder / "vendor").iterdir():
        if entry.name.endswith(".txt"):
            found[f"page/{entry.name}"] = entry.read_bytes()
    return found


def _modules(folder: Any, prefix: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in folder.iterdir():
        if entry.is_dir() and entry.name != "__pycache__":
            found |= _modules(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".js"):
            found[f"{prefix}{entry.name}"] = entry.read_text(encoding="utf-8")
    return found
