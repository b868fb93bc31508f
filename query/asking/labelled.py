"""What is loaded with the labels that questions name: each choice made once, for any number of threads. Pure."""

import threading
from typing import Final

from locatlas.query.asking.label_source import LabelSource, with_label_source
from locatlas.query.asking.view import View
from locatlas.query.asking.vocabulary import label_map, with_mapped_labels

__all__ = ["LabelledViews"]


class LabelledViews:
    """A view with other labels, each kept as long as this is; they share ids and codings with the view.

    Attributes:
        view: As it was loaded.
    """

    def __init__(self, view: View) -> None:
        self.view: Final = view
        self._made: dict[tuple[LabelSource, str | None], View] = {}
        # several threads that ask for the same labels must not make them several times over
        self._lock = threading.Lock()

    def of(self, source: LabelSource, map_labels: str | None) -> View:
        """The view with the localizations of a source, in the target vocabulary of a map if one is named.

        Raises:
            UnknownNameError: If there is no such source or map.
            InputError: If annotations are asked for of FOVs, or no cell has any.
        """
        if map_labels is None and source == "inherited":
            return self.view
        name = None if map_labels is None else label_map(map_labels).name
        with self._lock:
            if (source, name) not in self._made:
                made = with_label_source(self.view, source)
                self._made[source, name] = made if name is None else with_mapped_labels(made, name)
            return self._made[source, name]
