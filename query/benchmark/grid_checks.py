"""What in a grid does not fit together, told before anything is measured. Pure."""

import itertools
from typing import TYPE_CHECKING

from locatlas.errors import InputError
from locatlas.query.benchmark.settings import FINETUNE, SETTINGS
from locatlas.query.benchmark.tuning import finetune_request

if TYPE_CHECKING:
    from locatlas.query.benchmark.grid import Grid

__all__ = ["check_grid"]


def check_grid(grid: "Grid", where: str) -> None:
    """Refuse what no measurement can mean.

    Args:
        grid: From a file, or changed by options.
        where: How to name it in a message.

    Raises:
        InputError: If it does; the message names the key.
    """
    for table, values, known in (("settings", grid.settings, SETTINGS), ("finetune", grid.finetune, FINETUNE)):
        for name, value in values.items():
            if name not in known:
                message = f"{where}, [{table}]: unknown key {name!r}; known: {', '.join(sorted(known))}"
                raise InputError(message)
            if (why := known[name].why_not(value)) is not None:
                message = f"{where}, [{table}]: {name} {why}"
                raise InputError(message)
    if (odd := _does_not_fit(grid)) is not None:
        message = f"{where}{odd}"
        raise InputError(message)
    for objective, level, labels in itertools.product(grid.objectives, grid.levels, grid.labels):
        if objective == "frozen":
            continue
        try:
            finetune_request(
                objective=objective,
                level=level,
                labels=labels,
                fraction=1.0,
                seed=0,
                settings=grid.settings,
                finetune=grid.finetune,
            )
        except InputError as error:
            message = f"{where}: objective {objective}: {error}"
            raise InputError(message) from error


def _does_not_fit(grid: "Grid") -> str | None:
    """What does not fit together in words, after the place; None if nothing."""
    settings, tuned = grid.settings, [name for name in grid.objectives if name != "frozen"]
    annotated = settings.get("label_source") == "annotated"
    if grid.compare_k is not None and grid.compare_k not in grid.ks:
        return f", [measure]: compare_k = {grid.compare_k} is none of ks"
    if "transfer" in grid.protocols and not {"reference", "query"} <= settings.keys():
        return ": protocol transfer needs reference and query in [settings], the names of two data sets"
    if tuned and "protein-holdout" not in grid.protocols:
        return f": objectives {', '.join(grid.objectives)} need protocol protein-holdout"
    if tuned and "protein" in grid.levels:
        return f": objective {tuned[0]} trains on images: level fov or cell needed, not protein"
    if annotated and set(grid.levels) - {"cell"}:
        return ", [settings]: label_source = 'annotated' is of cells alone: levels = ['cell'] needed"
    if "dino" in tuned and (annotated or "map_labels" in settings):
        # it trains without labels, but the groups are held out evenly over the classes, and those would be others
        which = "label_source = 'annotated'" if annotated else "map_labels"
        return f", [settings]: {which} holds out other groups than objective dino does, which knows labels as they are"
    if "grade_weights" in settings and (annotated or "protein" in grid.levels):
        which = "cells' own annotations" if annotated else "level protein"
        return f", [settings]: grade_weights: {which} have no grades"
    if "grade_weights" in settings and not ("multi" in grid.labels and "knn" in grid.classifiers):
        return ", [settings]: grade_weights are of labels multi and classifier knn, which the grid does not have"
    return None
