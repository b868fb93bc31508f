"""What the names in a grid mean at each level of an atlas. Reads the store."""

from locatlas.errors import InputError
from locatlas.indexer.store.encoders import StoredEncoder, current, stored_encoders
from locatlas.indexer.store.tables import Store
from locatlas.models import registry
from locatlas.query.benchmark.expand import Meant
from locatlas.query.benchmark.grid import CURRENT, Grid

__all__ = ["image_level", "known_by_name", "meant_by"]


def meant_by(store: Store, grid: Grid) -> dict[tuple[str, str], Meant]:
    """What each entry of a grid means, by name and level: `current` is another encoder at another level.

    Args:
        store: The atlas.
        grid: What is asked for.

    Raises:
        InputError: If `current` is asked for at a level that has none.
    """
    found = {}
    registered = {spec.name: spec.slots for spec in registry.list_encoders()}
    for name in dict.fromkeys(entry.name for entry in grid.encoders):
        for level in grid.levels:
            here = _current(store, level) if name == CURRENT else known_by_name(store, name, level)
            if name == CURRENT and here is None:
                there = [one for one in ("fov", "cell") if _current(store, one) is not None]
                hint = f"there is one at level {', '.join(there)}: a copy of the grid (--show) can name it in `levels`"
                message = f"{store.folder.path}: no current encoder at level {level}, which the grid measures"
                message += f"; {hint if there else '`locatlas index` makes one'}"
                raise InputError(message)
            if here is not None:
                called = here.spec.name if name == CURRENT else name
                found[name, level] = Meant(called, here.is_imported, () if here.is_imported else here.spec.slots)
            elif name in registered:
                found[name, level] = Meant(name, slots=registered[name])
    return found


def image_level(store: Store, name: str, level: str) -> str:
    """The images whose vectors a level needs: its own, at level protein fields, or cells where there are no fields.

    Imported vectors are where they are.
    """
    if level != "protein":
        return level
    known = stored_encoders(store)
    own = [one.level for one in known if one.is_imported and one.is_called(name)]
    return max(own or [one.level for one in known], default="fov")  # "fov" comes after "cell"


def known_by_name(store: Store, name: str, level: str) -> StoredEncoder | None:
    """An encoder of the atlas that is called so, an imported one before others; None if there is none."""
    fits = [one for one in stored_encoders(store, image_level(store, name, level)) if one.is_called(name)]
    return min(fits, key=lambda one: not one.is_imported, default=None)


def _current(store: Store, level: str) -> StoredEncoder | None:
    levels = ("fov", "cell") if level == "protein" else (level,)
    return next((one for of in levels if (one := current(store, of)) is not None), None)
