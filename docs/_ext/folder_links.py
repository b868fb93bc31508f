"""Links of pages that are written for a code host, which shows folders and files above, to what the site has."""

from collections.abc import Mapping
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

_PAGES = {"schemas": "reference/documents", "CONTRIBUTING.md": "contributing"}


class FolderLinks(SphinxPostTransform):
    """A known target goes to its page; a folder that is there stays as text."""

    default_priority = 8  # before MyST resolves (9)

    def run(self, **_: object) -> None:
        """For Sphinx."""
        for node in list(self.document.findall(addnodes.pending_xref)):
            target = node.get("reftarget", "")
            if node.get("reftype") != "myst" or node.get("refdomain") == "doc":
                continue
            if target in _PAGES:
                node["refdomain"], node["reftarget"], node["reftargetid"] = "doc", _PAGES[target], None
            elif target and (Path(self.env.srcdir) / target).is_dir():
                node.replace_self(nodes.inline("", "", *(child.deepcopy() for child in node.children)))


def setup(app: Sphinx) -> Mapping[str, bool]:
    """For Sphinx."""
    app.add_post_transform(FolderLinks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
