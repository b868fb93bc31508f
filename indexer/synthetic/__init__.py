"""Made images: a collection of drawn cells in the layouts of OpenCell and of the Human Protein Atlas.

Nothing here is data. The pictures imitate how fluorescence images of protein localization look, so that everything from
reading to querying can be shown and tested offline.
"""

from locatlas.indexer.synthetic.collection import CollectionSummary, make_collection

__all__ = ["CollectionSummary", "make_collection"]
